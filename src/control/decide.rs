//! What a command does to the state. Pure: the state and the instant come in, a proposal goes out; nothing is changed here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::control::error::{ControlError, Fault};
use crate::control::groups::{others, spread};
use crate::control::message::{
    Action, Condition, CutoverRequest, EndpointChange, FlipRequest, OverrideRequest, Pending, PoolChange,
};
use crate::control::state::{EndpointState, PoolState, State};
use crate::dns::Name;
use crate::steering::cap::capped;
use crate::steering::demand::Load;
use crate::steering::flip::by_percent;
use crate::steering::pool::{Settings, SiteName, SiteState, Weight};
use crate::steering::ttl::{Change, Cutover, largest_ttl};
use crate::time::Timestamp;

/// The longest that a flip may wait to be confirmed.
const MAX_CONFIRM_SECS: u64 = 7 * 86_400;

/// A new state, and what leads to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// What it is.
    pub action: Action,
    /// The new states of the pools that it touches.
    pub touched: BTreeMap<Name, PoolState>,
    /// What is said of a site.
    pub site: Option<(SiteName, SiteState)>,
    /// The flips that still wait to be confirmed.
    pub pending: Vec<Pending>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Checks under which generation a change was decided on; `must` refuses one that says nothing.
///
/// # Errors
/// [`ControlError::Stale`], [`ControlError::Unconditional`].
pub fn check_condition(condition: Condition, current: u64, must: bool) -> Result<(), ControlError> {
    match condition {
        Condition::Generation(given) if given != current => Err(ControlError::Stale { given, current }),
        Condition::Unsaid if must => Err(ControlError::Unconditional { current }),
        _ => Ok(()),
    }
}

/// A flip by percent or by weights. `load` tells what demand there is by a pool's points, for a flip that is capped.
///
/// # Errors
/// All that is wrong with the request; a conflict with the state.
pub fn flip(
    state: &State,
    settings: &[Settings],
    request: &FlipRequest,
    load: &dyn Fn(&Name) -> Load,
    now: Timestamp,
) -> Result<Proposal, ControlError> {
    let mut faults = Vec::new();
    if request.confirm_within_s.is_some_and(|s| s == 0 || s > MAX_CONFIRM_SECS) {
        faults.push(Fault::new("/confirm_within", "a flip waits to be confirmed for 1 s at least and 7 days at most"));
    }
    let weights = if request.weights.is_empty() {
        weights_by_percent(state, settings, request, &mut faults)
    } else {
        weights_in_full(state, request, &mut faults)
    };
    if !faults.is_empty() {
        return Err(ControlError::Invalid(faults));
    }
    refuse_waiting(state, weights.keys().flat_map(|name| [name].into_iter().chain(others(state, name).map(|o| o.0))))?;
    let settings = by_name(settings);
    let mut warnings = Vec::new();
    if let Err(early) = refuse_soon(state, &settings, weights.keys(), now) {
        if !request.dry_run {
            return Err(early);
        }
        warnings.push(early.to_string());
    }
    let confirm_by = request.confirm_within_s.map(|s| now.after(s));
    let confirmed = if confirm_by.is_some() { None } else { Some(now) };
    let mut touched = BTreeMap::new();
    for (name, weights) in weights {
        let mut pool = state.pools[&name].clone();
        let gains = |(i, e): &(usize, &EndpointState)| weights[*i] > e.weight;
        for (_, endpoint) in pool.endpoints.iter().enumerate().filter(gains) {
            let site = &endpoint.site;
            match endpoint.site_state {
                SiteState::Active => {}
                SiteState::Drained => warnings.push(format!(
                    "pool {name}: {site} is drained: what it is given goes to the others until it is active"
                )),
                SiteState::Retired => {
                    let why = format!("pool {name}: {site} is retired and is given nothing; make it active first");
                    return Err(ControlError::Conflict(why));
                }
            }
        }
        let (before, table) = (pool.weights(), &pool.table);
        let load = request.cap.then(|| load(&name));
        let table = match &load {
            Some(load) => capped(table, &before, &weights, load),
            None => table.step(&before, &weights),
        };
        if load.is_some_and(|load| !load.is_known()) {
            warnings.push(format!(
                "pool {name}: too little demand is on record for a cap: this step went by points, whoever is behind them"
            ));
        }
        set_weights(&mut pool, &weights, table, Change { at: now, confirmed });
        refuse_nothing(&name, &pool)?;
        if confirmed.is_some() {
            finish_cutover(&name, &mut pool, settings.get(&name).copied(), now, &mut warnings);
        }
        touched.insert(name, pool);
    }
    warnings.extend(spread(state, &mut touched)?);
    let mut pending = state.pending.clone();
    if let Some(confirm_by) = confirm_by {
        let pools = touched.keys().cloned().collect();
        pending.push(Pending { generation: state.generation + 1, confirm_by, pools });
    }
    Ok(Proposal { action: Action::Flip { confirm_by, cap: request.cap }, touched, site: None, pending, warnings })
}

