//! The night that Waypost exists for, with real programs on loopback addresses: two sites (nginx), caching resolvers
//! (Unbound), the name server, the forwarder, and a few hundred clients that resolve and request all the time. A service
//! moves from site `ec2` to site `dc1`. What it shows:
//! - the TTL counts down to a planned cutover, for each client key and in every cache;
//! - a flip of 10 % moves the client keys that it moved in a rehearsal, and only those; they stay where they are;
//! - a site that fails is taken out, its clients are served by the other one and come back to it later;
//! - `kill -9` in the middle of the last flip costs nobody a request; weights, generation, cutover and audit are as they
//!   were, and the cache horizon is no earlier;
//! - the forwarder takes over the old site's port the moment that this lets go of it;
//! - after the horizon all who obey TTLs are at the new site, and the forwarder sees exactly those who don't look up;
//! - no request failed but those that the failing site answered before it was taken out.
//!
//! `cargo test --test migration -- --nocapture` prints the acts with their times.

#[path = "migration/acts.rs"]
mod acts;
#[path = "migration/clients.rs"]
mod clients;
#[path = "migration/dns.rs"]
mod dns;
#[path = "migration/nginx.rs"]
mod nginx;
#[path = "migration/place.rs"]
mod place;
#[path = "migration/process.rs"]
mod process;
#[path = "migration/unbound.rs"]
mod unbound;
#[path = "migration/wait.rs"]
mod wait;
#[path = "migration/waypost.rs"]
mod waypost;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use ::waypost::time::Timestamp;
use acts::Acts;
use clients::{Client, Kind, Load, Request, Seen};
use nginx::Nginx;
use place::Place;
use unbound::Unbound;
use wait::{Ms, ms, now_ms, wait_for, wait_until};
use waypost::{Flip, Forwarder, Service, Status, Waypost};

const OLD: &str = "ec2";
const NEW: &str = "dc1";
const NAME: &str = "www.example.org";
const ZONE: &str = "example.org";

/// TTLs for a night of two minutes.
const NORMAL_SECS: u32 = 20;
const LOW_SECS: u32 = 2;
const SPREAD_SECS: u32 = 4;

/// What a cache may hold an answer for beyond its TTL: the server's clock is rounded down by up to a second, and an answer
/// may be under way for 2 s. The latter covers that a resolver counts in whole seconds, too.
const SLACK_MS: Ms = 3_000;

/// Client keys that are asked for directly; their share is near that of all.
const KEYS: usize = 1000;
/// Resolvers: those whose clients stay when 10 % move, and those whose clients move.
const STAYING: usize = 5;
const MOVING: usize = 1;
/// Clients of each resolver.
const CROWD: [(Kind, u8); 3] = [(Kind::Obeying, 30), (Kind::Pinned, 6), (Kind::Kept, 4)];
/// Where the name server's own probes come from: they go to the old address, too, so the forwarder sees them.
const PROBER: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// How long each stretch of the night is watched.
const WATCH_MS: Ms = 3_000;

#[test]
fn a_service_moves_overnight_and_only_the_failing_site_is_noticed() {
    let mut night = Night::begin();
    night.all_are_at_the_old_site();
    night.the_ttl_counts_down_to_the_cutover();
    night.a_tenth_moves_as_rehearsed();
    night.the_new_site_fails_and_is_taken_out();
    night.it_recovers_and_its_clients_return();
    let flip = night.all_the_rest_moves();
    let horizon = night.the_name_server_is_killed_and_comes_back(&flip);
    let forwarder = night.the_forwarder_takes_over_the_old_address();
    night.after_the_horizon_only_those_come_who_never_look_up(&forwarder, horizon);
    night.end(forwarder);
}

