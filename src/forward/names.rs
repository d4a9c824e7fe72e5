//! Hosts, ports and service names as they are written in settings.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use super::settings::{Host, Listen, Protocol, Target};

/// What reading settings asks the machine. Passed in, so that reading itself has no I/O.
pub struct Lookup<'a> {
    /// Service names.
    pub services: &'a Services,
    /// The first address of a host name, asked for names to listen on only.
    pub resolve: &'a dyn Fn(&str) -> io::Result<IpAddr>,
    /// Whether an address is one of this host, asked where a rule listens on all of them.
    pub is_ours: &'a dyn Fn(IpAddr) -> bool,
}

/// Whether an interface of this host has the address.
pub fn is_ours(address: IpAddr) -> bool {
    let of_interface = |interface: nix::ifaddrs::InterfaceAddress| {
        let own = interface.address?;
        own.as_sockaddr_in().map(|a| a.ip().into()).or_else(|| own.as_sockaddr_in6().map(|a| a.ip().into()))
    };
    // Without a list nothing can be said against a rule.
    nix::ifaddrs::getifaddrs().is_ok_and(|mut all| all.any(|interface| of_interface(interface) == Some(address)))
}

/// Asks the system's resolver; may wait for the network.
pub fn resolve(name: &str) -> io::Result<IpAddr> {
    let mut addresses = (name, 0).to_socket_addrs()?;
    addresses.next().map(|a| a.ip()).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has no address"))
}

/// Why a host, a port or both can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Digits and periods that are no address.
    #[error("{written:?} is no IPv4 address")]
    Ipv4 {
        /// As written.
        written: String,
    },
    /// Colons, but no address.
    #[error("{written:?} is no IPv6 address")]
    Ipv6 {
        /// As written.
        written: String,
    },
    /// Neither an address nor a possible host name.
    #[error("{written:?} is neither an address nor a host name")]
    Host {
        /// As written.
        written: String,
    },
    /// A host name to listen on that can't be looked up.
    #[error("the host name {written:?} can't be looked up: {reason}")]
    Unresolved {
        /// As written.
        written: String,
        /// What the resolver says.
        reason: String,
    },
    /// A number above 65535, or 0 where that makes no sense.
    #[error("{written:?} is no port: expected a number from {least} to 65535")]
    Port {
        /// As written.
        written: String,
        /// 1 for targets; 0 to listen on any free port.
        least: u16,
    },
    /// A word that is no service of the protocol.
    #[error("{written:?} is neither a port number nor a service that /etc/services knows for this protocol")]
    Service {
        /// As written.
        written: String,
    },
    /// `host:port` without a port.
    #[error("{written:?} has no port: expected HOST:PORT, with an IPv6 address in square brackets")]
    NoPort {
        /// As written.
        written: String,
    },
}

/// Reads an address (IPv6 with or without square brackets, `0` for 0.0.0.0) or a host name.
pub fn host(written: &str) -> Result<Host, NameError> {
    let quoted = || written.to_owned();
    if written == "0" {
        return Ok(Host::Address(Ipv4Addr::UNSPECIFIED.into()));
    }
    let bare = written.strip_prefix('[').and_then(|w| w.strip_suffix(']')).unwrap_or(written);
    if bare.contains(':') {
        return bare.parse().map(|a| Host::Address(IpAddr::V6(a))).map_err(|_| NameError::Ipv6 { written: quoted() });
    }
    if written.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !written.is_empty() {
        return written
            .parse()
            .map(|a| Host::Address(IpAddr::V4(a)))
            .map_err(|_| NameError::Ipv4 { written: quoted() });
    }
    let relative = written.strip_suffix('.').unwrap_or(written);
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !l.starts_with('-')
    };
    if relative.len() <= 253 && relative.split('.').all(label) {
        Ok(Host::Name(written.to_owned()))
    } else {
        Err(NameError::Host { written: quoted() })
    }
}

/// Reads a port number of at least `least`, or a service name.
pub fn port(written: &str, protocol: Protocol, least: u16, services: &Services) -> Result<u16, NameError> {
    if !written.is_empty() && written.bytes().all(|b| b.is_ascii_digit()) {
        let number = written.parse().ok().filter(|&number: &u16| number >= least);
        return number.ok_or_else(|| NameError::Port { written: written.to_owned(), least });
    }
    services.port(protocol, written).ok_or_else(|| NameError::Service { written: written.to_owned() })
}

/// The address of a host to listen on.
pub fn listen_address(written: &str, lookup: &Lookup<'_>) -> Result<IpAddr, NameError> {
    match host(written)? {
        Host::Address(address) => Ok(address),
        Host::Name(name) => (lookup.resolve)(&name)
            .map_err(|e| NameError::Unresolved { written: written.to_owned(), reason: e.to_string() }),
    }
}

