//! `[[pool]]`: policy, TTLs and endpoints, and how they fit the zones, sites and probes of the same file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Range;

use super::clients::{self, OfAllPools};
use super::groups::{self, Read, Said};
use super::hints;
use super::nested;
use super::probes::Probe;
use super::reader::{Table, Value, guess};
use super::sections::Zones;
use super::source::Source;
use super::values::{self, LABEL, label};
use crate::diagnostic::Place;
use crate::dns::{Name, Rtype, Ttl};
use crate::steering::pool::{
    Endpoint, Handling, Policy, Preview, Rdata, Role, Selection, Settings, Site, Transfer, Weight,
};
use crate::steering::ttl::{Approach, TtlPolicy};
use crate::zone::master::parse_rdata;

/// What else the file says, for pools to refer to.
pub(super) struct Surroundings<'f> {
    pub(super) zones: &'f Zones,
    pub(super) sites: &'f [Site],
    pub(super) of_all: &'f OfAllPools,
    pub(super) probes: &'f BTreeMap<String, Probe>,
    /// Whether pools were changed at run time: then weights as written say little.
    pub(super) amended: bool,
}

/// `[[pool]]`: each with the place of its name.
pub(super) fn pools(section: Option<Value>, around: &Surroundings, src: &mut Source) -> (Vec<Settings>, Vec<Place>) {
    let mut pools: Vec<Read> = Vec::new();
    let mut seen: HashMap<Name, usize> = HashMap::new(); // the line of each name
    let mut used = BTreeSet::new();
    for mut table in section.map_or_else(Vec::new, |s| s.tables("[[pool]]", src)) {
        let (name, endpoints) = (table.require("name", src), table.require("endpoint", src));
        let [policy, group, min_healthy, trickle] =
            ["policy", "group", "min-healthy", "trickle"].map(|key| table.get(key));
        let [preview, ttl, probe] = ["preview", "ttl", "probe"].map(|key| table.get(key));
        let transfer = table.get("transfer");
        let [labels, between, networks] = ["labels", "min-between-flips", "networks"].map(|key| table.get(key));
        table.finish(src);

        let name = name.and_then(|v| Some((values::name(&v, src)?, v.span)));
        if let Some((name, at)) = &name {
            match seen.get(name) {
                Some(line) => {
                    src.error(at.clone(), format!("pool \"{name}\" is already written on line {line}"));
                }
                None => {
                    seen.insert(name.clone(), src.line(at.start));
                }
            }
            check_zone("pool", name, at, around.zones, src);
        }
        let policies = [
            ("sticky", Policy::Sticky),
            ("random", Policy::Random),
            ("failover", Policy::Failover),
            ("all", Policy::All),
            ("geo", Policy::Geo),
        ];
        let policy = policy.and_then(|v| v.one_of(&policies, src));
        let group = group.and_then(|v| v.parsed(LABEL, src, |text| Some(text.to_owned()).filter(|t| label(t))));
        // An hour is what zones commonly have.
        let ttl = ttl_policy(ttl, Ttl::from_secs(3600), true, src);
        let kinds = [("largest", Transfer::Largest), ("all", Transfer::All)];
        let transfer = transfer.and_then(|v| Some((v.one_of(&kinds, src)?, v.span)));
        used.extend(probe.as_ref().and_then(Value::as_text));
        let probe = probe.and_then(|v| probe_name(&v, around, src));
        let pool_name = name.as_ref().map(|(n, _)| n);
        let endpoints = endpoints.and_then(|v| endpoints_of(&v, pool_name, group.is_some(), around.sites, src));
        if let (Some(endpoints), Some((name, at))) = (endpoints, name) {
            let (endpoints, said): (Vec<Endpoint>, Vec<Said>) = endpoints.into_iter().unzip();
            let [min_healthy, trickle] = [min_healthy, trickle].map(|v| {
                let (percent, at) = (values::percent(v.as_ref()?, src)?, v?.span);
                Some((percent, at))
            });
            let at_sites = |site: &str| endpoints.iter().any(|e| e.site == site);
            let mut previews: Vec<Preview> =
                around.of_all.previews.iter().filter(|p| at_sites(&p.site)).cloned().collect();
            for (own, place) in preview.map_or_else(Vec::new, |v| clients::previews(&v, around.sites, src)) {
                if !at_sites(&own.site) {
                    src.error(place, format!("pool \"{name}\" has no endpoint at site {:?}", own.site));
                }
                previews.push(own);
            }
            let preferences = networks.and_then(|v| around.of_all.networks.preferences(&v, around.sites, src));
            let selection = Selection { group, previews, preferences, ..Selection::default() };
            let handling = Handling {
                labels: labels.map_or_else(Vec::new, |v| self::labels(&v, src)),
                min_between_flips_secs: between
                    .map_or(around.of_all.min_between_flips_secs, |v| values::whole_seconds(&v, src)),
            };
            let (policy_said, policy) = (policy.is_some(), policy.unwrap_or_default());
            let transfer_at = transfer.as_ref().map(|(_, at)| at.clone());
            let transfer = transfer.map_or_else(Transfer::default, |(transfer, _)| transfer);
            let nest = None;
            let settings = Settings { name, policy, selection, ttl, transfer, probe, handling, endpoints, nest };
            let is_probed = settings.probe.is_some();
            pools.push(Read { settings, at, policy_said, min_healthy, trickle, transfer_at, is_probed, said });
        }
    }
    groups::agree(&mut pools, src);
    for pool in pools.iter_mut().filter(|pool| pool.settings.policy == Policy::Geo) {
        let own = &mut pool.settings.selection.preferences;
        *own = own.take().or_else(|| around.of_all.networks.of_all.clone());
    }
    nested::resolve(&mut pools, &seen, src);
    for pool in &pools {
        check_together(pool, around, src);
    }
    for (name, probe) in around.probes.iter().filter(|(name, _)| !used.contains(&name.as_str())) {
        src.warning(Some(probe.at.clone()), format!("no pool uses probe {name:?}"));
    }
    pools.into_iter().map(|pool| (pool.settings, src.place(pool.at))).unzip()
}

