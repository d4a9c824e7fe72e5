//! Sockets of the data plane. What is answered is `query`'s; here is how it comes and goes.
//!
//! UDP: one blocking thread and one `SO_REUSEPORT` socket for each worker and listen address, batches by
//! `recvmmsg`/`sendmmsg`; or one for each receive queue of a network interface (`xdp`). TCP: one thread with its own runtime for
//! all connections. TLS and QUIC: another; HTTPS: one more. Each is one worker of [`Readers`]. None of them waits for anything
//! but its socket: what more than the snapshot is needed for, such as a zone transfer, they hand to the thread of `requests`.

mod caught;
pub mod certificate;
mod connection;
mod draws;
pub mod encrypted;
mod https;
mod kernel;
pub mod notified;
mod notify;
mod quic;
mod requests;
mod seats;
pub mod secondaries;
mod stream;
mod tcp;
mod tls;
mod transfer;
mod udp;
mod xdp;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::dns::Name;
use crate::dns::wire::Rcode;
use crate::query::{Reader, Readers, Snapshot};
use crate::server::secondaries::Secondaries;
use crate::steering::horizon::TRANSIT_SECS;
use crate::zone::Diff;
use crate::zone::update::Update;

/// Whether the kernel says that the wall clock is kept in step with a source of time.
///
/// # Errors
/// What the system said.
pub fn clock_is_synchronised() -> io::Result<bool> {
    kernel::clock::is_synchronised()
}

pub use kernel::memory::gather_pages;
pub use kernel::priority::{Turns, stand};

/// What the data plane listens on, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// UDP and TCP; port 0 takes a free one, the same for both.
    pub listen: Vec<SocketAddr>,
    /// Network interfaces at which UDP queries for those addresses are taken before the kernel's own UDP sees them.
    pub interfaces: Vec<String>,
    /// UDP worker threads for each address, at least 1.
    pub workers: usize,
    /// TLS, QUIC and HTTPS, if wanted.
    pub encrypted: Option<encrypted::Settings>,
}

/// A listen address that can't be had.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address} ({transport})")]
pub struct BindError {
    /// As configured.
    pub address: SocketAddr,
    /// `UDP` or `TCP`.
    pub transport: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// What requests need beside the snapshot.
#[derive(Clone)]
pub struct Beside {
    /// How zones have changed.
    pub history: Arc<dyn History>,
    /// What is known of our secondaries.
    pub secondaries: Arc<Secondaries>,
    /// Who makes updates.
    pub updates: Arc<dyn Updates>,
    /// Where it is told that a primary has something new.
    pub notified: mpsc::Sender<notified::Notified>,
}

/// How zones have changed: what IXFR is answered from.
#[async_trait::async_trait]
pub trait History: Send + Sync {
    /// What led the zone `apex` from serial `from` to serial `to`, step by step; `None` when that is not known.
    async fn steps(&self, apex: &Name, from: u32, to: u32) -> Option<Vec<Diff>>;
}

/// Who makes updates (RFC 2136).
#[async_trait::async_trait]
pub trait Updates: Send + Sync {
    /// Makes `update`, if the sender may. Gives the RCODE to answer, once the change is durable and published.
    async fn update(&self, update: Update, by: Requestor) -> Rcode;
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requestor {
    /// From where.
    pub client: SocketAddr,
    /// The key that signed it.
    pub key: Option<Name>,
}

/// Bound sockets that nobody reads yet.
pub struct Listeners {
    udp: Vec<UdpSocket>,
    interfaces: Vec<xdp::Interface>,
    tcp: Vec<TcpListener>,
    encrypted: Option<encrypted::Listeners>,
    addresses: Vec<SocketAddr>,
}

impl Listeners {
    /// Binds all addresses, or none.
    ///
    /// # Errors
    /// [`BindError`] of the first that can't be had.
    pub fn bind(settings: &Settings) -> Result<Self, BindError> {
        let mut listeners =
            Self { udp: Vec::new(), interfaces: Vec::new(), tcp: Vec::new(), encrypted: None, addresses: Vec::new() };
        for &address in &settings.listen {
            // TCP first: only there an address that is taken is refused. A UDP socket would share it with the server that
            // has it, and take queries away from that. A free TCP port may be taken for UDP: then another one is tried.
            let mut tries = if address.port() == 0 { 16 } else { 1 };
            let (udp, tcp, bound) = loop {
                tries -= 1;
                let tcp = bind_tcp(address).map_err(|source| BindError { address, transport: "TCP", source })?;
                let bound = tcp.local_addr().map_err(|source| BindError { address, transport: "TCP", source })?;
                match bind_udp(bound) {
                    Ok(first) => break (first, tcp, bound),
                    Err(_) if tries > 0 => {}
                    Err(source) => return Err(BindError { address, transport: "UDP", source }),
                }
            };
            listeners.udp.push(udp);
            for _ in 1..settings.workers {
                let more = bind_udp(bound).map_err(|source| BindError { address, transport: "UDP", source })?;
                listeners.udp.push(more);
            }
            listeners.tcp.push(tcp);
            listeners.addresses.push(bound);
        }
        for interface in &settings.interfaces {
            match xdp::open(interface, &listeners.addresses) {
                Ok(opened) => listeners.interfaces.push(opened),
                Err(error) => tracing::warn!(
                    interface,
                    %error,
                    "queries can't be taken at the interface: they are answered through sockets"
                ),
            }
        }
        listeners.encrypted = settings.encrypted.as_ref().map(bind_encrypted).transpose()?;
        Ok(listeners)
    }

