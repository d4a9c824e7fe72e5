//! A real `waypost serve` on loopback, in a folder of its own, and what tests ask it with: HTTP, DNS over UDP and TCP
//! (with ECS, or from a loopback address of another /24), origins for its probes to see. Every child is ended by its own
//! process id when its `Server` is dropped, and no wait is without an end.

#![allow(dead_code)] // each test file is a crate of its own and takes what it needs

pub mod dns;
pub mod host;
pub mod name_servers;
pub mod origin;
pub mod ports;
pub mod programs;
pub mod tls;
pub mod validators;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a busy machine may take for what should come at once.
pub const SOON: Duration = Duration::from_secs(20);

/// What every configuration begins with: a server, its API, one zone, two sites.
pub const HEAD: &str = r#"
[server]
name = "ns1.example.org"
listen = ["127.0.0.1:0"]
workers = 2
state = "state"

[api]
listen = "127.0.0.1:0"

[[zone]]
name = "example.org"
file = "example.org.zone"

[[site]]
name = "ec2"
[[site]]
name = "dc1"
"#;

/// The zone of [`HEAD`].
pub const ZONE: &str = "\
$TTL 1h
@     SOA ns1 hostmaster 2026010101 1h 15m 4w 5m
      NS  ns1
ns1   A   127.0.0.1
www   A   192.0.2.99
      TXT \"steered\"
alias CNAME www
plain A   192.0.2.7
lab   NS  ns.lab
ns.lab A  192.0.2.53
";

/// Where the samples' endpoints are; nobody asks there.
pub const EC2: &str = "192.0.2.11";
/// See [`EC2`].
pub const DC1: &str = "192.0.2.12";

/// A pool over `name` with weights for ec2 and dc1, and further lines of its table.
pub fn pool(name: &str, ec2: u32, dc1: u32, more: &str) -> String {
    format!(
        "[[pool]]\nname = \"{name}\"\n{more}\nendpoint = [\n  \
         {{ site = \"ec2\", address = [\"{EC2}\"], weight = {ec2} }},\n  \
         {{ site = \"dc1\", address = [\"{DC1}\"], weight = {dc1} }},\n]\n"
    )
}

/// The program under test.
pub fn waypost() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.env_remove("WAYPOST_LOG").env_remove("WAYPOST_CONFIG").stdin(Stdio::null());
    command
}

/// A folder with a configuration and the zone.
pub fn folder(config: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("waypost.toml"), config).unwrap();
    fs::write(folder.path().join("example.org.zone"), ZONE).unwrap();
    folder
}

/// A running `waypost serve`.
pub struct Server {
    folder: TempDir,
    child: Child,
    log: Arc<Mutex<String>>,
    /// Where it answers DNS.
    pub dns: Vec<SocketAddr>,
    /// Where its API is.
    pub api: SocketAddr,
    token: String,
}

/// What the API answered.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// ETag, as it came.
    pub etag: Option<String>,
    /// Content-Type.
    pub kind: String,
    /// The body; `Null` when it is no JSON.
    pub json: Value,
    /// The body.
    pub text: String,
}

impl Reply {
    /// The body, given that it was accepted.
    #[track_caller]
    pub fn done(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json
    }

    /// The detail of a refusal with `status`.
    #[track_caller]
    pub fn refused(self, status: u16) -> String {
        assert_eq!((self.status, &*self.kind), (status, "application/problem+json"), "{}", self.text);
        assert_eq!(self.json["status"], status, "{}", self.text);
        self.json["detail"].as_str().unwrap().to_owned()
    }
}

impl Server {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Starts one with this configuration and waits until it serves.
    pub fn start(config: &str) -> Self {
        Self::start_in(folder(config))
    }

    /// Starts one in a folder that [`folder`] made.
    pub fn start_in(folder: TempDir) -> Self {
        let child = spawn(folder.path(), &[]);
        let mut server = Self {
            folder,
            child,
            log: Arc::default(),
            dns: Vec::new(),
            api: ([127, 0, 0, 1], 0).into(),
            token: String::new(),
        };
        server.wait_until_ready();
        server
    }

    /// The folder that it runs in.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes its configuration anew; it does not know of it yet.
    pub fn configure(&self, config: &str) {
        fs::write(self.file("waypost.toml"), config).unwrap();
    }

    /// What it has logged in this run.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends it as a power failure would.
    pub fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; it must end with 0. How long that took.
    #[track_caller]
    pub fn terminate(&mut self) -> Duration {
        self.end_by(Signal::TERM)
    }

    /// The same by another signal.
    #[track_caller]
    pub fn end_by(&mut self, signal: Signal) -> Duration {
        let begun = Instant::now();
        kill_process(self.pid(), signal).unwrap();
        let status = end_of(&mut self.child);
        assert_eq!(status.code(), Some(0), "{}", self.log());
        begun.elapsed()
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        kill_process(self.pid(), Signal::HUP).unwrap();
    }

    /// Starts it again in its folder, after it ended.
    pub fn start_again(&mut self) {
        self.start_again_with(&[]);
    }

    /// The same with further arguments.
    pub fn start_again_with(&mut self, arguments: &[&str]) {
        self.log = Arc::default();
        self.child = spawn(self.folder.path(), arguments);
        self.wait_until_ready();
    }

