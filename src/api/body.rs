//! The body of a request: JSON whatever the Content-Type says, read field by field, all mistakes told at once.
//!
//! What can be seen from the text alone is refused here, with the JSON pointer (RFC 6901) of each mistake. Whether a flip
//! makes sense, and whether pools and sites are there, is for `control` to say.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::LengthLimitError;
use serde_json::{Map, Value};

use crate::api::problem::Problem;
use crate::api::words;
use crate::control::Fault;
use crate::control::message::{
    CutoverRequest, FlipRequest, HealthRequest, OverrideRequest, ReasonRequest, ReloadWish, RestoreRequest, SiteRequest,
};
use crate::control::which::{Selector, Which};
use crate::dns::Name;
use crate::steering::flip::Percent;
use crate::steering::pool::{Override, SiteName, SiteState, Weight};
use crate::time::Timestamp;

/// The most octets of a body.
const MAX_OCTETS: usize = 1 << 20;
/// The longest that a pushed value may hold.
const MAX_PUSHED_SECS: u64 = 7 * 86_400;
/// In which time it must be there.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Receives a body as one JSON object; none at all is an empty one.
pub async fn receive(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, Problem> {
    let too_large =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {MAX_OCTETS} octets"));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|n| n > MAX_OCTETS) {
        return Err(too_large());
    }
    match tokio::time::timeout(TIME_LIMIT, to_bytes(body, MAX_OCTETS)).await {
        Err(_) => {
            let told = format!("the body did not come within {} s", TIME_LIMIT.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, told))
        }
        Ok(Err(error)) if error.source().is_some_and(<dyn Error>::is::<LengthLimitError>) => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Ok(Ok(octets)) => parse(&octets).map_err(|fault| vec![fault].into()),
    }
}

fn parse(octets: &[u8]) -> Result<Map<String, Value>, Fault> {
    if octets.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(octets) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Fault::new("", format!("the body is {}, not a JSON object", kind(&other)))),
        Err(error) => Err(Fault::new("", format!("the body is no JSON: {error}"))),
    }
}

/// `POST /flips`.
pub fn flip(object: Map<String, Value>) -> Result<FlipRequest, Vec<Fault>> {
    let mut fields = Fields::of(
        object,
        &[
            "pools",
            "select",
            "from",
            "to",
            "percent",
            "weights",
            "reason",
            "dry_run",
            "cap",
            "confirm_within",
            "confirm_within_s",
        ],
    );
    let written = fields.take("confirm_within", duration);
    let counted = fields.take("confirm_within_s", duration);
    if written.is_some() && counted.is_some() {
        fields.fault("/confirm_within_s", "say confirm_within or confirm_within_s, not both");
    }
    let request = FlipRequest {
        pools: fields.take_list("pools", name),
        select: fields.take("select", selector),
        from: fields.take("from", site),
        to: fields.take("to", site),
        percent: fields.take("percent", percent),
        weights: fields.take_weights("weights"),
        reason: fields.take("reason", text),
        dry_run: fields.take("dry_run", flag).unwrap_or(false),
        cap: fields.take("cap", flag).unwrap_or(false),
        confirm_within_s: written.or(counted),
    };
    fields.end(request)
}

/// `POST /restore`.
pub fn restore(object: Map<String, Value>) -> Result<RestoreRequest, Vec<Fault>> {
    let mut fields = Fields::of(object, &["generation", "reason"]);
    let number = fields.require("generation", generation, "the number of the generation to go back to");
    let request = RestoreRequest { generation: number.unwrap_or_default(), reason: fields.take("reason", text) };
    fields.end(request)
}

/// `POST /reload`.
pub fn reload(object: Map<String, Value>) -> Result<ReloadWish, Vec<Fault>> {
    let mut fields = Fields::of(object, &["reason", "force", "zone"]);
    let request = ReloadWish {
        reason: fields.take("reason", text),
        force: fields.take("force", flag).unwrap_or_default(),
        zone: fields.take("zone", name),
    };
    fields.end(request)
}

/// `POST /flips/{generation}/revert`, `POST /flips/{generation}/confirm`, `DELETE .../cutover`.
pub fn reason(object: Map<String, Value>) -> Result<ReasonRequest, Vec<Fault>> {
    let mut fields = Fields::of(object, &["reason"]);
    let request = ReasonRequest { reason: fields.take("reason", text) };
    fields.end(request)
}

