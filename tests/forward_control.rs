//! What the forwarder does beyond rinetd, on loopback, in this process. Shows that
//!
//! - connections go to targets by weight, a target that refuses is followed by the next, and rests after three failures,
//! - hosts are read from TLS and HTTP without being taken out, and told to the target in the PROXY header (version 2),
//! - a trusted peer's PROXY header is believed and taken off, another's octets are passed on as they are,
//! - a trusted peer without a header is turned away,
//! - UDP answers come back to the client that asked, each client has its own way, and is forgotten after silence,
//! - a hold keeps connections waiting until it is released, and is released when the one who asked for it goes away,
//! - who gave up while held is counted, who is too many is refused,
//! - each rung of the ladder does what it says and is taken back at once,
//! - a connection ends at its total timeout, no more are open than a rule may have,
//! - mistakes of requests are told,
//! - it forwards also where its control socket, log and process id can't be written.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use tokio::time::{sleep, timeout};
use waypost::forward::outcome::Outcome;
use waypost::forward::settings::{Listen, LogFile, LogFormat, Protocol, ProxyProtocol, Rule, WeightedTarget};
use waypost::forward::{Forwarder, Settings};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
const SOON: Duration = Duration::from_secs(10);

struct Way {
    target: TcpListener,
    forwarder: Forwarder,
    entrance: SocketAddr,
    folder: tempfile::TempDir,
}

async fn way(change: impl FnOnce(&mut Rule)) -> Way {
    let folder = tempfile::tempdir().unwrap();
    let target = TcpListener::bind(ANY).await.unwrap();
    let mut rule = Rule::new(Listen::from(SocketAddr::from(ANY)), target.local_addr().unwrap().into());
    rule.name = Some("web".to_owned());
    change(&mut rule);
    let control = Some(folder.path().join("control"));
    let forwarder = Forwarder::start(Settings { rules: vec![rule], control, ..Settings::default() }).unwrap();
    let entrance = forwarder.ready().await[0];
    Way { target, forwarder, entrance, folder }
}

impl Way {
    fn control(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.entrance).await.unwrap()
    }

    async fn server(&self) -> TcpStream {
        timeout(SOON, self.target.accept()).await.expect("it comes out").unwrap().0
    }

    /// Whether nothing comes out for a while.
    async fn nothing_comes_out(&self) -> bool {
        timeout(Duration::from_millis(200), self.target.accept()).await.is_err()
    }

    async fn status(&self) -> Value {
        let status = ask(&self.control(), "GET", "/v1/status", &Value::Null).await;
        assert_eq!(status.0, 200, "{}", status.1);
        status.1["rules"][0].clone()
    }
}

/// A request to the control socket; gives the connection, on which the answer comes.
async fn begin(control: &Path, method: &str, path: &str, body: &Value) -> UnixStream {
    let mut stream = UnixStream::connect(control).await.unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn ask(control: &Path, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = begin(control, method, path, body).await;
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.expect("an answer comes").unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_default())
}

async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut got = vec![0; count];
    timeout(SOON, stream.read_exact(&mut got)).await.expect("octets come").unwrap();
    got
}

async fn ends(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut got = Vec::new();
    timeout(SOON, stream.read_to_end(&mut got)).await.expect("an end comes").map(|_| got)
}

