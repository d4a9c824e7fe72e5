//! Who is answered, and how often: `[rrl]` and `allow-query`.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType as T;
use support::dns::{Question, addresses, rcode};
use support::{HEAD, Server, ZONE, folder};

/// `ns1.example.org A`, with a client cookie and, if given, a server's.
fn query(id: u16, server_cookie: Option<&[u8]>) -> Vec<u8> {
    let mut q = id.to_be_bytes().to_vec();
    q.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    q.extend(b"\x03ns1\x07example\x03org\0\0\x01\0\x01");
    let cookie = [&b"\x01\x02\x03\x04\x05\x06\x07\x08"[..], server_cookie.unwrap_or_default()].concat();
    q.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4 + cookie.len() as u8, 0, 10, 0, cookie.len() as u8]);
    q.extend(cookie);
    q
}

/// Sends `count` queries at once: how many whole answers came, how many truncated ones, and the last server cookie.
fn burst(server: &Server, from: &str, count: u16, cookie: Option<&[u8]>) -> (u32, u32, Vec<u8>) {
    burst_of(server.dns[0], from, count, |id| query(id, cookie))
}

/// The same of any messages, to any address.
fn burst_of(to: SocketAddr, from: &str, count: u16, message: impl Fn(u16) -> Vec<u8>) -> (u32, u32, Vec<u8>) {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect(to).unwrap();
    for id in 0..count {
        socket.send(&message(id)).unwrap();
    }
    socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let (mut whole, mut truncated, mut made) = (0, 0, Vec::new());
    let mut buffer = [0; 1500];
    while let Ok(octets) = socket.recv(&mut buffer) {
        let count = if buffer[2] & 2 == 0 { &mut whole } else { &mut truncated };
        *count += 1;
        made = buffer[octets - 16..octets].to_vec(); // the cookie is the last option
    }
    (whole, truncated, made)
}

#[test]
fn a_prefix_is_answered_so_often_and_resolvers_behind_it_find_a_way() {
    let head = HEAD.replace("workers = 2", "workers = 1");
    let server = Server::start(&format!("{head}\n[rrl]\nrate = 20\nslip = 2\nexempt = [\"127.0.9.0/24\"]\n"));
    let (whole, truncated, cookie) = burst(&server, "127.0.0.1", 400, None);
    // A burst may lie across a second or two.
    assert!((20..=60).contains(&whole), "{whole} whole answers");
    assert!((80..=280).contains(&truncated), "{truncated} truncated ones of {}", 400 - whole);
    let (whole, truncated, _) = burst(&server, "127.0.0.1", 100, Some(&cookie));
    assert_eq!((whole, truncated), (100, 0), "who has a cookie is who it says");
    let (whole, truncated, _) = burst(&server, "127.0.9.1", 100, None);
    assert_eq!((whole, truncated), (100, 0), "who is exempt");
    for _ in 0..50 {
        let answer = server.question("ns1.example.org", T::A).tcp().send();
        assert_eq!(addresses(&answer), ["127.0.0.1"], "TCP shows who asks");
    }
    let metrics = server.api("GET", "/metrics", serde_json::Value::Null, &[]).text;
    assert!(metrics.contains("waypost_rate_limited_total{outcome=\"dropped\"}"), "{metrics}");
}

#[test]
fn servers_share_cookies_and_their_secrets_are_exchanged() {
    const OLD: &str = "000102030405060708090a0b0c0d0e0f";
    const NEW: &str = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
    let config = |secrets: &[&str]| {
        let head = HEAD.replace("workers = 2", &format!("workers = 1\ncookie-secrets = {secrets:?}"));
        format!("{head}\n[rrl]\nrate = 1\nslip = 0\n")
    };
    let servers = [Server::start(&config(&[OLD])), Server::start(&config(&[OLD]))];
    // Whoever shows a good cookie is not limited.
    let is_good = |server: &Server, cookie: &[u8]| burst(server, "127.0.0.1", 40, Some(cookie)).0 == 40;
    let made = |server: &Server| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(support::SOON)).unwrap();
        let mut buffer = [0; 1500];
        loop {
            socket.send_to(&query(1, Some(&[0; 16])), server.dns[0]).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            if let Ok(octets) = socket.recv(&mut buffer) {
                return buffer[octets - 16..octets].to_vec();
            } // the second's one response is gone
        }
    };
    let reload = |secrets: &[&str]| {
        for server in &servers {
            server.configure(&config(secrets));
            server.reload().done();
        }
    };
    let old = made(&servers[0]);
    assert!(servers.iter().all(|server| is_good(server, &old)), "made by one, good for both");
    reload(&[NEW, OLD]);
    assert!(servers.iter().all(|server| is_good(server, &old)), "the old secret is good still");
    let new = made(&servers[1]);
    reload(&[NEW]);
    assert!(servers.iter().all(|server| is_good(server, &new)), "made by the new one");
    assert!(servers.iter().all(|server| !is_good(server, &old)), "the old one is gone");
}

