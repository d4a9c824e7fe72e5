//! What webhooks tell of beside the changes that operators make: found by comparing two looks at the state. Pure.

use std::collections::BTreeMap;

use serde_json::json;

use crate::control::message::Pending;
use crate::dns::Name;
use crate::steering::planned::RrsetKey;
use crate::steering::pool::SiteName;
use crate::steering::select::Mode;
use crate::time::Timestamp;
use crate::webhook::{Event, Kind};

/// So long before its deadline people are told of a flip that waits to be confirmed.
const CONFIRM_AHEAD_SECS: u64 = 60;

/// What there is to see at one instant.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// When.
    pub now: Timestamp,
    /// By pool.
    pub pools: BTreeMap<Name, PoolLook>,
    /// By planned RRset.
    pub rrsets: BTreeMap<RrsetKey, RrsetLook>,
    /// Flips that wait to be confirmed.
    pub pending: Vec<Pending>,
    /// What does not work, under the kind that tells of it; by what it is about.
    pub problems: BTreeMap<Trouble, String>,
}

/// What there is to see of a pool.
#[derive(Clone, Debug)]
pub struct PoolLook {
    /// Whom it answers.
    pub mode: Mode,
    /// The change that is planned.
    pub cutover: Option<Timestamp>,
    /// By site.
    pub endpoints: BTreeMap<SiteName, EndpointLook>,
}

/// What there is to see of a planned RRset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RrsetLook {
    /// The change that is planned.
    pub cutover: Option<Timestamp>,
    /// Until when caches may hold it as it was before its last change, once that is final.
    pub horizon: Option<Timestamp>,
}

/// What there is to see of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointLook {
    /// Whether probes see it up; `None`: nobody knows.
    pub up: Option<bool>,
    /// What they last saw.
    pub seen: Option<String>,
    /// Whether clients are given it.
    pub answered: bool,
    /// Until when caches may hold it.
    pub horizon: Option<Timestamp>,
}

/// What may not work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The store takes no changes.
    Store,
    /// Nobody probes.
    Probes,
    /// A configuration was not taken over, at this instant.
    Reload(Timestamp),
    /// A zone can't be had from its primaries.
    Transfer(Name),
}

impl Trouble {
    /// What is told when it comes, and when it has gone.
    fn kinds(&self) -> (Kind, Option<Kind>) {
        match self {
            Self::Store => (Kind::StoreFailed, Some(Kind::StoreRecovered)),
            Self::Probes => (Kind::ProbesStopped, Some(Kind::ProbesResumed)),
            Self::Reload(_) => (Kind::ReloadFailed, None),
            Self::Transfer(_) => (Kind::TransferFailed, Some(Kind::TransferRecovered)),
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Store => "the store".to_owned(),
            Self::Probes => "probes".to_owned(),
            Self::Reload(_) => "the configuration".to_owned(),
            Self::Transfer(zone) => format!("zone {zone}"),
        }
    }
}

