//! The forwarder on loopback, in this process. Shows that
//!
//! - a half-close is kept in both directions, also when the answer comes late,
//! - 64 MiB go each way at once and arrive whole and in order,
//! - a receiver that doesn't read stops its sender, and nothing is lost when it reads again,
//! - a reset of either side reaches the other as a reset, also when the direction is stalled or half-closed,
//! - an answer that a target sent before it reset arrives,
//! - who may not connect is turned away before the target hears of it,
//! - a target that refuses looks refused, a name is tried by all its addresses,
//! - the PROXY header (version 2) comes before the first byte, also before the client says anything,
//! - an idle connection ends,
//! - a drain refuses new connections, lets open ones go on, and cuts them at its limit or at once,
//! - a reload keeps connections and listening sockets, opens and closes others, and changes nothing if it fails,
//! - an address in use is one clear error, or is waited for,
//! - connections are counted by source, by outcome, and shown over HTTP,
//! - connections are logged as rinetd logs them.

#[path = "support/ports.rs"]
mod ports;

use std::future::pending;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use ports::free_address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use waypost::forward::access::{Access, Pattern};
use waypost::forward::outcome::Outcome;
use waypost::forward::settings::{Host, LogFile, LogFormat, ProxyProtocol, Rule, Target};
use waypost::forward::{ForwardError, Forwarder, Settings};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
/// No test waits longer for what should come at once.
const SOON: Duration = Duration::from_secs(10);

/// A target, and a forwarder to it.
struct Way {
    target: TcpListener,
    forwarder: Forwarder,
    entrance: SocketAddr,
}

async fn path(change: impl FnOnce(&mut Settings)) -> Way {
    let target = TcpListener::bind(ANY).await.unwrap();
    let mut settings = Settings { rules: vec![rule(ANY.into(), &target)], ..Settings::default() };
    change(&mut settings);
    let forwarder = Forwarder::start(settings).unwrap();
    let entrance = forwarder.ready().await[0];
    Way { target, forwarder, entrance }
}

impl Way {
    /// A client's connection, and where it comes out at the target.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        connect(self.entrance, &self.target).await
    }
}

async fn connect(entrance: SocketAddr, target: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(entrance).await.unwrap();
    let (server, _) = timeout(SOON, target.accept()).await.expect("the connection comes out").unwrap();
    (client, server)
}

fn rule(listen: SocketAddr, target: &TcpListener) -> Rule {
    Rule::new(listen.into(), target.local_addr().unwrap().into())
}

async fn passes(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
    from.write_all(text).await.unwrap();
    let mut got = vec![0; text.len()];
    timeout(SOON, to.read_exact(&mut got)).await.expect("it arrives").unwrap();
    assert_eq!(got, text);
}

async fn rest(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut got = Vec::new();
    timeout(SOON, stream.read_to_end(&mut got)).await.expect("an end comes").map(|_| got)
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "never came to be: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn half_close_is_kept_in_both_directions() {
    let path = path(|_| {}).await;
    let (mut client, mut server) = path.connect().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await.unwrap(), b"question");
    sleep(Duration::from_millis(100)).await;
    server.write_all(b"late answer").await.unwrap();
    drop(server);
    assert_eq!(rest(&mut client).await.unwrap(), b"late answer");

    let (mut client, mut server) = path.connect().await;
    server.write_all(b"greeting").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await.unwrap(), b"greeting");
    sleep(Duration::from_millis(100)).await;
    client.write_all(b"late reply").await.unwrap();
    drop(client);
    assert_eq!(rest(&mut server).await.unwrap(), b"late reply");

    let counts = path.forwarder.counts();
    eventually("both are counted", || {
        counts.ended(Outcome::ClientClosed) == 1 && counts.ended(Outcome::TargetClosed) == 1
    })
    .await;
}

/// Octet `at` of a stream that doesn't repeat in step with any buffer.
fn pattern() -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..1_000_003).map(next).collect()
}

async fn send(stream: &mut (impl AsyncWriteExt + Unpin), total: usize) {
    let pattern = pattern();
    let mut sent = 0;
    while sent < total {
        let count = pattern.len().min(total - sent);
        stream.write_all(&pattern[..count]).await.unwrap();
        sent += count;
    }
    stream.shutdown().await.unwrap();
}