/// Whether a new client is reset, as soon as it is connected or while it is.
async fn is_reset(way: &Way) -> bool {
    match timeout(SOON, TcpStream::connect(way.entrance)).await.expect("the forwarder listens") {
        Ok(mut client) => ends(&mut client).await.is_err(),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "never came to be: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn weighted(target: SocketAddr, weight: u32) -> WeightedTarget {
    WeightedTarget { target: target.into(), weight }
}

#[tokio::test]
async fn connections_are_spread_and_go_round_a_target_that_refuses() {
    let second = TcpListener::bind(ANY).await.unwrap();
    let second_address = second.local_addr().unwrap();
    let gone = TcpListener::bind((Ipv4Addr::new(127, 77, 0, 2), 0)).await.unwrap().local_addr().unwrap();
    let way = way(|r| {
        r.targets[0].weight = 30;
        r.targets.extend([weighted(second_address, 10), weighted(gone, 40)]);
    })
    .await;
    let mut came = (0, 0);
    for _ in 0..80 {
        let _client = way.client().await;
        tokio::select! {
            _ = way.target.accept() => came.0 += 1,
            _ = second.accept() => came.1 += 1,
        }
    }
    assert!(came.0 > 40 && came.1 > 8, "{came:?}");
    let targets = &way.status().await["targets"];
    assert_eq!((&targets[0]["health"], &targets[2]["health"]), (&json!("closed"), &json!("open")), "{targets}");
    assert_eq!(way.forwarder.counts().ended(Outcome::ConnectFailed), 0, "no client noticed");
}

/// A ClientHello as openssl sends it, cut down to its server name.
fn client_hello() -> Vec<u8> {
    let name = b"old.example.org";
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    let length = name.len() as u16;
    body.extend((length + 9).to_be_bytes());
    body.extend([0, 0]);
    body.extend((length + 5).to_be_bytes());
    body.extend((length + 3).to_be_bytes());
    body.push(0);
    body.extend(length.to_be_bytes());
    body.extend(name);
    let mut record = vec![0x16, 3, 1];
    record.extend((body.len() as u16 + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}

#[tokio::test]
async fn hosts_are_peeked_and_told() {
    let way = way(|r| {
        r.peek = true;
        r.proxy_protocol = ProxyProtocol::V2;
    })
    .await;
    let hello = client_hello();
    let mut client = way.client().await;
    client.write_all(&hello[..30]).await.unwrap();
    sleep(Duration::from_millis(30)).await;
    client.write_all(&hello[30..]).await.unwrap();
    let mut server = way.server().await;
    let header = read(&mut server, 28 + 3 + 15 + 3 + 3).await;
    assert_eq!(header[28..], *b"\x02\0\x0fold.example.org\xe0\0\x03web");
    assert_eq!(read(&mut server, hello.len()).await, hello);

    let mut client = way.client().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await.unwrap();
    let mut server = way.server().await;
    assert!(read(&mut server, 28 + 3 + 15).await.ends_with(b"www.example.org"));
    let _silent = way.client().await;
    let mut server = way.server().await;
    assert_eq!(read(&mut server, 28 + 6).await[28..], *b"\xe0\0\x03web", "who says nothing is forwarded as well");

    let hosts = ask(&way.control(), "GET", "/v1/hosts", &Value::Null).await.1;
    assert_eq!(hosts.as_array().unwrap().len(), 2, "{hosts}");
    let sources = ask(&way.control(), "GET", "/v1/sources?most=1", &Value::Null).await.1;
    assert_eq!(sources["sources"][0]["hosts"], json!(["www.example.org", "old.example.org"]));
}

#[tokio::test]
async fn a_trusted_peers_header_is_believed() {
    let way = way(|r| {
        r.proxy_from = vec!["127.0.0.1/32".parse().unwrap()];
        r.proxy_protocol = ProxyProtocol::V1;
        r.access.deny = vec![waypost::forward::access::Pattern::parse("192.0.2.66").unwrap()];
    })
    .await;
    let mut client = way.client().await;
    client.write_all(b"PROXY TCP4 192.0.2.9 192.").await.unwrap();
    sleep(Duration::from_millis(30)).await;
    client.write_all(b"0.2.1 40000 80\r\nhello").await.unwrap();
    let mut server = way.server().await;
    let listener = way.entrance.port();
    let expected = format!("PROXY TCP4 192.0.2.9 127.0.0.1 40000 {listener}\r\nhello");
    assert_eq!(String::from_utf8(read(&mut server, expected.len()).await).unwrap(), expected);
    assert_eq!(way.forwarder.counts().sources()[0].source, "192.0.2.9");

    let mut denied = way.client().await;
    denied.write_all(b"PROXY TCP4 192.0.2.66 192.0.2.1 40000 80\r\n").await.unwrap();
    assert_eq!(ends(&mut denied).await.unwrap(), b"");
    let mut plain = way.client().await;
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(ends(&mut plain).await.is_err(), "it is reset");
    let counts = way.forwarder.counts();
    assert_eq!((counts.ended(Outcome::Denied), counts.ended(Outcome::NoProxyHeader)), (1, 1));
}

#[tokio::test]
async fn datagrams_find_their_way_back() {
    let target = UdpSocket::bind(ANY).await.unwrap();
    let mut rule = Rule::new(Listen::from(SocketAddr::from(ANY)), target.local_addr().unwrap().into());
    rule.protocol = Protocol::Udp;
    rule.idle_timeout = Duration::from_millis(300);
    let forwarder = Forwarder::start(Settings { rules: vec![rule], ..Settings::default() }).unwrap();
    let entrance = forwarder.ready().await[0];
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_535];
        loop {
            let (count, from) = target.recv_from(&mut buffer).await.unwrap();
            target.send_to(&buffer[..count], from).await.unwrap();
        }
    });
    let clients = [UdpSocket::bind(ANY).await.unwrap(), UdpSocket::bind(ANY).await.unwrap()];
    for round in 0..3_u8 {
        for (number, client) in clients.iter().enumerate() {
            let sent = vec![number as u8 + 10 * round; 1400 * (1 + usize::from(round) * 20)];
            client.send_to(&sent, entrance).await.unwrap();
            let mut got = vec![0; 65_535];
            let (count, from) = timeout(SOON, client.recv_from(&mut got)).await.expect("an answer").unwrap();
            assert_eq!((&got[..count], from), (&sent[..], entrance));
        }
    }
    let counts = forwarder.counts();
    assert_eq!(counts.sources()[0].open, 2);
    eventually("both are forgotten", || counts.ended(Outcome::Idle) == 2).await;
    assert_eq!(counts.sources()[0].bytes_up, counts.sources()[0].bytes_down);
}

