//! What all handlers share: what they work with, how a change is read, how an answer is tagged.

use std::fmt::Write as _;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::api::metrics::Requests;
use crate::api::origin::origin;
use crate::api::parameters::Parameters;
use crate::api::problem::Problem;
use crate::api::{Facts, body};
use crate::control::message::Origin;
use crate::control::{AuditQuery, Fault, Handle};
use crate::dns::Name;

/// Audit entries in an answer, unless asked otherwise.
const AUDIT_ENTRIES: usize = 50;
/// The most audit entries in an answer.
const MAX_AUDIT_ENTRIES: usize = 1000;

/// What handlers work with.
#[derive(Clone)]
pub(super) struct App {
    pub control: Handle,
    pub facts: Facts,
    pub requests: Requests,
    /// Ends what would go on for ever.
    pub stop: CancellationToken,
}

/// What a handler gives.
pub(super) type Reply = Result<Response, Problem>;

/// Reads headers and body of a change; what is wrong with either is told at once.
pub(super) async fn change<T>(
    headers: &HeaderMap,
    body: Body,
    read: impl FnOnce(serde_json::Map<String, serde_json::Value>) -> Result<T, Vec<Fault>>,
) -> Result<(Origin, T), Problem> {
    let object = body::receive(headers, body).await?;
    let digest = digest(&object);
    match (origin(headers), read(object)) {
        (Ok(origin), Ok(request)) => Ok((Origin { digest: Some(digest), ..origin }, request)),
        (origin, request) => {
            Err([origin.err(), request.err()].into_iter().flatten().flatten().collect::<Vec<Fault>>().into())
        }
    }
}

/// SHA-256 of what a body says; neither the order of its members nor white space counts.
fn digest(object: &serde_json::Map<String, serde_json::Value>) -> String {
    // Its members are sorted.
    let text = serde_json::to_vec(object).expect("it was JSON");
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text).as_ref().iter().fold(
        String::new(),
        |mut hex, octet| {
            _ = write!(hex, "{octet:02x}");
            hex
        },
    )
}

pub(super) fn audit_query(pairs: Vec<(String, String)>) -> Result<AuditQuery, Vec<Fault>> {
    let mut given = Parameters::of(pairs, &["before", "limit"]);
    let before = given.take("before", |text| text.parse().map_err(|_| format!("{text:?} is no generation")));
    let limit = given.take("limit", |text| {
        let number = text.parse().ok().filter(|n| (1..=MAX_AUDIT_ENTRIES).contains(n));
        number.ok_or_else(|| format!("{text:?} is no number from 1 to {MAX_AUDIT_ENTRIES}"))
    });
    given.end(Some(AuditQuery { before, limit: limit.unwrap_or(AUDIT_ENTRIES) }))
}

/// An owner name in a path.
pub(super) fn pool_name(written: &str) -> Result<Name, Problem> {
    Name::parse(written, None).map_err(|e| Problem::new(StatusCode::BAD_REQUEST, e.to_string()))
}

/// An answer with its generation as ETag, to be sent back as If-Match.
pub(super) fn tagged(generation: u64, answer: &impl Serialize) -> Response {
    let tag = HeaderValue::from_str(&format!("\"{generation}\"")).expect("digits and quotation marks are ASCII");
    ([(header::ETAG, tag)], Json(answer)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn the_audit_has_bounds() {
        assert_eq!(audit_query(Vec::new()), Ok(AuditQuery { before: None, limit: 50 }));
        let asked = pairs(&[("before", "17"), ("limit", "1000")]);
        assert_eq!(audit_query(asked), Ok(AuditQuery { before: Some(17), limit: 1000 }));
        for wrong in ["0", "1001", "-1", "all"] {
            let faults = audit_query(pairs(&[("limit", wrong)])).unwrap_err();
            assert!(faults[0].detail.contains(wrong), "{faults:?}");
        }
    }

    #[tokio::test]
    async fn mistakes_of_headers_and_body_are_told_together() {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_static("new"));
        let problem = change(&headers, Body::from("{\"percent\": 101}"), body::flip).await.unwrap_err();
        assert_eq!(problem.status, 400);
        assert_eq!(problem.errors.len(), 2, "{problem:?}");
    }

    #[test]
    fn the_digest_is_of_what_a_body_says() {
        let of = |text: &str| digest(serde_json::from_str::<serde_json::Value>(text).unwrap().as_object().unwrap());
        assert_eq!(of(r#"{"to": "dc1", "percent": 5}"#), of(r#"{ "percent":5, "to":"dc1" }"#));
        assert_ne!(of(r#"{"to": "dc1", "percent": 5}"#), of(r#"{"to": "dc1", "percent": 6}"#));
        assert_eq!(of("{}").len(), 64);
    }

    #[test]
    fn an_answer_is_tagged_with_its_generation() {
        assert_eq!(tagged(17, &()).headers()[header::ETAG], "\"17\"");
    }
}
