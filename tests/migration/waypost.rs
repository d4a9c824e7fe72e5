//! Waypost itself: `waypost serve` with an HTTP client for its API, and `waypost forward`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use waypost::time::Timestamp;

use super::dns;
use super::process::Process;
use super::wait::{wait_for, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_waypost");

/// What a name server is told about the service that moves.
pub struct Service {
    pub zone: &'static str,
    /// The owner name of the pool.
    pub name: &'static str,
    pub port: u16,
    pub old: (&'static str, Ipv4Addr),
    pub new: (&'static str, Ipv4Addr),
    pub normal_secs: u32,
    pub low_secs: u32,
    pub spread_secs: u32,
}

/// A name server, which can be killed and started again.
pub struct Waypost {
    pub dns: SocketAddrV4,
    api: SocketAddrV4,
    name: String,
    folder: PathBuf,
    process: Process,
    agent: ureq::Agent,
}

impl Waypost {
    /// Writes its files into a folder, starts it and waits until it is ready.
    pub fn start(name: &str, service: &Service, dns: SocketAddrV4, api: SocketAddrV4, parent: &Path) -> Self {
        let folder = parent.join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("waypost.toml"), configuration(name, service, dns, api)).unwrap();
        fs::write(folder.join("zone"), zone_file(service, *dns.ip())).unwrap();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(5)))
            .build()
            .new_agent();
        let process = serve(name, &folder);
        let mut server = Self { dns, api, name: name.to_owned(), folder, process, agent };
        server.wait_until_ready();
        server
    }

    /// `kill -9`, and at once the same command again.
    pub fn kill_and_restart(&mut self) {
        self.process.signal(Signal::KILL);
        let status = self.process.wait(Duration::from_secs(5));
        assert!(!status.success(), "it was killed");
        self.process = serve(&self.name, &self.folder);
        self.wait_until_ready();
    }

    /// SIGTERM, which is to end it with exit code 0.
    pub fn stop(mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(Duration::from_secs(15));
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    fn wait_until_ready(&mut self) {
        wait_for(&format!("{} answers over HTTP and DNS", self.name), Duration::from_secs(15), || {
            self.process.assert_running();
            self.agent.get(self.url("/readyz")).call().ok().filter(|r| r.status() == 200)?;
            dns::ask(self.dns, *self.dns.ip(), "ns1.example.org").ok()
        });
    }

    /// What it says of the service.
    pub fn status(&self, service: &Service) -> Status {
        let all = self.get("/api/v1/status");
        let pools = all["pools"].as_array().unwrap_or_else(|| panic!("no pools in {all}"));
        let named = |p: &&Value| p["name"].as_str().is_some_and(|n| n.trim_end_matches('.') == service.name);
        let pool = pools.iter().find(named).unwrap_or_else(|| panic!("no pool {} in {all}", service.name));
        let endpoints = pool["endpoints"].as_array().unwrap_or_else(|| panic!("no endpoints in {pool}"));
        Status {
            generation: all["generation"].as_u64().unwrap_or_else(|| panic!("no generation in {all}")),
            served_ttl_secs: pool["ttl"]["served"].as_u64().unwrap_or_else(|| panic!("no served TTL in {pool}")) as u32,
            cutover: pool["cutover"].as_str().map(instant),
            mode: pool["mode"].as_str().unwrap_or_default().to_owned(),
            old: Endpoint::read(endpoints, service.old.0),
            new: Endpoint::read(endpoints, service.new.0),
        }
    }

    /// All changes that it knows of, newest or oldest first.
    pub fn audit(&self) -> Vec<Value> {
        let all = self.get("/api/v1/audit");
        let entries = all.as_array().or_else(|| all["entries"].as_array());
        entries.unwrap_or_else(|| panic!("no entries in {all}")).clone()
    }

    /// Plans the cutover: when caches will be clear.
    pub fn plan_cutover(&self, service: &Service, at: Timestamp, generation: u64) -> Timestamp {
        let path = format!("/api/v1/pools/{}/cutover", service.name);
        let request = self.agent.put(self.url(&path)).header("Authorization", self.bearer());
        let answer = request
            .header("If-Match", format!("\"{generation}\""))
            .send_json(json!({"at": at, "reason": "the night begins"}));
        instant(said(answer, &path)["caches_clear_at"].as_str().expect("it says when caches are clear"))
    }

    /// Moves `percent` to the new site.
    pub fn flip(&self, service: &Service, percent: u32, generation: u64, reason: &str) -> Flip {
        let body = json!({
            "pools": [service.name], "from": service.old.0, "to": service.new.0, "percent": percent, "reason": reason,
        });
        let path = "/api/v1/flips";
        let request = self.agent.post(self.url(path)).header("Authorization", self.bearer());
        let answer = said(request.header("If-Match", format!("\"{generation}\"")).send_json(body), path);
        let pool = &answer["pools"][0];
        let endpoints = pool["endpoints"].as_array().unwrap_or_else(|| panic!("no endpoints in {answer}"));
        let old = endpoints.iter().find(|e| e["site"] == service.old.0).expect("the old site has a part in it");
        Flip {
            generation: answer["generation"].as_u64().expect("a flip makes a generation"),
            moved_percent: pool["moved_percent"].as_f64().expect("a flip says how much moves"),
            old_horizon: old["horizon"].as_str().map(instant),
        }
    }

    /// What it answers to each of these when they ask it themselves.
    pub fn ask_from(&self, service: &Service, sources: &[Ipv4Addr]) -> BTreeMap<Ipv4Addr, dns::Response> {
        let ask = |source: &Ipv4Addr| (*source, dns::ask(self.dns, *source, service.name).unwrap());
        sources.iter().map(ask).collect()
    }

    fn get(&self, path: &str) -> Value {
        said(self.agent.get(self.url(path)).header("Authorization", self.bearer()).call(), path)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.api)
    }

    fn bearer(&self) -> String {
        let token = fs::read_to_string(self.folder.join("state/admin.token")).expect("the first start writes a token");
        format!("Bearer {}", token.trim())
    }
}

