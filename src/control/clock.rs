//! Whether the wall clock can be relied on. Pure: what clocks say comes in, what is new of it goes out.
//!
//! TTLs, cutovers, deadlines and horizons are instants of the wall clock; several servers agree only as far as their clocks do.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The least jump that is told: the kernel slews a clock far less than that between two looks.
const JUMP_MS: i64 = 1500;

/// What clocks say at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Wall clock, milliseconds since 1970.
    pub wall_ms: i64,
    /// Monotonic clock, milliseconds since whenever.
    pub monotonic_ms: i64,
    /// Whether the kernel says that the wall clock is kept in step; `None`: it does not say.
    pub synchronised: Option<bool>,
}

/// What is known of the clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    last: Option<Reading>,
    state: ClockState,
}

/// What there is to tell of the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockState {
    /// Since when it is known not to be kept in step; `null`: it is, or nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsynchronised_since: Option<Timestamp>,
    /// The last time that it jumped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jumped: Option<Jump>,
}

/// The wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jump {
    /// What it said behind the jump.
    pub at: Timestamp,
    /// How far, in seconds; below 0: back.
    pub by_s: i64,
}

/// What is new of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is not kept in step.
    Unsynchronised,
    /// It is again.
    Synchronised,
    /// It was set.
    Jumped(Jump),
}

impl Clock {
    /// Takes in one look.
    pub fn look(&mut self, reading: Reading) -> Vec<News> {
        let now = Timestamp(u64::try_from(reading.wall_ms / 1000).unwrap_or(0));
        let mut news = Vec::new();
        if let Some(last) = self.last {
            let by_ms = (reading.wall_ms - last.wall_ms) - (reading.monotonic_ms - last.monotonic_ms);
            if by_ms.abs() >= JUMP_MS {
                // Away from nothing, so that a horizon which is moved along is never too early.
                let by_s = by_ms.signum() * ((by_ms.abs() + 999) / 1000);
                let jump = Jump { at: now, by_s };
                self.state.jumped = Some(jump);
                news.push(News::Jumped(jump));
            }
        }
        self.last = Some(reading);
        match (reading.synchronised, self.state.unsynchronised_since) {
            (Some(false), None) => {
                self.state.unsynchronised_since = Some(now);
                news.push(News::Unsynchronised);
            }
            (Some(true) | None, Some(_)) => {
                self.state.unsynchronised_since = None;
                news.push(News::Synchronised);
            }
            _ => {}
        }
        news
    }

    /// What there is to tell.
    pub fn state(&self) -> ClockState {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: i64, monotonic_ms: i64, synchronised: Option<bool>) -> Reading {
        Reading { wall_ms, monotonic_ms, synchronised }
    }

    #[test]
    fn a_clock_that_is_not_kept_in_step_is_told_once() {
        let mut clock = Clock::default();
        assert_eq!(clock.look(at(10_000, 0, Some(false))), [News::Unsynchronised]);
        assert_eq!(clock.look(at(10_250, 250, Some(false))), []);
        assert_eq!(clock.state().unsynchronised_since, Some(Timestamp(10)));
        assert_eq!(clock.look(at(10_500, 500, Some(true))), [News::Synchronised]);
        assert_eq!(clock.look(at(10_750, 750, None)), []);
        assert_eq!(clock.state(), ClockState::default());
    }

    #[test]
    fn a_jump_is_told_whichever_way() {
        let mut clock = Clock::default();
        assert_eq!(clock.look(at(100_000, 0, None)), []);
        assert_eq!(clock.look(at(161_000, 60_000, None)), [], "a slow look, and a clock that is slewed");
        let forward = Jump { at: Timestamp(3762), by_s: 3600 };
        assert_eq!(clock.look(at(3_762_000, 61_001, None)), [News::Jumped(forward)]);
        assert_eq!(clock.look(at(3_762_250, 61_251, None)), []);
        let back = clock.look(at(1_000_000, 62_000, None));
        assert!(matches!(back[..], [News::Jumped(Jump { by_s: -2763, .. })]), "{back:?}");
        assert_eq!(clock.state().jumped.map(|jump| jump.at), Some(Timestamp(1000)));
    }

    proptest::proptest! {
        #[test]
        fn what_is_moved_along_is_never_too_early(wall in 0i64..1_000_000, by in -100_000i64..100_000, took in 0i64..10_000) {
            let mut clock = Clock::default();
            clock.look(at(wall, 0, None));
            for news in clock.look(at(wall + took + by, took, None)) {
                let News::Jumped(jump) = news else { panic!("{news:?}") };
                proptest::prop_assert!(jump.by_s.abs() * 1000 >= by.abs() && jump.by_s.signum() == by.signum());
            }
        }
    }
}
