//! A few hundred clients that resolve and request all the time, each from an address of its own, and what they met.
//!
//! As real clients do, they try a refused connect and a failed look-up again for [`PATIENCE`], and open a kept connection
//! anew when it turns out to be closed before a single octet of an answer came (RFC 9112, 9.3.1). Everything else is a
//! failed request.
//!
//! When a server lets go of its port, the kernel resets what stood in its accept queue: to the client a connect that was
//! refused late. It is tried again like one that was refused at once, and put on record as a [`Reset`], so that the play
//! can tell when it is excused.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use super::dns;
use super::wait::{Ms, now_ms};

/// How long a client tries again.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// From one request of a client to its next.
const PERIOD: Duration = Duration::from_millis(500);
/// Between tries.
const PAUSE: Duration = Duration::from_millis(100);
/// How long an answer may take, of a resolver and of a site.
const LOOKUP: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(5);

/// How a client goes about names and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Looks up when the TTL is over; a new connection for each request.
    Obeying,
    /// Looks up once and stays with that address for ever; a new connection for each request.
    Pinned,
    /// As a connection pool does: looks up once, keeps one connection open, and opens it to the same address again when
    /// the other side has closed it.
    Kept,
}

/// One client.
#[derive(Clone, Debug)]
pub struct Client {
    pub kind: Kind,
    /// Its own address.
    pub source: Ipv4Addr,
    /// Whom it asks.
    pub resolver: SocketAddrV4,
}

/// A request and what came of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which of the clients.
    pub client: usize,
    /// When the address that it went to was last taken: from the client's cache, or off its open connection.
    pub at: Ms,
    /// When it was over.
    pub ended: Ms,
    /// Where it went; `None`: the name could not be looked up.
    pub address: Option<Ipv4Addr>,
    /// The site that answered with 200, as it calls itself; else what went wrong.
    pub outcome: Result<Box<str>, String>,
}

/// A good answer of a resolver to a client.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    pub client: usize,
    pub at: Ms,
    pub ttl_secs: u32,
}

/// A new connection that was reset before a single octet of an answer came.
#[derive(Clone, Copy, Debug)]
pub struct Reset {
    pub client: usize,
    pub at: Ms,
    pub address: Ipv4Addr,
}

/// What all clients have met so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub requests: Vec<Request>,
    pub lookups: Vec<Lookup>,
    pub resets: Vec<Reset>,
    /// Connections that each kept client has opened, by client.
    pub opened: Vec<u32>,
}

/// The clients at work. They stop when this goes.
pub struct Load {
    pub clients: Vec<Client>,
    seen: Arc<Mutex<Seen>>,
    stopping: Arc<AtomicBool>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Load {
    /// Sets all of `clients` to work on http://`name`:`port`/, evenly spread over a period.
    pub fn start(clients: Vec<Client>, name: &'static str, port: u16) -> Self {
        let seen = Arc::new(Mutex::new(Seen { opened: vec![0; clients.len()], ..Seen::default() }));
        let stopping = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        for (number, client) in clients.iter().enumerate() {
            let begin = PERIOD.mul_f64(number as f64 / clients.len() as f64);
            let (seen, stopping) = (seen.clone(), stopping.clone());
            let mut turn = Turn { number, client: client.clone(), name, port, seen, held: None, connection: None };
            runtime.spawn(async move {
                sleep(begin).await;
                while !stopping.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    turn.request().await;
                    sleep(PERIOD.saturating_sub(started.elapsed())).await;
                }
            });
        }
        Self { clients, seen, stopping, runtime: Some(runtime) }
    }

