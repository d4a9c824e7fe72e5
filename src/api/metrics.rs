//! The page for Prometheus: built anew at each scrape from the workers' counters, the writer's status, the store's numbers
//! and the count of API requests. When the writer does not answer, the page is told without it.

mod rrsets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{Method, StatusCode};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType, Summary};
use prometheus::{IntCounterVec, Opts, TextEncoder, core::Collector};

use crate::control::StoreNumbers;
use crate::control::forwarders::{Condition, Forwarders};
use crate::control::message::{EndpointStatus, PoolStatus, Status, ZoneState};
use crate::dns::Name;
use crate::pairing::Class;
use crate::probe;
use crate::query::{Counters, Readers};
use crate::server::secondaries::{Secondaries, Secondary};
use crate::steering::pool::{Family, Override, SiteState};
use crate::time::Timestamp;
use crate::webhook::{self, Board};

/// The count of API requests. Clones count together.
#[derive(Clone, Debug)]
pub struct Requests(Arc<IntCounterVec>);

impl Default for Requests {
    fn default() -> Self {
        let options = Opts::new(
            "waypost_api_requests_total",
            "Requests that the HTTP API answered, by route (`other` = no such route), method and status.",
        );
        let counters = IntCounterVec::new(options, &["route", "method", "status"]);
        Self(Arc::new(counters.expect("the name and the labels are well-formed")))
    }
}

impl Requests {
    /// Counts one. Methods that no route has are counted together, so that nobody can make labels without end.
    pub fn count(&self, route: &str, method: &Method, status: StatusCode) {
        let method = match *method {
            Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::DELETE => method.as_str(),
            _ => "other",
        };
        self.0.with_label_values(&[route, method, status.as_str()]).inc();
    }

    /// How many there were.
    #[cfg(test)]
    pub fn counted(&self, route: &str, method: &str, status: u16) -> u64 {
        self.0.with_label_values(&[route, method, status.to_string().as_str()]).get()
    }
}

/// The page, in Prometheus' text format. `status` is `None` when the writer does not answer.
pub fn page(
    readers: &Readers,
    status: Option<&Status>,
    store: &StoreNumbers,
    probes: &probe::Numbers,
    requests: &Requests,
    secondaries: &Secondaries,
) -> String {
    let families = families(readers, status, store, probes, requests, secondaries);
    TextEncoder::new().encode_to_string(&families).expect("each family has a name and a sample")
}

/// The page's part of forwarders and their stragglers.
pub fn forwarders(forwarders: &Forwarders, now: Timestamp) -> String {
    let mut page = Page(Vec::new());
    let conditions: Vec<_> = forwarders.all().iter().filter_map(|member| member.condition(now)).collect();
    let each = |value: fn(&Condition) -> f64| {
        conditions.iter().map(move |one| (vec![("forwarder", one.name.clone())], value(one))).collect::<Vec<_>>()
    };
    page.gauge("waypost_forwarder_connected", "1 while the forwarder's stream is open.", each(|one| is(one.connected)));
    page.gauge(
        "waypost_forwarder_behind",
        "1 while what is wanted of the forwarder is not in force there, or can't be.",
        each(|one| is(one.applied != Some(one.wanted.revision) || !one.problems.is_empty())),
    );
    page.gauge(
        "waypost_forwarder_waiting",
        "Connections that wait at the forwarder, held.",
        each(|one| one.rules.iter().map(|rule| f64::from(rule.waiting)).sum()),
    );
    let latest = forwarders.stragglers.latest();
    page.gauge(
        "waypost_stragglers",
        "Sources that came to the pool's sites by forwarders within two minutes, or had a connection open, by class; taken once \
         a minute.",
        latest.iter().flat_map(|(pool, point)| {
            Class::ALL.map(|class| {
                let sources = point.sources.get(&class).copied().unwrap_or(0);
                (vec![("pool", pool.clone()), ("class", class.to_string())], sources as f64)
            })
        }),
    );
    page.gauge(
        "waypost_straggler_connections_open",
        "Connections open at forwarders to the pool's sites.",
        latest.iter().map(|(pool, point)| (vec![("pool", pool.clone())], point.open as f64)),
    );
    page.0.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new().encode_to_string(&page.0).expect("each family has a name and a sample")
}

