//! A TCP connection as DNS needs it, with or without TLS over it: what was sent is watched until it is acknowledged.
//!
//! An answer must not linger: the horizon allows it [`TRANSIT_SECS`] on its way. So a client whose host does not acknowledge
//! answers in that time is reset, its answers discarded. A transfer may take longer, for as long as its reader reads on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

use crate::server::kernel::mmsg::unsent_octets;
use crate::server::requests::Outgoing;
use crate::steering::horizon::TRANSIT_SECS;

/// An answer that is not taken for long might reach a cache after the horizon. Octets that are written while others wait are
/// timed once those are acknowledged: so each is allowed half of the time.
pub(super) const ACKNOWLEDGED: Duration = Duration::from_millis(TRANSIT_SECS * 1000 / 2);
/// The reader of a transfer who takes nothing for so long is given up.
pub(super) const STALLED: Duration = Duration::from_secs(30);
/// How often it is looked, at the end of a connection, whether what was sent has been acknowledged.
const ACK_CHECK: Duration = Duration::from_millis(5);
/// Octets of a transfer that wait in the socket to be sent: answers to other queries stand behind no more.
const UNSENT_OCTETS: u32 = 32 * 1024;

/// A TCP connection that counts what the kernel has taken.
pub(super) struct Counted {
    tcp: TcpStream,
    written: u64,
}

