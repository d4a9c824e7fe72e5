//! The `prometheus` probe: an instant query to a Prometheus, whose values must all compare as configured.
//!
//! What Prometheus can't tell (nobody answers, no series, NaN) says nothing about the endpoint: it is unknown, and counts
//! as configured. Series that ended are marked stale by Prometheus and are missing then; `max_age` tightens that.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::{Request, header};
use serde::Deserialize;
use tokio::net::lookup_host;

use super::connect::connect;
use super::failure::Failure;
use super::http::{USER_AGENT, begin, collect};
use super::phases::Phases;
use super::tls::handshake;
use crate::tls::Client;

/// The most of an answer that is read; a longer one is unknown.
const MAX_ANSWER_OCTETS: usize = 1 << 20;

/// Which Prometheus is asked what, and how the values must compare.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Over TLS; it offers `http/1.1`.
    pub tls: Option<Client>,
    /// Name (looked up by the system) or address, as in a URL.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What comes before `/api/v1/query`: empty, or begins with `/`.
    pub prefix: String,
    /// PromQL; `$pool`, `$site`, `$family` and `$address` stand for what is asked about.
    pub query: String,
    /// What every value must be.
    pub comparison: Comparison,
    /// Whether unknown counts as down; else it is no observation.
    pub unknown_is_down: bool,
    /// Samples older than this count as missing; `None`: as Prometheus is configured.
    pub max_age: Option<Duration>,
}

/// A comparison with a number, such as `< 0.05`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Comparison {
    operator: Operator,
    /// As written; a number.
    bound: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operator {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Unequal,
}

const OPERATORS: [(&str, Operator); 6] = [
    ("<=", Operator::AtMost), // before the shorter ones
    (">=", Operator::AtLeast),
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<", Operator::Less),
    (">", Operator::More),
];

impl Comparison {
    /// Reads `< 0.05`, `>= 1` and so on.
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, operator) = OPERATORS.iter().find(|(sign, _)| text.trim_start().starts_with(sign))?;
        let bound = text.trim_start()[sign.len()..].trim();
        bound.parse::<f64>().ok().filter(|bound| !bound.is_nan())?;
        Some(Self { operator: *operator, bound: bound.to_owned() })
    }

    fn holds(&self, value: f64) -> bool {
        let Ok(bound) = self.bound.parse::<f64>() else { return false }; // it was a number when it was made
        match self.operator {
            Operator::Less => value < bound,
            Operator::AtMost => value <= bound,
            Operator::More => value > bound,
            Operator::AtLeast => value >= bound,
            Operator::Equal => value.total_cmp(&bound).is_eq(),
            Operator::Unequal => value.total_cmp(&bound).is_ne(),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = OPERATORS.iter().find(|(_, operator)| *operator == self.operator).map_or("", |(sign, _)| *sign);
        write!(f, "{sign} {}", self.bound)
    }
}

/// Asks; the values, if all compare as they should. There is no timeout of its own.
pub(super) async fn ask(settings: &Settings, source: super::Source, phases: &mut Phases) -> Result<String, Failure> {
    let unknown = |detail: String| Failure::Unknown { detail, is_down: settings.unknown_is_down };
    let values = match values(settings, source, phases).await {
        Ok(values) => values,
        Err(failure) if !failure.is_the_endpoints() => return Err(failure),
        Err(failure) => return Err(unknown(format!("Prometheus: {failure}"))),
    };
    if values.is_empty() {
        return Err(unknown("the query gives no value".to_owned()));
    }
    if values.iter().any(|value| value.is_nan()) {
        return Err(unknown("the query gives NaN".to_owned()));
    }
    if let Some(wrong) = values.iter().find(|value| !settings.comparison.holds(**value)) {
        return Err(Failure::Value { value: *wrong, expected: settings.comparison.to_string() });
    }
    let told: Vec<String> = values.iter().take(5).map(f64::to_string).collect();
    Ok(format!("value {}", told.join(", ")))
}

