use super::*;
use proptest::prelude::*;

use crate::steering::key::ClientKey;
use crate::steering::ttl::Cutover;
use crate::zone::compiled::{Overlay, compile};
use crate::zone::master;

fn zone(records: &str) -> Zone {
    let text = format!("$TTL 600\n@ SOA ns h 1 1h 15m 4w 300\n@ NS ns\n{records}\n");
    let apex = "example.org".parse().unwrap();
    let contents = master::parse(text.as_bytes(), "zone".as_ref(), &apex).unwrap().contents;
    compile(Arc::new(contents), &Overlay::default())
}

fn key(name: &str, rtype: Rtype) -> RrsetKey {
    RrsetKey { name: name.parse().unwrap(), rtype }
}

#[test]
fn a_look_tells_versions_apart() {
    let mx = key("Example.org", Rtype::MX);
    let both = look(&zone("@ MX 10 a\n@ MX 10 b"), &mx);
    assert_eq!((both.answered, both.ttl.secs()), (Answered::Rrset, 600));
    assert_eq!(look(&zone("@ MX 10 b\n@ MX 10 a\nx A 192.0.2.1"), &mx), both, "order is no change");
    let shorter = look(&zone("@ 60 MX 10 a\n@ 60 MX 10 b"), &mx);
    assert_eq!((shorter.digest, shorter.ttl.secs()), (both.digest, 60));
    assert_ne!(look(&zone("@ MX 10 a"), &mx).digest, both.digest);
    let nothing = look(&zone(""), &mx);
    assert_eq!((nothing.answered, nothing.ttl.secs()), (Answered::Nothing, 300));
    let host = key("a.b.example.org", Rtype::A);
    assert_eq!(look(&zone(""), &host).digest, nothing.digest, "no name and no type are one");
    for (records, ttl) in [
        ("*.b 70 A 192.0.2.1", 70),
        ("a.b 80 CNAME ns", 80),
        ("b 90 NS ns.b\nns.b A 192.0.2.1", 90),
        ("b 100 DNAME example.net.", 100),
    ] {
        let seen = look(&zone(records), &host);
        assert_eq!((seen.answered, seen.ttl.secs()), (Answered::Other, ttl), "{records}");
    }
    let wildcard = look(&zone("*.b 70 A 192.0.2.1"), &key("*.b.example.org", Rtype::A));
    assert_eq!(wildcard.answered, Answered::Rrset, "of itself it is none of another name");
}

/// A server, its store, and all that caches hold.
struct World {
    rrsets: Rrsets,
    settings: Settings,
    stored: Option<Stored>,
    zones: Vec<Zone>,
    /// The zone served.
    at: usize,
    now: Timestamp,
    /// By digest: until when caches hold that version.
    truth: BTreeMap<u64, Timestamp>,
}

impl World {
    fn new(normal: Ttl) -> Self {
        let low = Ttl::from_secs(20);
        let ttl = TtlPolicy {
            normal,
            low,
            spread_secs: 10,
            mode: Approach::Countdown,
            max_wait: Some(Ttl::from_secs(400)),
            by_health: false,
        };
        let zones = ["@ MX 10 a", "@ MX 10 b", "@ 900 MX 10 c", "@ 30 MX 10 d", "@ TXT x", "@ MX 10 a"].map(zone);
        let settings = Settings { key: key("example.org", Rtype::MX), ttl };
        let now = Timestamp(1_800_000_000);
        let rrsets = Rrsets::new(1, Vec::new(), std::slice::from_ref(&settings), true, now);
        let (zones, truth) = (zones.into(), BTreeMap::new());
        let mut world = Self { rrsets, settings, stored: None, zones, at: 0, now, truth };
        world.change(0);
        world
    }

    /// Answers as it is published now; the negative answer is noted as `compiled` has it.
    fn answer(&mut self, client: u8) {
        let seen = look(&self.zones[self.at], &self.settings.key);
        let tracked = &self.rrsets.all[&self.settings.key];
        let planned = tracked.compiled(Rtype::MX, Salt::of("example.org"));
        let ttl = planned.ttl(&ClientKey::of_resolver([192, 0, client, 1].into()), self.now).min(seen.ttl);
        if seen.answered == Answered::Rrset {
            tracked.recorder.record(0, 0, expires(self.now, ttl));
        } else {
            let new = || Arc::new(Recorder::new(1, 1));
            let absence = self.rrsets.absences.entry("example.org".parse().unwrap()).or_insert_with(new);
            absence.record(0, 0, expires(self.now, ttl));
        }
        let gone = self.now.after(ttl.secs().into());
        let held = self.truth.entry(seen.digest).or_default();
        *held = gone.max(*held);
    }

