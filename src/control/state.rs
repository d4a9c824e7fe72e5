//! The durable state. Pure.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::control::message::Pending;
use crate::dns::{Name, Rtype, Ttl};
use crate::steering::flip::{Percent, leaves_nothing};
use crate::steering::key::endpoint_id;
use crate::steering::pool::{Override, Role, Selection, Settings, SiteName, SiteState, Weight, Word};
use crate::steering::select::Candidate;
use crate::steering::share::ShareTable;
use crate::steering::ttl::{Approach, Change, Cutover, TtlPolicy, largest_ttl_within};
use crate::time::Timestamp;

/// What operators made of the configuration: it rules from the first start on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Counts the operator's states.
    pub generation: u64,
    /// Flips that wait to be confirmed.
    pub pending: Vec<Pending>,
    /// What the operator says of the sites that the configuration has.
    #[serde(default)]
    pub sites: BTreeMap<SiteName, SiteState>,
    /// By owner name. Stored each for itself.
    #[serde(skip)]
    pub pools: BTreeMap<Name, PoolState>,
}

impl State {
    /// The same of these pools alone: one change of many thousands copies no others.
    #[must_use]
    pub fn of<'n>(&self, pools: impl IntoIterator<Item = &'n Name>) -> Self {
        let known = |name: &Name| Some((name.clone(), self.pools.get(name)?.clone()));
        let pools = pools.into_iter().filter_map(known).collect();
        Self { generation: self.generation, pending: self.pending.clone(), sites: self.sites.clone(), pools }
    }
}

/// The state of one pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolState {
    /// Its group: pools of one have the same endpoints, share table and overrides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// In the order of the configuration; the share table's indices.
    pub endpoints: Vec<EndpointState>,
    /// Which points each endpoint has.
    pub table: ShareTable,
    /// The change that is planned.
    pub cutover: Option<Cutover>,
    /// The last change by an operator.
    pub change: Option<Change>,
    /// The last time that weights were changed, or taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flipped: Option<Timestamp>,
    /// The normal TTL in force: after an unclean stop it bounds what had been served.
    pub normal: Ttl,
    /// The low TTL in force, which says how fast a TTL grew after a change.
    pub low: Ttl,
    /// Of policy, roles and RDATA: whether a configuration changes what is answered.
    pub fingerprint: u64,
    /// The types steered: after an unclean stop, what endpoints may have been answered with.
    pub types: Vec<Rtype>,
}

/// The state of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointState {
    /// Where it is.
    pub site: SiteName,
    /// Its weight now.
    pub weight: Weight,
    /// What weight 0 means for it, as the configuration says.
    pub role: Role,
    /// The operator's word over health.
    pub forced: Override,
    /// The word of the override file, which is stronger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_file: Option<Override>,
    /// The operator's word over its site, as [`State::sites`] has it.
    #[serde(default)]
    pub site_state: SiteState,
    /// Whether the configuration shows it to some clients first, whatever its weight.
    #[serde(default)]
    pub previewed: bool,
}

impl EndpointState {
    /// The word over health that is in force.
    pub fn in_force(&self) -> Override {
        self.by_file.unwrap_or(self.forced)
    }

    /// The same, where it stands, and what is said of the site.
    pub fn word(&self) -> Word {
        Word { forced: self.in_force(), by_file: self.by_file.is_some(), site: self.site_state }
    }
}

impl PoolState {
    /// As configured, before any operator's word.
    pub fn initial(settings: &Settings) -> Self {
        let endpoints: Vec<EndpointState> = settings
            .endpoints
            .iter()
            .map(|e| EndpointState {
                site: e.site.clone(),
                weight: e.weight,
                role: e.role,
                forced: Override::Obey,
                by_file: None,
                site_state: SiteState::Active,
                previewed: settings.previews(&e.site),
            })
            .collect();
        let weights: Vec<Weight> = endpoints.iter().map(|e| e.weight).collect();
        let table = ShareTable::from_weights(&weights);
        let TtlPolicy { normal, low, .. } = settings.ttl;
        let (fingerprint, types) = (fingerprint(settings), settings.types());
        let group = settings.selection.group.clone();
        let (cutover, change, flipped) = (None, None, None);
        Self { group, endpoints, table, cutover, change, flipped, normal, low, fingerprint, types }
    }

    /// Takes over what pools of a group have in common from another one, whose endpoints are at the same sites in the same
    /// order.
    pub fn follow(&mut self, lead: &Self) {
        self.endpoints.clone_from(&lead.endpoints);
        self.table.clone_from(&lead.table);
        self.cutover = lead.cutover.or(self.cutover);
        self.flipped = lead.flipped.max(self.flipped);
    }

    /// Says of the endpoint at `site` how its site is. One that is retired gives what it has to the others.
    pub fn set_site(&mut self, site: &str, to: SiteState) {
        let Some(endpoint) = self.endpoint(site) else { return };
        self.endpoints[endpoint].site_state = to;
        if to == SiteState::Retired && self.endpoints[endpoint].weight > Weight::ZERO {
            self.endpoints[endpoint].weight = Weight::ZERO;
            self.table = self.table.reweigh(&self.weights());
        }
    }

    /// Whether it has in common what pools of a group have.
    pub fn agrees(&self, other: &Self) -> bool {
        self.endpoints == other.endpoints && self.table == other.table
    }

    /// Its weights, by endpoint.
    pub fn weights(&self) -> Vec<Weight> {
        self.endpoints.iter().map(|e| e.weight).collect()
    }

    /// Where the endpoint at `site` stands.
    pub fn endpoint(&self, site: &str) -> Option<usize> {
        self.endpoints.iter().position(|e| e.site == site)
    }

