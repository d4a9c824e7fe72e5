//! Who still comes: sources as forwarders report them, joined with what DNS knows.
//!
//! What always holds: reports carry totals, so one that arrives twice counts once; memory is bounded by [`SOURCES`]. All of
//! this is in memory: after a restart of this server forwarders tell all that they have counted again. The [`curve`] alone
//! can't be told again, and is kept in a file.

pub(super) mod curve;
mod known;
mod summary;

pub use known::Known;
pub use summary::{OfClass, OfHost, OfSource, Summary};

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use crate::pairing::{Belongs, Class, Classes, NETWORKS, Report, SourceReport};
use crate::time::Timestamp;
use curve::{Curves, Point};

/// Sources that are kept, over all forwarders; those beyond are only counted.
pub const SOURCES: usize = 200_000;
/// A source that was not seen for so long is forgotten when there are too many.
const FORGOTTEN_SECS: u64 = 7 * 86_400;
/// Who was seen within so many seconds, or has a connection open, is there now.
const NOW_SECS: u64 = 120;

/// All sources of all forwarders.
#[derive(Default)]
pub struct Stragglers(Mutex<Table>);

#[derive(Default)]
struct Table {
    sources: HashMap<Key, Source, foldhash::quality::RandomState>,
    runs: HashMap<Arc<str>, Run>,
    curves: Curves,
    /// Reports of sources that found no place.
    beyond: u64,
}

/// A source of a forwarder, by the pool and site that its rule belongs to.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    forwarder: Arc<str>,
    belongs: Option<Arc<Belongs>>,
    address: IpAddr,
}

/// What was heard of a forwarder's process.
#[derive(Default)]
struct Run {
    drawn: u64,
    seq: u64,
    others: u64,
    belongs: Vec<Arc<Belongs>>,
}

struct Source {
    run: u64,
    /// Totals of this run: connections, octets up, octets down.
    totals: [u64; 3],
    /// Those of runs before.
    before: [u64; 3],
    open: u64,
    first: Timestamp,
    last: Timestamp,
    opened: Timestamp,
    oldest: Option<Timestamp>,
    ports: Vec<u16>,
    hosts: Vec<String>,
}

impl Source {
    fn totals(&self) -> [u64; 3] {
        std::array::from_fn(|i| self.totals[i] + self.before[i])
    }

    /// Connections open now: those of a process that is gone are not.
    fn open(&self, run: u64) -> u64 {
        if self.run == run { self.open } else { 0 }
    }
}

