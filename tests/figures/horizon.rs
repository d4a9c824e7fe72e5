//! Horizon: nights in virtual time, of a server whose bookkeeping is the real one, and 10,000 caches that obey TTLs.
//!
//! The pool gives addresses and HTTPS with hints, or CNAMEs, or addresses of which one endpoint lacks a family (NODATA); answers are
//! made by the server's own code. Queries and answers are lost and overtake each other, commits take their time, workers are slow to leave a snapshot; in
//! some nights the process is killed at any instant, also between a commit and its publication, and started again from what
//! was stored. The order of what the server does is the writer's: decide, commit, publish, settle.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use waypost::control::catalog::Catalog;
use waypost::control::decide::{self, Proposal};
use waypost::control::horizons::{Horizons, Known, STALL_SECS, recover};
use waypost::control::message::{CutoverRequest, FlipRequest, OverrideRequest};
use waypost::control::records::{self, STATE, horizon_key, pool_key};
use waypost::control::state::{PoolState, State};
use waypost::dns::{Name, Rtype};
use waypost::query::{Context, Counters, Pool, Readers, Snapshot, Tally, Transport, answer};
use waypost::steering::demand::Load;
use waypost::steering::flip::Percent;
use waypost::steering::horizon::{Report, TRANSIT_SECS};
use waypost::steering::key::ClientKey;
use waypost::steering::pool::Override;
use waypost::store::Write;
use waypost::time::Timestamp;
use waypost::zone::ZoneSet;

use crate::keys::key;
use crate::world::{self, SITES, START};
use crate::{Draws, size};

const CACHES: u32 = 10_000;
const HOURS: u64 = size(12, 3) as u64;
const WORKERS: usize = 2;
/// The night begins then. The simulation counts milliseconds.
const START_MS: u64 = START.0 * 1000;
/// A cache asks again after so long without an answer, and may then get two.
const PATIENCE_MS: u64 = 500;

/// What the endpoint of a number gives, and the types that caches ask for.
type Kind = (fn(u32) -> String, &'static [Rtype]);

const KINDS: [Kind; 3] = [
    (
        |n| format!("address = [\"192.0.2.{n}\", \"2001:db8::{n}\"], https = [\"1 . ipv4hint=192.0.2.{n}\"]"),
        &[Rtype::A, Rtype::AAAA, Rtype::HTTPS],
    ),
    (|n| format!("cname = \"s{n}.example.net.\""), &[Rtype::A]),
    (
        |n| match n {
            2 => "address = [\"192.0.2.2\"]".to_owned(),
            _ => format!("address = [\"192.0.2.{n}\", \"2001:db8::{n}\"]"),
        },
        &[Rtype::A, Rtype::AAAA],
    ),
];

#[test]
fn horizon() {
    let folder = tempfile::tempdir().unwrap();
    let catalogs = KINDS.map(|(data, asked)| {
        (Arc::new(world::catalog_of(folder.path(), &["www.example.org"], [100, 0, 0], data)), asked)
    });
    let nights = size(60, 9) as u64;
    let mut all = Told::default();
    let mut late = 0;
    for seed in 0..nights {
        let (catalog, asked) = &catalogs[seed as usize / 3 % KINDS.len()];
        // Every third one without an end.
        let night = Night::new(catalog, asked, seed, seed % 3 != 0).run();
        late = late.max(night.latest_ms);
        all.add(&night);
    }
    println!(
        "Horizon: {CACHES} caches, {} nights of {HOURS} h: {} answers, {} lost, {} changes, {} kills and stops; {} horizons were \
         final when asked for, none was passed by a cache",
        nights, all.answers, all.lost, all.changes, all.ends, all.finals
    );
    println!("Horizon: in the nights without an end, at most {:.2} s later than the truth", late as f64 / 1000.0);
    assert!(late <= (TRANSIT_SECS + 1) * 1000, "{late} ms");
    assert!(all.finals > 100 && all.ends > 2 && all.lost > 1000, "the nights were too quiet");
}

/// What queries read.
fn snapshot(zones: &Arc<ZoneSet>, pool: Pool) -> Snapshot {
    Snapshot { zones: zones.clone(), pools: [Arc::new(pool)].into_iter().collect(), ..Snapshot::default() }
}

/// A query without EDNS.
fn query(name: &Name, rtype: Rtype) -> Vec<u8> {
    [&[0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], name.wire(), &rtype.0.to_be_bytes(), &[0, 1]].concat()
}

#[derive(Clone, Copy, Default)]
struct Told {
    answers: u64,
    lost: u64,
    changes: u64,
    ends: u64,
    finals: u64,
    /// The most that a final horizon was later than the last answer could be held.
    latest_ms: u64,
}

impl Told {
    fn add(&mut self, other: &Told) {
        self.answers += other.answers;
        self.lost += other.lost;
        self.changes += other.changes;
        self.ends += other.ends;
        self.finals += other.finals;
    }
}

/// What happens at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A cache asks, unless it has had an answer since (`token`).
    Ask {
        cache: u32,
        token: u32,
    },
    /// Its query comes to the server.
    Query {
        cache: u32,
    },
    /// An answer comes to the cache.
    Answer {
        cache: u32,
        ttl_secs: u32,
    },
    /// An operator wants something.
    Change,
    /// The store has it.
    Committed {
        run: u32,
    },
    /// Queries see it.
    Published {
        run: u32,
    },
    /// A commit that took long is made good.
    BoundAgain {
        run: u32,
    },
    /// A worker has left the snapshot before.
    Left {
        run: u32,
        worker: usize,
    },
    Tick,
    /// The process ends, by `kill -9` or cleanly.
    End {
        clean: bool,
    },
    Start,
}