    /// The endpoints as selection sees them, with this health.
    pub fn candidates(&self, healthy: impl Fn(usize) -> bool) -> Vec<Candidate> {
        let candidate = |(i, e): (usize, &EndpointState)| Candidate {
            id: endpoint_id(&e.site),
            weight: e.weight,
            role: e.role,
            healthy: healthy(i),
            forced: if e.site_state == SiteState::Active { e.in_force() } else { Override::Down },
        };
        self.endpoints.iter().enumerate().map(candidate).collect()
    }

    /// Whether it would have nothing to answer.
    pub fn leaves_nothing(&self) -> bool {
        leaves_nothing(&self.candidates(|_| true))
    }

    /// Whether this endpoint could be answered under some health.
    pub fn may_answer(&self, endpoint: usize) -> bool {
        let candidates = self.candidates(|_| true);
        let previewed = self.endpoints.get(endpoint).is_some_and(|e| e.previewed);
        candidates.get(endpoint).is_some_and(|c| c.is_active() || c.is_spare() || (previewed && c.counts_as_up()))
    }

    /// Whether it could be answered if no override stood in the way: the override file counts also where the store did not
    /// take what it says.
    pub fn could_answer(&self, endpoint: usize) -> bool {
        let endpoint = self.endpoints.get(endpoint);
        endpoint.is_some_and(|e| e.weight > Weight::ZERO || e.role == Role::Spare || e.previewed)
    }

    /// The most that any client may have been served under this state at any instant of `from..=until`. `policy` is today's;
    /// where the state was made under another one, the larger normal TTL bounds it: neither `normal` nor `low` alone would.
    pub fn largest_ttl_within(&self, policy: &TtlPolicy, from: Timestamp, until: Timestamp) -> Ttl {
        if (policy.normal, policy.low) == (self.normal, self.low) {
            // How it went down before a cutover may have been said otherwise then: this is the most that it could be.
            let policy = &TtlPolicy { mode: Approach::Countdown, max_wait: None, ..*policy };
            largest_ttl_within(policy, self.cutover.as_ref(), self.change.as_ref(), from, until)
        } else {
            self.normal.max(policy.normal)
        }
    }
}

/// Of all that decides an answer and is not state: policy, group, sites, roles, RDATA.
pub(super) fn fingerprint(settings: &Settings) -> u64 {
    let mut hasher = SipHasher13::new();
    settings.policy.to_string().hash(&mut hasher);
    let Selection { min_healthy, trickle, previews, .. } = &settings.selection;
    if (min_healthy, trickle) != (&Percent::ZERO, &Percent::ZERO) || !previews.is_empty() {
        (min_healthy, trickle, previews).hash(&mut hasher);
    }
    if let Some(preferences) = &settings.selection.preferences {
        preferences.hash(&mut hasher);
    }
    if let Some(group) = &settings.selection.group {
        group.hash(&mut hasher); // its salt says where clients fall
    }
    for endpoint in &settings.endpoints {
        (&endpoint.site, endpoint.role.to_string(), &endpoint.rdata).hash(&mut hasher);
        if let Some(pool) = &endpoint.pool {
            pool.hash(&mut hasher); // what that one answers is a change of its own
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::control::reconcile::tests::pool;
    use crate::steering::pool::Policy;
    use crate::steering::select::Selector;

    #[test]
    fn a_policy_of_today_does_not_bound_what_another_allowed() {
        let settings = pool(&[("ec2", 100)]);
        let mut state = PoolState::initial(&settings);
        let at = Timestamp(1_800_000_000);
        state.change = Some(Change { at, confirmed: Some(at) });
        let lower = TtlPolicy { low: Ttl::from_secs(1), ..settings.ttl };
        let largest = |policy| state.largest_ttl_within(&policy, at, at.after(10)).secs();
        assert_eq!(largest(settings.ttl), 60);
        assert_eq!(largest(lower), 3600, "not the 8 s that it would have earned from 1 s on");
    }

    proptest! {
        #[test]
        fn only_active_sites_are_answered_and_retiring_one_moves_its_own(
            endpoints in prop::collection::vec((0u32..4, any::<bool>(), 0u8..3, 0u8..3), 1..5),
            retired in 0usize..5, point: u64, healthy: [bool; 5],
        ) {
            let names = ["a", "b", "c", "d", "e"];
            let weights: Vec<(&str, u32)> = names.into_iter().zip(endpoints.iter().map(|e| e.0)).collect();
            let mut state = PoolState::initial(&pool(&weights));
            for (endpoint, (_, spare, forced, site)) in state.endpoints.iter_mut().zip(&endpoints) {
                endpoint.role = if *spare { Role::Spare } else { Role::Never };
                endpoint.forced = [Override::Obey, Override::Up, Override::Down][usize::from(*forced)];
                endpoint.site_state = [SiteState::Active, SiteState::Drained, SiteState::Active][usize::from(*site)];
            }
            let pick = |state: &PoolState| {
                let candidates = state.candidates(|i| healthy[i]);
                Selector::new(Policy::Sticky, Arc::new(state.table.clone()), &candidates).pick(point, 0)
            };
            let before = pick(&state);
            prop_assert!(before.is_none_or(|i| state.endpoints[i].site_state == SiteState::Active && state.may_answer(i)));
            prop_assert!(before.is_some() || state.leaves_nothing());
            let retired = retired % endpoints.len();
            let mut after = state.clone();
            after.set_site(names[retired], SiteState::Retired);
            prop_assert!(pick(&after) != Some(retired));
            prop_assert_eq!(after.endpoints[retired].weight, Weight::ZERO);
            if after.table != ShareTable::default() {
                prop_assert!((state.table.moved(&after.table) - state.table.share(retired)).abs() < 1e-9);
            }
        }
    }
}
