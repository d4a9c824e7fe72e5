//! Endpoints that are pools: whether those are there, lead in no circle and go together; and what stands below each pool.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::groups::Read;
use super::source::Source;
use crate::dns::{Name, Rtype};
use crate::steering::nest::{MOST_LEVELS, Nest};
use crate::steering::pool::{Policy, Settings};

/// Gives each pool with endpoints that are pools what stands below it. `written` has the name of each pool in the file, also of
/// those that could not be read. Where something is wrong, what stands below is not known.
pub(super) fn resolve(pools: &mut [Read], written: &HashMap<Name, usize>, src: &mut Source) {
    if pools.iter().all(|pool| pool.settings.endpoints.iter().all(|endpoint| endpoint.pool.is_none())) {
        return; // of thousands mostly none
    }
    let places: HashMap<Name, usize> = pools.iter().enumerate().map(|(i, p)| (p.settings.name.clone(), i)).collect();
    let mut broken = unknown(pools, &places, written, src);
    broken.extend(circles(pools, &places, src));
    ways(pools, &places, &mut broken, src);
    alike(pools, &places, src);
    for place in 0..pools.len() {
        make(place, pools, &places, &broken);
    }
    for pool in pools.iter().filter(|pool| pool.settings.nest.is_some()) {
        check(pool, pools, &places, src);
    }
}

/// The pools that the endpoints of `pool` are, as far as they are known; each with the place where it is written.
fn below<'p>(
    pool: &'p Read,
    places: &'p HashMap<Name, usize>,
) -> impl Iterator<Item = (Option<usize>, &'p Name, &'p Range<usize>)> {
    let endpoints = pool.settings.endpoints.iter().zip(&pool.said);
    endpoints.filter_map(|(endpoint, said)| {
        let name = endpoint.pool.as_ref()?;
        Some((places.get(name).copied(), name, said.pool.as_ref()?))
    })
}

/// Tells of pools that are not there. Gives those with such an endpoint.
fn unknown(
    pools: &[Read],
    places: &HashMap<Name, usize>,
    written: &HashMap<Name, usize>,
    src: &mut Source,
) -> BTreeSet<usize> {
    let mut broken = BTreeSet::new();
    for (place, pool) in pools.iter().enumerate() {
        let name = &pool.settings.name;
        let mut seen: Vec<&Name> = Vec::new();
        for (inner, to, at) in below(pool, places) {
            if inner.is_none() {
                broken.insert(place);
                if !written.contains_key(to) {
                    src.absence(
                        at.clone(),
                        format!("pool \"{name}\" has the pool \"{to}\" as an endpoint, which is not there"),
                    );
                }
            }
            if seen.contains(&to) {
                let message =
                    format!("two endpoints of pool \"{name}\" are the pool \"{to}\": a flip between them moves nobody");
                src.warning(Some(at.clone()), message);
            }
            seen.push(to);
        }
        if pool.settings.policy == Policy::All
            && let Some((_, to, at)) = below(pool, places).next()
        {
            let message = format!("pool \"{name}\" has the policy all, and an endpoint that is the pool \"{to}\"");
            src.error(at.clone(), message).help("give that pool the policy all, or say its endpoints here");
            broken.insert(place);
        }
    }
    broken
}

/// Tells of each circle once, from its first pool in the file. Gives all pools on circles.
fn circles(pools: &[Read], places: &HashMap<Name, usize>, src: &mut Source) -> BTreeSet<usize> {
    let mut broken = BTreeSet::new();
    for start in 0..pools.len() {
        // Where each pool that is reached was come from, the nearest first.
        let mut from: HashMap<usize, usize> = HashMap::new();
        let mut reached = VecDeque::from([start]);
        while let Some(place) = reached.pop_front() {
            for (inner, _, at) in below(&pools[place], places) {
                let Some(inner) = inner.filter(|inner| !from.contains_key(inner)) else { continue };
                from.insert(inner, place);
                if inner != start {
                    reached.push_back(inner);
                    continue;
                }
                let mut way = vec![start, place];
                while let Some(before) = way.last().filter(|last| **last != start).and_then(|last| from.get(last)) {
                    way.push(*before);
                }
                way.reverse();
                if way.iter().all(|place| *place >= start) {
                    let message = format!("pools lead in a circle: {}", told(pools, &way));
                    src.error(at.clone(), message)
                        .help("a way through pools ends at an endpoint with records of its own");
                }
                broken.insert(start);
            }
        }
    }
    broken
}

