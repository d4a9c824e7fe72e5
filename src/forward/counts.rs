//! What is counted: connections by rule and outcome, and who comes (the stragglers), by source address.
//!
//! Counting octets takes no lock; a new connection and its end take two short ones. Memory is bounded: beyond [`SOURCES`]
//! sources new ones are counted together, and the busiest of them by a sketch of [`SKETCHED`] counters whose error is at
//! most their connections divided by [`SKETCHED`]. So are hosts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use foldhash::fast::RandomState;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use serde::Serialize;

use super::outcome::Outcome;
use super::sketch::Sketch;
pub(super) use super::source::Source;
pub use super::source::SourceCount;
use crate::pairing::{Belongs, SourceReport};

/// Sources that are counted one by one: addresses, once for each pool that they come to.
pub const SOURCES: usize = 100_000;
/// Counters for those beyond, and for hosts.
pub const SKETCHED: usize = 4096;
/// Locks that the sources are spread over.
const SHARDS: usize = 16;

/// A source: its address, and the place of what the rule belongs to.
type Key = (IpAddr, Option<u16>);

/// All counts of a forwarder.
pub struct Counts {
    shards: [Mutex<HashMap<Key, Arc<Source>, RandomState>>; SHARDS],
    /// What rules belong to, by [`Key`]'s second part.
    belongs: Mutex<Vec<Belongs>>,
    spread: RandomState,
    known: AtomicUsize,
    others: Arc<Source>,
    busiest_others: Mutex<Sketch<IpAddr>>,
    hosts: Mutex<Sketch<String>>,
    registry: Registry,
    connections: IntCounterVec,
    open: IntGaugeVec,
    octets: IntCounterVec,
    accept_failures: IntCounterVec,
    known_sources: IntGauge,
    reloads: IntCounterVec,
    pub(super) log_lines_lost: IntCounter,
}

