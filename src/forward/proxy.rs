//! The PROXY protocol's header, versions 1 and 2, written and read. Pure: addresses in, octets out, and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What every version 2 header begins with.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const VERSION_2_LOCAL: u8 = 0x20;
const VERSION_2_PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
/// The host that the client wants.
const TLV_AUTHORITY: u8 = 0x02;
/// The first type left to applications: the rule's name.
const TLV_RULE: u8 = 0xe0;
/// The longest version 1 line, with its end.
const LONGEST_V1: usize = 107;
/// The longest version 2 header that is read.
const LONGEST_V2: usize = 4096;
/// The longest header that is read.
pub const LONGEST: usize = LONGEST_V2;

/// The line for a connection that `client` made to `listener`. IPv4 where both are (also as seen by a dual-stack
/// listener), else IPv6, with an IPv4 address mapped.
pub fn header_v1(client: SocketAddr, listener: SocketAddr) -> Vec<u8> {
    let (from, to) = (client.ip().to_canonical(), listener.ip().to_canonical());
    let ports = format!("{} {}\r\n", client.port(), listener.port());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => format!("PROXY TCP4 {from} {to} {ports}"),
        (from, to) => format!("PROXY TCP6 {} {} {ports}", in_ipv6(from), in_ipv6(to)),
    }
    .into_bytes()
}

/// The header for a connection that `client` made to `listener`, with the host that it wants and the rule's name, if
/// known, as TLVs (0x02 and 0xE0). Without them 28 octets where both are IPv4, else 52.
pub fn header_v2(client: SocketAddr, listener: SocketAddr, host: Option<&str>, rule: Option<&str>) -> Vec<u8> {
    let mut body = Vec::with_capacity(36);
    let family = match (client.ip().to_canonical(), listener.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            body.extend(from.octets());
            body.extend(to.octets());
            TCP_OVER_IPV4
        }
        (from, to) => {
            body.extend(in_ipv6(from).octets());
            body.extend(in_ipv6(to).octets());
            TCP_OVER_IPV6
        }
    };
    body.extend(client.port().to_be_bytes());
    body.extend(listener.port().to_be_bytes());
    for (kind, value) in [(TLV_AUTHORITY, host), (TLV_RULE, rule)] {
        // Hosts and names have 255 octets at most.
        if let Some((value, length)) = value.and_then(|v| Some((v, u16::try_from(v.len()).ok()?))) {
            body.push(kind);
            body.extend(length.to_be_bytes());
            body.extend(value.bytes());
        }
    }
    let mut header = Vec::with_capacity(16 + body.len());
    header.extend(SIGNATURE);
    header.extend([VERSION_2_PROXY, family]);
    header.extend((body.len() as u16).to_be_bytes());
    header.extend(body);
    header
}

fn in_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// A header as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who connected to the proxy; `None` where the proxy speaks for itself or does not know.
    pub client: Option<SocketAddr>,
    /// Octets that the header takes.
    pub length: usize,
}

/// Why octets are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// They begin otherwise.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// They begin as a header and go on as none.
    #[error("the PROXY header is malformed")]
    Malformed,
}

/// Reads the header at the front of `octets`; `None` where more octets are needed, of which there are [`LONGEST`] at most.
pub fn read(octets: &[u8]) -> Result<Option<Header>, ProxyError> {
    let begins = |with: &[u8]| octets.iter().zip(with).all(|(a, b)| a == b);
    if begins(&SIGNATURE) {
        read_v2(octets)
    } else if begins(b"PROXY ") {
        read_v1(octets)
    } else {
        Err(ProxyError::Missing)
    }
}

fn read_v1(octets: &[u8]) -> Result<Option<Header>, ProxyError> {
    let seen = &octets[..octets.len().min(LONGEST_V1)];
    let Some(end) = seen.windows(2).position(|w| w == b"\r\n") else {
        return if seen.len() == LONGEST_V1 { Err(ProxyError::Malformed) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&octets[..end]).map_err(|_| ProxyError::Malformed)?;
    let words: Vec<&str> = line.split(' ').collect();
    let client = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] => {
            let address = |text: &str| text.parse::<IpAddr>().ok().filter(|a| a.is_ipv4() == (family == "TCP4"));
            let read = || {
                address(to)?;
                to_port.parse::<u16>().ok()?;
                Some(SocketAddr::new(address(from)?, from_port.parse().ok()?))
            };
            Some(read().ok_or(ProxyError::Malformed)?)
        }
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some(Header { client, length: end + 2 }))
}

