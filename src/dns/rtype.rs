//! Record types (RFC 1035, 3.2.2, and the registry since).

use std::fmt;
use std::str::FromStr;

use hickory_proto::rr::RecordType;

/// The TYPE of a record, as its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rtype(pub u16);

#[allow(missing_docs, reason = "each is the mnemonic of the registry")]
impl Rtype {
    pub const A: Self = Self(1);
    pub const NS: Self = Self(2);
    pub const CNAME: Self = Self(5);
    pub const SOA: Self = Self(6);
    pub const PTR: Self = Self(12);
    pub const MX: Self = Self(15);
    pub const TXT: Self = Self(16);
    pub const AAAA: Self = Self(28);
    pub const SRV: Self = Self(33);
    pub const DNAME: Self = Self(39);
    pub const OPT: Self = Self(41);
    pub const DS: Self = Self(43);
    pub const RRSIG: Self = Self(46);
    pub const NSEC: Self = Self(47);
    pub const DNSKEY: Self = Self(48);
    pub const NSEC3: Self = Self(50);
    pub const NSEC3PARAM: Self = Self(51);
    pub const CDS: Self = Self(59);
    pub const CDNSKEY: Self = Self(60);
    pub const SVCB: Self = Self(64);
    pub const HTTPS: Self = Self(65);
    /// RFC 9824, 3.1: the name does not exist.
    pub const NXNAME: Self = Self(128);
    pub const TSIG: Self = Self(250);
    pub const IXFR: Self = Self(251);
    pub const AXFR: Self = Self(252);
    pub const ANY: Self = Self(255);

    /// Whether it can stand in a zone: no meta type, no QTYPE (RFC 6895, 3.1).
    pub const fn is_data(self) -> bool {
        self.0 != 0 && self.0 != Self::OPT.0 && !(self.0 >= 128 && self.0 <= 255)
    }

    /// Reads a mnemonic in any case, or `TYPE65280` (RFC 3597, 5); `None` when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        if let Some(number) = upper.strip_prefix("TYPE") {
            return number.parse().ok().map(Self);
        }
        match RecordType::from_str(&upper) {
            Ok(t) => Some(Self(t.into())),
            Err(_) => OTHERS.iter().find(|(name, _)| *name == upper).map(|(_, number)| Self(*number)),
        }
    }
}

/// Types in use that hickory-proto does not name.
const OTHERS: [(&str, u16); 38] = [
    ("AFSDB", 18),
    ("APL", 42),
    ("AVC", 258),
    ("DHCID", 49),
    ("DLV", 32769),
    ("DNAME", 39),
    ("EUI48", 108),
    ("EUI64", 109),
    ("GPOS", 27),
    ("HIP", 55),
    ("IPSECKEY", 45),
    ("ISDN", 20),
    ("IXFR", 251),
    ("KX", 36),
    ("L32", 105),
    ("L64", 106),
    ("LOC", 29),
    ("LP", 107),
    ("MB", 7),
    ("MD", 3),
    ("MF", 4),
    ("MG", 8),
    ("MINFO", 14),
    ("MR", 9),
    ("NID", 104),
    ("NINFO", 56),
    ("NSAP", 22),
    ("NSAP-PTR", 23),
    ("NXNAME", 128),
    ("OPT", 41),
    ("PX", 26),
    ("RP", 17),
    ("RT", 21),
    ("SPF", 99),
    ("TALINK", 58),
    ("URI", 256),
    ("X25", 19),
    ("ZONEMD", 63),
];

impl fmt::Display for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RecordType::from(self.0) {
            _ if self.0 == 0 => f.write_str("TYPE0"), // reserved (RFC 6895, 3.1); the library's name for it can't be read
            RecordType::Unknown(_) => match OTHERS.iter().find(|(_, number)| *number == self.0) {
                Some((name, _)) => f.write_str(name),
                None => write!(f, "TYPE{}", self.0),
            },
            known => known.fmt(f),
        }
    }
}

impl fmt::Debug for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Rtype {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Rtype {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no record type")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mnemonics_and_numbers() {
        assert_eq!(Rtype::parse("aaaa"), Some(Rtype::AAAA));
        assert_eq!(Rtype::parse("TYPE28"), Some(Rtype::AAAA));
        assert_eq!(Rtype::parse("type65280").map(|t| t.to_string()), Some("TYPE65280".to_owned()));
        assert_eq!(Rtype::parse("HTTPS"), Some(Rtype::HTTPS));
        assert_eq!(Rtype::parse("DNAME").map(|t| t.to_string()), Some("DNAME".to_owned()));
        assert_eq!(Rtype::parse("TYPE65536"), None);
        assert_eq!(Rtype::parse("300"), None);
    }
}