/// `labels = ["web", "eu"]`, or `{ tier = "web", region = "eu" }`, which is `tier=web` and `region=eu`.
fn labels(value: &Value, src: &mut Source) -> Vec<String> {
    let mut read = BTreeSet::new();
    if value.is_table() {
        let Some(table) = value.table("the labels", src) else { return Vec::new() };
        for (at, v) in table.named() {
            let key = v.key;
            if !label(key) {
                src.error(at, format!("{key:?} is no label: {LABEL}"));
            }
            read.extend(v.parsed(LABEL, src, |text| Some(format!("{key}={text}")).filter(|_| label(text))));
        }
    } else {
        for v in value.list("an array of labels, such as [\"web\"], or a table, such as { tier = \"web\" }", src) {
            let text = v.parsed(LABEL, src, |text| Some(text.to_owned()).filter(|t| label(t)));
            if let Some(text) = text
                && !read.insert(text)
            {
                let message = format!("{} is written twice", v.written(src));
                src.error(v.span.clone(), message);
            }
        }
    }
    read.into_iter().collect()
}

/// A pool, or what else `what` is, outside the zones served could never answer.
pub(super) fn check_zone(what: &str, name: &Name, at: &Range<usize>, zones: &Zones, src: &mut Source) {
    if zones.complete && !zones.cover(name) {
        let mut served: Vec<_> = zones.served.iter().take(10).map(|(zone, _)| zone.name.to_string()).collect();
        if served.len() < zones.served.len() {
            served.push("...".to_owned());
        }
        let help = if served.is_empty() {
            "there is no [[zone]]".to_owned()
        } else {
            format!("served: {}", served.join(", "))
        };
        src.absence(at.clone(), format!("{what} \"{name}\" is outside the zones served")).help(help);
    }
}

