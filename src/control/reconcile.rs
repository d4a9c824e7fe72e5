//! How the durable state meets a configuration. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::control::state::{EndpointState, PoolState, State, fingerprint};
use crate::dns::Name;
use crate::steering::pool::{Override, Settings, Site, SiteName, SiteState, Weight};
use crate::steering::ttl::{Change, TtlPolicy};
use crate::time::Timestamp;

/// What a configuration does to the state: something is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Removal {
    /// An endpoint that clients are given would be gone.
    #[error(
        "pool {pool}: this would take away the endpoint at {site}, which is given {share_percent} % of the answers now; \
         flip it away first, or say --force"
    )]
    Endpoint {
        /// The pool.
        pool: Name,
        /// The endpoint's site.
        site: SiteName,
        /// Its share, as text.
        share_percent: String,
    },
    /// The pool joins a group that does not give clients an endpoint.
    #[error(
        "pool {pool}: the group {group} gives nobody {site}, which is given {share_percent} % of this pool's answers now; \
         flip first, or say --force"
    )]
    Joining {
        /// The pool.
        pool: Name,
        /// The group.
        group: String,
        /// The endpoint's site.
        site: SiteName,
        /// Its share, as text.
        share_percent: String,
    },
    /// A pool that is being answered would be gone.
    #[error(
        "this would take away the pool {pool}, whose endpoints are answered now; say --force to let the zone answer for it"
    )]
    Pool {
        /// The pool.
        pool: Name,
    },
    /// Nothing would be left to answer, forced or not.
    #[error("pool {pool}: nothing would be left to answer: no site that serves has weight")]
    Nothing {
        /// The pool.
        pool: Name,
    },
}

/// Endpoints, by pool and site, that clients are given although they have no weight: spares in use.
pub type Answered = BTreeSet<(Name, SiteName)>;