async fn values(settings: &Settings, source: super::Source, phases: &mut Phases) -> Result<Vec<f64>, Failure> {
    phases.begin("look up");
    let bare = settings.host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<_> = match bare.parse::<IpAddr>() {
        Ok(address) => vec![(address, settings.port).into()],
        Err(_) => lookup_host((bare, settings.port)).await?.collect(),
    };
    phases.end(|| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let mut last = Failure::Closed;
    for address in addresses {
        match connect(address, source.toward(address.ip()), phases).await {
            Ok(stream) => {
                let authority = format!("{}:{}", settings.host, settings.port);
                let mut path = format!("{}/api/v1/query?query={}", settings.prefix, encoded(&settings.query));
                if let Some(age) = settings.max_age {
                    let _ = write!(path, "&lookback_delta={}", age.as_secs_f64());
                }
                let request = Request::get(path)
                    .header(header::HOST, &authority)
                    .header(header::USER_AGENT, USER_AGENT)
                    .header(header::ACCEPT, "application/json")
                    .header(header::CONNECTION, "close")
                    .body(Empty::new())
                    .map_err(Failure::Request)?;
                let mut conversation = match &settings.tls {
                    None => {
                        phases.begin("request");
                        begin(stream, request, false).await?
                    }
                    Some(tls) => {
                        let stream = handshake(tls, stream, &authority, phases).await?;
                        phases.begin("request");
                        begin(stream, request, false).await?
                    }
                };
                let status = conversation.response.status().as_u16();
                let octets = collect(conversation.response.body_mut(), MAX_ANSWER_OCTETS).await?;
                phases.end(|| format!("HTTP/1.1 {status}, {} octets", octets.len()));
                return read(status, &octets);
            }
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// The values in an answer of `/api/v1/query`.
fn read(status: u16, octets: &[u8]) -> Result<Vec<f64>, Failure> {
    let Ok(answer) = serde_json::from_slice::<Answer>(octets) else {
        let expected = "200".to_owned();
        return Err(if status == 200 {
            Failure::Malformed { what: "answer" }
        } else {
            Failure::Status { status, expected }
        });
    };
    let Some(data) = answer.data else { return Err(Failure::Refused { reason: answer.error.unwrap_or_default() }) };
    let samples: Vec<(serde_json::Value, String)> = match data {
        Data::Vector(series) => series.into_iter().map(|series| series.value).collect(),
        Data::Scalar(sample) => vec![sample],
        Data::Matrix(_) | Data::String(_) => {
            return Err(Failure::Refused { reason: "the query gives no instant vector or scalar".to_owned() });
        }
    };
    let number = |(_, text): (_, String)| text.parse().map_err(|_| Failure::Malformed { what: "value" });
    samples.into_iter().map(number).collect()
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Series>),
    Scalar((serde_json::Value, String)),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Series {
    value: (serde_json::Value, String),
}

/// `text` for a URL's query (RFC 3986, 2).
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            let _ = write!(encoded, "%{octet:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons() {
        for (text, good, bad) in [
            ("< 0.05", 0.049, 0.05),
            ("<=1", 1.0, 1.1),
            (" > -3", 0.0, -3.0),
            (">= 1e3", 1000.0, 999.0),
            ("== 1", 1.0, 0.0),
            ("!= 0", 1.0, 0.0),
        ] {
            let comparison = Comparison::parse(text).unwrap();
            assert!(comparison.holds(good) && !comparison.holds(bad), "{text}");
        }
        assert_eq!(Comparison::parse("<=1").unwrap().to_string(), "<= 1");
        for wrong in ["", "0.05", "<", "< x", "= 1", "< NaN"] {
            assert_eq!(Comparison::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn answers_as_prometheus_gives_them() {
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"job":"a"},"value":[1.5,"0.03"]},{"metric":{},"value":[1,"+Inf"]}]}}"#;
        assert_eq!(read(200, vector.as_bytes()).unwrap(), [0.03, f64::INFINITY]);
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"NaN"]}}"#;
        assert!(read(200, scalar.as_bytes()).unwrap()[0].is_nan());
        let empty = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        assert!(read(200, empty.as_bytes()).unwrap().is_empty());
        let wrong = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert_eq!(read(400, wrong.as_bytes()).unwrap_err().to_string(), "refused: parse error");
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        assert!(read(200, matrix.as_bytes()).unwrap_err().to_string().contains("no instant vector"));
        assert_eq!(read(502, b"<html>").unwrap_err().to_string(), "status 502, expected 200");
    }

    #[test]
    fn a_query_is_encoded() {
        assert_eq!(encoded("a{b=\"c\"} < 1"), "a%7Bb%3D%22c%22%7D%20%3C%201");
    }
}
