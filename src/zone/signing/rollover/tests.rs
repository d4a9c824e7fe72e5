use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000);

fn timing() -> Timing {
    Timing {
        entry_lifetime_secs: Some(40_000),
        zsk_lifetime_secs: Some(20_000),
        dnskey_ttl: Ttl::from_secs(3600),
        propagation_secs: 300,
        parent_ttl: Ttl::from_secs(7200),
        parent_propagation_secs: 600,
    }
}

/// What is to be seen of a zone, from an instant on.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    from: Timestamp,
    duties: Vec<Duty>,
    /// The tags that the parent's DS points at.
    ds: Vec<u16>,
}

/// A zone, its parent and time.
struct World {
    lives: Lives,
    roles: Vec<Role>,
    algorithm: Algorithm,
    timing: Timing,
    data_ttl: Ttl,
    now: Timestamp,
    ds: Vec<u16>,
    /// Of each key, by its tag: they begin with 1.
    made: Vec<Algorithm>,
    seen: Vec<Seen>,
}

impl World {
    fn new(roles: &[Role], data_ttl: u64) -> Self {
        let mut world = Self {
            lives: Lives::default(),
            roles: roles.to_vec(),
            algorithm: Algorithm::EcdsaP256Sha256,
            timing: timing(),
            data_ttl: Ttl::from_secs(data_ttl),
            now: NOW,
            ds: Vec::new(),
            made: Vec::new(),
            seen: Vec::new(),
        };
        world.run_until(NOW);
        world
    }

    fn next(&self) -> Option<(Timestamp, Step)> {
        let wanted = Wanted { roles: &self.roles, algorithm: self.algorithm };
        self.lives.next(&wanted, &self.timing, self.data_ttl)
    }

