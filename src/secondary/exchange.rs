//! One question to a primary over TCP, and all that it answers, bounded in octets and in time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::dns::Name;
use crate::dns::tsig::{self, Key};
use crate::dns::wire::HEADER_OCTETS;
use crate::time::Timestamp;
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
}

/// Asks `primary` about the zone `apex`.
///
/// # Errors
/// [`Failed`]; nothing of what came is any good then.
pub async fn exchange(primary: &Primary, apex: &Name, ask: Ask) -> Result<Incoming, Failed> {
    timeout(LONGEST, converse(primary, apex, ask)).await.unwrap_or(Err(Failed::TooLong(LONGEST)))
}

async fn converse(primary: &Primary, apex: &Name, ask: Ask) -> Result<Incoming, Failed> {
    let id = getrandom::u32().map_or(0, |draw| draw as u16); // over TCP it is no secret
    let mut query = ask.message(id, apex);
    let mut verifier = primary.key.as_ref().map(|key| key.sign_request(&mut query, Timestamp::now()));
    let mut stream = step(TcpStream::connect(primary.address)).await?;
    stream.set_nodelay(true)?;
    let framed = [&(query.len() as u16).to_be_bytes()[..], &query].concat();
    step(stream.write_all(&framed)).await?;
    let mut receiver = Receiver::new(apex, ask, id);
    let (mut message, mut octets) = (Vec::new(), 0);
    loop {
        let length = step(stream.read_u16()).await.map_err(cut_off)?;
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
    }
    if verifier.is_some_and(|verifier| !verifier.is_whole()) {
        return Err(tsig::Error::Unsigned.into());
    }
    Ok(receiver.finish()?)
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
