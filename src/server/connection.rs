//! A connection that carries messages one after the other, each behind its length (RFC 1035, 4.2.2): TCP (RFC 7766), or TLS
//! over it (RFC 7858). What has been sent is answered at once and leaves in one write. Responses to requests come from their
//! own thread, on the same connection, while queries are answered on.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::dns::wire::{Rcode, TCP_OCTETS, asks_for_padding, is_request, pad, write_reject};
use crate::query::{Context, Reader, Snapshot, TCP_IDLE, Tally};
use crate::server::caught::answer;
use crate::server::draws::Draws;
use crate::server::requests::{Outgoing, Peer, Queue, Request, Way};
use crate::server::seats::Seats;
use crate::server::stream::{Carrier, Stream};
use crate::time::Timestamp;

/// A connection on which no whole query comes for so long is closed; so clients that ask are told (RFC 7828).
const IDLE: Duration = TCP_IDLE;
/// The same while more than half of all connections are taken.
const IDLE_CROWDED: Duration = Duration::from_secs(2);
/// Answers are written once they have so many octets.
const WRITE_OCTETS: usize = 64 * 1024;
/// The idle time while a request of the connection is being served, which has its own limits.
const IDLE_SERVED: Duration = Duration::from_hours(24);
/// Messages of responses to requests that wait for the connection; more wait with who makes them.
const OUTGOING: usize = 2;

/// What all connections of a thread share.
#[derive(Clone)]
pub(super) struct Shared {
    /// None holds it over an await.
    answers: Rc<RefCell<Answers>>,
    pub(super) seats: Rc<Seats>,
}

/// What answering takes.
struct Answers {
    reader: Reader,
    requests: Queue,
    draws: Draws,
    scratch: Box<[u8]>,
}

impl Shared {
    pub(super) fn new(reader: Reader, requests: Queue) -> Self {
        let answers = Answers { reader, requests, draws: Draws::new(), scratch: vec![0; TCP_OCTETS].into() };
        Self { answers: Rc::new(RefCell::new(answers)), seats: Rc::default() }
    }

    /// Counts a panic on a connection.
    pub(super) fn panicked(&self) {
        self.answers.borrow().reader.counters().panicked();
    }

    /// How long a connection may be idle right now.
    pub(super) fn idle(&self) -> Duration {
        if self.seats.crowded() { IDLE_CROWDED } else { IDLE }
    }

    /// Answers the one message `packet`, or hands it over. Gives the answer, if there is one right now.
    pub(super) fn answer_one(&self, peer: Peer, packet: &[u8], served: &mut Served) -> Option<Vec<u8>> {
        let Answers { reader, requests, draws, scratch } = &mut *self.answers.borrow_mut();
        let now = Timestamp::now();
        let octets = reader.read(|snapshot, tally| {
            let context = Context { client: peer.address.ip(), now, draw: draws.next(), transport: peer.transport };
            let asked = Asked { snapshot, context, peer, packet };
            asked.answer(tally, requests, served, scratch)
        })?;
        Some(scratch[..octets].to_vec())
    }

    /// Answers the whole messages of `input` from `used` on, into `output`, as many as one write takes; requests are handed
    /// over. Gives whether all were.
    fn answer_some(
        &self,
        peer: Peer,
        input: &[u8],
        used: &mut usize,
        output: &mut Vec<u8>,
        served: &mut Served,
    ) -> bool {
        let Answers { reader, requests, draws, scratch } = &mut *self.answers.borrow_mut();
        let now = Timestamp::now();
        reader.read(|snapshot, tally| {
            while output.len() < WRITE_OCTETS {
                let Some((length, rest)) = input[*used..].split_first_chunk::<2>() else { return true };
                let Some(packet) = rest.get(..u16::from_be_bytes(*length) as usize) else { return true };
                *used += 2 + packet.len();
                let context = Context { client: peer.address.ip(), now, draw: draws.next(), transport: peer.transport };
                let asked = Asked { snapshot, context, peer, packet };
                if let Some(octets) = asked.answer(tally, requests, served, scratch) {
                    output.extend_from_slice(&(octets as u16).to_be_bytes());
                    output.extend_from_slice(&scratch[..octets]);
                }
            }
            false
        })
    }
}

