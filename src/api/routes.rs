//! The routes: read, ask `control`, shape the reply.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Serialize;

use crate::api::app::{App, Reply, audit_query, change, pool_name, tagged};
use crate::api::metrics;
use crate::api::parameters::{Pairs, Parameters, Segments};
use crate::api::problem::Problem;
use crate::api::{amend, body, dnssec, forwarders, ready, rrsets, words};
use crate::control::message::{AuditEntry, CutoverRequest, Explanation, FlipRequest, PoolStatus, SiteStatus, Status};
use crate::control::which::Which;
use crate::control::{Fault, Question};
use crate::dns::{Name, Rtype};
use crate::time::Timestamp;

/// How long monitoring waits for the writer before it is told without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// All routes.
pub(super) fn routes(app: App) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .route("/api/v1/status", get(status))
        .route("/api/v1/pools", get(pools))
        .route("/api/v1/pools/{name}", get(pool))
        .route("/api/v1/pools/{name}/endpoints/{site}/override", put(set_override))
        .route("/api/v1/pools/{name}/endpoints/{site}/health", put(push_health))
        .route("/api/v1/pools/{name}/forecast", get(forecast))
        .route("/api/v1/pools/{name}/cutover", put(set_cutover).delete(clear_cutover))
        .route("/api/v1/overrides", put(set_overrides))
        .route("/api/v1/cutovers", put(set_cutovers))
        .route("/api/v1/sites", get(sites))
        .route("/api/v1/sites/{name}", put(set_site))
        .route("/api/v1/flips", post(flip))
        .route("/api/v1/flips/{generation}/revert", post(revert))
        .route("/api/v1/flips/{generation}/confirm", post(confirm))
        .route("/api/v1/restore", post(restore))
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/audit", get(audit))
        .route("/api/v1/explain", get(explain))
        .merge(amend::routes())
        .merge(forwarders::routes())
        .merge(dnssec::routes())
        .merge(rrsets::routes())
        .with_state(app)
}