    /// What was bound, in the order of the settings, with the ports taken.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many workers will read: the rows that [`Readers`] needs.
    pub fn workers(&self) -> usize {
        let queues: usize = self.interfaces.iter().map(|interface| interface.queues.len()).sum();
        let encrypted = self.encrypted.as_ref().map_or(0, encrypted::Listeners::workers);
        self.udp.len() + queues + 2 + encrypted
    }

    /// How many of those answer queries over UDP: they share what a prefix may have.
    pub fn udp_workers(&self) -> usize {
        let queues: usize = self.interfaces.iter().map(|interface| interface.queues.len()).sum();
        self.udp.len() + queues
    }

    /// Begins to answer from what is `published`, until `stop`.
    ///
    /// # Errors
    /// What the system says when a thread or a runtime can't be made.
    pub fn serve(
        self,
        published: &Arc<ArcSwap<Snapshot>>,
        readers: &Arc<Readers>,
        beside: Beside,
        stop: &CancellationToken,
    ) -> io::Result<Serving> {
        let mut threads = Vec::new();
        let (requests, queue) = requests::queue();
        let sockets: Arc<[Arc<UdpSocket>]> = self.udp.into_iter().map(Arc::new).collect();
        for (worker, socket) in sockets.iter().enumerate() {
            let reader = Reader::new(readers.clone(), worker, published.clone());
            let (socket, requests, stop) = (socket.clone(), requests.clone(), stop.clone());
            let serve = move || udp::serve(&socket, reader, &requests, &stop);
            threads.push(std::thread::Builder::new().name(format!("udp-{worker}")).spawn(serve)?);
        }
        let mut programs = Vec::new();
        for interface in self.interfaces {
            for queue in interface.queues {
                let reader = Reader::new(readers.clone(), threads.len(), published.clone());
                let beside = xdp::Beside { sockets: sockets.clone(), requests: requests.clone() };
                let stop = stop.clone();
                let name = format!("xdp-{}", threads.len());
                let serve = move || xdp::serve(queue, reader, &beside, &stop);
                threads.push(std::thread::Builder::new().name(name).spawn(serve)?);
            }
            programs.push(interface.program);
        }
        let reader = Reader::new(readers.clone(), threads.len(), published.clone());
        let (listeners, to, until) = (self.tcp, requests.clone(), stop.clone());
        threads.push(spawn("tcp", move || tcp::serve(listeners, reader, to, until))?);
        let reader = Reader::new(readers.clone(), threads.len(), published.clone());
        let until = stop.clone();
        threads.push(spawn("requests", move || requests::serve(queue, reader, beside, until))?);
        if let Some(encrypted) = self.encrypted {
            let encrypted::Listeners { tls, quic, https, certificate } = encrypted;
            if !tls.is_empty() || !quic.is_empty() {
                let reader = Reader::new(readers.clone(), threads.len(), published.clone());
                let (certificate, until) = (certificate.clone(), stop.clone());
                let serve = move || encrypted::serve(tls, quic, certificate, reader, requests, until);
                threads.push(spawn("encrypted", serve)?);
            }
            if !https.is_empty() {
                let reader = Reader::new(readers.clone(), threads.len(), published.clone());
                let until = stop.clone();
                threads.push(spawn("https", move || https::serve(https, certificate, reader, until))?);
            }
        }
        Ok(Serving { threads, sockets, _programs: programs })
    }
}

/// The running threads.
#[derive(Debug)]
pub struct Serving {
    threads: Vec<JoinHandle<()>>,
    /// Where UDP workers wait.
    sockets: Arc<[Arc<UdpSocket>]>,
    /// Take packets to the queues for as long as they are kept.
    _programs: Vec<kernel::xdp::Program>,
}

impl Serving {
    /// Waits for their end, after `stop`.
    pub fn join(self) {
        self.sockets.iter().for_each(|socket| udp::call(socket));
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the data plane had panicked");
            }
        }
    }
}

