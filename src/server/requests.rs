//! Requests: what the workers do not answer from the snapshot alone (see [`is_request`](crate::dns::wire::is_request)).
//!
//! The workers put them into a bounded queue, each with the way its responses go, and go on. One thread takes them out and
//! serves each in a task of its own, so that a long transfer stalls nobody.

use std::cell::RefCell;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dns::tsig::Signer;
use crate::dns::wire::records::without_records;
use crate::dns::wire::request::{OPCODE_NOTIFY, OPCODE_UPDATE, QR_AND_OPCODE};
use crate::dns::wire::{
    EDNS_UDP_OCTETS, NAME_BUFFER, PLAIN_UDP_OCTETS, Query, Rcode, TCP_OCTETS, asks_for_padding, pad,
};
use crate::dns::{Name, Rtype};
use crate::query::{Context, Reader, Transport, Verdict, limited};
use crate::server::caught::{Panicked, answer, caught};
use crate::server::draws::Draws;
use crate::server::kernel::mmsg::WayBack;
use crate::server::notify::Notifier;
use crate::server::secondaries::Secondary;
use crate::server::{Beside, Requestor, notified, transfer};
use crate::time::Timestamp;
use crate::zone::Zone;
use crate::zone::update::Update;

/// Requests that wait to be taken; more are turned away.
const WAITING: usize = 1024;
/// How often the thread looks whether zones have new serials, to tell secondaries of.
const LOOK: Duration = Duration::from_millis(250);

/// Who is at the other end, and over what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// From where.
    pub(super) address: SocketAddr,
    /// Over what.
    pub(super) transport: Transport,
    /// Whether that is for transfers, too: TLS is as version 1.3 with ALPN `dot` only (RFC 9103, 7.1 and 7.2).
    pub(super) transfers: bool,
}

impl Peer {
    /// One who may be given zones that way.
    pub(super) fn new(address: SocketAddr, transport: Transport) -> Self {
        Self { address, transport, transfers: true }
    }
}

/// TC in the third octet of a header.
const TRUNCATED: u8 = 0x02;

/// A request and the way back.
pub(super) struct Request {
    /// As received; once it is verified, without its TSIG.
    pub(super) message: Vec<u8>,
    /// Who sent it.
    pub(super) peer: Peer,
    /// Where the responses go.
    pub(super) way: Way,
    /// What signs the responses, given that it was signed itself, and well.
    pub(super) signer: Option<Signer>,
}

impl Request {
    /// A request as received, not verified yet.
    pub(super) fn new(message: &[u8], peer: Peer, way: Way) -> Self {
        Self { message: message.to_vec(), peer, way, signer: None }
    }

    /// The key that signed it.
    pub(super) fn key(&self) -> Option<&Name> {
        self.signer.as_ref().map(Signer::key)
    }

    /// Octets that a signature adds to each response.
    pub(super) fn signature_octets(&self) -> usize {
        self.signer.as_ref().map_or(0, Signer::octets)
    }

    /// Whether it came over UDP.
    pub(super) fn is_datagram(&self) -> bool {
        matches!(self.way, Way::Datagram(_))
    }

    /// Sends the answer: one message, which is what it is only now.
    pub(super) async fn answer(&mut self, message: Vec<u8>) -> Result<(), Gone> {
        self.send(message, Some(Instant::now())).await
    }

    /// Sends one message of a transfer, once the connection has room for it.
    pub(super) async fn pass(&mut self, message: Vec<u8>) -> Result<(), Gone> {
        self.send(message, None).await
    }

    async fn send(&mut self, mut message: Vec<u8>, answered: Option<Instant>) -> Result<(), Gone> {
        if let Some(signer) = &mut self.signer {
            signer.sign(&mut message, Timestamp::now());
        }
        self.way.send(message, answered).await
    }
}

/// How a request came, and the way of what is sent back.
pub(super) enum Way {
    /// UDP.
    Datagram(Box<Datagram>),
    /// A connection, which ends its wait when the last sender is dropped.
    Stream(mpsc::Sender<Outgoing>),
}

/// The way back of a datagram.
pub(super) struct Datagram {
    pub(super) socket: Arc<UdpSocket>,
    pub(super) back: WayBack,
}

/// A message on its way to a connection.
pub(super) struct Outgoing {
    pub(super) message: Vec<u8>,
    /// When it was made, for an answer, which must not linger; `None` for a message of a transfer, which may take its time.
    pub(super) answered: Option<Instant>,
}

