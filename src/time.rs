//! Instants in UTC, as whole seconds: what TTLs, cutovers and horizons are counted in.
//!
//! Nothing here reads a clock but [`Timestamp::now`], which only the edges call (`server`, `control`, `cli`).

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant: whole seconds since 1970-01-01T00:00:00Z, without leap seconds. Written as RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The wall clock, rounded down. For the edges only; decisions get the instant as an argument.
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
    }

    /// The instant `seconds` later; the end of time where that can't be said.
    pub const fn after(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// The instant `seconds` earlier; 1970 where that can't be said.
    pub const fn before(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// Seconds from `earlier` to this instant; 0 when `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads RFC 3339 with an offset or `Z`; a fraction of a second is cut off.
    ///
    /// # Errors
    /// What jiff says of the text, or that it lies before 1970.
    pub fn parse(text: &str) -> Result<Self, String> {
        let at: jiff::Timestamp = text.parse().map_err(|e: jiff::Error| e.to_string())?;
        u64::try_from(at.as_second()).map(Self).map_err(|_| format!("{text:?} lies before 1970"))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()) {
            Some(at) => write!(f, "{at}"),
            None => f.write_str("never"),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_reads_what_it_writes() {
        let at = Timestamp(1_800_000_000);
        assert_eq!(at.to_string(), "2027-01-15T08:00:00Z");
        assert_eq!(Timestamp::parse("2027-01-15T08:00:00Z"), Ok(at));
        assert_eq!(Timestamp::parse("2027-01-15T09:00:00.7+01:00"), Ok(at));
        assert!(Timestamp::parse("tomorrow").is_err());
    }
}
