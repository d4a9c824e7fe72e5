//! Connections: how many, how long. A failed `accept` is logged and waited out, it ends nothing.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Connections at one time, a stream for each forwarder among them; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;
/// For the head of a request, from the end of the one before it on; so it also ends connections that nobody uses.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// For requests under way when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// After a failed `accept`, which most often is for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers connections with `router` until `stop`, and finishes those that are in a request within [`GRACE`].
pub(super) async fn listen(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "an API connection ended by a panic");
                }
            }
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, tls.clone(), router.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the API can't accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    if tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(connections = connections.len(), "API connections cut off at the end");
        connections.shutdown().await;
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, stop: CancellationToken) {
    // Answers are small and written at once: there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return converse(stream, router, stop).await };
    match tokio::time::timeout(HEAD_LIMIT, tls.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, router, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "an API connection did not become TLS"),
        Err(_) => tracing::debug!("an API connection did not become TLS in time"),
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, router: Router, stop: CancellationToken) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an API connection broke off");
    }
}
