//! A zone gives back what was put into it; and however it came to be, it answers alike.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Overlay, Zone, compile};
use crate::dns::{Name, Rtype, Ttl};
use crate::query::{Context, Counters, Snapshot, Tally, Transport, answer};
use crate::time::Timestamp;
use crate::zone::signing::keys::{Algorithm, ENTRY_POINT, SigningKey};
use crate::zone::signing::nsec::{Chain, Denial};
use crate::zone::signing::sign::Validity;
use crate::zone::signing::zone::{How, Keys, sign};
use crate::zone::{Contents, Diff, Rrset, ZoneSet, master};

const APEX: &str = "example";

/// Names near each other: cuts, wildcards and empty non-terminals come to stand above and below them.
const NAMES: [&str; 12] =
    ["example", "a", "b.a", "c.b.a", "*.a", "d", "*.d", "x.*.d", "ns.b.a", "Mixed.A", "e.f.g", "hash"];

fn name(label: &str) -> Name {
    let text = if label == APEX { APEX.to_owned() } else { format!("{label}.{APEX}") };
    text.parse().unwrap()
}

fn rdata(rtype: Rtype, variant: u8) -> Box<[u8]> {
    let origin = name(APEX);
    let host = ["a", "ns.b.a", "MIXED.a", "outside.net.", "d", "Example."][variant as usize % 6];
    let text = match rtype {
        Rtype::A => format!("192.0.2.{variant}"),
        Rtype::AAAA => format!("2001:db8::{variant}"),
        Rtype::NS | Rtype::CNAME | Rtype::DNAME | Rtype::PTR => host.to_owned(),
        Rtype::MX => format!("{variant} {host}"),
        Rtype::SRV => format!("1 2 {variant} {host}"),
        Rtype::DS => format!("{variant} 13 2 00"),
        Rtype::NSEC3 => "1 0 0 - 2vptu5timamqttgl4luu9kg21e0aor3s A".to_owned(),
        Rtype::NSEC => format!("{host} A NSEC"),
        Rtype::RRSIG => {
            let covered = ["A", "NS", "SOA", "NSEC", "MX", "CNAME"][variant as usize % 6];
            format!("{covered} 13 2 60 20300101000000 20200101000000 {variant} @ AAAA")
        }
        _ => format!("text{variant}"),
    };
    master::parse_rdata(rtype, &text, &origin).unwrap()
}

const PLAIN: [Rtype; 11] = [
    Rtype::A,
    Rtype::A,
    Rtype::AAAA,
    Rtype::NS,
    Rtype::CNAME,
    Rtype::DNAME,
    Rtype::MX,
    Rtype::SRV,
    Rtype::TXT,
    Rtype::DS,
    Rtype::NSEC3,
];
const SIGNED: [Rtype; 2] = [Rtype::RRSIG, Rtype::RRSIG];

/// Contents with a SOA: which names have which types.
fn contents(records: &[(usize, usize, u8)], signed: bool, serial: u8) -> Contents {
    let apex = name(APEX);
    let mut contents = Contents::new(apex.clone());
    let soa = format!("ns.b.a Host.Example. {serial} 2 3 4 30");
    let soa = master::parse_rdata(Rtype::SOA, &soa, &apex).unwrap();
    contents.rrset_mut(&apex, Rtype::SOA, Ttl::from_secs(60)).rdatas.push(soa);
    for (at, rtype, variant) in records {
        let types = PLAIN.len() + if signed { SIGNED.len() } else { 0 };
        let rtype = *PLAIN.iter().chain(&SIGNED).nth(rtype % types).unwrap();
        let owner = name(NAMES[at % NAMES.len()]);
        let set = contents.rrset_mut(&owner, rtype, Ttl::from_secs(60 + u64::from(variant % 2)));
        let rdata = rdata(rtype, *variant);
        let alone = matches!(rtype, Rtype::CNAME | Rtype::DNAME) && !set.rdatas.is_empty();
        if !alone && !set.rdatas.contains(&rdata) {
            set.rdatas.push(rdata);
        }
    }
    contents
}