fn probe_name(value: &Value, around: &Surroundings, src: &mut Source) -> Option<String> {
    let name = value.text("the name of a probe", src)?;
    if !around.probes.contains_key(name) {
        let known = guess(name, around.probes.keys().map(String::as_str));
        src.absence(value.span.clone(), format!("there is no [probe.{name}]")).help(known);
        return None;
    }
    Some(name.to_owned())
}

/// `ttl = { normal, low, spread, mode, max-wait, by-health }`, the last one where there are probes. Each default gives way to
/// what is written: `low` is at most `normal`, the spread at most half of it. `normal` is `unsaid` where it is not written.
pub(super) fn ttl_policy(value: Option<Value>, unsaid: Ttl, probed: bool, src: &mut Source) -> TtlPolicy {
    let table = value.and_then(|v| v.table("ttl", src));
    let [normal, low, spread, mode, max_wait, by_health] = table.map_or([const { None }; 6], |mut table| {
        let [normal, low, spread, mode, max_wait] =
            ["normal", "low", "spread", "mode", "max-wait"].map(|key| table.get(key));
        let by_health = if probed { table.get("by-health") } else { None };
        table.finish(src);
        [normal, low, spread, mode, max_wait, by_health]
    });
    // A minute is what resolvers honour without raising it.
    let normal_ttl = normal.as_ref().map_or(Some(unsaid), |v| values::ttl(v, src));
    let known = normal_ttl.unwrap_or(Ttl::MAX); // nothing more is told where `normal` is wrong already
    let mut policy = TtlPolicy {
        normal: known,
        low: known.min(Ttl::from_secs(60)),
        spread_secs: (known.secs() / 2).min(120),
        mode: mode
            .and_then(|v| v.one_of(&[("countdown", Approach::Countdown), ("step", Approach::Step)], src))
            .unwrap_or_default(),
        max_wait: None,
        by_health: by_health.and_then(|v| v.flag(src)).unwrap_or(false),
    };
    if let Some(v) = low
        && let Some(ttl) = values::ttl(&v, src)
    {
        if ttl > known {
            let message = format!("\"low\" is {}, which is above \"normal\", {known} s", v.written(src));
            src.error(v.span, message);
        }
        policy.low = ttl;
    }
    if let Some(v) = max_wait
        && let Some(ttl) = values::ttl(&v, src)
    {
        if ttl < policy.low || ttl > known {
            let bounds = format!("between \"low\", {} s, and \"normal\", {known} s", policy.low);
            let message = format!("\"max-wait\" is {}, which is not {bounds}", v.written(src));
            src.error(v.span, message);
        }
        policy.max_wait = Some(ttl);
    }
    if let Some(v) = spread {
        match values::seconds(&v) {
            None => {
                v.must_be("a duration in whole seconds, such as \"2m\" or 120", src);
            }
            Some(ttl) if ttl.secs() > known.secs() / 2 => {
                let message = format!("\"spread\" is {}, which is above half of \"normal\", {known} s", v.written(src));
                src.error(v.span, message);
            }
            Some(ttl) => policy.spread_secs = ttl.secs(),
        }
    }
    policy
}

