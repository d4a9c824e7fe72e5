//! TTL: a promise of how long an answer holds, in whole seconds (RFC 2181, 8).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whole seconds, 0..=2^31-1 (RFC 2181, 8). No `Duration`: it has no fractions and a bound of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ttl(u32);

impl Ttl {
    /// No caching.
    pub const ZERO: Self = Self(0);
    /// The most that RFC 2181 allows.
    pub const MAX: Self = Self((1 << 31) - 1);

    /// `seconds`, or the largest TTL when that is less.
    pub const fn from_secs(seconds: u64) -> Self {
        if seconds > Self::MAX.0 as u64 { Self::MAX } else { Self(seconds as u32) }
    }

    /// Whole seconds.
    pub const fn secs(self) -> u32 {
        self.0
    }

    /// Reads `300`, or BIND's units `1w2d3h4m5s` in any order and case.
    ///
    /// # Errors
    /// [`TtlError`], which quotes the text.
    pub fn parse(text: &str) -> Result<Self, TtlError> {
        let bad = || TtlError { text: text.to_owned() };
        if text.is_empty() {
            return Err(bad());
        }
        let (mut total, mut number) = (0u64, None::<u64>);
        for c in text.bytes() {
            if c.is_ascii_digit() {
                let n = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add((c - b'0') as u64));
                number = Some(n.ok_or_else(bad)?);
                continue;
            }
            let unit = match c.to_ascii_lowercase() {
                b's' => 1,
                b'm' => 60,
                b'h' => 3600,
                b'd' => 86_400,
                b'w' => 604_800,
                _ => return Err(bad()),
            };
            let part = number.take().ok_or_else(bad)?.checked_mul(unit).ok_or_else(bad)?;
            total = total.checked_add(part).ok_or_else(bad)?;
        }
        let total = total.checked_add(number.unwrap_or(0)).ok_or_else(bad)?;
        if total > Self::MAX.0 as u64 { Err(bad()) } else { Ok(Self(total as u32)) }
    }
}

/// A text that is no TTL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no TTL (seconds, or units as in 1h30m, at most 2147483647 s)")]
pub struct TtlError {
    /// What was written.
    pub text: String,
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        assert_eq!(Ttl::parse("300").unwrap().secs(), 300);
        assert_eq!(Ttl::parse("1h30M").unwrap().secs(), 5400);
        assert_eq!(Ttl::parse("1w1d1h1m1s").unwrap().secs(), 694_861);
        for bad in ["", "h", "1x", "-1", "2147483648", "99999999999999999999", "1 h"] {
            assert!(Ttl::parse(bad).is_err(), "{bad}");
        }
    }
}
