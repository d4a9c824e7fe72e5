//! Padding of responses, so that their size tells nobody on the way what was asked (RFC 7830).

use super::edns::OPTION_PADDING;
use super::{HEADER_OCTETS, NAME_BUFFER, Query, TCP_OCTETS, skip_name, skip_question};
use crate::dns::Rtype;

/// Responses are padded to multiples of so many octets (RFC 8467, 4.1).
pub const PADDING_BLOCK: usize = 468;

/// Whether the query `packet` is padded itself: then its response is to be, too (RFC 7830, 4).
pub fn asks_for_padding(packet: &[u8]) -> bool {
    packet.get(10..12).is_some_and(|additional| additional != [0, 0])
        && Query::parse(packet, &mut [0; NAME_BUFFER]).is_ok_and(|query| query.edns.is_some_and(|edns| edns.padding))
}

/// Fills the response of `octets` in `out` up to a whole number of blocks, with the `more` octets of a signature that are still to
/// come. Gives its octets. One without an OPT record at its end stays as it is, and so does one that has no room for the option.
pub fn pad(out: &mut [u8], octets: usize, more: usize) -> usize {
    let Some(length_at) = opt_at_end(&out[..octets]).map(|opt| opt + 9) else { return octets };
    let with_option = octets + 4 + more;
    let whole = with_option.next_multiple_of(PADDING_BLOCK).min(TCP_OCTETS);
    let Some(padding) = whole.checked_sub(with_option) else { return octets };
    let end = octets + 4 + padding;
    let Some(place) = out.get_mut(octets..end) else { return octets };
    place.fill(0);
    place[..2].copy_from_slice(&OPTION_PADDING.to_be_bytes());
    place[2..4].copy_from_slice(&(padding as u16).to_be_bytes());
    let length = u16::from_be_bytes([out[length_at], out[length_at + 1]]) + 4 + padding as u16;
    out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    end
}

/// Where the OPT record begins that `message` ends with.
fn opt_at_end(message: &[u8]) -> Option<usize> {
    let header = message.first_chunk::<HEADER_OCTETS>()?;
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let mut at = HEADER_OCTETS;
    for _ in 0..count(4) {
        at += skip_question(message.get(at..)?)?;
    }
    let mut last = None;
    for _ in 0..count(6) + count(8) + count(10) {
        let owner = skip_name(message.get(at..)?)?;
        let fixed = message.get(at + owner..)?.first_chunk::<10>()?;
        last = Some((at, owner, [fixed[0], fixed[1]]));
        at += owner + 10 + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    }
    let (start, owner, rtype) = last?;
    (at == message.len() && owner == 1 && rtype == Rtype::OPT.0.to_be_bytes()).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Message;
    use hickory_proto::rr::rdata::opt::EdnsCode;

    fn response(opt: &[u8]) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, u8::from(!opt.is_empty())];
        message.extend_from_slice(b"\x03www\x07example\x03org\0\0\x01\0\x01");
        message.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01");
        message.extend_from_slice(opt);
        message
    }

    #[test]
    fn a_response_fills_whole_blocks_its_signature_among_them() {
        for (opt, more) in
            [(&b"\0\0\x29\x04\xd0\0\0\0\0\0\0"[..], 0), (b"\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x03\0\0", 79)]
        {
            let plain = response(opt);
            let mut out = vec![0xff; 1000];
            out[..plain.len()].copy_from_slice(&plain);
            let octets = pad(&mut out, plain.len(), more);
            assert_eq!(octets + more, PADDING_BLOCK);
            let read = Message::from_vec(&out[..octets]).unwrap();
            assert!(read.edns.unwrap().option(EdnsCode::Padding).is_some() && read.answers.len() == 1);
        }
    }

    #[test]
    fn what_has_no_opt_record_or_no_room_stays_as_it_is() {
        let mut plain = response(&[]);
        let octets = plain.len();
        plain.resize(1000, 0);
        assert_eq!(pad(&mut plain, octets, 0), octets);
        let mut full = response(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
        let octets = full.len();
        assert_eq!(pad(&mut full, octets, 0), octets, "the buffer ends there");
        full.resize(TCP_OCTETS, 0);
        assert_eq!(pad(&mut full, octets, TCP_OCTETS), octets, "the signature takes all there is");
        assert_eq!(pad(&mut [0; 600], 5, 0), 5);
    }
}
