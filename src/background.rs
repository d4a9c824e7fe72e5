//! Work that may take long and must not delay answers: reading zones, writing copies of them, freeing what was served.
//!
//! It is done on a thread of its own, one piece after the other. Each piece begins at the end of the queue: it runs while
//! nobody else wants the core, and whoever does is let in at once. Where that leaves it next to nothing, as beside a flood on
//! every core, a second thread raises it to a small share for the rest of the piece, and with it the threads that the piece began
//! and gave no name of their own.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::thread::{Pid, gettid};

/// Where a thread stands among those that want its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Behind all others.
    Last,
    /// It has a share: beside one thread that always has work, about a tenth of the core.
    Share,
}

/// Has the system put a thread there. From [`Standing::Last`] one comes back only with a right to.
pub type Stand = dyn Fn(Pid, Standing) -> io::Result<()> + Send + Sync;

/// The thread's name, and that of threads it begins.
const NAME: &str = "background";
/// How often the thread is looked after.
const WATCH: Duration = Duration::from_millis(250);
/// One that has less than this part of a core stands too far behind.
const LEAST_PART: u32 = 20;

type Work = Box<dyn FnOnce() + Send>;

/// The thread, which ends when the last handle is dropped and all is done.
#[derive(Clone, Debug)]
pub struct Background {
    work: mpsc::Sender<Work>,
}

impl Background {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says where it can't be had.
    pub fn start(stand: Arc<Stand>) -> io::Result<Self> {
        Self::watched(stand, WATCH)
    }

    fn watched(stand: Arc<Stand>, every: Duration) -> io::Result<Self> {
        let (work, waiting) = mpsc::channel();
        let thread = move || run(&waiting, &stand, every);
        std::thread::Builder::new().name(NAME.to_owned()).spawn(thread)?;
        Ok(Self { work })
    }

    /// Has `work` done when all before it is.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) {
        // The thread ends only after the last handle: there is always somebody to take it.
        _ = self.work.send(Box::new(work));
    }
}

fn run(waiting: &mpsc::Receiver<Work>, stand: &Arc<Stand>, every: Duration) {
    let thread = gettid();
    if let Err(error) = stand(thread, Standing::Share) {
        tracing::warn!(%error, "reading zones again may delay answers: its thread can't give way");
    }
    let watch = if can_come_back(stand) { Watch::begin(thread, stand.clone(), every) } else { None };
    for work in waiting {
        let _watched = watch.as_ref().map(|watch| watch.piece(thread));
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!("a panic in the background; what was to be done there is not");
        }
    }
}

/// Whether a thread that stands last may have a share again, tried by one that is needed for nothing else.
fn can_come_back(stand: &Arc<Stand>) -> bool {
    std::thread::scope(|scope| {
        let try_it = || [Standing::Last, Standing::Share].iter().all(|standing| stand(gettid(), *standing).is_ok());
        std::thread::Builder::new().spawn_scoped(scope, try_it).ok()?.join().ok()
    })
    .unwrap_or(false)
}

/// The second thread, which looks after the first.
struct Watch {
    pieces: mpsc::Sender<mpsc::Receiver<()>>,
    stand: Arc<Stand>,
}

impl Watch {
    fn begin(watched: Pid, stand: Arc<Stand>, every: Duration) -> Option<Self> {
        let (pieces, begun) = mpsc::channel::<mpsc::Receiver<()>>();
        let of_thread = stand.clone();
        let look = move || {
            for piece in begun {
                look_after(&piece, every, || processor_time(watched), || raise_all(&of_thread));
            }
        };
        std::thread::Builder::new().name("background-watch".to_owned()).spawn(look).ok()?;
        Some(Self { pieces, stand })
    }

    /// From now on the thread stands last; what this gives is dropped at the end of the piece.
    fn piece(&self, thread: Pid) -> mpsc::Sender<()> {
        let (end, ended) = mpsc::channel();
        if self.pieces.send(ended).is_ok() {
            _ = (self.stand)(thread, Standing::Last); // it could before; if not, it has its share
        }
        end
    }
}

/// Calls `raise` once a piece of work has less than its least part of a core, if it ever does before it ends.
fn look_after(piece: &mpsc::Receiver<()>, every: Duration, used: impl Fn() -> Option<Duration>, raise: impl FnOnce()) {
    let (mut since, mut before) = (Instant::now(), used());
    while let Err(RecvTimeoutError::Timeout) = piece.recv_timeout(every) {
        let now = used();
        let part = now.zip(before).map(|(now, before)| now.saturating_sub(before) * LEAST_PART);
        if part.is_none_or(|part| part < since.elapsed()) {
            raise();
            _ = piece.recv();
            return;
        }
        (since, before) = (Instant::now(), now);
    }
}

