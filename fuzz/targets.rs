//! What is fuzzed: what reads octets of strangers. Each function takes any octets and must not panic; what comes out is looked at
//! as far as it can be wrong, and it gives whether they were taken. `fuzz_targets` runs them by cargo-fuzz, `tests/fuzz.rs` in bounds.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use waypost::dns::Name;
use waypost::dns::tsig::{Algorithm, Key, KeyRing};
use waypost::dns::wire::TCP_OCTETS;
use waypost::forward::names::{Lookup, Services};
use waypost::forward::peek::{Peeked, peek};
use waypost::forward::{proxy, rinetd};
use waypost::query::{Context, Counters, Snapshot, Tally, Transport, answer};
use waypost::time::Timestamp;
use waypost::zone::compiled::{Overlay, compile};
use waypost::zone::incoming::{Ask, Receiver};
use waypost::zone::update::Update;
use waypost::zone::{Edit, Zone, ZoneSet, master};

/// Takes octets; gives whether they were taken as what they should be.
pub type Target = fn(&[u8]) -> bool;

/// Names and functions; the corpus of each is in the folder of its name.
pub const TARGETS: [(&str, Target); 9] = [
    ("message", message),
    ("master", master_file),
    ("tsig", tsig),
    ("update", update),
    ("ixfr", ixfr),
    ("rinetd", rinetd_conf),
    ("proxy", proxy_header),
    ("hello", first_octets),
    ("http", first_octets),
];

const NOW: Timestamp = Timestamp(1_800_000_000);
const ZONE: &str = "$TTL 1h\n@ SOA ns host 7 1h 15m 4w 5m\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\n*.w TXT \"x\"\n\
                    a CNAME b.c\nd DNAME www\ncut NS ns.cut\nns.cut A 192.0.2.3\nmx MX 5 www\n";

fn apex() -> Name {
    Name::parse("example.org", None).expect("it is a name")
}

static SERVED: LazyLock<Arc<Zone>> = LazyLock::new(|| {
    let loaded = master::parse(ZONE.as_bytes(), Path::new("zone"), &apex()).expect("the zone is good");
    Arc::new(compile(Arc::new(loaded.contents), &Overlay::default()))
});

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let zones = Arc::new(ZoneSet::new([(apex(), Some(SERVED.clone()))]));
    Snapshot { serial: 1, generation: 1, zones, nsid: Arc::from(&b"ns1"[..]), ..Snapshot::default() }
});

static KEYS: LazyLock<KeyRing> =
    LazyLock::new(|| [Key::new(&apex(), Algorithm::HmacSha256, b"a secret of sixteen octets")].into_iter().collect());

/// A query, as UDP and TCP workers answer it.
pub fn message(octets: &[u8]) -> bool {
    let mut is_answered = false;
    let counters = Counters::default();
    for transport in [Transport::Udp, Transport::Tcp] {
        let context = Context { client: [192, 0, 2, 1].into(), now: NOW, draw: 7, transport };
        let mut out = vec![0; TCP_OCTETS];
        let tally = Tally { worker: None, counters: &counters };
        if let Some(length) = answer(&SNAPSHOT, &context, tally, octets, &mut out) {
            assert_eq!(out[..2], octets[..2], "the ID");
            assert!(length >= 12 && out[2] & 0x80 != 0, "a response");
            is_answered |= matches!(out[3] & 0x0f, 0);
        }
    }
    is_answered
}

/// A master file; what it includes is not there. One that is good is compiled, and printed text reads as the same zone.
pub fn master_file(octets: &[u8]) -> bool {
    let Ok(read) = master::parse(octets, Path::new("/nonexistent/zone"), &apex()) else { return false };
    let printed = master::print(&read.contents);
    let again = master::parse(printed.as_bytes(), Path::new("printed"), &apex()).expect("what is printed is good");
    assert_eq!(again.contents.owners.len(), read.contents.owners.len());
    compile(Arc::new(read.contents), &Overlay::default());
    true
}

/// A message that may be signed.
pub fn tsig(octets: &[u8]) -> bool {
    let is_signed = matches!(KEYS.verify(octets, NOW), Ok(Some(_)));
    assert!(!is_signed || octets.len() > 12 + 32, "nothing shorter can be signed");
    is_signed
}

/// An update, carried out where it can be.
pub fn update(octets: &[u8]) -> bool {
    let Ok(update) = Update::read(octets) else { return false };
    let mut edit = Edit::new(&SERVED);
    let is_made = update.apply(&mut edit, |_, _| true).is_ok();
    if is_made {
        SERVED.with(&edit.diff(), &Overlay::default()).expect("the edit was made of this zone");
    }
    is_made
}

/// What a primary answers to IXFR: messages, each with its length in front.
pub fn ixfr(octets: &[u8]) -> bool {
    let soa = waypost::zone::transfer::soa(&SERVED).expect("the zone has one");
    let mut receiver = Receiver::new(&apex(), Ask::Since(soa), 0x1234);
    let mut rest = octets;
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let Some((message, behind)) = behind.split_at_checked(u16::from_be_bytes(*length).into()) else { return false };
        match receiver.take(message) {
            Ok(true) => return receiver.finish().is_ok(),
            Ok(false) => rest = behind,
            Err(_) => return false,
        }
    }
    false
}

/// A rinetd.conf; names and services are not those of this host.
pub fn rinetd_conf(octets: &[u8]) -> bool {
    let services = Services::parse("http 80/tcp www\nhttps 443/tcp\n");
    let resolve = |_: &str| Ok([127, 0, 0, 1].into());
    let lookup = Lookup { services: &services, resolve: &resolve, is_ours: &|_| false };
    match rinetd::parse(&String::from_utf8_lossy(octets), Path::new("rinetd.conf"), &lookup) {
        Ok(settings) => !settings.rules.is_empty(),
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "what is refused has a reason");
            false
        }
    }
}

/// A header of the PROXY protocol, of either version.
pub fn proxy_header(octets: &[u8]) -> bool {
    match proxy::read(octets) {
        Ok(Some(header)) => {
            assert!(header.length <= octets.len(), "no more is taken off than there is");
            true
        }
        _ => false,
    }
}

/// A client's first octets: TLS or HTTP.
pub fn first_octets(octets: &[u8]) -> bool {
    match peek(octets) {
        Peeked::Host(host) => {
            assert!(!host.is_empty() && host.len() <= 255 && host.is_ascii(), "a host that can be shown");
            true
        }
        _ => false,
    }
}