/// `PUT .../override`.
pub fn set_override(object: Map<String, Value>) -> Result<OverrideRequest, Vec<Fault>> {
    let mut fields = Fields::of(object, &["override", "reason"]);
    let forced = fields.require("override", forced, "\"up\", \"down\" or \"obey\"");
    let request = OverrideRequest { forced: forced.unwrap_or_default(), reason: fields.take("reason", text) };
    fields.end(request)
}

/// `PUT .../health`.
pub fn health(object: Map<String, Value>) -> Result<HealthRequest, Vec<Fault>> {
    let mut fields = Fields::of(object, &["up", "for", "for_s", "reason"]);
    let up = fields.require("up", flag, "true or false");
    let (written, counted) = (fields.take("for", holds), fields.take("for_s", holds));
    match (written, counted) {
        (Some(_), Some(_)) => fields.fault("/for_s", "say for or for_s, not both"),
        (None, None) if fields.faults.is_empty() => {
            fields.fault("/for", "for is missing: the time for which the value holds, such as \"90s\"");
        }
        _ => {}
    }
    let for_s = written.or(counted).unwrap_or_default();
    let request = HealthRequest { up: up.unwrap_or_default(), for_s, reason: fields.take("reason", text) };
    fields.end(request)
}

/// `PUT /overrides`: of which pools, at which site.
pub fn overrides(object: Map<String, Value>) -> Result<(Which, SiteName, OverrideRequest), Vec<Fault>> {
    let mut fields = Fields::of(object, &["pools", "select", "site", "override", "reason"]);
    let which = fields.take_which();
    let site = fields.require("site", site, "the site of the endpoints");
    let forced = fields.require("override", forced, "\"up\", \"down\" or \"obey\"");
    let request = OverrideRequest { forced: forced.unwrap_or_default(), reason: fields.take("reason", text) };
    fields.end((which, site.unwrap_or_default(), request))
}

/// `PUT /cutovers`: of which pools.
pub fn cutovers(object: Map<String, Value>) -> Result<(Which, CutoverRequest), Vec<Fault>> {
    let mut fields = Fields::of(object, &["pools", "select", "at", "reason"]);
    let (which, at) = (fields.take_which(), fields.take_cutover());
    let request = CutoverRequest { at, reason: fields.take("reason", text) };
    fields.end((which, request))
}

/// `PUT /sites/{name}`.
pub fn site_state(object: Map<String, Value>) -> Result<SiteRequest, Vec<Fault>> {
    let mut fields = Fields::of(object, &["state", "reason"]);
    let state = fields.require("state", operator_state, "\"active\", \"drained\" or \"retired\"");
    let request = SiteRequest { state: state.unwrap_or_default(), reason: fields.take("reason", text) };
    fields.end(request)
}

/// `PUT .../cutover`.
pub fn cutover(object: Map<String, Value>) -> Result<CutoverRequest, Vec<Fault>> {
    let mut fields = Fields::of(object, &["at", "reason"]);
    let request = CutoverRequest { at: fields.take_cutover(), reason: fields.take("reason", text) };
    fields.end(request)
}

/// An object being read: what is taken is gone, mistakes are kept to the end.
pub(super) struct Fields {
    pub(super) object: Map<String, Value>,
    faults: Vec<Fault>,
}

impl Fields {
    pub(super) fn of(mut object: Map<String, Value>, known: &[&str]) -> Self {
        let mut faults = Vec::new();
        object.retain(|key, _| {
            let is_known = known.contains(&key.as_str());
            if !is_known {
                let told = format!("there is no field {key:?} here; there are {}", known.join(", "));
                faults.push(Fault::new(format!("/{}", escaped(key)), told));
            }
            is_known
        });
        Self { object, faults }
    }

    pub(super) fn fault(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.faults.push(Fault::new(pointer, detail));
    }

    /// The value of a field that may be missing; `null` is missing too.
    pub(super) fn take<T>(&mut self, field: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        let value = self.object.remove(field).filter(|v| !v.is_null())?;
        read(&value).map_err(|detail| self.fault(format!("/{field}"), detail)).ok()
    }

