//! What one answer costs, without sockets: parse, look-up, pick, write.
//!
//! `cargo bench` prints nanoseconds for each kind of question, against a zone of 10,000 names and a pool of two endpoints.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use divan::{Bencher, black_box};
use waypost::dns::{Name, Rtype, Ttl};
use waypost::query::demand::Sketch;
use waypost::query::{Context, Counters, Pool, Records, Snapshot, Tally, Transport, answer};
use waypost::steering::horizon::Recorder;
use waypost::steering::key::{Salt, endpoint_id};
use waypost::steering::pool::{Endpoint, Override, Policy, Role, Selection, Settings, Weight};
use waypost::steering::select::{Candidate, Selector};
use waypost::steering::share::ShareTable;
use waypost::steering::ttl::{Approach, Cutover, TtlPolicy};
use waypost::time::Timestamp;
use waypost::zone::compiled::{Overlay, compile};
use waypost::zone::{ZoneSet, master};

const NAMES: usize = 10_000;
const NOW: Timestamp = Timestamp(1_800_000_000);

fn main() {
    divan::main();
}

/// A zone of [`NAMES`] names, and the pool `www` with a countdown under way.
fn snapshot() -> Snapshot {
    let apex: Name = "example.org".parse().unwrap();
    let mut text =
        "$TTL 3600\n@ SOA ns hostmaster 1 2 3 4 300\n@ NS ns\nns A 192.0.2.1\nalias CNAME host7\n".to_owned();
    for i in 0..NAMES {
        writeln!(text, "host{i} A 10.0.{}.{}", i / 250, i % 250).unwrap();
    }
    let settings = pool_settings();
    let contents = master::parse(text.as_bytes(), Path::new("bench.zone"), &apex).unwrap().contents;
    let overlay = Overlay::from_iter([(settings.name.clone(), 0)]);
    let zone = Arc::new(compile(Arc::new(contents), &overlay));
    let zones = Arc::new(ZoneSet::new([(apex, Some(zone))]));
    Snapshot { serial: 1, generation: 1, zones, pools: [Arc::new(pool(&settings))].into(), ..Snapshot::default() }
}

fn pool_settings() -> Settings {
    let endpoint = |site: &str, last: u8, weight: u32| Endpoint {
        site: site.to_owned(),
        weight: Weight::new(weight).unwrap(),
        role: Role::Never,
        rdata: vec![(Rtype::A, vec![Box::from([127, 0, 0, last])])],
    };
    let (normal, low) = (Ttl::from_secs(3600), Ttl::from_secs(60));
    Settings {
        name: "www.example.org".parse().unwrap(),
        policy: Policy::Sticky,
        selection: Selection::default(),
        ttl: TtlPolicy { normal, low, spread_secs: 120, mode: Approach::Countdown, max_wait: None, by_health: false },
        probe: None,
        transfer: waypost::steering::pool::Transfer::default(),
        handling: waypost::steering::pool::Handling::default(),
        endpoints: vec![endpoint("ec2", 11, 95), endpoint("dc1", 12, 5)],
    }
}

fn pool(settings: &Settings) -> Pool {
    let weights: Vec<Weight> = settings.endpoints.iter().map(|e| e.weight).collect();
    let candidates: Vec<Candidate> = (settings.endpoints.iter())
        .map(|e| Candidate {
            id: endpoint_id(&e.site),
            weight: e.weight,
            role: e.role,
            healthy: true,
            forced: Override::Obey,
        })
        .collect();
    let records = Arc::new(Records::new(settings));
    Pool {
        name: settings.name.clone(),
        sites: settings.endpoints.iter().map(|e| e.site.clone()).collect(),
        group: None,
        salt: Salt::of("www.example.org"),
        selector: Selector::new(settings.policy, Arc::new(ShareTable::from_weights(&weights)), &candidates),
        ttl: settings.ttl,
        cutover: Some(Cutover { at: NOW.after(1800) }),
        change: None,
        preview: None,
        union: None,
        until_flip: None,
        preference: None,
        withdrawn: Box::default(),
        words: Box::default(),
        recorder: Arc::new(Recorder::new(1, records.slots())),
        records,
    }
}

fn query(name: &str, rtype: Rtype) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(name.parse::<Name>().unwrap().wire());
    packet.extend_from_slice(&rtype.0.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]); // EDNS, 1,232 octets
    packet
}

#[divan::bench(args = ["host7777.example.org A", "www.example.org A", "nothing.example.org A", "host7.example.org AAAA", "alias.example.org A", "example.net A"])]
fn one(bencher: Bencher<'_, '_>, question: &str) {
    let (name, rtype) = question.split_once(' ').unwrap();
    let (snapshot, packet) = (snapshot(), query(name, Rtype::parse(rtype).unwrap()));
    let counters = Counters::with_demand(Sketch::new(1, 7));
    let tally = Tally { worker: Some(0), counters: &counters };
    let mut out = [0u8; 1232];
    let mut client = 0u32;
    bencher.bench_local(|| {
        client = client.wrapping_add(0x9e37); // another resolver each time
        let context =
            Context { client: IpAddr::from(client.to_be_bytes()), now: NOW, draw: 0, transport: Transport::Udp };
        answer(&snapshot, &context, tally, black_box(&packet), &mut out)
    });
}