fn overlay() -> Overlay {
    Overlay::from_iter([(name("d"), 0), (name("o.b.a"), 1)])
}

/// What is answered to many questions.
fn answers(zone: &Zone) -> BTreeMap<(String, u16, bool), Vec<u8>> {
    let zones = Arc::new(ZoneSet::new([(name(APEX), Some(Arc::new(zone.clone())))]));
    let snapshot = Snapshot { serial: 1, generation: 1, zones, ..Snapshot::default() };
    let context = Context {
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        now: Timestamp(1_800_000_000),
        draw: 0,
        transport: Transport::Tcp,
    };
    let counters = Counters::default();
    let mut all = BTreeMap::new();
    let more = ["z", "z.a", "z.b.a", "y.z.d", "f.g", "g", "o.b.a", "z.o.b.a", "*.z", "x.hash"];
    for asked in NAMES.iter().chain(&more) {
        for rtype in [1, 2, 5, 6, 15, 16, 28, 33, 39, 43, 46, 47, 255] {
            for signed in [false, true] {
                let mut packet = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
                packet.extend_from_slice(name(asked).wire());
                packet.extend_from_slice(&[0, rtype, 0, 1]);
                packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, if signed { 128 } else { 0 }, 0, 0, 0]);
                let mut out = vec![0; 65_535];
                let tally = Tally { counters: &counters, worker: None };
                let octets = answer(&snapshot, &context, tally, &packet, &mut out).unwrap();
                out.truncate(octets);
                all.insert(((*asked).to_owned(), rtype.into(), signed), out);
            }
        }
    }
    all
}

fn held(zone: &Zone) -> BTreeMap<(String, Rtype), Rrset> {
    zone.rrsets().map(|(owner, set)| ((owner.to_string(), set.rtype), set)).collect()
}

fn put_in(contents: &Contents) -> BTreeMap<(String, Rtype), Rrset> {
    let all = contents.owners.iter().flat_map(|(owner, sets)| sets.iter().map(move |set| (owner, set)));
    all.map(|(owner, set)| ((owner.to_string(), set.rtype), set.clone())).collect()
}