/// A pool's name as it is compared.
fn written(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl Stragglers {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report in; whether the forwarder is to tell all its sources again, since reports before are not here.
    pub fn take(&self, forwarder: &str, report: Report, now: Timestamp) -> bool {
        self.table().take(forwarder, report, now)
    }

    /// Forgets forwarders that are led no longer, and who was not seen for long, where there are too many.
    pub fn tidy(&self, is_led: impl Fn(&str) -> bool, now: Timestamp) {
        let mut table = self.table();
        let full = table.sources.len() >= SOURCES;
        table.runs.retain(|name, _| is_led(name));
        table
            .sources
            .retain(|key, source| is_led(&key.forwarder) && !(full && now.since(source.last) > FORGOTTEN_SECS));
    }

    /// Adds a point to the curve of each pool that sources are known of.
    pub fn sample(&self, known: &Known) {
        let mut table = self.table();
        let mut points: BTreeMap<String, Point> = BTreeMap::new();
        for pool in table.curves.keys() {
            points.insert(pool.clone(), Point { at: known.now, sources: BTreeMap::new(), open: 0 });
        }
        for (key, source) in &table.sources {
            let (Some(belongs), run) = (&key.belongs, table.run_of(key)) else { continue };
            let fresh = || Point { at: known.now, sources: BTreeMap::new(), open: 0 };
            let point = points.entry(belongs.pool.clone()).or_insert_with(fresh);
            let open = source.open(run);
            point.open += open;
            if open > 0 || known.now.since(source.last) <= NOW_SECS {
                *point.sources.entry(known.verdict(key, source, run).class).or_default() += 1;
            }
        }
        for (pool, point) in points {
            curve::add(&mut table.curves, pool, point);
        }
    }

    /// The curves, to be kept.
    pub(super) fn curves(&self) -> Curves {
        self.table().curves.clone()
    }

    /// Goes on with curves that were kept.
    pub(super) fn resume(&self, curves: Curves) {
        self.table().curves = curves;
    }

    /// Pools that sources are known of.
    pub fn pools(&self) -> Vec<String> {
        let table = self.table();
        let pools: HashSet<_> = table.runs.values().flat_map(|run| &run.belongs).map(|b| b.pool.clone()).collect();
        let mut pools: Vec<_> = pools.into_iter().collect();
        pools.sort();
        pools
    }

    /// The last point of each curve.
    pub fn latest(&self) -> Vec<(String, Point)> {
        let table = self.table();
        table.curves.iter().filter_map(|(pool, curve)| Some((pool.clone(), curve.back()?.clone()))).collect()
    }

    /// Who comes to a pool's sites; `most` sources and hosts at most.
    pub fn summary(&self, pool: &str, known: &Known, most: usize) -> Summary {
        let pool = written(pool);
        let table = self.table();
        let mut classes: BTreeMap<Class, OfClass> = BTreeMap::new();
        let mut hosts: HashMap<&str, OfHost> = HashMap::new();
        let mut sources = Vec::new();
        for (key, source) in &table.sources {
            let Some(belongs) = key.belongs.as_ref().filter(|belongs| belongs.pool == pool) else { continue };
            let run = table.run_of(key);
            let (verdict, open) = (known.verdict(key, source, run), source.open(run));
            let [connections, up, down] = source.totals();
            let class = classes.entry(verdict.class).or_insert_with(|| OfClass {
                class: verdict.class,
                sources: 0,
                now: 0,
                connections: 0,
                open: 0,
                bytes: 0,
                confidence: BTreeMap::new(),
            });
            class.sources += 1;
            class.now += u64::from(open > 0 || known.now.since(source.last) <= NOW_SECS);
            class.connections += connections;
            class.open += open;
            class.bytes += up + down;
            *class.confidence.entry(verdict.confidence).or_default() += 1;
            for host in &source.hosts {
                let of = || OfHost { host: host.clone(), sources: 0, connections: 0 };
                let host = hosts.entry(host).or_insert_with(of);
                host.sources += 1;
                host.connections += connections;
            }
            sources.push((connections, key, source, belongs, verdict));
        }
        sources.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.address.cmp(&b.1.address)));
        sources.truncate(most);
        let mut hosts: Vec<_> = hosts.into_values().collect();
        hosts.sort_by(|a, b| b.connections.cmp(&a.connections).then_with(|| a.host.cmp(&b.host)));
        hosts.truncate(most);
        let shown = sources.into_iter().map(|(connections, key, source, belongs, verdict)| {
            let open = source.open(table.run_of(key));
            let [_, bytes_up, bytes_down] = source.totals();
            OfSource {
                address: key.address,
                forwarder: key.forwarder.to_string(),
                site: belongs.site.clone(),
                class: verdict.class,
                confidence: verdict.confidence,
                why: verdict.why.to_owned(),
                connections,
                open,
                bytes_up,
                bytes_down,
                first_seen: source.first,
                last_seen: source.last,
                oldest_open_secs: source.oldest.filter(|_| open > 0).map(|oldest| known.now.since(oldest)),
                ports: source.ports.clone(),
                hosts: source.hosts.clone(),
            }
        });
        Summary {
            now: known.now,
            classes: classes.into_values().collect(),
            curve: table.curves.get(&pool).map(|curve| curve.iter().cloned().collect()).unwrap_or_default(),
            hosts,
            sources: shown.collect(),
            others: table.runs.values().map(|run| run.others).sum(),
            beyond: table.beyond,
            pool,
        }
    }

    /// The classes of a forwarder's sources, compact: the commonest is the default, the others are told by address, the
    /// busiest first, as many as the stream takes.
    pub fn classes(&self, forwarder: &str, known: &Known) -> Classes {
        let table = self.table();
        let mut sources: HashMap<IpAddr, (Timestamp, u64, Class)> = HashMap::new();
        let mut counts = [0_usize; Class::ALL.len()];
        for (key, source) in table.sources.iter().filter(|(key, _)| &*key.forwarder == forwarder) {
            let class = known.verdict(key, source, table.run_of(key)).class;
            let of = (source.last, source.totals()[0], class);
            // Of one that comes to several pools the newest word counts.
            let kept = sources.entry(key.address).or_insert(of);
            if of.0 > kept.0 {
                *kept = of;
            }
        }
        for (.., class) in sources.values() {
            counts[*class as usize] += 1;
        }
        let default = Class::ALL.into_iter().max_by_key(|class| counts[*class as usize]);
        let default = default.filter(|class| counts[*class as usize] > 0);
        let mut others: Vec<_> = sources.into_iter().filter(|(_, (.., class))| Some(*class) != default).collect();
        others.sort_by(|a, b| b.1.1.cmp(&a.1.1).then_with(|| a.0.cmp(&b.0)));
        others.truncate(NETWORKS);
        let mut networks: BTreeMap<Class, Vec<IpNet>> = BTreeMap::new();
        for (address, (.., class)) in others {
            networks.entry(class).or_default().push(address.into());
        }
        for of_class in networks.values_mut() {
            of_class.sort();
        }
        Classes { default, networks }
    }
}

