//! What the kernel says of its clock, by `adjtimex(2)`.

use std::io;
use std::mem::MaybeUninit;

/// Whether the wall clock is kept in step with a source of time. Reading that needs no right.
///
/// # Errors
/// What the system said: a filter of system calls may forbid it.
pub(in crate::server) fn is_synchronised() -> io::Result<bool> {
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all zeroes are a `timex` that asks for nothing to be set, and the kernel writes within it.
    let state = unsafe { libc::adjtimex(timex.as_mut_ptr()) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was all zeroes before the kernel wrote to it: every field is a number.
    let timex = unsafe { timex.assume_init() };
    Ok(timex.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_says_or_refuses() {
        if let Err(error) = super::is_synchronised() {
            assert!(error.raw_os_error().is_some(), "{error}");
        }
    }
}
