//! Answering allocates nothing, whatever is asked: counted by this test's own allocator.

#[path = "differential/queries.rs"]
#[allow(dead_code, reason = "the differential test uses the rest of it")]
mod queries;
mod references;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use queries::{oddities, questions};
use references::packets::{Mode, opt, packet};
use references::zones::ZONES;
use waypost::dns::wire::TCP_OCTETS;
use waypost::dns::{Name, Rtype, Ttl};
use waypost::query::cookies::Secret;
use waypost::query::demand::Sketch;
use waypost::query::nest::{Branch, Compound, Nest};
use waypost::query::planned::{Absence, Named, PLANNED, Planned};
use waypost::query::{Context, Cookies, Counters, PlannedRrsets, Pool, Records, Snapshot, Tally, Transport, answer};
use waypost::steering::horizon::Recorder;
use waypost::steering::key::{Salt, endpoint_id};
use waypost::steering::pool::{Endpoint, Override, Policy, Role, Selection, Settings, Weight};
use waypost::steering::select::{Candidate, Selector};
use waypost::steering::share::ShareTable;
use waypost::steering::ttl::{Approach, Cutover, TtlPolicy};
use waypost::time::Timestamp;
use waypost::zone::compiled::{BESIDE, NO_ADDRESSES, Overlay, compile};
use waypost::zone::{ZoneSet, master};

const NOW: Timestamp = Timestamp(1_800_000_000);

