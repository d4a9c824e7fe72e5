//! What is counted, over HTTP: `GET /metrics` in Prometheus' text format, `GET /sources` as a JSON array.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::counts::Counts;
use super::listener;

/// The pages; they are gone when it is dropped.
pub(super) struct Page {
    /// The address as set.
    pub(super) address: SocketAddr,
    /// The address in use.
    pub(super) bound: SocketAddr,
    task: JoinHandle<()>,
}

impl Page {
    /// Serves the pages.
    ///
    /// # Errors
    /// That it can't listen on `address`.
    pub(super) fn open(address: SocketAddr, counts: Arc<Counts>) -> io::Result<Self> {
        let listener = TcpListener::from_std(listener::bind(address)?)?;
        let bound = listener.local_addr()?;
        let task = tokio::spawn(serve(listener, counts));
        tracing::info!(address = %bound, "metrics are shown");
        Ok(Self { address, bound, task })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, counts: Arc<Counts>) {
    let of_sources = counts.clone();
    let router = Router::new()
        .route(
            "/metrics",
            get(move || async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], counts.page()) }),
        )
        .route("/sources", get(move || async move { Json(of_sources.sources()) }));
    // It waits out failed accepts by itself and never returns an error.
    let _ = axum::serve(listener, router).await;
}