/// Refuses to flip `pools` while a flip of one of them waits to be confirmed.
///
/// # Errors
/// A conflict that names the flip.
pub fn refuse_waiting<'a>(state: &State, pools: impl Iterator<Item = &'a Name>) -> Result<(), ControlError> {
    for pool in pools {
        if let Some(pending) = state.pending.iter().find(|p| p.pools.contains(pool)) {
            return Err(ControlError::Conflict(format!(
                "pool {pool}: the flip of generation {0} waits to be confirmed until {1}; confirm it or revert it first",
                pending.generation, pending.confirm_by
            )));
        }
    }
    Ok(())
}

/// When `pool` may be flipped again; `None`: it may.
pub fn flip_allowed_at(pool: &PoolState, settings: &Settings) -> Option<Timestamp> {
    let min_secs = settings.handling.min_between_flips_secs;
    pool.flipped.filter(|_| min_secs > 0).map(|flipped| flipped.after(min_secs))
}

/// Refuses to flip `pools` while one of them, or of their groups, was flipped not long ago.
fn refuse_soon<'a>(
    state: &State,
    settings: &HashMap<&Name, &Settings>,
    pools: impl Iterator<Item = &'a Name>,
    now: Timestamp,
) -> Result<(), ControlError> {
    let all = pools.flat_map(|name| [name].into_iter().chain(others(state, name).map(|other| other.0)));
    let early = all.filter_map(|name| {
        let (pool, settings) = (state.pools.get(name)?, settings.get(name)?);
        let allowed_at = flip_allowed_at(pool, settings).filter(|at| *at > now)?;
        Some((allowed_at, name, pool.flipped?, settings.handling.min_between_flips_secs))
    });
    match early.max_by_key(|(allowed_at, ..)| *allowed_at) {
        None => Ok(()),
        Some((allowed_at, pool, flipped, min_secs)) => {
            Err(ControlError::TooSoon { pool: pool.clone(), flipped, min_secs, allowed_at })
        }
    }
}

/// Takes pools back to the weights and share tables of `before`. `by` is how it is told.
///
/// # Errors
/// A conflict when a pool or its endpoints are others by now, or when nothing would be left to answer.
pub fn take_back(
    state: &State,
    before: &BTreeMap<Name, PoolState>,
    by: Action,
    now: Timestamp,
) -> Result<Proposal, ControlError> {
    let mut touched = BTreeMap::new();
    for (name, old) in before {
        let Some(current) = state.pools.get(name) else {
            return Err(ControlError::Conflict(format!("pool {name} is no longer in the configuration")));
        };
        let sites = |p: &PoolState| p.endpoints.iter().map(|e| e.site.clone()).collect::<Vec<_>>();
        if sites(old) != sites(current) {
            return Err(ControlError::Conflict(format!(
                "pool {name} has other endpoints than then ({} now, {} then): flip it by weights",
                sites(current).join(", "),
                sites(old).join(", ")
            )));
        }
        let mut pool = current.clone();
        set_weights(&mut pool, &old.weights(), old.table.clone(), Change { at: now, confirmed: Some(now) });
        refuse_nothing(name, &pool)?;
        touched.insert(name.clone(), pool);
    }
    let mut warnings = spread(state, &mut touched)?;
    for (name, pool) in &touched {
        let idle = pool.endpoints.iter().filter(|e| e.weight > Weight::ZERO && e.site_state != SiteState::Active);
        warnings.extend(idle.map(|e| format!("pool {name}: {} is {}: it is not answered", e.site, e.site_state)));
    }
    // A pool that is set otherwise no longer waits; a flip over several pools waits on for the others.
    let pending = (state.pending.iter().cloned())
        .filter_map(|mut p| {
            p.pools.retain(|pool| !touched.contains_key(pool));
            (!p.pools.is_empty()).then_some(p)
        })
        .collect();
    Ok(Proposal { action: by, touched, site: None, pending, warnings })
}