/// Runs what `serve` makes on a thread and a runtime of its own.
fn spawn<F: Future<Output = ()>>(name: &str, serve: impl FnOnce() -> F + Send + 'static) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        Turns::Streams.take();
        runtime.block_on(async { serve().await });
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn bind_encrypted(settings: &encrypted::Settings) -> Result<encrypted::Listeners, BindError> {
    let anywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let first = [&settings.tls, &settings.quic, &settings.https].into_iter().flatten().next();
    let certificate = certificate::Certificate::read(&settings.certificate, &settings.key)
        .map_err(|source| BindError { address: first.copied().unwrap_or(anywhere), transport: "TLS", source })?;
    let tls =
        |&address: &SocketAddr| bind_tcp(address).map_err(|source| BindError { address, transport: "TLS", source });
    let https = |&address: &SocketAddr| {
        let bound = bind_tcp(address).and_then(|listener| {
            // What a slow reader has not taken must not reach a cache after the horizon.
            let socket = SockRef::from(&listener);
            socket.set_send_buffer_size(https::SEND_OCTETS)?;
            socket.set_tcp_user_timeout(Some(Duration::from_secs(TRANSIT_SECS)))?;
            Ok(listener)
        });
        bound.map_err(|source| BindError { address, transport: "HTTPS", source })
    };
    let quic = |&address: &SocketAddr| {
        let bound = bind_datagrams(address).map_err(|source| BindError { address, transport: "QUIC", source })?;
        Ok(bound.into())
    };
    Ok(encrypted::Listeners {
        tls: settings.tls.iter().map(tls).collect::<Result<_, _>>()?,
        https: settings.https.iter().map(https).collect::<Result<_, _>>()?,
        quic: settings.quic.iter().map(quic).collect::<Result<_, BindError>>()?,
        certificate,
    })
}

/// A socket of the family of `address`; one of IPv6 leaves IPv4 to its own.
fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn bind_datagrams(address: SocketAddr) -> io::Result<Socket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_reuse_port(true)?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.set_send_buffer_size(1 << 20)?;
    if address.ip().is_unspecified() {
        kernel::mmsg::ask_for_destination(&socket, address.is_ipv6())?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}
