//! The forwarder as a whole: starts all rules or none, reloads, drains.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;

use super::connect::{Circuits, Descriptors, try_transparent};
use super::connection::{Plan, Shared};
use super::control::{Board, Control, Post};
use super::counts::Counts;
use super::handover::{self, Inherited, Predecessor};
use super::inbox::Engines;
use super::link::Link;
use super::listener::{Listener, Socket, Start};
use super::log::Log;
use super::memory::Memory;
use super::orders::Orders;
use super::page::Page;
use super::resolve::Names;
use super::settings::{Rule, Settings};
use super::throttle::Throttle;

/// Why a forwarder can't start, or can't take new settings.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// A rule's address can't be listened on.
    #[error("the rule {listen} -> {target} can't listen on {address}: {source}")]
    Listen {
        /// As written.
        listen: String,
        /// As written.
        target: String,
        /// What `listen` stands for.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// Connections can't come from clients' addresses.
    #[error(
        "the rule {listen} -> {target} can't have the clients' own addresses (transparent), which needs the capability \
         CAP_NET_ADMIN: {source}"
    )]
    Transparent {
        /// As written.
        listen: String,
        /// As written.
        target: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The address for metrics can't be listened on.
    #[error("metrics can't be shown on {address}: {source}")]
    Metrics {
        /// As set.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// What moves the bytes can't be started.
    #[error("connections can't be watched: {source}")]
    Engine {
        /// What the kernel says.
        source: io::Error,
    },
    /// Listening sockets can't be taken over.
    #[error("listening sockets can't be taken over: {source}")]
    TakeOver {
        /// What went wrong.
        source: io::Error,
    },
    /// The thread that writes the log can't be started.
    #[error("no thread for the log can be started: {source}")]
    LogThread {
        /// What the kernel says.
        source: io::Error,
    },
}

/// A running forwarder. Dropping it cuts all connections; [`Forwarder::drain`] ends it in order.
pub struct Forwarder {
    settings: Settings,
    /// One for each rule, in their order.
    listeners: Vec<Listener>,
    /// Those whose rule is gone, until their last connection ends.
    leaving: Vec<Listener>,
    page: Option<Page>,
    board: Board,
    control: Option<Control>,
    link: Option<Link>,
    /// Told when a successor has taken over.
    handed_over: Arc<Notify>,
    shared: Arc<Shared>,
}

impl Forwarder {
    /// Starts to listen for all rules. To be called in a tokio runtime.
    ///
    /// # Errors
    /// That an address can't be listened on (unless it is in use and `wait_bind` is set); nothing is left running then.
    pub fn start(settings: Settings) -> Result<Self, ForwardError> {
        Self::start_with(settings, Vec::new())
    }

    /// As [`Forwarder::start`], from the sockets of the forwarder that runs with the same control socket, if there is one;
    /// it stops accepting and drains as soon as this one has started.
    ///
    /// # Errors
    /// As [`Forwarder::start`]; the other goes on as it was then.
    pub fn take_over(settings: Settings) -> Result<Self, ForwardError> {
        let failed = |source| ForwardError::TakeOver { source };
        let asked = settings.control.as_deref().map(Predecessor::ask).transpose().map_err(failed)?.flatten();
        let Some((predecessor, sockets)) = asked else { return Self::start(settings) };
        let started = Self::start_with(settings, sockets)?;
        if let Err(error) = predecessor.ready() {
            tracing::warn!(%error, "the predecessor is gone");
        }
        Ok(started)
    }

    fn start_with(settings: Settings, mut inherited: Vec<Inherited>) -> Result<Self, ForwardError> {
        check_transparent(&settings)?;
        inherited.extend(handover::of_systemd().map_err(|source| ForwardError::TakeOver { source })?);
        let counts = Arc::new(Counts::new());
        let starts = settings
            .rules
            .iter()
            .map(|rule| begin(rule, settings.wait_bind, &mut inherited))
            .collect::<Result<Vec<_>, ForwardError>>()?;
        let page = open_page(settings.metrics, &counts)?;
        let log = Log::start(settings.log.clone(), counts.log_lines_lost.clone())
            .map_err(|source| ForwardError::LogThread { source })?;
        let orders = Orders::new(settings.state_file().as_deref().map(Memory::new));
        let engines = Engines::start().map_err(|source| ForwardError::Engine { source })?;
        let shared = Arc::new(Shared {
            counts,
            log,
            engines,
            descriptors: Descriptors::of_process(),
            names: Names::default(),
            orders,
        });
        let listeners: Vec<_> = starts
            .into_iter()
            .zip(plans(&settings, &shared))
            .map(|(start, plan)| Listener::start(start, plan, shared.clone()))
            .collect();
        let board = Board::default();
        board.store(Arc::new(posts(&listeners)));
        shared.orders.refresh(&board, &shared);
        let link = settings.authority.clone().map(|authority| Link::start(authority, board.clone(), shared.clone()));
        let handed_over = Arc::new(Notify::new());
        let control = open_control(settings.control.as_deref(), &board, &shared, &handed_over);
        write_pid(settings.pid_file.as_deref());
        Ok(Self { settings, listeners, leaving: Vec::new(), page, board, control, link, handed_over, shared })
    }

    /// Takes new settings: an address that stays keeps its listening socket, new ones are opened, gone ones closed. All
    /// connections go on as they are.
    ///
    /// # Errors
    /// As [`Forwarder::start`]; the old settings stay in force then, all of them.
    pub fn reload(&mut self, settings: Settings) -> Result<(), ForwardError> {
        let result = self.take(settings);
        self.shared.counts.reload(result.is_ok());
        result
    }

    fn take(&mut self, settings: Settings) -> Result<(), ForwardError> {
        // All that can fail comes first.
        check_transparent(&settings)?;
        let kept = self.kept(&settings);
        let gone_ports: Vec<u16> = self
            .listeners
            .iter()
            .enumerate()
            .filter(|(i, _)| !kept.contains(&Some(*i)))
            .map(|(_, l)| l.address.port())
            .collect();
        let mut starts = VecDeque::new();
        for (rule, _) in settings.rules.iter().zip(&kept).filter(|(_, kept)| kept.is_none()) {
            // An address may be held by a listener of our own that is about to close, as 0.0.0.0:80 holds 127.0.0.1:80.
            let ours = gone_ports.contains(&rule.listen.address.port());
            starts.push_back(begin(rule, settings.wait_bind || ours, &mut Vec::new())?);
        }
        let same_page = self.page.as_ref().map(|page| page.address) == settings.metrics;
        let page = if same_page { None } else { open_page(settings.metrics, &self.shared.counts)? };

        let control = if self.settings.control == settings.control {
            None
        } else {
            Some(open_control(settings.control.as_deref(), &self.board, &self.shared, &self.handed_over))
        };

        let mut old: Vec<_> = std::mem::take(&mut self.listeners).into_iter().map(Some).collect();
        for (plan, kept) in plans(&settings, &self.shared).into_iter().zip(kept) {
            let listener = if let Some(listener) = kept.and_then(|i| old[i].take()) {
                listener.set(plan);
                listener
            } else {
                let start = starts.pop_front().expect("each rule that keeps no listener was begun above");
                Listener::start(start, plan, self.shared.clone())
            };
            self.listeners.push(listener);
        }
        self.leaving.retain(|listener| !listener.finished());
        for listener in old.into_iter().flatten() {
            tracing::info!(listen = %listener.address, "the rule is gone; its connections go on");
            listener.stop();
            self.leaving.push(listener);
        }
        if !same_page {
            self.page = page;
        }
        self.shared.log.write_to(settings.log.clone());
        self.board.store(Arc::new(posts(&self.listeners)));
        self.shared.orders.refresh(&self.board, &self.shared);
        if settings.authority != self.settings.authority {
            let start = |authority| Link::start(authority, self.board.clone(), self.shared.clone());
            self.link = settings.authority.clone().map(start);
        }
        if let Some(control) = control {
            self.control = control;
        }
        if settings.pid_file != self.settings.pid_file {
            write_pid(settings.pid_file.as_deref());
        }
        self.settings = settings;
        Ok(())
    }

    /// For each new rule the listener, by its place, that has its address already; each is given once.
    fn kept(&self, settings: &Settings) -> Vec<Option<usize>> {
        let mut free: Vec<_> =
            self.listeners.iter().map(|listener| Some((listener.protocol, listener.address))).collect();
        let mut claim = |wanted| {
            let place = free.iter().position(|free| *free == Some(wanted))?;
            free[place] = None;
            Some(place)
        };
        settings.rules.iter().map(|rule| claim((rule.protocol, rule.listen.address))).collect()
    }

    /// Notes that new settings were refused before they came here; the old ones stay in force.
    pub fn reload_refused(&self) {
        self.shared.counts.reload(false);
    }

    /// Opens the log's file again, as after it was moved away.
    pub fn reopen_log(&self) {
        self.shared.log.reopen();
    }

    /// Waits until all rules listen, and gives their addresses in the order of the rules.
    pub async fn ready(&self) -> Vec<SocketAddr> {
        let mut addresses = Vec::with_capacity(self.listeners.len());
        for listener in &self.listeners {
            addresses.extend(listener.ready().await);
        }
        addresses
    }

    /// Where each rule listens by now; `None` while its address is waited for.
    pub fn addresses(&self) -> Vec<Option<SocketAddr>> {
        self.listeners.iter().map(Listener::bound).collect()
    }

    /// Where metrics are shown.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.page.as_ref().map(|page| page.bound)
    }

    /// What was counted so far.
    pub fn counts(&self) -> Arc<Counts> {
        self.shared.counts.clone()
    }

    /// Waits until a successor has taken over the listening sockets: then this one is to be drained.
    pub async fn handed_over(&self) {
        self.handed_over.notified().await;
    }

    /// Ends it: no new connections; those open go on until they end, the time to drain is over, or `at_once` is ready.
    pub async fn drain(mut self, at_once: impl Future<Output = ()>) {
        self.link = None;
        for listener in &self.listeners {
            listener.stop();
        }
        let limit = self.settings.drain;
        tracing::info!(
            open = self.open(),
            ?limit,
            "draining: no new connections, open ones may go on; a signal ends them"
        );
        let cut_by = tokio::select! {
            () = self.all_ended() => None,
            () = tokio::time::sleep(limit) => Some("the time to drain is over"),
            () = at_once => Some("a second signal came"),
        };
        if let Some(reason) = cut_by {
            tracing::warn!(open = self.open(), reason, "open connections are cut");
            for listener in self.listeners.iter().chain(&self.leaving) {
                listener.cut();
            }
            self.all_ended().await;
        }
        self.shared.log.end().await;
        tracing::info!("ended");
    }

    /// Connections, and UDP clients, that are open.
    fn open(&self) -> i64 {
        // A listener that went and came again counts with its successor.
        let all = self.listeners.iter().chain(&self.leaving);
        let by_rule: HashMap<_, _> = all.map(|l| l.plan.load_full()).map(|p| (p.rule.listen_label(), p)).collect();
        by_rule.values().map(|plan| plan.counts.open.get()).sum()
    }

    async fn all_ended(&mut self) {
        for listener in self.listeners.iter_mut().chain(&mut self.leaving) {
            listener.wait().await;
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        for listener in self.listeners.iter().chain(&self.leaving) {
            listener.cut();
        }
    }
}

fn check_transparent(settings: &Settings) -> Result<(), ForwardError> {
    let Some(rule) = settings.rules.iter().find(|rule| rule.transparent) else { return Ok(()) };
    let (listen, target) = (rule.listen.to_string(), rule.target().to_string());
    try_transparent().map_err(|source| ForwardError::Transparent { listen, target, source })
}

fn begin(rule: &Rule, wait: bool, inherited: &mut Vec<Inherited>) -> Result<Start, ForwardError> {
    let address = rule.listen.address;
    let ours = inherited.iter().position(|i| (i.protocol, i.address) == (rule.protocol, address));
    let socket = match ours {
        Some(place) => Socket::inherit(inherited.swap_remove(place)),
        None => Socket::bind(rule.protocol, address),
    };
    match socket {
        Ok(socket) => Ok(Start::Bound(socket)),
        Err(e) if wait && e.kind() == io::ErrorKind::AddrInUse => Ok(Start::Waiting),
        Err(source) => Err(ForwardError::Listen {
            listen: rule.listen.to_string(),
            target: rule.target().to_string(),
            address,
            source,
        }),
    }
}

/// Without its control socket a forwarder does its work as well, so this only warns.
fn open_control(
    file: Option<&Path>,
    board: &Board,
    shared: &Arc<Shared>,
    handed_over: &Arc<Notify>,
) -> Option<Control> {
    let file = file?;
    match Control::open(file, board.clone(), shared.clone(), handed_over.clone()) {
        Ok(control) => Some(control),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "there is no control socket: it can't be opened");
            None
        }
    }
}