/// The endpoints of a pool, each with what was said of it; `None` when one has a mistake, so that nothing is concluded from
/// the rest. Where they are `grouped`, another pool may say the weights.
fn endpoints_of(
    value: &Value,
    pool: Option<&Name>,
    grouped: bool,
    sites: &[Site],
    src: &mut Source,
) -> Option<Vec<(Endpoint, Said)>> {
    let mut seen: Vec<(&str, usize)> = Vec::new();
    let mut read = Vec::new();
    let mut whole = true;
    let elements = value
        .list("an array of endpoints, such as [{ site = \"dc1\", address = [\"127.0.0.12\"], weight = 100 }]", src);
    whole &= !elements.is_empty();
    for element in elements {
        let Some(mut table) = element.table("the endpoint", src) else {
            whole = false;
            continue;
        };
        let site = table.require("site", src);
        let weight = if grouped { table.get("weight") } else { table.require("weight", src) };
        let weightless = grouped && weight.is_none();
        let role = table.get("role");
        let span = table.span();
        let (given, mut rdata) = rdata(&mut table, pool, src);
        let inner = table.get("pool");
        table.finish(src);
        let pool_at = inner.as_ref().map(|v| v.span.clone());
        let inner = match inner {
            Some(v) => {
                if given {
                    let message = format!("the endpoint is the pool {}, and has records beside it", v.written(src));
                    src.error(v.span.clone(), message).help("its answers are those of that pool");
                    whole = false;
                }
                let name = values::name(&v, src);
                if name.is_none() {
                    rdata = None;
                }
                name
            }
            None => None,
        };
        let given = given || pool_at.is_some();

        if !given {
            let of = site.as_ref().and_then(Value::as_text).map_or_else(String::new, |s| format!(" of site {s:?}"));
            src.absence(span, format!("the endpoint{of} has no records"))
                .help("one of address, cname, https, svcb, srv, pool is wanted");
        }
        if let Some(site) = &site
            && let Some(name) = site.as_text()
        {
            if let Some((_, line)) = seen.iter().find(|(n, _)| *n == name) {
                let message = format!("site {name:?} is already in this pool, on line {line}");
                src.error(site.span.clone(), message);
                whole = false;
            }
            seen.push((name, src.line(site.span.start)));
        }
        let site = site.and_then(|v| Some((values::site_name(&v, sites, src)?, v.span)));
        let weight = weight.and_then(|v| v.integer("a weight", 0..=Weight::MAX.get(), src)).and_then(Weight::new);
        let weight_said = weight.is_some();
        let weight = if weightless { Some(Weight::ZERO) } else { weight };
        let role_said = role.is_some();
        let role = role.map_or(Some(Role::Never), |v| v.one_of(&[("never", Role::Never), ("spare", Role::Spare)], src));
        match (site, weight, role, rdata) {
            (Some((site, at)), Some(weight), Some(role), Some(rdata)) if given => {
                let said = Said { at, weight: weight_said, role: role_said, pool: pool_at };
                read.push((Endpoint { site, weight, role, rdata, pool: inner }, said));
            }
            _ => whole = false,
        }
    }
    whole.then_some(read)
}

