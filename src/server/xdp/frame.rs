//! An answer in the frame of its query: addresses and ports turned round, lengths and checksums anew.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ETHERNET: usize = 14;
const UDP: usize = 8;
/// Hops that an answer may take, as Linux sets it.
const HOP_LIMIT: u8 = 64;
const UDP_PROTOCOL: u8 = 17;

/// Answers the query in the first `octets` of `frame` by `answer(client, local, query)`; the rest of `frame` is room. Gives the
/// octets of the answer's frame; `None` where there is none, or what came is no query over UDP after all.
pub(super) fn answer<'o>(
    frame: &mut [u8],
    octets: usize,
    answer: impl FnOnce(SocketAddr, SocketAddr, &[u8]) -> Option<&'o [u8]>,
) -> Option<usize> {
    let packet = frame.get(..octets)?;
    let udp_at = match packet.get(12..ETHERNET)? {
        [0x08, 0x00] => ETHERNET + 20,
        [0x86, 0xdd] => ETHERNET + 40,
        _ => return None,
    };
    let udp = packet.get(udp_at..udp_at + UDP)?;
    let udp_octets = u16::from_be_bytes([udp[4], udp[5]]) as usize;
    // The frame may be padded: the length is UDP's.
    let query = packet.get(udp_at + UDP..udp_at + udp_octets)?;
    let is_ipv4 = udp_at == ETHERNET + 20;
    let host = |at: usize, port: usize| {
        let ip = if is_ipv4 {
            IpAddr::V4(Ipv4Addr::from(*packet.get(at..)?.first_chunk()?))
        } else {
            IpAddr::V6(Ipv6Addr::from(*packet.get(at..)?.first_chunk()?))
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes([udp[port], udp[port + 1]])))
    };
    let (source, destination) = if is_ipv4 { (ETHERNET + 12, ETHERNET + 16) } else { (ETHERNET + 8, ETHERNET + 24) };
    let response = answer(host(source, 0)?, host(destination, 2)?, query)?;

    let end = udp_at + UDP + response.len();
    let frame = frame.get_mut(..end)?;
    frame[udp_at + UDP..].copy_from_slice(response);
    swap(frame, 0, 6);
    swap(frame, udp_at, 2);
    let udp_octets = (UDP + response.len()) as u16;
    frame[udp_at + 4..udp_at + 6].copy_from_slice(&udp_octets.to_be_bytes());
    frame[udp_at + 6..udp_at + 8].fill(0);
    let addresses = if is_ipv4 {
        let ip = &mut frame[ETHERNET..udp_at];
        swap(ip, 12, 4);
        ip[1] = 0;
        ip[2..4].copy_from_slice(&(20 + udp_octets).to_be_bytes());
        ip[4..8].copy_from_slice(&[0, 0, 0x40, 0]); // not to be fragmented, so it needs no identification (RFC 6864, 4.1)
        ip[8] = HOP_LIMIT;
        ip[10..12].fill(0);
        let sum = checksum(0, ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ETHERNET + 12..ETHERNET + 20
    } else {
        let ip = &mut frame[ETHERNET..udp_at];
        swap(ip, 8, 16);
        ip[..4].copy_from_slice(&[0x60, 0, 0, 0]);
        ip[4..6].copy_from_slice(&udp_octets.to_be_bytes());
        ip[7] = HOP_LIMIT;
        ETHERNET + 8..ETHERNET + 40
    };
    // The pseudo-header (RFC 768; RFC 8200, 8.1): addresses, protocol, length.
    let pseudo = sum(&frame[addresses]) + u64::from(UDP_PROTOCOL) + u64::from(udp_octets);
    let sum = match checksum(pseudo, &frame[udp_at..]) {
        0 => 0xffff, // 0 says that there is none
        sum => sum,
    };
    frame[udp_at + 6..udp_at + 8].copy_from_slice(&sum.to_be_bytes());
    Some(end)
}

/// Exchanges the two fields of `octets` each that begin at `at`.
fn swap(frame: &mut [u8], at: usize, octets: usize) {
    let (first, second) = frame[at..at + 2 * octets].split_at_mut(octets);
    first.swap_with_slice(second);
}