thread_local! {
    /// Allocations of this thread: the test harness has threads of its own.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed to the system's allocator as it is; counting touches a thread-local without a destructor.
#[allow(unsafe_code, reason = "GlobalAlloc has no safe form")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, octets: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        unsafe { System.realloc(place, layout, octets) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A pool over `www.example.org`, of two endpoints.
fn pool() -> Pool {
    let endpoint = |site: &str, last: u8| Endpoint {
        site: site.to_owned(),
        weight: Weight::new(50).unwrap(),
        role: Role::Never,
        rdata: vec![(Rtype::A, vec![Box::from([127, 0, 0, last])])],
        pool: None,
    };
    let (normal, low) = (Ttl::from_secs(3600), Ttl::from_secs(60));
    let settings = Settings {
        name: "www.example.org".parse().unwrap(),
        policy: Policy::Sticky,
        selection: Selection::default(),
        ttl: TtlPolicy { normal, low, spread_secs: 120, mode: Approach::Countdown, max_wait: None, by_health: false },
        probe: None,
        transfer: waypost::steering::pool::Transfer::default(),
        handling: waypost::steering::pool::Handling::default(),
        endpoints: vec![endpoint("ec2", 11), endpoint("dc1", 12)],
        nest: None,
    };
    let weights: Vec<Weight> = settings.endpoints.iter().map(|e| e.weight).collect();
    let candidates = settings.endpoints.iter().map(|e| Candidate {
        id: endpoint_id(&e.site),
        weight: e.weight,
        role: e.role,
        healthy: true,
        forced: Override::Obey,
    });
    let records = Arc::new(Records::new(&settings));
    let table = Arc::new(ShareTable::from_weights(&weights));
    Pool {
        name: settings.name.clone(),
        sites: settings.endpoints.iter().map(|e| e.site.clone()).collect(),
        group: None,
        salt: Salt::of("www.example.org"),
        selector: Selector::new(settings.policy, table, &candidates.collect::<Vec<_>>()),
        ttl: settings.ttl,
        cutover: Some(Cutover { at: NOW.after(1800) }),
        change: None,
        preview: None,
        compound: None,
        until_flip: None,
        preference: None,
        withdrawn: Box::default(),
        words: Box::default(),
        recorder: Arc::new(Recorder::new(1, records.slots())),
        records,
    }
}

/// A pool over `region.example.org` whose endpoint is the one over `www.example.org`.
fn region() -> Pool {
    let inner = pool();
    let weight = Weight::new(1).unwrap();
    let candidate =
        Candidate { id: endpoint_id("eu"), weight, role: Role::Never, healthy: true, forced: Override::Obey };
    Pool {
        name: "region.example.org".parse().unwrap(),
        sites: ["eu".to_owned()].into(),
        salt: Salt::of("region.example.org"),
        selector: Selector::new(Policy::Sticky, Arc::new(ShareTable::from_weights(&[weight])), &[candidate]),
        compound: Some(Box::new(Compound::Nest(Nest::new([Branch { pool: Some(0), first_leaf: 0 }])))),
        recorder: Arc::new(Recorder::new(1, 1)),
        ..inner
    }
}

/// RRsets whose TTL is planned: beside the pool, of the zone alone, and lacking in three zones.
fn planned_rrsets() -> PlannedRrsets {
    let recorder = || Arc::new(Recorder::new(1, 1));
    let planned = |rtype| Planned {
        rtype,
        salt: Salt::of("example.org"),
        ttl: pool().ttl,
        change: None,
        cutover: Some(Cutover { at: NOW.after(1000) }),
        recorder: recorder(),
        past: Box::default(),
    };
    let named = |pool, types: &[Rtype]| Named { pool, rrsets: types.iter().map(|rtype| planned(*rtype)).collect() };
    let absence =
        |apex: &str| Absence { apex: apex.parse().unwrap(), rrsets: [planned(Rtype::A)].into(), recorder: recorder() };
    PlannedRrsets {
        names: [
            named(Some(0), &[Rtype::TXT, Rtype::CNAME]),
            named(None, &[Rtype::MX, Rtype::NS, Rtype::TXT]),
            named(None, &[Rtype::A, Rtype::CNAME]),
        ]
        .into(),
        absences: ["example.org", "signed.example", "hashed.example"].map(absence).into(),
    }
}

fn snapshot() -> Snapshot {
    let zones = ZONES.map(|(apex, text)| {
        let apex: Name = apex.parse().unwrap();
        let contents = master::parse(text.as_bytes(), Path::new("zone"), &apex).unwrap().contents;
        let of = |name: &str, slot: u32| (name.parse().unwrap(), slot);
        let overlay = Overlay::from_iter([
            of("www.example.org", PLANNED),
            of("region.example.org", 1),
            of("example.org", BESIDE | NO_ADDRESSES | PLANNED | 1),
            of("mail.example.org", BESIDE | PLANNED | 2),
            of("signed.example", BESIDE | NO_ADDRESSES | PLANNED | 1),
        ]);
        (apex, Some(Arc::new(compile(Arc::new(contents), &overlay))))
    });
    let secret = Secret::parse("e5e973e5a6b2a43f48e7dc849e37bfcf").unwrap();
    Snapshot {
        zones: Arc::new(ZoneSet::new(zones)),
        pools: [Arc::new(pool()), Arc::new(region())].into_iter().collect(),
        planned: Arc::new(planned_rrsets()),
        nsid: Arc::from(&b"ns1"[..]),
        cookies: Some(Cookies::new(&[secret])),
        ..Snapshot::default()
    }
}

#[test]
fn no_answer_allocates() {
    let snapshot = snapshot();
    let counters = Counters::with_demand(Sketch::new(1, 7));
    let mut out = vec![0; TCP_OCTETS];
    let mut answered = 0;
    let mut ask = |text: &str, packet: &[u8], transport: Transport| {
        let client: IpAddr = [192, 0, 2, 1].into();
        let context = Context { client, now: NOW, draw: 7, transport };
        let tally = Tally { worker: Some(0), counters: &counters };
        let before = COUNT.get();
        let octets = answer(&snapshot, &context, tally, packet, &mut out);
        assert_eq!(COUNT.get() - before, 0, "{text}");
        answered += usize::from(octets.is_some());
    };
    for question in questions(&ZONES) {
        for mode in Mode::ALL {
            let transport = if mode.is_tcp() { Transport::Tcp } else { Transport::Udp };
            ask(&question.text, &packet(&question.name, question.rtype.0, mode), transport);
        }
    }
    for (text, packet) in oddities() {
        ask(text, &packet, Transport::Udp);
    }
    for (mode, rtype) in Mode::ALL.into_iter().flat_map(|mode| [1, 28, 255].map(|rtype| (mode, rtype))) {
        ask("a pool that is an endpoint", &packet("region.example.org", rtype, mode), Transport::Tcp);
    }
    let options = b"\0\x03\0\0\0\x08\0\x07\0\x01\x18\0\xc0\0\x02\0\x0a\0\x0812345678\0\x0b\0\0";
    let mut all_options = packet("www.example.org", 1, Mode::Plain);
    all_options[11] = 1;
    all_options.extend_from_slice(&opt(1232, 0, 0x80, options));
    ask("all options", &all_options, Transport::Tcp);
    assert!(answered > 5000, "{answered} answers are too few");

    assert!(counters.steered_count() > 10, "the pool was asked");
    let answers = |slot: usize| snapshot.pools[slot].recorder.answers(0) + snapshot.pools[slot].recorder.answers(1);
    assert!(answers(1) > 0 && answers(0) > answers(1), "each pool on the way remembers it");
    let planned = &snapshot.planned;
    let rrsets = planned.names.iter().flat_map(|named| &named.rrsets).map(|planned| &planned.recorder);
    let given: Vec<u64> = rrsets.map(|recorder| recorder.answers(0)).collect();
    assert!(given[2] > 0 && given[3] > 0, "MX and NS of the apex were asked: {given:?}");
    assert!(planned.absences.iter().all(|absence| absence.recorder.answers(0) > 10), "much was denied");
    let before = COUNT.get();
    drop(std::hint::black_box(vec![1]));
    assert_eq!(COUNT.get() - before, 1, "what it counts is counted");
}
