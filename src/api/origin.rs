//! The headers of a change: on which generation it is decided (`If-Match`), by whom, and under which `Idempotency-Key`.

use axum::http::{HeaderMap, HeaderName, header};

use crate::control::Fault;
use crate::control::message::{Condition, Origin};

/// Who made a change with the admin token, when the request does not say more.
const ADMIN: &str = "admin";
/// Names the person behind the token. A claim of whoever holds the token: the audit keeps it as such.
const AUTHOR: HeaderName = HeaderName::from_static("x-waypost-author");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The most characters of an author's name.
const MAX_AUTHOR: usize = 64;
/// The most characters of an idempotency key.
const MAX_KEY: usize = 128;

/// What the headers say of a change, or all that is wrong with them.
pub fn origin(headers: &HeaderMap) -> Result<Origin, Vec<Fault>> {
    let mut faults = Vec::new();
    let condition = told(condition(headers), &mut faults).unwrap_or_default();
    let author = told(author(headers), &mut faults).unwrap_or_default();
    let idempotency_key = told(idempotency_key(headers), &mut faults).flatten();
    if faults.is_empty() { Ok(Origin { author, condition, idempotency_key, digest: None }) } else { Err(faults) }
}

fn told<T>(read: Result<T, String>, faults: &mut Vec<Fault>) -> Option<T> {
    read.map_err(|detail| faults.push(Fault::new("", detail))).ok()
}

/// `"17"` as in RFC 9110, 13.1.1; also without quotation marks and as the weak validator that some proxies make of it.
fn condition(headers: &HeaderMap) -> Result<Condition, String> {
    let Some(written) = only(headers, &header::IF_MATCH)? else { return Ok(Condition::Unsaid) };
    if written == "*" {
        return Ok(Condition::Any);
    }
    let tag = written.strip_prefix("W/").unwrap_or(written);
    let number = tag.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(tag);
    number
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| number.parse().ok())
        .flatten()
        .map(Condition::Generation)
        .ok_or_else(|| format!("If-Match: {written} is no generation: write \"17\", or * for any"))
}

fn author(headers: &HeaderMap) -> Result<String, String> {
    match only(headers, &AUTHOR)? {
        None => Ok(ADMIN.to_owned()),
        Some(name) if !name.is_empty() && name.chars().count() <= MAX_AUTHOR && !name.chars().any(char::is_control) => {
            Ok(name.to_owned())
        }
        Some(name) => Err(format!("X-Waypost-Author: {name:?} is no name of 1 to {MAX_AUTHOR} printable characters")),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, String> {
    match only(headers, &IDEMPOTENCY_KEY)? {
        Some(key) if !(1..=MAX_KEY).contains(&key.len()) || key.bytes().any(|b| !(b' '..=b'~').contains(&b)) => {
            Err(format!("Idempotency-Key: {key:?} is no key of 1 to {MAX_KEY} printable ASCII characters"))
        }
        key => Ok(key.map(ToOwned::to_owned)),
    }
}

/// The value of a header that may stand once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, String> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(format!("{name} stands there more than once"));
    }
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => Err(format!("{name}: {value:?} is no UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn condition_of(value: &str) -> Result<Condition, Vec<Fault>> {
        origin(&headers(&[("if-match", value)])).map(|o| o.condition)
    }

    #[test]
    fn a_generation_in_each_spelling() {
        for written in ["\"17\"", "17", "W/\"17\"", " \"17\" "] {
            assert_eq!(condition_of(written), Ok(Condition::Generation(17)), "{written}");
        }
        assert_eq!(condition_of("*"), Ok(Condition::Any));
        assert_eq!(origin(&HeaderMap::new()).unwrap().condition, Condition::Unsaid);
    }

    #[test]
    fn anything_else_is_quoted_back() {
        for written in ["", "\"\"", "abc", "\"1\", \"2\"", "+17", "-1", "\"17", "\"*\"", "99999999999999999999999"] {
            let faults = condition_of(written).unwrap_err();
            assert!(faults[0].detail.contains(written), "{faults:?}");
        }
        assert!(origin(&headers(&[("if-match", "1"), ("if-match", "2")])).is_err());
    }

    #[test]
    fn the_author_is_the_token_unless_its_holder_says_more() {
        assert_eq!(origin(&HeaderMap::new()).unwrap().author, "admin");
        assert_eq!(origin(&headers(&[("x-waypost-author", "Zoë")])).unwrap().author, "Zoë");
        for bad in ["", "a\tb", &"x".repeat(65)] {
            assert!(origin(&headers(&[("x-waypost-author", bad)])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_idempotency_key_has_bounds() {
        let key = "k".repeat(128);
        assert_eq!(origin(&headers(&[("idempotency-key", &key)])).unwrap().idempotency_key, Some(key));
        for bad in ["", "schlüssel", &"k".repeat(129)] {
            assert!(origin(&headers(&[("idempotency-key", bad)])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn all_headers_that_are_wrong_are_told() {
        let wrong = headers(&[("if-match", "x"), ("idempotency-key", ""), ("x-waypost-author", "")]);
        assert_eq!(origin(&wrong).unwrap_err().len(), 3);
    }
}
