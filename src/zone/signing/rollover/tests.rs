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
    timing: Timing,
    data_ttl: Ttl,
    now: Timestamp,
    ds: Vec<u16>,
    made: u16,
    seen: Vec<Seen>,
}

impl World {
    fn new(roles: &[Role], data_ttl: u64) -> Self {
        let mut world = Self {
            lives: Lives::default(),
            roles: roles.to_vec(),
            timing: timing(),
            data_ttl: Ttl::from_secs(data_ttl),
            now: NOW,
            ds: Vec::new(),
            made: 0,
            seen: Vec::new(),
        };
        world.run_until(NOW);
        world
    }

    fn run_until(&mut self, end: Timestamp) {
        while let Some((at, step)) =
            self.lives.next(&self.roles, &self.timing, self.data_ttl).filter(|(at, _)| *at <= end)
        {
            self.now = self.now.max(at);
            if let Step::Make(role) = step {
                self.made += 1;
                self.lives.add(self.made, role, self.now);
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
                    let trusted = ds.is_empty() || keys.iter().any(|k| k.signs_keys && ds.contains(&k.tag));
                    assert!(trusted, "at {at} {ds:?} does not lead to {keys:?}");
                    for data in held(self.data_ttl, self.timing.propagation_secs) {
                        let signers = self.seen[data].duties.iter().filter(|d| d.signs_zone);
                        let signed = signers.clone().any(|d| keys.iter().any(|k| k.tag == d.tag));
                        assert!(ds.is_empty() || signed, "at {at} data of {:?} with {keys:?}", self.seen[data]);
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
        waits in proptest::collection::vec((0u64..90_000, 0u64..20_000, any::<bool>()), 1..8),
        leaves in any::<bool>(),
    ) {
        let roles: &[Role] = if split { &[Role::Ksk, Role::Zsk] } else { &[Role::Csk] };
        let mut world = World::new(roles, data_ttl);
        for (delay, late, by_hand) in waits {
            world.run_until(world.now.after(delay));
            if by_hand {
                for role in roles {
                    _ = world.lives.roll(*role);
                }
                world.run_until(world.now.after(10_000));
            }
            if world.lives.asked().is_some_and(|key| key.at_parent.is_none()) {
                world.parent_follows(delay / 2, late);
            }
        }
        if leaves {
            world.lives.leave(world.now).unwrap();
            world.parent_follows(100, 100);
            world.run_until(world.now.after(100_000));
            prop_assert!(world.lives.keys.is_empty());
        }
        world.check();
        prop_assert!(world.lives.keys.len() <= 12, "{:?}", world.lives);
    }
}

#[test]
fn a_csk_is_published_asked_for_and_replaced_in_this_order() {
    let mut world = World::new(&[Role::Csk], 600);
    assert_eq!(world.lives.duties(), [Duty { tag: 1, signs_keys: true, signs_zone: true, asked: false }]);
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
    let tags = |world: &World, of: fn(&Duty) -> bool| -> Vec<u16> {
        world.lives.duties().iter().filter(|d| of(d)).map(|d| d.tag).collect()
    };
    assert_eq!(tags(&world, |d| d.signs_keys), [1, 2]);
    assert_eq!(tags(&world, |d| d.signs_zone), [1]);
    world.run_until(rolled.after(3900));
    assert_eq!(tags(&world, |d| d.signs_zone), [2]);
    assert_eq!(tags(&world, |d| d.asked), [2]);
    world.run_until(rolled.after(30_000));
    assert_eq!(tags(&world, |d| d.signs_keys), [1, 2], "the parent still points at the old key");
    world.parent_follows(0, 0);
    let confirmed = world.now;
    world.run_until(confirmed.after(7799));
    assert_eq!(tags(&world, |d| d.signs_keys), [1, 2]);
    world.run_until(confirmed.after(7800));
    assert_eq!(tags(&world, |d| d.signs_keys), [2]);
    world.check();
}
