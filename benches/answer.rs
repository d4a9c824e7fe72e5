//! What one answer costs, and a change of what is answered: nanoseconds, without sockets.
//!
//! `cargo bench --bench answer` prints them; `benches/instructions.sh` the instructions of the same.

mod worlds;

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use waypost::dns::Rtype;
use waypost::dns::wire::{EDNS_UDP_OCTETS, NAME_BUFFER, Query};
use waypost::query::Pools;
use waypost::steering::client::Client;
use waypost::steering::key::ClientKey;
use waypost::zone::compiled::Overlay;
use waypost::zone::{Diff, Record};
use worlds::{Asking, NOW, looked_up, pool, pools, queries, query, snapshot, written, zone};

fn main() {
    divan::main();
}

/// What is asked in turn, without end.
fn in_turn<'p>(packets: &'p [Vec<u8>]) -> impl FnMut() -> &'p [u8] {
    let mut at = 0;
    move || {
        at = (at + 1) & (packets.len() - 1);
        &packets[at]
    }
}

#[divan::bench(args = ["host7777.example.org A", "pool0.example.org A", "nothing.example.org A", "host7.example.org AAAA", "alias.example.org A", "example.net A"])]
fn one(bencher: Bencher<'_, '_>, question: &str) {
    let (name, rtype) = question.split_once(' ').unwrap();
    let packet = query(name, Rtype::parse(rtype).unwrap());
    let mut asking = Asking::new(snapshot(10_000, 1));
    bencher.bench_local(|| asking.answer(black_box(&packet)));
}

/// One answer out of a zone of so many names.
#[divan::bench(args = [1, 100, 10_000, 1_000_000])]
fn names(bencher: Bencher<'_, '_>, names: usize) {
    let packets = queries("host", names);
    let mut asking = Asking::new(snapshot(names, 0));
    let mut next = in_turn(&packets);
    bencher.bench_local(|| asking.answer(next()));
}

/// One answer out of so many pools.
#[divan::bench(args = [1, 100, 1000, 10_000])]
fn pools_in_turn(bencher: Bencher<'_, '_>, count: usize) {
    let packets = queries("pool", count);
    let mut asking = Asking::new(snapshot(1, count));
    let mut next = in_turn(&packets);
    bencher.bench_local(|| asking.answer(next()));
}

/// A batch of answers out of so many pools, after the kernel has had the nearest caches for itself.
#[divan::bench(args = [1, 100, 1000, 10_000], sample_size = 1, sample_count = 5000)]
fn pools_after_the_kernel(bencher: Bencher<'_, '_>, count: usize) {
    const BATCH: usize = 32;
    let packets = queries("pool", count);
    let mut asking = Asking::new(snapshot(1, count));
    let mut next = in_turn(&packets);
    let mut others = vec![0u8; 384 << 10];
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| others.iter_mut().step_by(64).for_each(|octet| *octet = octet.wrapping_add(1)))
        .bench_local_values(|()| (0..BATCH).map(|_| asking.answer(next()).unwrap_or(0)).sum::<usize>());
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    let packet = query("host7777.example.org", Rtype::A);
    bencher.bench_local(|| {
        let mut lower = [0; NAME_BUFFER];
        Query::parse(black_box(&packet), &mut lower).map(|query| query.qname.len())
    });
}

#[divan::bench(args = [1, 10_000, 1_000_000])]
fn look_up(bencher: Bencher<'_, '_>, names: usize) {
    let zone = zone(names, &Overlay::default());
    let packets = queries("host", names);
    let mut next = in_turn(&packets);
    bencher.bench_local(|| {
        let packet = next();
        black_box(zone.find(&packet[12..packet.len() - 15], false));
    });
}

/// The answer put together: header and question, an RRset of one record, what the header says at the end.
#[divan::bench]
fn write(bencher: Bencher<'_, '_>) {
    let zone = zone(10_000, &Overlay::default());
    let (packet, mut lower) = (query("host7777.example.org", Rtype::A), [0; NAME_BUFFER]);
    let query = Query::parse(&packet, &mut lower).unwrap();
    let mut out = vec![0; EDNS_UDP_OCTETS as usize];
    let prepared = looked_up(&zone, &query);
    bencher.bench_local(|| written(black_box(prepared), black_box(&query), &mut out));
}

#[divan::bench]
fn pick(bencher: Bencher<'_, '_>) {
    let pool = pool(0);
    let mut client = 0u32;
    bencher.bench_local(|| {
        client = client.wrapping_add(0x9e37);
        let client = Client::from(ClientKey::of_resolver(client.to_be_bytes().into()));
        black_box(&pool).choose(&client, 0, NOW)
    });
}

/// What publishing a change of one of so many pools costs.
#[divan::bench(args = [1, 100, 10_000])]
fn change_a_pool(bencher: Bencher<'_, '_>, count: usize) {
    let all: Pools = pools(count).into_iter().collect();
    let changed = Arc::new(pool(count / 2));
    bencher.bench_local(|| all.with([(count / 2, changed.clone())]));
}

/// What a change of one name costs in a zone of so many.
#[divan::bench(args = [1, 10_000, 1_000_000])]
fn change_a_name(bencher: Bencher<'_, '_>, names: usize) {
    let zone = zone(names, &Overlay::default());
    let record = |last| {
        let owner = format!("host{}.example.org", names / 2).parse().unwrap();
        Record { owner, rtype: Rtype::TXT, ttl: waypost::dns::Ttl::from_secs(300), rdata: Box::from([1, last]) }
    };
    let diff = Diff { removed: Vec::new(), added: vec![record(7)] };
    bencher.bench_local(|| zone.with(black_box(&diff), &Overlay::default()).unwrap());
}
