//! The control socket: HTTP with JSON over a unix socket, for `waypost forward status`, `hold`, `release` and `ladder`.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /v1/status` | rules, targets and their health, what is held, the rung of the ladder |
//! | `GET /v1/sources?most=N` | who comes, the busiest first |
//! | `GET /v1/hosts?most=N` | hosts that are wanted, the busiest first |
//! | `POST /v1/hold` | holds new connections for as long as the answer is read: a line of JSON each half second |
//! | `POST /v1/release` | ends holds |
//! | `POST /v1/ladder` | sets a rung |
//!
//! Each POST takes `rule`, a name or listen address; without it all rules are meant. Who may open the socket may do all of
//! it: the file is the owner's alone. A failure is `application/problem+json`.

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::balance::Health;
use super::connection::{Plan, Shared, Way};
use super::counts::{Counts, Sketched, SourceCount};
use super::handover;
use super::hold::{GateCount, Terms};
use super::ladder::Rung;
use super::settings::Protocol;
use crate::pairing::Class;

/// Between two lines that tell of a hold.
const TELL: Duration = Duration::from_millis(500);
/// Sources or hosts that are shown where nothing is said.
const MOST: usize = 20;

/// What the control socket needs of each rule in force.
pub(super) type Board = Arc<ArcSwap<Vec<Post>>>;

/// One rule in force.
pub(super) struct Post {
    pub(super) plan: Arc<ArcSwap<Plan>>,
    pub(super) way: Arc<Way>,
}

/// What a forwarder is at.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// In the order of the settings.
    pub rules: Vec<RuleStatus>,
}

/// What a rule is at.
#[derive(Debug, Serialize, Deserialize)]
pub struct RuleStatus {
    /// Its name, or where it listens.
    pub rule: String,
    /// Where it listens, as set.
    pub listen: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Connections open now.
    pub open: i64,
    /// Its targets.
    pub targets: Vec<TargetStatus>,
    /// Its rung of the nudge ladder, for sources whose class has none of its own.
    pub ladder: Rung,
    /// What is held.
    pub hold: GateCount,
}

/// How a target stands.
#[derive(Debug, Serialize, Deserialize)]
pub struct TargetStatus {
    /// As set.
    pub target: String,
    /// As set.
    pub weight: u32,
    /// From connecting to it.
    pub health: Health,
}

/// What is to be held.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct HoldRequest {
    /// The rule; `None`: all.
    pub rule: Option<String>,
    /// How.
    #[serde(default)]
    pub terms: Terms,
}

/// What a hold is at, one line of its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldLine {
    /// Whether anything is still held.
    pub held: bool,
    /// Connections that wait.
    pub waiting: u32,
    /// Clients that gave up, since the start.
    pub gave_up: u64,
    /// Connections refused as too many waited, since the start.
    pub refused: u64,
}

/// What is to be released.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// The rule; `None`: all.
    pub rule: Option<String>,
}

/// A rung to set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LadderRequest {
    /// The rule; `None`: all.
    pub rule: Option<String>,
    /// The class of sources that it is for; `None`: all.
    #[serde(default)]
    pub class: Option<Class>,
    /// The rung.
    pub ladder: Rung,
}

#[derive(Deserialize)]
struct Most {
    most: Option<usize>,
}

/// Who comes, for `GET /v1/sources`.
#[derive(Debug, Serialize)]
struct Sources {
    sources: Vec<SourceCount>,
    /// The busiest beyond those that are counted one by one.
    others: Vec<Sketched>,
}

#[derive(Clone)]
struct Face {
    board: Board,
    shared: Arc<Shared>,
}

/// The control socket, and the one for successors; gone when it is dropped.
pub(super) struct Control {
    files: Vec<Owned>,
    tasks: [JoinHandle<()>; 2],
}

/// A socket's file, as made by this process.
struct Owned {
    file: PathBuf,
    inode: u64,
}

impl Control {
    /// Opens both. A file that is left over, or that belongs to a predecessor, gives way.
    ///
    /// # Errors
    /// Those of socket(2), bind(2), chmod(2) and rename(2).
    pub(super) fn open(file: &Path, board: Board, shared: Arc<Shared>, handed_over: Arc<Notify>) -> io::Result<Self> {
        let sockets = handover::path_of(file);
        let (control, owned) = listen(file)?;
        let (successors, owned_too) = listen(&sockets)?;
        let routes = router(board.clone(), shared);
        let tasks = [
            // It waits out failed accepts by itself and never returns an error.
            tokio::spawn(async move { _ = axum::serve(control, routes).await }),
            tokio::spawn(handover::serve(successors, board, handed_over)),
        ];
        Ok(Self { files: vec![owned, owned_too], tasks })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        for Owned { file, inode } in &self.files {
            if std::fs::symlink_metadata(file).is_ok_and(|now| now.ino() == *inode) {
                let _ = std::fs::remove_file(file);
            }
        }
    }
}

/// Listens on a file that only its owner may open, from its first instant.
fn listen(file: &Path) -> io::Result<(UnixListener, Owned)> {
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    let place = || {
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
        let inode = std::fs::symlink_metadata(&fresh)?.ino();
        std::fs::rename(&fresh, file)?;
        Ok(Owned { file: file.to_owned(), inode })
    };
    let owned = place().inspect_err(|_: &io::Error| _ = std::fs::remove_file(&fresh))?;
    Ok((listener, owned))
}

