//! What DNS knows, to class sources by.

use std::collections::{HashMap, HashSet};

use super::{Key, Source, written};
use crate::control::message::Status;
use crate::query::Readers;
use crate::steering::key::ClientKey;
use crate::steering::straggler::{Evidence, SiteEvidence, Verdict, classify};
use crate::time::Timestamp;

/// What DNS knows at one moment.
pub struct Known {
    pub(super) now: Timestamp,
    pub(super) sites: HashMap<(String, String), SiteEvidence>,
    pub(super) heard: HashSet<u64>,
    pub(super) unknown: SiteEvidence,
}

impl Known {
    /// From the writer's status and what the workers have recorded.
    pub fn gather(status: &Status, readers: &Readers, now: Timestamp) -> Self {
        let demand = readers.demand(status.started_at, now);
        let surely = demand.keys().iter().filter(|known| known.queries > known.error);
        let heard: HashSet<u64> = surely.filter_map(|known| known.key.packed()).collect();
        let unknown = SiteEvidence {
            horizon: None,
            answered: false,
            keys_heard: heard.len(),
            recorded_since: status.started_at,
            ttl_secs: 0,
        };
        let mut sites = HashMap::new();
        for pool in &status.pools {
            for endpoint in &pool.endpoints {
                // A site that was never answered is in no cache.
                let horizon = endpoint.horizon.iter().filter_map(|h| h.at).max().unwrap_or(Timestamp(0));
                let evidence = SiteEvidence {
                    horizon: Some(horizon),
                    answered: endpoint.answered || endpoint.horizon.iter().any(|h| h.at_least),
                    ttl_secs: pool.ttl.normal.secs().into(),
                    ..unknown
                };
                sites.insert((written(&pool.name.to_string()), endpoint.site.clone()), evidence);
            }
        }
        Self { now, sites, heard, unknown }
    }

    pub(super) fn verdict(&self, key: &Key, source: &Source, run: u64) -> Verdict {
        let site = key.belongs.as_ref().and_then(|b| self.sites.get(&(b.pool.clone(), b.site.clone())));
        let client = ClientKey::of_resolver(key.address).packed();
        classify(&Evidence {
            now: self.now,
            opened: source.opened,
            is_open: source.open(run) > 0,
            heard: client.is_some_and(|client| self.heard.contains(&client)),
            site: *site.unwrap_or(&self.unknown),
        })
    }
}
