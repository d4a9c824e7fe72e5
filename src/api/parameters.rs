//! What the address of a request says: the segments of its path, and its query string, read parameter by parameter, all
//! mistakes told at once.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::api::problem::Problem;
use crate::control::Fault;

/// The named segments of a route, percent-decoded.
pub(super) struct Segments<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(rejection) => Err(Problem::new(rejection.status(), rejection.body_text())),
        }
    }
}

/// The query string as pairs, percent-decoded.
pub(super) struct Pairs(pub Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Pairs {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(rejection) => Err(Problem::new(rejection.status(), rejection.body_text())),
        }
    }
}

/// Parameters being read: what is taken is gone, mistakes are kept to the end.
pub(super) struct Parameters {
    pairs: Vec<(String, String)>,
    faults: Vec<Fault>,
}

impl Parameters {
    /// These, of which `known` may be there, each once.
    pub fn of(mut pairs: Vec<(String, String)>, known: &[&str]) -> Self {
        let mut faults = Vec::new();
        let mut seen = Vec::new();
        pairs.retain(|(key, _)| {
            let is_known = known.contains(&key.as_str());
            if !is_known {
                let told = format!("there is no parameter {key:?} here; there are {}", known.join(", "));
                faults.push(Fault::new("", told));
            } else if seen.contains(key) {
                faults.push(Fault::new("", format!("the parameter {key:?} stands there more than once")));
            }
            seen.push(key.clone());
            is_known
        });
        Self { pairs, faults }
    }

    /// The value of a parameter that may be missing.
    pub fn take<T>(&mut self, key: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let at = self.pairs.iter().position(|(k, _)| k == key)?;
        let (_, text) = self.pairs.swap_remove(at);
        read(&text).map_err(|detail| self.faults.push(Fault::new("", format!("{key}: {detail}")))).ok()
    }

    /// The value of a parameter that must be there.
    pub fn require<T>(&mut self, key: &str, wanted: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if self.pairs.iter().all(|(k, _)| k != key) {
            self.faults.push(Fault::new("", format!("the parameter {key} is missing: {wanted}")));
        }
        self.take(key, read)
    }

    /// What was read, when nothing was wrong.
    pub fn end<T>(self, read: Option<T>) -> Result<T, Vec<Fault>> {
        match read {
            Some(read) if self.faults.is_empty() => Ok(read),
            _ => Err(self.faults),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<u64, String> {
        text.parse().map_err(|_| format!("{text:?} is no number"))
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn all_mistakes_at_once() {
        let mut given = Parameters::of(pairs(&[("before", "x"), ("limt", "5")]), &["before", "limit"]);
        let before = given.take("before", number);
        let limit = given.require("limit", "how many", number);
        let faults = given.end(before.zip(limit)).unwrap_err();
        let told: Vec<&str> = faults.iter().map(|f| f.detail.as_str()).collect();
        let expected = [
            "there is no parameter \"limt\" here; there are before, limit",
            "before: \"x\" is no number",
            "the parameter limit is missing: how many",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn each_once() {
        let given = Parameters::of(pairs(&[("limit", "5"), ("limit", "6")]), &["limit"]);
        assert_eq!(given.end(Some(())).unwrap_err().len(), 1);
    }

    #[test]
    fn what_is_right_is_read() {
        let mut given = Parameters::of(pairs(&[("limit", "5")]), &["before", "limit"]);
        let read = (given.take("before", number), given.take("limit", number));
        assert_eq!(given.end(Some(read)), Ok((None, Some(5))));
    }
}
