//! Share error, Moves, One site.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use waypost::control::catalog::Catalog;
use waypost::control::horizons::Horizons;
use waypost::control::state::State;
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

const REGIONS: &str = "\
[[pool]]
name = \"www.example.org\"
endpoint = [
  { site = \"eu\", pool = \"eu.www.example.org\", weight = 70 },
  { site = \"us\", pool = \"us.www.example.org\", weight = 30 },
]
[[pool]]
name = \"eu.www.example.org\"
endpoint = [
  { site = \"fra\", address = [\"192.0.2.1\", \"2001:db8::1\"], weight = 50 },
  { site = \"ams\", address = [\"192.0.2.2\", \"2001:db8::2\"], weight = 50 },
]
[[pool]]
name = \"us.www.example.org\"
endpoint = [
  { site = \"nyc\", address = [\"192.0.2.3\", \"2001:db8::3\"], weight = 50 },
  { site = \"sfo\", address = [\"192.0.2.4\", \"2001:db8::4\"], weight = 50 },
]
";

/// Three pools of [`REGIONS`] as queries see them.
fn snapshot(catalog: &Catalog, state: &State) -> Snapshot {
    let mut horizons = Horizons::new(1);
    horizons.follow(catalog, 1);
    let pool = |index| Arc::new(world::pool(catalog, index, state, &horizons, |_| true));
    let (zones, pools) = (catalog.zone_set.clone(), (0..3).map(pool).collect());
    Snapshot { serial: 1, zones, pools, ..Snapshot::default() }
}

/// The last octet of what the client with this number is answered, with this draw.
fn leaf(snapshot: &Snapshot, counters: &Counters, packet: &[u8], number: u32, draw: u64) -> u8 {
    let mut out = [0u8; EDNS_UDP_OCTETS as usize];
    let client = IpAddr::from((((number + (1 << 16)) << 8) | 1).to_be_bytes());
    let context = Context { client, now: world::START, draw, transport: Transport::Udp };
    let octets = answer(snapshot, &context, Tally { worker: Some(0), counters }, packet, &mut out);
    out[octets.unwrap() - 1]
}

/// What each of [`KEYS`] clients is answered: 1 and 2 in Europe, 3 and 4 in America. Of these a sixteenth asks for AAAA too, and
/// for the region's own name, and must be answered the same.
fn leaves(catalog: &Catalog, state: &State) -> Vec<u8> {
    let (snapshot, counters) = (snapshot(catalog, state), Counters::default());
    let questions = [("www", Rtype::A), ("www", Rtype::AAAA), ("eu.www", Rtype::A), ("us.www", Rtype::A)];
    let packets = questions.map(|(name, rtype)| packet(&format!("{name}.example.org"), rtype));
    let ask = |number: u32, packet: &[u8]| leaf(&snapshot, &counters, packet, number, 7);
    let of = |number: u32| {
        let leaf = ask(number, &packets[0]);
        if number.is_multiple_of(16) {
            let region = if leaf <= 2 { &packets[2] } else { &packets[3] };
            assert_eq!((ask(number, &packets[1]), ask(number, region)), (leaf, leaf));
        }
        leaf
    };
    (0..KEYS).map(of).collect()
}

/// How many percent of the keys go from which leaf to which.
fn went(before: &[u8], after: &[u8]) -> BTreeMap<(u8, u8), f64> {
    let mut went = BTreeMap::new();
    for pair in before.iter().copied().zip(after.iter().copied()).filter(|(from, to)| from != to) {
        *went.entry(pair).or_insert(0.0) += 100.0 / f64::from(KEYS);
    }
    went
}

#[test]
fn regions_over_sites() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = world::catalog_with(folder.path(), &["eu", "us", "fra", "ams", "nyc", "sfo"], REGIONS);
    let mut state = world::state(&catalog);
    let flip = |state: &mut State, pool: &str, new: &[u32]| {
        let pool = state.pools.get_mut(&pool.parse::<Name>().unwrap()).unwrap();
        pool.table = pool.table.step(&pool.weights(), &weights(new));
        for (endpoint, weight) in pool.endpoints.iter_mut().zip(weights(new)) {
            endpoint.weight = weight;
        }
    };
    let first = leaves(&catalog, &state);
    let mut counts = [0u32; 4];
    for leaf in &first {
        counts[usize::from(leaf - 1)] += 1;
    }
    let shares = counts.map(|count| f64::from(count) / f64::from(KEYS) * 100.0);
    let worst = shares.iter().zip([35.0, 35.0, 15.0, 15.0]).map(|(share, due)| (share - due).abs()).fold(0.0, f64::max);
    println!("Regions over sites: 70/30 over 50/50 each, over {KEYS} keys: {worst:.3} percentage points at most");
    assert!(worst < 0.2, "{shares:?}");

    flip(&mut state, "www.example.org", &[60, 40]);
    let outside = leaves(&catalog, &state);
    let moves = went(&first, &outside);
    let sum: f64 = moves.values().sum();
    println!("Regions over sites: 70/30 to 60/40: {sum:.3} % of {KEYS} keys, all of them from eu to us");
    assert!(moves.keys().all(|(from, to)| *from <= 2 && *to >= 3) && (sum - 10.0).abs() < 0.2, "{moves:?}");
    // Whoever moves is spread there by the region's own weights.
    assert!(moves.len() == 4 && moves.values().all(|part| (part - 2.5).abs() < 0.1), "{moves:?}");

    flip(&mut state, "eu.www.example.org", &[20, 80]);
    let inside = leaves(&catalog, &state);
    let moves = went(&outside, &inside);
    println!(
        "Regions over sites: 50/50 to 20/80 in eu, which has 60 %: {:.3} % of {KEYS} keys from the first to the second, nobody else",
        moves[&(1, 2)]
    );
    assert!(moves.len() == 1 && (moves[&(1, 2)] - 18.0).abs() < 0.2, "{moves:?}");
}

/// Pools that draw: each level draws for itself.
#[test]
fn regions_by_draw() {
    let folder = tempfile::tempdir().unwrap();
    let pools = REGIONS.replace("endpoint = [", "policy = \"random\"\nendpoint = [");
    let catalog = world::catalog_with(folder.path(), &["eu", "us", "fra", "ams", "nyc", "sfo"], &pools);
    let (snapshot, counters) = (snapshot(&catalog, &world::state(&catalog)), Counters::default());
    let (packet, mut draws) = (packet("www.example.org", Rtype::A), crate::Draws::new(5));
    let mut counts = [0u32; 4];
    for _ in 0..100_000 {
        counts[usize::from(leaf(&snapshot, &counters, &packet, 1, draws.draw()) - 1)] += 1;
    }
    for (count, due) in counts.iter().zip([35.0, 35.0, 15.0, 15.0]) {
        assert!((f64::from(*count) / 1000.0 - due).abs() < 0.6, "{counts:?}");
    }
}

fn packet(name: &str, rtype: Rtype) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(name.parse::<Name>().unwrap().wire());
    packet.extend_from_slice(&rtype.0.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet
}
