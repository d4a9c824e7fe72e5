//! Pools of one group: what they share is said in one of them, or alike in several.

use std::fmt::Display;
use std::ops::Range;

use super::source::Source;
use crate::steering::flip::Percent;
use crate::steering::pool::{Preview, Settings};

/// A pool as read.
pub(super) struct Read {
    pub(super) settings: Settings,
    /// Where its name is.
    pub(super) at: Range<usize>,
    /// Whether it says its policy, which is the default one otherwise.
    pub(super) policy_said: bool,
    /// As written, with its place; the settings have it once the group agreed.
    pub(super) min_healthy: Option<(Percent, Range<usize>)>,
    /// See `min_healthy`.
    pub(super) trickle: Option<(Percent, Range<usize>)>,
    /// Where it says what transfers carry.
    pub(super) transfer_at: Option<Range<usize>>,
    /// Whether it, or a pool that it leads to, has a probe.
    pub(super) is_probed: bool,
    /// Of its endpoints, in their order.
    pub(super) said: Vec<Said>,
}

/// What the file says of an endpoint.
pub(super) struct Said {
    /// Where its site is.
    pub(super) at: Range<usize>,
    /// Whether there is a weight, of its own or of the group; else it counts as 0.
    pub(super) weight: bool,
    /// Whether there is a role.
    pub(super) role: bool,
    /// Where the pool is written that it is.
    pub(super) pool: Option<Range<usize>>,
}

/// Gives all pools of a group the same policy and rules, order of sites, weights and roles. The order is the first pool's.
pub(super) fn agree(pools: &mut [Read], src: &mut Source) {
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    for (i, pool) in pools.iter_mut().enumerate() {
        let selection = &mut pool.settings.selection;
        selection.min_healthy = pool.min_healthy.as_ref().map_or(Percent::ZERO, |said| said.0);
        selection.trickle = pool.trickle.as_ref().map_or(Percent::ZERO, |said| said.0);
        let Some(group) = &pool.settings.selection.group else { continue };
        match groups.iter_mut().find(|(name, _)| name == group) {
            Some((_, members)) => members.push(i),
            None => groups.push((group.clone(), vec![i])),
        }
    }
    for (group, members) in groups {
        if same_sites(&group, &members, pools, src) {
            share(&group, &members, pools, src);
        }
    }
}

/// Whether all pools of a group have the sites of the first one; puts them in its order.
fn same_sites(group: &str, members: &[usize], pools: &mut [Read], src: &mut Source) -> bool {
    let sites = |pool: &Read| pool.settings.endpoints.iter().map(|e| e.site.clone()).collect::<Vec<_>>();
    let first = sites(&pools[members[0]]);
    let mut same = true;
    for &member in &members[1..] {
        let own = sites(&pools[member]);
        if own.len() != first.len() || !own.iter().all(|site| first.contains(site)) {
            let (one, other) = (&pools[member].settings.name, &pools[members[0]].settings.name);
            let message = format!(
                "pool \"{one}\" has the sites {}, and pool \"{other}\" of the same group {group:?} has {}",
                own.join(", "),
                first.join(", ")
            );
            src.error(pools[member].at.clone(), message).help("pools of a group have the same sites");
            same = false;
            continue;
        }
        let pool = &mut pools[member];
        let place = |site: &str| first.iter().position(|s| s == site);
        let mut both: Vec<_> = pool.settings.endpoints.drain(..).zip(pool.said.drain(..)).collect();
        both.sort_by_key(|(endpoint, _)| place(&endpoint.site));
        (pool.settings.endpoints, pool.said) = both.into_iter().unzip();
    }
    same
}

/// Gives each pool what another one says.
fn share(group: &str, members: &[usize], pools: &mut [Read], src: &mut Source) {
    let policies = members.iter().filter(|m| pools[**m].policy_said);
    let policies = policies.map(|m| (pools[*m].settings.policy, pools[*m].at.clone())).collect();
    if let Some(policy) = one_of("policy", group, policies, src) {
        for &member in members {
            pools[member].settings.policy = policy;
        }
    }
    let said = |of: fn(&Read) -> &Option<_>| members.iter().filter_map(|m| of(&pools[*m]).clone()).collect::<Vec<_>>();
    let min_healthy = one_of("min-healthy percentage", group, said(|pool| &pool.min_healthy), src);
    let trickle = one_of("trickle percentage", group, said(|pool| &pool.trickle), src);
    let networks = |member: usize| pools[member].settings.selection.preferences.clone();
    let preferences = members.iter().find_map(|member| networks(*member));
    for &member in members {
        if networks(member).is_some_and(|own| Some(own) != preferences) {
            let message = format!(
                "pool \"{}\" has other networks than another one of group {group:?}",
                pools[member].settings.name
            );
            src.error(pools[member].at.clone(), message).help("say it in one pool of the group, or alike in all");
        }
    }
    let mut previews: Vec<Preview> = Vec::new();
    for preview in members.iter().flat_map(|m| &pools[*m].settings.selection.previews) {
        if !previews.contains(preview) {
            previews.push(preview.clone());
        }
    }
    for &member in members {
        let selection = &mut pools[member].settings.selection;
        selection.previews.clone_from(&previews);
        selection.preferences.clone_from(&preferences);
        selection.min_healthy = min_healthy.unwrap_or_default();
        selection.trickle = trickle.unwrap_or_default();
    }
    for e in 0..pools[members[0]].said.len() {
        let place = |m: usize| pools[m].said[e].at.clone();
        let endpoint = |m: usize| &pools[m].settings.endpoints[e];
        let site = endpoint(members[0]).site.clone();
        let weights: Vec<_> = members.iter().filter(|m| pools[**m].said[e].weight).copied().collect();
        if weights.is_empty() {
            src.absence(place(members[0]), format!("no pool of group {group:?} says the weight of site {site:?}"));
        }
        let weights = weights.into_iter().map(|m| (endpoint(m).weight, place(m))).collect();
        let roles = members.iter().filter(|m| pools[**m].said[e].role);
        let roles = roles.map(|&m| (endpoint(m).role, place(m))).collect();
        let weight = one_of(&format!("weight of site {site:?}"), group, weights, src);
        let role = one_of(&format!("role of site {site:?}"), group, roles, src);
        for &member in members {
            pools[member].said[e].weight |= weight.is_some();
            let endpoint = &mut pools[member].settings.endpoints[e];
            endpoint.weight = weight.unwrap_or(endpoint.weight);
            endpoint.role = role.unwrap_or(endpoint.role);
        }
    }
}

/// The value that was said, which must be the same wherever it was.
fn one_of<T: Copy + PartialEq + Display>(
    what: &str,
    group: &str,
    said: Vec<(T, Range<usize>)>,
    src: &mut Source,
) -> Option<T> {
    let mut said = said.into_iter();
    let (first, at) = said.next()?;
    for (other, place) in said.filter(|(other, _)| *other != first) {
        let line = src.line(at.start);
        src.error(place, format!("the {what} is {other} here, and {first} in group {group:?} on line {line}"))
            .help("say it in one pool of the group, or alike in all");
    }
    Some(first)
}