/// The flip of `generation` stays.
///
/// # Errors
/// Not found when none of that generation waits.
pub fn confirm(
    state: &State,
    settings: &[Settings],
    generation: u64,
    now: Timestamp,
) -> Result<Proposal, ControlError> {
    let Some(waiting) = state.pending.iter().find(|p| p.generation == generation) else {
        return Err(ControlError::NotFound(format!("no flip of generation {generation} waits to be confirmed")));
    };
    let (mut touched, mut warnings) = (BTreeMap::new(), Vec::new());
    let settings = by_name(settings);
    for name in &waiting.pools {
        if let Some(mut pool) = state.pools.get(name).cloned() {
            pool.change = pool.change.map(|c| Change { confirmed: Some(c.confirmed.unwrap_or(now)), ..c });
            finish_cutover(name, &mut pool, settings.get(name).copied(), now, &mut warnings);
            touched.insert(name.clone(), pool);
        }
    }
    let pending = state.pending.iter().filter(|p| p.generation != generation).cloned().collect();
    Ok(Proposal { action: Action::Confirm { confirmed: generation }, touched, site: None, pending, warnings })
}

/// An operator's word over the health of the endpoints of `pools` at `site`.
///
/// # Errors
/// Not found; a conflict when nothing would be left to answer.
pub fn set_override(
    state: &State,
    pools: BTreeSet<Name>,
    site: &str,
    request: &OverrideRequest,
    now: Timestamp,
) -> Result<Proposal, ControlError> {
    let mut touched = BTreeMap::new();
    for name in &pools {
        let mut pool = pool_of(state, name)?.clone();
        let endpoint = pool.endpoint(site).ok_or_else(|| no_site(&pool, name, site))?;
        pool.endpoints[endpoint].forced = request.forced;
        refuse_nothing(name, &pool)?;
        pool.change = Some(unconfirmed_or(pool.change, now));
        touched.insert(name.clone(), pool);
    }
    let (site, forced) = (site.to_owned(), request.forced);
    let action = match only(pools) {
        Ok(pool) => Action::Override { pool, site, forced },
        Err(pools) => Action::Overrides { pools, site, forced },
    };
    let warnings = spread(state, &mut touched)?;
    Ok(Proposal { action, touched, site: None, pending: state.pending.clone(), warnings })
}

/// An operator's word over all endpoints of a site. Retiring it also gives its shares to the others.
///
/// # Errors
/// Not found; a conflict when a pool would be left with nothing to answer, or when a flip of a pool whose weights change
/// waits to be confirmed.
pub fn set_site(state: &State, site: &str, to: SiteState, now: Timestamp) -> Result<Proposal, ControlError> {
    if !state.sites.contains_key(site) {
        let known: Vec<&str> = state.sites.keys().map(String::as_str).collect();
        return Err(ControlError::NotFound(format!("no site {site:?}, only {}", known.join(", "))));
    }
    let mut touched = BTreeMap::new();
    for (name, old) in &state.pools {
        let Some(endpoint) = old.endpoint(site).filter(|i| old.endpoints[*i].site_state != to) else { continue };
        let mut pool = old.clone();
        pool.set_site(site, to);
        refuse_nothing(name, &pool)?;
        if pool.table != old.table {
            refuse_waiting(state, [name].into_iter())?;
        }
        if pool.may_answer(endpoint) != old.may_answer(endpoint) {
            pool.change = Some(unconfirmed_or(pool.change, now));
        }
        touched.insert(name.clone(), pool);
    }
    let action = Action::Site { site: site.to_owned(), state: to };
    let site = Some((site.to_owned(), to));
    Ok(Proposal { action, touched, site, pending: state.pending.clone(), warnings: Vec::new() })
}

