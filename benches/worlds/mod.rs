//! What the benches ask: zones and pools of any number, and queries for them.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use waypost::dns::wire::{Flags, OptReply, Query, Rcode, Response};
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
use waypost::zone::compiled::{Overlay, Place, compile_gathered};
use waypost::zone::prepared::{OwnerAt, Prepared};
use waypost::zone::signing::keys::{Algorithm, ENTRY_POINT, SigningKey};
use waypost::zone::signing::nsec::{Chain, Denial};
use waypost::zone::signing::sign::Validity;
use waypost::zone::signing::zone::{How, Keys, Steered, sign};
use waypost::zone::{Diff, Zone, ZoneSet, master};

pub const NOW: Timestamp = Timestamp(1_800_000_000);

pub fn apex() -> Name {
    "example.org".parse().unwrap()
}

/// A zone file with `names` hosts.
pub fn text(names: usize) -> String {
    let mut text =
        "$TTL 3600\n@ SOA ns hostmaster 1 2 3 4 300\n@ NS ns\nns A 192.0.2.1\nalias CNAME host0\n".to_owned();
    for i in 0..names {
        writeln!(text, "host{i} A 10.{}.{}.{}", i >> 16 & 255, i >> 8 & 255, i & 255).unwrap();
    }
    text
}

/// A zone of `names` hosts, under pools that are names of it.
pub fn zone(names: usize, overlay: &Overlay) -> Zone {
    let read = master::read_text(text(names).into_bytes(), Path::new("bench.zone"), &apex()).unwrap();
    compile_gathered(read.records, overlay)
}

/// The same, signed with NSEC, and what `change` of it is with signatures.
#[allow(dead_code, reason = "each bench takes what it measures")]
pub fn signed_zone(names: usize, change: &Diff) -> (Zone, Diff) {
    let key = Arc::new(SigningKey::generate(Algorithm::Ed25519, ENTRY_POINT).unwrap());
    let (published, signers) = (vec![key.dnskey().clone()], vec![key]);
    let keys = Keys { published, key_signers: signers.clone(), zone_signers: signers, ..Keys::default() };
    let (dnskey_ttl, validity, steered) = (Ttl::from_secs(3600), Validity::default(), Steered::default());
    let how = How { keys: &keys, dnskey_ttl, validity, steered: &steered, now: NOW, draw: 1, renew: false, threads: 2 };
    let mut chain = Chain::new(apex(), Denial::Nsec);
    let plain = zone(names, &Overlay::default());
    let signatures = sign(&plain, &Diff::default(), &mut chain, &how).unwrap();
    let signed = plain.with(&signatures, &Overlay::default()).unwrap();
    let change = sign(&signed, change, &mut chain, &how).unwrap();
    (signed.merged(&Overlay::default()), change)
}

/// The pools `pool0`, `pool1`, ... of two endpoints each, with a countdown under way.
pub fn pools(count: usize) -> Vec<Arc<Pool>> {
    (0..count).map(|number| Arc::new(pool(number))).collect()
}

/// A zone of `names` names, and `count` pools over it.
pub fn snapshot(names: usize, count: usize) -> Snapshot {
    let pools = pools(count);
    let overlay: Overlay = (0..).zip(&pools).map(|(slot, pool)| (pool.name.clone(), slot)).collect();
    let zone = Arc::new(zone(names, &overlay));
    let zones = Arc::new(ZoneSet::new([(apex(), Some(zone))]));
    Snapshot { serial: 1, generation: 1, zones, pools: pools.into_iter().collect(), ..Snapshot::default() }
}

