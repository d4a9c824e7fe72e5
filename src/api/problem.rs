//! Errors as answers: every refusal has one shape, `application/problem+json` (RFC 9457).
//!
//! The one place where errors of the inside become a status. What only the log should know does not enter.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::control::{ControlError, Fault};
use crate::time::Timestamp;

/// A refusal as it is sent, and as `waypost`'s own subcommands read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: the status says which kind it is.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// The status in words.
    pub title: Box<str>,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and, where it can be said, what to do.
    pub detail: String,
    /// Each mistake in the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// The generation as it is, when the request was decided on another one or on none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// When it will be allowed, if it came too early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_at: Option<Timestamp>,
}

impl Problem {
    /// A refusal with `status`.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            generation: None,
            allowed_at: None,
        }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let status = match &error {
            ControlError::Invalid(_) => StatusCode::BAD_REQUEST,
            ControlError::NotFound(_) => StatusCode::NOT_FOUND,
            ControlError::Conflict(_) | ControlError::TooSoon { .. } => StatusCode::CONFLICT,
            ControlError::Stale { .. } => StatusCode::PRECONDITION_FAILED,
            ControlError::Unconditional { .. } => StatusCode::PRECONDITION_REQUIRED,
            ControlError::Reused { .. } | ControlError::Unloadable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ControlError::Store(_) | ControlError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut problem = Self::new(status, error.to_string());
        match error {
            ControlError::Invalid(faults) => problem.errors = faults,
            ControlError::Unloadable(mistakes) => {
                problem.errors = mistakes.into_iter().map(|m| Fault::new("", m)).collect();
            }
            ControlError::Stale { current, .. } | ControlError::Unconditional { current } => {
                problem.generation = Some(current);
            }
            ControlError::TooSoon { allowed_at, .. } => problem.allowed_at = Some(allowed_at),
            _ => {}
        }
        problem
    }
}

impl From<Vec<Fault>> for Problem {
    fn from(faults: Vec<Fault>) -> Self {
        ControlError::Invalid(faults).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"waypost\""));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_status() {
        for (error, status) in [
            (ControlError::Invalid(vec![Fault::new("/to", "\"x\" is no site")]), 400),
            (ControlError::NotFound("no pool".into()), 404),
            (ControlError::Conflict("it would leave nothing".into()), 409),
            (ControlError::Stale { given: 16, current: 17 }, 412),
            (ControlError::Unloadable(vec!["a".into(), "b".into()]), 422),
            (ControlError::Reused { key: "night/1".into(), first: "flip".into() }, 422),
            (ControlError::Unconditional { current: 17 }, 428),
            (ControlError::Store("disk full".into()), 503),
            (ControlError::Stopping, 503),
        ] {
            assert_eq!(Problem::from(error.clone()).status, status, "{error:?}");
        }
    }

    #[test]
    fn a_stale_request_learns_the_generation() {
        let problem = Problem::from(ControlError::Stale { given: 16, current: 17 });
        assert_eq!(
            serde_json::to_value(problem).unwrap(),
            serde_json::json!({
                "type": "about:blank",
                "title": "Precondition Failed",
                "status": 412,
                "detail": "the generation is 17, not 16: look at what changed, then say it again",
                "generation": 17,
            })
        );
    }

    #[test]
    fn mistakes_are_listed_with_their_place() {
        let problem =
            Problem::from(vec![Fault::new("/to", "5 is no text"), Fault::new("/percent", "101 is above 100")]);
        assert_eq!(problem.detail, "5 is no text; 101 is above 100");
        assert_eq!(problem.errors[1].pointer, "/percent");
    }

    #[test]
    fn a_problem_says_that_it_is_one() {
        let response = Problem::new(StatusCode::UNAUTHORIZED, "no token").into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"waypost\"");
    }
}
