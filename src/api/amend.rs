//! Routes that add, change and remove endpoints and pools while the server runs. Bodies have the words of `[[pool]]` and its
//! endpoints in the configuration file; `control` has them checked as the file is.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{get, post, put};
use serde_json::{Map, Value};
use toml::Table;

use crate::api::app::{App, Reply, change, pool_name, tagged};
use crate::api::body::{Fields, flag, name, object, site, text};
use crate::api::parameters::Segments;
use crate::config::amendments::Wish;
use crate::control::Fault;
use crate::control::message::AmendRequest;
use crate::dns::Name;

/// The routes.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/pools", post(add_pool))
        .route("/api/v1/pools/{name}", put(set_pool).delete(remove_pool))
        .route("/api/v1/pools/{name}/definition", get(definition))
        .route("/api/v1/pools/{name}/endpoints", post(add_endpoint))
        .route("/api/v1/pools/{name}/endpoints/{site}", put(set_endpoint).delete(remove_endpoint))
        .route("/api/v1/endpoints", post(add_endpoints))
}

async fn add_pool(State(app): State<App>, headers: HeaderMap, body: Body) -> Reply {
    amend(&app, &headers, body, |rest, fields| {
        let name = fields.require("name", name, "the owner name of the pool");
        Ok(vec![Wish::AddPool(name.unwrap_or_else(Name::root), table(rest)?)])
    })
    .await
}

async fn set_pool(State(app): State<App>, Segments(pool): Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    let pool = pool_name(&pool)?;
    amend(&app, &headers, body, |rest, _| Ok(vec![Wish::SetPool(pool, table(rest)?)])).await
}

async fn remove_pool(
    State(app): State<App>,
    Segments(pool): Segments<String>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let pool = pool_name(&pool)?;
    amend(&app, &headers, body, |rest, _| nothing_more(rest, Wish::RemovePool(pool))).await
}

async fn add_endpoint(
    State(app): State<App>,
    Segments(pool): Segments<String>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let pool = pool_name(&pool)?;
    amend(&app, &headers, body, |rest, fields| {
        let site = fields.require("site", site, "where the endpoint is");
        Ok(vec![Wish::AddEndpoint(pool, site.unwrap_or_default(), table(rest)?)])
    })
    .await
}

async fn set_endpoint(
    State(app): State<App>,
    Segments((pool, site)): Segments<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let pool = pool_name(&pool)?;
    amend(&app, &headers, body, |rest, _| Ok(vec![Wish::SetEndpoint(pool, site, table(rest)?)])).await
}

async fn remove_endpoint(
    State(app): State<App>,
    Segments((pool, site)): Segments<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let pool = pool_name(&pool)?;
    amend(&app, &headers, body, |rest, _| nothing_more(rest, Wish::RemoveEndpoint(pool, site))).await
}

/// One site's endpoints in several pools at once, as a group needs it.
async fn add_endpoints(State(app): State<App>, headers: HeaderMap, body: Body) -> Reply {
    amend(&app, &headers, body, |rest, fields| {
        let site = fields.require("site", site, "where the endpoints are").unwrap_or_default();
        let pools = fields.require("pools", object, "the endpoint's records for each pool").unwrap_or_default();
        let (mut wishes, mut faults) = (Vec::new(), unknown(&rest, "site, pools"));
        for (written, records) in pools {
            let pointer = format!("/pools/{}", written.replace('~', "~0").replace('/', "~1"));
            let pool = Name::parse(&written, None).map_err(|e| e.to_string());
            match pool.and_then(|pool| Ok((pool, object(&records)?))) {
                Ok((pool, records)) => match table(records) {
                    Ok(table) => wishes.push(Wish::AddEndpoint(pool, site.clone(), table)),
                    Err(found) => faults.extend(found),
                },
                Err(detail) => faults.push(Fault::new(pointer, detail)),
            }
        }
        if faults.is_empty() { Ok(wishes) } else { Err(faults) }
    })
    .await
}

async fn definition(State(app): State<App>, Segments(pool): Segments<String>) -> Reply {
    let definition = app.control.definition(pool_name(&pool)?).await?;
    let generation = app.control.published().generation;
    Ok(tagged(generation, &definition))
}

/// What `read` makes of a body without what all of these may say, which is here.
async fn amend(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    read: impl FnOnce(Map<String, Value>, &mut Fields) -> Result<Vec<Wish>, Vec<Fault>>,
) -> Reply {
    let (origin, request) = change(headers, body, |mut object| {
        let mut common = Map::new();
        for key in ["reason", "dry_run", "force", "name", "site", "pools"] {
            common.extend(object.remove_entry(key));
        }
        let mut fields = Fields::of(common, &["reason", "dry_run", "force", "name", "site", "pools"]);
        let request = AmendRequest {
            reason: fields.take("reason", text),
            dry_run: fields.take("dry_run", flag).unwrap_or(false),
            force: fields.take("force", flag).unwrap_or(false),
            wishes: Vec::new(),
        };
        let wishes = read(object, &mut fields);
        for (left, _) in std::mem::take(&mut fields.object) {
            fields.fault(format!("/{left}"), format!("{left:?} is not said here"));
        }
        match (fields.end(request), wishes) {
            (Ok(request), Ok(wishes)) => Ok(AmendRequest { wishes, ..request }),
            (request, wishes) => Err([request.err(), wishes.err()].into_iter().flatten().flatten().collect()),
        }
    })
    .await?;
    let answer = app.control.amend(origin, request).await?;
    Ok(tagged(answer.generation, &answer))
}

/// JSON in the words of the file, whose keys have hyphens.
fn table(object: Map<String, Value>) -> Result<Table, Vec<Fault>> {
    let hyphened =
        object.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.replace('_', "-"), value));
    serde_json::from_value(Value::Object(hyphened.collect()))
        .map_err(|error| vec![Fault::new("", format!("that can't stand in a configuration: {error}"))])
}

fn nothing_more(rest: Map<String, Value>, wish: Wish) -> Result<Vec<Wish>, Vec<Fault>> {
    let faults = unknown(&rest, "reason, dry_run, force");
    if faults.is_empty() { Ok(vec![wish]) } else { Err(faults) }
}

fn unknown(rest: &Map<String, Value>, known: &str) -> Vec<Fault> {
    let fault =
        |key: &String| Fault::new(format!("/{key}"), format!("there is no field {key:?} here; there are {known}"));
    rest.keys().map(fault).collect()
}