    fn run_until(&mut self, end: Timestamp) {
        while let Some((at, step)) = self.next().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            if let Step::Make(role, algorithm) = step {
                self.made.push(algorithm);
                self.lives.add(self.made.len() as u16, algorithm, role, self.now);
            } else {
                self.lives.take(step, self.now);
            }
            self.look();
        }
        self.now = end;
        self.look();
    }

    fn look(&mut self) {
        let seen = Seen { from: self.now, duties: self.lives.duties(), ds: self.ds.clone() };
        if self.seen.last().is_none_or(|last| last.duties != seen.duties || last.ds != seen.ds) {
            self.seen.push(seen);
        }
    }

    /// The parent takes what CDS asks for, `delay` from now, and somebody tells us `late` after that.
    fn parent_follows(&mut self, delay: u64, late: u64) {
        let asked: Vec<u16> = self.lives.duties().iter().filter(|d| d.asked).map(|d| d.tag).collect();
        self.run_until(self.now.after(delay));
        self.ds = if self.lives.leaving.is_some() { Vec::new() } else { asked };
        self.look();
        let changed = self.now;
        self.run_until(self.now.after(late));
        self.lives.confirm(changed.after(late)).unwrap();
        self.look();
    }

    fn of(&self, tag: u16) -> Algorithm {
        self.made[usize::from(tag) - 1]
    }

    /// The tags of those keys that do `what`.
    fn tags(&self, what: fn(&Duty) -> bool) -> Vec<u16> {
        self.lives.duties().iter().filter(|d| what(d)).map(|d| d.tag).collect()
    }

    /// At each instant, whatever DS, DNSKEY and signature a cache may hold beside what is served: they go together.
    fn check(&self) {
        let last = |from: usize| self.seen.get(from + 1).map_or(Timestamp(u64::MAX), |next| next.from);
        // What was served in state `i` may be in caches until its end, the time that changes take, and its TTL.
        let may_be_held = |i: usize, ttl: Ttl, propagation: u64, at: Timestamp| {
            self.seen[i].from <= at && at < last(i).after(propagation).after(ttl.secs().into())
        };
        for at in self.seen.iter().flat_map(|s| [s.from, s.from.after(1)]) {
            let held = |ttl, propagation| (0..self.seen.len()).filter(move |i| may_be_held(*i, ttl, propagation, at));
            for keys in held(self.timing.dnskey_ttl, self.timing.propagation_secs) {
                let keys = &self.seen[keys].duties;
                for parent in held(self.timing.parent_ttl, self.timing.parent_propagation_secs) {
                    let ds = &self.seen[parent].ds;
                    // Validators may ask for each algorithm of DS and DNSKEY (RFC 6840, 5.11).
                    let leads = |tag: &u16| keys.iter().any(|k| k.published && k.signs_keys && k.tag == *tag);
                    assert!(ds.iter().all(leads), "at {at} {ds:?} does not lead to {keys:?}");
                    if ds.is_empty() {
                        continue;
                    }
                    for data in held(self.data_ttl, self.timing.propagation_secs) {
                        let signers = || self.seen[data].duties.iter().filter(|d| d.signs_zone);
                        for key in keys.iter().filter(|k| k.published) {
                            let algorithm = self.of(key.tag);
                            let is_of = |tag: u16| self.of(tag) == algorithm;
                            let known = |tag: u16| keys.iter().any(|k| k.published && k.tag == tag);
                            let signed = signers().any(|d| is_of(d.tag) && known(d.tag));
                            let of_keys = keys.iter().any(|k| k.signs_keys && is_of(k.tag));
                            assert!(signed && of_keys, "at {at} data of {:?} with {keys:?}", self.seen[data]);
                        }
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_cache_can_validate_through_years_of_rollovers(
        split in any::<bool>(),
        data_ttl in prop_oneof![Just(60u64), Just(3600), Just(86_400)],
        waits in proptest::collection::vec((0u64..90_000, 0u64..20_000, any::<bool>(), 0u8..6), 1..8),
        leaves in any::<bool>(),
    ) {
        let roles: &[Role] = if split { &[Role::Ksk, Role::Zsk] } else { &[Role::Csk] };
        let mut world = World::new(roles, data_ttl);
        for (delay, late, by_hand, policy) in waits {
            world.run_until(world.now.after(delay));
            if by_hand {
                for role in world.roles.clone() {
                    _ = world.lives.roll(role);
                }
                world.run_until(world.now.after(10_000));
            }
            match policy {
                0 => world.algorithm = Algorithm::Ed25519,
                1 => world.algorithm = Algorithm::EcdsaP256Sha256,
                2 => world.roles = if split { vec![Role::Csk] } else { vec![Role::Ksk, Role::Zsk] },
                _ => {}
            }
            world.run_until(world.now.after(late));
            if world.lives.is_parent_asked() {
                world.parent_follows(delay / 2, late);
            }
        }
        // What is begun comes to its end.
        world.timing = Timing { entry_lifetime_secs: None, zsk_lifetime_secs: None, ..world.timing };
        for _ in 0..8 {
            world.run_until(world.now.after(400_000));
            if world.lives.is_parent_asked() {
                world.parent_follows(100, 100);
            }
        }
        let algorithm = world.algorithm;
        prop_assert!(world.lives.keys.iter().all(|key| key.algorithm == algorithm), "{:?}", world.lives);
        prop_assert_eq!(world.lives.keys.len(), world.roles.len(), "{:?}", world.lives);
        if leaves {
            world.lives.leave(world.now).unwrap();
            world.parent_follows(100, 100);
            world.run_until(world.now.after(100_000));
            prop_assert!(world.lives.keys.is_empty());
        }
        world.check();
    }
}

/// The steps of RFC 6781, 4.1.4, one by one, each no second too early.
#[test]
fn another_algorithm_comes_and_the_old_one_goes() {
    let mut world = World::new(&[Role::Ksk, Role::Zsk], 86_400);
    world.timing = Timing { entry_lifetime_secs: None, zsk_lifetime_secs: None, ..world.timing };
    world.run_until(NOW.after(100_000));
    world.algorithm = Algorithm::Ed25519;
    world.run_until(NOW.after(200_000));
    assert_eq!(world.made.len(), 2, "the parent is asked for the first key, and has not answered");
    world.parent_follows(0, 0);
    world.run_until(world.now);
    let begun = world.now;
    let whats: [fn(&Duty) -> bool; 4] = [|d| d.published, |d| d.signs_keys, |d| d.signs_zone, |d| d.asked];
    let is = |world: &World| whats.map(|what| world.tags(what));
    let steps: [(u64, [&[u16]; 4]); 3] = [
        (0, [&[1, 2], &[1], &[2, 4], &[1]]),                      // new signatures
        (86_700, [&[1, 2, 3, 4], &[1, 3], &[2, 4], &[1]]),        // new keys
        (86_700 + 3900, [&[1, 2, 3, 4], &[1, 3], &[2, 4], &[3]]), // the parent is asked for the new DS
    ];
    for (at, wanted) in steps {
        if at > 0 {
            world.run_until(begun.after(at - 1));
            assert_ne!(is(&world), wanted.map(<[u16]>::to_vec), "a second before {at}");
        }
        world.run_until(begun.after(at));
        assert_eq!(is(&world), wanted.map(<[u16]>::to_vec), "at {at}");
    }
    world.algorithm = Algorithm::EcdsaP256Sha256; // what is begun comes to its end
    world.run_until(begun.after(900_000));
    assert_eq!(world.made.len(), 4);
    world.algorithm = Algorithm::Ed25519;
    world.parent_follows(0, 0);
    let confirmed = world.now;
    world.run_until(confirmed.after(7799));
    assert_eq!(is(&world), [&[1, 2, 3, 4][..], &[1, 3], &[2, 4], &[3]].map(<[u16]>::to_vec));
    world.run_until(confirmed.after(7800)); // old keys
    assert_eq!(is(&world), [&[3, 4][..], &[3], &[2, 4], &[3]].map(<[u16]>::to_vec));
    world.run_until(confirmed.after(7800 + 3899));
    assert_eq!(world.tags(|d| d.signs_zone), [2, 4]);
    world.run_until(confirmed.after(7800 + 3900)); // old signatures
    assert_eq!(is(&world), [&[3, 4][..], &[3], &[4], &[3]].map(<[u16]>::to_vec));
    assert_eq!(world.lives.keys.len(), 2);
    world.check();
}

#[test]
fn keys_that_were_made_elsewhere_have_their_place() {
    let p256 = Algorithm::EcdsaP256Sha256;
    let mut world = World::new(&[Role::Ksk, Role::Zsk], 600);
    world.made.extend([p256; 3]);
    // Active: the zone is signed with them elsewhere; its own keys have not been asked for yet.
    world.lives.take_in(&[(3, p256, Role::Ksk), (4, p256, Role::Zsk)], Entering::Active, NOW).unwrap();
    world.look();
    assert_eq!([world.tags(|d| d.signs_zone), world.tags(|d| d.asked)], [[4], [3]]);
    assert_eq!(world.tags(|d| d.signs_keys), [1, 3]);
    let again = world.lives.take_in(&[(5, p256, Role::Zsk)], Entering::Active, NOW);
    assert_eq!(again, Err(RollError::InService { tag: 4 }));
    let other = world.lives.take_in(&[(5, Algorithm::RsaSha256, Role::Zsk)], Entering::Active, NOW);
    assert_eq!(other, Err(RollError::OtherAlgorithm { algorithm: p256 }));
    // Published: as one that is made here.
    world.run_until(NOW.after(8000));
    assert_eq!(world.tags(|_| true), [3, 4], "what was made here is gone");
    world.lives.take_in(&[(5, p256, Role::Zsk)], Entering::Published, world.now).unwrap();
    let under_way = world.lives.take_in(&[(6, p256, Role::Zsk)], Entering::Published, world.now);
    assert_eq!(under_way, Err(RollError::UnderWay { tag: 5 }));
    let begun = world.now;
    world.timing.zsk_lifetime_secs = None;
    world.run_until(begun.after(3899));
    assert_eq!(world.tags(|d| d.signs_zone), [4]);
    world.run_until(begun.after(3900));
    assert_eq!(world.tags(|d| d.signs_zone), [5]);
    world.run_until(begun.after(3900 + 900));
    assert_eq!(world.tags(|_| true), [3, 5]);
}

#[test]
fn a_csk_is_published_asked_for_and_replaced_in_this_order() {
    let mut world = World::new(&[Role::Csk], 600);
    assert_eq!(
        world.lives.duties(),
        [Duty { tag: 1, published: true, signs_keys: true, signs_zone: true, asked: false }]
    );
    world.run_until(NOW.after(3899));
    assert!(!world.lives.duties()[0].asked, "DNSKEY may be unknown to caches");
    world.run_until(NOW.after(3900));
    assert!(world.lives.duties()[0].asked);
    assert_eq!(world.lives.roll(Role::Csk), Err(RollError::UnderWay { tag: 1 }));
    world.parent_follows(100, 0);
    assert_eq!(world.lives.confirm(world.now), Err(RollError::NothingAsked));
    assert_eq!(world.lives.roll(Role::Zsk), Err(RollError::NoSuchRole { role: "ZSK" }));

    world.lives.roll(Role::Csk).unwrap();
    let rolled = world.now;
    world.run_until(rolled.after(3899));
    assert_eq!(world.tags(|d| d.signs_keys), [1, 2]);
    assert_eq!(world.tags(|d| d.signs_zone), [1]);
    world.run_until(rolled.after(3900));
    assert_eq!(world.tags(|d| d.signs_zone), [2]);
    assert_eq!(world.tags(|d| d.asked), [2]);
    world.run_until(rolled.after(30_000));
    assert_eq!(world.tags(|d| d.signs_keys), [1, 2], "the parent still points at the old key");
    world.parent_follows(0, 0);
    let confirmed = world.now;
    world.run_until(confirmed.after(7799));
    assert_eq!(world.tags(|d| d.signs_keys), [1, 2]);
    world.run_until(confirmed.after(7800));
    assert_eq!(world.tags(|d| d.signs_keys), [2]);
    world.check();
}
