//! Many probes beside many queries:
//! - a check costs so little of one core that ten thousand targets each 5 s fit on it; on a quiet machine (`WAYPOST_QUIET=1`)
//!   every target is asked at its interval, and answers keep their latency meanwhile;
//! - so it is while half of the targets accept connections and never answer: the others are asked as often as before.
//!
//! The figures of docs/steering.md: `WAYPOST_QUIET=1 cargo test --release --test probe_load -- --ignored --nocapture`.

mod support;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use support::{HEAD, Server};

const SITES: usize = 5;
/// Of a check.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A configuration of so many targets, five to a pool, each at a loopback address of its own.
fn config(targets: usize, port: u16) -> String {
    let sites: String = (2..SITES).fold(String::new(), |mut text, i| {
        _ = writeln!(text, "[[site]]\nname = \"s{i}\"");
        text
    });
    let probe = format!("[probe.web]\ntype = \"http\"\nport = {port}\ninterval = \"5s\"\ntimeout = \"2s\"\n");
    let names = ["ec2", "dc1", "s2", "s3", "s4"];
    let pool = |number: usize| {
        let endpoints: String = (0..SITES).fold(String::new(), |mut text, i| {
            let target = number * SITES + i;
            let address = format!("127.{}.{}.{}", 64 + target / 62_500, target / 250 % 250, target % 250 + 1);
            _ = write!(text, "{{ site = \"{}\", address = [\"{address}\"], weight = 1 }}, ", names[i]);
            text
        });
        format!("[[pool]]\nname = \"p{number}.example.org\"\nprobe = \"web\"\nendpoint = [{endpoints}]\n")
    };
    format!("{HEAD}{sites}{probe}") + &(0..targets / SITES).map(pool).collect::<String>()
}

/// Answers 200 on all loopback addresses, with a few threads, and counts; but where the last octet is even, half of the targets,
/// it says nothing once `dead` is set.
fn origin(dead: Arc<AtomicBool>) -> (u16, Arc<AtomicUsize>) {
    let listener = Arc::new(TcpListener::bind("0.0.0.0:0").unwrap());
    let (port, count) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..4 {
        let (listener, count, dead) = (listener.clone(), count.clone(), dead.clone());
        std::thread::spawn(move || {
            let mut parked = VecDeque::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                while parked.front().is_some_and(|(since, _): &(Instant, _)| since.elapsed() > TIMEOUT) {
                    parked.pop_front();
                }
                let last = stream.local_addr().map_or(1, |at| match at.ip() {
                    IpAddr::V4(address) => address.octets()[3],
                    IpAddr::V6(_) => 1,
                });
                if last.is_multiple_of(2) && dead.load(Ordering::Relaxed) {
                    parked.push_back((Instant::now(), stream));
                    continue;
                }
                _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                _ = stream.read(&mut [0; 1024]);
                _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    (port, count)
}

/// Time on a processor that the thread of this name has had.
fn cpu_time(server: &Server, thread: &str) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
    let of = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let spent = fs::read_to_string(task.path().join("schedstat")).ok()?;
        (name.trim() == thread).then(|| Duration::from_nanos(spent.split(' ').next().unwrap().parse().unwrap()))
    };
    tasks.filter_map(|task| of(task.ok()?)).sum()
}

/// Latencies of queries at so many a second, sorted.
fn latencies(server: &Server, a_second: u32, during: Duration) -> Vec<Duration> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.dns[0]).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (began, mut sent, mut seen) = (Instant::now(), 0u32, Vec::new());
    while began.elapsed() < during {
        let mut query = Message::new(sent as u16, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii("p1.example.org.").unwrap(), RecordType::A));
        let asked = Instant::now();
        socket.send(&query.to_vec().unwrap()).unwrap();
        socket.recv(&mut [0; 512]).expect("an answer within 5 s");
        seen.push(asked.elapsed());
        sent += 1;
        std::thread::sleep((Duration::from_secs(1) / a_second * sent).saturating_sub(began.elapsed()));
    }
    seen.sort_unstable();
    seen
}

/// On a machine that `is_quiet` the wall clock counts, too.
fn probed(targets: usize, a_second: u32, during: Duration, is_quiet: bool) {
    let dead = Arc::new(AtomicBool::new(false));
    let (port, asked) = origin(dead.clone());
    let server = Server::start(&config(targets, port));
    std::thread::sleep(Duration::from_secs(1));
    for (what, answering) in [("all answer", targets), ("half are silent", targets / 2)] {
        dead.store(answering < targets, Ordering::Relaxed);
        let (before, spent, began) = (asked.load(Ordering::Relaxed), cpu_time(&server, "probes"), Instant::now());
        let with = latencies(&server, a_second, during);
        let seconds = began.elapsed().as_secs_f64();
        let answered = (asked.load(Ordering::Relaxed) - before) as f64;
        let spent = cpu_time(&server, "probes").saturating_sub(spent).as_secs_f64();
        let (rate, wanted) = (answered / seconds, answering as f64 / 5.0);
        let (median, most) = (with[with.len() / 2], with[with.len() * 99 / 100]);
        // Of the silent ones as many were asked.
        let checks = answered * targets as f64 / answering as f64;
        let of_a_core = spent / checks * targets as f64 / 5.0;
        println!(
            "{targets} targets each 5 s, {what}: {rate:.0} checks/s answered, {:.0} us for each check, {:.0} % of one core; \
             {} answers at {a_second}/s: median {median:?}, 99 % {most:?}",
            spent / checks * 1e6,
            of_a_core * 100.0,
            with.len()
        );
        // What else runs on the machine takes time from the wall clock, not from what a check costs.
        assert!(of_a_core < 1.0, "{targets} targets each 5 s take more than one core");
        assert!(answered > 0.0 && rate < wanted * 1.3, "{rate} checks a second, {wanted} expected");
        if is_quiet {
            assert!(rate > wanted * 0.8, "{rate} checks a second, {wanted} expected");
            assert!(median < Duration::from_millis(20), "{median:?}");
        }
    }
}

#[test]
fn probes_go_on_beside_queries() {
    probed(500, 100, Duration::from_secs(6), false);
}

#[test]
#[ignore = "a figure: takes a minute, and a machine that has nothing else to do"]
fn ten_thousand_targets() {
    // Others on the machine are seen by the time that they take: then what a check costs is told, and how late checks are not.
    let is_quiet = std::env::var_os("WAYPOST_QUIET").is_some();
    probed(10_000, 1000, Duration::from_secs(30), is_quiet);
}
