//! Signed zones before real validators: `ldns-verify-zone` and BIND's `dnssec-verify`.
//!
//! - a zone with delegations, glue, wildcards, empty non-terminals and a DNAME, signed with each algorithm and each proof;
//! - the same after changes that sign only what changed;
//! - at the ends of the signatures' time: good until they run out, bad after.

use std::process::Command;
use std::sync::Arc;

use waypost::dns::{Name, Rtype, Ttl};
use waypost::time::Timestamp;
use waypost::zone::signing::keys::{Algorithm, ENTRY_POINT, SigningKey, ZONE_KEY};
use waypost::zone::signing::nsec::{Chain, Denial};
use waypost::zone::signing::sign::Validity;
use waypost::zone::signing::zone::{How, Keys, ParentWish, Steered, next_refresh, sign};
use waypost::zone::{Contents, Diff, Record, master};

const ZONE: &str = "
$TTL 3600
@ SOA ns hostmaster 1 7200 900 1209600 300
@ NS ns
@ MX 10 Mail.Example.
ns A 192.0.2.1
www 60 A 192.0.2.2
www 60 A 192.0.2.3
WWW TXT \"x\" \"\"
*.wild CNAME www
*.a.b.c.ent A 192.0.2.4
sub NS ns.sub
sub DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
ns.sub A 192.0.2.5
plain NS ns.plain
ns.plain AAAA 2001:db8::1
deep.er.plain A 192.0.2.6
dn DNAME Other.example.
\\000\\.odd TYPE65280 \\# 3 010203
_sip._tcp SRV 0 0 5060 Www
";

struct Signed {
    zone: Contents,
    keys: Keys,
    chain: Chain,
    now: Timestamp,
}

impl Signed {
    fn new(algorithm: Algorithm, split: bool, denial: Denial) -> Self {
        let apex: Name = "example".parse().unwrap();
        let zone = master::parse(ZONE.as_bytes(), "zone".as_ref(), &apex).unwrap().contents;
        let key = |flags| Arc::new(SigningKey::generate(algorithm, flags).unwrap());
        let entry = key(ENTRY_POINT);
        let data = if split { key(ZONE_KEY) } else { entry.clone() };
        let mut published = vec![entry.dnskey().clone(), data.dnskey().clone()];
        published.dedup();
        let keys = Keys {
            parent: ParentWish::Keys(vec![entry.dnskey().clone()]),
            published,
            key_signers: vec![entry],
            zone_signers: vec![data],
        };
        let mut signed = Self { zone, keys, chain: Chain::new(apex, denial), now: Timestamp::now() };
        signed.change(Diff::default());
        signed
    }

    fn change(&mut self, change: Diff) {
        let how = How {
            keys: &self.keys,
            dnskey_ttl: Ttl::from_secs(3600),
            validity: Validity::default(),
            steered: &Steered::default(),
            now: self.now,
            draw: self.now.0,
            renew: true,
            threads: 2,
        };
        let diff = sign(&self.zone, &change, &mut self.chain, &how).unwrap();
        self.zone.apply(&diff).unwrap();
    }

    /// What `ldns-verify-zone` says at `now`.
    fn verify_at(&self, now: Timestamp) -> Result<(), String> {
        let stamp = now.to_string().replace(['-', 'T', ':', 'Z'], "");
        verify("ldns-verify-zone", &["-t", &stamp], &self.zone)
    }

    /// The same now, and what `dnssec-verify` says.
    fn verify(&self) {
        self.verify_at(self.now).unwrap();
        let roles = if self.keys.published.len() > 1 { "-x" } else { "-z" };
        verify("dnssec-verify", &["-o", "example", roles], &self.zone).unwrap();
    }
}

fn verify(program: &str, arguments: &[&str], zone: &Contents) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zone");
    std::fs::write(&file, master::print(zone)).unwrap();
    let output = match Command::new(program).args(arguments).arg(&file).output() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && std::env::var_os("CI").is_none() => return Ok(()),
        output => output.unwrap_or_else(|e| panic!("{program} (tests/setup.sh installs it): {e}")),
    };
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {said}\n{}", master::print(zone))) }
}

fn record(owner: &str, rtype: Rtype, rdata: &[u8]) -> Record {
    Record { owner: owner.parse().unwrap(), rtype, ttl: Ttl::from_secs(60), rdata: rdata.into() }
}

#[test]
fn each_algorithm_and_proof_verifies_also_after_changes() {
    for (algorithm, split, denial) in [
        (Algorithm::EcdsaP256Sha256, false, Denial::Nsec),
        (Algorithm::EcdsaP256Sha256, true, Denial::Nsec3),
        (Algorithm::Ed25519, true, Denial::Nsec),
        (Algorithm::Ed25519, false, Denial::Nsec3),
    ] {
        let mut zone = Signed::new(algorithm, split, denial);
        zone.verify();
        let host = record("x.y.example", Rtype::A, &[192, 0, 2, 9]);
        let cut = record("ent.example", Rtype::NS, b"\x02ns\x07example\x00");
        zone.change(Diff { removed: vec![], added: vec![host.clone(), cut.clone()] });
        zone.verify();
        zone.change(Diff { removed: vec![cut], added: vec![record("y.example", Rtype::TXT, b"\x01y")] });
        zone.verify();
        zone.change(Diff { removed: vec![host], added: vec![] });
        zone.verify();
    }
}

#[test]
fn signatures_hold_until_they_are_made_anew_and_not_much_longer() {
    let mut zone = Signed::new(Algorithm::EcdsaP256Sha256, false, Denial::Nsec3);
    let validity = Validity::default();
    zone.verify_at(zone.now.before(3500)).unwrap();
    assert!(zone.verify_at(zone.now.before(3700)).is_err(), "before the inception");
    for _ in 0..3 {
        let due = next_refresh(&zone.zone, &validity, zone.now).unwrap();
        zone.verify_at(due.after(3 * 86_400)).unwrap();
        assert!(zone.verify_at(due.after(4 * 86_400)).is_err(), "some have run out");
        zone.now = due;
        zone.change(Diff::default());
        zone.verify_at(due).unwrap();
    }
}