/// The page's part of webhooks.
pub fn webhooks(board: &Board) -> String {
    let mut page = Page(Vec::new());
    let all = board.all();
    let each = |value: fn(&webhook::Numbers) -> &AtomicU64| {
        let of = move |(name, numbers): (&String, &Arc<webhook::Numbers>)| {
            (vec![("webhook", name.clone())], value(numbers).load(Ordering::Relaxed) as f64)
        };
        all.iter().map(of).collect::<Vec<_>>()
    };
    page.counter("waypost_webhook_events_delivered_total", "Events that the webhook took.", each(|n| &n.delivered));
    page.counter("waypost_webhook_failures_total", "Tries to deliver an event that failed.", each(|n| &n.failures));
    page.counter(
        "waypost_webhook_events_lost_total",
        "Events that the webhook never took: refused, too many at once, or a day old.",
        each(|n| &n.lost),
    );
    page.0.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new().encode_to_string(&page.0).expect("each family has a name and a sample")
}

/// All families that have a sample, sorted by name.
fn families(
    readers: &Readers,
    status: Option<&Status>,
    store: &StoreNumbers,
    probes: &probe::Numbers,
    requests: &Requests,
    secondaries: &Secondaries,
) -> Vec<MetricFamily> {
    let mut page = Page(requests.0.collect());
    page.0.extend(probes.collect());
    let up = f64::from(u8::from(status.is_some()));
    page.gauge(
        "waypost_control_up",
        "Whether the writer answers (1) or not (0). Without it queries are answered from the last state, but nothing can \
         be changed, and this page lacks pools and zones.",
        [(vec![], up)],
    );
    page.gauge(
        "waypost_build_info",
        "Always 1; the label says which version runs.",
        [(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)],
    );
    page.queries(readers);
    page.store(store);
    page.secondaries(secondaries);
    if let Some(status) = status {
        page.server(status);
        page.pools(&status.pools);
        page.endpoints(&status.pools);
        page.rrsets(&status.rrsets);
    }
    let mut families = page.0;
    families.retain(|family| !family.get_metric().is_empty());
    families.sort_by(|a, b| a.name().cmp(b.name()));
    families
}

/// Families being gathered.
struct Page(Vec<MetricFamily>);

