//! DNS over TLS and QUIC: one thread with its own runtime for all connections, and for HTTPS another (`https`).
//! They share one certificate; a new one is taken from its file without a restart.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::query::Reader;
use crate::server::certificate::Certificate;
use crate::server::connection::Shared;
use crate::server::requests::Queue;
use crate::server::{quic, tls};

/// A handshake that takes longer is given up.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// Encrypted transports, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// PEM, of the first certificate.
    pub key: PathBuf,
    /// DNS over TLS.
    pub tls: Vec<SocketAddr>,
    /// DNS over QUIC.
    pub quic: Vec<SocketAddr>,
    /// DNS over HTTPS, at `/dns-query`.
    pub https: Vec<SocketAddr>,
}

/// Bound sockets and the certificate for them.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) tls: Vec<TcpListener>,
    pub(super) quic: Vec<UdpSocket>,
    pub(super) https: Vec<TcpListener>,
    pub(super) certificate: Arc<Certificate>,
}

impl Listeners {
    /// How many threads will serve them, each a worker.
    pub(super) fn workers(&self) -> usize {
        usize::from(!self.tls.is_empty() || !self.quic.is_empty()) + usize::from(!self.https.is_empty())
    }
}

/// Answers over TLS and QUIC until `stop`.
pub(super) async fn serve(
    tls: Vec<TcpListener>,
    quic: Vec<UdpSocket>,
    certificate: Arc<Certificate>,
    reader: Reader,
    requests: Queue,
    stop: CancellationToken,
) {
    let shared = Shared::new(reader, requests);
    let tasks = LocalSet::new();
    for listener in tls {
        tasks.spawn_local(tls::accept(listener, certificate.clone(), shared.clone(), stop.clone()));
    }
    let endpoints: Vec<_> = quic.into_iter().map(|socket| quic::endpoint(socket, certificate.clone())).collect();
    for endpoint in &endpoints {
        match endpoint {
            Ok(endpoint) => _ = tasks.spawn_local(quic::accept(endpoint.clone(), shared.clone())),
            Err(error) => tracing::error!(%error, "a QUIC listener is not served"),
        }
    }
    tasks.run_until(stop.cancelled()).await;
    for endpoint in endpoints.iter().flatten() {
        quic::close(endpoint).await;
    }
}
