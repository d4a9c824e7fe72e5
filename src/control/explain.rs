//! Why an answer is what it is, from the same snapshot and by the same code as the answer itself.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::control::decide::percent;
use crate::control::message::{EndpointExplanation, Explanation, PoolExplanation};
use crate::control::rules::{Ground, least};
use crate::dns::message::Answer;
use crate::dns::wire::{CLASS_IN, ClientSubnet, HEADER_OCTETS, OptReply, TCP_OCTETS};
use crate::dns::{Name, Rtype, Ttl};
use crate::query::nest::way;
use crate::query::planned::Planned;
use crate::query::pool::Choice;
use crate::query::{Context, Counters, Pool, Snapshot, Tally, Transport, answer};
use crate::steering::client::Client;
use crate::steering::horizon::{MARGIN_SECS, expires};
use crate::steering::key::point;
use crate::steering::pool::{Override, Policy, SiteState};
use crate::steering::select::Mode;
use crate::time::Timestamp;
use crate::zone::Zone;
use crate::zone::compiled::Place;
use crate::zone::set::Entry;

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// QNAME.
    pub name: Name,
    /// QTYPE.
    pub rtype: Rtype,
    /// The address that asks: a resolver's.
    pub client: IpAddr,
    /// Whom it asks for, as it says (ECS).
    pub subnet: Option<IpNet>,
}

/// Explains what `snapshot` answers at `now`. Nothing is counted, no horizon moves.
pub(super) fn explain(snapshot: &Snapshot, question: &Question, now: Timestamp) -> Explanation {
    let Question { name, rtype, client, subnet } = question;
    let answered = ask(snapshot, question, now);
    let (rcode, records) = answered.map_or_else(|| ("none".to_owned(), Vec::new()), |a| (a.rcode, a.records));
    let mut way =
        Way { snapshot, question, asking: Asking::of(snapshot, question), now, steps: Vec::new(), pools: Vec::new() };
    way.steps.extend(way.asking.steps(snapshot, question));
    let zone = way.walk(name, true);
    for target in records.iter().filter_map(|r| r.target.as_ref()) {
        way.steps.push(format!("a CNAME leads on to {target}"));
        way.walk(target, false);
    }
    Explanation {
        name: name.clone(),
        rtype: *rtype,
        client: *client,
        zone,
        subnet: *subnet,
        client_key: way.asking.client().key.to_string(),
        pools: way.pools,
        rcode,
        answer: records.iter().map(|r| format!("{} {} IN {} {}", r.owner, r.ttl, r.rtype, r.rdata)).collect(),
        steps: way.steps,
    }
}

/// Asks as a resolver would over TCP.
fn ask(snapshot: &Snapshot, question: &Question, now: Timestamp) -> Option<Answer> {
    let mut query = [0u8; HEADER_OCTETS].to_vec();
    query[5] = 1; // QDCOUNT
    query.extend_from_slice(question.name.wire());
    query.extend_from_slice(&question.rtype.0.to_be_bytes());
    query.extend_from_slice(&CLASS_IN.to_be_bytes());
    if let Some(net) = question.subnet {
        query[11] = 1; // ARCOUNT
        let subnet = ClientSubnet { address: net.network(), prefix: net.prefix_len() };
        let opt = OptReply { client_subnet: Some((subnet, 0)), ..OptReply::default() };
        let at = query.len();
        query.resize(at + opt.octets(), 0);
        opt.write(&mut query[at..]);
    }
    let counters = Counters::default();
    let context = Context { client: question.client, now, draw: 0, transport: Transport::Tcp };
    let mut out = vec![0; TCP_OCTETS];
    let octets = answer(snapshot, &context, Tally { worker: None, counters: &counters }, &query, &mut out)?;
    Answer::read(&out[..octets])
}

/// Whom the answer is for.
struct Asking {
    resolver: Client,
    /// Where the resolver names one, and that counts.
    subnet: Option<Client>,
}

impl Asking {
    fn of(snapshot: &Snapshot, question: &Question) -> Self {
        let rules = &snapshot.clients;
        let subnet = question.subnet.and_then(|net| rules.subnet(question.client, net.network(), net.prefix_len()));
        Self { resolver: rules.resolver(question.client), subnet }
    }

    fn client(&self) -> &Client {
        self.subnet.as_ref().unwrap_or(&self.resolver)
    }