struct Night {
    service: Service,
    old: Option<Nginx>,
    new: Nginx,
    server: Waypost,
    resolvers: Vec<Unbound>,
    load: Load,
    /// Addresses in as many networks, and what each of these is answered after a flip of 10 %.
    rehearsed: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// Since when the new site failed, and until when that may have been noticed.
    failing: Option<[Ms; 2]>,
    /// When the old site was told to quit, and when the forwarder was seen in its place.
    handover: Option<[Ms; 2]>,
    acts: Acts,
    metrics: SocketAddrV4,
    folder: tempfile::TempDir,
    _place: Place,
}

impl Night {
    /// Sites, a rehearsal, name server, resolvers and clients, in this order.
    fn begin() -> Self {
        let mut acts = Acts::new();
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path();
        let place = Place::claim();
        let [old_address, new_address] = [place.address(0, 11), place.address(0, 12)];
        let port = place::port(&[old_address, new_address]);
        let service = Service {
            zone: ZONE,
            name: NAME,
            port,
            old: (OLD, old_address),
            new: (NEW, new_address),
            normal_secs: NORMAL_SECS,
            low_secs: LOW_SECS,
            spread_secs: SPREAD_SECS,
        };
        let old = Nginx::start(OLD, old_address, port, parent);
        let new = Nginx::start(NEW, new_address, port, parent);

        let keys = place.networks(KEYS);
        let rehearsed = rehearse(&service, &place, &keys, &folder);
        let moved = rehearsed.values().filter(|&&a| a == new_address).count();
        // Four standard deviations of a binomial distribution around the tenth.
        assert!((62..=138).contains(&moved), "a flip of 10 % moves {moved} of {KEYS} client keys");
        acts.next("rehearsal", format!("a flip of 10 % moves {moved} of {KEYS} client keys"));

        let free = |address: Ipv4Addr| SocketAddrV4::new(address, place::port(&[address]));
        let api = free(place.address(0, 2));
        let metrics = free(place.address(0, 4));
        let server = Waypost::start("server", &service, free(place.address(0, 1)), api, parent);
        let networks = resolver_networks(&rehearsed, &keys, &place, new_address);
        let resolvers: Vec<_> =
            networks.iter().map(|&a| Unbound::start(free(a), ZONE, NAME, server.dns, parent)).collect();
        let load = Load::start(resolvers.iter().flat_map(crowd).collect(), NAME, port);
        acts.next(
            "begin",
            format!("2 nginx, {} Unbounds in different /24s, {} clients", resolvers.len(), load.clients.len()),
        );
        Self {
            service,
            old: Some(old),
            new,
            server,
            resolvers,
            load,
            rehearsed,
            failing: None,
            handover: None,
            acts,
            metrics,
            folder,
            _place: place,
        }
    }

    fn all_are_at_the_old_site(&mut self) {
        self.wait_for_all_to_request();
        let status = self.status();
        assert_eq!([status.old.weight, status.new.weight], [100, 0]);
        assert_eq!((status.served_ttl_secs, status.cutover), (NORMAL_SECS, None));
        let answers = self.server.ask_from(&self.service, &self.keys(50));
        assert!(answers.values().all(|r| r.ttl_secs == NORMAL_SECS && r.address() == Some(self.service.old.1)));
        self.watch(&|_| OLD);
        self.acts.next("100/0", format!("all at {OLD}, TTL {NORMAL_SECS} s"));
    }