/// The routes.
fn router(board: Board, shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/sources", get(sources))
        .route("/v1/hosts", get(hosts))
        .route("/v1/hold", post(hold))
        .route("/v1/release", post(release))
        .route("/v1/ladder", post(ladder))
        .with_state(Face { board, shared })
}

async fn status(State(face): State<Face>) -> Json<Status> {
    let rules = face.board.load().iter().map(Post::status).collect();
    Json(Status { pid: std::process::id(), rules })
}

async fn sources(State(face): State<Face>, Query(most): Query<Most>) -> Json<Sources> {
    let most = most.most.unwrap_or(MOST);
    let counts: &Counts = &face.shared.counts;
    let mut sources = counts.sources();
    sources.truncate(most);
    Json(Sources { sources, others: counts.other_sources(most) })
}

async fn hosts(State(face): State<Face>, Query(most): Query<Most>) -> Json<Vec<Sketched>> {
    Json(face.shared.counts.hosts(most.most.unwrap_or(MOST)))
}

async fn hold(State(face): State<Face>, body: Bytes) -> Result<Response, Problem> {
    let request: HoldRequest = read(&body)?;
    if let Some(mistake) = request.terms.mistake() {
        return Err(Problem::bad(mistake));
    }
    let ways: Vec<_> = face.ways(request.rule.as_deref())?;
    let holds: Vec<_> = ways.into_iter().map(|way| (way.gate.hold(request.terms), way)).collect();
    tracing::warn!(rules = holds.len(), secs = request.terms.secs, "new connections are held");
    let (lines, body) = channel(4);
    tokio::spawn(watch_holds(holds, lines));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::new(Lines(body))).into_response())
}

/// Tells of holds until they are over; ends them when nobody listens any more.
async fn watch_holds(holds: Vec<(u64, Arc<Way>)>, lines: Sender<Bytes>) {
    let gone = loop {
        let mut told = HoldLine::default();
        for (number, way) in &holds {
            let count = way.gate.count();
            told.held |= way.gate.is_held(*number);
            told.waiting += count.waiting;
            told.gave_up += count.gave_up;
            told.refused += count.refused;
        }
        let mut line = serde_json::to_vec(&told).unwrap_or_default();
        line.push(b'\n');
        let gone = lines.send(line.into()).await.is_err();
        if gone || !told.held {
            break gone;
        }
        tokio::select! {
            () = tokio::time::sleep(TELL) => {}
            () = lines.closed() => break true,
        }
    };
    let released = holds.iter().filter(|(number, way)| way.gate.release(Some(*number))).count();
    if gone && released > 0 {
        tracing::warn!("the hold is released: the one who asked for it is gone");
    } else {
        tracing::info!("the hold is over");
    }
}

async fn release(State(face): State<Face>, body: Bytes) -> Result<Json<serde_json::Value>, Problem> {
    let request: ReleaseRequest = read(&body)?;
    let released = face.ways(request.rule.as_deref())?.iter().filter(|way| way.gate.release(None)).count();
    tracing::info!(rules = released, "holds are released");
    Ok(Json(serde_json::json!({ "released": released })))
}

async fn ladder(State(face): State<Face>, body: Bytes) -> Result<Json<serde_json::Value>, Problem> {
    let request: LadderRequest = read(&body)?;
    if let Some(mistake) = request.ladder.mistake() {
        return Err(Problem::bad(mistake));
    }
    let ways = face.ways(request.rule.as_deref())?;
    face.shared.orders.set_rung(&face.board, &face.shared, request.rule, request.class, request.ladder).await;
    tracing::warn!(rules = ways.len(), class = ?request.class, ladder = ?request.ladder, "a rung of the ladder is set");
    Ok(Json(serde_json::json!({ "rules": ways.len() })))
}

fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|e| Problem::bad(format!("the body is not what is expected: {e}")))
}

impl Face {
    /// The ways of one rule, or of all.
    fn ways(&self, rule: Option<&str>) -> Result<Vec<Arc<Way>>, Problem> {
        let board = self.board.load();
        let ways: Vec<_> = board.iter().filter(|post| post.is(rule)).map(|post| post.way.clone()).collect();
        match rule {
            Some(rule) if ways.is_empty() => {
                let known: Vec<_> = board.iter().map(|post| post.plan.load().label.clone()).collect();
                let detail = format!("{rule:?} is no rule: there are {}", known.join(", "));
                Err(Problem { status: StatusCode::NOT_FOUND, detail })
            }
            _ => Ok(ways),
        }
    }
}

impl Post {
    pub(super) fn status(&self) -> RuleStatus {
        let (plan, now) = (self.plan.load(), Instant::now());
        let targets = plan.rule.targets.iter().zip(plan.circuits.health(now));
        RuleStatus {
            rule: plan.label.clone(),
            listen: plan.rule.listen.to_string(),
            protocol: if plan.rule.protocol == Protocol::Udp { "udp" } else { "tcp" }.to_owned(),
            open: plan.counts.open.get(),
            targets: targets
                .map(|(t, health)| TargetStatus { target: t.target.to_string(), weight: t.weight, health })
                .collect(),
            ladder: self.way.ladder().all().rung(now),
            hold: self.way.gate.count(),
        }
    }
}

/// The lines of an answer; dropped with its connection.
struct Lines(Receiver<Bytes>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

/// Why a request was refused.
struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    fn bad(detail: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, detail }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or_default();
        let body = serde_json::json!({ "status": self.status.as_u16(), "title": title, "detail": self.detail });
        (self.status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}