    /// The value of a field that must be there.
    pub(super) fn require<T>(
        &mut self,
        field: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
        wanted: &str,
    ) -> Option<T> {
        if self.object.get(field).is_none_or(Value::is_null) {
            self.fault(format!("/{field}"), format!("{field} is missing: {wanted}"));
        }
        self.take(field, read)
    }

    /// `at` of a cutover, which must be there: `null` clears it.
    pub(super) fn take_cutover(&mut self) -> Option<Timestamp> {
        if self.object.get("at").is_some_and(Value::is_null) {
            self.object.remove("at");
            return None;
        }
        self.require("at", instant, "an instant such as \"2027-01-15T08:00:00Z\", or null to clear the cutover")
    }

    /// `pools` and `select`, of which one must be there.
    fn take_which(&mut self) -> Which {
        let which = Which { pools: self.take_list("pools", name), select: self.take("select", selector) };
        if which == Which::default() && self.faults.is_empty() {
            self.fault("/pools", "no pool is named: say pools, or select with a label");
        }
        which
    }

    pub(super) fn take_list<T>(&mut self, field: &str, read: impl Fn(&Value) -> Result<T, String>) -> Vec<T> {
        let Some(list) = self.take(field, |v| match v {
            Value::Array(list) => Ok(list.clone()),
            other => Err(format!("{other} is {}, not a list", kind(other))),
        }) else {
            return Vec::new();
        };
        let mut items = Vec::with_capacity(list.len());
        for (i, value) in list.iter().enumerate() {
            match read(value) {
                Ok(item) => items.push(item),
                Err(detail) => self.fault(format!("/{field}/{i}"), detail),
            }
        }
        items
    }

    /// Weights by pool and site.
    fn take_weights(&mut self, field: &str) -> BTreeMap<Name, BTreeMap<SiteName, Weight>> {
        let mut weights = BTreeMap::new();
        for (key, value) in self.take(field, object).unwrap_or_default() {
            let pointer = format!("/{field}/{}", escaped(&key));
            let pool = match Name::parse(&key, None) {
                Ok(pool) => pool,
                Err(error) => {
                    self.fault(pointer, error.to_string());
                    continue;
                }
            };
            let sites = match object(&value) {
                Ok(sites) => sites,
                Err(detail) => {
                    self.fault(pointer, detail);
                    continue;
                }
            };
            let mut of_pool = BTreeMap::new();
            for (site, value) in sites {
                match weight(&value) {
                    Ok(weight) => _ = of_pool.insert(site, weight),
                    Err(detail) => self.fault(format!("{pointer}/{}", escaped(&site)), detail),
                }
            }
            // Names compare without case, keys with it.
            if weights.insert(pool, of_pool).is_some() {
                self.fault(pointer, format!("the pool {key:?} stands here twice"));
            }
        }
        weights
    }

    pub(super) fn end<T>(self, request: T) -> Result<T, Vec<Fault>> {
        if self.faults.is_empty() { Ok(request) } else { Err(self.faults) }
    }
}

pub(super) fn object(value: &Value) -> Result<Map<String, Value>, String> {
    value.as_object().cloned().ok_or_else(|| format!("{value} is {}, not an object", kind(value)))
}

pub(super) fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(ToOwned::to_owned).ok_or_else(|| format!("{value} is {}, not a text", kind(value)))
}

pub(super) fn site(value: &Value) -> Result<SiteName, String> {
    text(value).and_then(|site| if site.is_empty() { Err("\"\" is no site's name".to_owned()) } else { Ok(site) })
}

pub(super) fn name(value: &Value) -> Result<Name, String> {
    Name::parse(&text(value)?, None).map_err(|e| e.to_string())
}

fn selector(value: &Value) -> Result<Selector, String> {
    text(value)?.parse()
}

pub(super) fn flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("{value} is {}, not true or false", kind(value)))
}

fn instant(value: &Value) -> Result<Timestamp, String> {
    let written = text(value)?;
    Timestamp::parse(&written)
        .map_err(|_| format!("{written:?} is no instant: write it as 2027-01-15T08:00:00Z (RFC 3339)"))
}

fn percent(value: &Value) -> Result<Percent, String> {
    match value {
        Value::Number(number) => words::percent(&number.to_string()),
        Value::String(text) => words::percent(text),
        other => Err(format!("{other} is {}, not a percentage", kind(other))),
    }
}

