//! Routes of signed zones: their keys, and what operators say of them.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value};

use crate::api::app::{App, Reply, change};
use crate::api::body::{self, Fields, text};
use crate::api::parameters::Segments;
use crate::api::problem::Problem;
use crate::control::Fault;
use crate::control::dnssec::DnssecWish;
use crate::dns::Name;
use crate::zone::signing::rollover::Role;

/// The routes.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/zones/{name}/dnssec", get(show))
        .route("/api/v1/zones/{name}/dnssec/roll", post(roll))
        .route("/api/v1/zones/{name}/dnssec/confirm-ds", post(confirm_ds))
        .route("/api/v1/zones/{name}/dnssec/leave", post(leave))
}

async fn show(State(app): State<App>, Segments(zone): Segments<String>) -> Reply {
    Ok(Json(app.control.dnssec(zone_name(&zone)?).await?).into_response())
}

async fn roll(State(app): State<App>, Segments(zone): Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    let zone = zone_name(&zone)?;
    let (origin, (role, reason)) = change(&headers, body, wanted_role).await?;
    Ok(Json(app.control.change_dnssec(origin, zone, DnssecWish::Roll(role), reason).await?).into_response())
}

async fn confirm_ds(State(app): State<App>, Segments(zone): Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    let zone = zone_name(&zone)?;
    let (origin, request) = change(&headers, body, body::reason).await?;
    Ok(Json(app.control.change_dnssec(origin, zone, DnssecWish::ConfirmDs, request.reason).await?).into_response())
}

async fn leave(State(app): State<App>, Segments(zone): Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    let zone = zone_name(&zone)?;
    let (origin, request) = change(&headers, body, body::reason).await?;
    Ok(Json(app.control.change_dnssec(origin, zone, DnssecWish::Leave, request.reason).await?).into_response())
}

fn wanted_role(object: Map<String, Value>) -> Result<(Option<Role>, Option<String>), Vec<Fault>> {
    let mut fields = Fields::of(object, &["role", "reason"]);
    let request = (fields.take("role", role), fields.take("reason", text));
    fields.end(request)
}

fn role(value: &Value) -> Result<Role, String> {
    let wanted = "\"csk\", \"ksk\" or \"zsk\"";
    serde_json::from_value(value.clone()).map_err(|_| format!("{value} is no role of a key: {wanted}"))
}

fn zone_name(written: &str) -> Result<Name, Problem> {
    Name::parse(written, None).map_err(|e| Problem::new(StatusCode::BAD_REQUEST, e.to_string()))
}
