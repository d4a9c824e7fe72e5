//! EDNS: the OPT record of a query read, that of a response written (RFC 6891), with the options that are served.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Cursor, EDNS_UDP_OCTETS};

const OPTION_NSID: u16 = 3; // RFC 5001
const OPTION_CLIENT_SUBNET: u16 = 8; // RFC 7871
const OPTION_COOKIE: u16 = 10; // RFC 7873
const OPTION_KEEPALIVE: u16 = 11; // RFC 7828
pub(super) const OPTION_PADDING: u16 = 12; // RFC 7830
const OPTION_EXTENDED_ERROR: u16 = 15; // RFC 8914

/// What the OPT record of a query says (RFC 6891).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP response that the client takes.
    pub udp_octets: u16,
    /// EDNS version.
    pub version: u8,
    /// The DO bit.
    pub dnssec_ok: bool,
    /// The CO bit: NXDOMAIN is understood beside a proof that speaks of NODATA (RFC 9824, 5.1).
    pub compact_ok: bool,
    /// Whether the server's identity is asked for (RFC 5001).
    pub nsid: bool,
    /// Whom the resolver asks for (RFC 7871).
    pub client_subnet: Option<ClientSubnet>,
    /// The cookies of the client, and of the server as it was told (RFC 7873).
    pub cookie: Option<Cookie>,
    /// Whether the client asks how long its connection may be idle (RFC 7828).
    pub keepalive: bool,
    /// Whether an option can't be read: FORMERR, with an OPT record (7).
    pub malformed: bool,
    /// Whether it is padded (RFC 7830).
    pub padding: bool,
}

/// DNS cookies of a query (RFC 7873, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// The client's.
    pub client: [u8; 8],
    /// The server's, if it has the length of ours (RFC 9018, 4); one of another length can't be ours.
    pub server: Option<[u8; 16]>,
}

/// The client subnet of a query (RFC 7871, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSubnet {
    /// Address, bits beyond the prefix are zero.
    pub address: IpAddr,
    /// SOURCE PREFIX-LENGTH.
    pub prefix: u8,
}

impl Edns {
    /// Parses what follows the TYPE of an OPT record; also gives what follows the record.
    pub(super) fn parse(wire: &[u8]) -> Option<(Self, &[u8])> {
        let &[u0, u1, _extended, version, flags, _, r0, r1] = wire.first_chunk::<8>()?;
        let length = u16::from_be_bytes([r0, r1]) as usize;
        let mut options = wire.get(8..8 + length)?;
        let (dnssec_ok, compact_ok) = (flags & 0x80 != 0, flags & 0x40 != 0);
        let udp_octets = u16::from_be_bytes([u0, u1]);
        let mut edns = Self { udp_octets, version, dnssec_ok, compact_ok, ..Self::default() };
        while !options.is_empty() {
            let &[c0, c1, l0, l1] = options.first_chunk::<4>()?;
            let data = options.get(4..4 + u16::from_be_bytes([l0, l1]) as usize)?;
            match u16::from_be_bytes([c0, c1]) {
                OPTION_NSID => edns.nsid = true,
                OPTION_CLIENT_SUBNET if version == 0 => {
                    edns.client_subnet = ClientSubnet::parse(data);
                    edns.malformed |= edns.client_subnet.is_none();
                }
                OPTION_COOKIE if version == 0 && edns.cookie.is_none() => {
                    edns.cookie = Cookie::parse(data);
                    edns.malformed |= edns.cookie.is_none();
                }
                OPTION_KEEPALIVE => edns.keepalive = true,
                OPTION_PADDING => edns.padding = true,
                _ => {}
            }
            options = &options[4 + data.len()..];
        }
        Some((edns, &wire[8 + length..]))
    }
}

impl ClientSubnet {
    /// `None` for what RFC 7871, 7.1.2 and 7.2.1 have answered with FORMERR.
    fn parse(data: &[u8]) -> Option<Self> {
        let &[0, family @ 1..=2, prefix, 0, ref octets @ ..] = data else { return None };
        let bits = if family == 1 { 32 } else { 128 };
        if prefix > bits || octets.len() != (prefix as usize).div_ceil(8) {
            return None;
        }
        let mut full = [0u8; 16];
        full[..octets.len()].copy_from_slice(octets);
        let beyond = (octets.len() * 8) as u32 - prefix as u32;
        if octets.last().is_some_and(|last| last & ((1u16 << beyond) - 1) as u8 != 0) {
            return None;
        }
        let address = match family {
            1 => IpAddr::V4(Ipv4Addr::new(full[0], full[1], full[2], full[3])),
            _ => IpAddr::V6(Ipv6Addr::from(full)),
        };
        Some(Self { address, prefix })
    }
}

impl Cookie {
    /// `None` for lengths that RFC 7873, 5.2.2 has answered with FORMERR. Of several COOKIE options the first counts (4).
    fn parse(data: &[u8]) -> Option<Self> {
        let (client, server) = data.split_first_chunk()?;
        match server.len() {
            0 | 8..=32 => Some(Self { client: *client, server: server.try_into().ok() }),
            _ => None,
        }
    }
}