fn duration(value: &Value) -> Result<u64, String> {
    match value {
        Value::Number(n) => n.as_u64().ok_or_else(|| format!("{n} is no length of time in whole seconds")),
        Value::String(text) => words::duration_s(text),
        other => Err(format!("{other} is {}, not a length of time", kind(other))),
    }
}

/// A length of time that a pushed value may hold.
fn holds(value: &Value) -> Result<u64, String> {
    let secs = duration(value)?;
    if (1..=MAX_PUSHED_SECS).contains(&secs) {
        return Ok(secs);
    }
    Err(format!("{value} is not between 1s and {}d", MAX_PUSHED_SECS / 86_400))
}

fn weight(value: &Value) -> Result<Weight, String> {
    value
        .as_u64()
        .and_then(|w| u32::try_from(w).ok())
        .and_then(Weight::new)
        .ok_or_else(|| format!("{value} is no weight: a whole number from 0 to {}", Weight::MAX))
}

fn generation(value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("{value} is no generation: a whole number such as 17"))
}

fn forced(value: &Value) -> Result<Override, String> {
    match value.as_str() {
        Some("up") => Ok(Override::Up),
        Some("down") => Ok(Override::Down),
        Some("obey") => Ok(Override::Obey),
        _ => Err(format!("{value} is no override: \"up\", \"down\" or \"obey\"")),
    }
}