/// The most that `reached` of all `workers` allow while `work` is done, `rate` a second being shared by all.
fn allowed<T>(rate: u32, workers: u32, reached: u32, work: impl FnOnce() -> T) -> (u32, T) {
    let begun = support::now();
    let done = work();
    let seconds = (support::now() - begun) as u32 + 1;
    (rate.div_ceil(workers) * reached * seconds, done)
}

#[test]
fn a_prefix_has_one_rate_at_all_addresses_together() {
    let listen = "listen = [\"127.0.0.1:0\", \"127.0.0.1:0\", \"127.0.0.1:0\", \"[::1]:0\", \"[::1]:0\", \"[::1]:0\"]";
    let head = HEAD.replace("listen = [\"127.0.0.1:0\"]\nworkers", &format!("{listen}\nworkers"));
    let server = Server::start(&format!("{head}\n[rrl]\nrate = 60\nslip = 0\n"));
    assert_eq!(server.dns.len(), 6);
    // Six addresses with two workers each: of IPv4 as of IPv6, half of them are asked.
    for (from, addresses) in [("127.0.0.1", &server.dns[..3]), ("::1", &server.dns[3..])] {
        let sockets: Vec<UdpSocket> = (0..30).map(|_| UdpSocket::bind((from, 0)).unwrap()).collect();
        let (most, whole) = allowed(60, 12, 6, || {
            for id in 0..600u16 {
                let to = addresses[id as usize % 3];
                sockets[id as usize % 30].send_to(&query(id, None), to).unwrap();
            }
            let mut whole = 0;
            for socket in &sockets {
                socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                while socket.recv(&mut [0; 1500]).is_ok() {
                    whole += 1;
                }
            }
            whole
        });
        assert!((1..=most).contains(&whole), "{from}: {whole} of {most} at most");
    }
}

