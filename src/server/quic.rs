//! DNS over QUIC (RFC 9250), zone transfers among it: each query has a stream of its own, on which all its responses come.
//!
//! What QUIC holds back for a slow reader is bounded as over TCP: answers that are not acknowledged within half of `transit`
//! are given up by a reset of their stream, which discards them; transfers wait for their reader, for 30 s at a time.

use std::io;
use std::net::UdpSocket;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, ReadError, ReadExactError, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt, WriteError,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::dns::wire::{HEADER_OCTETS, NAME_BUFFER, Query, TCP_OCTETS};
use crate::query::Transport;
use crate::server::certificate::{self, Certificate};
use crate::server::connection::{Served, Shared};
use crate::server::encrypted::HANDSHAKE;
use crate::server::requests::{Outgoing, Peer};
use crate::server::seats::Seat;
use crate::server::stream::{ACKNOWLEDGED, STALLED};

// Error codes (RFC 9250, 4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);
const UNSPECIFIED_ERROR: VarInt = VarInt::from_u32(5);

/// Queries of one connection at a time.
const STREAMS: u32 = 100;
/// What a client may send ahead of what is read: a query on each of its streams, but not large ones on all.
const RECEIVE_OCTETS: u32 = 256 * 1024;
/// What waits for the acknowledgement of a reader, in all streams of a connection.
const SEND_OCTETS: u64 = 512 * 1024;
/// A client of which nothing at all is heard for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// At the end, for clients to be told that it is the end.
const FAREWELL: Duration = Duration::from_millis(100);

/// What was wrong with an exchange.
#[derive(Debug, thiserror::Error)]
enum Broken {
    /// The connection can't go on (RFC 9250, 4.3.3).
    #[error("{0}")]
    Violation(&'static str),
    #[error("the query did not come in time")]
    Incomplete,
    #[error("its response was not taken in time")]
    NotTaken,
    #[error("silence is the answer")]
    Silence,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Accepts connections for as long as there is the endpoint.
pub(super) async fn accept(endpoint: Endpoint, shared: Shared) {
    while let Some(incoming) = endpoint.accept().await {
        // Whose address may be made up takes no place among few that are left (RFC 9000, 8.1.2).
        if shared.seats.crowded() && !incoming.remote_address_validated() {
            _ = incoming.retry(); // it may be tried once, and this is the first time
            continue;
        }
        let Some(seat) = Seat::take(&shared.seats, incoming.remote_address().ip()) else {
            incoming.refuse();
            continue;
        };
        let shared = shared.clone();
        tokio::task::spawn_local(async move {
            let peer = incoming.remote_address();
            if let Err(error) = connection(incoming, seat, shared).await {
                tracing::trace!(%peer, %error, "a QUIC connection ended");
            }
        });
    }
}

/// Tells all clients that it is the end.
pub(super) async fn close(endpoint: &Endpoint) {
    endpoint.close(NO_ERROR, b"");
    _ = timeout(FAREWELL, endpoint.wait_idle()).await; // who does not hear it finds out by itself
}

/// What answers at `socket`.
///
/// # Errors
/// What the system says, or that the certificate is none for QUIC.
pub(super) fn endpoint(socket: UdpSocket, certificate: Arc<Certificate>) -> io::Result<Endpoint> {
    let tls = certificate::server_config(certificate, &[&rustls::version::TLS13], b"doq")?;
    let tls = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS.into())
        .max_concurrent_uni_streams(0u32.into())
        .stream_receive_window((TCP_OCTETS as u32 + 2).into())
        .receive_window(RECEIVE_OCTETS.into())
        .send_window(SEND_OCTETS)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(SILENCE.try_into().map_err(io::Error::other)?));
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))
}

/// Serves a connection until it ends, or has been without a query for too long.
async fn connection(incoming: Incoming, seat: Seat, shared: Shared) -> Result<(), ConnectionError> {
    let _seat = seat;
    let connecting = incoming.accept()?;
    let Ok(connected) = timeout(HANDSHAKE, connecting).await else { return Ok(()) };
    let connection = connected?;
    let shared = Rc::new(shared);
    let mut exchanges = JoinSet::new();
    loop {
        let idle = Instant::now() + shared.idle();
        tokio::select! {
            stream = connection.accept_bi() => {
                let (send, receive) = stream?;
                let (connection, shared) = (connection.clone(), shared.clone());
                exchanges.spawn_local(async move { exchange(send, receive, &connection, &shared).await });
            }
            Some(_) = exchanges.join_next() => {}
            () = tokio::time::sleep_until(idle), if exchanges.is_empty() => {
                connection.close(NO_ERROR, b"");
                return Ok(());
            }
        }
    }
}

