//! Which messages are no ordinary queries: what the data plane does not answer from the snapshot alone.

use super::{HEADER_OCTETS, skip_name};
use crate::dns::Rtype;

/// OPCODE NOTIFY (RFC 1996), as it stands in the header's third octet.
pub const OPCODE_NOTIFY: u8 = 4 << 3;
/// OPCODE UPDATE (RFC 2136), likewise.
pub const OPCODE_UPDATE: u8 = 5 << 3;
/// QR and OPCODE of the header's third octet.
pub const QR_AND_OPCODE: u8 = 0xf8;

/// Whether `packet` is a request: a NOTIFY, an UPDATE, a query for AXFR or IXFR, or any query that brings a TSIG. What is
/// malformed is none, and neither is a response. `watched` says whether a SOA query of that client is one too, so that it
/// is known what our secondaries have seen.
#[inline]
pub fn is_request(packet: &[u8], watched: impl FnOnce() -> bool) -> bool {
    let Some((header, _)) = packet.split_first_chunk::<HEADER_OCTETS>() else { return false };
    match header[2] & QR_AND_OPCODE {
        0 => {}
        opcode => return matches!(opcode, OPCODE_NOTIFY | OPCODE_UPDATE),
    }
    if header[4..6] != [0, 1] {
        return false;
    }
    let mut at = HEADER_OCTETS;
    loop {
        match packet.get(at) {
            Some(0) => break,
            Some(&label @ 1..=63) => at += 1 + label as usize,
            _ => return false,
        }
    }
    let Some(([_, high, low, _, _], rest)) = packet[at..].split_first_chunk::<5>() else { return false };
    match Rtype(u16::from_be_bytes([*high, *low])) {
        Rtype::AXFR | Rtype::IXFR => return true,
        Rtype::SOA if watched() => return true,
        _ => {}
    }
    let [answers, authorities, additionals] =
        [6, 8, 10].map(|i| u16::from_be_bytes([header[i], header[i + 1]]) as usize);
    let (before, plain) = (answers + authorities, rest.starts_with(&[0, 0, 41]));
    match (before, additionals) {
        (_, 0) => false,
        (0, 1) if plain => false,
        _ => ends_with_tsig(rest, before + additionals),
    }
}

/// Whether the last of `records` is a TSIG (RFC 8945, 5.1).
#[cold]
fn ends_with_tsig(mut rest: &[u8], records: usize) -> bool {
    for _ in 1..records {
        let next = skip_name(rest).and_then(|owner| {
            let length = rest.get(owner + 8..)?.first_chunk()?;
            rest.get(owner + 10 + u16::from_be_bytes(*length) as usize..)
        });
        let Some(next) = next else { return false };
        rest = next;
    }
    skip_name(rest).and_then(|owner| rest.get(owner..)).is_some_and(|r| r.starts_with(&Rtype::TSIG.0.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(flags: u8, rtype: u16, additional: u8, extra: &[u8]) -> Vec<u8> {
        let mut q = vec![0x12, 0x34, flags, 0, 0, 1, 0, 0, 0, 0, 0, additional];
        q.extend_from_slice(b"\x07example\x03org\0");
        q.extend_from_slice(&rtype.to_be_bytes());
        q.extend_from_slice(&[0, 1]);
        q.extend_from_slice(extra);
        q
    }

    #[test]
    fn a_record_that_is_cut_off_makes_no_request() {
        for extra in [&[0xc0][..], &[], &[0], &[3, b'k']] {
            assert!(!is_request(&query(0, 1, 1, extra), || false));
        }
    }

    #[test]
    fn requests_are_told_from_queries() {
        let opt: &[u8] = b"\0\0\x29\x10\0\0\0\x80\0\0\0";
        let tsig: &[u8] = b"\x03key\0\0\xfa\0\xff\0\0\0\0\0\0";
        assert!(!is_request(&query(0, 1, 0, &[]), || false));
        assert!(!is_request(&query(0, 1, 1, opt), || false));
        assert!(!is_request(&query(0x80 | OPCODE_NOTIFY, 6, 0, &[]), || false), "a response");
        assert!(!is_request(&query(2 << 3, 6, 0, &[]), || false), "STATUS");
        assert!(!is_request(&query(0, 1, 2, &[tsig, opt].concat()), || false), "a TSIG that is not the last");
        assert!(is_request(&query(OPCODE_NOTIFY, 6, 0, &[]), || false));
        assert!(is_request(&query(OPCODE_UPDATE, 6, 0, &[]), || false));
        assert!(is_request(&query(0, 252, 0, &[]), || false));
        assert!(is_request(&query(0, 251, 1, opt), || false));
        assert!(is_request(&query(0, 1, 1, tsig), || false));
        assert!(is_request(&query(0, 1, 2, &[opt, tsig].concat()), || false));
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(packet in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = is_request(&packet, || false);
            let _ = is_request(&query(0, 1, packet.first().copied().unwrap_or(0) % 4, &packet), || false);
        }
    }
}
