//! One check: what is asked of which address, and what came of it.

use std::time::Duration;

use super::failure::Failure;
use super::phases::{Phase, Phases};
use super::{Kind, Settings, Source, Subject, Target, command, dns, grpc, http, prometheus, tcp};

/// All that decides what a check does and when. Targets that agree in it are checked together; thresholds are no part of
/// it, as they only matter to whoever reads the reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Check {
    subject: Subject,
    /// With everything filled in that depends on the target.
    kind: Kind,
    source: Source,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Check {
    /// The checks that `target` needs: one for each of its subjects; none where values are pushed.
    pub(super) fn all_of(target: &Target) -> Vec<Self> {
        if matches!(target.probe.kind, Kind::Push(_)) {
            return Vec::new();
        }
        let Settings { interval, timeout, source, .. } = target.probe;
        let of = |subject| Self { subject, kind: filled(target, subject), source, interval, timeout };
        target.subjects().into_iter().map(of).collect()
    }

    /// What it asks about.
    pub(super) fn subject(&self) -> Subject {
        self.subject
    }

    /// Whether it runs a program, of which fewer are let at once.
    pub(super) fn is_command(&self) -> bool {
        matches!(self.kind, Kind::Command(_))
    }

    /// Carries it out: what was seen, if it is good.
    pub(super) async fn carry_out(&self) -> Result<String, Failure> {
        self.within_the_timeout(&mut Phases::unwatched()).await
    }

    /// Carries it out and tells each phase.
    pub(super) async fn watch(&self) -> (Vec<Phase>, Result<String, Failure>) {
        let mut phases = Phases::watched();
        let outcome = self.within_the_timeout(&mut phases).await;
        (phases.into_done(), outcome)
    }

    async fn within_the_timeout(&self, phases: &mut Phases) -> Result<String, Failure> {
        if let Ok(outcome) = tokio::time::timeout(self.timeout, self.ask(phases)).await {
            return outcome;
        }
        let late = Failure::Timeout { after: self.timeout, phase: phases.current() };
        Err(match &self.kind {
            Kind::Prometheus(settings) => {
                Failure::Unknown { detail: format!("Prometheus: {late}"), is_down: settings.unknown_is_down }
            }
            _ => late,
        })
    }

    async fn ask(&self, phases: &mut Phases) -> Result<String, Failure> {
        match (&self.kind, self.subject) {
            (Kind::Prometheus(settings), _) => prometheus::ask(settings, self.source, phases).await,
            (Kind::Command(settings), _) => command::ask(settings, phases).await,
            (kind, Subject::Address(address)) => {
                let source = self.source.toward(address);
                match kind {
                    Kind::Http(settings) => http::ask(settings, address, source, phases).await,
                    Kind::Tcp(settings) => tcp::ask(settings, address, source, phases).await,
                    Kind::Dns(settings) => dns::ask(settings, address, source, phases).await,
                    Kind::Grpc(settings) => grpc::ask(settings, address, source, phases).await,
                    Kind::Prometheus(_) | Kind::Command(_) => unreachable!("they are asked above"),
                    Kind::Push(_) => unreachable!("it has no checks"),
                }
            }
            (_, Subject::Endpoint) => unreachable!("without an address there is no subject for these kinds"),
        }
    }
}