pub fn pool(number: usize) -> Pool {
    let endpoint = |site: &str, net: u8, weight: u32| Endpoint {
        site: site.to_owned(),
        weight: Weight::new(weight).unwrap(),
        role: Role::Never,
        rdata: vec![(Rtype::A, vec![Box::from([127, net, (number >> 8) as u8, number as u8])])],
        pool: None,
    };
    let (normal, low) = (Ttl::from_secs(3600), Ttl::from_secs(60));
    let settings = Settings {
        name: format!("pool{number}.example.org").parse().unwrap(),
        policy: Policy::Sticky,
        selection: Selection::default(),
        ttl: TtlPolicy { normal, low, spread_secs: 120, mode: Approach::Countdown, max_wait: None, by_health: false },
        probe: None,
        transfer: waypost::steering::pool::Transfer::default(),
        handling: waypost::steering::pool::Handling::default(),
        endpoints: vec![endpoint("ec2", 1, 95), endpoint("dc1", 2, 5)],
        nest: None,
    };
    let weights: Vec<Weight> = settings.endpoints.iter().map(|e| e.weight).collect();
    let candidate = |e: &Endpoint| Candidate {
        id: endpoint_id(&e.site),
        weight: e.weight,
        role: e.role,
        healthy: true,
        forced: Override::Obey,
    };
    let candidates: Vec<Candidate> = settings.endpoints.iter().map(candidate).collect();
    let records = Arc::new(Records::new(&settings));
    Pool {
        name: settings.name.clone(),
        sites: settings.endpoints.iter().map(|e| e.site.clone()).collect(),
        salt: Salt::of(&settings.name.to_string()),
        selector: Selector::new(settings.policy, Arc::new(ShareTable::from_weights(&weights)), &candidates),
        ttl: settings.ttl,
        cutover: Some(Cutover { at: NOW.after(1800) }),
        change: None,
        preview: None,
        compound: None,
        group: None,
        until_flip: None,
        preference: None,
        withdrawn: Box::default(),
        words: Box::default(),
        recorder: Arc::new(Recorder::new(4, records.slots()).numbered(number as u32 + 1)),
        records,
    }
}

/// A query with EDNS.
pub fn query(name: &str, rtype: Rtype) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(name.parse::<Name>().unwrap().wire());
    packet.extend_from_slice(&rtype.0.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]); // EDNS, 1,232 octets
    packet
}

/// Queries for `count` names `stem0`, `stem1`, ..., in an order without a pattern, a power of two of them.
pub fn queries(stem: &str, count: usize) -> Vec<Vec<u8>> {
    let asked = count.next_power_of_two().clamp(1, 1 << 16);
    let number = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    (0..asked).map(|i| query(&format!("{stem}{}.example.org", number(i) % count as u64), Rtype::A)).collect()
}

/// What a zone has at the QNAME, of its QTYPE.
#[allow(dead_code, reason = "each bench takes what it measures")]
pub fn looked_up<'z>(zone: &'z Zone, query: &Query<'_>) -> Prepared<'z> {
    let Place::Node(node) = zone.find(query.qname, false) else { panic!("no such name") };
    node.rrset(query.qtype).expect("it has the type")
}

/// Puts the answer to `query` together of what was looked up; gives its octets.
#[allow(dead_code, reason = "each bench takes what it measures")]
#[inline]
pub fn written(prepared: Prepared<'_>, query: &Query<'_>, out: &mut [u8]) -> usize {
    let opt = OptReply::default();
    let mut response = Response::new(query, out.len() - opt.octets(), out);
    assert!(prepared.copy(&mut response, OwnerAt::qname(query.qname.len())).is_ok(), "there is room");
    response.finish(query, Flags { authoritative: true, truncated: false, rcode: Rcode::NoError }, Some(&opt))
}

/// Asks as many resolvers would, one answer at a time.
pub struct Asking {
    snapshot: Snapshot,
    counters: Counters,
    client: u32,
    out: [u8; 1232],
}

impl Asking {
    pub fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, counters: Counters::with_demand(Sketch::new(1, 7)), client: 0, out: [0; 1232] }
    }

    #[inline]
    pub fn answer(&mut self, packet: &[u8]) -> Option<usize> {
        self.client = self.client.wrapping_add(0x9e37); // another resolver each time
        let client = IpAddr::from(self.client.to_be_bytes());
        let context = Context { client, now: NOW, draw: 0, transport: Transport::Udp };
        let tally = Tally { worker: Some(0), counters: &self.counters };
        answer(&self.snapshot, &context, tally, packet, &mut self.out)
    }
}
