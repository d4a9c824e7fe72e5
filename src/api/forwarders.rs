//! Routes of forwarders: those of operators, and the two that are a forwarder's own, its stream and its reports.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use hyper::body::Frame;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::api::app::{App, Reply, audit_query, change, tagged};
use crate::api::body::{self, Fields, text};
use crate::api::parameters::{Pairs, Parameters, Segments};
use crate::api::problem::Problem;
use crate::api::token::{self, Token};
use crate::control::Fault;
use crate::control::forwarders::{Answer, AuditEntry, Change, Condition, Known, Listening, Member, Summary};
use crate::control::message::{Origin, ReasonRequest};
use crate::dns::Name;
use crate::pairing::{Beyond, Report, RuleWish, Rung, Taken, TargetWish, Terms};
use crate::time::Timestamp;

/// The most hosts and sources in an answer, and how many where nothing is said.
const MOST: usize = 1000;
const USUAL: usize = 20;

/// The routes.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/forwarders", get(list).post(add))
        .route("/api/v1/forwarders/{name}", get(show).delete(remove))
        .route("/api/v1/forwarders/{name}/token", post(new_token))
        .route("/api/v1/forwarders/{name}/hold", put(hold).delete(release))
        .route("/api/v1/forwarders/{name}/ladder", put(ladder))
        .route("/api/v1/forwarders/{name}/rules/{rule}", put(set_rule).delete(clear_rule))
        .route("/api/v1/forwarders/{name}/stream", get(stream))
        .route("/api/v1/forwarders/{name}/report", post(report))
        .route("/api/v1/audit/forwarders", get(audit))
        .route("/api/v1/stragglers", get(stragglers))
}

/// Whose own path this is.
pub(super) fn of_forwarder(path: &str) -> Option<&str> {
    let (name, rest) = path.strip_prefix("/api/v1/forwarders/")?.split_once('/')?;
    matches!(rest, "stream" | "report").then_some(name)
}

/// The answer of `GET /api/v1/forwarders`.
#[derive(Serialize)]
struct List {
    forwarders: Vec<Condition>,
}

async fn list(State(app): State<App>) -> Json<List> {
    let now = Timestamp::now();
    let members = app.control.forwarders().all();
    Json(List { forwarders: members.iter().filter_map(|member| member.condition(now)).collect() })
}

async fn show(State(app): State<App>, Segments(name): Segments<String>) -> Reply {
    let condition = member(&app, &name)?.condition(Timestamp::now()).ok_or_else(|| unknown(&name))?;
    Ok(tagged(condition.wanted.revision, &condition))
}

async fn add(State(app): State<App>, headers: HeaderMap, body: Body) -> Reply {
    let read = |object| {
        let mut fields = Fields::of(object, &["name", "reason"]);
        let name = fields.require("name", text, "what the forwarder is called");
        let reason = fields.take("reason", text);
        fields.end((name.unwrap_or_default(), reason))
    };
    let (origin, (name, reason)) = change(&headers, body, read).await?;
    with_token(&app, origin, reason, name, Change::Add).await
}

async fn new_token(State(app): State<App>, Segments(name): Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    let (origin, ReasonRequest { reason }) = change(&headers, body, body::reason).await?;
    with_token(&app, origin, reason, name, Change::Token).await
}

async fn with_token(app: &App, origin: Origin, reason: Option<String>, name: String, what: Change) -> Reply {
    let token = Token::random().map_err(|e| Problem::new(StatusCode::SERVICE_UNAVAILABLE, e.to_string()))?;
    let sha256 = token::sha256(token.reveal().as_bytes());
    let answer = app.control.change_forwarder(origin, reason, name, what, Some(sha256)).await?;
    let answer = Answer { token: Some(token.reveal().to_owned()), ..answer };
    Ok(tagged(answer.revision, &answer))
}

async fn remove(State(app): State<App>, Segments(name): Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    make(&app, name, &headers, body, |object| Ok((Change::Remove, body::reason(object)?.reason))).await
}

async fn hold(State(app): State<App>, Segments(name): Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    make(&app, name, &headers, body, |object| {
        let mut fields = Fields::of(object, &["rule", "secs", "most", "beyond", "rate", "reason"]);
        let usual = Terms::default();
        let terms = Terms {
            secs: fields.take("secs", as_it_is).unwrap_or(usual.secs),
            most: fields.take("most", as_it_is).unwrap_or(usual.most),
            beyond: fields.take("beyond", as_it_is::<Beyond>).unwrap_or(usual.beyond),
            rate: fields.take("rate", as_it_is).unwrap_or(usual.rate),
        };
        let (rule, reason) = (fields.take("rule", text), fields.take("reason", text));
        fields.end((Change::Hold { rule, terms }, reason))
    })
    .await
}

async fn release(State(app): State<App>, Segments(name): Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    make(&app, name, &headers, body, |object| {
        let mut fields = Fields::of(object, &["rule", "reason"]);
        let (rule, reason) = (fields.take("rule", text), fields.take("reason", text));
        fields.end((Change::Release { rule }, reason))
    })
    .await
}

async fn ladder(State(app): State<App>, Segments(name): Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    make(&app, name, &headers, body, |object| {
        let mut fields = Fields::of(object, &["rule", "class", "ladder", "reason"]);
        let wanted = "a rung, such as {\"rung\": \"close-idle\", \"age_secs\": 600}";
        let ladder: Rung = fields.require("ladder", as_it_is, wanted).unwrap_or_default();
        let class = fields.take("class", |value| text(value)?.parse());
        let (rule, reason) = (fields.take("rule", text), fields.take("reason", text));
        fields.end((Change::Ladder { rule, class, ladder }, reason))
    })
    .await
}