#[test]
fn requests_have_a_rate_too() {
    /// A request with this id.
    type Make<'m> = &'m dyn Fn(u16) -> Vec<u8>;
    let server = Server::start(&format!("{HEAD}\n[rrl]\nrate = 30\nslip = 2\n"));
    // NOTIFY and UPDATE of a stranger, IXFR, and a signature by nobody's key.
    let plain = |id: u16, opcode: u8, rtype: u8| {
        let mut message = id.to_be_bytes().to_vec();
        message.extend([opcode << 3, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend(b"\x07example\x03org\0\0\x06\0\x01");
        let at = message.len() - 3;
        message[at] = rtype;
        message
    };
    let signed = |id: u16| {
        let mut message = plain(id, 0, 6);
        message[11] = 1;
        let rdata = [&b"\x0bhmac-sha256\0\0\0\x65\0\0\0\x01\x2c\0\x20"[..], &[7; 32], &[0, 0, 0, 0, 0, 0]].concat();
        message.extend(b"\x06nobody\0\0\xfa\0\xff\0\0\0\0");
        message.extend((rdata.len() as u16).to_be_bytes());
        message.extend(rdata);
        message
    };
    let kinds: [(&str, &str, Make<'_>); 4] = [
        ("NOTIFY", "127.0.1.1", &|id| plain(id, 4, 6)),
        ("UPDATE", "127.0.2.1", &|id| plain(id, 5, 6)),
        ("IXFR", "127.0.3.1", &|id| plain(id, 0, 251)),
        ("TSIG", "127.0.4.1", &signed),
    ];
    for (kind, from, message) in kinds {
        let (most, (whole, truncated, _)) = allowed(30, 2, 1, || burst_of(server.dns[0], from, 200, message));
        assert!((1..=most).contains(&whole), "{kind}: {whole} of {most} at most");
        assert!((1..200 - whole).contains(&truncated), "{kind}: {truncated} truncated");
    }
}

#[test]
fn a_zone_is_answered_to_whom_it_is_for() {
    let head = HEAD.replace(
        "file = \"example.org.zone\"",
        "file = \"example.org.zone\"\nallow-query = [\"!127.0.7.7\", \"127.0.7.0/24\"]",
    );
    let server = Server::start(&head);
    let ask = |from: [u8; 4]| server.question("ns1.example.org", T::A).from(from).send();
    assert_eq!(addresses(&ask([127, 0, 7, 1])), ["127.0.0.1"]);
    for from in [[127, 0, 7, 7], [127, 0, 8, 1]] {
        assert_eq!(rcode(&ask(from)), ResponseCode::Refused);
    }
    let explained = |from: &str| {
        let told = server.get(&format!("/api/v1/explain?name=ns1.example.org&client={from}"));
        (told["rcode"].as_str().unwrap().to_owned(), told["steps"].to_string())
    };
    let (rcode_of, steps) = explained("127.0.8.1");
    assert_eq!(rcode_of.to_uppercase(), "REFUSED");
    assert!(steps.contains("allow-query of the zone example.org does not let 127.0.8.1 ask: REFUSED"), "{steps}");
    assert!(explained("127.0.7.1").1.contains("allow-query of the zone example.org lets 127.0.7.1 ask"));
    let outside = Question::to(server.dns[0], "example.com", T::A).from([127, 0, 7, 1]).send();
    assert_eq!(rcode(&outside), ResponseCode::Refused);
}

#[test]
fn an_alias_tells_nothing_of_a_zone_that_is_not_for_the_client() {
    let head =
        HEAD.replace("file = \"example.org.zone\"", "file = \"example.org.zone\"\nallow-query = [\"127.0.7.0/24\"]");
    let folder = folder(&format!("{head}[[zone]]\nname = \"open.example\"\nfile = \"open.zone\"\n"));
    let zone = "$TTL 1h\n@ SOA ns hostmaster 1 1h 15m 4w 5m\n  NS ns\nns A 127.0.0.1\nalias CNAME plain.example.org.\n";
    std::fs::write(folder.path().join("open.zone"), zone).unwrap();
    let server = Server::start_in(folder);
    let ask = |from: [u8; 4]| Question::to(server.dns[0], "alias.open.example", T::A).from(from).send();
    assert_eq!(addresses(&ask([127, 0, 7, 1])), ["plain.example.org.", "192.0.2.7"]);
    assert_eq!(addresses(&ask([127, 0, 8, 1])), ["plain.example.org."]);
    let told = server.get("/api/v1/explain?name=alias.open.example&client=127.0.8.1")["steps"].to_string();
    assert!(told.contains("does not let 127.0.8.1 ask: the resolver has to ask for it"), "{told}");
}

#[test]
fn no_chain_shows_a_zone_to_whom_it_is_not_for() {
    let secret = "[[zone]]\nname = \"secret.test\"\nfile = \"secret.zone\"\nallow-query = [\"127.0.7.0/24\"]\n";
    let pool = "[[pool]]\nname = \"steered.example.org\"\n\
                endpoint = [{ site = \"ec2\", cname = \"www.secret.test.\", weight = 1 }]\n";
    let folder = folder(&format!("{HEAD}{secret}{pool}"));
    let write = |name, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("example.org.zone", format!("{ZONE}open CNAME www.secret.test.\nbelow DNAME secret.test.\n"));
    write(
        "secret.zone",
        "$TTL 60\n@ SOA ns1.example.org. h 1 2 3 4 5\n@ NS ns1.example.org.\nwww A 192.0.2.66\n".into(),
    );
    let server = Server::start_in(folder);
    for (name, aliases) in [("open.example.org", 1), ("www.below.example.org", 2), ("steered.example.org", 1)] {
        let ask = |from: [u8; 4]| server.question(name, T::A).from(from).send();
        let whole = ask([127, 0, 7, 1]);
        assert_eq!(whole.answers.len(), aliases + 1, "{name}: {whole}");
        assert_eq!(addresses(&whole).last().map(String::as_str), Some("192.0.2.66"), "{name}");
        let stopped = ask([127, 0, 8, 1]);
        assert_eq!((stopped.answers.len(), rcode(&stopped)), (aliases, ResponseCode::NoError), "{name}: {stopped}");
        assert!(stopped.authorities.is_empty(), "{name}: {stopped}");
    }
    let absent = server.question("no.below.example.org", T::A).from([127, 0, 8, 1]).send();
    assert_eq!(rcode(&absent), ResponseCode::NoError, "nor is told which names there are");
}

#[test]
fn what_is_no_limit_is_told_all_at_once() {
    let config = format!(
        "{}\n[rrl]\nslip = 200\nipv4-prefix = 33\nexempt = [\"everybody\"]\n",
        HEAD.replace("file = \"example.org.zone\"", "file = \"example.org.zone\"\nallow-query = [\"key:k\"]")
    );
    let output = support::fail_in(folder(&config).path(), &[]);
    let told = String::from_utf8_lossy(&output.stderr);
    for part in ["rate", "200", "33", "everybody", "a key says nothing here"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}
