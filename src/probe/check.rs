//! One check: what is asked of which addresses, and what came of it.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::StatusCode;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use super::{Kind, Target, http, tcp};
use crate::steering::health::Observation;

/// All that decides what a check does and when. Targets that agree in it are checked together; thresholds are no part of
/// it, as they only matter to whoever reads the reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Check {
    /// At least one, in ascending order, none twice.
    pub(super) addresses: Vec<IpAddr>,
    /// With the Host header filled in.
    kind: Kind,
    pub(super) interval: Duration,
    timeout: Duration,
}

impl Check {
    /// The check that `target` needs; `None` when it has no address.
    pub(super) fn of(target: &Target) -> Option<Self> {
        let mut addresses = target.addresses.clone();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return None;
        }
        let mut kind = target.probe.kind.clone();
        if let Kind::Http { host: host @ None, .. } = &mut kind {
            *host = Some(target.pool.to_string());
        }
        Some(Self { addresses, kind, interval: target.probe.interval, timeout: target.probe.timeout })
    }

    /// Asks all addresses at the same time. Up only if all of them answered as they should.
    ///
    /// # Errors
    /// What our own side lacked, when no address was seen to be down.
    pub(super) async fn carry_out(&self) -> Result<(Observation, String), io::Error> {
        // Each in a task of its own: together, and a panic in one is an outcome like others.
        let asked: Vec<_> = self
            .addresses
            .iter()
            .map(|&address| (address, AbortOnDropHandle::new(tokio::spawn(ask(self.clone(), address)))))
            .collect();
        let (mut good, mut bad, mut ours) = (Vec::new(), Vec::new(), None);
        for (address, answer) in asked {
            let told = |detail: &dyn ToString| match self.addresses.len() {
                1 => detail.to_string(),
                _ => format!("{address}: {}", detail.to_string()),
            };
            match answer.await.unwrap_or_else(|broken| Err(Failure::Broken(broken))) {
                Ok(answer) => good.push(told(&answer)),
                Err(Failure::Ours(error)) => ours = Some(error),
                Err(failure) => bad.push(told(&failure)),
            }
        }
        match (bad.is_empty(), ours) {
            (false, _) => Ok((Observation::Down, bad.join("; "))),
            (true, Some(error)) => Err(error),
            (true, None) => Ok((Observation::Up, good.join("; "))),
        }
    }
}

async fn ask(check: Check, address: IpAddr) -> Result<String, Failure> {
    let answer = async {
        match &check.kind {
            Kind::Http { port, path, host } => {
                let stream = tcp::connect(SocketAddr::new(address, *port)).await?;
                let status = http::get(stream, host.as_deref().unwrap_or_default(), path).await?;
                Ok(format!("HTTP {}", status.as_u16()))
            }
            Kind::Tcp { port } => {
                tcp::connect(SocketAddr::new(address, *port)).await?;
                Ok("connected".to_owned())
            }
        }
    };
    tokio::time::timeout(check.timeout, answer).await.unwrap_or(Err(Failure::Timeout(check.timeout)))
}

/// Why an address did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no answer in {0:?}")]
    Timeout(Duration),
    #[error("{}", in_words(.0))]
    Connection(io::Error),
    #[error("closed without an answer")]
    Closed,
    #[error("no HTTP: {0}")]
    NotHttp(hyper::Error),
    #[error("HTTP {}", .0.as_u16())]
    Status(StatusCode),
    #[error("HTTP {}, but its body broke off", .0.as_u16())]
    BrokenOff(StatusCode),
    #[error("the request cannot be sent: {0}")]
    Request(hyper::http::Error),
    #[error("the check itself failed: {0}")]
    Broken(JoinError),
    /// Says nothing about the endpoint.
    #[error("{0}")]
    Ours(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Self::Ours(error),
            _ => Self::Connection(error),
        }
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            return Self::Closed;
        }
        match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
            Some(source) => Self::Connection(io::Error::from(source.kind())),
            None => Self::NotHttp(error),
        }
    }
}

