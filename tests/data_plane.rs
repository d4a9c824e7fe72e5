//! What the data plane does not do, seen on the whole server in this process, whatever is configured: every policy, farms,
//! preview, a signed zone, response-rate limiting, NODATA and CNAME pools.
//! - a worker's turn over UDP (receive, answer, send) allocates nothing, counted by this test's own allocator;
//! - under load its system calls are one to receive and one to send a batch, and nothing else, counted by strace;
//! - a snapshot is freed once its last reader has left it, and not before.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio_util::sync::CancellationToken;
use waypost::control::message::{Condition, FlipRequest, Origin};
use waypost::control::{self, Handle, Start};
use waypost::query::{Reader, Readers, Snapshot};
use waypost::run;
use waypost::steering::flip::Percent;
use waypost::store::Embedded;
use waypost::time::Timestamp;

const SOON: Duration = Duration::from_secs(20);

/// Allocations of threads that answer over UDP.
static COUNT: AtomicU64 = AtomicU64::new(0);
/// Whether they are counted: asking a thread for its name is a system call.
static COUNTING: AtomicBool = AtomicBool::new(false);

struct Counting;

impl Counting {
    fn count() {
        if COUNTING.load(Ordering::Relaxed) {
            let mut name = [0u8; 16];
            // SAFETY: the kernel writes 16 octets at most.
            #[allow(unsafe_code, reason = "safe ways to ask for the name allocate")]
            let asked = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
            if asked == 0 && name.starts_with(b"udp-") {
                COUNT.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

// SAFETY: every call is handed to the system's allocator as it is; counting allocates nothing.
#[allow(unsafe_code, reason = "GlobalAlloc has no safe form")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, octets: usize) -> *mut u8 {
        Self::count();
        unsafe { System.realloc(place, layout, octets) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Who counts what the threads of this process do is alone with its server.
static ALONE: Mutex<()> = Mutex::new(());

/// Writes a configuration with all that an answer may depend on; gives its file.
fn configure(folder: &Path, more: &str) -> std::path::PathBuf {
    let file = |name: &str, text: &str| {
        fs::write(folder.join(name), text).unwrap();
        folder.join(name).display().to_string()
    };
    let zone =
        "$TTL 1h\n@ SOA ns hostmaster 1 1h 15m 4w 5m\n  NS ns\nns A 127.0.0.1\nmail MX 10 ns\nalias CNAME sticky\n";
    let (zone, networks) = (file("zone", zone), file("networks", "127.0.0.0/8 = dc1 ec2\n* = ec2\n"));
    let farms = file("farms", "127.9.0.0/16 farm\n");
    let mut config = format!(
        "[server]\nname = \"ns1\"\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\nstate = \"{}\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
         [steering]\nnetworks = \"{networks}\"\nprefix-map = \"{farms}\"\n[[dnssec-policy]]\nname = \"p\"\n\
         [[zone]]\nname = \"example.org\"\nfile = \"{zone}\"\n\
         [[zone]]\nname = \"signed.example\"\nfile = \"{zone}\"\ndnssec = {{ policy = \"p\" }}\n\
         [[site]]\nname = \"ec2\"\n[[site]]\nname = \"dc1\"\n[[site]]\nname = \"dc2\"\n{more}",
        folder.join("state").display(),
    );
    for (name, how) in [
        ("sticky.example.org", ""),
        ("random.example.org", "policy = \"random\""),
        ("failover.example.org", "policy = \"failover\"\ntrickle = 10"),
        ("all.example.org", "policy = \"all\""),
        ("geo.example.org", "policy = \"geo\""),
        ("preview.example.org", "preview = [{ site = \"dc2\", networks = [\"127.0.0.0/24\"] }]"),
        ("www.signed.example", ""),
    ] {
        _ = write!(
            config,
            "[[pool]]\nname = \"{name}\"\n{how}\nendpoint = [\n\
             {{ site = \"ec2\", address = [\"192.0.2.11\", \"2001:db8::11\"], https = [\"1 . ipv4hint=192.0.2.11\"], weight = 60 }},\n\
             {{ site = \"dc1\", address = [\"192.0.2.12\"], weight = 40 }},\n\
             {{ site = \"dc2\", address = [\"192.0.2.13\"], weight = 0 }},\n]\n"
        );
    }
    config += "[[pool]]\nname = \"cname.example.org\"\nendpoint = [\n{ site = \"ec2\", cname = \"sticky.example.org.\", weight = 1 },\n\
               { site = \"dc1\", cname = \"elsewhere.example.\", weight = 1 },\n]\n";
    let path = folder.join("waypost.toml");
    fs::write(&path, config).unwrap();
    path
}

/// The questions: every pool and more, by types that are there and that are not, plain and with EDNS, DO and a subnet.
fn questions() -> Vec<Vec<u8>> {
    let names = [
        "sticky.example.org",
        "random.example.org",
        "failover.example.org",
        "all.example.org",
        "geo.example.org",
        "preview.example.org",
        "www.signed.example",
        "cname.example.org",
        "alias.example.org",
        "mail.example.org",
        "example.org",
        "signed.example",
        "no.signed.example",
        "no.example.org",
        "outside.example",
    ];
    let mut all = Vec::new();
    for name in names {
        for rtype in [1u8, 28, 65, 15, 16, 6, 255] {
            for options in [None, Some(&[][..]), Some(&[0, 8, 0, 7, 0, 1, 24, 0, 203, 0, 113][..])] {
                let mut packet = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(options.is_some())];
                for label in name.split('.') {
                    packet.push(label.len() as u8);
                    packet.extend_from_slice(label.as_bytes());
                }
                packet.extend_from_slice(&[0, 0, rtype, 0, 1]);
                if let Some(options) = options {
                    packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, options.len() as u8]);
                    packet.extend_from_slice(options);
                }
                all.push(packet);
            }
        }
    }
    all
}

/// Asks all, some at a time so that batches are of all sizes; gives how many answers came.
fn ask(from: &str, server: SocketAddr, rounds: usize, patience_ms: u64) -> usize {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(patience_ms))).unwrap();
    let mut answers = 0;
    for round in 0..rounds {
        for some in questions().chunks(8 + 7 * round % 40) {
            for packet in some {
                socket.send(packet).unwrap();
            }
            answers += some.iter().take_while(|_| socket.recv(&mut [0; 4096]).is_ok()).count();
        }
    }
    answers
}

