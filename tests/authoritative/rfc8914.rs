//! RFC 8914: extended errors.

use std::sync::Arc;

use waypost::query::{Snapshot, Transport};
use waypost::zone::ZoneSet;

use crate::answers;
use crate::case::*;

#[test]
fn section_4_21_not_authoritative() {
    ask("www.example.com A").edns(1232).gives(
        "REFUSED
         edns 1232 15:0014",
    );
}

#[test]
fn section_4_22_not_supported() {
    ask("example.org AXFR")
        .edns(1232)
        .over_tcp()
        .unlike([Knot], "Who may not have the zone is REFUSED, as NSD and BIND have it; Knot says NOTAUTH.")
        .gives(
            "REFUSED
             edns 1232 15:0015",
        );
}

#[test]
fn section_2_answers_have_none() {
    ask("nothing.example.org A").edns(1232).gives(
        "NXDOMAIN aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300
         edns 1232",
    );
}

/// A zone that could never be read alone fails.
#[test]
fn section_4_15_not_ready() {
    let broken = ("broken.example".parse().unwrap(), None);
    let served = SERVED.zones.entries().iter().map(|e| (e.apex.clone(), e.zone.clone()));
    let zones = Arc::new(ZoneSet::new(served.chain([broken]).collect::<Vec<_>>()));
    let snapshot = Snapshot { zones, ..answers::serving(&[]) };
    let ask = |question| answers::raw(&snapshot, &ask(question).edns(1232).packet, Transport::Udp).unwrap();
    let failed = ask("www.broken.example A");
    assert_eq!((failed[3] & 15, &failed[failed.len() - 6..]), (2, &[0, 15, 0, 2, 0, 14][..]));
    assert_eq!(ask("ns2.example.org A")[3] & 15, 0);
}