/// Reads `HOST:PORT` as where to listen.
pub fn listen(written: &str, protocol: Protocol, lookup: &Lookup<'_>) -> Result<Listen, NameError> {
    let (host, port_text) = split(written)?;
    let port = port(port_text, protocol, 0, lookup.services)?;
    let address = listen_address(host, lookup)?;
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok(Listen { host, address: SocketAddr::new(address, port) })
}

/// Reads `HOST:PORT` as where to connect to.
pub fn target(written: &str, protocol: Protocol, services: &Services) -> Result<Target, NameError> {
    let (host_text, port_text) = split(written)?;
    Ok(Target { host: host(host_text)?, port: port(port_text, protocol, 1, services)? })
}

fn split(written: &str) -> Result<(&str, &str), NameError> {
    let no_port = || NameError::NoPort { written: written.to_owned() };
    let (host, port) = written.rsplit_once(':').ok_or_else(no_port)?;
    let bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if bare_ipv6 || port.is_empty() || port.contains(']') { Err(no_port()) } else { Ok((host, port)) }
}

/// Service names and aliases of TCP and UDP, as in `/etc/services`.
#[derive(Clone, Debug, Default)]
pub struct Services(HashMap<(Protocol, String), u16>);

impl Services {
    /// Those of this machine; none when the file can't be read.
    pub fn of_system() -> Self {
        std::fs::read("/etc/services").map(|text| Self::parse(&String::from_utf8_lossy(&text))).unwrap_or_default()
    }

    /// Reads lines `NAME PORT/PROTOCOL [ALIAS...] [# COMMENT]`; what is not of this form or of another protocol is passed over,
    /// and of two entries with one name the first counts.
    pub fn parse(text: &str) -> Self {
        let mut ports = HashMap::new();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let (Some(name), Some(entry)) = (words.next(), words.next()) else { continue };
            let Some((number, protocol)) = entry.split_once('/') else { continue };
            let protocol = match protocol {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                _ => continue,
            };
            let Ok(port) = number.parse() else { continue };
            for name in std::iter::once(name).chain(words) {
                ports.entry((protocol, name.to_owned())).or_insert(port);
            }
        }
        Self(ports)
    }

    fn port(&self, protocol: Protocol, name: &str) -> Option<u16> {
        self.0.get(&(protocol, name.to_owned())).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_or_names() {
        assert_eq!(host("0"), Ok(Host::Address("0.0.0.0".parse().unwrap())));
        assert_eq!(host("[::1]"), Ok(Host::Address("::1".parse().unwrap())));
        assert_eq!(host("::1"), Ok(Host::Address("::1".parse().unwrap())));
        assert_eq!(host("old_host-1.example.org."), Ok(Host::Name("old_host-1.example.org.".into())));
        assert!(matches!(host("192.0.2.256"), Err(NameError::Ipv4 { .. })));
        assert!(matches!(host("12"), Err(NameError::Ipv4 { .. })));
        assert!(matches!(host("1::2::3"), Err(NameError::Ipv6 { .. })));
        for bad in ["", "a..b", "-a", "a b", "a/b"] {
            assert!(matches!(host(bad), Err(NameError::Host { .. })), "{bad:?}");
        }
    }

    #[test]
    fn ports_are_numbers_or_services() {
        let services = Services::parse("http 80/tcp www # web\nhttp 8080/tcp\ndomain 53/udp\nhttps\t443/tcp\n");
        assert_eq!(port("www", Protocol::Tcp, 1, &services), Ok(80));
        assert_eq!(port("http", Protocol::Tcp, 1, &services), Ok(80));
        assert_eq!(port("https", Protocol::Tcp, 1, &services), Ok(443));
        assert_eq!(port("0", Protocol::Tcp, 0, &services), Ok(0));
        assert!(matches!(port("0", Protocol::Tcp, 1, &services), Err(NameError::Port { .. })));
        assert!(matches!(port("65536", Protocol::Tcp, 0, &services), Err(NameError::Port { .. })));
        assert!(matches!(port("domain", Protocol::Tcp, 0, &services), Err(NameError::Service { .. })));
    }

    #[test]
    fn host_and_port_in_one() {
        let services = Services::parse("http 80/tcp");
        assert_eq!(target("[2001:db8::1]:http", Protocol::Tcp, &services).unwrap().to_string(), "[2001:db8::1]:80");
        assert_eq!(
            target("new.example.org:8080", Protocol::Tcp, &services).unwrap().to_string(),
            "new.example.org:8080"
        );
        for bad in ["new.example.org", "2001:db8::1", "[2001:db8::1]", "host:"] {
            assert!(matches!(target(bad, Protocol::Tcp, &services), Err(NameError::NoPort { .. })), "{bad}");
        }
        let lookup =
            Lookup { services: &services, resolve: &|_| Ok("192.0.2.9".parse().unwrap()), is_ours: &|_| false };
        let listen = listen("old.example.org:http", Protocol::Tcp, &lookup).unwrap();
        assert_eq!((listen.host.as_str(), listen.address), ("old.example.org", "192.0.2.9:80".parse().unwrap()));
    }
}
