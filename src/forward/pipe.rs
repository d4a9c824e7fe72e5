//! Pipes through which the kernel moves bytes from socket to socket (splice(2)), and the pool they come from.
//!
//! A relay holds a pipe only while bytes wait in it, so that an idle connection costs none. Each thread has its own pool:
//! no lock is taken, and a pipe may be given back on another thread than it was taken from.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// What a pipe is asked to hold: large enough that bulk transfer is bound by the kernel, not by the number of calls.
pub(super) const PIPE_SIZE: usize = 256 * 1024;
/// Empty pipes that a thread keeps: enough for the connections that are busy at one time, few of the descriptors.
const KEPT: usize = 32;

/// Set once the kernel (or a filter before it) refused splice(2); from then on bytes are copied.
static REFUSED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static POOL: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe and the octets that wait in it. Dropping it loses them.
pub(super) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    waiting: usize,
}

impl Pipe {
    /// An empty pipe; `None` where splice(2) is refused or no descriptor is left, so that bytes are to be copied.
    pub(super) fn take() -> Option<Self> {
        if REFUSED.load(Ordering::Relaxed) {
            return None;
        }
        POOL.with_borrow_mut(Vec::pop).or_else(Self::new)
    }

    fn new() -> Option<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Refused beyond a user's share of pipe memory; a smaller pipe works as well, only with more calls.
        let _ = fcntl_setpipe_size(&into, PIPE_SIZE);
        Some(Self { out, into, waiting: 0 })
    }

    /// Back to the pool; closed if it isn't empty or the pool has enough.
    pub(super) fn give_back(self) {
        if self.waiting == 0 {
            POOL.with_borrow_mut(|pool| {
                if pool.len() < KEPT {
                    pool.push(self);
                }
            });
        }
    }

    /// Octets that wait in it.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Moves what a socket has into the pipe, which must be empty: only then does `WouldBlock` speak of the socket. 0 is
    /// the end of the stream.
    ///
    /// # Errors
    /// As read(2); `Unsupported` where splice(2) is refused, with nothing read.
    pub(super) fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        debug_assert_eq!(self.waiting, 0);
        match splice(from, None, &self.into, None, PIPE_SIZE, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Ok(count) => {
                self.waiting = count;
                Ok(count)
            }
            Err(e) => Err(told_apart(e)),
        }
    }

    /// Moves what waits to a socket; gives the number of octets that it took.
    ///
    /// # Errors
    /// As write(2); `Unsupported` where splice(2) is refused, with nothing lost: [`Self::read_out`] gives it.
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let count = splice(&self.out, None, to, None, self.waiting, flags).map_err(told_apart)?;
        self.waiting -= count;
        Ok(count)
    }

    /// Takes out what waits, to be copied.
    pub(super) fn read_out(&mut self) -> io::Result<Vec<u8>> {
        let mut octets = vec![0; self.waiting];
        let mut filled = 0;
        while filled < octets.len() {
            match rustix::io::read(&self.out, &mut octets[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        self.waiting = 0;
        Ok(octets)
    }
}

/// From now on no pipe can be taken, as where splice(2) is refused.
#[cfg(test)]
pub(super) fn refuse() {
    REFUSED.store(true, Ordering::Relaxed);
}

/// Tells a refusal of the call itself (an old kernel, a seccomp filter, an odd socket) from an error of the connection.
fn told_apart(error: Errno) -> io::Error {
    match error {
        Errno::NOSYS | Errno::INVAL | Errno::PERM => {
            if !REFUSED.swap(true, Ordering::Relaxed) {
                tracing::warn!(%error, "splice(2) is refused here, so bytes are copied");
            }
            io::ErrorKind::Unsupported.into()
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_pipe_moves_octets_and_goes_back_empty() {
        let (mut sender, from) = UnixStream::pair().unwrap();
        let (to, mut receiver) = UnixStream::pair().unwrap();
        sender.write_all(b"through the kernel").unwrap();
        let mut pipe = Pipe::new().unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 18);
        assert_eq!(pipe.drain(&to).unwrap(), 18);
        assert_eq!(pipe.waiting(), 0);
        let mut got = [0; 18];
        receiver.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"through the kernel");
        pipe.give_back();
        assert_eq!(POOL.with_borrow(Vec::len), 1);
    }

    #[test]
    fn what_waits_can_be_read_out() {
        let (mut sender, from) = UnixStream::pair().unwrap();
        sender.write_all(b"kept").unwrap();
        let mut pipe = Pipe::new().unwrap();
        pipe.fill(&from).unwrap();
        assert_eq!(pipe.read_out().unwrap(), b"kept");
        assert_eq!(pipe.waiting(), 0);
    }

    #[test]
    fn a_pipe_that_is_not_empty_is_never_used_again() {
        let (mut sender, from) = UnixStream::pair().unwrap();
        sender.write_all(b"someone else's").unwrap();
        let mut pipe = Pipe::new().unwrap();
        pipe.fill(&from).unwrap();
        let before = POOL.with_borrow(Vec::len);
        pipe.give_back();
        assert_eq!(POOL.with_borrow(Vec::len), before);
    }
}