/// Tells of ways that are too long, and of those on which two pools have one salt. Gives the pools at which they begin.
fn ways(pools: &[Read], places: &HashMap<Name, usize>, broken: &mut BTreeSet<usize>, src: &mut Source) {
    for start in 0..pools.len() {
        if !broken.contains(&start) {
            follow(pools, places, &mut vec![start], broken, src);
        }
    }
}

fn follow(
    pools: &[Read],
    places: &HashMap<Name, usize>,
    way: &mut Vec<usize>,
    broken: &mut BTreeSet<usize>,
    src: &mut Source,
) {
    let start = way[0];
    for (inner, _, at) in below(&pools[way[way.len() - 1]], places) {
        let Some(inner) = inner.filter(|inner| !broken.contains(inner)) else { continue };
        way.push(inner);
        if salt(&pools[start].settings) == salt(&pools[inner].settings) {
            let message = format!(
                "pools \"{}\" and \"{}\" choose by the same hash, and stand on one way: {}",
                pools[start].settings.name,
                pools[inner].settings.name,
                told(pools, way)
            );
            src.error(at.clone(), message).help("shares would not multiply; take another group for one of them");
            broken.insert(start);
        } else if way.len() > MOST_LEVELS {
            let message = format!("more than {MOST_LEVELS} pools follow each other: {}", told(pools, way));
            src.error(at.clone(), message);
            broken.insert(start);
        } else {
            follow(pools, places, way, broken, src);
        }
        way.pop();
    }
}

/// A way in words.
fn told(pools: &[Read], way: &[usize]) -> String {
    let names: Vec<String> = way.iter().map(|place| format!("\"{}\"", pools[*place].settings.name)).collect();
    names.join(" -> ")
}

/// By what the salt of a pool is made.
fn salt(pool: &Settings) -> String {
    pool.selection.group.clone().unwrap_or_else(|| pool.name.to_lowercase().to_string())
}

/// Pools of one group give a client one site, and below it one leaf: so at each site either all of them have records, or all
/// are one pool, or pools of one group.
fn alike(pools: &[Read], places: &HashMap<Name, usize>, src: &mut Source) {
    let mut first: HashMap<(&str, &str), (usize, Option<String>)> = HashMap::new();
    for (place, pool) in pools.iter().enumerate() {
        let Some(group) = &pool.settings.selection.group else { continue };
        for (endpoint, said) in pool.settings.endpoints.iter().zip(&pool.said) {
            let inner = match &endpoint.pool {
                None => None,
                Some(inner) => match places.get(inner) {
                    Some(inner) => Some(salt(&pools[*inner].settings)),
                    None => continue, // told already
                },
            };
            let (other, known) = first.entry((group, &endpoint.site)).or_insert_with(|| (place, inner.clone()));
            if *known != inner {
                let (one, other, site) = (&pool.settings.name, &pools[*other].settings.name, &endpoint.site);
                let message = format!(
                    "pools \"{one}\" and \"{other}\" of group {group:?} lead on otherwise at site {site:?}: \
                     a client would be given different sites below it"
                );
                src.error(said.pool.clone().unwrap_or_else(|| said.at.clone()), message)
                    .help("let both have records there, or be the same pool, or pools of one group");
            }
        }
    }
}

