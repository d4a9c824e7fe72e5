//! What webhooks tell of.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::time::Timestamp;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Which kind of thing.
    pub kind: Kind,
    /// When.
    pub at: Timestamp,
    /// No other event has it: 16 octets in hexadecimal digits.
    pub id: String,
    /// One sentence.
    pub text: String,
    /// What it is about, by kind.
    pub data: Value,
}

impl Event {
    /// With an id of its own.
    pub fn new(kind: Kind, text: impl Into<String>, data: Value, at: Timestamp) -> Self {
        let random = || getrandom::u64().unwrap_or(0); // then the instant alone tells it apart
        Self { kind, at, id: format!("{:016x}{:016x}", at.0 ^ random(), random()), text: text.into(), data }
    }

    /// As it is sent.
    pub fn body(&self) -> String {
        let Self { kind, at, text, data, .. } = self;
        json!({"type": kind.word(), "timestamp": at, "text": text, "data": data}).to_string()
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $word:literal),* $(,)?) => {
        /// The kinds of events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $kind),* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// As it is written and sent.
            pub fn word(self) -> &'static str {
                match self { $(Self::$kind => $word),* }
            }
        }
    };
}

kinds! {
    /// An operator's state was made: a flip, an override, a cutover, a reload. `data` is the entry of the audit.
    Change = "change",
    /// A flip has to be confirmed soon.
    ConfirmDue = "confirm-due",
    /// A flip was not confirmed, and was taken back.
    TakenBack = "taken-back",
    /// An override no longer stands over health.
    OverrideEnded = "override-ended",
    /// A pool answers spares, or all that it has: too little is healthy.
    Breach = "breach",
    /// It answers as its weights say again.
    BreachEnded = "breach-ended",
    /// An endpoint has gone down.
    EndpointDown = "endpoint-down",
    /// An endpoint has come up.
    EndpointUp = "endpoint-up",
    /// The instant of a cutover has come.
    CutoverReached = "cutover-reached",
    /// The last cache that obeys TTLs has let go of an endpoint that is no longer answered.
    HorizonReached = "horizon-reached",
    /// A configuration was not taken over.
    ReloadFailed = "reload-failed",
    /// A zone can't be had from its primaries.
    TransferFailed = "transfer-failed",
    /// It can again.
    TransferRecovered = "transfer-recovered",
    /// The store takes no changes.
    StoreFailed = "store-failed",
    /// It does again.
    StoreRecovered = "store-recovered",
    /// Nobody probes: health stays as it is.
    ProbesStopped = "probes-stopped",
    /// Probes go on.
    ProbesResumed = "probes-resumed",
    /// The machine's clock is not kept in step with a source of time.
    ClockUnsynchronised = "clock-unsynchronised",
    /// It is again.
    ClockSynchronised = "clock-synchronised",
    /// It was set.
    ClockJumped = "clock-jumped",
    /// Somebody tries the hook.
    Test = "test",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|kind| kind.word() == text).copied();
        found.ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|kind| kind.word()).collect();
            format!("{text:?} is no kind of event; there are {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_sent_with_its_kind_instant_and_sentence() {
        let event = Event::new(Kind::Breach, "too little", json!({"pool": "www"}), Timestamp(1_800_000_000));
        let body: Value = serde_json::from_str(&event.body()).unwrap();
        let expected = json!({"type": "breach", "timestamp": "2027-01-15T08:00:00Z", "text": "too little", "data": {"pool": "www"}});
        assert_eq!(body, expected);
        assert_eq!(event.id.len(), 32);
        assert_ne!(event.id, Event::new(Kind::Breach, "", json!({}), Timestamp(1_800_000_000)).id);
        assert!(Kind::ALL.iter().all(|kind| kind.word().parse() == Ok(*kind)) && "flip".parse::<Kind>().is_err());
    }
}
