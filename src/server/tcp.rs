//! DNS over TCP (RFC 7766): one thread for all connections.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::query::{Reader, Transport};
use crate::server::caught::{Panicked, caught};
use crate::server::connection::{self, Shared};
use crate::server::requests::{Peer, Queue};
use crate::server::seats::Seat;
use crate::server::stream::{Counted, Stream};

/// Answers connections until `stop`; then those that have not taken their answers are reset, the others closed.
pub(super) async fn serve(
    listeners: Vec<std::net::TcpListener>,
    reader: Reader,
    requests: Queue,
    stop: CancellationToken,
) {
    let shared = Shared::new(reader, requests);
    let tasks = LocalSet::new();
    for listener in listeners {
        let (of_connections, stop) = (shared.clone(), stop.clone());
        let begin = move |stream, peer, seat| {
            let shared = of_connections.clone();
            tokio::task::spawn_local(async move {
                let _seat: Seat = seat;
                let peer = Peer::new(peer, Transport::Tcp);
                let served = match Stream::new(Counted::new(stream)) {
                    Ok(stream) => caught(connection::serve(stream, peer, &shared)).await,
                    Err(error) => Ok(Err(error)),
                };
                match served {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::trace!(peer = %peer.address, %error, "a TCP connection ended"),
                    Err(Panicked) => {
                        shared.panicked();
                        tracing::error!(peer = %peer.address, "a panic on a TCP connection, which is closed; answering goes on");
                    }
                }
            });
        };
        tasks.spawn_local(accept(listener, shared.clone(), stop, begin));
    }
    tasks.run_until(stop.cancelled()).await;
}

/// Gives each connection that has a place to `begin`, until `stop`.
pub(super) async fn accept(
    listener: std::net::TcpListener,
    shared: Shared,
    stop: CancellationToken,
    begin: impl Fn(TcpStream, std::net::SocketAddr, Seat),
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "can't serve a TCP listener"),
    };
    while !stop.is_cancelled() {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Some(seat) = Seat::take(&shared.seats, peer.ip()) {
                    begin(stream, peer, seat);
                } // else closed by the drop
            }
            Err(error) => {
                // Out of descriptors, or the like: it passes; until then the clients wait in the backlog.
                tracing::warn!(%error, "can't accept a TCP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