    fn steps(&self, snapshot: &Snapshot, question: &Question) -> Vec<String> {
        let (asks, key) = (question.client, self.resolver.key);
        let farm = self.resolver.farm.and_then(|farm| snapshot.clients.farms.name(farm));
        let mut steps = vec![match farm {
            Some(name) => format!("{asks} is of {name} in the prefix map, whose client key is {key}"),
            None => format!("{asks} belongs to the client key {key}"),
        }];
        steps.extend(question.subnet.map(|net| match self.subnet {
            Some(Client { key, scope, .. }) => format!(
                "it asks for the client subnet {net}, which counts: the client key is {key}, and so far (/{scope}) the answer is good"
            ),
            None => format!("it asks for the client subnet {net}, which does not count from {asks} (ecs, or no prefix)"),
        }));
        steps
    }
}

/// An explanation in the making.
struct Way<'s> {
    snapshot: &'s Snapshot,
    question: &'s Question,
    asking: Asking,
    now: Timestamp,
    steps: Vec<String>,
    pools: Vec<PoolExplanation>,
}

impl Way<'_> {
    /// Goes the way of one name, the first or a CNAME's target: to its zone, place and pool. Gives the zone.
    fn walk(&mut self, name: &Name, first: bool) -> Option<Name> {
        // What is not answered further on is the resolver's to ask for.
        let end = |rcode: &'static str| if first { rcode } else { "the resolver has to ask for it" };
        let Question { rtype, client, .. } = self.question;
        let rtype = *rtype;
        let lower = name.to_lowercase();
        let snapshot = self.snapshot;
        let Some(entry) = snapshot.zones.find(lower.wire(), lower.label_count(), rtype) else {
            self.steps.push(format!("{name} belongs to none of our zones: {}", end("REFUSED")));
            return None;
        };
        let Entry { apex, zone, allow_query, expired, online: _ } = entry;
        match allow_query {
            Some(allowed) if !allowed.allows(*client, None) => {
                self.steps
                    .push(format!("allow-query of the zone {apex} does not let {client} ask: {}", end("REFUSED")));
                return Some(apex.clone());
            }
            Some(_) => self.steps.push(format!("allow-query of the zone {apex} lets {client} ask")),
            None => {}
        }
        let Some(zone) = zone else {
            self.steps.push(format!("the zone {apex} could never be read: {}", end("SERVFAIL")));
            return Some(apex.clone());
        };
        if *expired {
            let end = end("SERVFAIL, but for what pools steer, which does not come from its primaries");
            self.steps.push(format!("the zone {apex} has expired: {end}"));
            if !first {
                return Some(apex.clone());
            }
        }
        match zone.find(lower.wire(), rtype == Rtype::DS) {
            Place::Referral(..) => self.steps.push(format!("{name} lies at or below a zone cut of {apex}: a referral")),
            Place::Dname(..) => {
                self.steps.push(format!("{name} lies below a DNAME of {apex}: it is an alias of another name"));
            }
            Place::NxDomain => self.steps.push(format!("{name} does not exist in the zone {apex}: NXDOMAIN")),
            Place::Node(node) => match node.slot().and_then(|slot| snapshot.over(slot).0) {
                None => self.steps.push(format!("{name} exists in the zone {apex}, no pool lies over it")),
                Some(pool) if !pool.records.types().contains(&rtype) && pool.records.types() != [Rtype::CNAME] => {
                    let pool = &pool.name;
                    self.steps
                        .push(format!("the pool {pool} lies over {name}, but steers no {rtype}: the zone answers"));
                }
                Some(pool) => {
                    self.steps
                        .push(format!("{name} exists in the zone {apex}, and the pool {} lies over it", pool.name));
                    self.explain_pools(pool, rtype);
                }
            },
        }
        self.walk_planned(zone, &lower);
        Some(apex.clone())
    }

    /// Pool by pool down to the leaf.
    fn explain_pools(&mut self, top: &Pool, rtype: Rtype) {
        let client = |pool: &Pool| if pool.is_by_client() { *self.asking.client() } else { self.asking.resolver };
        let Some(first) = top.choose(&client(top), 0, self.now) else { return };
        let Some(way) = way(&self.snapshot.pools, top, first, client, 0, self.now) else { return };
        let explained = way.steps.iter().enumerate().map(|(level, (pool, choice))| {
            let inner = way.steps.get(level + 1).map(|(inner, _)| &inner.name);
            explain_pool(pool, (*choice, way.ttl), inner, &client(pool), rtype, self.now, &mut self.steps)
        });
        self.pools.extend(explained);
        if way.steps.len() > 1 {
            self.steps.push(format!("the least of these TTLs is served: {} s", way.ttl));
        }
    }

    /// What is planned of the RRset asked for, and what is not there.
    fn walk_planned(&mut self, zone: &Zone, lower: &Name) {
        let rtype = self.question.rtype;
        let client = self.asking.resolver;
        let is_there = match zone.find(lower.wire(), rtype == Rtype::DS) {
            Place::Node(node) => {
                let planned = node.slot().and_then(|slot| self.snapshot.over(slot).1).and_then(|named| named.of(rtype));
                let has_it = node.rrset(rtype).is_some();
                if let Some(planned) = planned.filter(|_| has_it) {
                    explain_planned(planned, rtype, &client, self.now, &mut self.steps);
                }
                has_it || node.alias().is_some()
            }
            Place::NxDomain => false,
            Place::Referral(..) | Place::Dname(..) => true,
        };
        if let Some(absence) = self.snapshot.planned.absence(zone.apex()).filter(|_| !is_there) {
            let (ttl, apex) = (absence.ttl(&client.key, self.now).min(zone.negative_ttl()), zone.apex());
            self.steps.push(format!(
                "the zone {apex} lacks an RRset that is planned: what it denies is kept for {ttl} s at most"
            ));
        }
    }
}