/// Brings the state in line with a configuration, under its old generation: a new site begins with the configured state, a
/// new pool with the configured weights, a new endpoint of an old pool at weight 0, what the configuration lacks goes. The
/// rest stays as operators made it. Where other answers come of it, that is a change at `now`, and the TTL low after it.
///
/// # Errors
/// All [`Removal`]s that need `force`, or that not even force allows.
pub fn reconcile(
    state: &State,
    sites: &[Site],
    settings: &[Settings],
    answered: &Answered,
    force: bool,
    now: Timestamp,
) -> Result<State, Vec<Removal>> {
    let mut refused = Vec::new();
    let carried = |pool: &Settings| {
        let old = state.pools.get(&pool.name);
        (pool.name.clone(), old.map_or_else(|| PoolState::initial(pool), |old| carry_over(old, pool)))
    };
    let mut pools: BTreeMap<Name, PoolState> = settings.iter().map(carried).collect();
    gather(state, settings, &mut pools);
    let of_site = |site: &Site| (site.name.clone(), state.sites.get(&site.name).copied().unwrap_or(site.state));
    let sites: BTreeMap<SiteName, SiteState> = sites.iter().map(of_site).collect();
    for (name, pool) in &mut pools {
        for (site, site_state) in &sites {
            match pool.endpoint(site) {
                // What was flipped back to a retired site by a revert stays so, and is not answered.
                Some(i) if state.pools.contains_key(name) => pool.endpoints[i].site_state = *site_state,
                _ => pool.set_site(site, *site_state),
            }
        }
    }
    for (name, new) in &mut pools {
        if let Some(old) = state.pools.get(name) {
            for (i, endpoint) in old.endpoints.iter().enumerate() {
                let given = endpoint.weight > Weight::ZERO || answered.contains(&(name.clone(), endpoint.site.clone()));
                let here = new.endpoint(&endpoint.site);
                if !force && given && old.may_answer(i) && !here.is_some_and(|i| new.may_answer(i)) {
                    let (pool, site) = (name.clone(), endpoint.site.clone());
                    let share_percent = format!("{:.2}", old.table.share(i) * 100.0);
                    refused.push(match &new.group {
                        Some(group) if here.is_some() && old.group.as_ref() != Some(group) => {
                            Removal::Joining { pool, group: group.clone(), site, share_percent }
                        }
                        _ => Removal::Endpoint { pool, site, share_percent },
                    });
                }
            }
            let may =
                |pool: &PoolState| -> Vec<bool> { (0..pool.endpoints.len()).map(|i| pool.may_answer(i)).collect() };
            if new.fingerprint != old.fingerprint || may(new) != may(old) || new.table.moved(&old.table) > 0.0 {
                // A flip that waits is not confirmed by this.
                let confirmed = if old.change.is_some_and(|c| c.confirmed.is_none()) { None } else { Some(now) };
                new.change = Some(Change { at: now, confirmed });
            }
        }
        if new.leaves_nothing() {
            refused.push(Removal::Nothing { pool: name.clone() });
        }
    }
    for name in state.pools.keys().filter(|_| !force) {
        if !pools.contains_key(name) {
            refused.push(Removal::Pool { pool: name.clone() });
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    Ok(State { generation: state.generation, pending: state.pending.clone(), sites, pools })
}

/// Gives the pools of each group one state: that of the first one that was in the group before, else of the first that was
/// there before, else of the first.
fn gather(state: &State, settings: &[Settings], pools: &mut BTreeMap<Name, PoolState>) {
    let mut groups: BTreeMap<&str, Vec<&Name>> = BTreeMap::new();
    for pool in settings {
        if let Some(group) = &pool.selection.group {
            groups.entry(group).or_default().push(&pool.name);
        }
    }
    for (group, members) in groups {
        let old = |name: &&&Name| state.pools.get(**name);
        let was_in_it = |name: &&&Name| old(name).is_some_and(|o| o.group.as_deref() == Some(group));
        let lead = members.iter().find(was_in_it).or_else(|| members.iter().find(|name| old(name).is_some()));
        let lead = pools[*lead.unwrap_or(&members[0])].clone();
        for name in members {
            if let Some(pool) = pools.get_mut(name) {
                pool.follow(&lead);
            }
        }
    }
}

fn carry_over(old: &PoolState, settings: &Settings) -> PoolState {
    let endpoints: Vec<EndpointState> = settings
        .endpoints
        .iter()
        .map(|e| {
            let known = old.endpoint(&e.site).map(|i| &old.endpoints[i]);
            EndpointState {
                site: e.site.clone(),
                weight: known.map_or(Weight::ZERO, |k| k.weight),
                role: e.role,
                forced: known.map_or(Override::Obey, |k| k.forced),
                by_file: known.and_then(|k| k.by_file),
                site_state: SiteState::Active,
                previewed: settings.previews(&e.site),
            }
        })
        .collect();
    let map: Vec<Option<u16>> =
        old.endpoints.iter().map(|e| endpoints.iter().position(|n| n.site == e.site).map(|i| i as u16)).collect();
    let weights: Vec<Weight> = endpoints.iter().map(|e| e.weight).collect();
    let unmoved = map.iter().enumerate().all(|(i, to)| *to == Some(i as u16));
    // The table is kept to the point where it can be: by weights alone it could not be told which points moved before.
    let table = if unmoved { old.table.clone() } else { old.table.with_indices(&map, &weights) };
    let TtlPolicy { normal, low, .. } = settings.ttl;
    let (fingerprint, types) = (fingerprint(settings), settings.types());
    let group = settings.selection.group.clone();
    let PoolState { cutover, change, flipped, .. } = *old;
    PoolState { group, endpoints, table, cutover, change, flipped, normal, low, fingerprint, types }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::dns::Ttl;
    use crate::steering::pool::Role;
    use crate::steering::pool::{Endpoint, Policy, Selection};
    use crate::steering::ttl::Approach;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    pub(in crate::control) fn pool(weights: &[(&str, u32)]) -> Settings {
        let ttl = TtlPolicy {
            normal: Ttl::from_secs(3600),
            low: Ttl::from_secs(60),
            spread_secs: 120,
            mode: Approach::Countdown,
            max_wait: None,
            by_health: false,
        };
        let endpoint = |(site, weight): &(&str, u32)| Endpoint {
            site: (*site).to_owned(),
            weight: Weight::new(*weight).unwrap(),
            role: Role::Never,
            rdata: Vec::new(),
            pool: None,
        };
        Settings {
            name: "www.example.org".parse().unwrap(),
            policy: Policy::Sticky,
            selection: Selection::default(),
            ttl,
            probe: None,
            transfer: crate::steering::pool::Transfer::default(),
            handling: crate::steering::pool::Handling::default(),
            endpoints: weights.iter().map(endpoint).collect(),
            nest: None,
        }
    }

    fn state(settings: &Settings) -> State {
        let pools = [(settings.name.clone(), PoolState::initial(settings))].into();
        State { generation: 1, pools, ..State::default() }
    }

    fn pools_of(
        state: &State,
        file: &[Settings],
        answered: &Answered,
        force: bool,
        now: Timestamp,
    ) -> Result<BTreeMap<Name, PoolState>, Vec<Removal>> {
        reconcile(state, &[], file, answered, force, now).map(|state| state.pools)
    }

    #[test]
    fn the_store_rules_over_configured_weights() {
        let state = state(&pool(&[("ec2", 100), ("dc1", 0)]));
        let new =
            pools_of(&state, &[pool(&[("dc1", 100), ("ec2", 0), ("dc2", 50)])], &Answered::new(), false, NOW).unwrap();
        let new = &new[&"www.example.org".parse().unwrap()];
        let weights: Vec<u32> = new.weights().iter().map(|w| w.get()).collect();
        assert_eq!(weights, [0, 100, 0], "as before by site, and the new one at 0");
        assert!((new.table.share(1) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_answered_is_not_removed_unless_forced() {
        let before = state(&pool(&[("ec2", 100), ("dc1", 25)]));
        let name: Name = "www.example.org".parse().unwrap();
        let gone = pools_of(&before, &[pool(&[("ec2", 100)])], &Answered::new(), false, NOW).unwrap_err();
        assert!(gone[0].to_string().contains("dc1, which is given 20.00 %"), "{}", gone[0]);
        let forced = pools_of(&before, &[pool(&[("ec2", 100)])], &Answered::new(), true, NOW).unwrap();
        assert!((forced[&name].table.share(0) - 1.0).abs() < 1e-9);
        assert_eq!(
            pools_of(&before, &[], &Answered::new(), false, NOW).unwrap_err(),
            [Removal::Pool { pool: name.clone() }]
        );
        assert!(pools_of(&before, &[], &Answered::new(), true, NOW).unwrap().is_empty());
        let nothing = state(&pool(&[("ec2", 100), ("dc1", 0)]));
        assert_eq!(
            pools_of(&nothing, &[pool(&[("dc1", 100)])], &Answered::new(), true, NOW).unwrap_err(),
            [Removal::Nothing { pool: name }]
        );
    }

    fn grouped(name: &str, weights: &[(&str, u32)]) -> Settings {
        let selection = Selection { group: Some("web".to_owned()), ..Selection::default() };
        Settings { name: name.parse().unwrap(), selection, ..pool(weights) }
    }

    #[test]
    fn who_joins_a_group_takes_its_shares() {
        let (www, api): (Name, Name) = ("www.example.org".parse().unwrap(), "api.example.org".parse().unwrap());
        let mut before = state(&grouped("www.example.org", &[("ec2", 30), ("dc1", 70)]));
        let [ec2, dc1] = [("ec2", 100), ("dc1", 0)];
        let alone = pool(&[ec2, dc1]);
        before.pools.insert(api.clone(), PoolState::initial(&Settings { name: api.clone(), ..alone }));
        let file = [grouped("api.example.org", &[ec2, dc1]), grouped("www.example.org", &[ec2, dc1])];
        let new = pools_of(&before, &file, &Answered::new(), false, NOW).unwrap();
        assert!(new[&api].agrees(&new[&www]) && new[&www].agrees(&before.pools[&www]), "the one that was in it leads");
        let changes = [&api, &www].map(|name| new[name].change);
        assert_eq!(changes, [Some(Change { at: NOW, confirmed: Some(NOW) }), None]);

        before.pools.insert(www.clone(), PoolState::initial(&grouped("www.example.org", &[("ec2", 0), ("dc1", 1)])));
        let refused = pools_of(&before, &file, &Answered::new(), false, NOW).unwrap_err();
        assert!(refused[0].to_string().contains("the group web gives nobody ec2"), "{}", refused[0]);
        assert!(pools_of(&before, &file, &Answered::new(), true, NOW).unwrap()[&api].agrees(&before.pools[&www]));
    }

    #[test]
    fn a_site_is_as_configured_until_an_operator_speaks() {
        let file = [pool(&[("ec2", 100), ("dc1", 50)])];
        let sites = |state| {
            ["ec2", "dc1"].map(|name| Site {
                name: name.to_owned(),
                state: if name == "dc1" { state } else { SiteState::Active },
            })
        };
        let new = |before: &State, state| reconcile(before, &sites(state), &file, &Answered::new(), false, NOW);
        let first = new(&State::default(), SiteState::Retired).unwrap();
        let dc1 = &first.pools[&file[0].name].endpoints[1];
        assert_eq!((dc1.site_state, dc1.weight), (SiteState::Retired, Weight::ZERO));
        let again = new(&first, SiteState::Active).unwrap();
        assert_eq!(again, first, "from then on the store rules");
        let none = sites(SiteState::Drained).map(|site| Site { state: SiteState::Drained, ..site });
        let refused = reconcile(&State::default(), &none, &file, &Answered::new(), true, NOW).unwrap_err();
        assert_eq!(refused, [Removal::Nothing { pool: file[0].name.clone() }]);
    }

    proptest::proptest! {
        #[test]
        fn pools_of_a_group_never_differ(
            weights in proptest::collection::vec((0u32..3, 0u32..3, proptest::bool::ANY), 1..5), configured in (1u32..3, 0u32..3)
        ) {
            let name = |i: usize| format!("p{i}.example.org");
            let mut before = State::default();
            for (i, (a, b, member)) in weights.iter().enumerate() {
                let sites = [("a", *a), ("b", *b)];
                let old = if *member { grouped(&name(i), &sites) } else { pool(&sites) };
                before.pools.insert(name(i).parse().unwrap(), PoolState::initial(&old));
            }
            let sites = [("a", configured.0), ("b", configured.1)];
            let file: Vec<_> = (0..=weights.len()).map(|i| grouped(&name(i), &sites)).collect();
            if let Ok(new) = pools_of(&before, &file, &Answered::new(), true, NOW) {
                let first = new.values().next().unwrap();
                proptest::prop_assert!(new.values().all(|pool| pool.agrees(first) && !pool.leaves_nothing()));
            }
        }
    }
}
