//! One direction of a connection: takes octets from one socket, gives them to the other, then passes on the end.
//!
//! What always holds: it takes in only when it holds nothing, so memory is bounded by one buffer or one pipe; the order of
//! octets is kept; the end is passed on after the last octet. A small copy comes first, as most exchanges are small;
//! while copies fill their buffer, bytes go through a pipe without being copied.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::pipe::Pipe;

/// A read that fills this much is the sign of bulk.
const COPY_SIZE: usize = 16 * 1024;
/// Rounds before other connections get their turn: 2 MiB at most.
const ROUNDS: usize = 8;

thread_local! {
    /// Where small reads land; only what can't be given on at once is kept beyond the call.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; COPY_SIZE].into_boxed_slice());
}

/// One direction of a connection.
#[derive(Default)]
pub(super) struct Pump {
    held: Held,
    /// Octets taken in so far.
    taken: u64,
    bulk: bool,
    state: State,
}

/// What was taken in and not yet given on.
#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Octets {
        octets: Box<[u8]>,
        given: usize,
    },
    Pipe(Pipe),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The end was read; it is passed on once nothing is held.
    Ending,
    Done,
}

/// Which side of the pump an error is of.
#[derive(Debug)]
pub(super) enum Broken {
    /// The socket that is read from.
    From(io::Error),
    /// The socket that is written to.
    To(io::Error),
}

impl Pump {
    /// A pump that gives `first` before anything it takes in.
    pub(super) fn starting_with(first: Vec<u8>) -> Self {
        Self { held: Held::of(first), ..Self::default() }
    }

    /// Octets taken in so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether octets wait for the receiver.
    pub(super) fn holds(&self) -> bool {
        !matches!(self.held, Held::Nothing)
    }

    /// Whether the sender's end was read.
    pub(super) fn ended(&self) -> bool {
        self.state != State::Open
    }

    /// Whether the end was passed on.
    pub(super) fn done(&self) -> bool {
        self.state == State::Done
    }

    /// Moves octets until there are none, the receiver takes no more, or others should have their turn. Ready when the
    /// end was passed on; must not be called again then.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..ROUNDS {
            ready!(self.poll_give(cx, to)).map_err(Broken::To)?;
            if self.state == State::Ending {
                SockRef::from(&*to).shutdown(Shutdown::Write).map_err(Broken::To)?;
                self.state = State::Done;
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_take(cx, from, to))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_give(&mut self, cx: &mut Context<'_>, to: &mut TcpStream) -> Poll<io::Result<()>> {
        loop {
            match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Octets { octets, given } => {
                    *given += ready!(Pin::new(&mut *to).poll_write(cx, &octets[*given..]))?;
                    if *given == octets.len() {
                        self.held = Held::Nothing;
                    }
                }
                Held::Pipe(pipe) => match to.try_io(Interest::WRITABLE, || pipe.drain(&*to)) {
                    Ok(_) if pipe.waiting() == 0 => {
                        if let Held::Pipe(pipe) = std::mem::take(&mut self.held) {
                            pipe.give_back();
                        }
                    }
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(to.poll_write_ready(cx))?,
                    Err(e) if e.kind() == io::ErrorKind::Unsupported => self.held = Held::of(pipe.read_out()?),
                    Err(e) => return Poll::Ready(Err(e)),
                },
            }
        }
    }

    /// Takes in once; holds nothing when called. A copy is given on at once, as far as the receiver takes it.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> Poll<Result<(), Broken>> {
        if self.bulk
            && let Some(pipe) = Pipe::take()
        {
            return self.poll_splice(cx, from, pipe).map_err(Broken::From);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(cx, &mut buffer)).map_err(Broken::From)?;
            let octets = buffer.filled();
            if octets.is_empty() {
                self.state = State::Ending;
                return Poll::Ready(Ok(()));
            }
            self.taken += octets.len() as u64;
            self.bulk = octets.len() == COPY_SIZE;
            let given = match Pin::new(to).poll_write(cx, octets) {
                Poll::Ready(given) => given.map_err(Broken::To)?,
                Poll::Pending => 0,
            };
            self.held = Held::of(octets[given..].to_vec());
            Poll::Ready(Ok(()))
        })
    }

    fn poll_splice(&mut self, cx: &mut Context<'_>, from: &TcpStream, mut pipe: Pipe) -> Poll<io::Result<()>> {
        loop {
            match from.try_io(Interest::READABLE, || pipe.fill(from)) {
                Ok(0) => {
                    self.state = State::Ending;
                    pipe.give_back();
                    return Poll::Ready(Ok(()));
                }
                Ok(count) => {
                    self.taken += count as u64;
                    self.bulk = count >= COPY_SIZE;
                    self.held = Held::Pipe(pipe);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => match from.poll_read_ready(cx) {
                    Poll::Ready(readiness) => readiness?,
                    Poll::Pending => {
                        pipe.give_back();
                        return Poll::Pending;
                    }
                },
                Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                    self.bulk = false;
                    return Poll::Ready(Ok(()));
                }
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl Held {
    fn of(octets: Vec<u8>) -> Self {
        if octets.is_empty() { Self::Nothing } else { Self::Octets { octets: octets.into(), given: 0 } }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::pipe;
    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (one, other) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (one.unwrap(), other.unwrap().0)
    }

    #[tokio::test]
    async fn where_splice_is_refused_octets_are_copied() {
        pipe::refuse();
        let ((mut sender, mut from), (mut to, mut receiver)) = (pair().await, pair().await);
        let sent: Vec<u8> = (0..4_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let expected = sent.clone();
        let sending = tokio::spawn(async move {
            sender.write_all(&sent).await.unwrap();
            sender.shutdown().await.unwrap();
        });
        let receiving = tokio::spawn(async move {
            let mut got = Vec::new();
            receiver.read_to_end(&mut got).await.unwrap();
            got
        });
        let mut pump = Pump::starting_with(b"first".to_vec());
        poll_fn(|cx| pump.poll(cx, &mut from, &mut to)).await.unwrap();
        sending.await.unwrap();
        let got = receiving.await.unwrap();
        assert!(got[..5] == *b"first" && got[5..] == expected);
        assert_eq!(pump.taken(), expected.len() as u64);
        assert!(pump.done() && !pump.holds());
    }
}