impl Outgoing {
    /// The message behind its length.
    pub(super) fn framed(&self) -> Vec<u8> {
        [&(self.message.len() as u16).to_be_bytes()[..], &self.message].concat()
    }
}

/// Nobody is there any more to send to.
#[derive(Debug, thiserror::Error)]
#[error("the client has gone")]
pub(super) struct Gone;

impl Way {
    async fn send(&mut self, message: Vec<u8>, answered: Option<Instant>) -> Result<(), Gone> {
        match self {
            Self::Datagram(way) => way.back.send(&way.socket, &message).map_err(|error| {
                tracing::debug!(%error, "an answer could not be sent over UDP");
                Gone
            }),
            Self::Stream(stream) => stream.send(Outgoing { message, answered }).await.map_err(|_| Gone),
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
    transfers: Arc<Semaphore>,
    beside: Beside,
    notifier: Notifier,
}

/// Serves requests until `stop`.
pub(super) async fn serve(mut queue: mpsc::Receiver<Request>, reader: Reader, beside: Beside, stop: CancellationToken) {
    let scratch = vec![0; TCP_OCTETS].into();
    let transfers = Arc::new(Semaphore::new(transfer::AT_A_TIME));
    let shared = Rc::new(RefCell::new(Shared {
        reader,
        draws: Draws::new(),
        scratch,
        transfers,
        notifier: Notifier::new(beside.secondaries.clone()),
        beside,
    }));
    let tasks = LocalSet::new();
    let take = async {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {
                    let looked = caught(async {
                        let Shared { reader, notifier, .. } = &mut *shared.borrow_mut();
                        reader.read(|snapshot, _| notifier.look(snapshot));
                    });
                    if let Err(Panicked) = looked.await {
                        shared.borrow().reader.counters().panicked();
                        tracing::error!("a panic while looking for new serials; serving requests goes on");
                    }
                }
                request = queue.recv() => {
                    let Some(request) = request else { return };
                    let shared = shared.clone();
                    tasks.spawn_local(async move {
                        let client = request.peer.address;
                        if let Err(Panicked) = caught(respond(request, shared.clone())).await {
                            shared.borrow().reader.counters().panicked();
                            tracing::error!(%client, "a panic while serving a request; serving others goes on");
                        }
                    });
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
    let next = shared.borrow_mut().begin(&mut request);
    let answered = match next {
        Next::Nothing => Ok(()),
        Next::Answer(message) => request.answer(message).await,
        Next::Update(update) => {
            let updates = shared.borrow().beside.updates.clone();
            let by = Requestor { client: request.peer.address, key: request.key().cloned() };
            let rcode = updates.update(update, by).await;
            shared.borrow_mut().reader.read(|_, tally| tally.counters.rejected(rcode));
            let response = without_records(&request.message, rcode);
            request.answer(response).await
        }
        Next::Transfer(zone) => {
            let (slots, beside) = {
                let shared = shared.borrow();
                (shared.transfers.clone(), shared.beside.clone())
            };
            transfer::serve(request, zone, &beside, slots).await;
            return;
        }
    };
    if let Err(Gone) = answered {
        tracing::debug!(client = %request.peer.address, "nobody took the answer to a request");
    }
}

/// How a request goes on once it is verified.
enum Next {
    /// Silence is right.
    Nothing,
    /// This is the answer, not signed yet.
    Answer(Vec<u8>),
    /// It may have this zone.
    Transfer(Arc<Zone>),
    /// It wants to change a zone.
    Update(Update),
}

impl Shared {
    /// Verifies `request` and tells what it asks for.
    fn begin(&mut self, request: &mut Request) -> Next {
        let (keys, now) = (self.reader.read(|snapshot, _| snapshot.keys.clone()), Timestamp::now());
        match keys.verify(&request.message, now) {
            Ok(None) => {}
            Ok(Some(verified)) => {
                (request.message, request.signer) = (verified.message, Some(verified.signer));
            }
            Err(refusal) => {
                if let Some(held_back) = self.held_back(request, now) {
                    return held_back;
                }
                tracing::info!(client = %request.peer.address, why = %refusal.why, "a request's signature is not taken");
                self.reader.read(|_, tally| tally.counters.rejected(refusal.rcode));
                return Next::Answer(refusal.response);
            }
        }
        let opcode = request.message.get(2).map(|flags| flags & QR_AND_OPCODE);
        if matches!(opcode, Some(OPCODE_UPDATE | OPCODE_NOTIFY))
            && let Some(held_back) = self.held_back(request, now)
        {
            return held_back;
        }
        if opcode == Some(OPCODE_UPDATE) {
            return Update::read(&request.message).map_or_else(
                |rcode| {
                    self.reader.read(|_, tally| tally.counters.rejected(rcode));
                    Next::Answer(without_records(&request.message, rcode))
                },
                Next::Update,
            );
        }
        if opcode == Some(OPCODE_NOTIFY) {
            let (answer, notified) = self.reader.read(|snapshot, _| notified::answer(snapshot, request));
            if let Some(notified) = notified {
                // Where the queue is full many are on their way, and it is told again or found at the next refresh.
                _ = self.beside.notified.try_send(notified);
            }
            return Next::Answer(answer);
        }
        let mut lower = [0; NAME_BUFFER];
        if let Ok(query) = Query::parse(&request.message, &mut lower)
            && transfer::is_transfer(&query, request.is_datagram())
        {
            if let Some(held_back) = self.held_back(request, now) {
                return held_back;
            }
            return self.reader.read(|snapshot, tally| match transfer::allowed(snapshot, request, &query) {
                Ok(zone) => {
                    tally.counters.answered(query.qtype, Rcode::NoError);
                    Next::Transfer(zone)
                }
                Err(refused) => {
                    let (client, over, rcode) = (request.peer.address, request.peer.transport.name(), refused.rcode);
                    tracing::info!(%client, over, rcode = rcode.name(), why = refused.why, "a zone transfer is refused");
                    tally.counters.answered(query.qtype, rcode);
                    Next::Answer(transfer::refusal(&query, rcode, refused.error))
                }
            });
        }
        let answer = self.answer(request, now);
        if let Ok(query) = Query::parse(&request.message, &mut lower)
            && query.qtype == Rtype::SOA
        {
            let serial = self.reader.read(|snapshot, _| Some(snapshot.zones.get(query.qname)?.zone.as_ref()?.serial()));
            if let (Some(serial), Ok(apex)) = (serial, Name::from_wire(query.qname)) {
                let note = |secondary: &mut Secondary| secondary.asked = Some((serial, now));
                self.beside.secondaries.note_client(&apex, request.peer.address.ip(), note);
            }
        }
        answer.map_or(Next::Nothing, Next::Answer)
    }

    /// What becomes of a request over UDP that exceeds the rate of its client's prefix: nothing is done for it. Who has signed
    /// it is who they say; a query that the snapshot answers is limited there.
    fn held_back(&mut self, request: &Request, now: Timestamp) -> Option<Next> {
        if !request.is_datagram() || request.signer.is_some() {
            return None;
        }
        let client = request.peer.address.ip();
        let context = Context { client, now, draw: self.draws.next(), transport: Transport::Udp };
        match self.reader.read(|snapshot, tally| limited(snapshot, &context, tally, false)) {
            Verdict::Send => None,
            Verdict::Slip => {
                let mut truncated = without_records(&request.message, Rcode::NoError);
                truncated[2] |= TRUNCATED;
                Some(Next::Answer(truncated))
            }
            Verdict::Hold => Some(Next::Nothing),
        }
    }

    /// What the snapshot answers.
    fn answer(&mut self, request: &Request, now: Timestamp) -> Option<Vec<u8>> {
        let Self { reader, draws, scratch, .. } = self;
        let Peer { address, transport, .. } = request.peer;
        let context = Context { client: address.ip(), now, draw: draws.next(), transport };
        let message = &request.message;
        let mut octets = reader.read(|snapshot, tally| answer(snapshot, &context, tally, message, scratch))?;
        if transport.is_encrypted() && asks_for_padding(message) {
            octets = pad(scratch, octets, request.signature_octets());
        }
        let answer = &scratch[..octets];
        let mut lower = [0; NAME_BUFFER];
        let Ok(query) = Query::parse(message, &mut lower) else { return Some(answer.to_vec()) };
        let largest = match transport {
            Transport::Udp => {
                query.edns.map_or(PLAIN_UDP_OCTETS, |e| e.udp_octets).clamp(PLAIN_UDP_OCTETS, EDNS_UDP_OCTETS)
            }
            _ => u16::MAX,
        };
        if octets + request.signature_octets() <= largest as usize {
            return Some(answer.to_vec());
        }
        // The signature takes the room of the records (RFC 8945, 5.3): the question alone, and TC.
        let mut short = answer[..query.head.len()].to_vec();
        short[2] |= TRUNCATED;
        short[6..12].fill(0);
        Some(short)
    }
}
