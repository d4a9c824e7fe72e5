//! The subcommands that ask a running forwarder, or tell it what to do, by its control socket.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::balance::Health;
use super::control::{HoldLine, HoldRequest, LadderRequest, ReleaseRequest, Status};
use super::hold::{Beyond, Terms};
use super::ladder::Rung;
use crate::pairing::Class;

/// What a running forwarder is asked or told.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Action {
    /// Show rules, targets, what is held, and who still comes
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// So many sources
        #[arg(long, default_value_t = 10, value_name = "N")]
        most: usize,
    },
    /// Let new connections wait, until the time is over, `release`, or the end of this command
    Hold(HoldArgs),
    /// Let what is held go on
    Release {
        /// One rule, by name or listen address; else all
        #[arg(long)]
        rule: Option<String>,
    },
    /// Set how firmly stragglers are nudged to leave
    Ladder {
        /// One rule, by name or listen address; else all
        #[arg(long, global = true)]
        rule: Option<String>,
        /// One class of stragglers, as an authority tells them: cached, stays or never-asked; else all
        #[arg(long, global = true)]
        class: Option<Class>,
        /// The rung
        #[command(subcommand)]
        rung: Rung,
    },
}

/// Which connections are held, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct HoldArgs {
    /// One rule, by name or listen address; else all
    #[arg(long)]
    rule: Option<String>,
    /// Seconds, at most 30
    #[arg(long, default_value_t = Terms::SECS, value_name = "N")]
    secs: u32,
    /// So many connections wait at most, for each rule
    #[arg(long, default_value_t = 1000, value_name = "N")]
    most: u32,
    /// Those beyond are forwarded, not refused
    #[arg(long)]
    pass_beyond: bool,
    /// So many go on in a second when it is over, for each rule; 0: all at once
    #[arg(long, default_value_t = 0, value_name = "N")]
    rate: u32,
}

impl HoldArgs {
    /// What is asked for.
    pub fn request(&self) -> HoldRequest {
        let beyond = if self.pass_beyond { Beyond::Pass } else { Beyond::Refuse };
        let terms = Terms { secs: self.secs, most: self.most, beyond, rate: self.rate };
        HoldRequest { rule: self.rule.clone(), terms }
    }
}

