//! One listen address: binds it (waiting for it, if so set), has engines accept, and owns the connections that came in.
//!
//! What always holds: connections outlive their listener; once it is stopped, none comes in.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::{Domain, SockRef, Type};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connect::set_options;
use super::connection::{Plan, Shared, Way};
use super::door::Door;
use super::handover::Inherited;
use super::settings::Protocol;
use super::throttle::Throttle;
use super::udp;

/// Connections that may wait to be accepted; the kernel's own bound (net.core.somaxconn) is mostly lower.
const BACKLOG: i32 = 4096;
/// Between two tries to bind an address that is in use.
const BIND_AGAIN: Duration = Duration::from_millis(100);

/// A listener and its connections, as seen by their owner.
pub(super) struct Listener {
    pub(super) protocol: Protocol,
    /// The address as set, with port 0 if so set.
    pub(super) address: SocketAddr,
    pub(super) plan: Arc<ArcSwap<Plan>>,
    /// The address in use, once it is bound.
    bound: watch::Receiver<Option<SocketAddr>>,
    stop: CancellationToken,
    pub(super) way: Arc<Way>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What a listener begins with.
pub(super) enum Start {
    /// A socket that listens.
    Bound(Socket),
    /// The address is in use; it is taken as soon as it is free.
    Waiting,
}

/// A socket that takes what comes.
pub(super) enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Socket {
    /// Binds, and listens if it is TCP; accepted connections inherit the socket's options.
    ///
    /// # Errors
    /// Those of socket(2), setsockopt(2), bind(2) and listen(2).
    pub(super) fn bind(protocol: Protocol, address: SocketAddr) -> io::Result<Self> {
        match protocol {
            Protocol::Tcp => bind(address).map(Self::Tcp),
            Protocol::Udp => {
                let socket = std::net::UdpSocket::bind(address)?;
                socket.set_nonblocking(true)?;
                UdpSocket::from_std(socket).map(Self::Udp)
            }
        }
    }

    /// One that listens already.
    pub(super) fn inherit(inherited: Inherited) -> io::Result<Self> {
        match inherited.protocol {
            Protocol::Tcp => {
                set_options(SockRef::from(&inherited.socket))?;
                Ok(Self::Tcp(inherited.socket.into()))
            }
            Protocol::Udp => UdpSocket::from_std(inherited.socket.into()).map(Self::Udp),
        }
    }

    fn copy(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Self::Udp(socket) => socket.as_fd().try_clone_to_owned(),
        }
    }

    fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        }
    }
}

impl Listener {
    /// Starts to accept by `plan`, now or as soon as the address is free.
    pub(super) fn start(start: Start, plan: Plan, shared: Arc<Shared>) -> Self {
        let (protocol, address) = (plan.rule.protocol, plan.rule.listen.address);
        let ladder = shared.orders.ladder([&plan.label, &plan.rule.listen_label()]);
        let plan = Arc::new(ArcSwap::from_pointee(plan));
        let (bound_tx, bound) = watch::channel(None);
        let (stop, way) = (CancellationToken::new(), Arc::<Way>::default());
        way.set_ladder(ladder); // before the first comes, who may wait already
        let acceptor = Acceptor { protocol, address, plan: plan.clone(), way: way.clone(), shared: shared.clone() };
        let task = tokio::spawn(acceptor.run(start, bound_tx, stop.clone()));
        Self { protocol, address, plan, bound, stop, way, shared, task }
    }

    /// New connections go by `plan` from now on.
    pub(super) fn set(&self, plan: Plan) {
        self.plan.store(Arc::new(plan));
    }

    /// The address in use, if it is bound by now.
    pub(super) fn bound(&self) -> Option<SocketAddr> {
        *self.bound.borrow()
    }

    /// Waits until the address is bound; `None` if it was stopped before.
    pub(super) async fn ready(&self) -> Option<SocketAddr> {
        let mut bound = self.bound.clone();
        bound.wait_for(Option::is_some).await.ok().and_then(|address| *address)
    }

    /// Closes the listening socket; connections go on.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Closes the listening socket and all connections.
    pub(super) fn cut(&self) {
        self.stop.cancel();
        self.way.cut.cancel();
        self.shared.engines.look();
    }

    /// Whether it is stopped and its last connection has ended.
    pub(super) fn finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it is stopped and its last connection has ended. May be dropped and called again.
    pub(super) async fn wait(&mut self) {
        if !self.task.is_finished() {
            // An error would be a panic of the task, which is the end of it as well.
            let _ = (&mut self.task).await;
        }
    }
}

/// Binds and listens; accepted connections inherit the socket's options.
///
/// # Errors
/// Those of socket(2), setsockopt(2), bind(2) and listen(2).
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    set_options(SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The task behind a [`Listener`].
struct Acceptor {
    protocol: Protocol,
    address: SocketAddr,
    plan: Arc<ArcSwap<Plan>>,
    way: Arc<Way>,
    shared: Arc<Shared>,
}

impl Acceptor {
    async fn run(self, start: Start, bound: watch::Sender<Option<SocketAddr>>, stop: CancellationToken) {
        match stop.run_until_cancelled(self.bind(start, bound)).await {
            Some(Socket::Tcp(socket)) => {
                let door = self.shared.engines.open(Arc::new(Door {
                    socket,
                    plan: self.plan.clone(),
                    way: self.way.clone(),
                    shared: self.shared.clone(),
                    throttle: Throttle::default(),
                }));
                stop.cancelled().await;
                door.close().await;
            }
            Some(Socket::Udp(socket)) => {
                stop.run_until_cancelled(udp::serve(socket, &self.plan, &self.way, &self.shared)).await;
            }
            None => {}
        }
        self.way.set_socket(None);
        self.way.connections.close();
        self.way.connections.wait().await;
    }

    async fn bind(&self, start: Start, bound: watch::Sender<Option<SocketAddr>>) -> Socket {
        let socket = match start {
            Start::Bound(socket) => socket,
            Start::Waiting => self.bind_when_free().await,
        };
        let address = socket.address().unwrap_or(self.address);
        tracing::info!(listen = %address, target = %self.plan.load().rule.target(), "forwarding");
        // Without a copy it only can't be handed over.
        self.way.set_socket(socket.copy().ok());
        bound.send_replace(Some(address));
        socket
    }

    async fn bind_when_free(&self) -> Socket {
        let listen = self.plan.load().rule.listen.to_string();
        tracing::info!(%listen, "the address is in use; waiting until it is free");
        let mut told = io::ErrorKind::AddrInUse;
        loop {
            match Socket::bind(self.protocol, self.address) {
                Ok(socket) => return socket,
                Err(error) if error.kind() == told => {}
                Err(error) => {
                    tracing::warn!(%listen, %error, "can't listen yet");
                    told = error.kind();
                }
            }
            tokio::time::sleep(BIND_AGAIN).await;
        }
    }
}
