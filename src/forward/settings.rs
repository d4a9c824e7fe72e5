//! What the forwarder is set to do: checked and typed, whichever file it was read from. No I/O here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::access::Access;
use super::mistake::Mistake;
use crate::pairing::{Belongs, name_mistake};

/// All that the forwarder needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is forwarded, in the order written. No two listen on the same address, unless on port 0.
    pub rules: Vec<Rule>,
    /// Who may connect, before a rule's own patterns are asked.
    pub access: Access,
    /// Where connections are logged; `None`: nowhere.
    pub log: Option<LogFile>,
    /// Where the process id is written.
    pub pid_file: Option<PathBuf>,
    /// How long open connections may go on after the end was asked for.
    pub drain: Duration,
    /// Where metrics and sources are shown over HTTP.
    pub metrics: Option<SocketAddr>,
    /// The unix socket by which it is asked and told while it runs; beside it, with `.sockets` added, the one by which a
    /// successor takes over.
    pub control: Option<PathBuf>,
    /// Who leads it.
    pub authority: Option<Authority>,
    /// What is kept over a restart; `None`: beside the control socket, with `.state` added.
    pub state: Option<PathBuf>,
    /// Waits for a listen address that is in use, instead of failing.
    pub wait_bind: bool,
    /// Doubts about the file that it was read from.
    pub warnings: Vec<Mistake>,
}

impl Settings {
    /// Time for downloads to end, and short enough that a service manager (90 s with systemd) does not kill first.
    pub const DRAIN: Duration = Duration::from_secs(30);

    /// The file of what is kept over a restart, if there is one.
    pub fn state_file(&self) -> Option<PathBuf> {
        let beside = |control: &PathBuf| {
            let mut name = control.as_os_str().to_owned();
            name.push(".state");
            name.into()
        };
        self.state.clone().or_else(|| self.control.as_ref().map(beside))
    }
}

/// The server that leads a forwarder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// `http://` or `https://`, host and port of its API.
    pub url: String,
    /// What the forwarder is called there.
    pub name: String,
    /// Holds the token that `waypost forwarder add` printed.
    pub token_file: PathBuf,
    /// Certificates (PEM) that the server's own may be signed by; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
}

impl Authority {
    /// Reads a URL.
    ///
    /// # Errors
    /// Why it is none of an API, in words.
    pub fn url(text: &str) -> Result<String, String> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = rest.map(|rest| rest.trim_end_matches('/')).filter(|host| !host.is_empty() && !host.contains('/'));
        let read = host.and_then(|_| text.parse::<hyper::Uri>().ok()).filter(|uri| uri.host().is_some());
        read.map(|_| text.trim_end_matches('/').to_owned())
            .ok_or_else(|| format!("{text:?} is no address of an API: expected https://HOST:PORT"))
    }

    /// Reads a forwarder's name.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn name(text: &str) -> Result<String, String> {
        name_mistake(text).map_or_else(|| Ok(text.to_owned()), Err)
    }

    /// The host's name, as a forwarder's.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn host_name() -> Result<String, String> {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self::name(&name.trim().to_ascii_lowercase()).map_err(|told| format!("the host's name: {told}: set name"))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            access: Access::default(),
            log: None,
            pid_file: None,
            drain: Self::DRAIN,
            metrics: None,
            control: None,
            authority: None,
            state: None,
            wait_bind: false,
            warnings: Vec::new(),
        }
    }
}

/// One listen address and where its connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is called in status, commands and the PROXY header; else its listen address is.
    pub name: Option<String>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where to listen.
    pub listen: Listen,
    /// Where to connect to; never empty, not all of weight 0.
    pub targets: Vec<WeightedTarget>,
    /// Who may connect.
    pub access: Access,
    /// The local address that connections to the target come from; `None`: as the kernel chooses.
    pub source: Option<IpAddr>,
    /// Connections to the target come from the client's own address (`IP_TRANSPARENT`); never with `source`.
    pub transparent: bool,
    /// How the client's address is passed on.
    pub proxy_protocol: ProxyProtocol,
    /// Peers (load balancers) whose connections begin with a PROXY header that is believed.
    pub proxy_from: Vec<IpNet>,
    /// Whether the client's first octets are looked at for the host that it wants.
    pub peek: bool,
    /// How long one address of the target may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a connection may stand without a byte in either direction; for UDP, how long a client is remembered.
    pub idle_timeout: Duration,
    /// How long a connection may live at all.
    pub total_timeout: Option<Duration>,
    /// Connections, or UDP clients, that may be open at a time; those beyond are refused.
    pub max_connections: Option<u32>,
    /// The pool and site whose stragglers come by it.
    pub belongs: Option<Belongs>,
}

