//! Routes of signed zones: their keys, and what operators say of them.

use std::sync::Arc;

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
use crate::control::dnssec::{DnssecWish, Imported};
use crate::dns::Name;
use crate::zone::signing::import::{self, Given, Half, ImportError};
use crate::zone::signing::rollover::{Entering, Role};

/// The routes.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/zones/{name}/dnssec", get(show))
        .route("/api/v1/zones/{name}/dnssec/roll", post(roll))
        .route("/api/v1/zones/{name}/dnssec/confirm-ds", post(confirm_ds))
        .route("/api/v1/zones/{name}/dnssec/leave", post(leave))
        .route("/api/v1/zones/{name}/dnssec/import", post(import))
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

async fn import(State(app): State<App>, Segments(zone): Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    let zone = zone_name(&zone)?;
    let (origin, (wish, reason)) = change(&headers, body, |object| imported(object, &zone)).await?;
    Ok(Json(app.control.change_dnssec(origin, zone, wish, reason).await?).into_response())
}

/// `keys`: each with `private`, `public` (its DNSKEY record, if there is one) and `role` (needed without that record).
fn imported(object: Map<String, Value>, zone: &Name) -> Result<(DnssecWish, Option<String>), Vec<Fault>> {
    let mut fields = Fields::of(object, &["keys", "state", "reason"]);
    let keys = fields.require("keys", list, "the keys to import").unwrap_or_default();
    let mut read = Vec::new();
    for (at, key) in keys.into_iter().enumerate() {
        match imported_key(key, zone) {
            Ok(key) => read.push(key),
            Err(faults) => faults.into_iter().for_each(|f| fields.fault(format!("/keys/{at}{}", f.pointer), f.detail)),
        }
    }
    let entering = fields.require("state", entering, "\"active\" or \"published\"");
    let reason = fields.take("reason", text);
    fields.end((DnssecWish::Import(read, entering.unwrap_or(Entering::Published)), reason))
}

fn imported_key(key: Map<String, Value>, zone: &Name) -> Result<Imported, Vec<Fault>> {
    let mut fields = Fields::of(key, &["private", "public", "role"]);
    let private = fields.require("private", secret, "the private key, as BIND or in PEM");
    let (public, role) = (fields.take("public", text), fields.take("role", role));
    let Some(private) = fields.end(private)? else { return Err(Vec::new()) };
    let given = Given { private: &private, public: public.as_deref(), role };
    match import::read(zone, given) {
        Ok(key) => Ok(Imported { key: Arc::new(key), role }),
        Err(ImportError { half, line, message }) => {
            let pointer = match half {
                Half::Private => "/private",
                Half::Public => "/public",
                Half::Role => "/role",
            };
            let line = line.map_or_else(String::new, |line| format!("line {line}: "));
            Err(vec![Fault::new(pointer, format!("{line}{message}"))])
        }
    }
}

fn list(value: &Value) -> Result<Vec<Map<String, Value>>, String> {
    let keys: Option<Vec<_>> = value.as_array().and_then(|keys| keys.iter().map(|k| k.as_object().cloned()).collect());
    keys.filter(|keys| !keys.is_empty()).ok_or_else(|| "a list of objects is wanted, one for each key".to_owned())
}

/// A text that no mistake may quote.
fn secret(value: &Value) -> Result<String, String> {
    value.as_str().map(ToOwned::to_owned).ok_or_else(|| "a text is wanted".to_owned())
}

fn entering(value: &Value) -> Result<Entering, String> {
    let wanted = "\"active\" or \"published\"";
    serde_json::from_value(value.clone())
        .map_err(|_| format!("{value} is no state that a key can come in with: {wanted}"))
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
