//! Pools of one group change together. Pure.

use std::collections::BTreeMap;

use crate::control::error::ControlError;
use crate::control::state::{PoolState, State};
use crate::dns::Name;

/// The other pools of the group of `name`.
pub fn others<'s>(state: &'s State, name: &'s Name) -> impl Iterator<Item = (&'s Name, &'s PoolState)> {
    let group = state.pools.get(name).and_then(|pool| pool.group.as_ref());
    let same = move |pool: &PoolState| pool.group.as_ref() == group;
    let all = group.is_some().then(|| state.pools.iter()).into_iter().flatten(); // not thousands for each of thousands
    all.filter(move |(other, pool)| *other != name && same(pool))
}

/// Changes with each pool of `touched` the others of its group too. Gives what the operator should know of it.
///
/// # Errors
/// A conflict when two pools of one group would differ.
pub fn spread(state: &State, touched: &mut BTreeMap<Name, PoolState>) -> Result<Vec<String>, ControlError> {
    let mut notes = Vec::new();
    for name in touched.keys().cloned().collect::<Vec<_>>() {
        let lead = touched[&name].clone();
        let mut also = Vec::new();
        for (other, current) in others(state, &name) {
            if let Some(changed) = touched.get(other) {
                if !changed.agrees(&lead) {
                    let group = lead.group.as_deref().unwrap_or_default();
                    return Err(ControlError::Conflict(format!(
                        "pools {name} and {other} are of one group, {group:?}: they can't have different weights"
                    )));
                }
                continue;
            }
            let mut pool = current.clone();
            pool.follow(&lead);
            (pool.cutover, pool.change) = (lead.cutover, lead.change);
            touched.insert(other.clone(), pool);
            also.push(other.to_string());
        }
        if let Some(group) = lead.group.as_ref().filter(|_| !also.is_empty()) {
            notes.push(format!("the pools of group {group:?} change together: {name}, {}", also.join(", ")));
        }
    }
    Ok(notes)
}
