//! One field of RDATA: read from its text, measured on the wire, written as text.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::str::FromStr;

use super::encoding::{BASE32HEX, BASE64, Base, HEX, quote, unescape};
use super::tokens::{Tokens, decimal, invalid};
use super::{RdataFault, Token, loc, name_length, prefixes, svcb};
use crate::dns::{Name, Rtype, Ttl};

/// What a field holds. Those that take all octets that are left stand last in their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    U16,
    U32,
    /// 32 bits of seconds; units are read, seconds written.
    Seconds,
    /// An uncompressed domain name.
    Name,
    Ipv4,
    Ipv6,
    /// One character string (RFC 1035, 3.3).
    Str,
    /// One or more character strings; takes all.
    Strings,
    /// Octets without a length, as one string; takes all.
    Text,
    /// A character string of letters and digits, at least one (RFC 8659, 4.1).
    Tag,
    /// Takes all.
    Hex,
    /// Takes all.
    Base64,
    /// A length octet and hexadecimal digits, `-` for none (RFC 5155, 3.3).
    Salt,
    /// A length octet and base32hex (RFC 5155, 3.3).
    Hash,
    /// A TYPE.
    Type,
    /// A bitmap of types (RFC 4034, 4.1.2); takes all.
    Types,
    /// Seconds since 1970 modulo 2^32, as YYYYMMDDHHmmSS (RFC 4034, 3.2).
    Time,
    /// A DNSSEC algorithm, number or mnemonic (RFC 4034, A.1).
    Algorithm,
    /// A certificate type, number or mnemonic (RFC 4398, 2.1).
    CertType,
    Eui48,
    Eui64,
    /// Four groups of hexadecimal digits (RFC 6742, 2.1.2).
    Locator64,
    /// Behind gateway type and algorithm (RFC 4025, 2.5).
    Gateway,
    /// Service parameters (RFC 9460, 2.1); takes all.
    Params,
    /// Address prefixes (RFC 3123); takes all.
    Prefixes,
    /// RFC 1876.
    Location,
}