/// Label names and values.
type Labels = Vec<(&'static str, String)>;

impl Page {
    fn queries(&mut self, readers: &Readers) {
        let sum = |of: fn(&Counters) -> u64| readers.counters().map(of).sum::<u64>() as f64;
        let mut by_type: Vec<(String, u64)> = Vec::new();
        let mut by_rcode: Vec<(&str, u64)> = Vec::new();
        for counters in readers.counters() {
            add_up(&mut by_type, counters.queries());
            add_up(&mut by_rcode, counters.responses());
        }
        self.counter(
            "waypost_queries_total",
            "Well-formed queries, by QTYPE (`other` = the rarer ones together).",
            by_type.into_iter().map(|(name, n)| (vec![("type", name)], n as f64)),
        );
        self.counter(
            "waypost_responses_total",
            "Responses sent, by RCODE. SERVFAIL means a zone that could not be loaded; REFUSED a name outside our zones.",
            by_rcode.into_iter().map(|(name, n)| (vec![("rcode", name.to_owned())], n as f64)),
        );
        self.counter(
            "waypost_truncated_total",
            "Responses with TC set: the client is expected to ask again over TCP.",
            [(vec![], sum(Counters::truncated_count))],
        );
        self.counter(
            "waypost_silent_total",
            "Packets that got no answer, because they are too short or are responses themselves.",
            [(vec![], sum(Counters::silent_count))],
        );
        self.counter(
            "waypost_panics_total",
            "Panics while answering, each a mistake in this program: the packets in hand got no answer, all others do.",
            [(vec![], sum(Counters::panic_count))],
        );
        self.counter(
            "waypost_requests_turned_away_total",
            "Transfers, updates, NOTIFY and signed queries that found too many waiting before them: TCP gets SERVFAIL, UDP \
             nothing.",
            [(vec![], sum(Counters::turned_away_count))],
        );
        self.counter(
            "waypost_rate_limited_total",
            "Responses over the limit of `[rrl]`, by what became of them: sent truncated, or not sent.",
            [("truncated", sum(Counters::slipped_count)), ("dropped", sum(Counters::held_back_count))]
                .map(|(outcome, n)| (vec![("outcome", outcome.to_owned())], n)),
        );
        self.counter(
            "waypost_dnssec_online_signatures_total",
            "Signatures made in answers, of zones with compact denial.",
            [(vec![], sum(Counters::online_count))],
        );
        self.counter(
            "waypost_dnssec_online_refused_total",
            "Answers that found no signature left in their second: truncated over UDP, SERVFAIL over TCP.",
            [(vec![], sum(Counters::online_refused_count))],
        );
        self.counter(
            "waypost_steered_total",
            "Responses that a pool decided; the others come from zones alone.",
            [(vec![], sum(Counters::steered_count))],
        );
    }

    fn secondaries(&mut self, secondaries: &Secondaries) {
        let known = secondaries.all();
        let each = |of: fn(&Secondary) -> Option<f64>| {
            let label = |(zone, address): &(Name, SocketAddr)| {
                vec![("zone", zone.to_string()), ("secondary", address.to_string())]
            };
            known.iter().filter_map(|(key, secondary)| Some((label(key), of(secondary)?))).collect::<Vec<_>>()
        };
        self.gauge(
            "waypost_secondary_serial",
            "The newest serial that a secondary is known to have: sent to the end, or asked for IXFR from there.",
            each(|secondary| secondary.has.map(|(serial, _)| f64::from(serial))),
        );
        self.gauge(
            "waypost_secondary_notified_serial",
            "The newest serial whose NOTIFY a secondary has acknowledged.",
            each(|secondary| secondary.notified.map(|(serial, _)| f64::from(serial))),
        );
        self.gauge(
            "waypost_secondary_asked_timestamp_seconds",
            "When a secondary last asked for the SOA.",
            each(|secondary| secondary.asked.map(|(_, at)| at.0 as f64)),
        );
        self.gauge(
            "waypost_secondary_notify_fails",
            "Whether the newest NOTIFY is not acknowledged (1), as far as is known.",
            each(|secondary| Some(f64::from(u8::from(secondary.problem.is_some())))),
        );
    }

    fn store(&mut self, store: &StoreNumbers) {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        self.counter(
            "waypost_store_commits_total",
            "Attempts to make a change durable, by result. A failed one is answered with 503 and changes nothing.",
            [("done", &store.commits), ("failed", &store.failures)]
                .map(|(result, n)| (vec![("result", result.to_owned())], read(n) as f64)),
        );
        let mut summary = Summary::default();
        summary.set_sample_count(read(&store.commits));
        summary.set_sample_sum(read(&store.commit_us) as f64 / 1e6);
        let mut metric = Metric::default();
        metric.set_summary(summary);
        self.family(
            MetricType::SUMMARY,
            "waypost_store_commit_seconds",
            "Time that commits took, fsync included: the sum divided by the count is what an operator waits for.",
            vec![metric],
        );
    }

    fn server(&mut self, status: &Status) {
        self.gauge(
            "waypost_generation",
            "Counts the operator's changes: flips, overrides, cutovers, reloads.",
            [(vec![], status.generation as f64)],
        );
        self.counter(
            "waypost_reloads_total",
            "Readings of configuration and zones, or of one zone, by result. A refused one changes nothing.",
            [("done", status.reloads), ("refused", status.refused_reloads)]
                .map(|(result, n)| (vec![("result", result.to_owned())], n as f64)),
        );
        self.counter(
            "waypost_zone_files_total",
            "Zones met by those readings: whose files were read, and whose files were as they had been, and were not.",
            [("read", status.zone_files_read), ("unchanged", status.zone_files_unchanged)]
                .map(|(result, n)| (vec![("result", result.to_owned())], n as f64)),
        );
        self.gauge(
            "waypost_start_timestamp_seconds",
            "When the server started, in seconds since 1970.",
            [(vec![], status.started_at.0 as f64)],
        );
        self.gauge(
            "waypost_pending_flips",
            "Flips that take themselves back unless they are confirmed.",
            [(vec![], status.pending.len() as f64)],
        );
        self.gauge(
            "waypost_site_state",
            "1 for the state that an operator gave the site: active, drained (not answered, weights kept), retired.",
            status.sites.iter().flat_map(|site| {
                [SiteState::Active, SiteState::Drained, SiteState::Retired].map(|state| {
                    (vec![("site", site.name.clone()), ("state", state.to_string())], is(site.state == state))
                })
            }),
        );
        self.gauge(
            "waypost_prober_up",
            "Whether endpoints are being probed (1). While they are not (0), health stays as it was.",
            [(vec![], is(status.prober_dead_since.is_none()))],
        );
        self.gauge(
            "waypost_zone_serial",
            "SERIAL of the zone as it is served.",
            status.zones.iter().filter_map(|z| Some((vec![("zone", z.name.to_string())], f64::from(z.serial?)))),
        );
        self.gauge(
            "waypost_zone_state",
            "1 for the state that the zone is in: current (as its file says), last-good (the file can't be read, an older \
             copy is served), unloaded (never read: SERVFAIL), awaited (never transferred: SERVFAIL), expired (no primary was \
             reached for too long: SERVFAIL).",
            status.zones.iter().flat_map(|zone| {
                let states = [
                    (ZoneState::Current, "current"),
                    (ZoneState::LastGood, "last-good"),
                    (ZoneState::Unloaded, "unloaded"),
                    (ZoneState::Awaited, "awaited"),
                    (ZoneState::Expired, "expired"),
                ];
                states.map(|(state, word)| {
                    (vec![("zone", zone.name.to_string()), ("state", word.to_owned())], is(zone.state == state))
                })
            }),
        );
    }

    fn pools(&mut self, pools: &[PoolStatus]) {
        self.gauge(
            "waypost_pool_ttl_seconds",
            "TTL of the pool's answers: normal and low as configured, and served, the largest that is given now.",
            pools.iter().flat_map(|pool| {
                let ttl = pool.ttl;
                [("normal", ttl.normal), ("low", ttl.low), ("served", ttl.served)].map(|(kind, ttl)| {
                    (vec![("pool", pool.name.to_string()), ("kind", kind.to_owned())], f64::from(ttl.secs()))
                })
            }),
        );
        self.gauge(
            "waypost_pool_fail_open",
            "1 while all active endpoints are answered because none of them is healthy and no spare is.",
            pools.iter().map(|pool| (vec![("pool", pool.name.to_string())], is(pool.mode == "fail-open"))),
        );
        self.gauge(
            "waypost_pool_cutover_timestamp_seconds",
            "The planned instant of a change, in seconds since 1970; missing when there is none.",
            pools.iter().filter_map(|pool| Some((vec![("pool", pool.name.to_string())], pool.cutover?.0 as f64))),
        );
    }

    fn endpoints(&mut self, pools: &[PoolStatus]) {
        let each = |value: fn(&EndpointStatus) -> f64| {
            pools.iter().flat_map(move |pool| pool.endpoints.iter().map(move |e| (endpoint_labels(pool, e), value(e))))
        };
        self.counter(
            "waypost_pool_answers_total",
            "Answers that named the endpoint, since the start; where it is a pool, that pool counts them too, at its own.",
            each(|e| e.answers as f64),
        );
        self.gauge("waypost_pool_weight", "Weight of the endpoint.", each(|e| f64::from(e.weight.get())));
        self.gauge(
            "waypost_pool_share_ratio",
            "Part of the clients that the endpoint is given while all are healthy, 0 to 1. Resolvers differ in size: watch \
             waypost_pool_answers_total for what they ask.",
            each(|e| e.share_percent / 100.0),
        );
        self.gauge(
            "waypost_endpoint_up",
            "What probes say: 1 up (also while nothing is known), 0 down; of one that is a pool, whether that has somebody healthy. An \
             override does not show here.",
            each(|e| is(e.health.state != "down")),
        );
        self.gauge(
            "waypost_endpoint_family_withdrawn",
            "1 for a family of addresses that is not answered, because its probes fail while those of the other one do not.",
            pools.iter().flat_map(|pool| {
                pool.endpoints.iter().flat_map(move |e| {
                    [(Family::Ipv4, "ipv4"), (Family::Ipv6, "ipv6")].map(|(family, word)| {
                        let mut labels = endpoint_labels(pool, e);
                        labels.push(("family", word.to_owned()));
                        (labels, is(e.health.withdrawn == Some(family)))
                    })
                })
            }),
        );
        self.gauge(
            "waypost_endpoint_pushed_until_timestamp_seconds",
            "Until when the value holds that was pushed of the endpoint, in seconds since 1970; missing when none was.",
            pools.iter().flat_map(|pool| {
                let until = |e: &EndpointStatus| Some((endpoint_labels(pool, e), e.health.expires_at?.0 as f64));
                pool.endpoints.iter().filter_map(until).collect::<Vec<_>>()
            }),
        );
        self.gauge(
            "waypost_endpoint_answered",
            "1 when the endpoint may be answered to somebody now, with weight, health and override taken together.",
            each(|e| is(e.answered)),
        );
        self.gauge(
            "waypost_endpoint_override",
            "1 for the operator's word over health that is in force: up, down, or obey (what the probes say).",
            pools.iter().flat_map(|pool| {
                pool.endpoints.iter().flat_map(move |e| {
                    [Override::Up, Override::Down, Override::Obey].map(|word| {
                        let mut labels = endpoint_labels(pool, e);
                        labels.push(("override", word.to_string()));
                        (labels, is(e.forced == word))
                    })
                })
            }),
        );
        let horizons = || {
            pools.iter().flat_map(|pool| {
                pool.endpoints.iter().flat_map(move |e| {
                    e.horizon.iter().map(move |h| {
                        let mut labels = endpoint_labels(pool, e);
                        labels.push(("type", h.rtype.to_string()));
                        (labels, h)
                    })
                })
            })
        };
        self.gauge(
            "waypost_horizon_timestamp_seconds",
            "After this instant no cache that obeys TTLs holds an answer that named the endpoint, in seconds since 1970; \
             missing when none ever did. It can still grow while waypost_horizon_final is 0.",
            horizons().filter_map(|(labels, h)| Some((labels, h.at?.0 as f64))),
        );
        self.gauge(
            "waypost_horizon_final",
            "1 when the endpoint is no longer answered, so that its horizon stays; 0 when the horizon is the least it can be.",
            horizons().map(|(labels, h)| (labels, is(!h.at_least))),
        );
    }

    fn counter(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        let metric = |(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = Metric::from_label(pairs(labels));
            metric.set_counter(counter);
            metric
        };
        self.family(MetricType::COUNTER, name, help, samples.into_iter().map(metric).collect());
    }

    fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        let metric = |(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::from_label(pairs(labels));
            metric.set_gauge(gauge);
            metric
        };
        self.family(MetricType::GAUGE, name, help, samples.into_iter().map(metric).collect());
    }

    fn family(&mut self, kind: MetricType, name: &str, help: &str, metrics: Vec<Metric>) {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

fn endpoint_labels(pool: &PoolStatus, endpoint: &EndpointStatus) -> Labels {
    vec![("pool", pool.name.to_string()), ("site", endpoint.site.clone())]
}

fn pairs(labels: Labels) -> Vec<LabelPair> {
    let pair = |(name, value): (&str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    };
    labels.into_iter().map(pair).collect()
}

const fn is(truth: bool) -> f64 {
    if truth { 1.0 } else { 0.0 }
}

/// Adds one worker's numbers to the sums; all workers name the same things in the same order.
fn add_up<N>(sums: &mut Vec<(N, u64)>, numbers: impl Iterator<Item = (N, u64)>) {
    for (i, (name, n)) in numbers.enumerate() {
        match sums.get_mut(i) {
            Some((_, sum)) => *sum += n,
            None => sums.push((name, n)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A server with one zone and one pool.
    pub fn status() -> Status {
        serde_json::from_value(serde_json::json!({
            "server": "ns1.example.org", "version": "0.1.0", "generation": 17,
            "started_at": "2027-01-15T07:00:00Z", "now": "2027-01-15T08:00:00Z", "listen": ["127.0.0.1:5300"],
            "zones": [{"name": "example.org", "state": "current", "serial": 2_027_011_501_u32, "names": 42, "loaded_at": null}],
            "sites": [{"name": "ec2", "state": "active", "configured_state": "active", "pools": ["www.example.org"]}],
            "pools": [{
                "name": "www.example.org", "policy": "sticky", "mode": "normal", "types": ["A"],
                "ttl": {"normal": 3600, "low": 60, "served": 60},
                "cutover": "2027-01-15T09:00:00Z", "changed_at": null, "differs_from_configuration": true,
                "endpoints": [
                    {"site": "ec2", "weight": 95, "configured_weight": 100, "share_percent": 95.0, "role": "never",
                     "override": "obey", "health": {"state": "up", "since": null, "seen": null, "expires_at": "2027-01-15T08:01:30Z",
                         "withdrawn": "ipv6"},
                     "answered": true, "answers": 7, "horizon": [
                         {"type": "A", "at": "2027-01-15T09:00:03Z", "seconds_left": 3603, "at_least": true}]},
                    {"site": "dc1", "weight": 5, "configured_weight": 0, "share_percent": 5.0, "role": "never",
                     "override": "down", "health": {"state": "down", "since": null, "seen": null},
                     "answered": false, "answers": 0, "horizon": [
                         {"type": "A", "at": null, "seconds_left": 0, "at_least": false}]},
                ],
            }],
            "rrsets": [{
                "name": "example.org", "type": "MX", "zone": "example.org", "answered": "rrset",
                "ttl": {"normal": 3600, "low": 60, "served": 60}, "cutover": "2027-01-15T09:00:00Z",
                "planned_since": "2027-01-14T08:00:00Z", "changed_at": "2027-01-15T07:59:50Z", "answers": 3,
                "horizon": {"at": "2027-01-15T08:00:53Z", "seconds_left": 53, "at_least": false, "why": "because"},
            }],
            "pending": [], "warnings": [],
        }))
        .unwrap()
    }

    fn whole_page(status: Option<&Status>) -> Vec<MetricFamily> {
        let requests = Requests::default();
        requests.count("/api/v1/status", &Method::GET, StatusCode::OK);
        families(
            &Readers::new(2),
            status,
            &StoreNumbers::default(),
            &probe::Numbers::sample(),
            &requests,
            &Secondaries::sample(),
        )
    }

    #[test]
    fn names_types_and_labels_are_a_promise() {
        let line = |family: MetricFamily| {
            let labels: Vec<&str> = family.get_metric()[0].get_label().iter().map(LabelPair::name).collect();
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            format!("{} {kind} {{{}}}\n", family.name(), labels.join(","))
        };
        let seen: String = whole_page(Some(&status())).into_iter().map(line).collect();
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &seen).unwrap();
        }
        assert_eq!(seen, std::fs::read_to_string(golden).unwrap(), "UPDATE_GOLDEN=1 writes the file anew");
    }

    #[test]
    fn the_page_tells_shares_health_and_horizon() {
        let page = page(
            &Readers::new(2),
            Some(&status()),
            &StoreNumbers::default(),
            &probe::Numbers::default(),
            &Requests::default(),
            &Secondaries::default(),
        );
        for line in [
            "waypost_generation 17",
            "waypost_pool_share_ratio{pool=\"www.example.org\",site=\"ec2\"} 0.95",
            "waypost_endpoint_up{pool=\"www.example.org\",site=\"dc1\"} 0",
            "waypost_endpoint_override{pool=\"www.example.org\",site=\"dc1\",override=\"down\"} 1",
            "waypost_endpoint_family_withdrawn{pool=\"www.example.org\",site=\"ec2\",family=\"ipv6\"} 1",
            "waypost_endpoint_pushed_until_timestamp_seconds{pool=\"www.example.org\",site=\"ec2\"} 1800000090",
            "waypost_horizon_timestamp_seconds{pool=\"www.example.org\",site=\"ec2\",type=\"A\"} 1800003603",
            "waypost_horizon_final{pool=\"www.example.org\",site=\"ec2\",type=\"A\"} 0",
            "waypost_zone_state{zone=\"example.org\",state=\"current\"} 1",
            "waypost_queries_total{type=\"AAAA\"} 0",
            "waypost_store_commit_seconds_count 0",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is missing in\n{page}");
        }
        let instant_of_dc1 = "waypost_horizon_timestamp_seconds{pool=\"www.example.org\",site=\"dc1\"";
        assert!(!page.contains(instant_of_dc1), "no answer yet, no instant");
    }

    #[test]
    fn without_the_writer_queries_are_still_told() {
        let (store, probes) = (StoreNumbers::default(), probe::Numbers::default());
        let page = page(&Readers::new(1), None, &store, &probes, &Requests::default(), &Secondaries::default());
        assert!(page.contains("waypost_control_up 0\n") && page.contains("waypost_queries_total"), "{page}");
        assert!(!page.contains("waypost_generation"));
    }
}