fn read_v2(octets: &[u8]) -> Result<Option<Header>, ProxyError> {
    let Some((&[.., version, family, high, low], rest)) = octets.split_first_chunk::<16>() else { return Ok(None) };
    let length = usize::from(high) << 8 | usize::from(low);
    if !matches!(version, VERSION_2_LOCAL | VERSION_2_PROXY) || 16 + length > LONGEST_V2 {
        return Err(ProxyError::Malformed);
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let client = match (version, family) {
        (VERSION_2_PROXY, TCP_OVER_IPV4) => {
            let from: [u8; 4] = *body.first_chunk().filter(|_| length >= 12).ok_or(ProxyError::Malformed)?;
            Some(SocketAddr::new(Ipv4Addr::from(from).into(), port(8)))
        }
        (VERSION_2_PROXY, TCP_OVER_IPV6) => {
            let from: [u8; 16] = *body.first_chunk().filter(|_| length >= 36).ok_or(ProxyError::Malformed)?;
            Some(SocketAddr::new(Ipv6Addr::from(from).into(), port(32)))
        }
        // The proxy's own checks, or a family that says nothing to us.
        _ => None,
    };
    Ok(Some(Header { client, length: 16 + length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn header(client: &str, listener: &str) -> Vec<u8> {
        header_v2(at(client), at(listener), None, None)
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
        let line = header_v1(at("192.0.2.7:1"), at("[2001:db8::1]:80"));
        assert_eq!(line, b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 80\r\n");
    }

    #[test]
    fn host_and_rule_follow_as_tlvs() {
        let header = header_v2(at("192.0.2.7:1"), at("192.0.2.1:80"), Some("a.example"), Some("web"));
        assert_eq!(header[14..16], [0, 12 + 12 + 6]);
        assert_eq!(header[28..], *b"\x02\0\x09a.example\xe0\0\x03web");
    }

    #[test]
    fn what_is_written_is_read_at_its_last_octet() {
        for (client, listener) in [("192.0.2.7:9", "192.0.2.1:80"), ("[2001:db8::7]:65535", "[2001:db8::1]:1")] {
            let (client, listener) = (at(client), at(listener));
            for mut octets in [header_v1(client, listener), header_v2(client, listener, Some("a.example"), None)] {
                for length in 0..octets.len() {
                    assert_eq!(read(&octets[..length]), Ok(None), "{length}");
                }
                let length = octets.len();
                octets.extend(b"GET /");
                assert_eq!(read(&octets), Ok(Some(Header { client: Some(client), length })));
            }
        }
    }

    #[test]
    fn what_speaks_for_nobody_or_is_no_header() {
        assert_eq!(read(b"PROXY UNKNOWN\r\n"), Ok(Some(Header { client: None, length: 15 })));
        let local = [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat();
        assert_eq!(read(&local), Ok(Some(Header { client: None, length: 16 })));
        assert_eq!(read(b"GET / HTTP/1.1\r\n"), Err(ProxyError::Missing));
        let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 100]].concat();
        for bad in
            [&b"PROXY TCP4 ::1 ::1 1 2\r\n"[..], b"PROXY TCP4 1.2.3.4 1.2.3.4 1 70000\r\n", b"PROXY SCTP\r\n", &long]
        {
            assert_eq!(read(bad), Err(ProxyError::Malformed), "{bad:?}");
        }
        let short = [&SIGNATURE[..], &[0x21, 0x11, 0, 4, 1, 2, 3, 4]].concat();
        assert_eq!(read(&short), Err(ProxyError::Malformed));
    }

    proptest::proptest! {
        #[test]
        fn any_client_is_read_as_it_was_written(client: SocketAddr, listener: SocketAddr, host in "[a-z0-9.]{1,250}", rest: Vec<u8>) {
            for header in [header_v1(client, listener), header_v2(client, listener, Some(&host), Some("web"))] {
                let told = read(&[&header[..], &rest].concat()).unwrap().unwrap();
                proptest::prop_assert_eq!(told.length, header.len());
                let told = told.client.unwrap();
                proptest::prop_assert_eq!((told.ip().to_canonical(), told.port()), (client.ip().to_canonical(), client.port()));
            }
        }

        #[test]
        fn a_damaged_header_never_reaches_beyond_what_came(client: SocketAddr, at in 0_usize..200, octet: u8, cut in 0_usize..200) {
            for mut octets in [header_v1(client, client), header_v2(client, client, Some("a.example"), None)] {
                let (at, cut) = (at % octets.len(), cut.min(octets.len()));
                octets[at] = octet;
                if let Ok(Some(header)) = read(&octets[..cut]) {
                    proptest::prop_assert!(header.length <= cut);
                }
            }
        }

        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = read(&octets);
            let _ = read(&[&SIGNATURE[..], &octets].concat());
            let _ = read(&[b"PROXY TCP6 ", &octets[..]].concat());
        }
    }
}
