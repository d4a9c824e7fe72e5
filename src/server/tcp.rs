//! DNS over TCP (RFC 7766): one thread for all connections. What a connection has sent is answered at once and leaves in one
//! write; a client that does not take its answers within the transit time of the horizon is cut off.

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
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::dns::wire::TCP_OCTETS;
use crate::query::{Context, Reader, Transport, answer};
use crate::server::draws::Draws;
use crate::steering::horizon::TRANSIT_SECS;
use crate::time::Timestamp;

/// A connection that says nothing for so long is closed (RFC 7766, 6.2.3: a few seconds, at the server's choice).
const IDLE: Duration = Duration::from_secs(10);
/// An answer that is not taken for so long might reach a cache after the horizon.
const WRITE: Duration = Duration::from_secs(TRANSIT_SECS);
/// Connections at a time.
const CONNECTIONS: usize = 1024;
/// Connections of one client address at a time.
const CONNECTIONS_EACH: usize = 128;
/// Octets read ahead of a connection: the longest message, and room for those behind it.
const READ_OCTETS: usize = TCP_OCTETS + 2;
/// Answers are written once they have so many octets.
const WRITE_OCTETS: usize = 16 * 1024;

/// What all connections share. They run on one thread, and none holds it over an await.
struct Shared {
    reader: Reader,
    draws: Draws,
    scratch: Box<[u8]>,
    open: HashMap<IpAddr, usize>,
    open_count: usize,
}

/// Answers connections until `stop`, then those in hand for a moment longer.
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
    tasks.run_until(stop.cancelled()).await;
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
        let client = peer.ip();
        {
            let mut s = shared.borrow_mut();
            let each = s.open.get(&client).copied().unwrap_or(0);
            if s.open_count >= CONNECTIONS || each >= CONNECTIONS_EACH {
                continue; // closed by the drop
            }
            s.open.insert(client, each + 1);
            s.open_count += 1;
        }
        let shared = shared.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = connection(stream, peer, &shared).await {
                tracing::trace!(%peer, %error, "a TCP connection ended");
            }
            let mut s = shared.borrow_mut();
            s.open_count -= 1;
            match s.open.get_mut(&client) {
                Some(n) if *n > 1 => *n -= 1,
                _ => _ = s.open.remove(&client),
            }
        });
    }
}

async fn connection(mut stream: TcpStream, peer: SocketAddr, shared: &RefCell<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_user_timeout(Some(WRITE))?;
    let mut input: Vec<u8> = Vec::with_capacity(512);
    let mut output: Vec<u8> = Vec::with_capacity(1024);
    loop {
        if timeout(IDLE, stream.read_buf(&mut input)).await?? == 0 {
            return Ok(());
        }
        let mut used = 0;
        loop {
            let whole = answer_some(shared, peer.ip(), &input, &mut used, &mut output);
            if !output.is_empty() {
                timeout(WRITE, stream.write_all(&output)).await??;
                output.clear();
            }
            if whole {
                break;
            }
            tokio::task::yield_now().await; // the others have their turn
        }
        input.drain(..used);
        if input.capacity() > 4096 && input.is_empty() {
            input.shrink_to(512);
        }
        if input.len() >= READ_OCTETS {
            return Ok(()); // can't be: a message of the largest length is whole by now
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
