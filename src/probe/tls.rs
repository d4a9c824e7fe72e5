//! TLS of probes: a phase of its own.

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::failure::Failure;
use super::phases::Phases;
use crate::tls::{Client, Error, Pin};

/// The handshake over `stream`, with `host` (which may end in a port) as the name where none was configured.
pub(super) async fn handshake(
    client: &Client,
    stream: TcpStream,
    host: &str,
    phases: &mut Phases,
) -> Result<TlsStream<TcpStream>, Failure> {
    phases.begin("TLS");
    let stream = client.connect(stream, host).await.map_err(|error| match error {
        Error::Tls(reason) => Failure::Tls(reason),
        Error::Connection(error) => Failure::from(error),
    })?;
    phases.end(|| {
        let session = stream.get_ref().1;
        let version = session.protocol_version().and_then(|v| v.as_str()).unwrap_or("TLS");
        let alpn = session.alpn_protocol().map(|p| format!(", ALPN {}", String::from_utf8_lossy(p)));
        let pin = session.peer_certificates().and_then(|chain| Pin::of(chain.first()?));
        let pin = pin.map(|pin| format!(", key {pin}"));
        let name = client.name_for(host);
        format!("{version} for {name}{}{}", alpn.unwrap_or_default(), pin.unwrap_or_default())
    });
    Ok(stream)
}
