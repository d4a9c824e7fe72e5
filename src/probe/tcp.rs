//! The `tcp` probe: a connection, TLS over it, a few octets out and in, each if wanted.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::connect::connect;
use super::expect::Expect;
use super::failure::Failure;
use super::phases::Phases;
use super::tls::handshake;
use crate::tls::Client;

/// So much of what the server says is looked at.
const MAX_ANSWER_OCTETS: usize = 64 << 10;

/// What is done with a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// TCP port.
    pub port: u16,
    /// TLS begins at once.
    pub tls: Option<Client>,
    /// The name for TLS; the pool's name when left out.
    pub host: Option<String>,
    /// Sent as soon as the connection is there.
    pub send: Option<Box<[u8]>>,
    /// What the server must say, before or after what is sent.
    pub expect: Option<Expect>,
}

/// Asks at `address`; what was seen, if it is good. There is no timeout of its own.
pub(super) async fn ask(
    settings: &Settings,
    address: IpAddr,
    source: Option<IpAddr>,
    phases: &mut Phases,
) -> Result<String, Failure> {
    let stream = connect(SocketAddr::new(address, settings.port), source, phases).await?;
    match &settings.tls {
        None => talk(settings, stream, phases).await,
        Some(tls) => {
            let host = settings.host.as_deref().unwrap_or_default();
            talk(settings, handshake(tls, stream, host, phases).await?, phases).await
        }
    }
}

async fn talk(
    settings: &Settings,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    phases: &mut Phases,
) -> Result<String, Failure> {
    if let Some(octets) = &settings.send {
        phases.begin("send");
        stream.write_all(octets).await?;
        stream.flush().await?;
        phases.end(|| format!("{} octets", octets.len()));
    }
    let Some(expected) = &settings.expect else { return Ok("connected".to_owned()) };
    phases.begin("expect");
    let mut seen = Vec::new();
    let mut part = [0; 4096];
    loop {
        let octets = stream.read(&mut part).await?;
        seen.extend_from_slice(&part[..octets]);
        if expected.is_in(&seen) {
            break;
        }
        if octets == 0 && seen.is_empty() {
            return Err(Failure::Closed);
        }
        if octets == 0 || seen.len() >= MAX_ANSWER_OCTETS {
            expected.check("answer", &seen)?;
        }
    }
    phases.end(|| format!("{} octets", seen.len()));
    Ok("answer as expected".to_owned())
}