    /// Starts it again when it must refuse to: what it said.
    pub fn fail_to_start(&self, arguments: &[&str]) -> Output {
        fail_in(self.folder.path(), arguments)
    }

    fn wait_until_ready(&mut self) {
        let stderr = self.child.stderr.take().expect("it is piped");
        let log = self.log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = log.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let until = Instant::now() + SOON;
        let line = loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|l| l.contains(" serving dns=[")) {
                break line.to_owned();
            }
            assert!(Instant::now() < until && self.child.try_wait().unwrap().is_none(), "it does not serve:\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        };
        let (_, rest) = line.split_once("dns=[").unwrap();
        let (dns, rest) = rest.split_once("] api=").unwrap();
        self.dns = dns.split(", ").map(|a| a.parse().unwrap()).collect();
        self.api = rest.trim().parse().unwrap();
        let token = fs::read_to_string(self.file("state/admin.token")).unwrap();
        token.trim().clone_into(&mut self.token);
    }

    /// Waits until its log has `text`.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        self.wait_for(&format!("{text:?} in the log"), |server| server.log().contains(text));
    }

    /// Waits until `is` holds.
    #[track_caller]
    pub fn wait_for(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + SOON;
        while !is(self) {
            assert!(Instant::now() < until, "waited in vain for {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks the API, with the token.
    pub fn api(&self, method: &str, path: &str, body: Value, headers: &[(&str, &str)]) -> Reply {
        self.try_api(method, path, body, headers).unwrap_or_else(|e| panic!("{method} {path}: {e}\n{}", self.log()))
    }

    /// The same, where the server may be gone.
    pub fn try_api(
        &self,
        method: &str,
        path: &str,
        body: Value,
        headers: &[(&str, &str)],
    ) -> Result<Reply, ureq::Error> {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(SOON)).build().into();
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.api))
            .header("Authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = match body {
            Value::Null => agent.run(request.body(()).unwrap())?,
            body => agent.run(request.body(body.to_string()).unwrap())?,
        };
        let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let (etag, kind) = (header("etag"), header("content-type").unwrap_or_default());
        let text = response.body_mut().read_to_string()?;
        let json = serde_json::from_str(&text).unwrap_or_default();
        Ok(Reply { status: response.status().as_u16(), etag, kind, json, text })
    }

    /// `GET`, given that it is there.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.api("GET", path, Value::Null, &[]).done()
    }

    /// The whole status.
    pub fn status(&self) -> Value {
        self.get("/api/v1/status")
    }

    /// The operator's generation.
    pub fn generation(&self) -> u64 {
        self.status()["generation"].as_u64().unwrap()
    }

    /// One pool of the status.
    pub fn pool(&self, name: &str) -> Value {
        self.get(&format!("/api/v1/pools/{name}"))
    }

    /// Weights of a pool by its endpoints' order.
    pub fn weights(&self, name: &str) -> Vec<u64> {
        let pool = self.pool(name);
        pool["endpoints"].as_array().unwrap().iter().map(|e| e["weight"].as_u64().unwrap()).collect()
    }

    /// The newest audit entry.
    pub fn newest(&self) -> Value {
        self.get("/api/v1/audit?limit=1")["entries"][0].clone()
    }

    /// A flip on whatever generation there is.
    pub fn flip(&self, request: Value) -> Reply {
        self.api("POST", "/api/v1/flips", request, &[("If-Match", "*")])
    }

    /// A flip by percent of pools from ec2 to dc1, given that it is accepted.
    #[track_caller]
    pub fn shift(&self, pools: &[&str], percent: f64) -> Value {
        self.flip(json!({"pools": pools, "from": "ec2", "to": "dc1", "percent": percent})).done()
    }

    /// An operator's word over the health of an endpoint.
    pub fn force(&self, pool: &str, site: &str, word: &str) -> Reply {
        let path = format!("/api/v1/pools/{pool}/endpoints/{site}/override");
        self.api("PUT", &path, json!({ "override": word }), &[])
    }

    /// Configuration and zones are read again.
    pub fn reload(&self) -> Reply {
        self.api("POST", "/api/v1/reload", Value::Null, &[])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to end.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = waypost();
    command.args(["serve", "--config", "waypost.toml"]).args(arguments).current_dir(folder);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Starts a server in `folder` that must end by itself: what it said.
#[track_caller]
pub fn fail_in(folder: &Path, arguments: &[&str]) -> Output {
    let mut child = spawn(folder, arguments);
    end_of(&mut child);
    child.wait_with_output().unwrap()
}

/// Waits for the end of a process; ends it if that takes too long.
#[track_caller]
fn end_of(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + SOON;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("the process {} does not end", child.id());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The instant that RFC 3339 text names, as seconds since 1970.
pub fn instant(text: &Value) -> u64 {
    waypost::time::Timestamp::parse(text.as_str().unwrap_or_else(|| panic!("{text} is no instant"))).unwrap().0
}

/// The wall clock in whole seconds.
pub fn now() -> u64 {
    waypost::time::Timestamp::now().0
}

/// RFC 3339 text of so many seconds from now.
pub fn from_now(seconds: u64) -> String {
    waypost::time::Timestamp(now() + seconds).to_string()
}