/// The records of an endpoint by type: whether there is a key for any, and what they are if all are right.
fn rdata(table: &mut Table, pool: Option<&Name>, src: &mut Source) -> (bool, Option<Rdata>) {
    let [address, cname, https, svcb, srv] = ["address", "cname", "https", "svcb", "srv"].map(|key| table.get(key));
    let given = [&address, &cname, &https, &svcb, &srv].into_iter().flatten().count() > 0;
    let mut all = Rdata::new();
    let mut whole = true;
    let mut put = |rtype: Rtype, rdata: Box<[u8]>, v: &Value, src: &mut Source| {
        let at = all.iter().position(|(t, _)| *t == rtype).unwrap_or_else(|| {
            all.push((rtype, Vec::new()));
            all.len() - 1
        });
        if all[at].1.contains(&rdata) {
            let message = format!("{} is written twice", v.written(src));
            src.error(v.span.clone(), message);
            return;
        }
        all[at].1.push(rdata);
    };

    if let Some(v) = address {
        let elements = v.list("an array of IP addresses, such as [\"127.0.0.1\", \"::1\"]", src);
        whole &= !elements.is_empty();
        for v in elements {
            match v.parsed("an IP address without a port, such as \"127.0.0.1\" or \"::1\"", src, |t| t.parse().ok()) {
                Some(IpAddr::V4(a)) => put(Rtype::A, Box::new(a.octets()), &v, src),
                Some(IpAddr::V6(a)) => put(Rtype::AAAA, Box::new(a.octets()), &v, src),
                None => whole = false,
            }
        }
    }
    for (rtype, value) in [(Rtype::HTTPS, https), (Rtype::SVCB, svcb), (Rtype::SRV, srv)] {
        let Some(v) = value else { continue };
        let example = if rtype == Rtype::SRV { "10 5 443 host.example.org." } else { "1 . alpn=h2" };
        let what = format!("an array of {rtype} records, such as [\"{example}\"]");
        let elements = v.list(&what, src);
        whole &= !elements.is_empty();
        for v in elements {
            let Some(text) = v.text(format_args!("{rtype} RDATA, such as \"{example}\""), src) else {
                whole = false;
                continue;
            };
            match parse_rdata(rtype, text, &Name::root()) {
                Ok(rdata) => put(rtype, rdata, &v, src),
                Err(reason) => {
                    let message = format!("{} is no RDATA of type {rtype}: {reason}", v.written(src));
                    src.error(v.span, message).help(format!("such as \"{example}\""));
                    whole = false;
                }
            }
        }
    }
    if let Some(v) = cname {
        if !all.is_empty() {
            let beside = listed(all.iter().map(|(rtype, _)| *rtype));
            let message = format!("the endpoint has the CNAME {} beside {beside}", v.written(src));
            src.error(v.span.clone(), message).help("a CNAME stands alone (RFC 1034, 3.6.2)");
            whole = false;
        }
        match values::name(&v, src) {
            Some(target) if Some(&target) == pool => {
                src.error(v.span, format!("the CNAME of pool \"{target}\" points at itself"));
                whole = false;
            }
            Some(target) => all.push((Rtype::CNAME, vec![target.wire().into()])),
            None => whole = false,
        }
    }
    (given, whole.then_some(all))
}