/// Why a running forwarder gave no good answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers.
    #[error("no forwarder answers on {}: {source}; --control names the socket that it was started with", control.display())]
    Connect {
        /// The control socket.
        control: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// It went away in the middle of its answer.
    #[error("the forwarder went away: {0}")]
    Gone(#[from] hyper::Error),
    /// It refuses.
    #[error("{0}")]
    Refused(String),
    /// It says what isn't understood.
    #[error("its answer is not understood: {0}")]
    Answer(#[from] serde_json::Error),
    /// What it said can't be printed.
    #[error("can't print: {0}")]
    Print(#[from] io::Error),
}

/// Carries out `action`, and prints what comes of it.
pub(super) async fn run(control: &Path, action: Action) -> Result<(), AskError> {
    match action {
        Action::Status { json, most } => status(control, json, most).await,
        Action::Hold(args) => hold(control, &args.request()).await,
        Action::Release { rule } => {
            let answer = post(control, "/v1/release", &ReleaseRequest { rule }).await?;
            let answer: serde_json::Value = whole(answer).await?;
            print(&format!("released: {} rules\n", answer["released"]))
        }
        Action::Ladder { rule, class, rung } => {
            let answer = post(control, "/v1/ladder", &LadderRequest { rule, class, ladder: rung }).await?;
            let answer: serde_json::Value = whole(answer).await?;
            print(&format!("set for {} rules; `waypost forward ladder forward` takes it back\n", answer["rules"]))
        }
    }
}

async fn status(control: &Path, json: bool, most: usize) -> Result<(), AskError> {
    let status: serde_json::Value = whole(get(control, "/v1/status").await?).await?;
    let sources: serde_json::Value = whole(get(control, &format!("/v1/sources?most={most}")).await?).await?;
    let hosts: serde_json::Value = whole(get(control, &format!("/v1/hosts?most={most}")).await?).await?;
    if json {
        let all = serde_json::json!({ "status": status, "sources": sources, "hosts": hosts });
        return print(&format!("{all:#}\n"));
    }
    let status: Status = serde_json::from_value(status)?;
    let mut out = String::new();
    show(&mut out, &status, &sources, &hosts).expect("writing to a String does not fail");
    print(&out)
}

fn show(out: &mut String, status: &Status, sources: &serde_json::Value, hosts: &serde_json::Value) -> std::fmt::Result {
    writeln!(out, "process {}", status.pid)?;
    for rule in &status.rules {
        let listen = if rule.rule == rule.listen { String::new() } else { format!(" {}", rule.listen) };
        writeln!(out, "{} ({}{listen}): {} open", rule.rule, rule.protocol, rule.open)?;
        for target in &rule.targets {
            let health = match target.health {
                Health::Closed => "up",
                Health::Open => "rests after failures",
                Health::HalfOpen => "to be tried again",
            };
            writeln!(out, "  -> {}  weight {}  {health}", target.target, target.weight)?;
        }
        if rule.ladder != Rung::Forward {
            writeln!(out, "  ladder: {}", serde_json::to_string(&rule.ladder).unwrap_or_default())?;
        }
        let hold = rule.hold;
        if hold.held || hold.waiting > 0 {
            writeln!(out, "  held: {} wait", hold.waiting)?;
        }
        if hold.gave_up + hold.refused > 0 {
            writeln!(out, "  in holds so far: {} gave up, {} refused", hold.gave_up, hold.refused)?;
        }
    }
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    for source in sources["sources"].as_array().into_iter().flatten() {
        writeln!(
            out,
            "{:<40} {:>8} connections {:>6} open  last {}  host {}",
            text(&source["source"]),
            source["connections"],
            source["open"],
            text(&source["last_seen"]),
            text(&source["hosts"][0])
        )?;
    }
    for host in hosts.as_array().into_iter().flatten() {
        writeln!(out, "{:<40} {:>8} connections", text(&host["key"]), host["connections"])?;
    }
    Ok(())
}

async fn hold(control: &Path, request: &HoldRequest) -> Result<(), AskError> {
    let mut answer = post(control, "/v1/hold", request).await?;
    let mut pending = Vec::new();
    let mut last = HoldLine::default();
    // An interrupt ends this process and with it the connection: that releases.
    while let Some(frame) = answer.frame().await {
        let Ok(octets) = frame?.into_data() else { continue };
        pending.extend(&octets[..]);
        while let Some(end) = pending.iter().position(|&b| b == b'\n') {
            last = serde_json::from_slice(&pending[..end])?;
            pending.drain(..=end);
            if last.held && io::stderr().is_terminal() {
                eprint!("\rheld: {} wait, {} gave up so far ", last.waiting, last.gave_up);
            }
        }
    }
    if io::stderr().is_terminal() {
        eprintln!();
    }
    print(&format!("released: {} waited, {} gave up, {} refused so far\n", last.waiting, last.gave_up, last.refused))
}

fn print(text: &str) -> Result<(), AskError> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

async fn get(control: &Path, path: &str) -> Result<Incoming, AskError> {
    ask(control, Method::GET, path, Bytes::new()).await
}

async fn post(control: &Path, path: &str, body: &impl serde::Serialize) -> Result<Incoming, AskError> {
    ask(control, Method::POST, path, serde_json::to_vec(body)?.into()).await
}

async fn ask(control: &Path, method: Method, path: &str, body: Bytes) -> Result<Incoming, AskError> {
    let stream = UnixStream::connect(control)
        .await
        .map_err(|source| AskError::Connect { control: control.to_owned(), source })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .body(Full::new(body))
        .expect("method and path are well-formed");
    let answer: Response<Incoming> = sender.send_request(request).await?;
    if answer.status().is_success() {
        return Ok(answer.into_body());
    }
    let problem: serde_json::Value = whole(answer.into_body()).await?;
    Err(AskError::Refused(problem["detail"].as_str().unwrap_or("refused").to_owned()))
}

async fn whole<T: serde::de::DeserializeOwned>(body: Incoming) -> Result<T, AskError> {
    Ok(serde_json::from_slice(&body.collect().await?.to_bytes())?)
}