async fn index() -> &'static str {
    concat!(
        "Waypost ",
        env!("CARGO_PKG_VERSION"),
        r#"

Open:
  GET    /metrics      for Prometheus
  GET    /livez        whether the process lives
  GET    /readyz       whether it answers queries

With the header Authorization: Bearer TOKEN:
  GET    /api/v1/status
  GET    /api/v1/pools
  POST   /api/v1/pools                                 {"name": "NAME", "endpoint": [{"site": "SITE", "address":
                                                        ["ADDRESS"], "weight": 100}]}, as in the configuration file
  GET    /api/v1/pools/NAME
  PUT    /api/v1/pools/NAME                            the same without "name"
  DELETE /api/v1/pools/NAME
  GET    /api/v1/pools/NAME/definition                 in the words of the configuration file
  POST   /api/v1/pools/NAME/endpoints                  {"site": "SITE", "address": ["ADDRESS"]}, begins at weight 0
  PUT    /api/v1/pools/NAME/endpoints/SITE             {"address": ["ADDRESS"]}
  DELETE /api/v1/pools/NAME/endpoints/SITE
  POST   /api/v1/endpoints                             {"site": "SITE", "pools": {"NAME": {"address": ["ADDRESS"]}}}
  PUT    /api/v1/pools/NAME/endpoints/SITE/override    {"override": "up" | "down" | "obey"}
  PUT    /api/v1/pools/NAME/endpoints/SITE/health      {"up": true | false, "for": "90s"}, for probes of type push
  GET    /api/v1/pools/NAME/forecast?from=SITE&to=SITE&percent=5&cap=true
  PUT    /api/v1/pools/NAME/cutover                    {"at": "2027-01-15T08:00:00Z" | null}
  DELETE /api/v1/pools/NAME/cutover
  PUT    /api/v1/overrides                             {"select": "LABEL", "site": "SITE", "override": "down"}
  PUT    /api/v1/cutovers                              {"select": "LABEL", "at": "2027-01-15T08:00:00Z" | null}
  GET    /api/v1/rrsets                                planned RRsets
  GET    /api/v1/rrsets/NAME
  PUT    /api/v1/rrsets/NAME/cutover                   {"types": ["MX"], "at": "2027-01-15T08:00:00Z" | null}
  DELETE /api/v1/rrsets/NAME/cutover                   {"types": ["MX"]}; without types: all that are planned
  GET    /api/v1/sites
  PUT    /api/v1/sites/NAME                            {"state": "active" | "drained" | "retired"}
  POST   /api/v1/flips                                 {"pools": ["NAME"], "from": "SITE", "to": "SITE", "percent": 5}
                                                       {"select": "LABEL", "from": "SITE", "to": "SITE", "percent": 5}
                                                       {"weights": {"NAME": {"SITE": 95, "SITE": 5}}}
  POST   /api/v1/flips/GENERATION/revert
  POST   /api/v1/flips/GENERATION/confirm
  POST   /api/v1/restore                               {"generation": 17}
  POST   /api/v1/reload
  GET    /api/v1/audit?before=GENERATION&limit=50
  GET    /api/v1/forwarders
  POST   /api/v1/forwarders                            {"name": "NAME"}
  GET    /api/v1/forwarders/NAME
  DELETE /api/v1/forwarders/NAME
  POST   /api/v1/forwarders/NAME/token
  PUT    /api/v1/forwarders/NAME/hold                  {"secs": 10, "most": 1000, "beyond": "refuse", "rate": 200}
  DELETE /api/v1/forwarders/NAME/hold
  PUT    /api/v1/forwarders/NAME/ladder                {"rule": "RULE", "class": "stays",
                                                        "ladder": {"rung": "close-idle", "age_secs": 600}}
  PUT    /api/v1/forwarders/NAME/rules/RULE            {"targets": [{"target": "HOST:PORT", "weight": 100}],
                                                        "pool": "NAME", "site": "SITE"}
  DELETE /api/v1/forwarders/NAME/rules/RULE
  GET    /api/v1/audit/forwarders?limit=50
  GET    /api/v1/stragglers?pool=NAME&most=20
  GET    /api/v1/zones/NAME/dnssec
  POST   /api/v1/zones/NAME/dnssec/roll                {"role": "csk" | "ksk" | "zsk"}
  POST   /api/v1/zones/NAME/dnssec/confirm-ds
  POST   /api/v1/zones/NAME/dnssec/leave
  POST   /api/v1/zones/NAME/dnssec/import              {"keys": [{"private": "TEXT", "public": "TEXT", "role": "ksk"}],
                                                        "state": "active" | "published"}
  GET    /api/v1/explain?name=NAME&type=A&client=ADDRESS&subnet=203.0.113.0/24

Each change takes "reason" in its body, and the headers If-Match: "GENERATION" (flips, reverts and restores must say it;
* is any; for a forwarder it is the revision of its state), Idempotency-Key (the same request again gets the first answer, another
one 422) and X-Waypost-Author. A flip also takes "dry_run": true,
"cap": true and "confirm_within": "10m". What adds, changes or removes endpoints and pools takes "dry_run", too, and "force": true where
it takes away what is being answered.
"#
    )
}

async fn status(State(app): State<App>) -> Reply {
    let status = app.control.status().await?;
    Ok(tagged(status.generation, &status))
}

/// The answer of `GET /api/v1/pools`.
#[derive(Serialize)]
struct Pools {
    generation: u64,
    pools: Vec<PoolStatus>,
}

async fn pools(State(app): State<App>) -> Reply {
    let Status { generation, pools, .. } = app.control.status().await?;
    Ok(tagged(generation, &Pools { generation, pools }))
}

async fn pool(State(app): State<App>, Segments(written): Segments<String>) -> Reply {
    let name = pool_name(&written)?;
    let status = app.control.status().await?;
    match status.pools.iter().find(|p| p.name == name) {
        Some(pool) => Ok(tagged(status.generation, pool)),
        None => {
            Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no pool {name}; GET /api/v1/pools lists them")))
        }
    }
}

/// The answer of `GET /api/v1/sites`.
#[derive(Serialize)]
struct Sites {
    generation: u64,
    sites: Vec<SiteStatus>,
}

async fn sites(State(app): State<App>) -> Reply {
    let Status { generation, sites, .. } = app.control.status().await?;
    Ok(tagged(generation, &Sites { generation, sites }))
}

