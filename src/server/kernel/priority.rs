//! Who comes first on a core that threads share.

use std::mem;

/// How long a turn of a thread that answers is: about what a full batch takes.
const TURN_NS: u64 = 100_000;

/// Asks for short turns of the calling thread. One that answers is let in at once when it wakes, where others have longer
/// turns; one that works in the background is looked at anew after so long, where a turn of its own would be milliseconds.
/// Linux offers that from 6.12 on; before, it changes nothing. Threads with a policy of their own, such as a real-time one,
/// keep it.
pub fn take_short_turns() {
    let octets = size_of::<libc::sched_attr>();
    // SAFETY: plain numbers, for which zero is a value.
    let mut attributes: libc::sched_attr = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most `octets`, the size of what the pointer leads to; 0 is the calling thread.
    let known = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, octets as u32, 0u32) };
    if known != 0 || attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return;
    }
    attributes.sched_runtime = TURN_NS;
    // SAFETY: the kernel reads as many octets as the structure says it has, which are those that it filled in before.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0u32) };
    if done != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "turns stay as long as they are");
    }
}
