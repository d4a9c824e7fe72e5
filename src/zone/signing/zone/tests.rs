use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use proptest::prelude::*;

use super::super::keys::{Algorithm, ENTRY_POINT};
use super::*;
use crate::zone::master;

const NOW: Timestamp = Timestamp(1_800_000_000);

const ZONE: &str = "
$TTL 3600
@ SOA ns hostmaster 1 7200 900 1209600 300
@ NS ns
@ MX 10 Mail.Example.
ns A 192.0.2.1
www A 192.0.2.2
www 60 A 192.0.2.3
WWW TXT \"x\"
*.wild CNAME www
a.b.c.ent A 192.0.2.4
sub NS ns.sub
sub DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
ns.sub A 192.0.2.5
plain NS ns.plain
ns.plain AAAA 2001:db8::1
deep.er.plain A 192.0.2.6
dn DNAME other.example.
";

fn contents() -> Contents {
    let loaded = master::parse(ZONE.as_bytes(), "zone".as_ref(), &"example".parse().unwrap());
    loaded.map_or_else(|e| panic!("{e:?}"), |loaded| loaded.contents)
}

fn keys(algorithm: Algorithm) -> Keys {
    let key = Arc::new(SigningKey::generate(algorithm, ENTRY_POINT).unwrap());
    let published = vec![key.dnskey().clone()];
    Keys {
        parent: ParentWish::Keys(published.clone()),
        published,
        key_signers: vec![key.clone()],
        zone_signers: vec![key],
    }
}

fn how<'a>(keys: &'a Keys, steered: &'a Steered, now: Timestamp) -> How<'a> {
    let dnskey_ttl = Ttl::from_secs(3600);
    How { keys, dnskey_ttl, validity: Validity::default(), steered, now, draw: now.0, renew: true, threads: 2 }
}

fn signed(contents: &Contents, denial: Denial, how: &How<'_>) -> (Contents, Chain) {
    let mut chain = Chain::new(contents.apex.clone(), denial);
    let diff = sign(contents, &Diff::default(), &mut chain, how).unwrap();
    let mut signed = contents.clone();
    signed.apply(&diff).unwrap();
    (signed, chain)
}

/// Everything but the signatures themselves, whose keys and types are in their place.
fn shape(contents: &Contents) -> BTreeSet<(Name, Rtype, Ttl, Vec<u8>)> {
    let mut shape = BTreeSet::new();
    for (owner, sets) in &contents.owners {
        for set in sets {
            for rdata in &set.rdatas {
                let fields = Fields::read(rdata).filter(|_| set.rtype == Rtype::RRSIG);
                let (ttl, rdata) = match fields {
                    Some(f) => {
                        (f.original_ttl, [&f.covered.0.to_be_bytes()[..], &f.tag.to_be_bytes(), &[f.labels]].concat())
                    }
                    None => (set.ttl, rdata.to_vec()),
                };
                assert!(shape.insert((owner.to_lowercase(), set.rtype, ttl, rdata)), "twice at {owner}");
            }
        }
    }
    shape
}

/// Each signature verifies and holds at `now`.
fn verify(contents: &Contents, keys: &Keys, now: Timestamp) {
    for (owner, sets) in &contents.owners {
        for rdata in sets.iter().filter(|s| s.rtype == Rtype::RRSIG).flat_map(|s| &s.rdatas) {
            let fields = Fields::read(rdata).unwrap();
            assert!(fields.left_secs(now) > 0, "{owner} {} ran out", fields.covered);
            let key = keys.published.iter().find(|key| key.tag() == fields.tag).unwrap();
            let set = contents.rrset(owner, fields.covered).unwrap();
            let head = 18 + contents.apex.wire().len();
            let mut octets = rdata[..head].to_vec();
            super::super::sign::tests::records(owner, set, &mut octets);
            let mut public = key.public().to_vec();
            let verified = if key.algorithm() == 13 {
                public.insert(0, 4);
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).verify(&octets, &rdata[head..])
            } else {
                UnparsedPublicKey::new(&ED25519, public).verify(&octets, &rdata[head..])
            };
            assert!(verified.is_ok(), "{owner} {}", fields.covered);
        }
    }
}

#[test]
fn what_is_signed_and_what_not() {
    let (keys, steered) =
        (keys(Algorithm::EcdsaP256Sha256), Steered::from([("pool.example".parse().unwrap(), vec![Rtype::A])]));
    for denial in [Denial::Nsec, Denial::Nsec3] {
        let (zone, _) = signed(&contents(), denial, &how(&keys, &steered, NOW));
        verify(&zone, &keys, NOW);
        let covered = |name: &str| -> Vec<String> {
            let set = zone.rrset(&name.parse().unwrap(), Rtype::RRSIG);
            let mut types: Vec<String> = set
                .into_iter()
                .flat_map(|s| &s.rdatas)
                .map(|r| Fields::read(r).unwrap().covered.to_string())
                .filter(|t| !t.starts_with("NSEC"))
                .collect();
            types.sort();
            types
        };
        assert_eq!(covered("example"), ["CDNSKEY", "CDS", "DNSKEY", "MX", "NS", "SOA"]);
        assert_eq!(covered("www.example"), ["A", "TXT"]);
        assert_eq!(covered("sub.example"), ["DS"]);
        assert_eq!(covered("dn.example"), ["DNAME"]);
        for unsigned in ["ns.sub.example", "plain.example", "ns.plain.example", "deep.er.plain.example"] {
            assert!(covered(unsigned).is_empty(), "{unsigned}");
        }
        let proofs = |rtype| zone.owners.values().flatten().filter(|s| s.rtype == rtype).count();
        // 9 names and cuts with records; with NSEC3 also wild, ent, c.ent, b.c.ent.
        let wanted = if denial == Denial::Nsec { (9, 0) } else { (0, 13) };
        assert_eq!((proofs(Rtype::NSEC), proofs(Rtype::NSEC3)), wanted);
        let mut bare = zone.clone();
        strip(&mut bare);
        assert_eq!(bare, contents());
    }
}