fn records() -> impl Strategy<Value = Vec<(usize, usize, u8)>> {
    proptest::collection::vec((0usize..NAMES.len(), 0usize..14, 0u8..6), 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_zone_gives_back_what_was_put_in(records in records(), signed: bool) {
        let contents = contents(&records, signed, 1);
        let zone = compile(Arc::new(contents.clone()), &overlay());
        prop_assert_eq!(held(&zone), put_in(&contents));
        for (owner, sets) in &contents.owners {
            for set in sets {
                let found = zone.rrset(owner, set.rtype);
                prop_assert_eq!(found.as_ref(), Some(set));
            }
        }
    }

    #[test]
    fn changes_lead_where_compiling_leads(
        steps in proptest::collection::vec((records(), any::<bool>()), 1..5),
        overlaid: bool,
        sometimes_signed: bool,
    ) {
        let overlay = if overlaid { overlay() } else { Overlay::default() };
        let mut now = contents(&[], false, 0);
        let mut zone = compile(Arc::new(now.clone()), &overlay);
        for (serial, (records, signed)) in steps.into_iter().enumerate() {
            let next = contents(&records, signed && sometimes_signed, serial as u8 + 1);
            let diff = Diff::between(&now, &next);
            zone = zone.with(&diff, &overlay).unwrap();
            now.apply(&diff).unwrap();
            let fresh = compile(Arc::new(now.clone()), &overlay);
            prop_assert_eq!(held(&zone), put_in(&now));
            prop_assert_eq!(zone.name_count(), fresh.name_count());
            prop_assert_eq!(zone.serial(), fresh.serial());
            let (changed, fresh) = (answers(&zone), answers(&fresh));
            for (question, answer) in &fresh {
                prop_assert_eq!(&changed[question], answer, "{:?} of {:?}", question, now);
            }
        }
    }

    #[test]
    fn changes_of_a_signed_zone_prove_what_compiling_proves(
        steps in proptest::collection::vec(records(), 1..6),
        overlaid: bool,
        nsec3: bool,
    ) {
        let denial = if nsec3 { Denial::Nsec3 } else { Denial::Nsec };
        let overlay = if overlaid { overlay() } else { Overlay::default() };
        let steered = overlay.keys().map(|name| (name.clone(), vec![Rtype::A])).collect();
        let key = Arc::new(SigningKey::generate(Algorithm::Ed25519, ENTRY_POINT).unwrap());
        let (published, signers) = (vec![key.dnskey().clone()], vec![key]);
        let keys = Keys { published, key_signers: signers.clone(), zone_signers: signers, ..Keys::default() };
        let now = Timestamp(1_800_000_000);
        let (dnskey_ttl, validity) = (Ttl::from_secs(60), Validity::default());
        let how = How { keys: &keys, dnskey_ttl, validity, steered: &steered, now, draw: 1, renew: true, threads: 1 };
        let (mut chain, mut plain) = (Chain::new(name(APEX), denial), contents(&[], false, 0));
        let mut all = plain.clone();
        all.apply(&sign(&all, &Diff::default(), &mut chain, &how).unwrap()).unwrap();
        let mut zone = compile(Arc::new(all.clone()), &overlay);
        let base = zone.base.clone();
        for (serial, mut records) in steps.into_iter().enumerate() {
            records.retain(|(_, rtype, _)| PLAIN[rtype % PLAIN.len()] != Rtype::NSEC3);
            let next = contents(&records, false, serial as u8 + 1);
            let diff = sign(&all, &Diff::between(&plain, &next), &mut chain, &how).unwrap();
            plain = next;
            all.apply(&diff).unwrap();
            zone = zone.with(&diff, &overlay).unwrap();
            prop_assert!(Arc::ptr_eq(&zone.base, &base), "a change of a few names is no new table");
            let fresh = compile(Arc::new(all.clone()), &overlay);
            prop_assert_eq!(held(&zone), put_in(&all));
            let (changed, fresh) = (answers(&zone), answers(&fresh));
            for (question, answer) in &fresh {
                prop_assert_eq!(&changed[question], answer, "{:?} of {:?}", question, all);
            }
        }
    }
}

#[test]
fn a_change_takes_room_for_itself_alone() {
    let apex = name(APEX);
    let mut text = "$TTL 60\n@ SOA ns host 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n".to_owned();
    text.extend((0..20_000).map(|i| format!("h{i} A 10.0.{}.{}\n", i / 250, i % 250)));
    let read = master::read_text(text.into_bytes(), Path::new("zone"), &apex).unwrap();
    let zone = super::compile_gathered(read.records, &Overlay::default());
    let address = |last| crate::zone::Record {
        owner: name("new"),
        rtype: Rtype::A,
        ttl: Ttl::from_secs(60),
        rdata: Box::new([192, 0, 2, last]),
    };
    let next = zone.with(&Diff { removed: vec![], added: vec![address(1)] }, &Overlay::default()).unwrap();
    assert!(Arc::ptr_eq(&zone.base, &next.base));
    assert!(next.memory_octets() - zone.memory_octets() < 1000);
    assert_eq!(next.name_count(), zone.name_count() + 1);
    let back = next.with(&Diff { removed: vec![address(1)], added: vec![] }, &Overlay::default()).unwrap();
    assert_eq!(back.name_count(), zone.name_count());
    let per_name = zone.memory_octets() / zone.name_count();
    assert!(per_name < 72, "{per_name} octets for each name");
}