fn posts(listeners: &[Listener]) -> Vec<Post> {
    listeners.iter().map(|l| Post { plan: l.plan.clone(), way: l.way.clone() }).collect()
}

fn open_page(address: Option<SocketAddr>, counts: &Arc<Counts>) -> Result<Option<Page>, ForwardError> {
    let open =
        |address| Page::open(address, counts.clone()).map_err(|source| ForwardError::Metrics { address, source });
    address.map(open).transpose()
}

fn plans(settings: &Settings, shared: &Shared) -> Vec<Plan> {
    let access = Arc::new(settings.access.clone());
    let plan = |set: &Rule| {
        let rule = shared.orders.rule(set);
        Plan {
            label: rule.label(),
            access: access.clone(),
            counts: shared.counts.of_rule(&rule.listen_label()),
            circuits: Circuits::new(rule.targets.len()),
            throttle: Throttle::default(),
            set: Arc::new(set.clone()),
            place: shared.counts.place_of(rule.belongs.as_ref()),
            rule: Arc::new(rule),
        }
    };
    settings.rules.iter().map(plan).collect()
}

/// Without a file for its process id a forwarder does its work as well, so this only warns.
fn write_pid(file: Option<&Path>) {
    if let Some(file) = file
        && let Err(error) = std::fs::write(file, format!("{}\n", std::process::id()))
    {
        tracing::warn!(file = %file.display(), %error, "the process id can't be written");
    }
}