const ALGORITHMS: [(&str, u16); 16] = [
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("RSASHA1", 5),
    ("DSA-NSEC3-SHA1", 6),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECC-GOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

const CERT_TYPES: [(&str, u16); 10] = [
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// Reads a field from its text and appends it to `wire`, which holds the fields before it.
pub(super) fn read(
    kind: Kind,
    what: &'static str,
    tokens: &mut Tokens<'_>,
    origin: &Name,
    wire: &mut Vec<u8>,
) -> Result<(), RdataFault> {
    match kind {
        Kind::U8 => wire.push(tokens.number(what)?),
        Kind::U16 => wire.extend(tokens.number::<u16>(what)?.to_be_bytes()),
        Kind::U32 => wire.extend(tokens.number::<u32>(what)?.to_be_bytes()),
        Kind::Seconds => {
            let token = tokens.need(what)?;
            let units = || Ttl::parse(std::str::from_utf8(token.text).ok()?).ok().map(Ttl::secs);
            let seconds = decimal(&token).or_else(units);
            let seconds: u32 = seconds.ok_or_else(|| invalid(what, &token, "seconds, or units as in 1h30m"))?;
            wire.extend(seconds.to_be_bytes());
        }
        Kind::Name => {
            let token = tokens.need(what)?;
            wire.extend_from_slice(token.name(origin).map_err(|error| RdataFault::Name { what, error })?.wire());
        }
        Kind::Ipv4 => wire.extend(address::<Ipv4Addr>(what, tokens, "four numbers, as in 192.0.2.1")?.octets()),
        Kind::Ipv6 => wire.extend(address::<Ipv6Addr>(what, tokens, "as in 2001:db8::1")?.octets()),
        Kind::Str => string(what, &tokens.need(what)?, wire)?,
        Kind::Strings => {
            string(what, &tokens.need(what)?, wire)?;
            while let Some(token) = tokens.next() {
                string(what, &token, wire)?;
            }
        }
        Kind::Text => text(what, &tokens.need(what)?, wire)?,
        Kind::Tag => {
            let token = tokens.need(what)?;
            if token.text.is_empty() || token.text.len() > 255 || !token.text.iter().all(u8::is_ascii_alphanumeric) {
                return Err(invalid(what, &token, "letters and digits, as in issue"));
            }
            wire.push(token.text.len() as u8);
            wire.extend_from_slice(token.text);
        }
        Kind::Hex => digits(&HEX, what, tokens, "hexadecimal digits, two for each octet", wire)?,
        Kind::Base64 => digits(&BASE64, what, tokens, "base64", wire)?,
        Kind::Salt => {
            let token = tokens.need(what)?;
            let written = if token.text == b"-" { &[] } else { token.text };
            short(&HEX, what, &token, written, "hexadecimal digits for at most 255 octets, or -", wire)?;
        }
        Kind::Hash => {
            let token = tokens.need(what)?;
            short(&BASE32HEX, what, &token, token.text, "base32hex for at most 255 octets", wire)?;
        }
        Kind::Type => wire.extend(rtype(what, &tokens.need(what)?)?.0.to_be_bytes()),
        Kind::Types => {
            let mut types = Vec::new();
            while let Some(token) = tokens.next() {
                types.push(rtype(what, &token)?);
            }
            bitmap(types, wire);
        }
        Kind::Time => {
            let token = tokens.need(what)?;
            let wanted = "YYYYMMDDHHmmSS, or seconds since 1970";
            wire.extend(time(&token).ok_or_else(|| invalid(what, &token, wanted))?.to_be_bytes());
        }
        Kind::Algorithm => {
            let number = mnemonic(&ALGORITHMS, what, tokens, u8::MAX.into(), "a number up to 255, or as in RSASHA256")?;
            wire.push(number as u8);
        }
        Kind::CertType => {
            let number = mnemonic(&CERT_TYPES, what, tokens, u16::MAX, "a number up to 65535, or as in PKIX")?;
            wire.extend(number.to_be_bytes());
        }
        Kind::Eui48 => eui(what, tokens, 6, "as in 00-00-5e-00-53-2a", wire)?,
        Kind::Eui64 => eui(what, tokens, 8, "as in 00-00-5e-ef-10-00-00-2a", wire)?,
        Kind::Locator64 => {
            let token = tokens.need(what)?;
            wire.extend(locator(&token).ok_or_else(|| invalid(what, &token, "as in 2001:db8:1140:1000"))?);
        }
        Kind::Gateway => match wire.get(1) {
            Some(0) => {
                let token = tokens.need(what)?;
                if token.text != b"." {
                    return Err(invalid(what, &token, "type 0 has none: a dot"));
                }
            }
            Some(1) => return read(Kind::Ipv4, what, tokens, origin, wire),
            Some(2) => return read(Kind::Ipv6, what, tokens, origin, wire),
            Some(3) => return read(Kind::Name, what, tokens, origin, wire),
            _ => return Err(invalid(what, &tokens.need(what)?, "of a gateway type from 0 to 3")),
        },
        Kind::Params => return svcb::read(tokens, wire),
        Kind::Prefixes => return prefixes::read(what, tokens, wire),
        Kind::Location => return loc::read(tokens, wire),
    }
    Ok(())
}

/// The octets that the field takes of `wire` from `at` on; `None` when it does not fit there.
pub(super) fn length(kind: Kind, wire: &[u8], at: usize) -> Option<usize> {
    let rest = wire.get(at..)?;
    let fixed = |octets| (octets <= rest.len()).then_some(octets);
    let counted = || fixed(1 + *rest.first()? as usize);
    match kind {
        Kind::U8 | Kind::Algorithm => fixed(1),
        Kind::U16 | Kind::Type | Kind::CertType => fixed(2),
        Kind::U32 | Kind::Seconds | Kind::Time | Kind::Ipv4 => fixed(4),
        Kind::Eui48 => fixed(6),
        Kind::Eui64 | Kind::Locator64 => fixed(8),
        Kind::Ipv6 => fixed(16),
        Kind::Name => name_length(wire, at),
        Kind::Str | Kind::Salt | Kind::Hash => counted(),
        Kind::Tag => counted().filter(|&octets| octets > 1 && rest[1..octets].iter().all(u8::is_ascii_alphanumeric)),
        Kind::Strings => {
            let mut end = 0;
            while end < rest.len() {
                end += 1 + rest[end] as usize;
            }
            (end == rest.len() && end > 0).then_some(end)
        }
        Kind::Text | Kind::Hex | Kind::Base64 => Some(rest.len()),
        Kind::Types => windows(rest).all(|w| w.is_some()).then_some(rest.len()),
        Kind::Gateway => match wire.get(1)? {
            0 => Some(0),
            1 => fixed(4),
            2 => fixed(16),
            3 => name_length(wire, at),
            _ => None,
        },
        Kind::Params => svcb::is_well_formed(rest).then_some(rest.len()),
        Kind::Prefixes => prefixes::is_well_formed(rest).then_some(rest.len()),
        Kind::Location => fixed(loc::OCTETS),
    }
}

/// Appends the text of the field at `range` of `wire`, where it fits; `None` when its text form can't carry these octets.
pub(super) fn write(kind: Kind, wire: &[u8], range: Range<usize>, out: &mut String) -> Option<()> {
    let piece = &wire[range.clone()];
    let number = || piece.iter().fold(0u32, |n, &b| n << 8 | b as u32);
    // Writing to a String never fails.
    let _ = match kind {
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::Seconds | Kind::Algorithm | Kind::CertType => {
            write!(out, "{}", number())
        }
        Kind::Name => {
            // The display form of a name is absolute but for its dot.
            let name = Name::from_wire(piece).ok()?;
            if name.is_root() { write!(out, ".") } else { write!(out, "{name}.") }
        }
        Kind::Ipv4 => write!(out, "{}", Ipv4Addr::from(<[u8; 4]>::try_from(piece).ok()?)),
        Kind::Ipv6 => write!(out, "{}", Ipv6Addr::from(<[u8; 16]>::try_from(piece).ok()?)),
        Kind::Str => {
            quote(&piece[1..], out);
            Ok(())
        }
        Kind::Strings => {
            let mut rest = piece;
            while let [n, behind @ ..] = rest {
                let (string, behind) = behind.split_at(*n as usize);
                quote(string, out);
                rest = behind;
                if !rest.is_empty() {
                    out.push(' ');
                }
            }
            Ok(())
        }
        Kind::Text => {
            quote(piece, out);
            Ok(())
        }
        Kind::Tag => write!(out, "{}", std::str::from_utf8(&piece[1..]).ok()?),
        Kind::Hex | Kind::Base64 if piece.is_empty() => return None,
        Kind::Hex => {
            HEX.encode(piece, out);
            Ok(())
        }
        Kind::Base64 => {
            BASE64.encode(piece, out);
            Ok(())
        }
        Kind::Salt if piece.len() == 1 => write!(out, "-"),
        Kind::Salt => {
            HEX.encode(&piece[1..], out);
            Ok(())
        }
        Kind::Hash if piece.len() == 1 => return None,
        Kind::Hash => {
            BASE32HEX.encode(&piece[1..], out);
            Ok(())
        }
        Kind::Type => write!(out, "{}", Rtype(number() as u16)),
        Kind::Types => return write_types(piece, out),
        Kind::Time => {
            let instant = jiff::Timestamp::from_second(number().into()).ok()?;
            write!(out, "{}", instant.strftime("%Y%m%d%H%M%S"))
        }
        Kind::Eui48 | Kind::Eui64 => {
            let groups: Vec<_> = piece.iter().map(|b| format!("{b:02x}")).collect();
            write!(out, "{}", groups.join("-"))
        }
        Kind::Locator64 => {
            let groups: Vec<_> = piece.chunks_exact(2).map(|g| format!("{:02x}{:02x}", g[0], g[1])).collect();
            write!(out, "{}", groups.join(":"))
        }
        Kind::Gateway => match wire.get(1)? {
            0 => write!(out, "."),
            1 => return write(Kind::Ipv4, wire, range, out),
            2 => return write(Kind::Ipv6, wire, range, out),
            _ => return write(Kind::Name, wire, range, out),
        },
        Kind::Params => return svcb::write(piece, out),
        Kind::Prefixes => return prefixes::write(piece, out),
        Kind::Location => return loc::write(piece, out),
    };
    Some(())
}

fn address<A: FromStr>(what: &'static str, tokens: &mut Tokens<'_>, wanted: &'static str) -> Result<A, RdataFault> {
    let token = tokens.need(what)?;
    let text = std::str::from_utf8(token.text).ok();
    text.and_then(|t| t.parse().ok()).ok_or_else(|| invalid(what, &token, wanted))
}

/// Appends a token as octets.
fn text(what: &'static str, token: &Token<'_>, wire: &mut Vec<u8>) -> Result<(), RdataFault> {
    let wanted = "a backslash wants three digits up to 255, or one other character, behind it";
    unescape(token.text, wire).ok_or_else(|| invalid(what, token, wanted))
}

/// Appends a token as character string.
fn string(what: &'static str, token: &Token<'_>, wire: &mut Vec<u8>) -> Result<(), RdataFault> {
    let start = wire.len();
    wire.push(0);
    text(what, token, wire)?;
    let octets = wire.len() - start - 1;
    wire[start] = u8::try_from(octets).map_err(|_| RdataFault::StringTooLong { what, octets })?;
    Ok(())
}

/// Appends what all tokens that are left stand for as digits of `base`.
fn digits(
    base: &Base,
    what: &'static str,
    tokens: &mut Tokens<'_>,
    wanted: &'static str,
    wire: &mut Vec<u8>,
) -> Result<(), RdataFault> {
    let start = tokens.position();
    let before = wire.len();
    let whole = base.decode(tokens.rest(), wire);
    if tokens.position() == start || wire.len() == before && whole.is_some() {
        return Err(RdataFault::Missing { what });
    }
    whole.ok_or_else(|| RdataFault::Invalid { what, text: tokens.shown_from(start), wanted })
}

/// Appends a length octet and what `written` stands for as digits of `base`.
fn short(
    base: &Base,
    what: &'static str,
    token: &Token<'_>,
    written: &[u8],
    wanted: &'static str,
    wire: &mut Vec<u8>,
) -> Result<(), RdataFault> {
    let start = wire.len();
    wire.push(0);
    let whole = base.decode(std::iter::once(written), wire);
    let octets = u8::try_from(wire.len() - start - 1).ok().filter(|_| whole.is_some());
    wire[start] = octets.ok_or_else(|| invalid(what, token, wanted))?;
    Ok(())
}

/// Appends `count` octets, each as two hexadecimal digits with a hyphen between (RFC 7043, 3.2).
fn eui(
    what: &'static str,
    tokens: &mut Tokens<'_>,
    count: usize,
    wanted: &'static str,
    wire: &mut Vec<u8>,
) -> Result<(), RdataFault> {
    let token = tokens.need(what)?;
    let parts: Vec<&[u8]> = token.text.split(|&b| b == b'-').collect();
    let right = parts.len() == count && parts.iter().all(|p| p.len() == 2);
    right.then(|| HEX.decode(parts.into_iter(), wire)).flatten().ok_or_else(|| invalid(what, &token, wanted))
}

/// Four groups of up to four hexadecimal digits with colons between.
fn locator(token: &Token<'_>) -> Option<[u8; 8]> {
    let text = std::str::from_utf8(token.text).ok().filter(|t| !t.contains('+'))?;
    let mut groups = text.split(':').map(|g| u16::from_str_radix(g, 16).ok().filter(|_| g.len() <= 4));
    let mut octets = [0; 8];
    for pair in octets.chunks_exact_mut(2) {
        pair.copy_from_slice(&groups.next()??.to_be_bytes());
    }
    groups.next().is_none().then_some(octets)
}

fn mnemonic(
    table: &[(&str, u16)],
    what: &'static str,
    tokens: &mut Tokens<'_>,
    most: u16,
    wanted: &'static str,
) -> Result<u16, RdataFault> {
    let token = tokens.need(what)?;
    let named = || table.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(token.text)).map(|(_, n)| *n);
    decimal(&token).or_else(named).filter(|n| *n <= most).ok_or_else(|| invalid(what, &token, wanted))
}

fn rtype(what: &'static str, token: &Token<'_>) -> Result<Rtype, RdataFault> {
    let text = std::str::from_utf8(token.text).ok();
    text.and_then(Rtype::parse).ok_or_else(|| invalid(what, token, "a type, as in AAAA or TYPE65280"))
}

/// `YYYYMMDDHHmmSS`, or a number of seconds of at most ten digits (RFC 4034, 3.2).
fn time(token: &Token<'_>) -> Option<u32> {
    let text = std::str::from_utf8(token.text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
    if text.len() != 14 {
        return text.parse().ok();
    }
    let civil = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    let seconds = jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?.as_second();
    Some(seconds.rem_euclid(1 << 32) as u32)
}

/// Appends the bitmap of `types` (RFC 4034, 4.1.2).
fn bitmap(mut types: Vec<Rtype>, wire: &mut Vec<u8>) {
    types.sort_unstable();
    let mut window = None; // (its number, where its length octet is)
    for Rtype(number) in types {
        let (high, low) = ((number >> 8) as u8, number as u8);
        let start = match window {
            Some((number, start)) if number == high => start,
            _ => {
                wire.extend([high, 0]);
                window = Some((high, wire.len() - 1));
                wire.len() - 1
            }
        };
        let octet = low as usize / 8;
        wire.resize(start + 2 + octet, 0);
        wire[start] = octet as u8 + 1;
        wire[start + 1 + octet] |= 0x80 >> (low % 8);
    }
}

/// The windows of a bitmap: number and bits; `None` at the end where one does not fit, or is not above that before it.
fn windows(mut rest: &[u8]) -> impl Iterator<Item = Option<(u8, &[u8])>> {
    let mut last = None;
    std::iter::from_fn(move || {
        let (number, octets) = match rest {
            [] => return None,
            [number, octets @ 1..=32, ..] if last < Some(*number) => (*number, *octets as usize),
            _ => {
                rest = &[];
                return Some(None);
            }
        };
        last = Some(number);
        let bits = rest.get(2..2 + octets);
        rest = rest.get(2 + octets..).unwrap_or(&[]);
        Some(bits.map(|bits| (number, bits)))
    })
}

fn write_types(piece: &[u8], out: &mut String) -> Option<()> {
    let mut first = true;
    for (number, bits) in windows(piece).flatten() {
        if bits.last() == Some(&0) {
            return None; // longer than it needs to be: reading would shorten it
        }
        for low in 0..bits.len() * 8 {
            if bits[low / 8] & (0x80 >> (low % 8)) != 0 {
                let blank = if first { "" } else { " " };
                let _ = write!(out, "{blank}{}", Rtype((number as u16) << 8 | low as u16));
                first = false;
            }
        }
    }
    Some(())
}