#[tokio::test]
async fn a_hold_keeps_waiting_until_released() {
    let way = way(|_| {}).await;
    let mut early = way.client().await;
    let mut early_server = way.server().await;
    let mut hold = begin(&way.control(), "POST", "/v1/hold", &json!({ "rule": "web", "terms": { "most": 3 } })).await;
    hold.read_exact(&mut [0; 15]).await.unwrap();
    let mut held = way.client().await;
    held.write_all(b"wait").await.unwrap();
    assert!(way.nothing_comes_out().await);
    early.write_all(b"x").await.unwrap();
    assert_eq!(read(&mut early_server, 1).await, b"x", "an open connection goes on");
    drop((way.client().await, way.client().await));
    sleep(Duration::from_millis(50)).await;
    assert!(is_reset(&way).await, "too many");
    let status = way.status().await;
    assert_eq!((&status["hold"]["held"], &status["hold"]["waiting"]), (&json!(true), &json!(3)));

    let released = ask(&way.control(), "POST", "/v1/release", &json!({})).await;
    assert_eq!(released, (200, json!({ "released": 1 })));
    assert_eq!(read(&mut way.server().await, 4).await, b"wait");
    let mut rest = String::new();
    timeout(SOON, hold.read_to_string(&mut rest)).await.expect("the answer ends").unwrap();
    assert!(rest.contains("\"held\":false"), "{rest}");
    let counts = way.forwarder.counts();
    eventually("those who gave up are counted", || counts.ended(Outcome::GaveUp) == 2).await;
    assert_eq!(counts.ended(Outcome::HoldFull), 1);
    assert_eq!(way.status().await["hold"]["gave_up"], 2);
}

#[tokio::test]
async fn a_hold_ends_with_the_one_who_asked() {
    let way = way(|_| {}).await;
    let mut hold = begin(&way.control(), "POST", "/v1/hold", &json!({ "terms": { "secs": 30 } })).await;
    hold.read_exact(&mut [0; 15]).await.unwrap();
    let _held = way.client().await;
    assert!(way.nothing_comes_out().await);
    drop(hold);
    way.server().await;
}

