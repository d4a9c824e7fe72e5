//! Queries as octets.

use waypost::dns::Name;

/// How a query is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// UDP without EDNS.
    Plain,
    /// UDP with EDNS, 1,232 octets.
    Edns,
    /// UDP with EDNS, 4,096 octets, DO.
    Dnssec,
    Tcp,
    /// TCP with EDNS, DO.
    TcpDnssec,
}

impl Mode {
    pub const ALL: [Self; 5] = [Self::Plain, Self::Edns, Self::Dnssec, Self::Tcp, Self::TcpDnssec];

    pub fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::TcpDnssec)
    }
}

/// The query's octets; the ID is 0.
pub fn packet(name: &str, rtype: u16, mode: Mode) -> Vec<u8> {
    let name: Name = name.parse().unwrap();
    let mut packet = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(name.wire());
    packet.extend_from_slice(&rtype.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    let (size, flags) = match mode {
        Mode::Plain | Mode::Tcp => return packet,
        Mode::Edns => (1232u16, 0),
        Mode::Dnssec | Mode::TcpDnssec => (4096, 0x80),
    };
    packet[11] = 1;
    packet.extend_from_slice(&opt(size, 0, flags, &[]));
    packet
}

/// An OPT record.
pub fn opt(size: u16, version: u8, flags: u8, options: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0, 41];
    record.extend_from_slice(&size.to_be_bytes());
    record.extend_from_slice(&[0, version, flags, 0]);
    record.extend_from_slice(&(options.len() as u16).to_be_bytes());
    record.extend_from_slice(options);
    record
}