impl Counts {
    /// Counts at zero.
    pub(super) fn new() -> Self {
        let counts = Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            belongs: Mutex::default(),
            spread: RandomState::default(),
            known: AtomicUsize::new(0),
            others: Arc::default(),
            busiest_others: Mutex::new(Sketch::new(SKETCHED)),
            hosts: Mutex::new(Sketch::new(SKETCHED)),
            registry: Registry::new(),
            connections: counters("connections_total", "Connections that ended, by outcome.", &["listen", "outcome"]),
            open: IntGaugeVec::new(named("connections_open", "Connections open now."), &["listen"])
                .expect("the name and labels are well-formed"),
            octets: counters(
                "bytes_total",
                "Bytes passed on: up from clients, down from targets.",
                &["listen", "direction"],
            ),
            accept_failures: counters("accept_failures_total", "Failed accept(2) calls.", &["listen"]),
            known_sources: IntGauge::with_opts(named("sources", "Source addresses that are counted one by one."))
                .expect("the name is well-formed"),
            reloads: counters("reloads_total", "Reloads of the settings, by result.", &["result"]),
            log_lines_lost: IntCounter::with_opts(named(
                "log_lines_lost_total",
                "Log lines that could not be written.",
            ))
            .expect("the name is well-formed"),
        };
        let collectors: [Box<dyn prometheus::core::Collector>; 7] = [
            Box::new(counts.connections.clone()),
            Box::new(counts.open.clone()),
            Box::new(counts.octets.clone()),
            Box::new(counts.accept_failures.clone()),
            Box::new(counts.known_sources.clone()),
            Box::new(counts.reloads.clone()),
            Box::new(counts.log_lines_lost.clone()),
        ];
        for collector in collectors {
            counts.registry.register(collector).expect("the names differ from each other");
        }
        for result in ["applied", "refused"] {
            counts.reloads.with_label_values(&[result]);
        }
        counts
    }

    /// The counts of all known sources, the busiest (by connections) first; last, if there are any, `others`: those
    /// beyond the first [`SOURCES`].
    pub fn sources(&self) -> Vec<SourceCount> {
        let belongs = self.belongs().clone();
        let mut counts = Vec::with_capacity(self.known.load(Relaxed) + 1);
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let pool = |place: Option<u16>| Some(belongs.get(usize::from(place?))?.pool.clone());
            counts.extend(shard.iter().map(|((address, place), s)| s.count(address.to_string(), pool(*place))));
        }
        counts.sort_by(|a, b| b.connections.cmp(&a.connections).then_with(|| a.source.cmp(&b.source)));
        if self.others.connections() > 0 {
            counts.push(self.others.count("others".to_owned(), None));
        }
        counts
    }

    /// The busiest sources beyond the first [`SOURCES`], `most` of them at most.
    pub fn other_sources(&self, most: usize) -> Vec<Sketched> {
        let sketch = self.busiest_others.lock().unwrap_or_else(PoisonError::into_inner);
        sketch
            .top(most)
            .map(|(key, c)| Sketched { key: key.to_string(), connections: c.count, error: c.error })
            .collect()
    }

    /// The hosts wanted most, `most` of them at most.
    pub fn hosts(&self, most: usize) -> Vec<Sketched> {
        let sketch = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        sketch.top(most).map(|(key, c)| Sketched { key: key.clone(), connections: c.count, error: c.error }).collect()
    }

    /// Notes the host that a connection of `source` wants.
    pub(super) fn wants(&self, source: &Source, host: &str) {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).count(host.to_owned());
        source.wants(host);
    }

    /// How many connections have ended in `outcome`, over all rules.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        let families = prometheus::core::Collector::collect(&self.connections);
        let name = outcome.to_string();
        let metrics = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
        let of_outcome = metrics.filter(|m| m.get_label().iter().any(|l| l.value() == name));
        of_outcome.map(|m| m.get_counter().get_value() as u64).sum()
    }

    /// The metrics page, in Prometheus' text format.
    pub fn page(&self) -> String {
        self.known_sources.set(self.known.load(Relaxed) as i64);
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// The counts of a rule; those of an earlier rule with the same listen address go on.
    pub(super) fn of_rule(&self, listen: &str) -> RuleCounts {
        RuleCounts {
            ended: Outcome::ALL.map(|o| self.connections.with_label_values(&[listen, &o.to_string()])),
            open: self.open.with_label_values(&[listen]),
            up: self.octets.with_label_values(&[listen, "up"]),
            down: self.octets.with_label_values(&[listen, "down"]),
            accept_failures: self.accept_failures.with_label_values(&[listen]),
        }
    }

    pub(super) fn reload(&self, applied: bool) {
        self.reloads.with_label_values(&[if applied { "applied" } else { "refused" }]).inc();
    }

    fn belongs(&self) -> MutexGuard<'_, Vec<Belongs>> {
        self.belongs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of what a rule belongs to. There are no more than rules were ever set; beyond 65,535 none is told.
    pub(super) fn place_of(&self, rule: Option<&Belongs>) -> Option<u16> {
        let (rule, mut belongs) = (rule?, self.belongs());
        let place = belongs.iter().position(|known| known == rule).unwrap_or_else(|| {
            belongs.push(rule.clone());
            belongs.len() - 1
        });
        u16::try_from(place).ok()
    }

    /// Sources that have changed since they were told, `most` of them at most, and what rules belong to. They count as told.
    pub(super) fn news(&self, most: usize) -> (Vec<SourceReport>, Vec<Belongs>) {
        let mut news = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for ((address, belongs), source) in shard.iter() {
                if news.len() == most {
                    break;
                }
                if source.is_news() {
                    news.push(source.report(*address, *belongs));
                }
            }
        }
        (news, self.belongs().clone())
    }

    /// No source counts as told any more.
    pub(super) fn tell_all_again(&self) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.values().for_each(|source| source.forget_told());
        }
    }

    /// Connections of sources beyond those that are counted one by one.
    pub(super) fn others(&self) -> u64 {
        self.others.connections()
    }

    /// Notes a new connection from `address` to `port` at `now_ms`, by a rule that belongs to the pool and site at a
    /// [place](Counts::place_of); to be matched by [`Source::close`].
    pub(super) fn open(&self, address: IpAddr, place: Option<u16>, port: u16, now_ms: i64) -> Arc<Source> {
        use std::hash::BuildHasher;
        let key = (address.to_canonical(), place);
        let shard = &self.shards[self.spread.hash_one(key) as usize % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let source = match shard.get(&key) {
            Some(source) => source.clone(),
            None if self.known.fetch_add(1, Relaxed) < SOURCES => {
                shard.entry(key).insert_entry(Arc::default()).get().clone()
            }
            None => {
                self.known.fetch_sub(1, Relaxed);
                self.busiest_others.lock().unwrap_or_else(PoisonError::into_inner).count(key.0);
                self.others.clone()
            }
        };
        drop(shard);
        source.opened(port, now_ms);
        source
    }
}