/// A pool as the server told it.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub generation: u64,
    pub served_ttl_secs: u32,
    pub cutover: Option<Timestamp>,
    pub mode: String,
    pub old: Endpoint,
    pub new: Endpoint,
}

/// One of its endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub weight: u64,
    pub share_percent: f64,
    pub role: String,
    pub health: String,
    pub answered: bool,
    /// Of type A.
    pub horizon: Option<Timestamp>,
    /// It is still being answered, so the horizon moves on.
    pub at_least: bool,
}

impl Endpoint {
    fn read(endpoints: &[Value], site: &str) -> Self {
        let e = endpoints.iter().find(|e| e["site"] == site).unwrap_or_else(|| panic!("no {site} in {endpoints:?}"));
        let horizon = e["horizon"].as_array().and_then(|all| all.iter().find(|h| h["type"] == "A"));
        Self {
            weight: e["weight"].as_u64().unwrap_or_else(|| panic!("no weight in {e}")),
            share_percent: e["share_percent"].as_f64().unwrap_or_else(|| panic!("no share in {e}")),
            role: e["role"].as_str().unwrap_or_else(|| panic!("no role in {e}")).to_owned(),
            health: e["health"]["state"].as_str().unwrap_or_else(|| panic!("no health in {e}")).to_owned(),
            answered: e["answered"].as_bool().unwrap_or_else(|| panic!("nothing of being answered in {e}")),
            horizon: horizon.and_then(|h| h["at"].as_str()).map(instant),
            at_least: horizon.is_some_and(|h| h["at_least"] == true),
        }
    }
}

/// What a flip said that it does.
#[derive(Clone, Debug)]
pub struct Flip {
    pub generation: u64,
    pub moved_percent: f64,
    /// After it no cache that obeys TTLs holds an answer from before the flip that named the old site.
    pub old_horizon: Option<Timestamp>,
}

/// `waypost forward --wait-bind`.
pub struct Forwarder {
    process: Process,
    metrics: SocketAddrV4,
    agent: ureq::Agent,
}