impl Table {
    fn run_of(&self, key: &Key) -> u64 {
        self.runs.get(&key.forwarder).map_or(0, |run| run.drawn)
    }

    fn take(&mut self, forwarder: &str, report: Report, now: Timestamp) -> bool {
        let name = match self.runs.get_key_value(forwarder) {
            Some((name, _)) => name.clone(),
            None => forwarder.into(),
        };
        let run = self.runs.entry(name.clone()).or_default();
        let follows = if run.drawn == report.run { report.seq <= run.seq + 1 } else { report.seq == 1 };
        if run.drawn == report.run && report.seq < run.seq {
            return false; // late: what it says was said again since
        }
        (run.drawn, run.seq, run.others) = (report.run, report.seq, report.others);
        if run.belongs.len() != report.belongs.len() || run.belongs.iter().zip(&report.belongs).any(|(a, b)| **a != *b)
        {
            run.belongs = report.belongs.into_iter().map(Arc::new).collect();
        }
        let belongs = run.belongs.clone();
        // The forwarder's clock may be another one.
        let ours = |ms: i64| match u64::try_from((report.now_ms - ms).max(0) / 1000) {
            Ok(ago) => now.before(ago),
            Err(_) => now,
        };
        for told in report.sources {
            let belongs = told.belongs.and_then(|place| belongs.get(usize::from(place)).cloned());
            let key = Key { forwarder: name.clone(), belongs, address: told.address };
            if self.sources.len() >= SOURCES && !self.sources.contains_key(&key) {
                self.beyond += 1;
                continue;
            }
            let source = self.sources.entry(key).or_insert_with(|| Source {
                run: report.run,
                totals: [0; 3],
                before: [0; 3],
                open: 0,
                first: ours(told.first_ms),
                last: Timestamp(0),
                opened: Timestamp(0),
                oldest: None,
                ports: Vec::new(),
                hosts: Vec::new(),
            });
            source.take(report.run, told, ours);
        }
        !follows
    }
}

