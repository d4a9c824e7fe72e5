//! How long clients really hold answers: the workers' sample is taken in, and told beside the horizon.

use crate::control::decide::percent;
use crate::control::message::HeldStatus;
use crate::control::writer::Writer;
use crate::steering::effective_ttl::{Asked, EffectiveTtls, MOST_TRACKS};
use crate::time::Timestamp;

/// The part of the demand that is told of.
const PART: f64 = 0.99;
/// How often demand of old is halved, and clients that went away are forgotten.
const EVERY_SECS: u64 = 3600;

/// What is sampled.
#[derive(Default)]
pub(super) struct Sampling {
    clients: EffectiveTtls,
    /// One client in 2^bits.
    bits: u32,
    /// Answers that did not fit, since the start.
    dropped: u64,
    tidied_at: Timestamp,
}

impl Writer {
    /// Takes in what workers have sampled; makes the sample thinner where it is too large, and room for many clients.
    pub(super) fn take_samples(&mut self, now: Timestamp) {
        self.readers.make_room();
        let sampling = &mut self.effective;
        let horizons = &self.horizons;
        let dropped = self.readers.sampled(|sampled| {
            if let Some((endpoint, rtype)) = horizons.place_of(sampled.recorder, sampled.slot as usize) {
                let asked = Asked { client: sampled.client, pool: sampled.recorder.into(), rtype };
                sampling.clients.observe(asked, endpoint, sampled.ttl, sampled.at);
            }
        });
        // As many halvings as what was dropped is of what fits.
        let more = ((dropped - sampling.dropped) / 1024 + 1).ilog2() + u32::from(dropped > sampling.dropped);
        sampling.dropped = dropped;
        let more = more + u32::from(sampling.clients.len() > MOST_TRACKS);
        let tidy = now.since(sampling.tidied_at) >= EVERY_SECS;
        if more == 0 && !tidy {
            return;
        }
        sampling.bits = (sampling.bits + more).min(32);
        if tidy {
            sampling.tidied_at = now;
            sampling.clients.halve();
            if sampling.clients.len() < MOST_TRACKS / 4 {
                sampling.bits = sampling.bits.saturating_sub(1);
            }
        }
        let (bits, readers) = (sampling.bits, &self.readers);
        readers.thin(bits);
        sampling.clients.retain(now, |asked| readers.samples(asked.client, bits));
    }

    /// What the sample says of an endpoint that is no longer answered, by the number of its pool's recorder.
    pub(super) fn held(&self, recorder: u32, endpoint: usize, now: Timestamp) -> Option<HeldStatus> {
        let estimate = self.effective.clients.estimate(recorder.into(), endpoint, PART, now)?;
        let late_percent = percent(estimate.late);
        let of = format!("of a sample of {} clients and types", estimate.clients);
        let why = if estimate.late > 0.0 {
            format!("{of}, {late_percent:.1} % of the demand comes later than its TTLs say and is taken to hold them")
        } else {
            format!("{of}, none comes later than its TTLs say")
        };
        Some(HeldStatus {
            percent: PART * 100.0,
            at: estimate.at,
            seconds_left: estimate.at.map_or(0, |at| at.since(now)),
            gone_percent: percent(estimate.gone),
            late_percent,
            clients: estimate.clients,
            why,
        })
    }
}