/// What the OPT record of a response says.
#[derive(Clone, Copy, Debug, Default)]
pub struct OptReply<'a> {
    /// Upper eight bits of the RCODE.
    pub extended_rcode: u8,
    /// The DO bit of the query, given back (RFC 3225, 3).
    pub dnssec_ok: bool,
    /// The CO bit, where the zone denies that way and was asked with it (RFC 9824, 5.1).
    pub compact_ok: bool,
    /// The server's identity, if it was asked for.
    pub nsid: Option<&'a [u8]>,
    /// The query's subnet and the SCOPE PREFIX-LENGTH of the answer.
    pub client_subnet: Option<(ClientSubnet, u8)>,
    /// The client's cookie and a cookie of ours for it.
    pub cookie: Option<([u8; 8], [u8; 16])>,
    /// How long the connection may be idle, in units of 100 ms (RFC 7828, 3.1).
    pub keepalive: Option<u16>,
    /// Why there is an error.
    pub extended_error: Option<ExtendedError>,
}

/// An INFO-CODE of RFC 8914, 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ExtendedError {
    /// The zone could never be read (4.15).
    NotReady = 14,
    /// Not for this client (4.19).
    Prohibited = 18,
    /// The name belongs to none of our zones (4.21).
    NotAuthoritative = 20,
    /// The class, or the kind of query, is not served (4.22).
    NotSupported = 21,
    /// The zone has expired (4.25).
    InvalidData = 24,
    /// A type that can't be asked for (RFC 9824, 9).
    InvalidQueryType = 30,
}

impl OptReply<'_> {
    /// Octets of the whole record.
    pub fn octets(&self) -> usize {
        11 + self.nsid.map_or(0, |n| 4 + n.len())
            + self.client_subnet.map_or(0, |(s, _)| 8 + (s.prefix as usize).div_ceil(8))
            + self.cookie.map_or(0, |_| 28)
            + self.keepalive.map_or(0, |_| 6)
            + self.extended_error.map_or(0, |_| 6)
    }

    /// Writes it to `out`, which has [`OptReply::octets`].
    pub fn write(&self, out: &mut [u8]) {
        let mut w = Cursor { out, at: 0 };
        w.put(&[0, 0, 41]);
        w.put(&EDNS_UDP_OCTETS.to_be_bytes());
        let flags = u8::from(self.dnssec_ok) << 7 | u8::from(self.compact_ok) << 6;
        w.put(&[self.extended_rcode, 0, flags, 0]);
        w.put(&((self.octets() - 11) as u16).to_be_bytes());
        if let Some(nsid) = self.nsid {
            w.put(&OPTION_NSID.to_be_bytes());
            w.put(&(nsid.len() as u16).to_be_bytes());
            w.put(nsid);
        }
        if let Some((client, server)) = self.cookie {
            w.put(&OPTION_COOKIE.to_be_bytes());
            w.put(&24u16.to_be_bytes());
            w.put(&client);
            w.put(&server);
        }
        for (option, value) in
            [(OPTION_KEEPALIVE, self.keepalive), (OPTION_EXTENDED_ERROR, self.extended_error.map(|error| error as u16))]
        {
            let Some(value) = value else { continue };
            w.put(&option.to_be_bytes());
            w.put(&2u16.to_be_bytes());
            w.put(&value.to_be_bytes());
        }
        if let Some((subnet, scope)) = self.client_subnet {
            let octets = (subnet.prefix as usize).div_ceil(8);
            w.put(&OPTION_CLIENT_SUBNET.to_be_bytes());
            w.put(&(4 + octets as u16).to_be_bytes());
            match subnet.address {
                IpAddr::V4(a) => {
                    w.put(&[0, 1, subnet.prefix, scope]);
                    w.put(&a.octets()[..octets]);
                }
                IpAddr::V6(a) => {
                    w.put(&[0, 2, subnet.prefix, scope]);
                    w.put(&a.octets()[..octets]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_with_bits_beyond_its_prefix_is_malformed() {
        assert!(ClientSubnet::parse(&[0, 1, 24, 0, 192, 0, 2]).is_some());
        assert!(ClientSubnet::parse(&[0, 1, 0, 0]).is_some());
        assert!(ClientSubnet::parse(&[0, 1, 23, 0, 192, 0, 3]).is_none());
        assert!(ClientSubnet::parse(&[0, 1, 24, 0, 192, 0]).is_none());
        assert!(ClientSubnet::parse(&[0, 1, 24, 8, 192, 0, 2]).is_none());
        assert!(ClientSubnet::parse(&[0, 1, 33, 0, 192, 0, 2, 1, 1]).is_none());
        assert!(ClientSubnet::parse(&[0, 3, 0, 0]).is_none());
    }

    #[test]
    fn a_cookie_has_8_octets_or_16_to_40() {
        let client = [1, 2, 3, 4, 5, 6, 7, 8];
        let cookie = |octets: usize| Cookie::parse(&[&client[..], &[9; 40]].concat()[..octets]);
        assert_eq!(cookie(8), Some(Cookie { client, server: None }));
        assert_eq!(cookie(24), Some(Cookie { client, server: Some([9; 16]) }));
        assert_eq!(cookie(16), Some(Cookie { client, server: None }), "it can't be ours");
        assert!(cookie(40).is_some());
        for wrong in [0, 7, 9, 15, 41] {
            assert_eq!(cookie(wrong), None, "{wrong} octets");
        }
    }
}