fn operator_state(value: &Value) -> Result<SiteState, String> {
    match value.as_str() {
        Some("active") => Ok(SiteState::Active),
        Some("drained") => Ok(SiteState::Drained),
        Some("retired") => Ok(SiteState::Retired),
        _ => Err(format!("{value} is no state of a site: \"active\", \"drained\" or \"retired\"")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A reference token of a JSON pointer (RFC 6901, 3).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object_of(value: Value) -> Map<String, Value> {
        object(&value).unwrap()
    }

    fn told(faults: Vec<Fault>) -> Vec<String> {
        faults.into_iter().map(|f| format!("{}: {}", f.pointer, f.detail)).collect()
    }

    #[test]
    fn a_flip_as_the_manual_writes_it() {
        let request = flip(object_of(json!({
            "pools": ["www.example.org"], "from": "ec2", "to": "dc1", "percent": 5, "reason": "canary",
            "confirm_within": "10m",
        })))
        .unwrap();
        assert_eq!(request.pools, [Name::parse("WWW.example.org.", None).unwrap()]);
        assert_eq!(request.percent.map(Percent::units), Some(50_000));
        assert_eq!(request.confirm_within_s, Some(600));
        assert_eq!(request.reason.as_deref(), Some("canary"));
        assert!(!request.dry_run);
    }

    #[test]
    fn weights_in_full() {
        let request = flip(object_of(json!({"weights": {"www.example.org": {"ec2": 95, "dc1": 5}}}))).unwrap();
        let pool = &request.weights[&Name::parse("www.example.org", None).unwrap()];
        assert_eq!(pool["ec2"].get(), 95);
        assert_eq!(pool["dc1"].get(), 5);
    }

    #[test]
    fn percent_and_duration_in_each_form() {
        for percent in [json!(5), json!(5.0), json!("5"), json!("5%")] {
            let request = flip(object_of(json!({ "percent": percent }))).unwrap();
            assert_eq!(request.percent.map(Percent::units), Some(50_000));
        }
        for within in [json!("10m"), json!(600), json!("600")] {
            assert_eq!(flip(object_of(json!({"confirm_within": within}))).unwrap().confirm_within_s, Some(600));
        }
        assert_eq!(flip(object_of(json!({"confirm_within_s": 600}))).unwrap().confirm_within_s, Some(600));
        assert_eq!(flip(object_of(json!({"confirm_within": null}))).unwrap().confirm_within_s, None);
    }

    #[test]
    fn all_mistakes_at_once_each_with_its_place() {
        let faults = flip(object_of(json!({
            "pools": ["www.example.org", "a..b", 7],
            "from": 5,
            "percent": 101,
            "weights": {"www.example.org": {"e/c": -1, "dc1": 2_000_000}},
            "dry_run": "yes",
            "confirm_within": "soon",
            "when": "now",
        })))
        .unwrap_err();
        let told = told(faults);
        let places: Vec<&str> = told.iter().map(|t| t.split(": ").next().unwrap()).collect();
        let expected = [
            "/when",
            "/confirm_within",
            "/pools/1",
            "/pools/2",
            "/from",
            "/percent",
            "/weights/www.example.org/dc1",
            "/weights/www.example.org/e~1c",
            "/dry_run",
        ];
        assert_eq!(places, expected, "{told:#?}");
        assert!(told[0].contains("\"when\"") && told[0].contains("confirm_within"), "{}", told[0]);
        assert!(told[2].contains("a..b"), "{}", told[2]);
        assert_eq!(told[6], "/weights/www.example.org/dc1: 2000000 is no weight: a whole number from 0 to 1000000");
    }

    #[test]
    fn a_pool_named_twice_in_other_letters() {
        let faults = flip(object_of(json!({"weights": {"a.example": {"x": 1}, "A.example.": {"x": 2}}}))).unwrap_err();
        assert_eq!(faults.len(), 1);
        assert!(faults[0].detail.contains("twice"));
    }

    #[test]
    fn a_cutover_is_set_or_cleared_but_said() {
        let at = cutover(object_of(json!({"at": "2027-01-15T08:00:00Z"}))).unwrap().at;
        assert_eq!(at, Some(Timestamp(1_800_000_000)));
        assert_eq!(cutover(object_of(json!({"at": null}))).unwrap().at, None);
        assert!(told(cutover(Map::new()).unwrap_err())[0].starts_with("/at: at is missing"));
        let faults = told(cutover(object_of(json!({"at": "tomorrow"}))).unwrap_err());
        assert!(faults[0].contains("\"tomorrow\""), "{faults:?}");
    }

    #[test]
    fn an_override_is_one_of_three_words() {
        let pushed = health(object_of(json!({"up": false, "for": "90s", "reason": "disk full"}))).unwrap();
        assert_eq!((pushed.up, pushed.for_s, pushed.reason.as_deref()), (false, 90, Some("disk full")));
        assert_eq!(health(object_of(json!({"up": true, "for_s": 90}))).unwrap().for_s, 90);
        for (body, told) in [
            (json!({"up": true}), "for is missing: the time for which the value holds, such as \"90s\""),
            (json!({"up": "yes", "for": "90s"}), "\"yes\" is a text, not true or false"),
            (json!({"up": true, "for": "0s"}), "\"0s\" is not between 1s and 7d"),
            (json!({"up": true, "for": 3600, "for_s": 3600}), "say for or for_s, not both"),
        ] {
            assert_eq!(health(object_of(body)).unwrap_err()[0].detail, told);
        }
        assert_eq!(set_override(object_of(json!({"override": "down"}))).unwrap().forced, Override::Down);
        let faults = told(set_override(object_of(json!({"override": "off"}))).unwrap_err());
        assert_eq!(faults, ["/override: \"off\" is no override: \"up\", \"down\" or \"obey\""]);
        assert!(told(set_override(Map::new()).unwrap_err())[0].contains("missing"));
    }

    #[test]
    fn a_site_is_in_one_of_three_states() {
        assert_eq!(site_state(object_of(json!({"state": "drained"}))).unwrap().state, SiteState::Drained);
        let faults = told(site_state(object_of(json!({"state": "off"}))).unwrap_err());
        assert_eq!(faults, ["/state: \"off\" is no state of a site: \"active\", \"drained\" or \"retired\""]);
    }

    #[test]
    fn nothing_is_an_empty_object_and_a_list_is_none() {
        assert_eq!(parse(b" \n"), Ok(Map::new()));
        assert_eq!(reason(Map::new()), Ok(ReasonRequest::default()));
        assert_eq!(parse(b"[1]").unwrap_err().detail, "the body is a list, not a JSON object");
        assert!(parse(b"{\"a\":}").unwrap_err().detail.contains("line 1 column 6"));
        assert!(restore(Map::new()).is_err());
    }

    #[tokio::test]
    async fn a_body_has_a_bound() {
        let body = Body::from(vec![b' '; MAX_OCTETS + 1]);
        assert_eq!(receive(&HeaderMap::new(), body).await.unwrap_err().status, 413);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, "1048577".parse().unwrap());
        assert_eq!(receive(&headers, Body::empty()).await.unwrap_err().status, 413);
        let body = Body::from(vec![b' '; MAX_OCTETS]);
        assert_eq!(receive(&HeaderMap::new(), body).await, Ok(Map::new()));
    }
}