/// Which TTL an RRset of the zone has, and until when caches may hold it as it was.
fn explain_planned(planned: &Planned, rtype: Rtype, client: &Client, now: Timestamp, steps: &mut Vec<String>) {
    let ground = Ground { policy: planned.ttl, cutover: planned.cutover, change: planned.change, until_flip: None };
    let parts = ground.parts(Some(point(&planned.salt, &client.key)), now);
    let all: Vec<String> = parts.iter().map(ToString::to_string).collect();
    steps.push(match &all[..] {
        [only] => format!("the TTL of its {rtype} is planned: {only}"),
        _ => format!("the TTL of its {rtype} is planned: {} s, the least of: {}", least(&parts).ttl, all.join("; ")),
    });
    let Some(change) = planned.change else { return };
    steps.push(match planned.past() {
        Some(until) if until > now => format!(
            "it was changed at {}: the last answer of this server with it as it was lives until {until}, for {} s more",
            change.at,
            until.since(now)
        ),
        Some(until) => {
            format!(
                "it was changed at {}: no cache holds an answer of this server with it as it was since {until}",
                change.at
            )
        }
        None => format!("it was changed at {}: nobody was given it as it was", change.at),
    });
}

/// Decision by decision, in the order in which they count. `inner` is the pool that the endpoint chosen is; beside the choice
/// stands the TTL that is served in the end.
fn explain_pool(
    pool: &Pool,
    (choice, served): (Choice, Ttl),
    inner: Option<&Name>,
    client: &Client,
    rtype: Rtype,
    now: Timestamp,
    steps: &mut Vec<String>,
) -> PoolExplanation {
    let at = point(&pool.salt, &client.key);
    let by_share = pool.selector.table().pick(at);
    let site = |endpoint: usize| pool.sites.get(endpoint).cloned().unwrap_or_default();
    let chosen = site(choice.endpoint);
    let policy = pool.selector.policy();
    steps.push(match &pool.group {
        Some(group) => {
            format!("the pool {}, {policy}, is asked, of the group {group:?}, whose pools give one site", pool.name)
        }
        None => format!("the pool {}, {policy}, is asked", pool.name),
    });
    explain_words(pool, steps);
    if let Some(family) = pool.withdrawn.get(choice.endpoint).copied().flatten() {
        steps.push(format!("{family} of {chosen} is withdrawn, as its probes fail there: its type is NODATA"));
    }
    let mut scores = Vec::new();
    if choice.previewed {
        steps.push(format!("{} is among the networks that see {chosen} before all others", client.address));
    } else {
        let wanted = pool.preference.as_ref().map_or(&[][..], |preference| preference.get(client));
        let sites = wanted.iter().map(|endpoint| site(usize::from(*endpoint))).collect::<Vec<_>>().join(", ");
        if wanted.iter().any(|endpoint| usize::from(*endpoint) == choice.endpoint) {
            steps.push(format!("its network is to have {sites}: {chosen} is the first that may be answered"));
        } else {
            if !wanted.is_empty() {
                steps.push(format!("its network is to have {sites}, of which none may be answered"));
            }
            scores = explain_choice(pool, at, choice.endpoint, steps);
        }
    }
    let ground = Ground { policy: pool.ttl, cutover: pool.cutover, change: pool.change, until_flip: pool.until_flip };
    let parts = ground.parts(Some(at), now);
    let all: Vec<String> = parts.iter().map(ToString::to_string).collect();
    steps.push(match &all[..] {
        [only] => format!("TTL {only}"),
        _ => format!("TTL {} s, the least of: {}", least(&parts).ttl, all.join("; ")),
    });
    steps.push(format!(
        "given now, it keeps the horizon of {chosen} for {rtype} at {} at least: the TTL and {MARGIN_SECS} s",
        expires(now, served)
    ));
    if let Some(inner) = inner {
        steps.push(format!("{chosen} is the pool {inner}: what that one answers is answered"));
    }
    PoolExplanation {
        name: pool.name.clone(),
        point_percent: percent(at as f64 / 2f64.powi(64)),
        site_by_share: by_share.map(site),
        site: chosen,
        pool: inner.cloned(),
        mode: pool.selector.mode().to_string(),
        previewed: choice.previewed,
        ttl: choice.ttl,
        ttl_parts: parts,
        endpoints: pool
            .sites
            .iter()
            .enumerate()
            .map(|(endpoint, site)| EndpointExplanation {
                site: site.clone(),
                share_percent: percent(pool.selector.table().share(endpoint)),
                up: pool.selector.is_up(endpoint),
                answers: pool.selector.answers(endpoint),
                score: scores.iter().find(|(_, rival)| *rival == endpoint).map(|(wait, _)| *wait),
            })
            .collect(),
    }
}

