//! Requests: what the workers do not answer from the snapshot alone (see [`is_request`](crate::dns::wire::is_request)).
//!
//! The workers put them into a bounded queue, each with the way its responses go, and go on. One thread takes them out and
//! serves each in a task of its own, so that a long transfer stalls nobody.

use std::cell::RefCell;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dns::wire::TCP_OCTETS;
use crate::query::{Context, Reader, Transport, answer};
use crate::server::draws::Draws;
use crate::server::kernel::mmsg::WayBack;
use crate::time::Timestamp;

/// Requests that wait to be taken; more are turned away.
const WAITING: usize = 1024;
/// How often the thread looks for a newer snapshot when nobody asks, so that it keeps no old one.
const REFRESH: Duration = Duration::from_millis(250);

/// A request and the way back.
pub(super) struct Request {
    /// As received.
    pub(super) message: Box<[u8]>,
    /// Who sent it.
    pub(super) client: SocketAddr,
    /// Where the responses go.
    pub(super) way: Way,
}

/// How a request came, and the way of what is sent back.
pub(super) enum Way {
    /// UDP.
    Datagram(Box<Datagram>),
    /// A TCP connection, which ends its wait when the last sender is dropped.
    Stream(mpsc::Sender<Outgoing>),
}

/// The way back of a datagram.
pub(super) struct Datagram {
    pub(super) socket: Arc<UdpSocket>,
    pub(super) back: WayBack,
}

/// A message on its way to a TCP connection.
pub(super) struct Outgoing {
    pub(super) message: Vec<u8>,
    /// When it was made, for an answer, which must not linger; `None` for a message of a transfer, which may take its time.
    pub(super) answered: Option<Instant>,
}

/// Nobody is there any more to send to.
#[derive(Debug, thiserror::Error)]
#[error("the client has gone")]
pub(super) struct Gone;

impl Way {
    /// Sends an answer: one message, which is what it is only now.
    pub(super) async fn answer(&mut self, message: Vec<u8>) -> Result<(), Gone> {
        self.send(message, Some(Instant::now())).await
    }

    async fn send(&mut self, message: Vec<u8>, answered: Option<Instant>) -> Result<(), Gone> {
        match self {
            Self::Datagram(way) => way.back.send(&way.socket, &message).map_err(|error| {
                tracing::debug!(%error, "an answer could not be sent over UDP");
                Gone
            }),
            Self::Stream(stream) => stream.send(Outgoing { message, answered }).await.map_err(|_| Gone),
        }
    }

    fn transport(&self) -> Transport {
        match self {
            Self::Datagram(_) => Transport::Udp,
            Self::Stream(_) => Transport::Tcp,
        }
    }
}

/// The workers' end of the queue.
#[derive(Clone)]
pub(super) struct Queue(mpsc::Sender<Request>);

/// Too many requests are waiting.
#[derive(Debug)]
pub(super) struct Crowded;

impl Queue {
    /// Hands `request` over, at once or not at all.
    pub(super) fn put(&self, request: Request) -> Result<(), Crowded> {
        self.0.try_send(request).map_err(|_| Crowded)
    }
}

/// Both ends of the queue.
pub(super) fn queue() -> (Queue, mpsc::Receiver<Request>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Queue(sender), receiver)
}

/// What all tasks share. They run on one thread, and none holds it over an await.
struct Shared {
    reader: Reader,
    draws: Draws,
    scratch: Box<[u8]>,
}

/// Serves requests until `stop`.
pub(super) async fn serve(mut queue: mpsc::Receiver<Request>, reader: Reader, stop: CancellationToken) {
    let shared = Shared { reader, draws: Draws::new(), scratch: vec![0; TCP_OCTETS].into() };
    let shared = Rc::new(RefCell::new(shared));
    let tasks = LocalSet::new();
    let take = async {
        loop {
            tokio::select! {
                () = tokio::time::sleep(REFRESH) => shared.borrow_mut().reader.read(|_, _| ()),
                request = queue.recv() => {
                    let Some(request) = request else { return };
                    tasks.spawn_local(respond(request, shared.clone()));
                }
            }
        }
    };
    tasks
        .run_until(async {
            tokio::select! { () = stop.cancelled() => {}, () = take => {} }
        })
        .await;
}

/// Serves one request.
async fn respond(mut request: Request, shared: Rc<RefCell<Shared>>) {
    let answer = shared.borrow_mut().answer(&request);
    if let Some(answer) = answer
        && let Err(Gone) = request.way.answer(answer).await
    {
        tracing::debug!(client = %request.client, "nobody took the answer to a request");
    }
}

impl Shared {
    /// What the snapshot answers.
    fn answer(&mut self, request: &Request) -> Option<Vec<u8>> {
        let Self { reader, draws, scratch } = self;
        let context = Context {
            client: request.client.ip(),
            now: Timestamp::now(),
            draw: draws.next(),
            transport: request.way.transport(),
        };
        let octets = reader.read(|snapshot, tally| answer(snapshot, &context, tally, &request.message, scratch))?;
        Some(scratch[..octets].to_vec())
    }
}
