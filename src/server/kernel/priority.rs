//! Who comes first on a core that threads share.

use std::{io, mem};

use rustix::thread::Pid;

use crate::background::Standing;

/// How long the turns of a thread are, each kind ten times those of the one before.
///
/// Linux (EEVDF, its turns can be asked for from 6.12 on) lets a thread in at once that wakes, if its turn ends before that of
/// the running one, however little it had so far; and if not, looks again at the next tick, which may be 4 ms later. So who
/// answers takes short turns; and who works beside takes *long* ones: the end of its turn is seldom near, so it gives way each time.
/// Its share of the core is a matter of its niceness alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// Answers to datagrams.
    Datagrams,
    /// Answers over streams.
    Streams,
    /// Changes: they are asked for by a person, and durable in milliseconds.
    Control,
    /// What may take long.
    Background,
}

impl Turns {
    fn nanoseconds(self) -> u64 {
        match self {
            Self::Datagrams => 100_000, // the shortest there are; about what a full batch takes
            Self::Streams => 1_000_000,
            Self::Control => 10_000_000,
            Self::Background => 100_000_000, // the longest
        }
    }

    /// Asks for such turns for the calling thread and those that it starts. An older kernel changes nothing; threads with a
    /// policy of their own, such as a real-time one, keep it.
    pub fn take(self) {
        let asked = attributes(0).and_then(|mut attributes| {
            if attributes.sched_policy == libc::SCHED_OTHER as u32 {
                attributes.sched_runtime = self.nanoseconds();
                set(0, &attributes)?;
            }
            Ok(())
        });
        if let Err(error) = asked {
            tracing::debug!(%error, "turns stay as long as they are");
        }
    }
}

/// How much nicer than the process a thread is that has a share: beside one that is not and always has work, it is left with a
/// tenth of a core.
const NICER: i32 = 10;
/// As nice as can be.
const NICEST: i32 = 19;

/// Puts a thread of this process there, as [`Background`](crate::background::Background) wants it: last is `SCHED_IDLE`. Where
/// the process was given a policy of its own, a real-time one or `SCHED_IDLE`, all its threads keep it.
///
/// # Errors
/// What the kernel says; coming back needs CAP_SYS_NICE or a limit (`RLIMIT_NICE`) that allows it.
pub fn stand(thread: Pid, standing: Standing) -> io::Result<()> {
    let of_process = attributes(rustix::process::getpid().as_raw_nonzero().get())?;
    if of_process.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    let thread = thread.as_raw_nonzero().get();
    let mut attributes = attributes(thread)?;
    attributes.sched_policy = match standing {
        Standing::Last => libc::SCHED_IDLE,
        Standing::Share => libc::SCHED_OTHER,
    } as u32;
    attributes.sched_nice = (of_process.sched_nice + NICER).min(NICEST);
    attributes.sched_runtime = Turns::Background.nanoseconds();
    set(thread, &attributes)
}

/// What the kernel knows of a thread; 0 is the calling one.
fn attributes(thread: libc::pid_t) -> io::Result<libc::sched_attr> {
    let octets = size_of::<libc::sched_attr>();
    // SAFETY: plain numbers, for which zero is a value.
    let mut attributes: libc::sched_attr = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most `octets`, the size of what the pointer leads to.
    let known = unsafe { libc::syscall(libc::SYS_sched_getattr, thread, &raw mut attributes, octets as u32, 0u32) };
    if known == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

fn set(thread: libc::pid_t, attributes: &libc::sched_attr) -> io::Result<()> {
    // SAFETY: the kernel reads as many octets as the structure says it has, which are those that it filled in before.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, thread, &raw const *attributes, 0u32) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_as_long_as_asked_and_inherited() {
        let runtime = || attributes(0).unwrap().sched_runtime;
        if runtime() == 0 {
            return; // before Linux 6.12 nobody's turns can be told, or asked for
        }
        for turns in [Turns::Datagrams, Turns::Streams, Turns::Control, Turns::Background] {
            let start = move || {
                turns.take();
                (runtime(), std::thread::spawn(runtime).join().unwrap())
            };
            let nanoseconds = turns.nanoseconds();
            assert_eq!(std::thread::spawn(start).join().unwrap(), (nanoseconds, nanoseconds));
        }
    }

    #[test]
    fn a_thread_is_put_last_and_given_its_share() {
        std::thread::spawn(|| {
            let own = || attributes(0).unwrap();
            let nice = (own().sched_nice + NICER).min(NICEST);
            stand(rustix::thread::gettid(), Standing::Share).unwrap();
            assert_eq!((own().sched_policy, own().sched_nice), (libc::SCHED_OTHER as u32, nice));
            stand(rustix::thread::gettid(), Standing::Last).unwrap();
            assert_eq!(own().sched_policy, libc::SCHED_IDLE as u32);
            if stand(rustix::thread::gettid(), Standing::Share).is_ok() {
                assert_eq!((own().sched_policy, own().sched_nice), (libc::SCHED_OTHER as u32, nice));
            }
        })
        .join()
        .unwrap();
    }
}
