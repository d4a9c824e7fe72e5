//! A TCP connection: how most probes begin.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use super::failure::Failure;
use super::phases::Phases;

/// Connects, from `source` if one is given. There is no timeout of its own.
pub(super) async fn connect(
    address: SocketAddr,
    source: Option<IpAddr>,
    phases: &mut Phases,
) -> Result<TcpStream, Failure> {
    phases.begin("connect");
    let stream = match source {
        None => TcpStream::connect(address).await?,
        Some(source) => {
            let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.bind(SocketAddr::new(source, 0)).map_err(|error| not_ours(source, &error))?;
            socket.connect(address).await?
        }
    };
    let local = stream.local_addr()?;
    // A port of our own host at which nobody listens can be the very port that the connection was given to start
    // from: then TCP connects it to itself.
    if local == address {
        return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
    }
    phases.end(|| format!("{address} from {}", local.ip()));
    Ok(stream)
}

/// A source that this machine does not have says nothing about the endpoint.
pub(super) fn not_ours(source: IpAddr, error: &io::Error) -> Failure {
    Failure::Ours(io::Error::other(format!("the source {source} can't be used: {error}")))
}