/// A life of the process: all that is gone when it is killed.
struct Process {
    state: State,
    horizons: Horizons,
    readers: Arc<Readers>,
    /// What each worker answers from.
    seen: [Arc<Snapshot>; WORKERS],
    published: Arc<Snapshot>,
    unsettled: bool,
    changing: Option<Changing>,
    bound_again: Option<Known>,
}

/// What is being committed: worked out when it was decided.
struct Changing {
    decided: Timestamp,
    proposal: Proposal,
    old: PoolState,
    bound: Known,
}

struct Night<'c> {
    catalog: &'c Arc<Catalog>,
    zones: Arc<ZoneSet>,
    /// What caches ask for, each one of these, and what the answers count for.
    asked: &'c [Rtype],
    counters: Counters,
    name: Name,
    draws: Draws,
    ends: bool,
    now_ms: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    store: BTreeMap<String, Vec<u8>>,
    process: Option<Process>,
    run: u32,
    tokens: Vec<u32>,
    /// By slot (endpoint and type): until when a cache holds it, and until when one would, had no answer been lost.
    held_ms: Vec<u64>,
    sent_ms: Vec<u64>,
    told: Vec<Option<Timestamp>>,
    result: Told,
}

impl<'c> Night<'c> {
    fn new(catalog: &'c Arc<Catalog>, asked: &'c [Rtype], seed: u64, ends: bool) -> Self {
        let slots = catalog.records[0].slots();
        let zone = catalog.zones[0].served.as_ref().expect("it was read").zone.clone();
        let mut night = Self {
            catalog,
            zones: Arc::new(ZoneSet::new([(zone.apex().clone(), Some(zone))])),
            asked,
            counters: Counters::default(),
            name: "www.example.org".parse().unwrap(),
            draws: Draws::new(seed),
            ends,
            now_ms: START_MS,
            events: BinaryHeap::new(),
            count: 0,
            store: BTreeMap::new(),
            process: None,
            run: 0,
            tokens: vec![0; CACHES as usize],
            held_ms: vec![0; slots],
            sent_ms: vec![0; slots],
            told: vec![None; slots],
            result: Told::default(),
        };
        let state = world::state(catalog);
        night.commit(vec![
            records::put(STATE, &state),
            records::put(pool_key(&night.name), &state.pools[&night.name]),
            records::put(horizon_key(&night.name), &Known::new()),
        ]);
        night.after(0, Event::Start);
        for cache in 0..CACHES {
            let first = night.draws.below(3_600_000);
            night.after(first, Event::Ask { cache, token: 0 });
        }
        night.after(600_000, Event::Change);
        night
    }