/// The whole server in this process, until what it gives is dropped.
struct Running {
    dns: SocketAddr,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = configure(folder.path(), more);
        let stop = CancellationToken::new();
        let (sender, ready) = mpsc::channel();
        let until = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let catalog = run::read(&file).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
            let told = move |addresses: &run::Addresses, _: &Handle| sender.send(addresses.dns[0]).unwrap();
            runtime.block_on(run::serve(&file, catalog, false, told, until)).unwrap();
        });
        let dns = ready.recv_timeout(SOON).expect("it serves");
        Self { dns, stop, thread: Some(thread), _folder: folder }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

#[test]
fn a_turn_over_udp_allocates_nothing() {
    let _alone = ALONE.lock();
    for (more, patience_ms) in [("", 500), ("[rrl]\nrate = 20\n", 20)] {
        let server = Running::start(more);
        ask("127.0.0.1", server.dns, 1, patience_ms); // the large sketch of demand and the like are made before they are needed
        COUNT.store(0, Ordering::Relaxed);
        COUNTING.store(true, Ordering::Relaxed);
        let answers: usize =
            ["127.0.0.1", "127.0.7.7", "127.9.1.1"].map(|from| ask(from, server.dns, 4, patience_ms)).iter().sum();
        COUNTING.store(false, Ordering::Relaxed);
        assert!(answers > if more.is_empty() { 3000 } else { 50 }, "{answers} answers are too few");
        assert_eq!(COUNT.load(Ordering::Relaxed), 0, "allocations in {answers} answers, with {more:?}");
    }
    COUNTING.store(true, Ordering::Relaxed);
    let other = std::thread::Builder::new().name("udp-other".to_owned()).spawn(|| std::hint::black_box(vec![1]).len());
    other.unwrap().join().unwrap();
    COUNTING.store(false, Ordering::Relaxed);
    assert!(COUNT.load(Ordering::Relaxed) > 0, "what it counts is counted");
}