/// The kind of the target's probe, with everything filled in that differs from target to target.
fn filled(target: &Target, subject: Subject) -> Kind {
    let mut kind = target.probe.kind.clone();
    match &mut kind {
        Kind::Http(http::Settings { host, .. })
        | Kind::Tcp(tcp::Settings { host, tls: Some(_), .. })
        | Kind::Grpc(grpc::Settings { host, .. }) => {
            host.get_or_insert_with(|| target.pool.to_string());
        }
        Kind::Tcp(_) | Kind::Push(_) => {}
        Kind::Dns(settings) => {
            settings.name.get_or_insert_with(|| target.pool.clone());
        }
        Kind::Prometheus(settings) => {
            for (name, value) in about(target, subject) {
                settings.query = settings.query.replace(&format!("${name}"), &value);
            }
        }
        Kind::Command(settings) => {
            let variable = |(name, value): (&'static str, String)| (format!("WAYPOST_{}", name.to_uppercase()), value);
            settings.environment = about(target, subject).map(variable).into();
        }
    }
    kind
}

/// What is asked about, by name.
fn about(target: &Target, subject: Subject) -> [(&'static str, String); 4] {
    let (address, family) = match subject {
        Subject::Endpoint => (String::new(), ""),
        Subject::Address(address) => (address.to_string(), if address.is_ipv4() { "ipv4" } else { "ipv6" }),
    };
    let (pool, site) = (target.pool.to_string(), target.site.clone());
    [("pool", pool), ("site", site), ("address", address), ("family", family.to_owned())]
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hyper::Method;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::probe::expect::Expect;
    use crate::probe::tests::settings;

    /// A server that hands every connection, its request read, to `answer`.
    async fn server<F: Future<Output = ()> + Send + 'static>(
        answer: impl Fn(TcpStream, String) -> F + Send + 'static,
    ) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let octets = stream.read(&mut request).await.unwrap();
                request.truncate(octets);
                tokio::spawn(answer(stream, String::from_utf8_lossy(&request).into_owned()));
            }
        });
        address
    }

    /// A server that answers every request with `text`, then closes.
    async fn says(text: &'static str) -> SocketAddr {
        server(move |mut stream, _| async move {
            stream.write_all(text.as_bytes()).await.unwrap();
        })
        .await
    }

    fn http(port: u16) -> http::Settings {
        http::Settings {
            port,
            tls: None,
            version: http::Version::One,
            method: Method::GET,
            path: "/healthz?deep=1".to_owned(),
            host: None,
            headers: Vec::new(),
            statuses: http::Statuses::default(),
            body: None,
        }
    }

    fn tcp(port: u16) -> tcp::Settings {
        tcp::Settings { port, tls: None, host: None, send: None, expect: None }
    }

    /// What a check of `address` sees, or what it lacks, within 5 s.
    async fn asked(address: SocketAddr, kind: Kind) -> Result<String, String> {
        asked_within(Duration::from_secs(5), address, kind).await
    }

    async fn asked_within(timeout: Duration, address: SocketAddr, kind: Kind) -> Result<String, String> {
        let target = Target {
            pool: "www.example.org".parse().unwrap(),
            site: "ec2".to_owned(),
            addresses: vec![address.ip()],
            probe_name: "p".to_owned(),
            probe: crate::probe::Settings { timeout, ..settings(kind) },
        };
        let checks = Check::all_of(&target);
        checks[0].carry_out().await.map_err(|failure| failure.to_string())
    }

    async fn ask_http(address: SocketAddr) -> Result<String, String> {
        asked(address, Kind::Http(http(address.port()))).await
    }

    /// Of a server that is expected to be too slow.
    async fn ask_slow(address: SocketAddr) -> String {
        asked_within(Duration::from_millis(200), address, Kind::Http(http(address.port()))).await.unwrap_err()
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is the counterpart of `bad`")]
    fn good(detail: &str) -> Result<String, String> {
        Ok(detail.to_owned())
    }

    fn bad(detail: &str) -> Result<String, String> {
        Err(detail.to_owned())
    }

    /// A port at which nobody listens, on an address that no other test uses.
    async fn nobody() -> SocketAddr {
        TcpListener::bind("127.98.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn the_status_decides() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", good("status 200")),
            ("HTTP/1.1 204 No Content\r\n\r\n", good("status 204")),
            ("HTTP/1.0 200 OK\r\n\r\nuntil the end", good("status 200")),
            ("HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n", good("status 302")),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", bad("status 404, expected 200-399")),
            ("HTTP/1.1 500 Oh\r\ncontent-length: 9\r\n\r\n", bad("status 500, expected 200-399")),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", bad("status 200, but its body broke off")),
        ] {
            assert_eq!(ask_http(says(answer).await).await, expected, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn what_is_good_can_be_narrowed() {
        let address = says("HTTP/1.1 301 Moved\r\ncontent-length: 0\r\n\r\n").await;
        let statuses = http::Statuses(vec![200..=299, 304..=304]);
        let strict = http::Settings { statuses, ..http(address.port()) };
        assert_eq!(asked(address, Kind::Http(strict)).await, bad("status 301, expected 200-299, 304"));

        let address = says("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nmaintenance").await;
        let body = |text: &str| http::Settings { body: Some(Expect::Text(text.to_owned())), ..http(address.port()) };
        assert_eq!(asked(address, Kind::Http(body("main"))).await, good("status 200, body as expected"));
        let told = "body does not contain \"all is well\"; it begins with \"maintenance\"";
        assert_eq!(asked(address, Kind::Http(body("all is well"))).await, bad(told));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_told_with_its_reason() {
        assert_eq!(ask_http(nobody().await).await, bad("connection refused"));
        assert_eq!(ask_http(says("").await).await, bad("closed without an answer"));
        assert_eq!(ask_http(says("HTTP/1.1 200").await).await, bad("closed without an answer"));
        let told = ask_http(says("SSH-2.0-OpenSSH_9.9\r\n\r\n").await).await.unwrap_err();
        assert!(told.starts_with("no HTTP: "), "{told}");
        let silent = server(|stream, _| async move {
            std::future::pending::<()>().await;
            drop(stream);
        });
        assert_eq!(ask_slow(silent.await).await, "no answer in 200ms (request)");
    }

    #[tokio::test]
    async fn an_answer_must_be_whole_within_the_timeout() {
        let drip = |head: &'static str, octets: &'static str| {
            server(move |mut stream, _| async move {
                stream.write_all(head.as_bytes()).await.unwrap();
                for octet in octets.bytes().cycle() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    if stream.write_all(&[octet]).await.is_err() {
                        return;
                    }
                }
            })
        };
        assert_eq!(ask_slow(drip("", "HTTP/1.1 200 OK\r\n").await).await, "no answer in 200ms (request)");
        assert_eq!(ask_slow(drip("HTTP/1.1 200 OK\r\n\r\n", "x").await).await, "no answer in 200ms (body)");
    }

    #[tokio::test]
    async fn an_endless_body_is_not_read_to_its_end() {
        let endless = server(|mut stream, _| async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        });
        assert_eq!(ask_http(endless.await).await, good("status 200"));
    }

    #[tokio::test]
    async fn the_request_says_what_was_configured() {
        let (sender, mut requests) = tokio::sync::mpsc::channel(9);
        let address = server(move |mut stream, request| {
            let sender = sender.clone();
            async move {
                sender.send(request).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        })
        .await;
        ask_http(address).await.unwrap();
        let request = requests.recv().await.unwrap();
        assert!(request.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"), "{request}");
        for line in ["host: www.example.org\r\n", "user-agent: waypost-probe/", "connection: close\r\n"] {
            assert!(request.contains(line), "{line} is not in {request}");
        }
        let own = http::Settings {
            method: Method::HEAD,
            host: Some("other.example:81".to_owned()),
            headers: vec![("user-agent".parse().unwrap(), "me".parse().unwrap())],
            ..http(address.port())
        };
        asked(address, Kind::Http(own)).await.unwrap();
        let request = requests.recv().await.unwrap();
        assert!(request.starts_with("HEAD ") && request.contains("host: other.example:81\r\n"), "{request}");
        assert!(request.contains("user-agent: me\r\n") && !request.contains("waypost"), "{request}");
    }

    #[tokio::test]
    async fn tcp_is_good_when_the_connection_is_accepted_or_as_expected() {
        let nobody = nobody().await;
        assert_eq!(asked(nobody, Kind::Tcp(tcp(nobody.port()))).await, bad("connection refused"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(asked(address, Kind::Tcp(tcp(address.port()))).await, good("connected"));

        let address = says("+PONG\r\n").await;
        let talk = |expect: &str| tcp::Settings {
            send: Some(b"PING\r\n"[..].into()),
            expect: Some(Expect::Text(expect.to_owned())),
            ..tcp(address.port())
        };
        assert_eq!(asked(address, Kind::Tcp(talk("+PONG"))).await, good("answer as expected"));
        let told = "answer does not contain \"+OK\"; it begins with \"+PONG\\r\\n\"";
        assert_eq!(asked(address, Kind::Tcp(talk("+OK"))).await, bad(told));
    }

    #[tokio::test]
    async fn a_check_comes_from_its_source() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let from = |source: &str| {
            let mut probe = settings(Kind::Tcp(tcp(address.port())));
            probe.source.v4 = Some(source.parse().unwrap());
            let pool = "www.example.org".parse().unwrap();
            let addresses = vec![address.ip()];
            let target = Target { pool, site: "ec2".to_owned(), addresses, probe_name: "p".to_owned(), probe };
            Check::all_of(&target).remove(0)
        };
        from("127.0.0.77").carry_out().await.unwrap();
        assert_eq!(listener.accept().await.unwrap().1.ip().to_string(), "127.0.0.77");
        let failure = from("192.0.2.77").carry_out().await.unwrap_err();
        assert!(!failure.is_the_endpoints() && failure.to_string().contains("192.0.2.77"), "{failure}");
    }

    #[tokio::test]
    async fn each_phase_is_told_when_it_is_watched() {
        let address = says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        let probe = settings(Kind::Http(http(address.port())));
        let pool = "www.example.org".parse().unwrap();
        let addresses = vec![address.ip()];
        let target = Target { pool, site: "ec2".to_owned(), addresses, probe_name: "p".to_owned(), probe };
        let (phases, outcome) = Check::all_of(&target)[0].watch().await;
        assert_eq!(outcome.unwrap(), "status 200");
        let told: Vec<_> = phases.iter().map(|phase| (phase.name, phase.seen.as_str())).collect();
        let connected = format!("{address} from 127.0.0.1");
        assert_eq!(told, [("connect", &*connected), ("request", "HTTP/1.1 200"), ("body", "2 octets")]);
    }
}
