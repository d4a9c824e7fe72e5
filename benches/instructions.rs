//! One operation, so many times: `benches/instructions.sh` counts the instructions of it under callgrind.
//!
//! `instructions OPERATION TIMES`; without them the operations are listed.

mod worlds;

use std::hint::black_box;
use std::sync::Arc;

use waypost::dns::wire::{EDNS_UDP_OCTETS, NAME_BUFFER, Query};
use waypost::dns::{Rtype, Ttl};
use waypost::query::Pools;
use waypost::steering::client::Client;
use waypost::steering::key::ClientKey;
use waypost::zone::compiled::Overlay;
use waypost::zone::{Diff, Record};
use worlds::{Asking, NOW, looked_up, pool, pools, queries, query, signed_zone, snapshot, written, zone};

const OPERATIONS: [&str; 20] = [
    "parse",
    "pick",
    "write",
    "look-up/1",
    "look-up/10000",
    "look-up/1000000",
    "names/1",
    "names/10000",
    "names/1000000",
    "pools/1",
    "pools/1000",
    "pools/10000",
    "change-a-pool/1",
    "change-a-pool/100",
    "change-a-pool/10000",
    "change-a-name/1",
    "change-a-name/10000",
    "change-a-name/1000000",
    "change-a-signed-name/1",
    "change-a-signed-name/10000",
];

fn main() {
    let given: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let [operation, times] = given.as_slice() else {
        return OPERATIONS.iter().for_each(|operation| println!("{operation}"));
    };
    let times = times.parse().expect("how many times is a number");
    let (what, size) = operation.split_once('/').unwrap_or((operation, "0"));
    run(what, size.parse().expect("the size is a number"), times);
}

/// What is counted.
#[inline(never)]
fn measured(times: usize, mut operation: impl FnMut(usize)) {
    for time in 0..times {
        operation(time);
    }
}

/// A TXT record more at one of the hosts.
fn text_added(host: usize) -> Diff {
    let owner = format!("host{host}.example.org").parse().expect("it is a name");
    let added = vec![Record { owner, rtype: Rtype::TXT, ttl: Ttl::from_secs(300), rdata: Box::from([1, 7]) }];
    Diff { removed: Vec::new(), added }
}

fn run(what: &str, size: usize, times: usize) {
    let ask = |stem: &str, snapshot| {
        let packets = queries(stem, size);
        let mut asking = Asking::new(snapshot);
        measured(times, |time| _ = black_box(asking.answer(&packets[time & (packets.len() - 1)])));
    };
    match what {
        "parse" => {
            let packet = query("host7777.example.org", Rtype::A);
            measured(times, |_| {
                let mut lower = [0; NAME_BUFFER];
                _ = black_box(Query::parse(black_box(&packet), &mut lower));
            });
        }
        "pick" => {
            let pool = pool(0);
            measured(times, |time| {
                let client = Client::from(ClientKey::of_resolver((time as u32).to_be_bytes().into()));
                black_box(black_box(&pool).choose(&client, 0, NOW));
            });
        }
        "write" => {
            let zone = zone(10_000, &Overlay::default());
            let (packet, mut lower) = (query("host7777.example.org", Rtype::A), [0; NAME_BUFFER]);
            let query = Query::parse(&packet, &mut lower).unwrap();
            let mut out = vec![0; EDNS_UDP_OCTETS as usize];
            let prepared = looked_up(&zone, &query);
            measured(times, |_| _ = black_box(written(black_box(prepared), black_box(&query), &mut out)));
        }
        "look-up" => {
            let (zone, packets) = (zone(size, &Overlay::default()), queries("host", size));
            measured(times, |time| {
                let packet = &packets[time & (packets.len() - 1)];
                black_box(zone.find(&packet[12..packet.len() - 15], false));
            });
        }
        "names" => ask("host", snapshot(size, 0)),
        "pools" => ask("pool", snapshot(1, size)),
        "change-a-pool" => {
            let (all, changed): (Pools, _) = (pools(size).into_iter().collect(), Arc::new(pool(size / 2)));
            measured(times, |_| _ = black_box(all.with([(size / 2, changed.clone())])));
        }
        "change-a-name" => {
            let zone = zone(size, &Overlay::default());
            measured(times, |_| _ = black_box(zone.with(&text_added(size / 2), &Overlay::default())));
        }
        // What the signer adds to the change is part of it, the signing is not.
        "change-a-signed-name" => {
            let (zone, diff) = signed_zone(size, &text_added(size / 2));
            measured(times, |_| _ = black_box(zone.with(&diff, &Overlay::default())));
        }
        _ => panic!("{what} is no operation"),
    }
}