async fn set_site(State(app): State<App>, Segments(site): Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    let (origin, request) = change(&headers, body, body::site_state).await?;
    let answer = app.control.set_site(origin, site, request).await?;
    Ok(tagged(answer.generation, &answer))
}

async fn flip(State(app): State<App>, headers: HeaderMap, body: Body) -> Reply {
    let (origin, request) = change(&headers, body, body::flip).await?;
    let answer = app.control.flip(origin, request).await?;
    Ok(tagged(answer.generation, &answer))
}

async fn revert(State(app): State<App>, Segments(undone): Segments<String>, headers: HeaderMap, body: Body) -> Reply {
    let undone = generation(&undone)?;
    let (origin, request) = change(&headers, body, body::reason).await?;
    let answer = app.control.revert(origin, undone, request).await?;
    Ok(tagged(answer.generation, &answer))
}

async fn confirm(
    State(app): State<App>,
    Segments(confirmed): Segments<String>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let confirmed = generation(&confirmed)?;
    let (origin, request) = change(&headers, body, body::reason).await?;
    let answer = app.control.confirm(origin, confirmed, request).await?;
    Ok(tagged(answer.generation, &answer))
}

async fn restore(State(app): State<App>, headers: HeaderMap, body: Body) -> Reply {
    let (origin, request) = change(&headers, body, body::restore).await?;
    let answer = app.control.restore(origin, request).await?;
    Ok(tagged(answer.generation, &answer))
}

async fn set_override(
    State(app): State<App>,
    Segments((pool, site)): Segments<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let pool = pool_name(&pool)?;
    let (origin, request) = change(&headers, body, body::set_override).await?;
    let answer = app.control.set_override(origin, Which::one(pool), site, request).await?;
    Ok(tagged(answer.generation, &answer))
}

async fn push_health(
    State(app): State<App>,
    Segments((pool, site)): Segments<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let pool = pool_name(&pool)?;
    let (origin, request) = change(&headers, body, body::health).await?;
    let answer = app.control.push(origin, pool, site, request).await?;
    Ok(tagged(answer.generation, &answer))
}

async fn set_cutover(
    State(app): State<App>,
    Segments(pool): Segments<String>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let pool = pool_name(&pool)?;
    let (origin, request) = change(&headers, body, body::cutover).await?;
    let answer = app.control.set_cutover(origin, Which::one(pool), request).await?;
    Ok(tagged(answer.generation, &answer))
}

async fn clear_cutover(
    State(app): State<App>,
    Segments(pool): Segments<String>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let pool = pool_name(&pool)?;
    let (origin, request) = change(&headers, body, body::reason).await?;
    let cleared = CutoverRequest { at: None, reason: request.reason };
    let answer = app.control.set_cutover(origin, Which::one(pool), cleared).await?;
    Ok(tagged(answer.generation, &answer))
}

async fn set_overrides(State(app): State<App>, headers: HeaderMap, body: Body) -> Reply {
    let (origin, (which, site, request)) = change(&headers, body, body::overrides).await?;
    let answer = app.control.set_override(origin, which, site, request).await?;
    Ok(tagged(answer.generation, &answer))
}

async fn set_cutovers(State(app): State<App>, headers: HeaderMap, body: Body) -> Reply {
    let (origin, (which, request)) = change(&headers, body, body::cutovers).await?;
    let answer = app.control.set_cutover(origin, which, request).await?;
    Ok(tagged(answer.generation, &answer))
}

async fn reload(State(app): State<App>, headers: HeaderMap, body: Body) -> Reply {
    let (origin, request) = change(&headers, body, body::reload).await?;
    let answer = app.control.reload(origin, request).await?;
    Ok(tagged(answer.generation, &answer))
}

/// The answer of `GET /api/v1/audit`.
#[derive(Serialize)]
struct Audit {
    entries: Vec<AuditEntry>,
}

async fn audit(State(app): State<App>, Pairs(pairs): Pairs) -> Reply {
    let query = audit_query(pairs)?;
    Ok(Json(Audit { entries: app.control.audit(query).await? }).into_response())
}

