//! How long answers are really held: estimated from the gaps between a client's queries, so that a horizon gets quantiles.
//!
//! The cache horizon is a bound for caches that obey TTLs. Of a sample of clients more is known: when each was given which
//! endpoint last, and how its queries follow its TTLs. A client that never comes back before its answer has expired is one
//! cache; one that always comes later than that holds answers longer than it should, or is seldom asked itself: the estimate
//! takes it to hold them. One that comes earlier has several caches, prefetches or cuts TTLs: it is taken to hold each answer
//! for its whole TTL.
//!
//! What always holds: at most [`MOST_TRACKS`] clients, names and types are kept; no estimate is earlier than what the client's
//! own queries leave possible.

use std::collections::HashMap;
use std::hash::Hash;

use crate::dns::Ttl;
use crate::steering::horizon::expires;
use crate::time::Timestamp;

/// What is kept at most; more clients make the sample thinner.
pub const MOST_TRACKS: usize = 1 << 16;

/// Gaps by which a client is judged.
const GAPS: usize = 4;
/// So many of them must be known.
const FEWEST_GAPS: usize = 3;
/// A client that comes so much earlier than its answer expires is no single obedient cache. Clocks are rounded, answers travel.
const EARLY_SECS: i64 = 3;
/// Endpoints whose last answer is kept for a client.
const ENDPOINTS: usize = 3;

/// What a client was given, of which name and type: by the caller's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// Who asked.
    pub client: u64,
    /// For what pool.
    pub pool: u64,
    /// And type.
    pub rtype: usize,
}

/// The clients that are followed.
#[derive(Debug, Default)]
pub struct EffectiveTtls {
    tracks: HashMap<Asked, Track>,
}

#[derive(Clone, Copy, Debug)]
struct Track {
    /// The last answer.
    at: Timestamp,
    ttl: Ttl,
    /// By how much the client came later than its answer expired, in seconds; negative is earlier. The last ones.
    late_secs: [i64; GAPS],
    gaps: usize,
    /// Until when it is taken to hold an answer that named an endpoint.
    held: [Option<(usize, Timestamp)>; ENDPOINTS],
    /// Its queries; halved each time that the old ones are forgotten.
    weight: f64,
}

/// What is estimated for an endpoint that clients still hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// By then so much of the demand has let go as was asked for; `None`: it has already.
    pub at: Option<Timestamp>,
    /// The part of the demand that has let go by now, 0..=1.
    pub gone: f64,
    /// The part of the demand whose clients come later than their TTLs say.
    pub late: f64,
    /// Clients in the sample.
    pub clients: usize,
}

impl EffectiveTtls {
    /// Takes in an answer. Answers of one client come in the order in which they were given, or nearly so.
    pub fn observe(&mut self, asked: Asked, endpoint: usize, ttl: Ttl, at: Timestamp) {
        let Some(track) = self.tracks.get_mut(&asked) else {
            let mut held = [None; ENDPOINTS];
            held[0] = Some((endpoint, expires(at, ttl)));
            self.tracks.insert(asked, Track { at, ttl, late_secs: [0; GAPS], gaps: 0, held, weight: 1.0 });
            return;
        };
        if at > track.at {
            track.late_secs[track.gaps % GAPS] = at.since(track.at) as i64 - i64::from(track.ttl.secs());
            track.gaps += 1;
        }
        (track.at, track.ttl) = (track.at.max(at), ttl);
        track.weight += 1.0;
        track.hold(endpoint, at);
    }

    /// When `part` of the demand on `pool` has let go of `endpoint`; `None` where no client is followed.
    pub fn estimate(&self, pool: u64, endpoint: usize, part: f64, now: Timestamp) -> Option<Estimate> {
        let tracks = self.tracks.iter().filter(|(asked, _)| asked.pool == pool).map(|(_, track)| track);
        let (mut all, mut late, mut clients) = (0.0, 0.0, 0);
        let mut holding: Vec<(Timestamp, f64)> = Vec::new();
        for track in tracks {
            (all, clients) = (all + track.weight, clients + 1);
            if track.extends_secs() > 0 {
                late += track.weight;
            }
            let until = track.held.iter().flatten().find(|(e, _)| *e == endpoint).map(|(_, until)| *until);
            holding.extend(until.filter(|until| *until > now).map(|until| (until, track.weight)));
        }
        if clients == 0 {
            return None;
        }
        holding.sort_unstable_by_key(|(until, _)| std::cmp::Reverse(*until));
        let held: f64 = holding.iter().map(|(_, weight)| weight).sum();
        // From the last one to let go backwards, until more than the rest is still held.
        let mut above = 0.0;
        let at = holding.iter().find(|(_, weight)| {
            above += weight;
            above > all * (1.0 - part)
        });
        Some(Estimate { at: at.map(|(until, _)| *until), gone: 1.0 - held / all, late: late / all, clients })
    }

    /// Keeps only clients for which `keep` says so, and forgets those who have not come for a day.
    pub fn retain(&mut self, now: Timestamp, keep: impl Fn(&Asked) -> bool) {
        self.tracks.retain(|asked, track| keep(asked) && now.since(track.at) < 86_400);
    }