/// What has happened between two looks. A first look is compared with one in which all was well.
pub fn between(before: Option<&Look>, look: &Look) -> Vec<Event> {
    let now = look.now;
    let well = Look { now, ..Look::default() };
    let before = before.unwrap_or(&well);
    let is_new = |at: Timestamp| before.now < at && at <= now;
    let mut events = Vec::new();
    let mut tell = |kind, text: String, data| events.push(Event::new(kind, text, data, now));
    for (pool, seen) in &look.pools {
        let old = before.pools.get(pool);
        let (was, is) = (old.map_or(Mode::Normal, |old| old.mode), seen.mode);
        if was != is {
            let data = json!({"pool": pool, "mode": is.to_string()});
            match is {
                Mode::Normal => tell(Kind::BreachEnded, format!("pool {pool} answers as its weights say again"), data),
                _ => tell(Kind::Breach, format!("pool {pool} answers {is}: too little of it is healthy"), data),
            }
        }
        if let Some(at) = seen.cutover.filter(|at| is_new(*at)) {
            let data = json!({"pool": pool, "at": at});
            tell(Kind::CutoverReached, format!("the cutover of pool {pool} has come: {at}"), data);
        }
        for (site, endpoint) in &seen.endpoints {
            let old = old.and_then(|old| old.endpoints.get(site));
            let was_up = old.and_then(|old| old.up).unwrap_or(true);
            if let Some(up) = endpoint.up.filter(|up| *up != was_up) {
                let (kind, word) = if up { (Kind::EndpointUp, "up") } else { (Kind::EndpointDown, "down") };
                let detail = endpoint.seen.as_ref().map_or_else(String::new, |seen| format!(": {seen}"));
                let data = json!({"pool": pool, "site": site, "seen": endpoint.seen});
                tell(kind, format!("pool {pool}: {site} is {word}{detail}"), data);
            }
            if let Some(at) = endpoint.horizon.filter(|at| !endpoint.answered && is_new(*at)) {
                let text = format!("pool {pool}: no cache that obeys TTLs holds {site} any more");
                tell(Kind::HorizonReached, text, json!({"pool": pool, "site": site, "at": at}));
            }
        }
    }
    for (rrset, seen) in &look.rrsets {
        if let Some(at) = seen.cutover.filter(|at| is_new(*at)) {
            let data = json!({"rrset": rrset, "at": at});
            tell(Kind::CutoverReached, format!("the cutover of rrset {rrset} has come: {at}"), data);
        }
        if let Some(at) = seen.horizon.filter(|at| is_new(*at)) {
            let text = format!("rrset {rrset}: no cache that obeys TTLs holds it as it was any more");
            tell(Kind::HorizonReached, text, json!({"rrset": rrset, "at": at}));
        }
    }
    let is_due = |pending: &Pending, at: Timestamp| pending.confirm_by <= at.after(CONFIRM_AHEAD_SECS);
    for pending in look.pending.iter().filter(|pending| is_due(pending, now)) {
        if !before.pending.iter().any(|old| old.generation == pending.generation && is_due(old, before.now)) {
            let (generation, by) = (pending.generation, pending.confirm_by);
            let text = format!("the flip of generation {generation} is taken back at {by} unless it is confirmed");
            tell(Kind::ConfirmDue, text, json!(pending));
        }
    }
    for (trouble, why) in look.problems.iter().filter(|(trouble, _)| !before.problems.contains_key(trouble)) {
        let of = trouble.told();
        tell(trouble.kinds().0, format!("{of}: {why}"), json!({"of": of, "why": why}));
    }
    for trouble in before.problems.keys().filter(|trouble| !look.problems.contains_key(trouble)) {
        let of = trouble.told();
        if let (_, Some(kind)) = trouble.kinds() {
            tell(kind, format!("{of}: all is well again"), json!({"of": of}));
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Rtype;

    const T: Timestamp = Timestamp(1_800_000_000);

    fn look(now: Timestamp, mode: Mode, endpoint: EndpointLook) -> Look {
        let endpoints = [("ec2".to_owned(), endpoint)].into();
        let pool = PoolLook { mode, cutover: Some(T.after(100)), endpoints };
        let pending = Pending { generation: 7, confirm_by: T.after(200), pools: Vec::new() };
        let pools = [("www.example.org".parse().unwrap(), pool)].into();
        let rrset = RrsetLook { cutover: Some(T.after(20)), horizon: Some(T.after(30)) };
        let rrsets = [(RrsetKey { name: "example.org".parse().unwrap(), rtype: Rtype::MX }, rrset)].into();
        Look { now, pools, rrsets, pending: vec![pending], problems: BTreeMap::new() }
    }

    fn kinds(before: Option<&Look>, after: &Look) -> Vec<Kind> {
        between(before, after).into_iter().map(|event| event.kind).collect()
    }

    #[test]
    fn each_thing_is_told_once() {
        let up = EndpointLook { up: Some(true), answered: true, horizon: Some(T.after(50)), seen: None };
        let first = look(T, Mode::Normal, up.clone());
        assert_eq!(kinds(None, &first), []);
        let down = EndpointLook { up: Some(false), answered: false, horizon: Some(T.after(50)), ..up };
        let second = look(T.after(10), Mode::Spare, down.clone());
        assert_eq!(kinds(Some(&first), &second), [Kind::Breach, Kind::EndpointDown]);
        assert_eq!(kinds(None, &second), [Kind::Breach, Kind::EndpointDown], "a start tells what is wrong");
        let third = look(T.after(50), Mode::Spare, down.clone());
        assert_eq!(kinds(Some(&second), &third), [Kind::HorizonReached, Kind::CutoverReached, Kind::HorizonReached]);
        let of_rrset = &between(Some(&second), &third)[2];
        assert_eq!(of_rrset.text, "rrset example.org MX: no cache that obeys TTLs holds it as it was any more");
        let fourth = look(T.after(140), Mode::Normal, down.clone());
        assert_eq!(kinds(Some(&third), &fourth), [Kind::BreachEnded, Kind::CutoverReached, Kind::ConfirmDue]);
        let fifth = look(T.after(150), Mode::Normal, EndpointLook { up: Some(true), ..down });
        assert_eq!(kinds(Some(&fourth), &fifth), [Kind::EndpointUp]);
    }

    #[test]
    fn troubles_come_and_go() {
        let with = |troubles: &[Trouble]| {
            let problems = troubles.iter().map(|trouble| (trouble.clone(), "why".to_owned())).collect();
            Look { now: T, problems, ..Look::default() }
        };
        let zone = Trouble::Transfer("example.org".parse().unwrap());
        let all = with(&[Trouble::Store, Trouble::Probes, Trouble::Reload(T), zone]);
        let told = kinds(None, &all);
        assert_eq!(told, [Kind::StoreFailed, Kind::ProbesStopped, Kind::ReloadFailed, Kind::TransferFailed]);
        let told = kinds(Some(&all), &with(&[Trouble::Reload(T.after(9))]));
        assert_eq!(
            told,
            [Kind::ReloadFailed, Kind::StoreRecovered, Kind::ProbesResumed, Kind::TransferRecovered],
            "each refusal for itself"
        );
        assert_eq!(between(None, &all)[3].text, "zone example.org: why");
    }
}