    fn run(mut self) -> Told {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > START_MS + HOURS * 3_600_000 {
                break;
            }
            self.now_ms = at;
            self.happen(event);
        }
        self.result
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((self.now_ms + ms, self.count, event)));
    }

    /// The server's clock.
    fn now(&self) -> Timestamp {
        Timestamp(self.now_ms / 1000)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Ask { cache, token } if token == self.tokens[cache as usize] => {
                // Without an answer it asks again, and less often the longer it lasts.
                let patience = PATIENCE_MS + self.draws.below(PATIENCE_MS);
                self.after(patience, Event::Ask { cache, token });
                let way = self.draws.below(300);
                if self.draws.below(20) != 0 {
                    self.after(way, Event::Query { cache });
                }
            }
            Event::Query { cache } => self.answer(cache),
            Event::Answer { cache, ttl_secs } => {
                self.tokens[cache as usize] += 1;
                let token = self.tokens[cache as usize];
                // Busy caches ask at once, others some time later.
                let idle = if cache.is_multiple_of(2) { 0 } else { self.draws.below(60_000) };
                self.after(u64::from(ttl_secs) * 1000 + idle, Event::Ask { cache, token });
            }
            Event::Change => self.change(),
            Event::Committed { run } if run == self.run => self.committed(),
            Event::Published { run } if run == self.run => self.publish(),
            Event::BoundAgain { run } if run == self.run => self.bound_again(),
            Event::Left { run, worker } if run == self.run => {
                if let Some(process) = &mut self.process {
                    process.seen[worker] = process.published.clone();
                }
            }
            Event::Tick => self.tick(),
            Event::End { clean } => self.end(clean),
            Event::Start => self.start(),
            _ => {} // a cache that was answered meanwhile, or a process that is gone
        }
    }

    fn answer(&mut self, cache: u32) {
        let now = self.now();
        let client: ClientKey = key(cache);
        let (worker, lost) = (self.draws.below(WORKERS as u64) as usize, self.draws.below(20) == 0);
        let delay_ms = match self.draws.below(10) {
            0 => self.draws.below(TRANSIT_SECS * 1000),
            _ => self.draws.below(200),
        };
        let Some(process) = &self.process else { return };
        let snapshot = &process.seen[worker];
        let pool = snapshot.pools.get(0).expect("the only one");
        let endpoint = pool.choose(&client.into(), 0, now).expect("never empty").endpoint;
        let rtype = self.asked[cache as usize % self.asked.len()];
        // A CNAME is held under its own type, NODATA under the one that was asked.
        let held_as = if pool.records.types() == [Rtype::CNAME] { Rtype::CNAME } else { rtype };
        let slot = pool.records.slot(endpoint, held_as).unwrap();
        let context = Context { client: client.first_address(), now, draw: 0, transport: Transport::Udp };
        let tally = Tally { worker: Some(worker), counters: &self.counters };
        let query = query(&self.name, rtype);
        let mut out = [0; 512];
        let octets = answer(snapshot, &context, tally, &query, &mut out).expect("it is answered");
        // The TTL of the first record, of ANSWER or, for NODATA, of the SOA: its owner is a pointer.
        let at = query.len() + 6;
        let ttl_secs = u32::from_be_bytes(out[at..at + 4].try_into().unwrap());
        assert!(out[query.len()] >= 0xc0 && octets > at && ttl_secs <= 3600, "{:?}", &out[..octets]);
        let gone_ms = self.now_ms + delay_ms + u64::from(ttl_secs) * 1000;
        self.result.answers += 1;
        let sent = &mut self.sent_ms[slot];
        *sent = gone_ms.max(*sent);
        if lost {
            self.result.lost += 1;
            return;
        }
        let held = &mut self.held_ms[slot];
        *held = gone_ms.max(*held);
        self.after(delay_ms, Event::Answer { cache, ttl_secs });
    }

    fn change(&mut self) {
        let next = 60_000 + self.draws.below(2_400_000);
        self.after(next, Event::Change);
        if self.ends && self.draws.below(3) == 0 {
            // Soon: in the middle of what begins now.
            let soon = self.draws.below(3000);
            let clean = self.draws.below(4) == 0;
            self.after(soon, Event::End { clean });
        }
        let now = self.now();
        let [from, apart] = [self.draws.below(3) as usize, 1 + self.draws.below(2) as usize];
        let kind = self.draws.below(6);
        let percent = [0, 5, 50, 100, 100][self.draws.below(5) as usize];
        let ahead = 60 + self.draws.below(5400);
        let took = [self.draws.below(600), self.draws.below(5000)][usize::from(self.draws.below(4) == 0)];
        let Some(process) = &mut self.process else { return };
        if process.changing.is_some() {
            return;
        }
        let proposal = match kind {
            0 => {
                let request = CutoverRequest { at: Some(now.after(ahead)), reason: None };
                decide::set_cutover(&process.state, [self.name.clone()].into(), &request, now)
            }
            1 => {
                let forced = if percent == 0 { Override::Down } else { Override::Obey };
                let request = OverrideRequest { forced, reason: None };
                decide::set_override(&process.state, [self.name.clone()].into(), SITES[from], &request, now)
            }
            _ => {
                let request = FlipRequest {
                    pools: vec![self.name.clone()],
                    from: Some(SITES[from].to_owned()),
                    to: Some(SITES[(from + apart) % 3].to_owned()),
                    percent: Percent::from_units(percent * 10_000),
                    ..FlipRequest::default()
                };
                decide::flip(&process.state, &self.catalog.settings.pools, &request, &|_| Load::even(), now)
            }
        };
        let Ok(proposal) = proposal else { return };
        let old = process.state.pools[&self.name].clone();
        let bound = process.horizons.bound(&self.name, &old, &self.catalog.settings.pools[0].ttl, now, STALL_SECS);
        process.changing = Some(Changing { decided: now, proposal, old, bound });
        self.after(took, Event::Committed { run: self.run });
    }

    fn committed(&mut self) {
        let process = self.process.as_ref().expect("this run");
        let changing = process.changing.as_ref().expect("it is being committed");
        let state = State { generation: process.state.generation + 1, ..State::default() };
        let writes = vec![
            records::put(STATE, &state),
            records::put(horizon_key(&self.name), &changing.bound),
            records::put(pool_key(&self.name), &changing.proposal.touched[&self.name]),
        ];
        self.commit(writes);
        let later = self.draws.below(50);
        self.after(later, Event::Published { run: self.run });
    }

    fn publish(&mut self) {
        self.result.changes += 1;
        let now = self.now();
        let process = self.process.as_mut().expect("this run");
        let Changing { decided, proposal, old, .. } = process.changing.take().expect("it was committed");
        process.state.generation += 1;
        process.state.pools.extend(proposal.touched);
        process.unsettled = true;
        let pool = world::pool(self.catalog, 0, &process.state, &process.horizons, |_| true);
        process.published = Arc::new(snapshot(&self.zones, pool));
        if now.since(decided) > 1 {
            // A commit that took long: stored again, a moment later.
            let bound = process.horizons.bound(&self.name, &old, &self.catalog.settings.pools[0].ttl, now, STALL_SECS);
            process.bound_again = Some(bound);
            let later = self.draws.below(300);
            self.after(later, Event::BoundAgain { run: self.run });
        }
        for worker in 0..WORKERS {
            let leaves = self.draws.below(400);
            self.after(leaves, Event::Left { run: self.run, worker });
        }
    }

    fn bound_again(&mut self) {
        let bound = self.process.as_mut().and_then(|process| process.bound_again.take());
        self.commit(bound.map(|bound| records::put(horizon_key(&self.name), &bound)).into_iter().collect());
    }

    fn tick(&mut self) {
        self.after(250, Event::Tick);
        let Some(process) = &mut self.process else { return };
        let left = process.seen.iter().all(|seen| Arc::ptr_eq(seen, &process.published));
        if left && process.unsettled && process.bound_again.is_none() {
            process.unsettled = false;
            process.horizons.settle(&process.readers);
            let known = process.horizons.known(&self.name);
            self.commit(vec![records::put(horizon_key(&self.name), &known)]);
        }
        self.look();
    }

    /// What status would say, against what caches hold.
    fn look(&mut self) {
        let Some(process) = &self.process else { return };
        let in_passing = !process.seen.iter().all(|seen| Arc::ptr_eq(seen, &process.published));
        let pool = process.published.pools.get(0).expect("the only one");
        let types = pool.records.types();
        for slot in 0..pool.records.slots() {
            let (endpoint, rtype) = (slot / types.len(), types[slot % types.len()]);
            let answered = pool.selector.answers(endpoint);
            let report = Report::of(pool.recorder.latest(slot), answered || in_passing);
            assert!(report.at >= self.told[slot], "it decreased: {report}, {:?} before", self.told[slot]);
            self.told[slot] = report.at;
            if report.at_least {
                continue;
            }
            let at_ms = report.at.map_or(0, |at| at.0 * 1000);
            assert!(
                self.held_ms[slot] <= at_ms,
                "run {}, {} ms into it: {rtype} of endpoint {endpoint} is held for {} ms longer than told",
                self.run,
                self.now_ms - START_MS,
                self.held_ms[slot] - at_ms
            );
            if report.at.is_some() && !self.ends {
                self.result.finals += 1;
                self.result.latest_ms = self.result.latest_ms.max(at_ms - self.sent_ms[slot]);
            }
        }
    }

    fn end(&mut self, clean: bool) {
        let Some(process) = self.process.take() else { return };
        self.result.ends += 1;
        self.run += 1;
        if clean {
            let known = process.horizons.known(&self.name);
            self.commit(vec![
                records::put(records::RUN, &records::Run { clean: true }),
                records::put(horizon_key(&self.name), &known),
            ]);
        }
        let down = self.draws.below(120_000);
        self.after(down, Event::Start);
    }

    fn start(&mut self) {
        let now = self.now();
        let mut state: State = self.stored(STATE).expect("it was committed");
        state.pools.insert(self.name.clone(), self.stored(&pool_key(&self.name)).expect("with it"));
        let known: Known = self.stored(&horizon_key(&self.name)).expect("with it");
        let known = BTreeMap::from([(self.name.clone(), known)]);
        let run: records::Run = self.stored(records::RUN).unwrap_or(records::Run { clean: true });
        let known = if run.clean { known } else { recover(&state, &known, self.catalog, now) };

        let mut horizons = Horizons::new(WORKERS);
        horizons.follow(self.catalog, 1);
        let mut writes = vec![records::put(records::RUN, &records::Run { clean: false })];
        for (name, known) in &known {
            horizons.add(name, known);
            writes.push(records::put(horizon_key(name), known));
        }
        self.commit(writes);
        let pool = world::pool(self.catalog, 0, &state, &horizons, |_| true);
        let published = Arc::new(snapshot(&self.zones, pool));
        self.process = Some(Process {
            state,
            horizons,
            readers: Readers::new(WORKERS),
            seen: [published.clone(), published.clone()],
            published,
            unsettled: false,
            changing: None,
            bound_again: None,
        });
        if self.run == 0 {
            self.after(250, Event::Tick);
        }
        self.look();
    }

    fn commit(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Put { key, value } => _ = self.store.insert(key, value.octets().unwrap()),
                Write::Delete { key } => _ = self.store.remove(&key),
            }
        }
    }

    fn stored<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.store.get(key).map(|value| records::parse(key, value).unwrap())
    }
}