#[test]
fn one_change_signs_what_changed_and_its_neighbour() {
    let (keys, steered) = (keys(Algorithm::Ed25519), Steered::default());
    for denial in [Denial::Nsec, Denial::Nsec3] {
        let (mut zone, mut chain) = signed(&contents(), denial, &how(&keys, &steered, NOW));
        let record = |owner: &str, last| Record {
            owner: owner.parse().unwrap(),
            rtype: Rtype::A,
            ttl: Ttl::from_secs(60),
            rdata: [192, 0, 2, last].into(),
        };
        let change = Diff { removed: Vec::new(), added: vec![record("new.example", 9)] };
        let diff = sign(&zone, &change, &mut chain, &how(&keys, &steered, NOW.after(60))).unwrap();
        // A, its NSEC, the NSEC before it, and their signatures.
        assert_eq!((diff.removed.len(), diff.added.len()), (2, 6), "{diff:?}");
        zone.apply(&diff).unwrap();
        verify(&zone, &keys, NOW);
        let change = Diff { removed: change.added, added: vec![record("new.example", 10)] };
        let diff = sign(&zone, &change, &mut chain, &how(&keys, &steered, NOW.after(120))).unwrap();
        assert_eq!((diff.removed.len(), diff.added.len()), (2, 2), "{diff:?}");
        let wrong = Diff { removed: change.removed.clone(), added: Vec::new() };
        zone.apply(&diff).unwrap();
        assert!(matches!(sign(&zone, &wrong, &mut chain, &how(&keys, &steered, NOW)), Err(SignError::Mismatch(_))));
        assert!(chain.is_empty());
    }
}

#[test]
fn signatures_are_made_anew_before_they_run_out_a_few_at_a_time() {
    let (keys, steered) = (keys(Algorithm::Ed25519), Steered::default());
    let validity = Validity::default();
    let (mut zone, mut chain) = signed(&contents(), Denial::Nsec, &how(&keys, &steered, NOW));
    let all = zone.owners.values().flatten().filter(|s| s.rtype == Rtype::RRSIG).map(|s| s.rdatas.len()).sum();
    let (mut now, mut runs) = (NOW, 0);
    while now < NOW.after(60 * 86_400) {
        let next = next_refresh(&zone, &validity, now).unwrap();
        assert!(next > now, "signs without end");
        now = next;
        verify(&zone, &keys, now.after(u64::from(validity.refresh_secs) - 1));
        let diff = sign(&zone, &Diff::default(), &mut chain, &how(&keys, &steered, now)).unwrap();
        assert!((1..=all).contains(&diff.added.len()));
        zone.apply(&diff).unwrap();
        runs += 1;
    }
    assert!(runs > 12, "{runs} runs in two months: all at once each time");
}

/// Zones of few names, so that changes meet.
fn zones() -> impl Strategy<Value = Contents> {
    let name = "[ab]{1}(\\.[ab*]){0,2}";
    let record = (name, 0usize..5, 1u8..3);
    proptest::collection::vec(record, 0..10).prop_map(|records| {
        let mut zone = Contents::new("example".parse().unwrap());
        let apex = zone.apex.clone();
        let mut soa = vec![0, 0];
        soa.extend([0; 18]);
        soa.extend([1, 0]);
        zone.rrset_mut(&apex, Rtype::SOA, Ttl::from_secs(60)).rdatas.push(soa.into());
        for (owner, rtype, last) in records {
            let owner: Name = format!("{owner}.example").parse().unwrap();
            let (rtype, rdata): (_, Box<[u8]>) = match rtype {
                0 | 1 => (Rtype::A, [192, 0, 2, last].into()),
                2 => (Rtype::NS, [1, b'N', 0].into()),
                3 => (Rtype::DS, [0, 1, 13, 2, last].into()),
                _ => (Rtype::DNAME, [1, b'x', 0].into()),
            };
            let set = zone.rrset_mut(&owner, rtype, Ttl::from_secs(60));
            if !set.rdatas.contains(&rdata) {
                set.rdatas.push(rdata);
            }
        }
        zone
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn changes_lead_where_signing_anew_leads(zones in proptest::collection::vec(zones(), 2..6), nsec3 in any::<bool>()) {
        let denial = if nsec3 { Denial::Nsec3 } else { Denial::Nsec };
        let (keys, steered) = (keys(Algorithm::Ed25519), Steered::from([("b.a.example".parse().unwrap(), vec![Rtype::AAAA])]));
        let how = how(&keys, &steered, NOW);
        let (mut zone, mut chain) = signed(&zones[0], denial, &how);
        for pair in zones.windows(2) {
            let diff = sign(&zone, &Diff::between(&pair[0], &pair[1]), &mut chain, &how).unwrap();
            zone.apply(&diff).unwrap();
            verify(&zone, &keys, NOW);
            prop_assert_eq!(shape(&zone), shape(&signed(&pair[1], denial, &how).0));
        }
    }
}
