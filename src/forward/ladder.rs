//! The nudge ladder: how firmly a rule's stragglers are asked to leave. Pure: clock and draw come as arguments.

use std::time::{Duration, Instant};

pub use crate::pairing::Rung;

/// A rung, and since when it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    rung: Rung,
    since: Instant,
}

impl Standing {
    pub(super) fn new(rung: Rung, since: Instant) -> Self {
        Self { rung, since }
    }

    /// The rung at `now`: one that is over has given way to [`Rung::Forward`].
    pub(super) fn rung(&self, now: Instant) -> Rung {
        match self.rung {
            Rung::RefusePart { for_secs, .. }
                if now.saturating_duration_since(self.since) >= Duration::from_secs(for_secs.into()) =>
            {
                Rung::Forward
            }
            rung => rung,
        }
    }

    /// Whether a new connection is refused.
    pub(super) fn refuses(&self, now: Instant, draw: u64) -> bool {
        match self.rung(now) {
            Rung::Refuse => true,
            Rung::RefusePart { percent, .. } => (draw as f64) < percent / 100.0 * u64::MAX as f64,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brown_out_refuses_its_part_and_ends_by_itself() {
        let start = Instant::now();
        let standing = Standing::new(Rung::RefusePart { percent: 25.0, for_secs: 60 }, start);
        let refused = (0..1000_u64).filter(|i| standing.refuses(start, i * (u64::MAX / 1000))).count();
        assert!((249..=251).contains(&refused), "{refused}");
        assert!(!standing.refuses(start + Duration::from_mins(1), 0));
        let all = Standing::new(Rung::RefusePart { percent: 0.0, for_secs: 1 }, start);
        assert!(!all.refuses(start, 0));
    }
}
