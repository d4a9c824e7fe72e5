//! DNS over TCP (RFC 7766): one thread for all connections. What a connection has sent is answered at once and leaves in one
//! write. Responses to requests come from their own thread, on the same connection, while queries are answered on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dns::wire::{Rcode, TCP_OCTETS, is_request, write_reject};
use crate::query::{Context, Reader, TCP_IDLE, Transport, answer};
use crate::server::draws::Draws;
use crate::server::requests::{Outgoing, Queue, Request, Way};
use crate::server::stream::Stream;
use crate::time::Timestamp;

/// A connection on which no whole query comes for so long is closed; so clients that ask are told (RFC 7828).
const IDLE: Duration = TCP_IDLE;
/// The same while more than half of all connections are taken.
const IDLE_CROWDED: Duration = Duration::from_secs(2);
/// Connections at a time.
const CONNECTIONS: usize = 1024;
/// Connections of one client at a time: an IPv4 address, or an IPv6 /64.
const CONNECTIONS_EACH: usize = 128;
/// Answers are written once they have so many octets.
const WRITE_OCTETS: usize = 64 * 1024;
/// The same while a request of the connection is being served, which has its own limits.
const IDLE_SERVED: Duration = Duration::from_hours(24);
/// Messages of responses to requests that wait for the connection; more wait with who makes them.
const OUTGOING: usize = 2;
/// How often the thread looks for a newer snapshot when nobody asks, so that it keeps no old one.
const REFRESH: Duration = Duration::from_millis(250);

/// What all connections share. They run on one thread, and none holds it over an await.
struct Shared {
    reader: Reader,
    requests: Queue,
    draws: Draws,
    scratch: Box<[u8]>,
    open: HashMap<IpAddr, usize>,
    open_count: usize,
}

/// Answers connections until `stop`; then those that have not taken their answers are reset, the others closed.
pub(super) async fn serve(
    listeners: Vec<std::net::TcpListener>,
    reader: Reader,
    requests: Queue,
    stop: CancellationToken,
) {
    let shared = Shared {
        reader,
        requests,
        draws: Draws::new(),
        scratch: vec![0; TCP_OCTETS].into(),
        open: HashMap::new(),
        open_count: 0,
    };
    let shared = Rc::new(RefCell::new(shared));
    let tasks = LocalSet::new();
    for listener in listeners {
        match TcpListener::from_std(listener) {
            Ok(listener) => {
                tasks.spawn_local(accept(listener, shared.clone(), stop.clone()));
            }
            Err(error) => tracing::error!(%error, "can't serve a TCP listener"),
        }
    }
    let refresh = async {
        loop {
            tokio::time::sleep(REFRESH).await;
            shared.borrow_mut().reader.read(|_, _| ());
        }
    };
    tasks
        .run_until(async {
            tokio::select! { () = stop.cancelled() => {}, () = refresh => {} }
        })
        .await;
}

/// A connection's place among those allowed, given back when it ends, however it ends.
struct Seat {
    shared: Rc<RefCell<Shared>>,
    client: IpAddr,
}

impl Seat {
    /// `None` when all are taken.
    fn take(shared: &Rc<RefCell<Shared>>, peer: IpAddr) -> Option<Self> {
        let client = match peer {
            IpAddr::V4(_) => peer,
            IpAddr::V6(a) => IpAddr::V6((a.to_bits() >> 64 << 64).into()),
        };
        let mut s = shared.borrow_mut();
        let each = s.open.get(&client).copied().unwrap_or(0);
        if s.open_count >= CONNECTIONS || each >= CONNECTIONS_EACH {
            return None;
        }
        s.open.insert(client, each + 1);
        s.open_count += 1;
        Some(Self { shared: shared.clone(), client })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut s = self.shared.borrow_mut();
        s.open_count -= 1;
        match s.open.get_mut(&self.client) {
            Some(n) if *n > 1 => *n -= 1,
            _ => _ = s.open.remove(&self.client),
        }
    }
}

async fn accept(listener: TcpListener, shared: Rc<RefCell<Shared>>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or the like: it passes; until then the clients wait in the backlog.
                tracing::warn!(%error, "can't accept a TCP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(seat) = Seat::take(&shared, peer.ip()) else { continue }; // closed by the drop
        tokio::task::spawn_local(async move {
            if let Err(error) = connection(stream, peer, &seat.shared).await {
                tracing::trace!(%peer, %error, "a TCP connection ended");
            }
        });
    }
}

/// Serves a connection to its end: the client's, once all responses are acknowledged.
async fn connection(stream: TcpStream, peer: SocketAddr, shared: &RefCell<Shared>) -> io::Result<()> {
    let mut stream = Stream::new(stream)?;
    let mut input: Vec<u8> = Vec::with_capacity(512);
    let mut output: Vec<u8> = Vec::with_capacity(1024);
    let mut served = Served::default();
    let mut open = true;
    while open || served.any() {
        let idle = match shared.borrow().open_count {
            _ if served.any() => IDLE_SERVED,
            count if count > CONNECTIONS / 2 => IDLE_CROWDED,
            _ => IDLE,
        };
        let deadline = Instant::now() + idle;
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
                let whole = answer_some(shared, peer, &input, &mut used, &mut output, &mut served);
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
struct Served(Option<(mpsc::WeakSender<Outgoing>, mpsc::Receiver<Outgoing>)>);

impl Served {
    /// Whether more may come.
    fn any(&self) -> bool {
        self.0.is_some()
    }

    /// The next message; `None` once all requests have been served.
    async fn next(&mut self) -> Option<Outgoing> {
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

/// Answers the whole messages of `input` from `used` on, into `output`, as many as one write takes; requests are handed over.
/// Gives whether all were.
fn answer_some(
    shared: &RefCell<Shared>,
    client: SocketAddr,
    input: &[u8],
    used: &mut usize,
    output: &mut Vec<u8>,
    served: &mut Served,
) -> bool {
    let Shared { reader, requests, draws, scratch, .. } = &mut *shared.borrow_mut();
    let now = Timestamp::now();
    reader.read(|snapshot, tally| {
        while output.len() < WRITE_OCTETS {
            let Some((length, rest)) = input[*used..].split_first_chunk::<2>() else { return true };
            let Some(packet) = rest.get(..u16::from_be_bytes(*length) as usize) else { return true };
            *used += 2 + packet.len();
            let answered = if is_request(packet, || snapshot.secondaries.contains(&client.ip())) {
                let put = requests.put(Request::new(packet, client, served.way()));
                put.is_err().then(|| {
                    tally.counters.turned_away();
                    write_reject(packet, Rcode::ServFail, scratch)
                })
            } else {
                let context = Context { client: client.ip(), now, draw: draws.next(), transport: Transport::Tcp };
                answer(snapshot, &context, tally, packet, scratch)
            };
            if let Some(octets) = answered {
                output.extend_from_slice(&(octets as u16).to_be_bytes());
                output.extend_from_slice(&scratch[..octets]);
            }
        }
        false
    })
}