/// Shares and health of all, what operators say of endpoints and sites, and what comes of it.
fn explain_words(pool: &Pool, steps: &mut Vec<String>) {
    let selector = &pool.selector;
    let word = |endpoint: usize| pool.words.get(endpoint).copied().unwrap_or_default();
    let mut health = Vec::new();
    for (endpoint, site) in pool.sites.iter().enumerate() {
        let (word, share) = (word(endpoint), percent(selector.table().share(endpoint)));
        let up = if selector.is_up(endpoint) { "up" } else { "down" };
        let by = match word {
            _ if word.site != SiteState::Active => format!("its site is {}", word.site),
            _ if word.forced != Override::Obey => format!("overridden {}", word.forced),
            _ if pool.branch(endpoint).is_some_and(|branch| branch.pool.is_some()) => {
                format!("{up}, as its pool has {} healthy to answer", if up == "up" { "somebody" } else { "nobody" })
            }
            _ => format!("{up} by its probes"),
        };
        health.push(format!("{site} {share} %, {by}"));
    }
    steps.push(format!("shares of the points, and health: {}", health.join("; ")));
    for (word, site) in pool.words.iter().zip(&*pool.sites) {
        if word.site != SiteState::Active {
            steps.push(format!("the site {site} is {}: it is not answered, whatever its probes say", word.site));
        } else if word.forced != Override::Obey {
            let by = if word.by_file { "the override file" } else { "an operator" };
            steps.push(format!("{site} is {} by the word of {by}, whatever its probes say", word.forced));
        }
    }
    let is_active = |endpoint: &usize| selector.table().share(*endpoint) > 0.0;
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

/// How the policy comes to its choice. Where the key's own endpoint hands over, it gives the scores of those that may be
/// answered.
fn explain_choice(pool: &Pool, at: u64, chosen: usize, steps: &mut Vec<String>) -> Vec<(f64, usize)> {
    let site = |endpoint: usize| pool.sites.get(endpoint).cloned().unwrap_or_default();
    // A query that draws is explained by the lowest draw, as it is answered here.
    let at = if pool.selector.policy() == Policy::Random { 0 } else { at };
    match pool.selector.policy() {
        Policy::Sticky => {}
        Policy::Geo => steps.push("no site of its network can be given: it is chosen by the client key".to_owned()),
        Policy::Random => steps.push("each query draws a point of its own: this is one of them".to_owned()),
        Policy::Failover => {
            steps.push(format!("{} is the first in the order that may be answered, or its trickle", site(chosen)));
            return Vec::new();
        }
        Policy::All => {
            steps.push("all that may be answered are, in one answer".to_owned());
            return Vec::new();
        }
    }
    let table = pool.selector.table();
    let Some(by_share) = table.pick(at) else { return Vec::new() };
    let what = if pool.selector.policy() == Policy::Random { "the draw" } else { "the key" };
    let point_percent = percent(at as f64 / 2f64.powi(64));
    steps.push(format!(
        "{what} falls on {point_percent} % of the points, which the share table gives to {}",
        site(by_share)
    ));
    if table.stays_behind(at).is_some() {
        steps.push(
            "it stays behind there: a capped flip has postponed it, until a larger step takes it along".to_owned(),
        );
    }
    if by_share == chosen {
        return Vec::new();
    }
    let scores: Vec<_> = pool.selector.waits(at).collect();
    let told: Vec<String> = scores.iter().map(|(wait, rival)| format!("{} {wait:.6}", site(*rival))).collect();
    let (mode, chosen, told) = (pool.selector.mode(), site(chosen), told.join(", "));
    steps.push(format!("{} may not be answered now ({mode}): it hands over", site(by_share)));
    steps.push(format!("scores by weighted rendezvous, of which the least wins: {told}: {chosen} instead"));
    scores
}
