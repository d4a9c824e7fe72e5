//! Keeps a message that could come thousands of times a second to one.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets something be said at most once a second.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<Option<Instant>>);

impl Throttle {
    /// Whether it may be said at `now`; if so, it counts as said.
    pub(super) fn may_speak(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| now.duration_since(last) >= Duration::from_secs(1));
        if may {
            *last = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_second() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let spoken = [0, 999, 1000, 1500, 2001].map(|ms| throttle.may_speak(start + Duration::from_millis(ms)));
        assert_eq!(spoken, [true, false, true, false, true]);
    }
}
