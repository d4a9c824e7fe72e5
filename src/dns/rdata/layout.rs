//! Which fields the RDATA of each type has: the one table that reading, writing and finding names go by.

#[allow(clippy::enum_glob_use, reason = "the table is made of nothing else")]
use super::field::Kind::{self, *};
use crate::dns::Rtype;

/// The fields of a type in the order of the wire, each with its name for messages.
pub(super) type Fields = &'static [(&'static str, Kind)];

/// The fields of `rtype`; `None` when its RDATA is known only as octets.
pub(super) fn layout(rtype: Rtype) -> Option<Fields> {
    Some(match rtype.0 {
        1 => &[("IPv4 address", Ipv4)],
        28 => &[("IPv6 address", Ipv6)],
        2 => &[("name of the server", Name)],             // NS
        5 | 39 => &[("target name", Name)],               // CNAME, DNAME
        3 | 4 | 7 | 8 | 9 | 12 | 23 => &[("name", Name)], // MD MF MB MG MR PTR NSAP-PTR
        15 | 18 | 21 | 36 | 107 => &[("preference", U16), ("target name", Name)], // MX AFSDB RT KX LP
        16 | 20 | 56 | 99 | 258 => &[("text", Strings)],  // TXT ISDN NINFO SPF AVC
        6 => SOA,
        13 => &[("CPU", Str), ("operating system", Str)], // HINFO
        14 | 17 | 58 => &[("first name", Name), ("second name", Name)], // MINFO RP TALINK
        19 => &[("address", Str)],                        // X25
        24 | 46 => RRSIG,                                 // SIG
        25 | 48 | 60 => DNSKEY,                           // KEY CDNSKEY
        26 => &[("preference", U16), ("first name", Name), ("second name", Name)], // PX
        27 => &[("longitude", Str), ("latitude", Str), ("altitude", Str)], // GPOS
        29 => &[("location", Location)],                  // LOC
        33 => &[("priority", U16), ("weight", U16), ("port", U16), ("target name", Name)], // SRV
        35 => NAPTR,
        37 => &[("type", CertType), ("key tag", U16), ("algorithm", Algorithm), ("certificate", Base64)], // CERT
        42 => &[("prefix", Prefixes)],                                                                    // APL
        43 | 59 | 32769 => DS,                                                                            // CDS DLV
        44 => &[("algorithm", U8), ("fingerprint type", U8), ("fingerprint", Hex)],                       // SSHFP
        45 => IPSECKEY,
        47 => &[("next name", Name), ("type", Types)], // NSEC
        49 => &[("digest", Base64)],                   // DHCID
        50 => NSEC3,
        51 => &[("hash algorithm", U8), ("flags", U8), ("iterations", U16), ("salt", Salt)], // NSEC3PARAM
        52 | 53 => &[("usage", U8), ("selector", U8), ("matching type", U8), ("data", Hex)], // TLSA SMIMEA
        61 => &[("key", Base64)],                                                            // OPENPGPKEY
        62 => &[("serial", U32), ("flags", U16), ("type", Types)],                           // CSYNC
        63 => &[("serial", U32), ("scheme", U8), ("hash algorithm", U8), ("digest", Hex)],   // ZONEMD
        64 | 65 => &[("priority", U16), ("target name", Name), ("parameter", Params)],       // SVCB HTTPS
        104 | 106 => &[("preference", U16), ("locator", Locator64)],                         // NID L64
        105 => &[("preference", U16), ("locator", Ipv4)],                                    // L32
        108 => &[("address", Eui48)],
        109 => &[("address", Eui64)],
        256 => &[("priority", U16), ("weight", U16), ("target", Text)], // URI
        257 => &[("flags", U8), ("tag", Tag), ("value", Text)],         // CAA
        _ => return None,
    })
}

const SOA: Fields = &[
    ("name of the primary", Name),
    ("mailbox", Name),
    ("serial", U32),
    ("refresh", Seconds),
    ("retry", Seconds),
    ("expire", Seconds),
    ("minimum", Seconds),
];

const NAPTR: Fields = &[
    ("order", U16),
    ("preference", U16),
    ("flags", Str),
    ("services", Str),
    ("regular expression", Str),
    ("replacement", Name),
];

const DS: Fields = &[("key tag", U16), ("algorithm", Algorithm), ("digest type", U8), ("digest", Hex)];

const DNSKEY: Fields = &[("flags", U16), ("protocol", U8), ("algorithm", Algorithm), ("key", Base64)];

const RRSIG: Fields = &[
    ("type covered", Type),
    ("algorithm", Algorithm),
    ("labels", U8),
    ("original TTL", Seconds),
    ("expiration", Time),
    ("inception", Time),
    ("key tag", U16),
    ("signer's name", Name),
    ("signature", Base64),
];

const NSEC3: Fields = &[
    ("hash algorithm", U8),
    ("flags", U8),
    ("iterations", U16),
    ("salt", Salt),
    ("next hashed owner name", Hash),
    ("type", Types),
];

const IPSECKEY: Fields =
    &[("precedence", U8), ("gateway type", U8), ("algorithm", U8), ("gateway", Gateway), ("key", Base64)];

/// Whether the names of `rtype` are in lower case in DNSSEC's canonical form (RFC 4034, 6.2; without NSEC, RFC 6840, 5.1).
pub(super) fn lowercased(rtype: Rtype) -> bool {
    matches!(rtype.0, 2..=9 | 12 | 14 | 15 | 17 | 18 | 21 | 24 | 26 | 33 | 35 | 36 | 39 | 46)
}