#[tokio::test]
async fn the_ladder_nudges_and_is_taken_back() {
    let way = way(|_| {}).await;
    let control = way.control();
    let set = async |ladder: Value| {
        let told = ask(&control, "POST", "/v1/ladder", &json!({ "rule": "web", "ladder": ladder })).await;
        assert_eq!(told.0, 200, "{}", told.1);
    };
    let mut client = way.client().await;
    let mut server = way.server().await;
    set(json!({ "rung": "refuse" })).await;
    assert!(is_reset(&way).await);
    client.write_all(b"x").await.unwrap();
    assert_eq!(read(&mut server, 1).await, b"x", "open connections go on");
    set(json!({ "rung": "refuse-part", "percent": 100, "for_secs": 60 })).await;
    assert!(is_reset(&way).await);
    set(json!({ "rung": "forward" })).await;
    let _client = way.client().await;
    way.server().await;
    assert_eq!(way.forwarder.counts().ended(Outcome::TurnedAway), 2);

    set(json!({ "rung": "close-idle", "age_secs": 0 })).await;
    assert_eq!(ends(&mut client).await.unwrap(), b"", "it stands still");
    let mut client = way.client().await;
    let mut server = way.server().await;
    set(json!({ "rung": "cap-life", "age_secs": 1 })).await;
    let ended = timeout(SOON, async {
        while client.write_all(b"busy").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    ended.await.expect("it ends while it is busy");
    ends(&mut server).await.unwrap();
    let counts = way.forwarder.counts();
    eventually("all of them are counted", || counts.ended(Outcome::TooOld) >= 2).await;
}

#[tokio::test]
async fn a_connection_ends_at_its_total_timeout() {
    let way = way(|r| r.total_timeout = Some(Duration::from_millis(300))).await;
    let mut client = way.client().await;
    let _server = way.server().await;
    assert_eq!(ends(&mut client).await.unwrap(), b"");
    let counts = way.forwarder.counts();
    eventually("it is counted", || counts.ended(Outcome::TooOld) == 1).await;
}

#[tokio::test]
async fn no_more_are_open_than_may_be() {
    let way = way(|r| r.max_connections = Some(1)).await;
    let first = way.client().await;
    let server = way.server().await;
    assert!(is_reset(&way).await, "it is reset");
    drop((first, server));
    let counts = way.forwarder.counts();
    eventually("the first has ended", || counts.sources()[0].open == 0).await;
    let _second = way.client().await;
    way.server().await;
    assert_eq!(counts.ended(Outcome::TooMany), 1);
}

#[tokio::test]
async fn mistakes_are_told() {
    let way = way(|_| {}).await;
    let control = way.control();
    let cases = [
        ("/v1/hold", json!({ "terms": { "secs": 31 } }), 400, "31 seconds can't be held: expected 1 to 30"),
        ("/v1/hold", json!({ "rule": "mail" }), 404, "\"mail\" is no rule: there are web"),
        (
            "/v1/ladder",
            json!({ "ladder": { "rung": "refuse-part", "percent": 101, "for_secs": 1 } }),
            400,
            "percentage",
        ),
        ("/v1/ladder", json!({ "ladder": { "rung": "jump" } }), 400, "unknown variant `jump`"),
        ("/v1/release", json!({ "rules": "web" }), 400, "unknown field `rules`"),
    ];
    for (path, body, status, part) in cases {
        let told = ask(&control, "POST", path, &body).await;
        assert_eq!(told.0, status, "{path} {body}");
        assert!(told.1["detail"].as_str().unwrap().contains(part), "{}", told.1);
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&control).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    way.forwarder.drain(async {}).await;
    assert!(!control.exists(), "it is gone with its forwarder");
}

#[tokio::test]
async fn without_its_files_it_forwards() {
    let target = TcpListener::bind(ANY).await.unwrap();
    let rule = Rule::new(Listen::from(SocketAddr::from(ANY)), target.local_addr().unwrap().into());
    let nowhere = PathBuf::from("/nonexistent/folder/file");
    let log = Some(LogFile { file: nowhere.clone(), format: LogFormat::Tabs });
    let (control, pid_file) = (Some(nowhere.clone()), Some(nowhere));
    let settings = Settings { rules: vec![rule], control, pid_file, log, ..Settings::default() };
    let forwarder = Forwarder::start(settings).unwrap();
    let mut client = TcpStream::connect(forwarder.ready().await[0]).await.unwrap();
    let mut server = timeout(SOON, target.accept()).await.unwrap().unwrap().0;
    client.write_all(b"all the same").await.unwrap();
    assert_eq!(read(&mut server, 12).await, b"all the same");
}