impl Forwarder {
    /// Starts it; it takes connections to `listen` as soon as that is free.
    pub fn start(listen: SocketAddrV4, target: SocketAddrV4, metrics: SocketAddrV4, parent: &Path) -> Self {
        let file = parent.join("forward.toml");
        let rule = format!("metrics = \"{metrics}\"\n\n[[rule]]\nlisten = \"{listen}\"\ntarget = \"{target}\"\n");
        fs::write(&file, rule).unwrap();
        let file = file.display().to_string();
        let args = ["forward", "--config", &file, "--wait-bind"];
        let process = Process::start("forward", Path::new(PROGRAM), args, parent);
        let agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build().new_agent();
        Self { process, metrics, agent }
    }

    /// Panics if it has given up.
    pub fn assert_running(&mut self) {
        self.process.assert_running();
    }

    /// Connections and octets sent, by source, since it began; `None` while it does not answer yet.
    pub fn sources(&self) -> Option<BTreeMap<Ipv4Addr, (u64, u64)>> {
        let url = format!("http://{}/sources", self.metrics);
        let all: Value = self.agent.get(url).call().ok()?.body_mut().read_json().ok()?;
        let all = all.as_array().or_else(|| all["sources"].as_array()).unwrap_or_else(|| panic!("no list: {all}"));
        let read = |s: &Value| {
            let source = s["source"].as_str().and_then(|a| a.parse().ok()).unwrap_or_else(|| panic!("no source: {s}"));
            let count = |key: &str| s[key].as_u64().unwrap_or_else(|| panic!("no {key}: {s}"));
            (source, (count("connections"), count("bytes_up")))
        };
        Some(all.iter().map(read).collect())
    }

    /// Who comes from now until `until`: new connections, or octets on old ones.
    pub fn who_comes(&self, until: u64) -> BTreeSet<Ipv4Addr> {
        let before = self.sources().expect("the forwarder tells its sources");
        wait_until(until);
        let after = self.sources().expect("the forwarder tells its sources");
        after
            .into_iter()
            .filter(|(source, count)| before.get(source) != Some(count))
            .map(|(source, _)| source)
            .collect()
    }

    /// SIGTERM: it ends within the time that it grants to open connections.
    pub fn stop(mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(Duration::from_secs(40));
        assert!(status.success(), "the forwarder ended with {status}");
    }
}

fn serve(name: &str, folder: &Path) -> Process {
    let parent = folder.parent().expect("it is a folder in the play's");
    let file = folder.join("waypost.toml").display().to_string();
    Process::start(name, Path::new(PROGRAM), ["serve", "--config", &file], parent)
}

/// The body of a 2xx answer.
fn said(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>, path: &str) -> Value {
    let mut answer = answer.unwrap_or_else(|e| panic!("{path}: {e}"));
    let text = answer.body_mut().read_to_string().unwrap_or_else(|e| panic!("{path}: {e}"));
    assert!(answer.status().is_success(), "{path}: {}: {text}", answer.status());
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}"))
}

fn instant(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

fn configuration(name: &str, service: &Service, dns: SocketAddrV4, api: SocketAddrV4) -> String {
    let Service { zone, name: pool, port, old, new, normal_secs, low_secs, spread_secs } = service;
    format!(
        r#"[server]
name = "{name}"
listen = ["{dns}"]
workers = 2
state = "{name}/state"

[api]
listen = "{api}"

[[zone]]
name = "{zone}"
file = "{name}/zone"

[[site]]
name = "{old}"
[[site]]
name = "{new}"

[probe.web]
type = "http"
port = {port}
path = "/healthz"
interval = "1s"
timeout = "1s"
rise = 2
fall = 3

[[pool]]
name = "{pool}"
policy = "sticky"
ttl = {{ normal = "{normal_secs}s", low = "{low_secs}s", spread = "{spread_secs}s" }}
probe = "web"
endpoint = [
  {{ site = "{old}", address = ["{old_address}"], weight = 100 }},
  {{ site = "{new}", address = ["{new_address}"], weight = 0 }},
]
"#,
        old = old.0,
        new = new.0,
        old_address = old.1,
        new_address = new.1,
    )
}

fn zone_file(service: &Service, server: Ipv4Addr) -> String {
    let Service { zone, name, old, .. } = service;
    format!(
        "$TTL 1h\n@ IN SOA ns1.{zone}. hostmaster.{zone}. 1 1h 15m 4w 5m\n@ IN NS ns1.{zone}.\nns1.{zone}. IN A {server}\n\
         {name}. IN A {}\n",
        old.1
    )
}