    /// Halves what is old, so that demand follows the clients.
    pub fn halve(&mut self) {
        self.tracks.values_mut().for_each(|track| track.weight /= 2.0);
    }

    /// How many clients, names and types are followed.
    pub fn len(&self) -> usize {
        self.tracks.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }
}

impl Track {
    /// It was given `endpoint` at `at`, with its TTL.
    fn hold(&mut self, endpoint: usize, at: Timestamp) {
        let until = expires(at, self.ttl).after(self.extends_secs());
        if self.is_one_cache() {
            // The one cache has this answer now, and none of before.
            self.held = [None; ENDPOINTS];
        }
        let place = self.held.iter().position(|held| held.is_none_or(|(e, _)| e == endpoint));
        // Of more endpoints than there are places for, the one that is let go of first is forgotten.
        let first = || (0..ENDPOINTS).min_by_key(|&i| self.held[i].map(|(_, until)| until)).unwrap_or(0);
        let place = place.unwrap_or_else(first);
        let before = self.held[place].filter(|(e, _)| *e == endpoint).map(|(_, until)| until);
        self.held[place] = Some((endpoint, before.map_or(until, |before| before.max(until))));
    }

    fn gaps(&self) -> &[i64] {
        &self.late_secs[..self.gaps.min(GAPS)]
    }

    /// Whether it never came early.
    fn is_one_cache(&self) -> bool {
        self.gaps >= FEWEST_GAPS && self.gaps().iter().all(|&late| late >= -EARLY_SECS)
    }

    /// By how much longer than its TTL it seems to hold an answer: the least that it ever came late, if that is more than a
    /// quarter of the TTL.
    fn extends_secs(&self) -> u64 {
        let least = self.gaps().iter().copied().min().unwrap_or(0);
        let much = EARLY_SECS.max(i64::from(self.ttl.secs()) / 4);
        if self.gaps >= FEWEST_GAPS && least > much { least as u64 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::horizon::MARGIN_SECS;

    const T: Timestamp = Timestamp(1_800_000_000);
    const TTL: Ttl = Ttl::from_secs(60);

    fn asked(client: u64) -> Asked {
        Asked { client, pool: 1, rtype: 0 }
    }

    /// Clients 0..99 ask each `gap` seconds until T, and are given endpoint 0.
    fn clients(gap: impl Fn(u64) -> u64) -> EffectiveTtls {
        let mut all = EffectiveTtls::default();
        for client in 0..100 {
            for back in (0..6).rev() {
                all.observe(asked(client), 0, TTL, T.before(back * gap(client) + client % 50));
            }
        }
        all
    }

    #[test]
    fn obedient_caches_let_go_within_their_ttl() {
        let all = clients(|_| 61);
        let now = all.estimate(1, 0, 0.99, T).unwrap();
        assert_eq!((now.at, now.clients), (Some(T.after(60 + MARGIN_SECS)), 100));
        assert!(now.gone.abs() < 1e-9 && now.late.abs() < 1e-9);
        assert_eq!(all.estimate(1, 0, 0.5, T).unwrap().at, Some(T.after(35 + MARGIN_SECS)));
        let later = all.estimate(1, 0, 0.9, T.after(13 + MARGIN_SECS)).unwrap();
        assert!((later.gone - 0.06).abs() < 0.021, "{later:?}");
        assert_eq!(all.estimate(1, 0, 0.99, T.after(100)).unwrap().at, None);
        assert_eq!(all.estimate(1, 1, 0.99, T).unwrap().at, None, "nobody was given it");
        assert_eq!(all.estimate(2, 0, 0.99, T), None);
    }

    #[test]
    fn one_cache_that_asked_again_has_let_go_and_several_have_not() {
        for (gap, gone) in [(61, true), (20, false)] {
            let mut all = clients(|_| gap);
            for client in 0..100 {
                all.observe(asked(client), 1, TTL, T.after(5 + gap));
            }
            let estimate = all.estimate(1, 0, 0.99, T.after(5 + gap)).unwrap();
            assert_eq!(estimate.at.is_none(), gone, "{gap}: {estimate:?}");
        }
    }

    #[test]
    fn who_comes_late_is_taken_to_hold_what_it_has() {
        // Two of a hundred extend TTLs to five minutes.
        let all = clients(|client| if client % 50 == 49 { 300 } else { 61 });
        let estimate = |part| all.estimate(1, 0, part, T).unwrap();
        assert!((estimate(0.9).late - 0.02).abs() < 1e-9);
        assert_eq!(estimate(0.97).at, Some(T.after(60 + MARGIN_SECS)));
        assert_eq!(estimate(0.99).at, Some(T.before(49).after(300 + MARGIN_SECS)));
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut all = clients(|_| 61);
        all.halve();
        all.retain(T, |asked| asked.client < 10);
        assert_eq!(all.len(), 10);
        all.retain(T.after(86_400), |_| true);
        assert!(all.is_empty());
    }
}
