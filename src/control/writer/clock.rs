//! The clock is looked at: what is wrong with it is told, and a jump forward moves horizons along.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::control::clock::{Jump, News, Reading};
use crate::control::writer::Writer;
use crate::server::clock_is_synchronised;
use crate::time::Timestamp;
use crate::webhook::{Event, Kind};

impl Writer {
    pub(super) fn look_at_clock(&mut self, now: Timestamp) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let reading = Reading {
            wall_ms: wall.as_millis() as i64,
            monotonic_ms: Instant::now().duration_since(self.started).as_millis() as i64,
            synchronised: clock_is_synchronised().ok(),
        };
        for news in self.clock.look(reading) {
            let (kind, text, data) = match news {
                News::Unsynchronised => {
                    let text = "the clock of this machine is not kept in step by NTP or the like: cutovers, deadlines and \
                                horizons are as wrong as it is";
                    tracing::warn!("{text}");
                    (Kind::ClockUnsynchronised, text.to_owned(), json!({}))
                }
                News::Synchronised => {
                    let text = "the clock of this machine is kept in step again";
                    tracing::info!("{text}");
                    (Kind::ClockSynchronised, text.to_owned(), json!({}))
                }
                News::Jumped(jump) => {
                    let text = jumped(&jump);
                    tracing::error!("{text}");
                    if let Ok(by_secs @ 1..) = u64::try_from(jump.by_s) {
                        self.horizons.move_along(now.before(by_secs + 1), by_secs);
                        self.unsettled.extend(self.state.pools.keys().cloned());
                        self.rrsets.move_along(now.before(by_secs + 1), by_secs);
                    }
                    (Kind::ClockJumped, text, json!(jump))
                }
            };
            self.hooks.tell(Event::new(kind, text, data, now));
        }
    }
}

/// A jump in words.
pub(super) fn jumped(jump: &Jump) -> String {
    let (by, way) = (jump.by_s.unsigned_abs(), if jump.by_s < 0 { "back" } else { "forward" });
    format!(
        "the clock of this machine jumped {way} by {by} s at {}: cutovers and deadlines come at other moments than was told",
        jump.at
    )
}