/// The Internet checksum (RFC 1071) of `octets`, on top of a [`sum`].
fn checksum(start: u64, octets: &[u8]) -> u16 {
    let mut sum = start + sum(octets);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn sum(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<4>();
    // Four octets at a time: the carries are folded at the end.
    let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    if let Some(pair) = rest.first_chunk::<2>() {
        sum += u64::from(u16::from_be_bytes(*pair));
    }
    if let [.., last] = rest
        && rest.len() % 2 == 1
    {
        sum += u64::from(*last) << 8;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ipv4(query: &[u8]) -> Vec<u8> {
        let mut p = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        p.extend([0x45, 0x10, 0, 0, 9, 9, 0, 0, 3, 17, 0, 0, 192, 0, 2, 7, 192, 0, 2, 1]);
        p.extend([0x30, 0x39, 0, 53]);
        p.extend((8 + query.len() as u16).to_be_bytes());
        p.extend([0, 0]);
        p.extend(query);
        p
    }

    fn ipv6(query: &[u8]) -> Vec<u8> {
        let mut p = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 1, 2, 3, 0, 0, 17, 5];
        p.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        p.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        p.extend([0x30, 0x39, 0, 53]);
        p.extend((8 + query.len() as u16).to_be_bytes());
        p.extend([0, 0]);
        p.extend(query);
        p
    }

    /// What a receiver does: all 16-bit words, the checksum among them, make 0xffff.
    fn is_right(pseudo: &[&[u8]], octets: &[u8]) -> bool {
        checksum(pseudo.iter().map(|p| sum(p)).sum(), octets) == 0
    }

    proptest! {
        #[test]
        fn an_answer_goes_back_with_right_checksums(response in proptest::collection::vec(any::<u8>(), 0..1232)) {
            for (is_ipv4, query) in [(true, ipv4(b"query")), (false, ipv6(b"query"))] {
                let mut frame = query.clone();
                frame.extend([0xee; 13]); // padding
                let octets = frame.len();
                frame.resize(1792, 0);
                let end = answer(&mut frame, octets, |client, local, asked| {
                    let (from, to) = if is_ipv4 {
                        ("192.0.2.7:12345", "192.0.2.1:53")
                    } else {
                        ("[2001:db8::7]:12345", "[2001:db8::1]:53")
                    };
                    assert_eq!((client.to_string().as_str(), local.to_string().as_str()), (from, to));
                    assert_eq!(asked, b"query");
                    Some(&response)
                }).unwrap();
                let frame = &frame[..end];
                prop_assert_eq!((&frame[..6], &frame[6..12]), (&query[6..12], &query[..6]));
                let udp = if is_ipv4 { 34 } else { 54 };
                prop_assert_eq!(&frame[udp..udp + 4], &[0, 53, 0x30, 0x39]);
                prop_assert_eq!(&frame[udp + 8..], &response[..]);
                let octets = (8 + response.len() as u16).to_be_bytes();
                prop_assert_eq!(&frame[udp + 4..udp + 6], &octets);
                prop_assert!(frame[udp + 6..udp + 8] != [0, 0]);
                if is_ipv4 {
                    prop_assert_eq!(&frame[26..34], &[192, 0, 2, 1, 192, 0, 2, 7]);
                    prop_assert!(is_right(&[], &frame[14..34]));
                    prop_assert_eq!(usize::from(u16::from_be_bytes([frame[16], frame[17]])), end - 14);
                    prop_assert!(is_right(&[&frame[26..34], &[0, 17], &octets], &frame[udp..]));
                } else {
                    prop_assert_eq!((frame[37], frame[53]), (1, 7));
                    prop_assert!(is_right(&[&frame[22..54], &[0, 17], &octets], &frame[udp..]));
                }
            }
        }

        #[test]
        fn no_frame_makes_it_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..128), short in 0usize..128, v6: bool) {
            if frame.len() > 14 {
                frame[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[8, 0] });
            }
            let octets = short.min(frame.len());
            answer(&mut frame, octets, |_, _, query| (query.len() % 2 == 0).then_some(&[1; 40][..]));
        }
    }
}