fn named(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("waypost_forward")
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(named(name, help), labels).expect("the name and labels are well-formed")
}

/// The counts of one rule, looked up once.
pub(super) struct RuleCounts {
    ended: [IntCounter; Outcome::ALL.len()],
    pub(super) open: IntGauge,
    pub(super) up: IntCounter,
    pub(super) down: IntCounter,
    pub(super) accept_failures: IntCounter,
}

impl RuleCounts {
    pub(super) fn ended(&self, outcome: Outcome) {
        self.ended[outcome as usize].inc();
    }
}

/// A count by sketch: the truth is between `connections` - `error` and `connections`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sketched {
    /// What is counted.
    pub key: String,
    /// At least the truth.
    pub connections: u64,
    /// By how much it may be above the truth.
    pub error: u64,
}

/// The wall clock in milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_source_is_counted_from_first_to_last() {
        let counts = Counts::new();
        let source = counts.open("::ffff:192.0.2.1".parse().unwrap(), None, 80, 1_000);
        counts.open("192.0.2.1".parse().unwrap(), None, 443, 2_000);
        counts.open("192.0.2.2".parse().unwrap(), None, 80, 2_500);
        source.moved(10, 20, 3_000);
        source.close(1_000, 4_000);
        counts.wants(&source, "a.example");
        let all = counts.sources();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].source.as_str(), all[0].connections, all[0].open), ("192.0.2.1", 2, 1));
        assert_eq!((all[0].bytes_up, all[0].bytes_down), (10, 20));
        let json = serde_json::to_value(&all[0]).unwrap();
        assert_eq!(json["first_seen"], "1970-01-01T00:00:01Z");
        assert_eq!(json["last_seen"], "1970-01-01T00:00:04Z");
        assert_eq!((json["ports"][1].as_u64(), json["hosts"][0].as_str()), (Some(443), Some("a.example")));
        assert_eq!(json["oldest_open"], "1970-01-01T00:00:02Z");
    }

    #[test]
    fn sources_beyond_the_bound_are_counted_together() {
        let counts = Counts::new();
        for number in 0..SOURCES as u32 + 5 {
            counts.open(Ipv4Addr::from(number).into(), None, 80, 1);
        }
        counts.open(Ipv4Addr::from(0).into(), None, 80, 2);
        let all = counts.sources();
        assert_eq!(all.len(), SOURCES + 1);
        assert_eq!((all[0].source.as_str(), all[0].connections), ("0.0.0.0", 2));
        let others = all.last().unwrap();
        assert_eq!((others.source.as_str(), others.connections), ("others", 5));
        assert_eq!(counts.other_sources(9).len(), 5);
    }

    #[test]
    fn the_page_tells_totals_by_rule_and_outcome() {
        let counts = Counts::new();
        let rule = counts.of_rule("127.0.0.1:80");
        rule.ended(Outcome::Denied);
        rule.up.inc_by(7);
        counts.open("192.0.2.1".parse().unwrap(), None, 80, 1);
        let page = counts.page();
        assert!(
            page.contains("waypost_forward_connections_total{listen=\"127.0.0.1:80\",outcome=\"denied\"} 1"),
            "{page}"
        );
        assert!(page.contains("waypost_forward_bytes_total{direction=\"up\",listen=\"127.0.0.1:80\"} 7"));
        assert!(page.contains("waypost_forward_sources 1"));
        assert!(!page.contains("192.0.2.1"), "no label for a source");
        assert_eq!(counts.ended(Outcome::Denied), 1);
    }

    #[test]
    fn what_was_told_is_told_again_only_when_it_changed() {
        let counts = Counts::new();
        let belongs = Belongs { pool: "www.example.org".to_owned(), site: "ec2".to_owned() };
        let place = counts.place_of(Some(&belongs));
        let source = counts.open("192.0.2.1".parse().unwrap(), place, 80, 1_000);
        counts.open("192.0.2.1".parse().unwrap(), None, 81, 2_000);
        let (news, told) = counts.news(9);
        assert_eq!((news.len(), told), (2, vec![belongs]));
        assert!(counts.news(9).0.is_empty());
        source.close(1_000, 3_000);
        let (news, _) = counts.news(9);
        assert_eq!((news.len(), news[0].belongs, news[0].last_ms, news[0].open), (1, Some(0), 3_000, 0));
        counts.tell_all_again();
        assert_eq!(counts.news(1).0.len() + counts.news(9).0.len(), 2, "what is too much for one report waits");
    }
}
