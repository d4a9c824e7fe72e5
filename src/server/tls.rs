//! DNS over TLS (RFC 7858), and zone transfers over it (RFC 9103): connections as over TCP once their handshake is made.
//!
//! ALPN `dot` is chosen where a client offers it, and a client that offers nothing is taken too, for queries.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::ProtocolVersion;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::query::Transport;
use crate::server::certificate::{self, Certificate};
use crate::server::connection::{self, Shared};
use crate::server::encrypted::HANDSHAKE;
use crate::server::requests::Peer;
use crate::server::stream::{Counted, Stream};
use crate::server::tcp;

/// Its name in ALPN.
const PROTOCOL: &[u8] = b"dot";

/// Answers the connections of one listener until `stop`.
pub(super) async fn accept(
    listener: TcpListener,
    certificate: Arc<Certificate>,
    shared: Shared,
    stop: CancellationToken,
) {
    let config = match certificate::server_config(certificate, rustls::DEFAULT_VERSIONS, PROTOCOL) {
        Ok(config) => config,
        Err(error) => return tracing::error!(%error, "a TLS listener is not served"),
    };
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let of_connections = shared.clone();
    let begin = move |stream, address, seat| {
        let (shared, acceptor) = (of_connections.clone(), acceptor.clone());
        tokio::task::spawn_local(async move {
            let _seat = seat;
            if let Err(error) = connection(stream, address, &acceptor, &shared).await {
                tracing::trace!(peer = %address, %error, "a TLS connection ended");
            }
        });
    };
    tcp::accept(listener, shared, stop, begin).await;
}

async fn connection(stream: TcpStream, address: SocketAddr, acceptor: &TlsAcceptor, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?; // or the session tickets would keep the first answer waiting
    let tls = timeout(HANDSHAKE, acceptor.accept(Counted::new(stream))).await??;
    let session = tls.get_ref().1;
    let is_new = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    let transfers = is_new && session.alpn_protocol() == Some(PROTOCOL);
    let peer = Peer { transfers, ..Peer::new(address, Transport::Tls) };
    connection::serve(Stream::new(tls)?, peer, shared).await
}