/// Makes the nest of a pool, those of the pools below first.
fn make(place: usize, pools: &mut [Read], places: &HashMap<Name, usize>, broken: &BTreeSet<usize>) -> bool {
    if broken.contains(&place) {
        return false;
    }
    let pool = &pools[place].settings;
    let inner: Vec<Option<usize>> =
        pool.endpoints.iter().map(|e| e.pool.as_ref().and_then(|name| places.get(name)).copied()).collect();
    if pool.nest.is_some() || inner.iter().all(Option::is_none) {
        return true;
    }
    if !inner.iter().flatten().all(|inner| make(*inner, pools, places, broken)) {
        return false;
    }
    let settings: Vec<Option<&Settings>> = inner.iter().map(|inner| inner.map(|i| &pools[i].settings)).collect();
    let nest = Nest::new(&pools[place].settings, &settings);
    let is_probed = nest.pools().iter().any(|name| pools[places[name]].settings.probe.is_some());
    pools[place].is_probed |= is_probed;
    pools[place].settings.nest = Some(Arc::new(nest));
    true
}

/// What only shows once it is known what stands below.
fn check(pool: &Read, pools: &[Read], places: &HashMap<Name, usize>, src: &mut Source) {
    let (settings, name) = (&pool.settings, &pool.settings.name);
    for (endpoint, said) in settings.endpoints.iter().zip(&pool.said) {
        let (Some(inner), Some(at)) = (&endpoint.pool, &said.pool) else { continue };
        let inner = &pools[places[inner]].settings;
        let leaves = inner.leaves().into_iter().flatten();
        let mut targets = leaves.filter(|(rtype, _)| *rtype == Rtype::CNAME).flat_map(|(_, rdatas)| rdatas);
        if targets.any(|target| Name::from_wire(target).is_ok_and(|target| target == *name)) {
            let message =
                format!("pool \"{name}\" has the pool \"{}\" as an endpoint, whose CNAME points at it", inner.name);
            src.error(at.clone(), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Loaded, parse};

    const HEAD: &str =
        "[[zone]]\nname = \"example.org\"\nfile = \"z\"\n[[site]]\nname = \"a\"\n[[site]]\nname = \"b\"\n";

    /// A pool with further lines, whose endpoints at a and b are these.
    fn pool(name: &str, more: &str, endpoints: [&str; 2]) -> String {
        let [a, b] = endpoints;
        format!(
            "[[pool]]\nname = \"{name}.example.org\"\n{more}\nendpoint = [{{ site = \"a\", weight = 1, {a} }}, \
             {{ site = \"b\", weight = 1, {b} }}]\n"
        )
    }

    fn leaf(last: u8) -> String {
        format!("address = [\"192.0.2.{last}\"]")
    }

    fn to(pool: &str) -> String {
        format!("pool = \"{pool}.example.org\"")
    }

    fn read(pools: &[String]) -> Result<Loaded, Vec<String>> {
        parse(&format!("{HEAD}{}", pools.concat()), Path::new("w.toml"))
            .map_err(|found| found.iter().map(ToString::to_string).collect())
    }

    /// What is wrong, without its place.
    #[track_caller]
    fn wrong(pools: &[String]) -> Vec<String> {
        let found = read(pools).expect_err("something is wrong");
        let errors = found.iter().filter_map(|line| Some(line.split_once(": error: ")?.1.to_owned()));
        errors.collect()
    }

    #[test]
    fn what_stands_below_is_known_whatever_the_order() {
        let loaded = read(&[
            pool("www", "", [&to("eu"), &leaf(9)]),
            pool("eu", "", [&to("de"), &leaf(3)]),
            pool("de", "", [&leaf(1), "address = [\"192.0.2.2\", \"2001:db8::2\"]"]),
        ]);
        let pools = loaded.unwrap().settings.pools;
        let nest = pools[0].nest.as_ref().unwrap();
        let ways: Vec<String> = nest.leaves().iter().map(|leaf| leaf.sites.join("/")).collect();
        assert_eq!(ways, ["a/a/a", "a/a/b", "a/b", "b"]);
        assert_eq!((pools[0].leaves_of(0), pools[0].leaves_of(1)), (0..3, 3..4));
        let below: Vec<String> = nest.pools().iter().map(ToString::to_string).collect();
        assert_eq!(below, ["eu.example.org", "de.example.org"]);
        assert_eq!(pools[0].types(), [Rtype::A, Rtype::AAAA]);
        assert_eq!(*pools[0].leaf(1), pools[2].endpoints[1].rdata);
        assert!(pools[2].nest.is_none() && pools[2].leaves().len() == 2 && pools[2].leaves_of(1) == (1..2));
    }

    #[test]
    fn a_circle_is_named_once() {
        let circle = |names: &[&str]| -> Vec<String> {
            let next = |i: usize| to(names[(i + 1) % names.len()]);
            (0..names.len()).map(|i| pool(names[i], "", [&next(i), &leaf(i as u8)])).collect()
        };
        let help = " (a way through pools ends at an endpoint with records of its own)";
        assert_eq!(
            wrong(&circle(&["x"])),
            [format!("pools lead in a circle: \"x.example.org\" -> \"x.example.org\"{help}")]
        );
        let three = "\"x.example.org\" -> \"y.example.org\" -> \"z.example.org\" -> \"x.example.org\"";
        let mut pools = circle(&["x", "y", "z"]);
        pools.push(pool("www", "", [&to("y"), &leaf(9)]));
        assert_eq!(wrong(&pools), [format!("pools lead in a circle: {three}{help}")]);
        let six = wrong(&circle(&["p", "q", "r", "s", "t", "u"]));
        assert!(six.len() == 1 && six[0].matches(" -> ").count() == 6, "{six:?}");
    }

    #[test]
    fn ways_end_after_four_pools() {
        let chain = |names: &[&str]| -> Vec<String> {
            let below = |i: usize| names.get(i + 1).map_or_else(|| leaf(200), |next| to(next));
            (0..names.len()).map(|i| pool(names[i], "", [&below(i), &leaf(i as u8)])).collect()
        };
        assert!(read(&chain(&["p", "q", "r", "s"])).is_ok());
        assert_eq!(
            wrong(&chain(&["p", "q", "r", "s", "t"])),
            ["more than 4 pools follow each other: \"p.example.org\" -> \"q.example.org\" -> \"r.example.org\" -> \
              \"s.example.org\" -> \"t.example.org\""]
        );
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        let eu = || pool("eu", "", [&leaf(1), &leaf(2)]);
        for (pools, expected) in [
            (
                vec![pool("www", "", [&to("us"), &leaf(9)]), eu()],
                "pool \"www.example.org\" has the pool \"us.example.org\" as an endpoint, which is not there",
            ),
            (
                vec![pool("www", "", ["pool = \"eu.example.org\", address = [\"192.0.2.9\"]", &leaf(9)]), eu()],
                "the endpoint is the pool \"eu.example.org\", and has records beside it (its answers are those of that pool)",
            ),
            (vec![pool("www", "", ["pool = 7", &leaf(9)]), eu()], "\"pool\" must be a domain name, not 7"),
            (
                vec![pool("www", "policy = \"all\"", [&to("eu"), &leaf(9)]), eu()],
                "pool \"www.example.org\" has the policy all, and an endpoint that is the pool \"eu.example.org\" \
                 (give that pool the policy all, or say its endpoints here)",
            ),
            (
                vec![
                    pool("www", "group = \"g\"", [&to("eu"), &leaf(9)]),
                    pool("eu", "group = \"g\"", [&to("de"), &leaf(8)]),
                    pool("de", "", [&leaf(1), &leaf(2)]),
                ],
                "pools \"www.example.org\" and \"eu.example.org\" choose by the same hash, and stand on one way: \
                 \"www.example.org\" -> \"eu.example.org\" (shares would not multiply; take another group for one of them)",
            ),
            (
                vec![
                    pool("www", "group = \"g\"", [&to("eu"), &leaf(9)]),
                    pool("api", "group = \"g\"", [&to("de"), &leaf(8)]),
                    eu(),
                    pool("de", "", [&leaf(1), &leaf(2)]),
                ],
                "pools \"api.example.org\" and \"www.example.org\" of group \"g\" lead on otherwise at site \"a\": a client \
                 would be given different sites below it (let both have records there, or be the same pool, or pools of one \
                 group)",
            ),
            (
                vec![pool("www", "", [&to("eu"), "cname = \"x.example.net.\""]), eu()],
                "pool \"www.example.org\" mixes types: site \"b\" has a CNAME, site \"a\" has A (a CNAME stands alone (RFC \
                 1034, 3.6.2), also over time)",
            ),
            (
                vec![
                    pool("www", "", [&to("cn"), &to("cn")]),
                    pool("cn", "", ["cname = \"www.example.org.\"", "cname = \"x.example.net.\""]),
                ],
                "pool \"www.example.org\" has the pool \"cn.example.org\" as an endpoint, whose CNAME points at it",
            ),
            (
                vec![
                    pool("www", "transfer = \"all\"", [&to("cn"), "cname = \"y.example.net.\""]),
                    pool("cn", "", ["cname = \"z.example.net.\"", "cname = \"x.example.net.\""]),
                ],
                "pool \"www.example.org\" gives CNAMEs: a name can't have those of all endpoints at once (transfer = \
                 \"largest\" gives the one of the largest share)",
            ),
        ] {
            assert_eq!(wrong(&pools).first().map(String::as_str), Some(expected), "{pools:?}");
        }
        let grouped = ["www", "api"]
            .map(|name| pool(name, "group = \"g\"", [&to(&format!("eu-{name}")), &leaf(name.len() as u8)]));
        let below = ["www", "api"].map(|name| pool(&format!("eu-{name}"), "group = \"eu\"", [&leaf(11), &leaf(12)]));
        assert!(read(&[grouped, below].concat()).is_ok(), "pools of one group below pools of one group");
    }

    #[test]
    fn doubts_are_told() {
        let warnings = |pools: &[String]| -> Vec<String> {
            read(pools).unwrap().warnings.into_iter().map(|doubt| doubt.message).collect()
        };
        let dual = "address = [\"192.0.2.9\", \"2001:db8::9\"]";
        assert_eq!(
            warnings(&[pool("www", "", [&to("eu"), dual]), pool("eu", "", [&leaf(1), &leaf(2)])]),
            ["site \"a\" has no AAAA, which other sites of the pool have"]
        );
        let probed = "probe = \"web\"\nttl = { by-health = true }";
        let probe = "[probe.web]\ntype = \"tcp\"\nport = 80\n".to_owned();
        let twice = pool("www", probed, [&to("eu"), &to("eu")]);
        let eu = || pool("eu", "", [&leaf(1), &leaf(2)]);
        assert_eq!(
            warnings(&[probe.clone(), twice, eu()]),
            [
                "pool \"www.example.org\" has probe \"web\", and all its endpoints are pools: it asks nobody",
                "two endpoints of pool \"www.example.org\" are the pool \"eu.example.org\": a flip between them moves nobody",
            ]
        );
        let by_health = |below: &str| {
            warnings(&[
                probe.clone(),
                pool("www", "ttl = { by-health = true }", [&to("eu"), &leaf(9)]),
                pool("eu", below, [&leaf(1), &leaf(2)]),
            ])
        };
        assert_eq!(by_health("probe = \"web\""), [""; 0], "health changes below");
        assert_eq!(by_health("").len(), 2, "an idle probe, and nothing to go by");
    }
}