/// A message that came on a connection.
struct Asked<'a> {
    snapshot: &'a Snapshot,
    context: Context,
    peer: Peer,
    packet: &'a [u8],
}

impl Asked<'_> {
    /// Answers it into `out`, or hands it over, to be `served`. Gives the octets of the answer.
    fn answer(&self, tally: Tally<'_>, requests: &Queue, served: &mut Served, out: &mut [u8]) -> Option<usize> {
        let Self { snapshot, context, peer, packet } = *self;
        if is_request(packet, || snapshot.secondaries.contains(&context.client)) {
            return requests.put(Request::new(packet, peer, served.way())).is_err().then(|| {
                tally.counters.turned_away();
                write_reject(packet, Rcode::ServFail, out)
            });
        }
        let octets = answer(snapshot, &context, tally, packet, out)?;
        if peer.transport.is_encrypted() && asks_for_padding(packet) {
            return Some(pad(out, octets, 0));
        }
        Some(octets)
    }
}

/// Serves a connection to its end: the client's, once all responses are acknowledged, or that it has been idle for too long.
pub(super) async fn serve<C: Carrier>(mut stream: Stream<C>, peer: Peer, shared: &Shared) -> io::Result<()> {
    let mut input: Vec<u8> = Vec::with_capacity(512);
    let mut output: Vec<u8> = Vec::with_capacity(1024);
    let mut served = Served::default();
    let mut open = true;
    while open || served.any() {
        let deadline = Instant::now() + if served.any() { IDLE_SERVED } else { shared.idle() };
        let mut used = 0;
        while used == 0 {
            let read = tokio::select! {
                read = stream.read(&mut input, deadline), if open => read?,
                outgoing = served.next(), if served.any() => {
                    if let Some(outgoing) = outgoing {
                        stream.pass(outgoing).await?;
                    }
                    break;
                }
                else => break,
            };
            if read == 0 {
                open = false;
                break;
            }
            stream.ready_for_answers().await?;
            loop {
                let whole = shared.answer_some(peer, &input, &mut used, &mut output, &mut served);
                if !output.is_empty() {
                    stream.send(&output).await?;
                    output.clear();
                }
                if whole {
                    break;
                }
                tokio::task::yield_now().await; // the others have their turn
            }
        }
        input.drain(..used);
        if input.capacity() > 4096 && input.is_empty() {
            input.shrink_to(512);
        }
    }
    stream.finish().await
}

/// The requests of a connection that are being served.
#[derive(Default)]
pub(super) struct Served(Option<(mpsc::WeakSender<Outgoing>, mpsc::Receiver<Outgoing>)>);

impl Served {
    /// Whether more may come.
    pub(super) fn any(&self) -> bool {
        self.0.is_some()
    }

    /// The next message; `None` once all requests have been served.
    pub(super) async fn next(&mut self) -> Option<Outgoing> {
        let (_, receiver) = self.0.as_mut()?;
        let next = receiver.recv().await;
        if next.is_none() {
            self.0 = None;
        }
        next
    }

    /// A way back for one more request.
    fn way(&mut self) -> Way {
        if let Some(sender) = self.0.as_ref().and_then(|(sender, _)| sender.upgrade()) {
            return Way::Stream(sender);
        }
        let (sender, receiver) = mpsc::channel(OUTGOING);
        // What an older channel still held is passed on first.
        if let Some((_, mut old)) = self.0.take() {
            while let Ok(left) = old.try_recv() {
                _ = sender.try_send(left); // it is empty, and as large
            }
        }
        self.0 = Some((sender.downgrade(), receiver));
        Way::Stream(sender)
    }
}