/// Reads to the end; fails at the first octet that is out of order.
async fn receive(stream: &mut (impl AsyncReadExt + Unpin)) -> usize {
    let pattern = pattern();
    let mut buffer = vec![0; 128 * 1024];
    let mut got = 0;
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        if count == 0 {
            return got;
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let at = got % pattern.len();
            let step = rest.len().min(pattern.len() - at);
            assert!(rest[..step] == pattern[at..at + step], "out of order near octet {got}");
            rest = &rest[step..];
            got += step;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_goes_each_way_at_once() {
    const TOTAL: usize = 64 << 20;
    let path = path(|_| {}).await;
    let (client, server) = path.connect().await;
    let both = |stream: TcpStream| async move {
        let (mut read, mut write) = stream.into_split();
        tokio::join!(send(&mut write, TOTAL), receive(&mut read)).1
    };
    let (client, server) = (tokio::spawn(both(client)), tokio::spawn(both(server)));
    assert_eq!((client.await.unwrap(), server.await.unwrap()), (TOTAL, TOTAL));
    let counts = path.forwarder.counts();
    eventually("it has ended", || counts.sources()[0].open == 0).await;
    let source = &counts.sources()[0];
    assert_eq!((source.bytes_up, source.bytes_down), (TOTAL as u64, TOTAL as u64));
}

/// Writes zeros until nothing more is taken for a while; gives how many were taken.
async fn fill(stream: &TcpStream) -> usize {
    let zeros = vec![0; 64 * 1024];
    let mut taken = 0;
    while timeout(Duration::from_millis(300), stream.writable()).await.is_ok() {
        match stream.try_write(&zeros) {
            Ok(count) => taken += count,
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
        }
    }
    taken
}

#[tokio::test]
async fn a_receiver_that_does_not_read_stops_its_sender() {
    let path = path(|_| {}).await;
    let (mut client, mut server) = path.connect().await;
    let taken = fill(&client).await;
    assert!(taken < 48 << 20, "the kernel's buffers hold this much, the forwarder next to nothing: {taken}");
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await.unwrap().len(), taken);
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    let path = path(|_| {}).await;
    let (mut client, mut server) = path.connect().await;
    passes(&mut client, &mut server, b"hello").await;
    server.set_zero_linger().unwrap();
    drop(server);
    assert_eq!(rest(&mut client).await.unwrap_err().kind(), ErrorKind::ConnectionReset);

    let (mut client, mut server) = path.connect().await;
    passes(&mut client, &mut server, b"hello").await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(rest(&mut server).await.unwrap_err().kind(), ErrorKind::ConnectionReset);

    let counts = path.forwarder.counts();
    eventually("both are counted", || {
        counts.ended(Outcome::ClientReset) == 1 && counts.ended(Outcome::TargetReset) == 1
    })
    .await;
}

#[tokio::test]
async fn a_reset_is_seen_also_where_nothing_is_read() {
    let path = path(|_| {}).await;
    let (client, server) = path.connect().await;
    fill(&client).await;
    client.set_zero_linger().unwrap();
    drop(client);
    eventually("the stalled target sees it", || server.take_error().unwrap().is_some()).await;

    let (mut client, server) = path.connect().await;
    client.shutdown().await.unwrap();
    sleep(Duration::from_millis(50)).await;
    client.set_zero_linger().unwrap();
    drop(client);
    eventually("the target of a half-closed connection sees it", || server.take_error().unwrap().is_some()).await;
}

#[tokio::test]
async fn an_answer_before_a_reset_arrives() {
    let path = path(|_| {}).await;
    let (mut client, mut server) = path.connect().await;
    client.write_all(b"a request whose end is never read").await.unwrap();
    server.peek(&mut [0]).await.unwrap();
    server.write_all(b"413 Content Too Large").await.unwrap();
    drop(server); // with octets unread: the kernel resets
    let mut got = [0; 21];
    timeout(SOON, client.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(&got, b"413 Content Too Large");
    assert!(rest(&mut client).await.is_err());
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
}

#[tokio::test]
async fn who_may_not_connect_is_turned_away() {
    let path = path(|s| {
        s.access = Access { allow: patterns(&["127.0.0.0/8"]), deny: Vec::new() };
        s.rules[0].access = Access { allow: Vec::new(), deny: patterns(&["127.0.0.?"]) };
    })
    .await;
    let mut client = TcpStream::connect(path.entrance).await.unwrap();
    assert_eq!(rest(&mut client).await.unwrap(), b"");
    let counts = path.forwarder.counts();
    assert_eq!(counts.ended(Outcome::Denied), 1);
    assert!(counts.sources().is_empty());
    let accepted = timeout(Duration::from_millis(50), path.target.accept()).await;
    assert!(accepted.is_err(), "the target hears nothing of it");
}

#[tokio::test]
async fn a_target_that_refuses_looks_refused() {
    let refusing = free_address([127, 77, 0, 1]);
    let path = path(|s| s.rules[0].targets[0].target = refusing.into()).await;
    let mut client = TcpStream::connect(path.entrance).await.unwrap();
    assert_eq!(rest(&mut client).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let counts = path.forwarder.counts();
    eventually("it is counted", || counts.ended(Outcome::ConnectFailed) == 1).await;
}

#[tokio::test]
async fn a_name_is_tried_by_all_its_addresses_from_the_source_set() {
    // localhost is often ::1 first, where nobody listens.
    let path = path(|s| {
        let port = s.rules[0].target().port;
        s.rules[0].targets[0].target = Target { host: Host::Name("localhost".into()), port };
    })
    .await;
    let (mut client, mut server) = path.connect().await;
    passes(&mut client, &mut server, b"by name").await;

    let second = self::path(|s| s.rules[0].source = Some("127.0.0.9".parse().unwrap())).await;
    let (_client, server) = second.connect().await;
    assert_eq!(server.peer_addr().unwrap().ip().to_string(), "127.0.0.9");
}

#[tokio::test]
async fn the_proxy_header_comes_first() {
    let path = path(|s| s.rules[0].proxy_protocol = ProxyProtocol::V2).await;
    let (mut client, mut server) = path.connect().await;
    let mut header = [0; 28];
    timeout(SOON, server.read_exact(&mut header)).await.expect("it doesn't wait for the client").unwrap();
    assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    assert_eq!(header[16..24], [127, 0, 0, 1, 127, 0, 0, 1]);
    assert_eq!(header[24..26], client.local_addr().unwrap().port().to_be_bytes());
    assert_eq!(header[26..28], path.entrance.port().to_be_bytes());
    passes(&mut client, &mut server, b"hello").await;
    let counts = path.forwarder.counts();
    eventually("only the client's octets count", || counts.sources()[0].bytes_up == 5).await;
}

#[tokio::test]
async fn a_thousand_busy_connections_get_each_octet_in_order() {
    const CONNECTIONS: usize = 1_000;
    const OCTETS: usize = 100_000;
    let path = path(|_| {}).await;
    let mut connected = Vec::new();
    for _ in 0..CONNECTIONS {
        connected.push(path.connect().await); // one by one, as the target's queue is short
    }
    let pattern = std::sync::Arc::new(pattern());
    let mut clients = tokio::task::JoinSet::new();
    for (number, (mut client, mut server)) in connected.into_iter().enumerate() {
        tokio::spawn(async move {
            let (mut from, mut to) = server.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
            to.shutdown().await.unwrap();
        });
        let pattern = pattern.clone();
        clients.spawn(async move {
            let own = &pattern[number * 100..][..OCTETS];
            let (mut from, mut to) = client.split();
            let send = async {
                to.write_all(own).await.unwrap();
                to.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let ((), received) = tokio::join!(send, from.read_to_end(&mut got));
            received.unwrap();
            assert!(got == own, "connection {number}: {} octets came back", got.len());
        });
    }
    timeout(6 * SOON, clients.join_all()).await.expect("all come to their end");
    eventually("all are counted", || path.forwarder.counts().ended(Outcome::ClientClosed) == CONNECTIONS as u64).await;
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let path = path(|s| s.rules[0].idle_timeout = Duration::from_millis(200)).await;
    let (mut client, mut server) = path.connect().await;
    for _ in 0..4 {
        sleep(Duration::from_millis(80)).await;
        passes(&mut client, &mut server, b"still here").await;
    }
    assert_eq!(rest(&mut client).await.unwrap(), b"");
    assert_eq!(rest(&mut server).await.unwrap(), b"");
    let counts = path.forwarder.counts();
    eventually("it is counted", || counts.ended(Outcome::Idle) == 1).await;
}

#[tokio::test]
async fn a_drain_lets_open_connections_end() {
    let path = path(|_| {}).await;
    let (mut client, mut server) = path.connect().await;
    let drain = tokio::spawn(path.forwarder.drain(pending()));
    sleep(Duration::from_millis(50)).await;
    let refused = TcpStream::connect(path.entrance).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    passes(&mut client, &mut server, b"goes on").await;
    assert!(!drain.is_finished());
    drop((client, server));
    timeout(SOON, drain).await.expect("it ends with the last connection").unwrap();
}

#[tokio::test]
async fn a_drain_cuts_at_its_limit_or_at_once() {
    let way1 = path(|s| s.drain = Duration::from_millis(100)).await;
    let (mut client, _server) = way1.connect().await;
    let counts = way1.forwarder.counts();
    timeout(SOON, way1.forwarder.drain(pending())).await.expect("it ends at its limit");
    assert_eq!(rest(&mut client).await.unwrap(), b"");
    assert_eq!(counts.ended(Outcome::Cut), 1);
    assert_eq!(counts.sources()[0].open, 0);

    let path2 = path(|_| {}).await;
    let (_client, _server) = path2.connect().await;
    timeout(SOON, path2.forwarder.drain(async {})).await.expect("it ends at once");
}

#[tokio::test]
async fn a_cut_of_what_is_under_way_is_a_reset() {
    let path = path(|_| {}).await;
    let (client, mut server) = path.connect().await;
    fill(&client).await;
    path.forwarder.drain(async {}).await;
    assert!(rest(&mut server).await.is_err(), "nobody takes a part for the whole");
}

#[tokio::test]
async fn a_reload_keeps_connections() {
    let (stays, goes, comes) =
        (free_address([127, 77, 0, 1]), free_address([127, 77, 0, 1]), free_address([127, 77, 0, 1]));
    let (old, new) = (TcpListener::bind(ANY).await.unwrap(), TcpListener::bind(ANY).await.unwrap());
    let settings = Settings { rules: vec![rule(stays, &old), rule(goes, &old)], ..Settings::default() };
    let mut forwarder = Forwarder::start(settings).unwrap();
    let (mut client1, mut server1) = connect(stays, &old).await;
    let (mut client2, mut server2) = connect(goes, &old).await;

    let settings = Settings { rules: vec![rule(comes, &new), rule(stays, &new)], ..Settings::default() };
    forwarder.reload(settings).unwrap();
    assert_eq!(forwarder.ready().await, [comes, stays]);
    passes(&mut client1, &mut server1, b"as before").await;
    passes(&mut server2, &mut client2, b"as before").await;
    let (mut client3, mut server3) = connect(stays, &new).await;
    passes(&mut client3, &mut server3, b"the new target").await;
    connect(comes, &new).await;
    let mut gone = TcpStream::connect(goes).await;
    for _ in 0..100 {
        if gone.is_err() {
            break;
        }
        sleep(Duration::from_millis(5)).await;
        gone = TcpStream::connect(goes).await;
    }
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_reload_that_fails_changes_nothing() {
    let (stays, taken, free) =
        (free_address([127, 77, 0, 1]), free_address([127, 77, 0, 1]), free_address([127, 77, 0, 1]));
    let _holder = TcpListener::bind(taken).await.unwrap();
    let (old, new) = (TcpListener::bind(ANY).await.unwrap(), TcpListener::bind(ANY).await.unwrap());
    let mut forwarder = Forwarder::start(Settings { rules: vec![rule(stays, &old)], ..Settings::default() }).unwrap();
    let rules = vec![rule(free, &new), rule(stays, &new), rule(taken, &new)];
    let refused = forwarder.reload(Settings { rules, ..Settings::default() }).unwrap_err();
    assert!(refused.to_string().contains(&taken.to_string()), "{refused}");
    connect(stays, &old).await;
    assert_eq!(TcpStream::connect(free).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_reload_can_narrow_an_address() {
    let target = TcpListener::bind(ANY).await.unwrap();
    let narrow = free_address([127, 77, 0, 1]);
    let wide = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), narrow.port());
    let mut forwarder = Forwarder::start(Settings { rules: vec![rule(wide, &target)], ..Settings::default() }).unwrap();
    forwarder.reload(Settings { rules: vec![rule(narrow, &target)], ..Settings::default() }).unwrap();
    assert_eq!(timeout(SOON, forwarder.ready()).await.expect("its own listener gives way"), [narrow]);
    connect(narrow, &target).await;
}

#[tokio::test]
async fn an_address_in_use_is_one_clear_error() {
    let target = TcpListener::bind(ANY).await.unwrap();
    let (free, taken) = (free_address([127, 77, 0, 1]), free_address([127, 77, 0, 1]));
    let _holder = TcpListener::bind(taken).await.unwrap();
    let settings = Settings { rules: vec![rule(free, &target), rule(taken, &target)], ..Settings::default() };
    let Err(error) = Forwarder::start(settings) else { panic!("it starts") };
    assert!(matches!(&error, ForwardError::Listen { address, .. } if *address == taken));
    let target = target.local_addr().unwrap();
    assert_eq!(
        error.to_string(),
        format!("the rule {taken} -> {target} can't listen on {taken}: Address already in use (os error 98)")
    );
    assert!(TcpStream::connect(free).await.is_err(), "nothing is half started");
}

#[tokio::test]
async fn an_address_in_use_can_be_waited_for() {
    let target = TcpListener::bind(ANY).await.unwrap();
    let (free, taken) = (free_address([127, 77, 0, 1]), free_address([127, 77, 0, 1]));
    let holder = TcpListener::bind(taken).await.unwrap();
    let rules = vec![rule(taken, &target), rule(free, &target)];
    let forwarder = Forwarder::start(Settings { rules, wait_bind: true, ..Settings::default() }).unwrap();
    connect(free, &target).await;
    assert_eq!(forwarder.addresses(), [None, Some(free)]);
    drop(holder);
    assert_eq!(timeout(SOON, forwarder.ready()).await.expect("it is taken when free"), [taken, free]);
    connect(taken, &target).await;
}

async fn get(address: SocketAddr, page: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {page} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    String::from_utf8(rest(&mut stream).await.unwrap()).unwrap()
}

#[tokio::test]
async fn connections_are_counted_and_shown() {
    let path = path(|s| s.metrics = Some(ANY.into())).await;
    let (mut client, mut server) = path.connect().await;
    passes(&mut client, &mut server, b"four").await;
    let (_client2, _server2) = path.connect().await;
    drop((client, server));
    let counts = path.forwarder.counts();
    eventually("one has ended", || counts.sources()[0].open == 1).await;

    let address = path.forwarder.metrics_address().unwrap();
    let page = get(address, "/metrics").await;
    for line in [
        "waypost_forward_connections_open{listen=\"127.0.0.1:0\"} 1",
        "waypost_forward_connections_total{listen=\"127.0.0.1:0\",outcome=\"client-closed\"} 1",
        "waypost_forward_bytes_total{direction=\"up\",listen=\"127.0.0.1:0\"} 4",
        "waypost_forward_sources 1",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
    let answer = get(address, "/sources").await;
    let json: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(json[0]["source"], "127.0.0.1");
    assert_eq!((&json[0]["connections"], &json[0]["open"]), (&2.into(), &1.into()));
    assert_eq!((&json[0]["bytes_up"], &json[0]["bytes_down"]), (&4.into(), &0.into()));
    let seen: jiff::Timestamp = json[0]["last_seen"].as_str().unwrap().parse().unwrap();
    assert!(seen.duration_until(jiff::Timestamp::now()).as_secs() < 60);
}

fn results(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().map(|line| line.split('\t').skip(1).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn connections_are_logged_as_rinetd_does() {
    let folder = tempfile::tempdir().unwrap();
    let (log, pid) = (folder.path().join("log"), folder.path().join("pid"));
    let path = path(|s| {
        s.log = Some(LogFile { file: log.clone(), format: LogFormat::Tabs });
        s.pid_file = Some(pid.clone());
    })
    .await;
    let (mut client, mut server) = path.connect().await;
    passes(&mut client, &mut server, b"up").await;
    passes(&mut server, &mut client, b"down").await;
    drop((client, server));
    let target = path.target.local_addr().unwrap().port();
    eventually("both lines are there", || results(&log).len() == 2).await;
    let start = format!("127.0.0.1 127.0.0.1 0 127.0.0.1 {target}");
    assert_eq!(results(&log), [format!("{start} 0 0 opened"), format!("{start} 2 4 done-remote-closed")]);
    assert_eq!(std::fs::read_to_string(pid).unwrap(), format!("{}\n", std::process::id()));
}