/// Without "(os error 111)" where the plain words are clear.
fn in_words(error: &io::Error) -> String {
    use io::ErrorKind as K;
    match error.kind() {
        kind @ (K::ConnectionRefused
        | K::ConnectionReset
        | K::ConnectionAborted
        | K::HostUnreachable
        | K::NetworkUnreachable
        | K::TimedOut
        | K::BrokenPipe) => kind.to_string(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::probe::Settings;
    use crate::steering::health::Thresholds;

    /// A server that hands every connection, its request read, to `answer`.
    async fn server<F: Future<Output = ()> + Send + 'static>(
        address: &str,
        answer: impl Fn(TcpStream, String) -> F + Send + 'static,
    ) -> SocketAddr {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let octets = stream.read(&mut request).await.unwrap();
                request.truncate(octets);
                tokio::spawn(answer(stream, String::from_utf8(request).unwrap()));
            }
        });
        address
    }

    /// A server that answers every request with `text`, then closes.
    async fn says(text: &'static str) -> SocketAddr {
        server("127.0.0.1:0", move |mut stream, _| async move {
            stream.write_all(text.as_bytes()).await.unwrap();
        })
        .await
    }

    fn target(addresses: &[IpAddr], kind: Kind) -> Target {
        Target {
            pool: "www.example.org".parse().unwrap(),
            site: "ec2".to_owned(),
            addresses: addresses.to_vec(),
            probe: Settings {
                kind,
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(5),
                thresholds: Thresholds { rise: 2, fall: 3 },
            },
        }
    }

    fn http(port: u16) -> Kind {
        Kind::Http { port, path: "/healthz?deep=1".to_owned(), host: None }
    }

    async fn check(target: Target) -> (Observation, String) {
        Check::of(&target).unwrap().carry_out().await.unwrap()
    }

    async fn ask_http(address: SocketAddr) -> (Observation, String) {
        check(target(&[address.ip()], http(address.port()))).await
    }

    /// Of a server that is expected to be too slow.
    async fn ask_slow(address: SocketAddr) -> (Observation, String) {
        let mut target = target(&[address.ip()], http(address.port()));
        target.probe.timeout = Duration::from_millis(200);
        check(target).await
    }

    fn up(detail: &str) -> (Observation, String) {
        (Observation::Up, detail.to_owned())
    }

    fn down(detail: &str) -> (Observation, String) {
        (Observation::Down, detail.to_owned())
    }

    /// A port at which nobody listens, on an address that no other test uses.
    async fn nobody() -> SocketAddr {
        TcpListener::bind("127.98.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn the_status_decides() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", up("HTTP 200")),
            ("HTTP/1.1 204 No Content\r\n\r\n", up("HTTP 204")),
            ("HTTP/1.0 200 OK\r\n\r\nuntil the end", up("HTTP 200")),
            ("HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n", up("HTTP 302")),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", down("HTTP 404")),
            ("HTTP/1.1 500 Oh\r\ncontent-length: 9\r\n\r\n", down("HTTP 500")),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", down("HTTP 200, but its body broke off")),
        ] {
            assert_eq!(ask_http(says(answer).await).await, expected, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_down_with_its_reason() {
        assert_eq!(ask_http(nobody().await).await, down("connection refused"));
        assert_eq!(ask_http(says("").await).await, down("closed without an answer"));
        assert_eq!(ask_http(says("HTTP/1.1 200").await).await, down("closed without an answer"));
        let (seen, detail) = ask_http(says("SSH-2.0-OpenSSH_9.9\r\n\r\n").await).await;
        assert!(seen == Observation::Down && detail.starts_with("no HTTP: "), "{detail}");
        let silent = server("127.0.0.1:0", |stream, _| async move {
            std::future::pending::<()>().await;
            drop(stream);
        });
        assert_eq!(ask_slow(silent.await).await, down("no answer in 200ms"));
    }

    #[tokio::test]
    async fn an_answer_must_be_whole_within_the_timeout() {
        let drip = |head: &'static str, octets: &'static str| {
            server("127.0.0.1:0", move |mut stream, _| async move {
                stream.write_all(head.as_bytes()).await.unwrap();
                for octet in octets.bytes().cycle() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    if stream.write_all(&[octet]).await.is_err() {
                        return;
                    }
                }
            })
        };
        assert_eq!(ask_slow(drip("", "HTTP/1.1 200 OK\r\n").await).await, down("no answer in 200ms"));
        assert_eq!(ask_slow(drip("HTTP/1.1 200 OK\r\n\r\n", "x").await).await, down("no answer in 200ms"));
    }

    #[tokio::test]
    async fn an_endless_body_is_not_read_to_its_end() {
        let endless = server("127.0.0.1:0", |mut stream, _| async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        });
        assert_eq!(ask_http(endless.await).await, up("HTTP 200"));
    }

    #[tokio::test]
    async fn the_request_names_pool_path_and_prober() {
        let (sender, mut requests) = tokio::sync::mpsc::channel(9);
        let address = server("127.0.0.1:0", move |mut stream, request| {
            let sender = sender.clone();
            async move {
                sender.send(request).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        })
        .await;
        ask_http(address).await;
        let request = requests.recv().await.unwrap();
        assert!(request.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"), "{request}");
        for line in ["host: www.example.org\r\n", "user-agent: waypost-probe/", "connection: close\r\n"] {
            assert!(request.contains(line), "{line} is not in {request}");
        }
        let kind = Kind::Http { port: address.port(), path: "/".to_owned(), host: Some("other.example:81".to_owned()) };
        check(target(&[address.ip()], kind)).await;
        assert!(requests.recv().await.unwrap().contains("host: other.example:81\r\n"));
    }

    #[tokio::test]
    async fn tcp_is_up_when_the_connection_is_accepted() {
        let nobody = nobody().await;
        assert_eq!(check(target(&[nobody.ip()], Kind::Tcp { port: nobody.port() })).await, down("connection refused"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(check(target(&[address.ip()], Kind::Tcp { port: address.port() })).await, up("connected"));
    }

    #[tokio::test]
    async fn all_addresses_must_answer() {
        let first = says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let addresses = [first.ip(), IpAddr::from(Ipv4Addr::new(127, 98, 0, 2))];
        let both = target(&addresses, http(first.port()));
        assert_eq!(check(both.clone()).await, down("127.98.0.2: connection refused"));
        server(&format!("127.98.0.2:{}", first.port()), |mut stream, _| async move {
            stream.write_all(b"HTTP/1.1 301 Moved\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        })
        .await;
        assert_eq!(check(both).await, up("127.0.0.1: HTTP 200; 127.98.0.2: HTTP 301"));
    }

    #[test]
    fn what_our_side_lacks_is_no_observation() {
        assert!(matches!(Failure::from(io::Error::from_raw_os_error(libc::EMFILE)), Failure::Ours(_)));
        assert!(matches!(Failure::from(io::Error::from_raw_os_error(libc::ECONNREFUSED)), Failure::Connection(_)));
    }
}