    fn the_ttl_counts_down_to_the_cutover(&mut self) {
        let cutover = Timestamp::now().after(u64::from(NORMAL_SECS + SPREAD_SECS) + 1);
        let clear = self.server.plan_cutover(&self.service, cutover, self.status().generation);
        assert_eq!(clear, cutover, "it was set in time");
        assert_eq!(self.status().cutover, Some(cutover));

        let keys = self.keys(40);
        let mut before: BTreeMap<Ipv4Addr, u32> = BTreeMap::new();
        let mut on_the_way = BTreeSet::new();
        while now_ms() < ms(cutover) {
            let asked = Timestamp::now();
            let answers = self.server.ask_from(&self.service, &keys);
            let answered = Timestamp::now();
            for (key, answer) in answers {
                let most = (cutover.since(asked) as u32).clamp(LOW_SECS, NORMAL_SECS);
                let least = (cutover.since(answered) as u32).saturating_sub(SPREAD_SECS).clamp(LOW_SECS, NORMAL_SECS);
                let ttl = answer.ttl_secs;
                assert!((least..=most).contains(&ttl), "{key} got TTL {ttl}, {} s ahead", cutover.since(answered));
                let earlier = before.insert(key, ttl).unwrap_or(u32::MAX);
                assert!(ttl <= earlier, "the TTL for {key} rose from {earlier} to {ttl}");
                on_the_way.insert(ttl);
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        assert!(before.values().all(|&ttl| ttl == LOW_SECS));
        assert!(on_the_way.len() >= 10, "it goes down step by step: {on_the_way:?}");

        wait_until(ms(cutover) + SLACK_MS);
        let latest = u64::from(LOW_SECS) * 1000 + ms(cutover) + SLACK_MS;
        let seen = self.load.seen();
        for lookup in seen.lookups.iter().filter(|l| l.at < ms(cutover)) {
            let until = lookup.at + u64::from(lookup.ttl_secs) * 1000;
            let client = &self.load.clients[lookup.client];
            assert!(until <= latest, "{client:?} holds {lookup:?} for {} ms past the cutover", until - ms(cutover));
        }
        self.assert_nothing_failed();
        self.acts.next("cutover", format!("TTL {NORMAL_SECS} s to {LOW_SECS} s, step by step"));
    }

    fn a_tenth_moves_as_rehearsed(&mut self) {
        let before = self.status();
        let flip = self.server.flip(&self.service, 10, before.generation, "canary");
        assert!(flip.generation > before.generation);
        assert!((flip.moved_percent - 10.0).abs() < 0.01, "{flip:?}");
        let status = self.status();
        assert_eq!(status.old.weight, status.new.weight * 9, "{status:?}");
        assert!((status.new.share_percent - 10.0).abs() < 0.01, "{status:?}");
        self.assert_answered_as_rehearsed();
        assert_horizon_of_low_ttl(&flip);
        // The flip has done with the cutover, and the TTL would begin to grow: the rest of the night is not over.
        self.server.plan_cutover(&self.service, Timestamp::now().after(LOW_SECS.into()), flip.generation);
        wait_until(ms(flip.old_horizon.expect("caches hold the old site")));
        self.watch_as_rehearsed();
        self.assert_answered_as_rehearsed();
        self.acts
            .next("10 %", format!("generation {}; {MOVING} of {} resolvers moved", flip.generation, STAYING + MOVING));
    }

    fn the_new_site_fails_and_is_taken_out(&mut self) {
        let since = now_ms();
        self.new.fail();
        let out = wait_for("the failing site is taken out", Duration::from_secs(15), || {
            Some(self.status()).filter(|s| s.new.health == "down" && !s.new.answered && !s.new.at_least)
        });
        let noticed = now_ms();
        let horizon = ms(out.new.horizon.expect("caches hold the failing site"));
        let most = noticed + u64::from(LOW_SECS) * 1000 + SLACK_MS;
        assert!(horizon <= most, "{} ms later than the low TTL makes it: {out:?}", horizon - most.min(horizon));
        self.failing = Some([since, horizon]);
        wait_until(horizon);
        self.watch(&|_| OLD);
        let failed = self.load.look(|seen| seen.requests.iter().filter(|r| r.outcome.is_err()).count());
        assert!(failed > 0, "the site that fails had clients");
        self.acts.next("failing", format!("{NEW} out after {} ms; {failed} requests failed there", noticed - since));
    }

    fn it_recovers_and_its_clients_return(&mut self) {
        let since = now_ms();
        self.new.recover();
        wait_for("the site that recovered is taken in again", Duration::from_secs(15), || {
            Some(self.status()).filter(|s| s.new.health == "up" && s.new.answered)
        });
        let taken_in = now_ms();
        wait_until(taken_in + u64::from(LOW_SECS) * 1000 + SLACK_MS);
        self.watch_as_rehearsed();
        self.assert_answered_as_rehearsed();
        self.acts.next("recovered", format!("{NEW} in after {} ms; the same clients are back", taken_in - since));
    }

    fn all_the_rest_moves(&mut self) -> Flip {
        let before = self.status();
        let flip = self.server.flip(&self.service, 100, before.generation, "all");
        assert!((flip.moved_percent - 90.0).abs() < 0.01, "{flip:?}");
        let status = self.status();
        assert_eq!((status.old.weight, status.old.role.as_str(), status.old.answered), (0, "never", false));
        self.assert_all_are_sent_to_the_new_site();
        assert_horizon_of_low_ttl(&flip);
        self.acts.next("100 %", format!("generation {}", flip.generation));
        flip
    }

    /// Gives the horizon of the old site that the server told after the restart.
    fn the_name_server_is_killed_and_comes_back(&mut self, flip: &Flip) -> Timestamp {
        let (before, audit) = (self.status(), self.server.audit());
        let killed = now_ms();
        self.server.kill_and_restart();
        let back = now_ms();
        let after = self.status();
        assert_eq!(after.generation, flip.generation);
        assert_eq!(lasting(&after), lasting(&before));
        assert_eq!(self.server.audit(), audit);
        self.assert_all_are_sent_to_the_new_site();

        let horizon = after.old.horizon.expect("caches hold the old site");
        assert!(after.old.horizon >= before.old.horizon, "{before:?} became {after:?}");
        // The flip told a bound; once its workers have left the state before, the last answer itself is known, which may have
        // been sent in the second before.
        assert!(Some(horizon.after(1)) >= flip.old_horizon, "{flip:?} became {after:?}");
        assert!(!after.old.at_least, "nobody is sent to the old site any more");
        let latest = back + u64::from(NORMAL_SECS + LOW_SECS) * 1000 + SLACK_MS;
        assert!(ms(horizon) <= latest, "at most one normal TTL later than need be: {after:?}");
        let left = horizon.since(Timestamp::now());
        self.acts.next("kill -9", format!("back after {} ms; horizon in {left} s", back - killed));
        horizon
    }

    fn the_forwarder_takes_over_the_old_address(&mut self) -> Forwarder {
        let [old, new] = [self.service.old.1, self.service.new.1].map(|a| SocketAddrV4::new(a, self.service.port));
        let mut forwarder = Forwarder::start(old, new, self.metrics, self.folder.path());
        std::thread::sleep(Duration::from_millis(1500)); // it is to wait, which takes a while to be seen
        forwarder.assert_running();
        let seen = forwarder.sources().unwrap_or_default();
        assert!(seen.is_empty(), "it has nothing to forward yet: {seen:?}");

        let quit = now_ms();
        self.old.take().expect("it runs until now").quit_gracefully();
        wait_for("the forwarder has taken over", Duration::from_secs(5), || {
            forwarder.assert_running();
            forwarder.sources().filter(|s| !s.is_empty())
        });
        let taken = now_ms();
        self.handover = Some([quit, taken]);
        let reset = self.load.look(|seen| seen.resets.len());
        self.acts
            .next("forwarder", format!("took over within {} ms; {reset} connects reset by the kernel", taken - quit));
        forwarder
    }

    fn after_the_horizon_only_those_come_who_never_look_up(&mut self, forwarder: &Forwarder, horizon: Timestamp) {
        wait_until(ms(horizon));
        for resolver in &self.resolvers {
            let answer = dns::ask(resolver.listen, resolver.address(), NAME).unwrap();
            assert_eq!(answer.address(), Some(self.service.new.1), "{} after the horizon", resolver.listen);
        }
        let stragglers = self.load.sources(&[Kind::Pinned, Kind::Kept]);
        wait_until(ms(horizon) + 1000); // for what was under way to the forwarder
        let mut came = forwarder.who_comes(now_ms() + WATCH_MS + 1000);
        came.remove(&PROBER);
        assert_eq!(came, stragglers, "who came to the forwarder, and who was to come");
        self.assert_nothing_failed();
        self.load.look(|seen| {
            let after = |r: &&Request| r.at >= ms(horizon) && self.load.clients[r.client].kind == Kind::Obeying;
            for request in seen.requests.iter().filter(after) {
                assert_eq!(request.address, Some(self.service.new.1), "{request:?} after the horizon");
            }
        });
        self.acts.next("horizon", format!("obeying: all at {NEW}; stragglers: {}, as expected", came.len()));
    }

    fn end(mut self, forwarder: Forwarder) {
        let seen = self.load.stop();
        self.assert_only_the_failing_site_failed(&seen);
        for (number, client) in self.load.clients.iter().enumerate() {
            if client.kind == Kind::Kept {
                assert_eq!(seen.opened[number], 2, "{client:?} needs one connection to {OLD}, one to the forwarder");
            }
        }
        forwarder.stop();
        self.server.stop();
        self.acts.next("end", format!("{} requests, {} look-ups", seen.requests.len(), seen.lookups.len()));
        println!("{}", self.acts.table());
        assert!(self.acts.total() < Duration::from_mins(2), "the night is to take less than two minutes");
    }

    fn status(&self) -> Status {
        self.server.status(&self.service)
    }

    /// Some of the addresses to ask from.
    fn keys(&self, count: usize) -> Vec<Ipv4Addr> {
        self.rehearsed.keys().step_by(KEYS / count).copied().collect()
    }

    fn assert_answered_as_rehearsed(&self) {
        let answers = self.server.ask_from(&self.service, &self.keys(KEYS));
        let answers: BTreeMap<_, _> = answers.into_iter().filter_map(|(key, r)| Some((key, r.address()?))).collect();
        assert_eq!(answers, self.rehearsed, "what each client key is answered, and was in the rehearsal");
    }

    fn assert_all_are_sent_to_the_new_site(&self) {
        for (key, answer) in self.server.ask_from(&self.service, &self.keys(200)) {
            assert_eq!(answer.address(), Some(self.service.new.1), "to {key}");
        }
    }

    /// Watches obeying clients where their resolver's client key was sent in the rehearsal.
    fn watch_as_rehearsed(&self) {
        let site = |client: &Client| {
            let [_, second, third, _] = client.resolver.ip().octets();
            let key = Ipv4Addr::new(127, second, third, 1);
            if self.rehearsed[&key] == self.service.new.1 { NEW } else { OLD }
        };
        self.watch(&site);
    }

    /// Watches all clients for a while: obeying ones are at `site`, others where they began. Nothing fails.
    fn watch(&self, site: &dyn Fn(&Client) -> &'static str) {
        let since = now_ms();
        wait_until(since + WATCH_MS);
        self.load.look(|seen| {
            let mut requests = vec![0; self.load.clients.len()];
            for request in seen.requests.iter().rev().take_while(|r| r.ended >= since).filter(|r| r.at >= since) {
                let client = &self.load.clients[request.client];
                let expected = if client.kind == Kind::Obeying { site(client) } else { OLD };
                assert_eq!(request.outcome.as_deref(), Ok(expected), "{request:?} of {client:?}");
                requests[request.client] += 1;
            }
            for (client, &requests) in self.load.clients.iter().zip(&requests) {
                assert!(requests >= 2, "{client:?} has come to {requests} requests in {WATCH_MS} ms");
            }
        });
        self.assert_nothing_failed();
    }

    fn wait_for_all_to_request(&self) {
        wait_for("every client has made a request", Duration::from_secs(10), || {
            let clients: BTreeSet<_> = self.load.look(|seen| seen.requests.iter().map(|r| r.client).collect());
            (clients.len() == self.load.clients.len()).then_some(())
        });
    }

    fn assert_nothing_failed(&self) {
        self.load.look(|seen| self.assert_only_the_failing_site_failed(seen));
    }

    /// Nothing failed but at the new site, from when it failed until the horizon told when it had been taken out; and only
    /// while the old site's port changed hands were connections reset.
    fn assert_only_the_failing_site_failed(&self, seen: &Seen) {
        let excused = |r: &&Request| {
            let answered =
                r.address == Some(self.service.new.1) && r.outcome.as_ref().is_err_and(|e| e.contains(" 503 "));
            answered && self.failing.is_some_and(|[since, until]| r.ended >= since && r.at <= until)
        };
        let failed: Vec<_> = seen.requests.iter().filter(|r| r.outcome.is_err() && !excused(r)).collect();
        let some: Vec<_> = failed.iter().take(10).map(|r| (r, &self.load.clients[r.client])).collect();
        assert!(failed.is_empty(), "{} requests failed, excused {:?}: {some:#?}", failed.len(), self.failing);
        for reset in &seen.resets {
            let [since, until] = self.handover.unwrap_or_default();
            let excused = reset.address == self.service.old.1 && (since..=until).contains(&reset.at);
            assert!(excused, "{reset:?} of {:?}", self.load.clients[reset.client]);
        }
    }
}

/// The TTL has been low for so long that no cache holds an answer with a larger one, and the flip says so.
fn assert_horizon_of_low_ttl(flip: &Flip) {
    let most = now_ms() + u64::from(LOW_SECS) * 1000 + SLACK_MS + 1000; // a second more for the flip to get through
    let horizon = flip.old_horizon.map(ms);
    assert!(horizon.is_some_and(|at| at <= most), "caches have let go at {most}, {flip:?}");
}

/// What must be the same before and after a restart.
fn lasting(status: &Status) -> impl PartialEq + std::fmt::Debug + use<> {
    let endpoint =
        |e: &waypost::Endpoint| (e.weight, e.role.clone(), e.answered, (e.share_percent * 1000.0).round() as u64);
    (status.generation, status.cutover, status.mode.clone(), endpoint(&status.old), endpoint(&status.new))
}

/// Flips 10 % on a server that nobody depends on: what each of `keys` is answered then. Shares are a matter of keys and
/// weights alone, so the server of the night is to give the same.
fn rehearse(
    service: &Service,
    place: &Place,
    keys: &[Ipv4Addr],
    folder: &tempfile::TempDir,
) -> BTreeMap<Ipv4Addr, Ipv4Addr> {
    let [dns, api] = [place.address(0, 3), place.address(0, 5)].map(|a| SocketAddrV4::new(a, place::port(&[a])));
    let server = Waypost::start("rehearsal", service, dns, api, folder.path());
    let generation = server.status(service).generation;
    server.flip(service, 10, generation, "rehearsal");
    let answers = server.ask_from(service, keys);
    server.stop();
    answers.into_iter().map(|(key, r)| (key, r.address().unwrap_or_else(|| panic!("{key} got {r:?}")))).collect()
}

/// An address for each resolver, in the /24s of keys that stay and keys that move.
fn resolver_networks(
    rehearsed: &BTreeMap<Ipv4Addr, Ipv4Addr>,
    keys: &[Ipv4Addr],
    place: &Place,
    new: Ipv4Addr,
) -> Vec<Ipv4Addr> {
    let own = keys.iter().filter(|k| k.octets()[1] == place.address(0, 0).octets()[1]);
    let (moving, staying): (Vec<_>, Vec<_>) = own.partition(|k| rehearsed[k] == new);
    assert!(moving.len() >= MOVING, "no /24 of 250 moves with a flip of 10 %");
    staying.into_iter().take(STAYING).chain(moving.into_iter().take(MOVING)).copied().collect()
}

/// The clients of one resolver, in its /24.
fn crowd(resolver: &Unbound) -> Vec<Client> {
    let [_, second, third, _] = resolver.address().octets();
    let kinds = CROWD.iter().flat_map(|&(kind, count)| std::iter::repeat_n(kind, count.into()));
    let client =
        |(kind, fourth)| Client { kind, source: Ipv4Addr::new(127, second, third, fourth), resolver: resolver.listen };
    kinds.zip(10..).map(client).collect()
}
