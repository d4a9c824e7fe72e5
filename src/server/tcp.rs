//! DNS over TCP (RFC 7766): one thread for all connections. What a connection has sent is answered at once and leaves in one
//! write.
//!
//! An answer must not linger: the horizon allows it [`TRANSIT_SECS`] on its way. So a client whose host does not acknowledge
//! what was sent in that time is reset, its answers discarded.

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
/// An answer that is not taken for long might reach a cache after the horizon. Octets that are written while others wait are
/// timed once those are acknowledged: so each is allowed half of the time.
const ACKNOWLEDGED: Duration = Duration::from_millis(TRANSIT_SECS * 1000 / 2);
/// Connections at a time.
const CONNECTIONS: usize = 1024;
/// Connections of one client at a time: an IPv4 address, or an IPv6 /64.
const CONNECTIONS_EACH: usize = 128;
/// Answers are written once they have so many octets.
const WRITE_OCTETS: usize = 64 * 1024;
/// How often it is looked, at the end of a connection, whether what was sent has been acknowledged.
const ACK_CHECK: Duration = Duration::from_millis(5);
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

/// A connection whose answers must not linger: what has been written has to be acknowledged in time, and what has not been
/// when the connection ends is discarded by a reset, as closing it would go on sending.
struct Stream {
    tcp: TcpStream,
    /// Octets written.
    sent: u64,
    /// What was written when, and is not acknowledged yet: the octets before that place.
    mark: Option<(u64, Instant)>,
}

impl Stream {
    fn new(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        SockRef::from(&tcp).set_tcp_user_timeout(Some(ACKNOWLEDGED))?;
        Ok(Self { tcp, sent: 0, mark: None })
    }

    async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.check()?;
        timeout(ACKNOWLEDGED, self.tcp.write_all(octets)).await??;
        self.sent += octets.len() as u64;
        Ok(())
    }

    /// Reads on, until `deadline` at most. Gives 0 at the end, once all answers are acknowledged.
    async fn read(&mut self, input: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
        loop {
            let acknowledged_by = self.check()?;
            let until = acknowledged_by.map_or(deadline, |by| by.min(deadline));
            match timeout_at(until, self.tcp.read_buf(input)).await {
                Ok(Ok(0)) => break,
                Ok(read) => return read,
                Err(late) if until == deadline => return Err(late.into()),
                Err(_) => {} // the check tells
            }
        }
        while self.check()?.is_some() {
            tokio::time::sleep(ACK_CHECK).await;
        }
        Ok(0)
    }

    /// Until when what is under way has to be acknowledged; `None` when nothing is.
    fn check(&mut self) -> io::Result<Option<Instant>> {
        let unsent = unsent_octets(&self.tcp)? as u64;
        match self.mark {
            Some((place, _)) if self.sent - unsent >= place => self.mark = None,
            Some((_, since)) if since.elapsed() >= ACKNOWLEDGED => return Err(io::ErrorKind::TimedOut.into()),
            _ => {}
        }
        if self.mark.is_none() && unsent > 0 {
            self.mark = Some((self.sent, Instant::now()));
        }
        Ok(self.mark.map(|(_, since)| since + ACKNOWLEDGED))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if unsent_octets(&self.tcp).is_ok_and(|octets| octets > 0) {
            _ = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO)); // a socket that is gone needs none
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
    let mut stream = Stream::new(stream)?;
    let mut input: Vec<u8> = Vec::with_capacity(512);
    let mut output: Vec<u8> = Vec::with_capacity(1024);
    loop {
        let idle = if shared.borrow().open_count > CONNECTIONS / 2 { IDLE_CROWDED } else { IDLE };
        let deadline = Instant::now() + idle;
        let mut used = 0;
        while used == 0 {
            if stream.read(&mut input, deadline).await? == 0 {
                return Ok(());
            }
            loop {
                let whole = answer_some(shared, peer.ip(), &input, &mut used, &mut output);
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