/// One query and its responses.
async fn exchange(mut send: SendStream, mut receive: RecvStream, connection: &Connection, shared: &Shared) {
    let Err(broken) = respond(&mut send, &mut receive, connection, shared).await else { return };
    tracing::trace!(peer = %connection.remote_address(), %broken, "a query over QUIC came to nothing");
    let code = match broken {
        Broken::Violation(_) => return connection.close(PROTOCOL_ERROR, broken.to_string().as_bytes()),
        Broken::Incomplete => return connection.close(EXCESSIVE_LOAD, broken.to_string().as_bytes()),
        Broken::NotTaken => EXCESSIVE_LOAD,
        _ => UNSPECIFIED_ERROR,
    };
    _ = receive.stop(code); // what has ended already needs no end
    _ = send.reset(code);
}

async fn respond(
    send: &mut SendStream,
    receive: &mut RecvStream,
    connection: &Connection,
    shared: &Shared,
) -> Result<(), Broken> {
    let peer = Peer::new(connection.remote_address(), Transport::Quic); // it may have moved (RFC 9000, 9)
    let packet = timeout(shared.idle(), query(receive)).await.map_err(|_| Broken::Incomplete)??;
    let mut served = Served::default();
    let mut answered = None;
    let mut silence = true;
    if let Some(message) = shared.answer_one(peer, &packet, &mut served) {
        answered = Some(Instant::now());
        pass(send, &Outgoing { message, answered }).await?;
        silence = false;
    }
    while served.any() {
        if let Some(outgoing) = served.next().await {
            answered = outgoing.answered;
            pass(send, &outgoing).await?;
            silence = false;
        }
    }
    if silence {
        return Err(Broken::Silence);
    }
    _ = send.finish(); // it was not finished before, and a stop from there is the client's word
    let mut stopped = pin!(send.stopped());
    // Whatever comes of it in time, nothing waits here any more.
    if let Some(made) = answered {
        return timeout_at(made + ACKNOWLEDGED, stopped).await.map(|_| ()).map_err(|_| Broken::NotTaken);
    }
    let mut before = 0;
    while timeout(STALLED, stopped.as_mut()).await.is_err() {
        let sent = connection.stats().frame_tx.stream;
        if std::mem::replace(&mut before, sent) == sent {
            return Err(Broken::NotTaken);
        }
    }
    Ok(())
}

/// The one query of a stream.
async fn query(receive: &mut RecvStream) -> Result<Vec<u8>, Broken> {
    const SHORT: Broken = Broken::Violation("a query is shorter than its length says");
    let mut length = [0; 2];
    receive.read_exact(&mut length).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) => SHORT,
        ReadExactError::ReadError(error) => Broken::Read(error),
    })?;
    let length = usize::from(u16::from_be_bytes(length));
    let mut packet = Vec::new(); // it has room for what came, not for what is said to come
    while packet.len() < length {
        let chunk = receive.read_chunk(length - packet.len(), true).await?;
        packet.extend_from_slice(&chunk.ok_or(SHORT)?.bytes);
    }
    let more = tokio::select! {
        biased;
        more = receive.read_chunk(1, true) => matches!(more, Ok(Some(_))),
        () = std::future::ready(()) => false, // no end has come yet, which is nothing to wait for
    };
    if more {
        return Err(Broken::Violation("more than one query came on a stream"));
    }
    if packet.len() < HEADER_OCTETS {
        return Err(Broken::Violation("a query is shorter than a header"));
    }
    if packet[..2] != [0, 0] {
        return Err(Broken::Violation("the message ID is not 0")); // 4.2.1
    }
    if Query::parse(&packet, &mut [0; NAME_BUFFER]).is_ok_and(|q| q.edns.is_some_and(|edns| edns.keepalive)) {
        return Err(Broken::Violation("keepalive is for TCP")); // 5.5.2
    }
    Ok(packet)
}

/// Sends one message: an answer in time, a message of a transfer for as long as its reader reads.
async fn pass(send: &mut SendStream, outgoing: &Outgoing) -> Result<(), Broken> {
    let octets = outgoing.framed();
    let mut rest = &octets[..];
    while !rest.is_empty() {
        let until = outgoing.answered.map_or_else(|| Instant::now() + STALLED, |made| made + ACKNOWLEDGED);
        let written = timeout_at(until, send.write(rest)).await.map_err(|_| Broken::NotTaken)??;
        rest = &rest[written..];
    }
    Ok(())
}
