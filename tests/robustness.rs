//! Whatever comes in, what goes out is silence or a well-formed response to it, within the limit:
//! - random octets, and queries with octets changed, added, left out;
//! - any size of UDP response that a client may ask for.

#[path = "support/answers.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod answers;
#[path = "differential/queries.rs"]
#[allow(dead_code, reason = "the differential test uses the rest of it")]
mod queries;
mod references;

use std::sync::LazyLock;

use hickory_proto::op::Message;
use proptest::prelude::*;
use queries::{Question, oddities, questions};
use references::packets::{Mode, opt, packet};
use references::zones::ZONES;
use waypost::query::cookies::Secret;
use waypost::query::{Cookies, Snapshot, Transport};

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let secret = Secret::parse("e5e973e5a6b2a43f48e7dc849e37bfcf").unwrap();
    Snapshot { cookies: Some(Cookies::new(&[secret])), ..answers::serving(&ZONES) }
});
static QUESTIONS: LazyLock<Vec<Question>> = LazyLock::new(|| questions(&ZONES));
static ODDITIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| oddities().into_iter().map(|(_, packet)| packet).collect());

/// Asks, and looks at what comes back.
fn ask(packet: &[u8], transport: Transport, limit: usize) -> Result<(), TestCaseError> {
    let Some(response) = answers::raw(&SNAPSHOT, packet, transport) else {
        let is_query = packet.len() >= 12 && packet[2] & 0x80 == 0;
        prop_assert!(!is_query, "a query without an answer");
        return Ok(());
    };
    prop_assert!(response.len() <= limit, "{} octets, of {limit} at most", response.len());
    prop_assert_eq!(&response[..2], &packet[..2], "the ID");
    prop_assert_eq!(response[2] & 0xf9, 0x80 | packet[2] & 0x79, "QR, OPCODE and RD");
    // The library takes no record without RDATA, of which the zone has one.
    match Message::from_vec(&response) {
        Ok(message) => {
            let asked = message.queries.len();
            prop_assert!(asked <= 1 && (asked == 1 || message.answers.is_empty()));
        }
        Err(error) => prop_assert!(error.to_string().contains("length 0"), "{error}: {response:02x?}"),
    }
    Ok(())
}

fn query() -> impl Strategy<Value = Vec<u8>> {
    let usual = (any::<prop::sample::Index>(), prop::sample::select(&Mode::ALL[..])).prop_map(|(index, mode)| {
        let question = index.get(&QUESTIONS);
        packet(&question.name, question.rtype.0, mode)
    });
    prop_oneof![4 => usual, 1 => any::<prop::sample::Index>().prop_map(|index| index.get(&ODDITIES).clone())]
}

/// What happens to octets on their way.
#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Cut(prop::sample::Index),
}

impl Change {
    fn apply(&self, packet: &mut Vec<u8>) {
        if packet.is_empty() {
            return;
        }
        let length = packet.len();
        match self {
            Self::Set(at, octet) => packet[at.index(length)] = *octet,
            Self::Flip(at, bit) => packet[at.index(length)] ^= 1 << bit,
            Self::Insert(at, octets) => _ = packet.splice(at.index(length)..at.index(length), octets.clone()),
            Self::Remove(at, count) => _ = packet.drain(at.index(length)..(at.index(length) + count).min(length)),
            Self::Cut(at) => packet.truncate(at.index(length)),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, octet)| Change::Set(at, octet)),
        (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (at(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, octets)| Change::Insert(at, octets)),
        (at(), 1..20usize).prop_map(|(at, count)| Change::Remove(at, count)),
        at().prop_map(Change::Cut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn random_octets_panic_nothing(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        ask(&octets, Transport::Udp, 1232)?;
        ask(&octets, Transport::Tcp, 65535)?;
    }

    #[test]
    fn changed_queries_panic_nothing(mut packet in query(), changes in prop::collection::vec(change(), 0..6)) {
        for change in &changes {
            change.apply(&mut packet);
        }
        ask(&packet, Transport::Udp, 1232)?;
        ask(&packet, Transport::Tcp, 65535)?;
    }

    #[test]
    fn no_response_is_larger_than_asked_for(index in any::<prop::sample::Index>(), size in any::<u16>(), small in any::<bool>()) {
        let question = index.get(&QUESTIONS);
        let size = if small { size % 2000 } else { size };
        let mut packet = packet(&question.name, question.rtype.0, Mode::Plain);
        ask(&packet, Transport::Udp, 512)?;
        packet[11] = 1;
        packet.extend_from_slice(&opt(size, 0, 0, &[]));
        ask(&packet, Transport::Udp, size.clamp(512, 1232) as usize)?;
    }
}
