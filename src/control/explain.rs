//! Why an answer is what it is, from the same snapshot and by the same code as the answer itself.

use std::net::IpAddr;

use crate::control::decide::percent;
use crate::control::message::{Explanation, PoolExplanation};
use crate::dns::message::Answer;
use crate::dns::wire::{CLASS_IN, HEADER_OCTETS, TCP_OCTETS};
use crate::dns::{Name, Rtype, Ttl};
use crate::query::{Context, Counters, Pool, Snapshot, Tally, Transport, answer};
use crate::steering::client::Client;
use crate::steering::key::point;
use crate::steering::pool::{Override, Policy, SiteState};
use crate::steering::select::Mode;
use crate::steering::ttl::served_ttl;
use crate::time::Timestamp;
use crate::zone::compiled::Place;
use crate::zone::set::Entry;

/// Explains what `snapshot` answers to the resolver at `client`, at `now`. Nothing is counted, no horizon moves.
pub(super) fn explain(snapshot: &Snapshot, name: &Name, rtype: Rtype, client: IpAddr, now: Timestamp) -> Explanation {
    let answered = ask(snapshot, name, rtype, client, now);
    let asking = snapshot.clients.resolver(client);
    let key = asking.key;
    let farm = asking.farm.and_then(|farm| snapshot.clients.farms.name(farm));
    let mut steps = vec![match farm {
        Some(name) => format!("{client} is of {name} in the prefix map, whose client key is {key}"),
        None => format!("{client} belongs to the client key {key}"),
    }];
    let mut pools = Vec::new();
    let zone = walk(snapshot, name, rtype, &asking, now, &mut steps, &mut pools);
    let (rcode, records) = answered.map_or_else(|| ("none".to_owned(), Vec::new()), |a| (a.rcode, a.records));
    for target in records.iter().filter_map(|r| r.target.as_ref()) {
        steps.push(format!("a CNAME leads on to {target}"));
        walk(snapshot, target, rtype, &asking, now, &mut steps, &mut pools);
    }
    let answer = records.iter().map(|r| format!("{} {} IN {} {}", r.owner, r.ttl, r.rtype, r.rdata)).collect();
    Explanation { name: name.clone(), rtype, client, zone, client_key: key.to_string(), pools, rcode, answer, steps }
}

/// Asks as a resolver would over TCP.
fn ask(snapshot: &Snapshot, name: &Name, rtype: Rtype, client: IpAddr, now: Timestamp) -> Option<Answer> {
    let mut query = [0u8; HEADER_OCTETS].to_vec();
    query[5] = 1; // QDCOUNT
    query.extend_from_slice(name.wire());
    query.extend_from_slice(&rtype.0.to_be_bytes());
    query.extend_from_slice(&CLASS_IN.to_be_bytes());
    let counters = Counters::default();
    let context = Context { client, now, draw: 0, transport: Transport::Tcp };
    let mut out = vec![0; TCP_OCTETS];
    let octets = answer(snapshot, &context, Tally { worker: None, counters: &counters }, &query, &mut out)?;
    Answer::read(&out[..octets])
}

/// Goes the way of one name: to its zone, place and pool.
fn walk(
    snapshot: &Snapshot,
    name: &Name,
    rtype: Rtype,
    client: &Client,
    now: Timestamp,
    steps: &mut Vec<String>,
    pools: &mut Vec<PoolExplanation>,
) -> Option<Name> {
    let lower = name.to_lowercase();
    let Some(Entry { apex, zone, .. }) = snapshot.zones.find(lower.wire(), lower.label_count(), rtype) else {
        steps.push(format!("{name} belongs to none of our zones: REFUSED"));
        return None;
    };
    let Some(zone) = zone else {
        steps.push(format!("the zone {apex} could never be read: SERVFAIL"));
        return Some(apex.clone());
    };
    match zone.find(lower.wire(), rtype == Rtype::DS) {
        Place::Referral(..) => steps.push(format!("{name} lies at or below a zone cut of {apex}: a referral")),
        Place::Dname(..) => steps.push(format!("{name} lies below a DNAME of {apex}: it is an alias of another name")),
        Place::NxDomain => steps.push(format!("{name} does not exist in the zone {apex}: NXDOMAIN")),
        Place::Node(node) => match node.slot().and_then(|slot| snapshot.pools.get(slot as usize)) {
            None => steps.push(format!("{name} exists in the zone {apex}, no pool lies over it")),
            Some(pool) if !pool.records.types().contains(&rtype) && pool.records.types() != [Rtype::CNAME] => {
                steps.push(format!("the pool {} lies over {name}, but steers no {rtype}: the zone answers", pool.name));
            }
            Some(pool) => pools.extend(explain_pool(pool, client, now, steps)),
        },
    }
    Some(apex.clone())
}

