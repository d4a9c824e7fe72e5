//! Routes of RRsets whose TTL is planned.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, put};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::app::{App, Reply, change, pool_name, tagged};
use crate::api::body::{Fields, text};
use crate::api::parameters::Segments;
use crate::api::problem::Problem;
use crate::control::Fault;
use crate::control::message::{CutoverRequest, RrsetStatus, Status};
use crate::control::which::WhichRrsets;
use crate::dns::Rtype;

/// The routes.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/rrsets", get(all))
        .route("/api/v1/rrsets/{name}", get(of_name))
        .route("/api/v1/rrsets/{name}/cutover", put(set_cutover).delete(clear_cutover))
}

/// The answer of both `GET`.
#[derive(Serialize)]
struct Rrsets {
    generation: u64,
    rrsets: Vec<RrsetStatus>,
}

async fn all(State(app): State<App>) -> Reply {
    let Status { generation, rrsets, .. } = app.control.status().await?;
    Ok(tagged(generation, &Rrsets { generation, rrsets }))
}

async fn of_name(State(app): State<App>, Segments(written): Segments<String>) -> Reply {
    let name = pool_name(&written)?;
    let Status { generation, mut rrsets, .. } = app.control.status().await?;
    rrsets.retain(|status| status.rrset.name == name);
    if rrsets.is_empty() {
        let told = format!("no [[rrset]] plans anything of {name}; GET /api/v1/rrsets lists them");
        return Err(Problem::new(StatusCode::NOT_FOUND, told));
    }
    Ok(tagged(generation, &Rrsets { generation, rrsets }))
}

async fn set_cutover(state: State<App>, name: Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    plan(state, name, headers, body, wanted).await
}

async fn clear_cutover(state: State<App>, name: Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    plan(state, name, headers, body, cleared).await
}

/// What a body asks for, and of which types.
type Planned = Result<(Vec<Rtype>, CutoverRequest), Vec<Fault>>;

async fn plan(
    State(app): State<App>,
    Segments(name): Segments<String>,
    headers: HeaderMap,
    body: Body,
    read: fn(Map<String, Value>) -> Planned,
) -> Reply {
    let name = pool_name(&name)?;
    let (origin, (types, request)) = change(&headers, body, read).await?;
    let answer = app.control.plan_rrsets(origin, WhichRrsets { name, types }, request).await?;
    Ok(tagged(answer.generation, &answer))
}

fn wanted(object: Map<String, Value>) -> Planned {
    let mut fields = Fields::of(object, &["types", "at", "reason"]);
    let (types, at) = (fields.take_list("types", rtype), fields.take_cutover());
    let request = CutoverRequest { at, reason: fields.take("reason", text) };
    fields.end((types, request))
}

fn cleared(object: Map<String, Value>) -> Planned {
    let mut fields = Fields::of(object, &["types", "reason"]);
    let types = fields.take_list("types", rtype);
    let request = CutoverRequest { at: None, reason: fields.take("reason", text) };
    fields.end((types, request))
}

fn rtype(value: &Value) -> Result<Rtype, String> {
    let read = value.as_str().and_then(Rtype::parse);
    read.ok_or_else(|| format!("{value} is no record type, such as \"MX\""))
}