/// Gives the thread, and those that it began, their share.
fn raise_all(stand: &Arc<Stand>) {
    for thread in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let is_one = std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim_end() == NAME);
        let number = thread.file_name().to_str().and_then(|number| number.parse().ok());
        if let Some(thread) = number.and_then(Pid::from_raw).filter(|_| is_one) {
            _ = stand(thread, Standing::Share); // one that has just ended, or may not come back, stays
        }
    }
}

/// What a thread of this process has had of a core so far.
fn processor_time(thread: Pid) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Mutex;

    use super::*;

    /// Where threads were put.
    type Stood = Mutex<Vec<(Pid, Standing)>>;

    /// Remembers where threads are put, who may come back or not.
    fn remembering(may: bool) -> (Arc<Stood>, Arc<Stand>) {
        let all: Arc<Stood> = Arc::default();
        let told = all.clone();
        let stand = move |thread, standing| {
            let mut told = told.lock().unwrap();
            let refused = !may && standing == Standing::Share && told.contains(&(thread, Standing::Last));
            told.push((thread, standing));
            if refused { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
        };
        (all, Arc::new(stand))
    }

    fn of(all: &Stood, thread: Pid) -> Vec<Standing> {
        all.lock().unwrap().iter().filter(|(other, _)| *other == thread).map(|(_, standing)| *standing).collect()
    }

    #[test]
    fn work_is_done_in_order_behind_all_others() {
        let (all, stand) = remembering(true);
        let background = Background::start(stand).unwrap();
        let (told, heard) = mpsc::channel();
        background.run(|| panic!("one that fails"));
        for number in 0..3 {
            let (told, all) = (told.clone(), all.clone());
            background.run(move || told.send((number, of(&all, gettid()))).unwrap());
        }
        drop((told, background));
        let stands: Vec<_> = heard.iter().collect();
        assert_eq!(stands.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(stands.iter().all(|(_, stood)| stood[0] == Standing::Share && stood.last() == Some(&Standing::Last)));
    }

    #[test]
    fn work_that_gets_nowhere_is_raised_for_as_long_as_it_lasts() {
        let (all, stand) = remembering(true);
        let background = Background::watched(stand, Duration::from_millis(1)).unwrap();
        let (told, heard) = mpsc::channel();
        let (of_piece, seen) = (told.clone(), all.clone());
        background.run(move || {
            // It has nothing of the core while it waits, nor has who it waits for.
            let wait = || {
                while of(&seen, gettid()).last() != Some(&Standing::Share) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                of(&seen, gettid())
            };
            let begun = std::thread::scope(|scope| scope.spawn(wait).join().unwrap());
            assert_eq!(begun, [Standing::Share]);
            of_piece.send(wait()).unwrap();
        });
        background.run(move || told.send(of(&all, gettid())[..4].to_vec()).unwrap());
        use Standing::{Last, Share};
        assert_eq!(heard.iter().collect::<Vec<_>>(), [vec![Share, Last, Share], vec![Share, Last, Share, Last]]);
    }

    #[test]
    fn who_could_not_come_back_keeps_its_share() {
        let (all, stand) = remembering(false);
        let background = Background::start(stand).unwrap();
        let (told, heard) = mpsc::channel();
        background.run(move || told.send(of(&all, gettid())).unwrap());
        assert_eq!(heard.iter().collect::<Vec<_>>(), [vec![Standing::Share]]);
    }

    #[test]
    fn a_thread_knows_what_it_had_of_a_core() {
        let before = processor_time(gettid()).unwrap();
        let mut number = 1u64;
        while processor_time(gettid()).unwrap() < before + Duration::from_millis(2) {
            number = (0..10_000).fold(number, |number, by| std::hint::black_box(number.wrapping_mul(by | 1)));
        }
        assert!(processor_time(gettid()).unwrap() >= before + Duration::from_millis(2));
    }

    #[test]
    fn one_that_works_stays_behind_all_others() {
        let (end, piece) = mpsc::channel();
        let (end, looks) = (Cell::new(Some(end)), Cell::new(0));
        let busy = || {
            looks.set(looks.get() + 1);
            if looks.get() == 4 {
                drop(end.take()); // the piece is done
            }
            Some(Duration::from_hours(1) * looks.get())
        };
        look_after(&piece, Duration::ZERO, busy, || panic!("it was raised"));
        assert_eq!(looks.get(), 4);
    }
}
