//! Serial numbers of zones: which of two is newer (RFC 1982), and which one follows.

use jiff::tz::TimeZone;

use crate::time::Timestamp;

/// How the serial of a zone goes up when Waypost itself changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// By one.
    #[default]
    Increase,
    /// Seconds since 1970, where that is newer; else by one.
    UnixTime,
    /// `YYYYMMDDnn` of today in UTC, where that is newer; else by one.
    DateSerial,
}

/// Whether `a` is newer than `b` (RFC 1982, 3.2). Of two that are 2^31 apart neither is.
pub const fn is_newer(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}

/// The serial that follows `current` at `now`: always newer, and never 0, which some secondaries take for no serial at all.
pub fn next(policy: Policy, current: u32, now: Timestamp) -> u32 {
    let wanted = match policy {
        Policy::Increase => None,
        Policy::UnixTime => Some(now.0 as u32), // it goes round, as serials do
        Policy::DateSerial => date(now),
    };
    let plus_one = match current.wrapping_add(1) {
        0 => 1,
        n => n,
    };
    wanted.filter(|wanted| is_newer(*wanted, current)).unwrap_or(plus_one)
}

fn date(now: Timestamp) -> Option<u32> {
    let at = jiff::Timestamp::from_second(i64::try_from(now.0).ok()?).ok()?.to_zoned(TimeZone::UTC);
    let [year, month, day] = [i64::from(at.year()), i64::from(at.month()), i64::from(at.day())];
    u32::try_from(((year * 100 + month) * 100 + day) * 100).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-21T07:00:00Z.
    const NOW: Timestamp = Timestamp(1_795_244_400);

    #[test]
    fn each_policy_has_its_numbers() {
        assert_eq!(next(Policy::Increase, 7, NOW), 8);
        assert_eq!(next(Policy::Increase, u32::MAX, NOW), 1);
        assert_eq!(next(Policy::UnixTime, 7, NOW), 1_795_244_400);
        assert_eq!(next(Policy::UnixTime, 1_795_244_400, NOW), 1_795_244_401);
        assert_eq!(next(Policy::DateSerial, 7, NOW), 2_026_112_100);
        assert_eq!(next(Policy::DateSerial, 2_026_112_100, NOW), 2_026_112_101);
        assert_eq!(next(Policy::DateSerial, 2_026_112_205, NOW), 2_026_112_206, "tomorrow's already");
    }

    #[test]
    fn newer_goes_round() {
        assert!(is_newer(1, 0) && is_newer(0, u32::MAX) && is_newer(1 << 31, 1));
        assert!(!is_newer(0, 0) && !is_newer(0, 1) && !is_newer(1 << 31, 0) && !is_newer(0, 1 << 31));
    }

    proptest! {
        #[test]
        fn it_always_goes_up(current: u32, secs in 0u64..1 << 40) {
            for policy in [Policy::Increase, Policy::UnixTime, Policy::DateSerial] {
                prop_assert!(is_newer(next(policy, current, Timestamp(secs)), current));
            }
        }
    }
}