async fn explain(State(app): State<App>, Pairs(pairs): Pairs) -> Result<Json<Explanation>, Problem> {
    Ok(Json(app.control.explain(&explain_query(pairs)?, Timestamp::now())))
}

fn explain_query(pairs: Vec<(String, String)>) -> Result<Question, Vec<Fault>> {
    let mut given = Parameters::of(pairs, &["name", "type", "client", "subnet"]);
    let name = given.require("name", "the name asked for", |text| Name::parse(text, None).map_err(|e| e.to_string()));
    let rtype = given.take("type", |text| Rtype::parse(text).ok_or_else(|| format!("{text:?} is no record type")));
    let client = given.require("client", "the IP address of the resolver that asks", |text| {
        text.parse().map_err(|_| format!("{text:?} is no IP address"))
    });
    let subnet = given.take("subnet", words::subnet);
    let rtype = rtype.unwrap_or(Rtype::A);
    given.end(name.zip(client).map(|(name, client)| Question { name, rtype, client, subnet }))
}

async fn forecast(State(app): State<App>, Segments(written): Segments<String>, Pairs(pairs): Pairs) -> Reply {
    let name = pool_name(&written)?;
    let request = forecast_query(&name, pairs)?;
    let forecast = app.control.forecast(name, request).await?;
    Ok(tagged(forecast.generation, &forecast))
}

/// The flip to forecast; none of its parameters asks what is now.
fn forecast_query(pool: &Name, pairs: Vec<(String, String)>) -> Result<FlipRequest, Vec<Fault>> {
    let mut given = Parameters::of(pairs, &["from", "to", "percent", "cap"]);
    let site = |text: &str| Ok(text.to_owned());
    let (from, to) = (given.take("from", site), given.take("to", site));
    let percent = given.take("percent", words::percent);
    let cap = given.take("cap", |text| text.parse().map_err(|_| format!("{text:?} is neither true nor false")));
    let (said, all) = ([from.is_some(), to.is_some(), percent.is_some()], [true; 3]);
    let request = FlipRequest {
        pools: vec![pool.clone()],
        from,
        to,
        percent,
        cap: cap.unwrap_or(false),
        dry_run: true,
        ..FlipRequest::default()
    };
    let request = given.end(Some(request))?;
    if said.contains(&true) && said != all {
        return Err(vec![Fault::new("", "from, to and percent go together")]);
    }
    Ok(request)
}

async fn readyz(State(app): State<App>) -> Response {
    let status = status_soon(&app).await;
    let readiness = ready::readiness(app.facts.serving.load(Ordering::Relaxed), status.as_ref());
    let code = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(readiness)).into_response()
}

async fn metrics_page(State(app): State<App>) -> Response {
    let status = status_soon(&app).await;
    let (readers, store, probes) = (app.control.readers(), app.control.store_numbers(), app.control.probe_numbers());
    let mut page = metrics::page(readers, status.as_ref(), store, probes, &app.requests, &app.facts.secondaries);
    page += &metrics::forwarders(app.control.forwarders(), Timestamp::now());
    page += &metrics::webhooks(app.control.webhooks());
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], page).into_response()
}

/// Monitoring must work when the writer does not: then there is no status.
async fn status_soon(app: &App) -> Option<Status> {
    tokio::time::timeout(PATIENCE, app.control.status()).await.ok()?.ok()
}

fn generation(written: &str) -> Result<u64, Problem> {
    written.parse().map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, format!("{written:?} is no generation: a whole number such as 17"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn an_explanation_needs_a_name_and_a_client() {
        let asked = [("name", "www.example.org"), ("client", "192.0.2.1"), ("subnet", "203.0.113.0/24")];
        let question = Question {
            name: "www.example.org".parse().unwrap(),
            rtype: Rtype::A,
            client: [192, 0, 2, 1].into(),
            subnet: Some("203.0.113.0/24".parse().unwrap()),
        };
        assert_eq!(explain_query(pairs(&asked)), Ok(question));
        assert_eq!(explain_query(Vec::new()).unwrap_err().len(), 2);
        let wrong = pairs(&[("name", "a..b"), ("type", "WHAT"), ("client", "here")]);
        assert_eq!(explain_query(wrong).unwrap_err().len(), 3);
    }
}
