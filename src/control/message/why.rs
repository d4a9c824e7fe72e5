//! Why a horizon is where it is, and which rules make a TTL: as data, and in words.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::dns::{Name, Ttl};
use crate::time::Timestamp;

/// The rule that counts when nothing else does.
pub const NORMAL: &str = "the normal one";

/// Where the instant of a horizon comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Why {
    /// The last answer of this process that named the endpoint.
    Answer {
        /// Where it is answered still: the rule that makes the TTL of answers what it is now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl: Option<TtlPart>,
    },
    /// Answers that are given until a change is in force.
    Change {
        /// Their TTL, at most.
        ttl: TtlPart,
    },
    /// What was stored before the process started; it was exact.
    Stored,
    /// What was stored in the moment of a change, which the process did not outlive: answers of the state before, for as long
    /// as the commit may have taken.
    Bound {
        /// The moment.
        change: Timestamp,
    },
    /// The process before ended without saving what it had answered: until this start it may have given the endpoint with the
    /// largest TTL that the stored state allowed.
    Recovered {
        /// When this process started.
        restart: Timestamp,
    },
    /// Secondaries that can't steer are given the endpoint.
    Carried {
        /// By this zone.
        zone: Name,
        /// With this TTL.
        ttl: Ttl,
    },
    /// Secondaries were given the endpoint, and may have it until they take a newer serial or their copy expires.
    Secondaries {
        /// By this zone.
        zone: Name,
        /// The serial that no longer says so; `None`: the change that makes it is yet to come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        serial: Option<u32>,
        /// Who is not known to have it; nobody: when the last one took it is known.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        waiting: Vec<IpAddr>,
        /// EXPIRE of the zone.
        expire_secs: u32,
        /// The TTL with which they answer.
        ttl: Ttl,
    },
}

/// Why a horizon can still grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Growing {
    /// The endpoint is given to clients.
    Answered,
    /// It is not any more, but a worker has not left the snapshot that gave it.
    Workers,
    /// Secondaries are given it.
    Secondaries,
}

/// What one rule lets a TTL be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TtlPart {
    /// At most.
    pub ttl: Ttl,
    /// The rule, in words.
    pub rule: String,
}

impl fmt::Display for TtlPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s, {}", self.ttl, self.rule)
    }
}

impl fmt::Display for Growing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "it is answered still",
            Self::Workers => "a worker has not left the snapshot that gave it",
            Self::Secondaries => "secondaries are given it",
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { ttl: None } => f.write_str("the last answer that named it"),
            Self::Answer { ttl: Some(ttl) } => write!(f, "the last answer that named it; the TTL is now at most {ttl}"),
            Self::Change { ttl } => write!(f, "answers until the change is in force, with a TTL of at most {ttl}"),
            Self::Stored => f.write_str("the last answer that named it, stored by a process before"),
            Self::Bound { change } => {
                write!(f, "a bound stored in the moment of the change of {change}, which that process did not outlive")
            }
            Self::Recovered { restart } => write!(
                f,
                "a bound, as the process before ended without saving what it had answered: it may have given it until the \
                 start at {restart}, with the largest TTL of the state that was stored"
            ),
            Self::Carried { zone, ttl } => {
                write!(f, "secondaries are given it by the zone {zone}, with a TTL of {ttl} s")
            }
            Self::Secondaries { zone, serial, waiting, expire_secs, ttl } => {
                let serial = serial.map_or_else(|| "the next serial".to_owned(), |serial| format!("serial {serial}"));
                let and_ttl = format!("and what they answered lives for {ttl} s");
                if waiting.is_empty() {
                    return write!(f, "the last secondary has taken {serial} of {zone}, {and_ttl}");
                }
                let who: Vec<String> = waiting.iter().map(ToString::to_string).collect();
                let (who, have) = (who.join(", "), if waiting.len() == 1 { "has" } else { "have" });
                write!(
                    f,
                    "{who} {have} not taken {serial} of {zone}: an old copy expires after {expire_secs} s (EXPIRE) and two \
                     hours, the longest transfer, {and_ttl}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_as_data_and_in_words() {
        let why = Why::Secondaries {
            zone: "example.org".parse().unwrap(),
            serial: Some(7),
            waiting: vec!["192.0.2.53".parse().unwrap()],
            expire_secs: 3600,
            ttl: Ttl::from_secs(60),
        };
        assert_eq!(
            why.to_string(),
            "192.0.2.53 has not taken serial 7 of example.org: an old copy expires after 3600 s (EXPIRE) and two hours, the \
             longest transfer, and what they answered lives for 60 s"
        );
        let json = serde_json::json!({"by": "secondaries", "zone": "example.org", "serial": 7, "waiting": ["192.0.2.53"],
                                      "expire_secs": 3600, "ttl": 60});
        assert_eq!(serde_json::to_value(&why).unwrap(), json);
        assert_eq!(serde_json::from_value::<Why>(json).unwrap(), why);
        assert_eq!(serde_json::to_value(Why::Answer { ttl: None }).unwrap(), serde_json::json!({"by": "answer"}));
    }
}