/// Decision by decision, in the order in which they count.
fn explain_pool(pool: &Pool, client: &Client, now: Timestamp, steps: &mut Vec<String>) -> Option<PoolExplanation> {
    let at = point(&pool.salt, &client.key);
    let choice = pool.choose(client, 0, now)?;
    let by_share = pool.selector.table().pick(at);
    let site = |endpoint: usize| pool.sites.get(endpoint).cloned().unwrap_or_default();
    let point_percent = percent(at as f64 / 2f64.powi(64));
    let policy = pool.selector.policy();
    steps.push(match &pool.group {
        Some(group) => {
            format!("the pool {}, {policy}, is asked, of the group {group:?}, whose pools give one site", pool.name)
        }
        None => format!("the pool {}, {policy}, is asked", pool.name),
    });
    explain_words(pool, steps);
    if let Some(family) = pool.withdrawn.get(choice.endpoint).copied().flatten() {
        let site = site(choice.endpoint);
        steps.push(format!("{family} of {site} is withdrawn, as its probes fail there: its type is NODATA"));
    }
    if choice.previewed {
        steps.push(format!(
            "{} is among the networks that see {} before all others",
            client.address,
            site(choice.endpoint)
        ));
    } else {
        let wanted = pool.preference.as_ref().map_or(&[][..], |preference| preference.get(client));
        let sites = wanted.iter().map(|endpoint| site(usize::from(*endpoint))).collect::<Vec<_>>().join(", ");
        if wanted.iter().any(|endpoint| usize::from(*endpoint) == choice.endpoint) {
            let chosen = site(choice.endpoint);
            steps.push(format!("its network is to have {sites}: {chosen} is the first that may be answered"));
        } else {
            if !wanted.is_empty() {
                steps.push(format!("its network is to have {sites}, of which none may be answered"));
            }
            explain_choice(pool, at, by_share, choice.endpoint, steps);
        }
    }
    steps.push(format!("TTL {} s: {}", choice.ttl, why_ttl(pool, choice.ttl, at, now)));
    Some(PoolExplanation {
        name: pool.name.clone(),
        point_percent,
        site_by_share: by_share.map(site),
        site: site(choice.endpoint),
        mode: pool.selector.mode().to_string(),
        previewed: choice.previewed,
        ttl: choice.ttl,
    })
}

/// What operators say of endpoints and sites, and what comes of health.
fn explain_words(pool: &Pool, steps: &mut Vec<String>) {
    for (word, site) in pool.words.iter().zip(&*pool.sites) {
        if word.site != SiteState::Active {
            steps.push(format!("the site {site} is {}: it is not answered, whatever its probes say", word.site));
        } else if word.forced != Override::Obey {
            let by = if word.by_file { "the override file" } else { "an operator" };
            steps.push(format!("{site} is {} by the word of {by}, whatever its probes say", word.forced));
        }
    }
    let selector = &pool.selector;
    let is_active = |endpoint: &usize| selector.table().share(*endpoint) > 0.0;
    for (endpoint, site) in pool.sites.iter().enumerate().filter(|(endpoint, _)| is_active(endpoint)) {
        let word = pool.words.get(endpoint).copied().unwrap_or_default();
        if !selector.is_up(endpoint) && word.forced == Override::Obey && word.site == SiteState::Active {
            steps.push(format!("{site} is down by its probes"));
        }
    }
    let is_some_up = (0..pool.sites.len()).any(|endpoint| is_active(&endpoint) && selector.is_up(endpoint));
    let why = if is_some_up { "less of the weight is up than min-healthy" } else { "none that has weight is up" };
    match selector.mode() {
        Mode::Normal => {}
        Mode::Spare => steps.push(format!("{why}: spares stand in")),
        Mode::FailOpen => {
            steps.push(format!("{why}, and no spare: all that may be answered are, whatever their health"));
        }
    }
}

/// How the policy comes to its choice.
fn explain_choice(pool: &Pool, at: u64, by_share: Option<usize>, chosen: usize, steps: &mut Vec<String>) {
    let site = |endpoint: usize| pool.sites.get(endpoint).cloned().unwrap_or_default();
    match pool.selector.policy() {
        Policy::Sticky => {}
        Policy::Geo => steps.push("no site of its network can be given: it is chosen by the client key".to_owned()),
        Policy::Random => steps.push("each query draws a point of its own: this is one of them".to_owned()),
        Policy::Failover => {
            return steps
                .push(format!("{} is the first in the order that may be answered, or its trickle", site(chosen)));
        }
        Policy::All => return steps.push("all that may be answered are, in one answer".to_owned()),
    }
    let Some(by_share) = by_share else { return };
    let point_percent = percent(at as f64 / 2f64.powi(64));
    steps.push(format!(
        "the key falls on {point_percent} % of its points, which the share table gives to {}",
        site(by_share)
    ));
    if pool.selector.table().stays_behind(at).is_some() {
        steps.push(
            "it stays behind there: a capped flip has postponed it, until a larger step takes it along".to_owned(),
        );
    }
    if by_share != chosen {
        let mode = pool.selector.mode();
        steps.push(format!("{} may not be answered now ({mode}): {} instead", site(by_share), site(chosen)));
    }
}

/// Which rule made the TTL what it is: the one that alone gives it.
fn why_ttl(pool: &Pool, ttl: Ttl, at: u64, now: Timestamp) -> String {
    let by_change = served_ttl(&pool.ttl, None, pool.change.as_ref(), at, now);
    match (pool.change, pool.cutover) {
        _ if ttl == pool.ttl.normal => "the normal one".to_owned(),
        _ if pool.until_flip.is_some_and(|most| ttl == most.max(pool.ttl.low)) => {
            "in that time health could change what is answered".to_owned()
        }
        (Some(change), _) if ttl == by_change && change.confirmed.is_none() => {
            format!("the change of {} is not confirmed yet", change.at)
        }
        (Some(change), _) if ttl == by_change => format!("it grows back since the change of {}", change.at),
        (_, Some(cutover)) if pool.ttl.max_wait == Some(ttl) => {
            format!("nobody shall wait longer while the cutover at {} is planned", cutover.at)
        }
        (_, Some(cutover)) if cutover.at <= now => format!("the cutover of {} has come", cutover.at),
        (_, Some(cutover)) => format!("it counts down to the cutover at {}", cutover.at),
        _ => "as configured".to_owned(),
    }
}
