//! Questions to a primary over TCP or TLS (RFC 9103), and all that it answers, bounded in octets and in time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::dns::Name;
use crate::dns::tsig::{self, Key};
use crate::dns::wire::HEADER_OCTETS;
use crate::time::Timestamp;
use crate::tls;
use crate::zone::incoming::{Ask, Incoming, Receiver, Wrong};

/// To connect, and between two messages.
const STEP: Duration = Duration::from_secs(15);
/// For all of a transfer.
const LONGEST: Duration = Duration::from_hours(2);
/// A transfer of more octets is refused.
const MAX_OCTETS: u64 = 4 << 30;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It did not become TLS, or it is another's.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// What came is no good.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// Its signature is no good.
    #[error(transparent)]
    Tsig(#[from] tsig::Error),
    /// It takes too long.
    #[error("no answer within {0:?}")]
    TooLong(Duration),
}

impl Failed {
    /// Whether the whole zone may come although the changes did not.
    pub fn is_of_the_form(&self) -> bool {
        matches!(self, Self::Wrong(_))
    }
}

/// A primary.
#[derive(Clone, Debug)]
pub struct Primary {
    /// Where it listens.
    pub address: SocketAddr,
    /// What queries are signed with, and responses must be.
    pub key: Option<Arc<Key>>,
    /// How its certificate is verified; `None`: it is asked over TCP.
    pub tls: Option<tls::Client>,
}

/// What octets come and go through.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<C: AsyncRead + AsyncWrite + Send + Unpin> Connection for C {}

/// Questions to one primary, over one connection while that holds (RFC 9103, 6.3.1).
pub struct Conversation<'p> {
    primary: &'p Primary,
    open: Option<Box<dyn Connection>>,
}

impl<'p> Conversation<'p> {
    /// None is asked yet.
    pub fn with(primary: &'p Primary) -> Self {
        Self { primary, open: None }
    }

    /// Asks about the zone `apex`.
    ///
    /// # Errors
    /// [`Failed`]; nothing of what came is any good then.
    pub async fn ask(&mut self, apex: &Name, ask: Ask) -> Result<Incoming, Failed> {
        timeout(LONGEST, self.converse(apex, ask)).await.unwrap_or(Err(Failed::TooLong(LONGEST)))
    }

    async fn converse(&mut self, apex: &Name, ask: Ask) -> Result<Incoming, Failed> {
        let id = getrandom::u32().map_or(0, |draw| draw as u16); // in a connection it is no secret
        let mut query = ask.message(id, apex);
        let key = self.primary.key.as_ref();
        let mut verifier = key.map(|key| key.sign_request(&mut query, Timestamp::now()));
        let framed = [&(query.len() as u16).to_be_bytes()[..], &query].concat();
        let (mut stream, first) = self.send(&framed).await?;
        let mut receiver = Receiver::new(apex, ask, id);
        let (mut message, mut octets, mut length) = (Vec::new(), 0, first);
        loop {
            octets += u64::from(length) + 2;
            if octets > MAX_OCTETS {
                return Err(Wrong::TooLarge.into());
            }
            message.resize(usize::from(length), 0);
            step(stream.read_exact(&mut message)).await.map_err(cut_off)?;
            if message.len() < HEADER_OCTETS {
                return Err(Wrong::Malformed.into());
            }
            if let Some(verifier) = &mut verifier {
                verifier.verify(&message, Timestamp::now())?;
            }
            if receiver.take(&message)? {
                break;
            }
            length = step(stream.read_u16()).await.map_err(cut_off)?;
        }
        if verifier.is_some_and(|verifier| !verifier.is_whole()) {
            return Err(tsig::Error::Unsigned.into());
        }
        let came = receiver.finish()?;
        self.open = Some(stream);
        Ok(came)
    }

    /// Sends a query; gives the connection, and the length of the first message that comes on it.
    async fn send(&mut self, framed: &[u8]) -> Result<(Box<dyn Connection>, u16), Failed> {
        async fn over(mut stream: Box<dyn Connection>, framed: &[u8]) -> Result<(Box<dyn Connection>, u16), Failed> {
            step(stream.write_all(framed)).await?;
            step(stream.flush()).await?;
            let length = step(stream.read_u16()).await.map_err(cut_off)?;
            Ok((stream, length))
        }
        // The primary may have closed a connection that was used before, at any moment (RFC 7766, 6.2.4).
        if let Some(open) = self.open.take()
            && let Ok(answered) = over(open, framed).await
        {
            return Ok(answered);
        }
        over(connect(self.primary).await?, framed).await
    }
}

async fn connect(primary: &Primary) -> Result<Box<dyn Connection>, Failed> {
    let stream = step(TcpStream::connect(primary.address)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = &primary.tls else { return Ok(Box::new(stream)) };
    let host = primary.address.ip().to_string();
    let connected = timeout(STEP, tls.connect(stream, &host)).await.map_err(|_| Failed::TooLong(STEP))?;
    Ok(Box::new(connected?))
}

async fn step<T>(what: impl Future<Output = io::Result<T>>) -> Result<T, Failed> {
    Ok(timeout(STEP, what).await.map_err(|_| Failed::TooLong(STEP))??)
}

fn cut_off(failed: Failed) -> Failed {
    match failed {
        Failed::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Wrong::CutOff.into(),
        other => other,
    }
}