#[test]
fn under_load_a_worker_makes_two_calls_a_batch() {
    let can = Command::new("strace").args(["-c", "true"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !can {
        assert!(std::env::var_os("CI").is_none(), "strace can't trace here; see tests/setup.sh");
        eprintln!("strace can't trace here: not tested");
        return;
    }
    let _alone = ALONE.lock();
    let server = Running::start("");
    let tasks = || fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let is_worker =
        |task: &std::path::PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|n| n.starts_with("udp-"));
    let worker = tasks().find(is_worker).expect("a worker");
    let worker = worker.file_name().unwrap().to_str().unwrap().to_owned();
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut strace = Command::new("strace")
        .args(["-q", "-e", "signal=none", "-p", &worker, "-o"])
        .arg(trace.path())
        .spawn()
        .unwrap();
    let attached = Instant::now();
    while fs::read_to_string(format!("/proc/self/task/{worker}/status")).unwrap().contains("TracerPid:\t0\n") {
        assert!(attached.elapsed() < SOON, "strace does not attach");
        std::thread::sleep(Duration::from_millis(5));
    }
    let answers = ask("127.0.0.1", server.dns, 2, 500);
    kill_process(Pid::from_child(&strace), Signal::INT).unwrap();
    strace.wait().unwrap();
    let text = fs::read_to_string(trace.path()).unwrap();
    // What is before the first batch is the call that strace broke into.
    let text = &text[text.find("sendmmsg").unwrap_or_else(|| panic!("no batch: {text}"))..];
    let calls: Vec<&str> = text.lines().filter_map(|line| line.split_once('(')).map(|(call, _)| call).collect();
    let of = |name: &str| calls.iter().filter(|call| **call == name).count();
    let (received, sent) = (of("recvmmsg"), of("sendmmsg"));
    assert!(answers > 200 && sent > 20, "{answers} answers in {sent} batches: {text}");
    let others: Vec<_> = calls.iter().filter(|call| !["recvmmsg", "sendmmsg"].contains(call)).collect();
    assert!(others.is_empty(), "calls beside them: {others:?}");
    // One that found nothing within a quarter of a second sends nothing; so does the one that waits at the end.
    let empty = text.lines().filter(|line| line.starts_with("recvmmsg") && line.contains("EAGAIN")).count();
    assert!(received - empty <= sent + 1, "{received} to receive, of which {empty} got nothing, {sent} to send");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_freed_when_its_last_reader_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let config_file = configure(folder.path(), "");
    let now = Timestamp::now();
    let catalog = run::read(&config_file).unwrap();
    let store = Arc::new(Embedded::open(&folder.path().join("state")).unwrap());
    let readers = Readers::new(1);
    let secondaries = Arc::default();
    let start = Start {
        config_file,
        catalog,
        store,
        readers: readers.clone(),
        udp_workers: 1,
        secondaries,
        listen: Vec::new(),
        force: false,
        now,
    };
    let (writer, handle, published) = control::start(start).await.unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(writer.run(stop.clone()));
    let old: Weak<Snapshot> = Arc::downgrade(&handle.published());

    // A worker that is in the middle of an answer while an operator flips.
    let mut reader = Reader::new(readers, 0, published);
    let (entered, left) = (mpsc::channel(), mpsc::channel::<()>());
    let worker = std::thread::spawn(move || {
        reader.read(|snapshot, _| {
            entered.0.send(snapshot.serial).unwrap();
            left.1.recv().unwrap();
        });
        reader.read(|snapshot, _| snapshot.serial) // the next turn finds the newest
    });
    let read = entered.1.recv_timeout(SOON).unwrap();
    let request = FlipRequest {
        pools: vec!["sticky.example.org".parse().unwrap()],
        from: Some("ec2".to_owned()),
        to: Some("dc1".to_owned()),
        percent: Some(Percent::ALL),
        ..FlipRequest::default()
    };
    let origin = Origin { author: "test".to_owned(), condition: Condition::Any, ..Origin::default() };
    handle.flip(origin, request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await; // more than two looks of the writer
    assert!(old.strong_count() > 0, "a worker still reads it");

    left.0.send(()).unwrap();
    assert!(worker.join().unwrap() > read, "it reads the newest");
    let began = Instant::now();
    while old.strong_count() > 0 {
        assert!(began.elapsed() < SOON, "nobody reads it, and it is not freed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(old.upgrade().is_none());
    stop.cancel();
    running.await.unwrap();
}