/// What only shows when all endpoints are seen together.
fn check_together(read: &Read, around: &Surroundings, src: &mut Source) {
    let zones = around.zones;
    let Read { settings: pool, at, .. } = read;
    let name = &pool.name;
    let policy = pool.policy;
    if let Some((_, at)) = read.trickle.as_ref().filter(|_| policy != Policy::Failover) {
        src.error(at.clone(), format!("\"trickle\" is for the policy failover, and pool \"{name}\" has {policy}"));
    }
    if let Some((_, at)) = read.min_healthy.as_ref().filter(|_| policy == Policy::Failover) {
        src.error(at.clone(), format!("\"min-healthy\" goes by weight, and pool \"{name}\" has the policy failover"));
    }
    if pool.ttl.by_health && !read.is_probed {
        let message = format!("pool \"{name}\" has TTLs \"by-health\" and no probe: health never changes");
        src.warning(Some(at.clone()), message);
    }
    if let Some(probe) = &pool.probe
        && pool.endpoints.iter().all(|endpoint| endpoint.pool.is_some())
    {
        let message = format!("pool \"{name}\" has probe {probe:?}, and all its endpoints are pools: it asks nobody");
        src.warning(Some(at.clone()), message)
            .help("an endpoint that is a pool is up while that pool has somebody healthy");
    }
    if policy == Policy::Geo && pool.selection.preferences.is_none() {
        src.absence(at.clone(), format!("pool \"{name}\" has the policy geo, and no networks"))
            .help("networks = FILE, here or in [steering], says which networks are given which sites");
    }
    if policy != Policy::Geo && pool.selection.preferences.is_some() {
        src.error(at.clone(), format!("\"networks\" is for the policy geo, and pool \"{name}\" has {policy}"));
    }
    let endpoints = || pool.endpoints.iter().zip(read.said.iter().map(|said| &said.at));
    let weightless = pool.endpoints.iter().all(|e| e.weight == Weight::ZERO);
    if weightless && !around.amended && read.said.iter().all(|said| said.weight) {
        src.error(at.clone(), format!("the weights of pool \"{name}\" add up to nothing"));
    }
    let given: Vec<BTreeSet<Rtype>> = (0..pool.endpoints.len()).map(|endpoint| types_of(pool, endpoint)).collect();
    if given.iter().any(BTreeSet::is_empty) {
        return; // its pool is not known
    }
    let with_cname = given.iter().position(|types| types.contains(&Rtype::CNAME));
    if let Some(with_cname) = with_cname {
        for ((endpoint, site_at), types) in endpoints().zip(&given).filter(|(_, types)| !types.contains(&Rtype::CNAME))
        {
            let (one, other) = (&pool.endpoints[with_cname].site, &endpoint.site);
            let types = listed(types.iter().copied());
            let message = format!("pool \"{name}\" mixes types: site {one:?} has a CNAME, site {other:?} has {types}");
            src.error(site_at.clone(), message).help("a CNAME stands alone (RFC 1034, 3.6.2), also over time");
        }
        if pool.transfer == Transfer::All {
            let message = format!("pool \"{name}\" gives CNAMEs: a name can't have those of all endpoints at once");
            let at = read.transfer_at.clone().unwrap_or_else(|| at.clone());
            src.error(at, message).help("transfer = \"largest\" gives the one of the largest share");
        }
        if policy == Policy::All && pool.endpoints.len() > 1 {
            let message = format!("pool \"{name}\" has the policy all, and gives CNAMEs");
            src.error(at.clone(), message).help("a name has one CNAME at most (RFC 2181, 10.1)");
        }
        if zones.has_apex(name) {
            let message = format!("pool \"{name}\" gives a CNAME at the apex of a zone, beside its SOA and NS");
            src.error(at.clone(), message).help("a CNAME stands alone (RFC 1034, 3.6.2)");
        }
        return;
    }
    let steered: BTreeSet<Rtype> = given.iter().flatten().copied().collect();
    let mut addresses: Vec<(&[u8], &str)> = Vec::new();
    for ((endpoint, site_at), given) in endpoints().zip(&given) {
        let site = &endpoint.site;
        let lacking = listed(steered.difference(given).copied());
        if !lacking.is_empty() {
            src.warning(
                Some(site_at.clone()),
                format!("site {site:?} has no {lacking}, which other sites of the pool have"),
            )
            .help(format!("whoever is sent to {site:?} gets NODATA for it"));
        }
        for (rtype, hint) in hints::astray(name, endpoint) {
            let message = format!("site {site:?} hints at {hint} in its {rtype} record, which is not its address");
            src.warning(Some(site_at.clone()), message).help("clients that are given this site may go there");
        }
        if let Some(probe) = &pool.probe
            && endpoint.pool.is_none()
            && around.probes.get(probe).and_then(|p| p.settings.as_ref()).is_none_or(|p| p.kind.needs_address())
            && !given.contains(&Rtype::A)
            && !given.contains(&Rtype::AAAA)
        {
            let message =
                format!("site {site:?} has no address that probe {probe:?} could ask, so it always counts as up");
            src.warning(Some(site_at.clone()), message);
        }
        let own = endpoint.rdata.iter().filter(|(t, _)| matches!(*t, Rtype::A | Rtype::AAAA)).flat_map(|(_, all)| all);
        for address in own {
            match addresses.iter().find(|(a, _)| *a == &**address) {
                Some((_, other)) => {
                    let message =
                        format!("site {site:?} has an address of site {other:?}: a flip between them moves nobody");
                    src.warning(Some(site_at.clone()), message);
                }
                None => addresses.push((address, site)),
            }
        }
    }
}

/// The types that an endpoint has records of, or the pool that it is.
fn types_of(pool: &Settings, endpoint: usize) -> BTreeSet<Rtype> {
    pool.leaves_of(endpoint).flat_map(|leaf| pool.leaf(leaf)).map(|(rtype, _)| *rtype).collect()
}

/// Types in words: `A, AAAA`.
pub(super) fn listed(types: impl Iterator<Item = Rtype>) -> String {
    types.map(|t| t.to_string()).collect::<Vec<_>>().join(", ")
}