impl Source {
    fn take(&mut self, run: u64, told: SourceReport, ours: impl Fn(i64) -> Timestamp) {
        if self.run != run {
            self.before = self.totals();
            self.run = run;
        }
        self.totals = [told.connections, told.bytes_up, told.bytes_down];
        self.open = told.open;
        self.first = self.first.min(ours(told.first_ms));
        self.last = ours(told.last_ms);
        self.opened = ours(told.opened_ms);
        self.oldest = told.oldest_ms.map(ours);
        self.ports = told.ports;
        self.hosts = told.hosts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::key::ClientKey;
    use crate::steering::straggler::SiteEvidence;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn known(horizon: Timestamp, heard: &[&str]) -> Known {
        let unknown =
            SiteEvidence { horizon: None, answered: false, keys_heard: 99, recorded_since: Timestamp(0), ttl_secs: 60 };
        let site = SiteEvidence { horizon: Some(horizon), ..unknown };
        let heard = heard.iter().filter_map(|a| ClientKey::of_resolver(a.parse().unwrap()).packed()).collect();
        Known { now: NOW, sites: [(("www.example.org".into(), "ec2".into()), site)].into(), heard, unknown }
    }

    fn source(address: &str, connections: u64, ago_secs: i64) -> SourceReport {
        let at = (NOW.0 as i64 - ago_secs) * 1000;
        SourceReport {
            address: address.parse().unwrap(),
            belongs: Some(0),
            connections,
            open: 0,
            bytes_up: 1,
            bytes_down: 2,
            first_ms: at,
            last_ms: at,
            opened_ms: at,
            oldest_ms: None,
            ports: vec![80],
            hosts: vec!["www.example.org".to_owned()],
        }
    }

    fn report(run: u64, seq: u64, sources: Vec<SourceReport>) -> Report {
        let belongs = vec![Belongs { pool: "www.example.org".to_owned(), site: "ec2".to_owned() }];
        Report { run, seq, now_ms: NOW.0 as i64 * 1000, belongs, sources, ..Report::default() }
    }

    #[test]
    fn what_arrives_twice_counts_once_and_what_is_missing_is_asked_for() {
        let stragglers = Stragglers::default();
        let connections = |s: &Stragglers| s.summary("www.example.org.", &known(NOW, &[]), 9).sources[0].connections;
        assert!(!stragglers.take("a", report(7, 1, vec![source("192.0.2.1", 3, 5)]), NOW));
        assert!(!stragglers.take("a", report(7, 1, vec![source("192.0.2.1", 3, 5)]), NOW));
        assert!(!stragglers.take("a", report(7, 2, vec![source("192.0.2.1", 5, 5)]), NOW));
        assert_eq!(connections(&stragglers), 5);
        assert!(stragglers.take("a", report(7, 4, Vec::new()), NOW), "3 is missing");
        assert!(!stragglers.take("a", report(7, 2, vec![source("192.0.2.1", 4, 9)]), NOW));
        assert_eq!(connections(&stragglers), 5, "a late one changes nothing");
        assert!(!stragglers.take("a", report(8, 1, vec![source("192.0.2.1", 2, 5)]), NOW), "the forwarder began anew");
        assert_eq!(connections(&stragglers), 7);
        let restarted = Stragglers::default();
        assert!(restarted.take("a", report(8, 2, Vec::new()), NOW), "this server began anew");
        restarted.take("a", report(8, 3, vec![source("192.0.2.1", 2, 5)]), NOW);
        assert_eq!(connections(&restarted), 2);
    }

    #[test]
    fn a_forwarders_clock_may_be_another_one() {
        let stragglers = Stragglers::default();
        let mut ahead = report(7, 1, vec![source("192.0.2.1", 1, 5)]);
        ahead.now_ms += 3_600_000;
        for source in &mut ahead.sources {
            (source.first_ms, source.last_ms) = (source.first_ms + 3_600_000, source.last_ms + 3_600_000);
        }
        stragglers.take("a", ahead, NOW);
        assert_eq!(stragglers.summary("www.example.org", &known(NOW, &[]), 9).sources[0].last_seen, NOW.before(5));
    }

    #[test]
    fn sources_are_classed_summed_up_and_told_to_the_forwarder() {
        let stragglers = Stragglers::default();
        let sources = vec![
            source("192.0.2.1", 9, 10),
            source("203.0.113.5", 1, 10),
            source("203.0.113.6", 1, 9999),
            source("198.51.100.1", 2, 10),
        ];
        stragglers.take("a", report(7, 1, sources), NOW);
        let known = known(NOW.before(3600), &["192.0.2.200", "198.51.100.9"]);
        stragglers.sample(&known);
        let summary = stragglers.summary("WWW.example.org", &known, 2);
        let classes: Vec<_> = summary.classes.iter().map(|c| (c.class, c.sources, c.now, c.connections)).collect();
        assert_eq!(classes, [(Class::Stays, 2, 2, 11), (Class::NeverAsked, 2, 1, 2)]);
        assert_eq!((summary.sources.len(), summary.sources[0].address.to_string()), (2, "192.0.2.1".to_owned()));
        assert_eq!((summary.hosts[0].sources, summary.hosts[0].connections), (4, 13));
        assert_eq!(summary.curve[0].sources[&Class::Stays], 2);
        assert!(stragglers.summary("other.example.org", &known, 9).sources.is_empty());
        let classes = stragglers.classes("a", &known);
        let default = classes.default.unwrap();
        let listed: usize = classes.networks.values().map(Vec::len).sum();
        assert!(listed == 2 && !classes.networks.contains_key(&default), "{classes:?}");
        assert_eq!(stragglers.classes("b", &known), Classes::default());
        stragglers.tidy(|name| name != "a", NOW);
        assert!(stragglers.summary("www.example.org", &known, 9).sources.is_empty());
    }
}