/// Sets, moves or clears the planned instant of `pools`.
///
/// # Errors
/// Not found; an instant that has passed.
pub fn set_cutover(
    state: &State,
    pools: BTreeSet<Name>,
    request: &CutoverRequest,
    now: Timestamp,
) -> Result<Proposal, ControlError> {
    refuse_passed(request, now)?;
    let mut touched = BTreeMap::new();
    for name in &pools {
        let pool = PoolState { cutover: request.at.map(|at| Cutover { at }), ..pool_of(state, name)?.clone() };
        touched.insert(name.clone(), pool);
    }
    let action = match only(pools) {
        Ok(pool) => Action::Cutover { pool, cutover: request.at },
        Err(pools) => Action::Cutovers { pools, cutover: request.at },
    };
    let warnings = spread(state, &mut touched)?;
    Ok(Proposal { action, touched, site: None, pending: state.pending.clone(), warnings })
}

/// A cutover is planned ahead.
///
/// # Errors
/// An instant that has passed.
pub fn refuse_passed(request: &CutoverRequest, now: Timestamp) -> Result<(), ControlError> {
    match request.at {
        Some(at) if at <= now => {
            let detail = format!("{at} has passed: it is {now}");
            Err(ControlError::Invalid(vec![Fault::new("/at", detail)]))
        }
        _ => Ok(()),
    }
}

/// What a proposal does to the pools' weights and shares. Horizons are for the writer to fill in.
pub fn changes(
    before: &State,
    touched: &BTreeMap<Name, PoolState>,
    settings: &[Settings],
    now: Timestamp,
) -> Vec<PoolChange> {
    let settings = by_name(settings);
    let change = |(name, after): (&Name, &PoolState)| {
        let old = before.pools.get(name);
        let policy = settings.get(name).map(|s| s.ttl);
        let endpoints = after.endpoints.iter().enumerate().map(|(i, e)| {
            let was = old.and_then(|o| Some((o, o.endpoint(&e.site)?)));
            EndpointChange {
                site: e.site.clone(),
                weight: [was.map_or(Weight::ZERO, |(o, i)| o.endpoints[i].weight), e.weight],
                share_percent: [was.map_or(0.0, |(o, i)| percent(o.table.share(i))), percent(after.table.share(i))],
                ttl: policy
                    .map_or(after.normal, |p| largest_ttl(&p, after.cutover.as_ref(), after.change.as_ref(), now)),
                horizon: None,
                horizon_why: None,
                load: None,
            }
        });
        let moved = old.map_or(0.0, |o| o.table.moved(&after.table));
        PoolChange {
            name: name.clone(),
            moved_percent: percent(moved),
            postponed: after.table.behind().count(),
            endpoints: endpoints.collect(),
        }
    };
    touched.iter().map(change).collect()
}

/// A part of a whole in percent, to 4 decimals, as it is told.
pub fn percent(part: f64) -> f64 {
    (part * 1_000_000.0).round() / 10_000.0
}

/// The one pool, or all of them.
fn only(pools: BTreeSet<Name>) -> Result<Name, Vec<Name>> {
    let mut pools: Vec<Name> = pools.into_iter().collect();
    if pools.len() == 1 { Ok(pools.remove(0)) } else { Err(pools) }
}

/// Thousands of pools are looked up one by one.
fn by_name(settings: &[Settings]) -> HashMap<&Name, &Settings> {
    settings.iter().map(|pool| (&pool.name, pool)).collect()
}

fn pool_of<'s>(state: &'s State, name: &Name) -> Result<&'s PoolState, ControlError> {
    state.pools.get(name).ok_or_else(|| ControlError::NotFound(format!("no pool {name}")))
}

fn no_site(pool: &PoolState, name: &Name, site: &str) -> ControlError {
    let sites: Vec<&str> = pool.endpoints.iter().map(|e| e.site.as_str()).collect();
    ControlError::NotFound(format!("pool {name} has no endpoint at {site:?}, only at {}", sites.join(", ")))
}

fn set_weights(pool: &mut PoolState, weights: &[Weight], table: crate::steering::share::ShareTable, change: Change) {
    for (endpoint, weight) in pool.endpoints.iter_mut().zip(weights) {
        endpoint.weight = *weight;
    }
    pool.table = table;
    pool.change = Some(change);
    pool.flipped = Some(change.at);
}

/// A change at `now` that needs no confirmation. A flip that waits for one is not confirmed by it.
fn unconfirmed_or(before: Option<Change>, now: Timestamp) -> Change {
    let waits = before.is_some_and(|change| change.confirmed.is_none());
    Change { at: now, confirmed: if waits { None } else { Some(now) } }
}

