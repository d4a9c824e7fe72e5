//! DNS over TCP (RFC 7766): one thread for all connections. What a connection has sent is answered at once and leaves in one
//! write.
//!
//! An answer must not linger: the horizon allows it [`TRANSIT_SECS`] on its way. So nothing more is answered to a client
//! until its host has acknowledged what was sent, and one that does not in that time is reset, its answers discarded.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::dns::wire::TCP_OCTETS;
use crate::query::{Context, Reader, TCP_IDLE, Transport, answer};
use crate::server::draws::Draws;
use crate::server::mmsg::unsent_octets;
use crate::steering::horizon::TRANSIT_SECS;
use crate::time::Timestamp;

/// A connection on which no whole query comes for so long is closed; so clients that ask are told (RFC 7828).
const IDLE: Duration = TCP_IDLE;
/// The same while more than half of all connections are taken.
const IDLE_CROWDED: Duration = Duration::from_secs(2);
/// An answer that is not taken for so long might reach a cache after the horizon.
const WRITE: Duration = Duration::from_secs(TRANSIT_SECS);
/// Connections at a time.
const CONNECTIONS: usize = 1024;
/// Connections of one client at a time: an IPv4 address, or an IPv6 /64.
const CONNECTIONS_EACH: usize = 128;
/// Answers are written once they have so many octets.
const WRITE_OCTETS: usize = 16 * 1024;
/// How often it is looked whether what was sent has been acknowledged: first, and at most.
const ACK_CHECK: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(20));
/// How often the thread looks for a newer snapshot when nobody asks, so that it keeps no old one.
const REFRESH: Duration = Duration::from_millis(250);

/// What all connections share. They run on one thread, and none holds it over an await.
struct Shared {
    reader: Reader,
    draws: Draws,
    scratch: Box<[u8]>,
    open: HashMap<IpAddr, usize>,
    open_count: usize,
}

/// Answers connections until `stop`; then those that have not taken their answers are reset, the others closed.
pub(super) async fn serve(listeners: Vec<std::net::TcpListener>, reader: Reader, stop: CancellationToken) {
    let shared = Shared {
        reader,
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

/// A connection that is reset when it ends with answers that the client's host has not acknowledged: closing it would go on
/// sending them.
struct Stream(TcpStream);

impl Stream {
    /// Writes, and waits until it has been acknowledged.
    async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.0.write_all(octets).await?;
        let mut pause = ACK_CHECK.0;
        while unsent_octets(&self.0)? > 0 {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(ACK_CHECK.1);
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if unsent_octets(&self.0).is_ok_and(|octets| octets > 0) {
            _ = SockRef::from(&self.0).set_linger(Some(Duration::ZERO)); // a socket that is gone needs none
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

async fn connection(stream: TcpStream, peer: SocketAddr, shared: &RefCell<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_user_timeout(Some(WRITE))?;
    let mut stream = Stream(stream);
    let mut input: Vec<u8> = Vec::with_capacity(512);
    let mut output: Vec<u8> = Vec::with_capacity(1024);
    loop {
        let idle = if shared.borrow().open_count > CONNECTIONS / 2 { IDLE_CROWDED } else { IDLE };
        let deadline = Instant::now() + idle;
        let mut used = 0;
        while used == 0 {
            if timeout_at(deadline, stream.0.read_buf(&mut input)).await?? == 0 {
                return Ok(());
            }
            loop {
                let whole = answer_some(shared, peer.ip(), &input, &mut used, &mut output);
                if !output.is_empty() {
                    timeout(WRITE, stream.send(&output)).await??;
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
}

/// Answers the whole messages of `input` from `used` on, into `output`, as many as one write takes. Gives whether all were.
fn answer_some(shared: &RefCell<Shared>, client: IpAddr, input: &[u8], used: &mut usize, output: &mut Vec<u8>) -> bool {
    let Shared { reader, draws, scratch, .. } = &mut *shared.borrow_mut();
    let now = Timestamp::now();
    reader.read(|snapshot, tally| {
        while output.len() < WRITE_OCTETS {
            let Some((length, rest)) = input[*used..].split_first_chunk::<2>() else { return true };
            let Some(packet) = rest.get(..u16::from_be_bytes(*length) as usize) else { return true };
            *used += 2 + packet.len();
            let context = Context { client, now, draw: draws.next(), transport: Transport::Tcp };
            if let Some(octets) = answer(snapshot, &context, tally, packet, scratch) {
                output.extend_from_slice(&(octets as u16).to_be_bytes());
                output.extend_from_slice(&scratch[..octets]);
            }
        }
        false
    })
}