    fn store(&mut self, writes: Vec<Write>) {
        for write in writes {
            if let Write::Put { key, value } = write {
                self.stored = Some(records::parse(&key, &value.octets().unwrap()).unwrap());
            }
        }
    }

    fn make(&mut self, change: Change, at: usize, clients: &[u8], killed: bool) {
        let decided = self.now;
        let writes = self.rrsets.writes(std::slice::from_ref(&change), decided);
        self.store(writes); // while it is on its way the old version is answered
        for client in clients {
            self.answer(*client);
            self.now = self.now.after(1);
        }
        self.at = at;
        if killed {
            return self.restart(false, 0);
        }
        self.rrsets.take(vec![change], 1, self.now);
    }

    fn change(&mut self, at: usize) {
        let seen = look(&self.zones[at], &self.settings.key);
        match self.rrsets.change(&self.settings, None, Some(seen), self.now) {
            Some(change) => self.make(change, at, &[], false),
            None => self.at = at,
        }
    }

    fn restart(&mut self, clean: bool, after: u64) {
        if clean {
            let writes = self.rrsets.end(&Readers::new(0), self.now);
            self.store(writes);
        }
        self.now = self.now.after(after);
        let known = self.stored.clone().map(|stored| (self.settings.key.clone(), stored));
        let settings = std::slice::from_ref(&self.settings);
        self.rrsets = Rrsets::new(1, known.into_iter().collect(), settings, clean, self.now);
        let writes = self.rrsets.recovered();
        self.store(writes);
        self.change(self.at);
    }

    /// What is told of the past is not too early.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let writes = self.rrsets.settle(&Readers::new(0), self.now);
        self.store(writes);
        let seen = look(&self.zones[self.at], &self.settings.key);
        let past = self.truth.iter().filter(|(digest, _)| **digest != seen.digest).map(|(_, at)| *at).max();
        let told = self.rrsets.report(&self.settings.key).unwrap();
        prop_assert!(!told.at_least);
        prop_assert!(past.is_none_or(|past| told.at.is_some_and(|at| at >= past)), "{past:?} {told:?}");
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Answer(u8),
    Wait(u64),
    /// Of the zone, with answers while it is committed; killed right behind.
    Change(usize, Vec<u8>, bool),
    Plan(Option<u64>),
    Restart(bool, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let answers = || prop::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        4 => any::<u8>().prop_map(Step::Answer),
        3 => (1u64..300).prop_map(Step::Wait),
        3 => (0usize..6, answers(), any::<bool>()).prop_map(|(at, answers, killed)| Step::Change(at, answers, killed)),
        1 => prop::option::of(1u64..2000).prop_map(Step::Plan),
        1 => (any::<bool>(), 0u64..100).prop_map(|(clean, after)| Step::Restart(clean, after)),
    ]
}

proptest! {
    /// By reload and update, through kills and clean stops, whatever is planned.
    #[test]
    fn the_horizon_is_never_too_early(
        normal in prop::sample::select(vec![Ttl::MAX, Ttl::from_secs(300)]),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(normal);
        for step in steps {
            match step {
                Step::Answer(client) => world.answer(client),
                Step::Wait(secs) => world.now = world.now.after(secs),
                Step::Change(at, clients, killed) => {
                    let seen = look(&world.zones[at], &world.settings.key);
                    match world.rrsets.change(&world.settings, None, Some(seen), world.now) {
                        Some(change) => world.make(change, at, &clients, killed),
                        None => world.at = at,
                    }
                }
                Step::Plan(ahead) => {
                    let cutover = ahead.map(|secs| Cutover { at: world.now.after(secs) });
                    let state = State { cutover, ..world.rrsets.get(&world.settings.key).unwrap().1.clone() };
                    let change = world.rrsets.replan(&world.settings.key, state).unwrap();
                    world.make(change, world.at, &[], false);
                }
                Step::Restart(clean, after) => world.restart(clean, after),
            }
            world.check()?;
        }
    }
}
