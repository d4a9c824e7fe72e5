//! The nudge ladder: how firmly a rule's stragglers are asked to leave. Pure: clock and draw come as arguments.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A rung, set by hand and taken back at once by setting [`Rung::Forward`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "rung", deny_unknown_fields)]
pub enum Rung {
    /// Everything is forwarded.
    #[default]
    Forward,
    /// A connection older than `age_secs` is closed when it stands still for [`Rung::STILL`].
    CloseIdle {
        /// Seconds since it was accepted.
        age_secs: u32,
    },
    /// A connection is closed at this age, whatever it does.
    CapLife {
        /// Seconds since it was accepted.
        age_secs: u32,
    },
    /// So many of a hundred new connections are refused, for a while (brown-out).
    RefusePart {
        /// 0 to 100.
        percent: f64,
        /// Seconds from now on; then everything is forwarded again.
        for_secs: u32,
    },
    /// New connections are refused; open ones go on.
    Refuse,
}

impl Rung {
    /// How long a connection must stand still to count as idle: longer than a server's thinking mostly takes.
    pub const STILL: Duration = Duration::from_secs(1);

    /// Why it can't be set, if so.
    pub fn mistake(&self) -> Option<String> {
        match self {
            Self::RefusePart { percent, .. } if !(0.0..=100.0).contains(percent) => {
                Some(format!("{percent} is no percentage: expected 0 to 100"))
            }
            Self::RefusePart { for_secs: 0, .. } => Some("for 0 seconds is not at all".to_owned()),
            _ => None,
        }
    }
}

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

    #[test]
    fn rungs_are_written_in_their_own_words() {
        let text = serde_json::to_string(&Rung::CloseIdle { age_secs: 600 }).unwrap();
        assert_eq!(text, r#"{"rung":"close-idle","age_secs":600}"#);
        let read: Rung = serde_json::from_str(r#"{"rung":"refuse-part","percent":5,"for_secs":9}"#).unwrap();
        assert_eq!(read, Rung::RefusePart { percent: 5.0, for_secs: 9 });
        assert!(serde_json::from_str::<Rung>(r#"{"rung":"refuse-all"}"#).is_err());
        assert!(Rung::RefusePart { percent: 101.0, for_secs: 9 }.mistake().is_some());
    }
}
