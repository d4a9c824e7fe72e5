//! NOTIFY in (RFC 1996): taken from the primaries of a zone and from whom `allow-notify` names, and from nobody else. What comes
//! of it is `secondary`'s; here it is answered.

use crate::dns::wire::request::OPCODE_NOTIFY;
use crate::dns::wire::{CLASS_IN, HEADER_OCTETS, OptReply, Rcode, skip_name, skip_question};
use crate::dns::{Name, Rtype};
use crate::query::Snapshot;
use crate::server::requests::Request;
use crate::zone;

/// A primary says that a zone has a new serial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notified {
    /// The zone.
    pub apex: Name,
    /// The serial, where it says so: a hint and no more (RFC 1996, 3.7).
    pub serial: Option<u32>,
}

/// The answer, and what was told if it is to be looked into.
pub(super) fn answer(snapshot: &Snapshot, request: &Request) -> (Vec<u8>, Option<Notified>) {
    let message = &request.message;
    let Some((notified, question_end, has_opt)) = read(message) else { return (response(message, None, false), None) };
    let Some(index) = snapshot.zones.index_of(notified.apex.to_lowercase().wire()) else {
        return (response(message, Some((question_end, Rcode::NotAuth)), has_opt), None);
    };
    let may = snapshot.zone_settings.get(index).is_some_and(|settings| is_allowed(settings, request));
    let rcode = if may { Rcode::NoError } else { Rcode::Refused };
    if !may {
        tracing::info!(zone = %notified.apex, client = %request.peer.address, "a NOTIFY is refused");
    }
    (response(message, Some((question_end, rcode)), has_opt), may.then_some(notified))
}

fn is_allowed(settings: &zone::Settings, request: &Request) -> bool {
    let client = request.peer.address.ip().to_canonical();
    let of_primary = |primary: &zone::Primary| {
        let zone::notify::Target { address, key } = &primary.at;
        address.ip() == client && (request.key().is_none() || request.key() == key.as_ref())
    };
    settings.file.is_none()
        && (settings.primaries.iter().any(of_primary) || settings.allow_notify.allows(client, request.key()))
}

/// What `message` tells, where its question ends, and whether it brings an OPT record; `None` when it is no NOTIFY of a SOA.
fn read(message: &[u8]) -> Option<(Notified, usize, bool)> {
    let header = message.first_chunk::<HEADER_OCTETS>()?;
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]) as usize;
    if count(4) != 1 {
        return None;
    }
    let apex = Name::from_message(message, HEADER_OCTETS)?;
    let question_end = HEADER_OCTETS + skip_question(&message[HEADER_OCTETS..])?;
    let [.., qtype, qtype_low, class, class_low] = message[..question_end] else { return None };
    if Rtype(u16::from_be_bytes([qtype, qtype_low])) != Rtype::SOA || [class, class_low] != CLASS_IN.to_be_bytes() {
        return None;
    }
    let (mut at, mut serial, mut has_opt) = (question_end, None, false);
    for number in 0..count(6) + count(8) + count(10) {
        let owner = skip_name(message.get(at..)?)?;
        let fixed = message.get(at + owner..)?.first_chunk::<10>()?;
        let rtype = Rtype(u16::from_be_bytes([fixed[0], fixed[1]]));
        let start = at + owner + 10;
        let rdata = message.get(start..start + u16::from_be_bytes([fixed[8], fixed[9]]) as usize)?;
        if number < count(6) && rtype == Rtype::SOA {
            serial = rdata.last_chunk::<20>().map(|tail| u32::from_be_bytes([tail[0], tail[1], tail[2], tail[3]]));
        }
        has_opt |= rtype == Rtype::OPT;
        at = start + rdata.len();
    }
    Some((Notified { apex, serial }, question_end, has_opt))
}

/// The header, and the question where it could be read; else FORMERR.
fn response(message: &[u8], answer: Option<(usize, Rcode)>, has_opt: bool) -> Vec<u8> {
    let (end, rcode) = answer.unwrap_or((HEADER_OCTETS, Rcode::FormErr));
    let mut response = message[..end.min(message.len())].to_vec();
    response.resize(end, 0);
    let authoritative = if rcode == Rcode::NoError { 0x04 } else { 0 };
    response[2] = 0x80 | OPCODE_NOTIFY | authoritative;
    response[3] = rcode as u8;
    response[4..HEADER_OCTETS].fill(0);
    response[5] = u8::from(end > HEADER_OCTETS);
    if has_opt {
        let opt = OptReply {
            extended_rcode: 0,
            dnssec_ok: false,
            compact_ok: false,
            nsid: None,
            client_subnet: None,
            cookie: None,
            keepalive: None,
            extended_error: None,
        };
        response.resize(end + opt.octets(), 0);
        opt.write(&mut response[end..]);
        response[11] = 1;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Ttl;
    use crate::zone::Record;
    use crate::zone::notify::{answered, message};

    #[test]
    fn a_notify_is_read_and_answered() {
        let mut rdata = vec![0, 0];
        rdata.extend([0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
        let owner: Name = "example.org".parse().unwrap();
        let soa = Record { owner: owner.clone(), rtype: Rtype::SOA, ttl: Ttl::from_secs(60), rdata: rdata.into() };
        let told = message(0x1234, &soa);
        let (notified, end, has_opt) = read(&told).unwrap();
        assert_eq!((notified, has_opt), (Notified { apex: owner, serial: Some(7) }, false));
        let refused = response(&told, Some((end, Rcode::Refused)), true);
        assert_eq!((answered(&refused, 0x1234), refused.len()), (Some(5), end + 11));
        for cut in HEADER_OCTETS..told.len() {
            assert!(read(&told[..cut]).is_none(), "{cut}");
        }
        assert_eq!(answered(&response(&told[..20], None, false), 0x1234), Some(1));
    }
}
