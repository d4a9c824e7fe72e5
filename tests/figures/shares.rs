//! Share error, Moves, One site.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use waypost::control::horizons::Horizons;
use waypost::dns::wire::EDNS_UDP_OCTETS;
use waypost::dns::{Name, Rtype};
use waypost::query::{Context, Counters, Snapshot, Tally, Transport, answer};
use waypost::steering::key::ClientKey;
use waypost::steering::share::ShareTable;

use crate::keys::{KEYS, key, points, table, weights};
use crate::world;

#[test]
fn share_error() {
    let points = points();
    for shares in [&[50, 50][..], &[90, 10], &[95, 5], &[99, 1], &[60, 30, 10]] {
        let table = table(shares);
        let mut counts = vec![0u32; shares.len()];
        for point in &points {
            counts[table.pick(*point).unwrap()] += 1;
        }
        let error =
            |(count, share): (&u32, &u32)| (f64::from(*count) / f64::from(KEYS) * 100.0 - f64::from(*share)).abs();
        let worst = counts.iter().zip(shares).map(error).fold(0.0, f64::max);
        println!("Share error: {shares:?} over {KEYS} keys: {worst:.3} percentage points at most");
        assert!(worst < 0.2, "{shares:?}: {counts:?}");
    }
}

/// How many percent of the keys move from which endpoint to which.
fn moved(points: &[u64], before: &ShareTable, after: &ShareTable) -> BTreeMap<(usize, usize), f64> {
    let mut moved = BTreeMap::new();
    for &point in points {
        let pair = (before.pick(point).unwrap(), after.pick(point).unwrap());
        if pair.0 != pair.1 {
            *moved.entry(pair).or_insert(0.0) += 100.0 / f64::from(KEYS);
        }
    }
    moved
}

#[test]
fn moves() {
    let points = points();
    for (before, after) in
        [(&[95, 5][..], &[90, 10][..]), (&[90, 5, 5], &[85, 10, 5]), (&[60, 10, 10, 10, 10], &[55, 15, 10, 10, 10])]
    {
        let (old, new) = (table(before), table(before).reweigh(&weights(after)));
        let moved = moved(&points, &old, &new);
        println!(
            "Moves: {before:?} to {after:?}: {:.3} % of {KEYS} keys from the first to the second, nobody else",
            moved[&(0, 1)]
        );
        assert!(moved.len() == 1 && (moved[&(0, 1)] - 5.0).abs() < 0.1, "{moved:?}");
    }

    let three = table(&[60, 30, 10]);
    let entered = three.with_indices(&[Some(0), Some(1), Some(2)], &weights(&[60, 30, 10, 0]));
    assert!(moved(&points, &three, &entered).is_empty(), "a new site enters at weight 0 and moves nobody");
    let four = entered.reweigh(&weights(&[60, 30, 10, 25]));
    let to_new = moved(&points, &entered, &four);
    assert!(to_new.keys().all(|&(_, to)| to == 3), "only to the new site: {to_new:?}");
    let sum: f64 = to_new.values().sum();
    println!("Moves: a fourth site is given a fifth: {sum:.3} % of {KEYS} keys, all of them to it");
    assert!((sum - 20.0).abs() < 0.2);

    let back = four.with_indices(&[Some(0), None, Some(1), Some(2)], &weights(&[60, 10, 25]));
    // By their old places: what is left may not move.
    let placed = back.with_indices(&[Some(0), Some(2), Some(3)], &weights(&[60, 0, 10, 25]));
    let from_gone = moved(&points, &four, &placed);
    assert!(from_gone.keys().all(|&(from, _)| from == 1), "only from the site removed: {from_gone:?}");
    let sum: f64 = from_gone.values().sum();
    println!("Moves: the second site is removed: {sum:.3} % of {KEYS} keys, all of them its own");
    assert!((sum - 24.0).abs() < 0.2);
}

/// Two pools of one group. One of three sites is down: its clients are handed over, and that alike too.
fn group() -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    let catalog = world::catalog(folder.path(), &NAMES, [70, 25, 5]);
    let state = world::state(&catalog);
    let mut horizons = Horizons::new(1);
    horizons.follow(&catalog, 1);
    let pool = |index| Arc::new(world::pool(&catalog, index, &state, &horizons, |endpoint| endpoint != 1));
    Snapshot {
        serial: 1,
        zones: catalog.zone_set.clone(),
        pools: (0..NAMES.len()).map(pool).collect(),
        ..Snapshot::default()
    }
}

const NAMES: [&str; 2] = ["www.example.org", "shop.example.org"];

/// The answers themselves, octet for octet as they would be sent: their last octet tells the site.
#[test]
fn one_site() {
    let snapshot = group();
    let counters = Counters::default();
    let mut sites = BTreeMap::<u8, u32>::new();
    let mut split = 0;
    let packets: Vec<Vec<u8>> = (NAMES.iter())
        .flat_map(|name| [Rtype::A, Rtype::AAAA, Rtype::HTTPS].map(|rtype| packet(name, rtype)))
        .collect();
    let mut out = [0u8; EDNS_UDP_OCTETS as usize];
    for number in 0..KEYS {
        let network = (number + (1 << 16)) << 8;
        let mut seen = None;
        for (host, packet) in packets.iter().enumerate() {
            // Another resolver of the network for each question.
            let client = IpAddr::from((network | (1 + host as u32)).to_be_bytes());
            debug_assert_eq!(key(number), ClientKey::of_resolver(client));
            let context = Context { client, now: world::START, draw: 7, transport: Transport::Udp };
            let tally = Tally { worker: Some(0), counters: &counters };
            let octets = answer(&snapshot, &context, tally, packet, &mut out).unwrap();
            let site = out[octets - 1];
            if *seen.get_or_insert(site) != site {
                split += 1;
            }
        }
        *sites.entry(seen.unwrap()).or_default() += 1;
    }
    println!("One site: {split} of {KEYS} clients see two sites over A, AAAA and HTTPS of two pools of a group");
    assert_eq!(split, 0);
    assert_eq!(sites.keys().copied().collect::<Vec<_>>(), [1, 3], "both sites that are up are given: {sites:?}");
}

fn packet(name: &str, rtype: Rtype) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(name.parse::<Name>().unwrap().wire());
    packet.extend_from_slice(&rtype.0.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet
}
