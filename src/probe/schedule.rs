//! When the next check starts. Pure: instants and draws come in.

use std::time::Duration;

use tokio::time::Instant;

/// No check is repeated faster, whatever was configured.
const SHORTEST: Duration = Duration::from_millis(1);

/// The start of the check after the one that started at `started`: `interval` later, moved by up to a tenth either way
/// by `draw`, which is uniform over all of `u64`. Beats that have passed by `now` are left out, not made up for.
pub(super) fn next_start(started: Instant, now: Instant, interval: Duration, draw: u64) -> Instant {
    let interval = interval.max(SHORTEST);
    let tenth = interval / 10;
    let moved = (tenth.as_nanos() * 2 * u128::from(draw)) >> 64;
    let due = started + interval - tenth + Duration::from_nanos(moved as u64);
    match now.checked_duration_since(due) {
        None | Some(Duration::ZERO) => due,
        Some(late) => {
            let until_the_next = interval.as_nanos() - late.as_nanos() % interval.as_nanos();
            now + Duration::from_nanos(until_the_next as u64)
        }
    }
}

/// The start of the second check, after a first at `started`: anywhere in the interval after it, by `draw`. Checks that
/// began together are spread by it from then on.
pub(super) fn spread(started: Instant, now: Instant, interval: Duration, draw: u64) -> Instant {
    let part = (interval.as_nanos() * u128::from(draw)) >> 64;
    (started + Duration::from_nanos(part as u64)).max(now)
}

/// A sequence of draws that a seed gives (SplitMix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub(super) struct Draws(pub u64);

impl Draws {
    /// The next one, uniform over all of `u64`.
    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_draw_moves_the_beat_by_a_tenth_at_most() {
        let started = Instant::now();
        let due = |draw| next_start(started, started, 10 * SECOND, draw) - started;
        assert_eq!(due(0), 9 * SECOND);
        assert_eq!(due(1 << 63), 10 * SECOND);
        assert!(due(u64::MAX) <= 11 * SECOND && due(u64::MAX) > Duration::from_millis(10_999));
    }

    #[test]
    fn a_beat_that_was_missed_is_left_out() {
        let started = Instant::now();
        let middle = 1 << 63;
        let due = |took| next_start(started, started + took, 10 * SECOND, middle) - started;
        assert_eq!(due(Duration::ZERO), 10 * SECOND);
        assert_eq!(due(10 * SECOND), 10 * SECOND);
        assert_eq!(due(11 * SECOND), 20 * SECOND);
        assert_eq!(due(39 * SECOND), 40 * SECOND);
    }

    #[test]
    fn the_second_check_is_anywhere_in_the_interval() {
        let started = Instant::now();
        let due = |draw| spread(started, started, 10 * SECOND, draw) - started;
        assert_eq!((due(0), due(1 << 63)), (Duration::ZERO, 5 * SECOND));
        assert!(due(u64::MAX) < 10 * SECOND);
        assert_eq!(spread(started, started + 3 * SECOND, 10 * SECOND, 1 << 60) - started, 3 * SECOND);
    }

    proptest! {
        #[test]
        fn the_next_start_is_never_past_never_early_and_at_most_an_interval_away(
            interval_ms in 0u64..100_000, took_ms in 0u64..1_000_000, draw: u64,
        ) {
            let started = Instant::now();
            let interval = Duration::from_millis(interval_ms.max(1));
            let now = started + Duration::from_millis(took_ms);
            let next = next_start(started, now, Duration::from_millis(interval_ms), draw);
            prop_assert!(next >= now);
            prop_assert!(next - started >= interval * 9 / 10);
            prop_assert!(next - now <= interval + interval / 10);
        }
    }

    #[test]
    fn draws_spread_over_the_whole_range() {
        let mut draws = Draws(0);
        let mean = (0..10_000).map(|_| draws.draw() as f64 / u64::MAX as f64).sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
    }
}