/// What a rule forwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// A target and its part of the connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedTarget {
    /// Where to connect to.
    pub target: Target,
    /// Its share is its part of the sum of weights; 0: only when no other can be reached.
    pub weight: u32,
}

impl WeightedTarget {
    /// What counts where nothing is said.
    pub const WEIGHT: u32 = 100;
    /// The largest, so that sums can't overflow.
    pub const MAX_WEIGHT: u32 = 1_000_000;
}

impl Rule {
    /// Two lost SYNs (sent again after 1 s and 3 s) still connect; a client's patience is seldom longer.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// rinetd waits for ever. Three days outlast a weekend's quiet database connection, and still a leak comes to an end.
    pub const IDLE_TIMEOUT: Duration = Duration::from_hours(72);
    /// As rinetd does: an answer seldom takes longer.
    pub const UDP_TIMEOUT: Duration = Duration::from_secs(72);

    /// A TCP rule with the defaults for what isn't said.
    pub fn new(listen: Listen, target: Target) -> Self {
        let peek = Self::peeks_at(listen.address.port());
        Self {
            name: None,
            protocol: Protocol::Tcp,
            listen,
            targets: vec![WeightedTarget { target, weight: WeightedTarget::WEIGHT }],
            access: Access::default(),
            source: None,
            transparent: false,
            proxy_protocol: ProxyProtocol::None,
            proxy_from: Vec::new(),
            peek,
            connect_timeout: Self::CONNECT_TIMEOUT,
            idle_timeout: Self::IDLE_TIMEOUT,
            total_timeout: None,
            max_connections: None,
            belongs: None,
        }
    }

    /// Whether hosts are looked for where nothing is said: on the web's ports, where the client speaks first.
    pub fn peeks_at(port: u16) -> bool {
        matches!(port, 80 | 443)
    }

    /// The first target, which stands for the rule where there is place for one.
    pub fn target(&self) -> &Target {
        &self.targets[0].target
    }

    /// What it is called.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.listen_label())
    }

    /// Where it listens, as metrics show it.
    pub fn listen_label(&self) -> String {
        match self.protocol {
            Protocol::Tcp => self.listen.to_string(),
            Protocol::Udp => format!("{}/udp", self.listen),
        }
    }

    /// Why no connection could ever be made from `source`, if that can be seen.
    pub fn source_mismatch(&self) -> Option<String> {
        let source = self.source?;
        self.targets.iter().find_map(|t| match t.target.host {
            Host::Address(target) if source.is_ipv4() != target.is_ipv4() => {
                Some(format!("the source address {source} and the target {target} are of different families"))
            }
            _ => None,
        })
    }
}

/// Where a rule listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listen {
    /// The host as written, for the log.
    pub host: String,
    /// What that is as an address.
    pub address: SocketAddr,
}

/// An address stands for itself.
impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), address }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host_and_port(f, &self.host, self.address.port())
    }
}

/// Where a rule connects to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// An address, or a name that is looked up anew when what is known of it is old.
    pub host: Host,
    /// Never 0.
    pub port: u16,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Address(address.ip()), port: address.port() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host_and_port(f, &self.host.to_string(), self.port)
    }
}

/// A host as written in a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IPv4 or IPv6 address.
    Address(IpAddr),
    /// A host name.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// An IPv6 address in square brackets, so that its port can be told from it (RFC 3986, 3.2.2).
fn write_host_and_port(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') && !host.starts_with('[') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
}

/// How a client's address is passed on to the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// Not at all: the target sees the forwarder's address.
    #[default]
    None,
    /// By a PROXY protocol version 1 header, a line of text, before the first byte.
    V1,
    /// By a PROXY protocol version 2 header before the first byte, with the host that was peeked and the rule's name.
    V2,
}

/// A file that connections are logged to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Appended to; made if it isn't there.
    pub file: PathBuf,
    /// How a line looks.
    pub format: LogFormat,
}

/// rinetd's two formats of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Fields separated by tabs.
    #[default]
    Tabs,
    /// As web servers log (`logcommon`).
    Common,
}
