//! A TCP connection: the whole of the `tcp` probe, the beginning of the `http` probe.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

/// Connects. There is no timeout of its own.
pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A port of our own host at which nobody listens can be the very port that the connection was given to start
    // from: then TCP connects it to itself.
    if stream.local_addr()? == address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}