async fn set_rule(
    State(app): State<App>,
    Segments((name, rule)): Segments<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    make(&app, name, &headers, body, |object| {
        let mut fields = Fields::of(object, &["targets", "pool", "site", "reason"]);
        let wish = RuleWish {
            targets: fields.take("targets", as_it_is::<Vec<TargetWish>>).unwrap_or_default(),
            pool: fields.take("pool", text),
            site: fields.take("site", text),
        };
        let reason = fields.take("reason", text);
        fields.end((Change::Rule { rule, wish: Some(wish) }, reason))
    })
    .await
}

async fn clear_rule(
    State(app): State<App>,
    Segments((name, rule)): Segments<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    make(&app, name, &headers, body, |object| Ok((Change::Rule { rule, wish: None }, body::reason(object)?.reason)))
        .await
}

/// The answer of `GET /api/v1/audit/forwarders`.
#[derive(Serialize)]
struct Audit {
    entries: Vec<AuditEntry>,
}

async fn audit(State(app): State<App>, Pairs(pairs): Pairs) -> Reply {
    let mut query = audit_query(pairs)?;
    if query.before.take().is_some() {
        let fault = Fault::new("", "there is no parameter \"before\" here: changes of forwarders make no generations");
        return Err(vec![fault].into());
    }
    Ok(Json(Audit { entries: app.control.forwarder_audit(query).await? }).into_response())
}

async fn stream(State(app): State<App>, Segments(name): Segments<String>) -> Reply {
    let listening = member(&app, &name)?.listen();
    let (lines, body) = channel(4);
    tokio::spawn(tell(name, listening, lines, app.stop.clone()));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(Lines(body))).into_response())
}

/// Tells a stream until its reader is gone, the forwarder is led no longer, or the server stops.
async fn tell(name: String, mut listening: Listening, lines: Sender<Bytes>, stop: CancellationToken) {
    tracing::info!(forwarder = name, "forwarder connected");
    loop {
        let said = tokio::select! {
            said = listening.next() => said,
            () = lines.closed() => None,
            () = stop.cancelled() => None,
        };
        let Some(said) = said else { break };
        let mut octets = Vec::new();
        for one in said {
            octets.extend(serde_json::to_vec(&one).expect("what is said has text as keys"));
            octets.push(b'\n');
        }
        if !matches!(timeout(Listening::SLOW, lines.send(octets.into())).await, Ok(Ok(()))) {
            break;
        }
    }
    tracing::info!(forwarder = name, "forwarder disconnected");
}

/// The lines of a stream; dropped with its connection.
struct Lines(Receiver<Bytes>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

async fn report(State(app): State<App>, Segments(name): Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    let member = member(&app, &name)?;
    let object = body::receive(&headers, body).await?;
    let mut report: Report = serde_json::from_value(Value::Object(object))
        .map_err(|e| vec![Fault::new("", format!("this is no report: {e}"))])?;
    let (now, seq) = (Timestamp::now(), report.seq);
    let sources = std::mem::take(&mut report.sources);
    let heard = Report { sources, ..report.clone() };
    member.note(report, now);
    let resend = app.control.forwarders().stragglers.take(&name, heard, now);
    Ok(Json(Taken { seq, resend }).into_response())
}

/// The answer of `GET /api/v1/stragglers`.
#[derive(Serialize)]
struct Stragglers {
    pools: Vec<Summary>,
}

async fn stragglers(State(app): State<App>, Pairs(pairs): Pairs) -> Reply {
    let (pool, most) = stragglers_query(pairs)?;
    let (status, now) = (app.control.status().await?, Timestamp::now());
    let known = Known::gather(&status, app.control.readers(), now);
    let stragglers = &app.control.forwarders().stragglers;
    let pools = pool.map_or_else(|| stragglers.pools(), |pool| vec![pool.to_string()]);
    let pools = pools.iter().map(|pool| stragglers.summary(pool, &known, most)).collect();
    Ok(Json(Stragglers { pools }).into_response())
}

fn stragglers_query(pairs: Vec<(String, String)>) -> Result<(Option<Name>, usize), Vec<Fault>> {
    let mut given = Parameters::of(pairs, &["pool", "most"]);
    let pool = given.take("pool", |text| Name::parse(text, None).map_err(|e| e.to_string()));
    let most = given.take("most", |text| {
        let number = text.parse().ok().filter(|n| (1..=MOST).contains(n));
        number.ok_or_else(|| format!("{text:?} is no number from 1 to {MOST}"))
    });
    given.end(Some((pool, most.unwrap_or(USUAL))))
}

fn member(app: &App, name: &str) -> Result<Arc<Member>, Problem> {
    app.control.forwarders().get(name).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("there is no forwarder {name:?}; GET /api/v1/forwarders lists them, `waypost forwarder add` makes one"),
    )
}

async fn make(
    app: &App,
    name: String,
    headers: &HeaderMap,
    body: Body,
    read: impl FnOnce(Map<String, Value>) -> Result<(Change, Option<String>), Vec<Fault>>,
) -> Reply {
    let (origin, (what, reason)) = change(headers, body, read).await?;
    let answer = app.control.change_forwarder(origin, reason, name, what, None).await?;
    Ok(tagged(answer.revision, &answer))
}

/// What serde makes of it.
fn as_it_is<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|e| format!("{value} is not what is expected: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_paths_are_a_forwarders_own() {
        assert_eq!(of_forwarder("/api/v1/forwarders/old/stream"), Some("old"));
        assert_eq!(of_forwarder("/api/v1/forwarders/old/report"), Some("old"));
        for other in ["/api/v1/forwarders/old", "/api/v1/forwarders/old/token", "/api/v1/forwarders/a/b/stream", "/"] {
            assert_eq!(of_forwarder(other), None, "{other}");
        }
    }
}