    /// What was met so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Looks at what was met so far, without copying it.
    pub fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        at(&self.seen.lock().unwrap())
    }

    /// The addresses of the clients of these kinds.
    pub fn sources(&self, kinds: &[Kind]) -> std::collections::BTreeSet<Ipv4Addr> {
        self.clients.iter().filter(|c| kinds.contains(&c.kind)).map(|c| c.source).collect()
    }

    /// Lets requests under way end, starts no others, and gives all that was met.
    pub fn stop(&mut self) -> Seen {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(runtime) = self.runtime.take() {
            std::thread::sleep(PERIOD * 2);
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        self.seen()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A client at work.
struct Turn {
    number: usize,
    client: Client,
    name: &'static str,
    port: u16,
    seen: Arc<Mutex<Seen>>,
    /// The address that it holds, and until when; `None`: for ever.
    held: Option<(Ipv4Addr, Option<Instant>)>,
    /// The connection that it keeps.
    connection: Option<TcpStream>,
}

/// What ends a try.
enum Trouble {
    /// To be tried again while patience lasts.
    Again(String),
    /// A failed request.
    Failed(String),
    /// A kept connection was closed before an octet came.
    Closed,
}

impl Turn {
    /// One request, with the tries that it takes, put on record.
    async fn request(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let at = now_ms();
            let address = match self.address().await {
                Ok(address) => address,
                Err(_) if Instant::now() < deadline => {
                    sleep(PAUSE).await;
                    continue;
                }
                Err(reason) => return self.record(at, None, Err(reason)),
            };
            match self.exchange(address).await {
                Ok(site) => return self.record(at, Some(address), Ok(site)),
                Err(Trouble::Again(_)) if Instant::now() < deadline => sleep(PAUSE).await,
                Err(Trouble::Closed) => {}
                Err(Trouble::Again(reason) | Trouble::Failed(reason)) => {
                    return self.record(at, Some(address), Err(reason));
                }
            }
        }
    }

    fn record(&self, at: Ms, address: Option<Ipv4Addr>, outcome: Result<Box<str>, String>) {
        let request = Request { client: self.number, at, ended: now_ms(), address, outcome };
        self.seen.lock().unwrap().requests.push(request);
    }

    /// The address to go to now.
    async fn address(&mut self) -> Result<Ipv4Addr, String> {
        if let Some((address, until)) = self.held
            && until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(address);
        }
        let response = timeout(LOOKUP, look_up(self.client.resolver, self.client.source, self.name))
            .await
            .map_err(|_| format!("{} did not answer", self.client.resolver))??;
        let Some(address) = response.address() else { return Err(format!("look-up gave {response:?}")) };
        let lookup = Lookup { client: self.number, at: now_ms(), ttl_secs: response.ttl_secs };
        self.seen.lock().unwrap().lookups.push(lookup);
        let until = Instant::now() + Duration::from_secs(response.ttl_secs.into());
        self.held = Some((address, (self.client.kind == Kind::Obeying).then_some(until)));
        Ok(address)
    }

    /// One try: the site that answered.
    async fn exchange(&mut self, address: Ipv4Addr) -> Result<Box<str>, Trouble> {
        let kept = self.connection.take().filter(is_open);
        let reused = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect(address).await?,
        };
        let answer = timeout(ANSWER, self.ask(&mut connection))
            .await
            .map_err(|_| Trouble::Failed(format!("{address} did not answer within {ANSWER:?}")))?;
        match answer {
            Ok(answer) => {
                if self.client.kind == Kind::Kept {
                    self.connection = Some(connection);
                }
                answer.map_err(Trouble::Failed)
            }
            Err((_, 0)) if reused => Err(Trouble::Closed),
            Err((e, 0)) if e.kind() == ErrorKind::ConnectionReset => Err(self.reset(address)),
            Err((e, octets)) => Err(Trouble::Failed(format!("{address} after {octets} octets: {e}"))),
        }
    }

    async fn connect(&self, address: Ipv4Addr) -> Result<TcpStream, Trouble> {
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((self.client.source, 0).into())?;
            socket.connect((address, self.port).into()).await
        };
        let connection = match timeout(PATIENCE, connect).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(e)) if e.kind() == ErrorKind::ConnectionRefused => return Err(Trouble::Again(e.to_string())),
            Ok(Err(e)) if e.kind() == ErrorKind::ConnectionReset => return Err(self.reset(address)),
            Ok(Err(e)) => return Err(Trouble::Failed(format!("connect to {address}: {e}"))),
            Err(_) => return Err(Trouble::Failed(format!("connect to {address}: nothing within {PATIENCE:?}"))),
        };
        if self.client.kind == Kind::Kept {
            self.seen.lock().unwrap().opened[self.number] += 1;
        }
        Ok(connection)
    }

    fn reset(&self, address: Ipv4Addr) -> Trouble {
        self.seen.lock().unwrap().resets.push(Reset { client: self.number, at: now_ms(), address });
        Trouble::Again(format!("{address} reset the connection"))
    }

    /// Sends a request and reads the response: the site's name, or why it is none to be pleased with. An error comes
    /// with the number of octets read before it.
    async fn ask(&self, connection: &mut TcpStream) -> Result<Result<Box<str>, String>, (std::io::Error, usize)> {
        let after = if self.client.kind == Kind::Kept { "keep-alive" } else { "close" };
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: {after}\r\n\r\n", self.name);
        connection.write_all(request.as_bytes()).await.map_err(|e| (e, 0))?;
        let mut octets = Vec::new();
        loop {
            if let Some(response) = http::Response::whole(&octets) {
                return Ok(response.site());
            }
            match tokio::io::AsyncReadExt::read_buf(connection, &mut octets).await {
                Ok(0) => return Err((ErrorKind::UnexpectedEof.into(), octets.len())),
                Ok(_) => {}
                Err(e) => return Err((e, octets.len())),
            }
        }
    }
}

/// Whether the other side has not closed it.
fn is_open(connection: &TcpStream) -> bool {
    matches!(connection.try_read(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock)
}

async fn look_up(resolver: SocketAddrV4, source: Ipv4Addr, name: &str) -> Result<dns::Response, String> {
    let exchange = async {
        let socket = UdpSocket::bind((source, 0)).await?;
        socket.connect(resolver).await?;
        socket.send(&dns::query(1, name)).await?;
        let mut octets = [0; 1500];
        let length = socket.recv(&mut octets).await?;
        Ok::<_, std::io::Error>(octets[..length].to_vec())
    };
    let octets = exchange.await.map_err(|e| format!("{resolver}: {e}"))?;
    dns::parse(1, &octets)
}

/// As much of HTTP/1.1 as the two sites speak.
mod http {
    /// A whole response.
    pub struct Response<'o> {
        head: &'o str,
    }

    impl<'o> Response<'o> {
        /// `None` while octets are missing.
        pub fn whole(octets: &'o [u8]) -> Option<Self> {
            let end = octets.windows(4).position(|w| w == b"\r\n\r\n")?;
            let response = Self { head: std::str::from_utf8(&octets[..end]).ok()? };
            let length: usize = response.field("content-length")?.parse().ok()?;
            (octets.len() >= end + 4 + length).then_some(response)
        }

        /// The site that it is from, if that answered with 200.
        pub fn site(&self) -> Result<Box<str>, String> {
            let site = self.field("x-site").unwrap_or("somebody");
            let status = self.head.lines().next().unwrap_or_default();
            if status.starts_with("HTTP/1.1 200 ") { Ok(site.into()) } else { Err(format!("{site}: {status}")) }
        }

        fn field(&self, name: &str) -> Option<&'o str> {
            let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
            fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
        }
    }
}
