//! The PROXY protocol's header, version 2, as a sender writes it. Pure: addresses in, octets out.

use std::net::{IpAddr, SocketAddr};

/// What every version 2 header begins with.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const VERSION_2_PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header for a connection that `client` made to `listener`: 28 octets where both are IPv4 (also as seen by a
/// dual-stack listener), else 52, with an IPv4 address mapped into IPv6.
pub fn header_v2(client: SocketAddr, listener: SocketAddr) -> Vec<u8> {
    let mut header = Vec::with_capacity(52);
    header.extend(SIGNATURE);
    header.push(VERSION_2_PROXY);
    match (client.ip().to_canonical(), listener.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.push(TCP_OVER_IPV4);
            header.extend(12_u16.to_be_bytes());
            header.extend(from.octets());
            header.extend(to.octets());
        }
        (from, to) => {
            header.push(TCP_OVER_IPV6);
            header.extend(36_u16.to_be_bytes());
            header.extend(in_ipv6(from));
            header.extend(in_ipv6(to));
        }
    }
    header.extend(client.port().to_be_bytes());
    header.extend(listener.port().to_be_bytes());
    header
}

fn in_ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(client: &str, listener: &str) -> Vec<u8> {
        header_v2(client.parse().unwrap(), listener.parse().unwrap())
    }

    const START: [u8; 13] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21];

    #[test]
    fn ipv4_octet_by_octet() {
        let mut expected = START.to_vec();
        expected.extend([0x11, 0, 12, 192, 0, 2, 7, 198, 51, 100, 1, 0xd4, 0x31, 0x01, 0xbb]);
        assert_eq!(header("192.0.2.7:54321", "198.51.100.1:443"), expected);
        assert_eq!(header("[::ffff:192.0.2.7]:54321", "[::ffff:198.51.100.1]:443"), expected);
    }

    #[test]
    fn ipv6_octet_by_octet() {
        let mut expected = START.to_vec();
        expected.extend([0x21, 0, 36]);
        expected.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x07]);
        expected.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01]);
        expected.extend([0xd4, 0x31, 0x00, 0x50]);
        assert_eq!(header("[2001:db8::7]:54321", "[2001:db8::1]:80"), expected);
        assert_eq!(expected.len(), 52);
    }

    #[test]
    fn a_mixture_is_ipv6() {
        let mixed = header("192.0.2.7:1", "[2001:db8::1]:80");
        assert_eq!(mixed[13..16], [0x21, 0, 36]);
        assert_eq!(mixed[16..32], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);
    }
}