impl Counted {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, written: 0 }
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, into)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write(cx, octets);
        if let Poll::Ready(Ok(written)) = polled {
            self.written += written as u64;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// What octets go through: a TCP connection as it is, or TLS over one.
pub(super) trait Carrier: AsyncRead + AsyncWrite + Unpin {
    /// The connection below.
    fn socket(&self) -> &Counted;
}

impl Carrier for Counted {
    fn socket(&self) -> &Counted {
        self
    }
}

impl Carrier for TlsStream<Counted> {
    fn socket(&self) -> &Counted {
        self.get_ref().0
    }
}

/// A connection whose answers must not linger: what has been written has to be acknowledged in time, and what has not been
/// when the connection ends is discarded by a reset, as closing it would go on sending. Octets are counted as they go over TCP.
pub(super) struct Stream<C: Carrier> {
    io: C,
    /// Octets until the end of the last answer.
    answered: u64,
    /// Answers that were written when, and are not acknowledged yet: the octets before that place.
    mark: Option<(u64, Instant)>,
    /// In a transfer: octets acknowledged, and since when no more are.
    progress: Option<(u64, Instant)>,
}

impl<C: Carrier> Stream<C> {
    pub(super) fn new(io: C) -> io::Result<Self> {
        io.socket().tcp.set_nodelay(true)?;
        SockRef::from(&io.socket().tcp).set_tcp_user_timeout(Some(ACKNOWLEDGED))?;
        Ok(Self { io, answered: 0, mark: None, progress: None })
    }

    /// Sends answers made right now.
    pub(super) async fn send(&mut self, answers: &[u8]) -> io::Result<()> {
        self.check()?;
        self.write_until(Instant::now() + ACKNOWLEDGED, answers).await
    }

    /// Waits until answers would not stand behind more of a transfer than is under way.
    pub(super) async fn ready_for_answers(&mut self) -> io::Result<()> {
        if self.progress.is_some() {
            timeout(STALLED, self.io.socket().tcp.writable()).await??;
        }
        Ok(())
    }

    /// Sends what was made elsewhere.
    pub(super) async fn pass(&mut self, outgoing: Outgoing) -> io::Result<()> {
        let octets = outgoing.framed();
        if let Some(made) = outgoing.answered {
            self.check()?;
            while self.mark.is_some() {
                tokio::time::sleep(ACK_CHECK).await;
                self.check()?;
            }
            self.write_until(made + ACKNOWLEDGED, &octets).await?;
            self.mark = Some((self.answered, made));
            return Ok(());
        }
        if self.progress.is_none() {
            let socket = SockRef::from(&self.io.socket().tcp);
            socket.set_tcp_notsent_lowat(UNSENT_OCTETS)?;
            socket.set_tcp_user_timeout(Some(STALLED))?;
            self.progress = Some((self.acknowledged()?, Instant::now()));
        }
        self.write_on(&octets, false).await
    }

    /// Writes for as long as the reader takes what was sent before, and then maybe says that this is the end.
    async fn write_on(&mut self, mut rest: &[u8], end: bool) -> io::Result<()> {
        loop {
            let taken_by = self.check()?;
            let until = taken_by.unwrap_or_else(|| Instant::now() + STALLED);
            let step = async {
                match rest {
                    [] if end => self.io.shutdown().await.map(|()| 0),
                    [] => self.io.flush().await.map(|()| 0), // TLS may still hold some
                    _ => self.io.write(rest).await,
                }
            };
            match timeout_at(until, step).await {
                Ok(Ok(_)) if rest.is_empty() => return Ok(()),
                Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(Ok(written)) => rest = &rest[written..],
                Ok(Err(error)) => return Err(error),
                Err(late) if taken_by.is_none() => return Err(late.into()),
                Err(_) => {} // the check tells
            }
        }
    }

    /// Reads on, until `deadline` at most. Gives 0 at the end, which the deadline is too. Whoever gives up the wait loses nothing.
    pub(super) async fn read(&mut self, input: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
        loop {
            let acknowledged_by = self.check()?;
            let until = acknowledged_by.map_or(deadline, |by| by.min(deadline));
            match timeout_at(until, self.io.read_buf(input)).await {
                // TLS that ends without a word: messages have their lengths, so nothing is cut short unseen.
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Ok(read) => return read,
                Err(_) if until == deadline => return Ok(0),
                Err(_) => {} // the check tells
            }
        }
    }

    /// Says that this is the end, and waits until all that was sent is acknowledged.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        self.write_on(&[], true).await?;
        while self.check()?.is_some() {
            tokio::time::sleep(ACK_CHECK).await;
        }
        Ok(())
    }

    /// Writes answers, all of them until then.
    async fn write_until(&mut self, until: Instant, answers: &[u8]) -> io::Result<()> {
        let whole = async {
            self.io.write_all(answers).await?;
            self.io.flush().await // TLS may still hold some
        };
        timeout_at(until, whole).await??;
        self.answered = self.sent();
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.io.socket().written
    }

    fn acknowledged(&self) -> io::Result<u64> {
        let unsent = unsent_octets(&self.io.socket().tcp)?; // our FIN counts as one
        Ok(self.sent().saturating_sub(unsent as u64))
    }

    /// Until when what is under way has to be acknowledged, more of a transfer at least; `None` when nothing is under way.
    fn check(&mut self) -> io::Result<Option<Instant>> {
        let (sent, acknowledged) = (self.sent(), self.acknowledged()?);
        match self.mark {
            Some((place, _)) if acknowledged >= place => self.mark = None,
            Some((_, since)) if since.elapsed() >= ACKNOWLEDGED => return Err(io::ErrorKind::TimedOut.into()),
            _ => {}
        }
        if self.mark.is_none() && acknowledged < self.answered {
            self.mark = Some((self.answered, Instant::now()));
        }
        match &mut self.progress {
            Some((before, since)) if *before < acknowledged || acknowledged == sent => {
                (*before, *since) = (acknowledged, Instant::now());
            }
            Some((_, since)) if since.elapsed() >= STALLED => return Err(io::ErrorKind::TimedOut.into()),
            _ => {}
        }
        let answers_by = self.mark.map(|(_, since)| since + ACKNOWLEDGED);
        let transfer_by = self.progress.filter(|_| acknowledged < sent).map(|(_, since)| since + STALLED);
        Ok(answers_by.into_iter().chain(transfer_by).min())
    }
}

impl<C: Carrier> Drop for Stream<C> {
    fn drop(&mut self) {
        if unsent_octets(&self.io.socket().tcp).is_ok_and(|octets| octets > 0) {
            _ = SockRef::from(&self.io.socket().tcp).set_linger(Some(Duration::ZERO)); // a socket that is gone needs none
        }
    }
}
