//! A TCP connection as DNS needs it: what was sent is watched until it is acknowledged.
//!
//! An answer must not linger: the horizon allows it [`TRANSIT_SECS`] on its way. So a client whose host does not acknowledge
//! answers in that time is reset, its answers discarded. A transfer may take longer, for as long as its reader reads on.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::server::kernel::mmsg::unsent_octets;
use crate::server::requests::Outgoing;
use crate::steering::horizon::TRANSIT_SECS;

/// An answer that is not taken for long might reach a cache after the horizon. Octets that are written while others wait are
/// timed once those are acknowledged: so each is allowed half of the time.
const ACKNOWLEDGED: Duration = Duration::from_millis(TRANSIT_SECS * 1000 / 2);
/// The reader of a transfer who takes nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(30);
/// How often it is looked, at the end of a connection, whether what was sent has been acknowledged.
const ACK_CHECK: Duration = Duration::from_millis(5);
/// Octets of a transfer that wait in the socket to be sent: answers to other queries stand behind no more.
const UNSENT_OCTETS: u32 = 32 * 1024;

/// A connection whose answers must not linger: what has been written has to be acknowledged in time, and what has not been
/// when the connection ends is discarded by a reset, as closing it would go on sending.
pub(super) struct Stream {
    tcp: TcpStream,
    /// Octets written.
    sent: u64,
    /// Octets until the end of the last answer.
    answered: u64,
    /// Answers that were written when, and are not acknowledged yet: the octets before that place.
    mark: Option<(u64, Instant)>,
    /// In a transfer: octets acknowledged, and since when no more are.
    progress: Option<(u64, Instant)>,
}

impl Stream {
    pub(super) fn new(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        SockRef::from(&tcp).set_tcp_user_timeout(Some(ACKNOWLEDGED))?;
        Ok(Self { tcp, sent: 0, answered: 0, mark: None, progress: None })
    }

    /// Sends answers made right now.
    pub(super) async fn send(&mut self, answers: &[u8]) -> io::Result<()> {
        self.check()?;
        timeout(ACKNOWLEDGED, self.tcp.write_all(answers)).await??;
        self.sent += answers.len() as u64;
        self.answered = self.sent;
        Ok(())
    }

    /// Waits until answers would not stand behind more of a transfer than is under way.
    pub(super) async fn ready_for_answers(&mut self) -> io::Result<()> {
        if self.progress.is_some() {
            timeout(STALLED, self.tcp.writable()).await??;
        }
        Ok(())
    }

    /// Sends what was made elsewhere.
    pub(super) async fn pass(&mut self, outgoing: Outgoing) -> io::Result<()> {
        let length = (outgoing.message.len() as u16).to_be_bytes();
        let octets = [&length[..], &outgoing.message].concat();
        if let Some(made) = outgoing.answered {
            self.check()?;
            while self.mark.is_some() {
                tokio::time::sleep(ACK_CHECK).await;
                self.check()?;
            }
            timeout_at(made + ACKNOWLEDGED, self.tcp.write_all(&octets)).await??;
            self.sent += octets.len() as u64;
            self.answered = self.sent;
            self.mark = Some((self.sent, made));
            return Ok(());
        }
        if self.progress.is_none() {
            let socket = SockRef::from(&self.tcp);
            socket.set_tcp_notsent_lowat(UNSENT_OCTETS)?;
            socket.set_tcp_user_timeout(Some(STALLED))?;
            self.progress = Some((self.acknowledged()?, Instant::now()));
        }
        let mut rest = &octets[..];
        while !rest.is_empty() {
            self.check()?;
            let written = timeout(STALLED, self.tcp.write(rest)).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[written..];
            self.sent += written as u64;
        }
        Ok(())
    }

    /// Reads on, until `deadline` at most. Gives 0 at the end. Whoever gives up the wait loses nothing.
    pub(super) async fn read(&mut self, input: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
        loop {
            let acknowledged_by = self.check()?;
            let until = acknowledged_by.map_or(deadline, |by| by.min(deadline));
            match timeout_at(until, self.tcp.read_buf(input)).await {
                Ok(read) => return read,
                Err(late) if until == deadline => return Err(late.into()),
                Err(_) => {} // the check tells
            }
        }
    }

    /// Waits until all that was sent is acknowledged.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        while self.check()?.is_some() {
            tokio::time::sleep(ACK_CHECK).await;
        }
        Ok(())
    }

    fn acknowledged(&self) -> io::Result<u64> {
        Ok(self.sent - unsent_octets(&self.tcp)? as u64)
    }

    /// Until when what is under way has to be acknowledged, more of a transfer at least; `None` when nothing is under way.
    fn check(&mut self) -> io::Result<Option<Instant>> {
        let acknowledged = self.acknowledged()?;
        match self.mark {
            Some((place, _)) if acknowledged >= place => self.mark = None,
            Some((_, since)) if since.elapsed() >= ACKNOWLEDGED => return Err(io::ErrorKind::TimedOut.into()),
            _ => {}
        }
        if self.mark.is_none() && acknowledged < self.answered {
            self.mark = Some((self.answered, Instant::now()));
        }
        match &mut self.progress {
            Some((before, since)) if *before < acknowledged || acknowledged == self.sent => {
                (*before, *since) = (acknowledged, Instant::now());
            }
            Some((_, since)) if since.elapsed() >= STALLED => return Err(io::ErrorKind::TimedOut.into()),
            _ => {}
        }
        let answers_by = self.mark.map(|(_, since)| since + ACKNOWLEDGED);
        let transfer_by = self.progress.filter(|_| acknowledged < self.sent).map(|(_, since)| since + STALLED);
        Ok(answers_by.into_iter().chain(transfer_by).min())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if unsent_octets(&self.tcp).is_ok_and(|octets| octets > 0) {
            _ = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO)); // a socket that is gone needs none
        }
    }
}