fn refuse_nothing(name: &Name, pool: &PoolState) -> Result<(), ControlError> {
    if !pool.leaves_nothing() {
        return Ok(());
    }
    Err(ControlError::Conflict(format!(
        "pool {name}: nothing would be left to answer: every endpoint with weight is overridden down or at a site that is drained or retired, or none has weight"
    )))
}

/// The change that a cutover was planned for has come, and stays: once the countdown is at its end, it has done its work.
fn finish_cutover(
    name: &Name,
    pool: &mut PoolState,
    settings: Option<&Settings>,
    now: Timestamp,
    warnings: &mut Vec<String>,
) {
    let Some(cutover) = pool.cutover else { return };
    let low = settings.map_or(0, |s| s.ttl.low.secs());
    if now.after(u64::from(low)) >= cutover.at {
        pool.cutover = None;
    } else {
        warnings.push(format!(
            "pool {name}: this is ahead of its cutover at {}: until then caches may hold older answers for longer than {low} s",
            cutover.at
        ));
    }
}

fn weights_by_percent(
    state: &State,
    settings: &[Settings],
    request: &FlipRequest,
    faults: &mut Vec<Fault>,
) -> BTreeMap<Name, Vec<Weight>> {
    let mut weights = BTreeMap::new();
    if request.pools.is_empty() && request.select.is_none() {
        faults.push(Fault::new("/pools", "no pool is named (or say \"weights\" in full)"));
    }
    for (key, missing) in
        [("from", request.from.is_none()), ("to", request.to.is_none()), ("percent", request.percent.is_none())]
    {
        if missing {
            faults.push(Fault::new(format!("/{key}"), format!("{key:?} is missing")));
        }
    }
    if request.from.is_some() && request.from == request.to {
        let site = request.from.as_deref().unwrap_or_default();
        faults.push(Fault::new("/to", format!("\"from\" and \"to\" are the same site {site:?}")));
    }
    let selected = request.select.as_ref().map_or(Ok(Vec::new()), |select| select.names(settings));
    let selected = selected.unwrap_or_else(|detail| {
        faults.push(Fault::new("/select", detail));
        Vec::new()
    });
    let named = request.pools.iter().enumerate().map(|(i, name)| (format!("/pools/{i}"), name));
    for (pointer, name) in named.chain(selected.iter().map(|name| ("/select".to_owned(), name))) {
        let Some(pool) = state.pools.get(name) else {
            faults.push(Fault::new(pointer, format!("no pool {name}")));
            continue;
        };
        let mut endpoint = |site: &Option<String>| {
            let site = site.as_deref()?;
            let found = pool.endpoint(site);
            if found.is_none() {
                faults.push(Fault::new(&*pointer, no_site(pool, name, site).to_string()));
            }
            found
        };
        let (from, to) = (endpoint(&request.from), endpoint(&request.to));
        let (Some(from), Some(to), Some(percent)) = (from, to, request.percent) else { continue };
        if from == to {
            continue; // told above
        }
        match by_percent(&pool.weights(), from, to, percent) {
            Ok(new) => _ = weights.insert(name.clone(), new),
            Err(error) => faults.push(Fault::new(pointer, format!("pool {name}: {error}"))),
        }
    }
    weights
}

fn weights_in_full(state: &State, request: &FlipRequest, faults: &mut Vec<Fault>) -> BTreeMap<Name, Vec<Weight>> {
    let mut weights = BTreeMap::new();
    if request.from.is_some()
        || request.to.is_some()
        || request.percent.is_some()
        || !request.pools.is_empty()
        || request.select.is_some()
    {
        let detail =
            "\"weights\" says it in full: it doesn't go with \"pools\", \"select\", \"from\", \"to\" or \"percent\"";
        faults.push(Fault::new("/weights", detail));
    }
    for (name, sites) in &request.weights {
        let pointer = format!("/weights/{}", name.to_string().replace('~', "~0").replace('/', "~1"));
        let Some(pool) = state.pools.get(name) else {
            faults.push(Fault::new(pointer, format!("no pool {name}")));
            continue;
        };
        let mut new = pool.weights();
        for (site, weight) in sites {
            match pool.endpoint(site) {
                Some(i) => new[i] = *weight,
                None => faults.push(Fault::new(format!("{pointer}/{site}"), no_site(pool, name, site).to_string())),
            }
        }
        weights.insert(name.clone(), new);
    }
    weights
}
