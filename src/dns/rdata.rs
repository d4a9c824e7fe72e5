//! RDATA as text and as octets: presentation format (RFC 1035, 5.1, and the RFC of each type) to uncompressed wire form
//! and back, and the names in it.
//!
//! Each type known here is a list of fields (`layout`); what can be done with RDATA is done field by field, by
//! `field`, and so is the same for all types. What has no text form of its own here is read and written as octets
//! (RFC 3597, 5). hickory-proto gives the mnemonics ([`super::rtype`]) and is the second opinion of the tests: its own text
//! forms know no origin, fewer types, and not all octets.
//!
//! What always holds: [`parse`] gives back what [`to_text`] was given, for all RDATA that [`is_well_formed`].

mod encoding;
mod field;
mod layout;
mod loc;
mod prefixes;
mod svcb;
mod tokens;

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;

use super::name::{MAX_NAME_OCTETS, NameError};
use super::{Name, Rtype};
use field::Kind;
use layout::layout;
use tokens::Tokens;

/// The most octets of RDATA.
pub const MAX_RDATA_OCTETS: usize = 65_535;

/// One word or quoted string of a master file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// As written, escapes and all, without the quotes.
    pub text: &'a [u8],
    /// Whether it stood in quotes.
    pub quoted: bool,
    /// Whether it stood right behind the token before it, without a blank.
    pub glued: bool,
}

impl<'a> Token<'a> {
    /// A token that stands alone, without quotes.
    pub const fn word(text: &'a [u8]) -> Self {
        Self { text, quoted: false, glued: false }
    }

    /// The domain name that it writes, absolute or relative to `origin`.
    ///
    /// # Errors
    /// [`NameError`], which quotes it.
    pub fn name(&self, origin: &Name) -> Result<Name, NameError> {
        if let Ok(text) = std::str::from_utf8(self.text) {
            return Name::parse(text, Some(origin));
        }
        let escaped: String = self
            .text
            .iter()
            .map(|&b| if b.is_ascii() { (b as char).to_string() } else { format!("\\{b:03}") })
            .collect();
        Name::parse(&escaped, Some(origin))
    }

    /// Its text for a message.
    pub fn shown(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.text)
    }
}

/// Reads RDATA of `rtype` in presentation format, or as octets (`\# LENGTH HEX`), into uncompressed wire form. Names
/// keep their letter case.
///
/// # Errors
/// [`RdataError`], which says what is wrong with which of `tokens`.
pub fn parse(rtype: Rtype, tokens: &[Token<'_>], origin: &Name) -> Result<Box<[u8]>, RdataError> {
    let mut tokens = Tokens::new(tokens);
    let mut wire = Vec::with_capacity(32);
    match read(rtype, &mut tokens, origin, &mut wire) {
        Ok(()) => Ok(wire.into()),
        Err(fault) => {
            let token = if fault.is_at_the_end() { None } else { tokens.last_taken() };
            Err(RdataError { rtype, token, fault })
        }
    }
}

fn read(rtype: Rtype, tokens: &mut Tokens<'_>, origin: &Name, wire: &mut Vec<u8>) -> Result<(), RdataFault> {
    if tokens.take_generic_mark() {
        read_generic(tokens, wire)?;
        return if is_well_formed(rtype, wire) { Ok(()) } else { Err(RdataFault::Octets { rtype }) };
    }
    let Some(fields) = layout(rtype) else { return Err(RdataFault::NoTextForm { rtype }) };
    for (what, kind) in fields {
        field::read(*kind, what, tokens, origin, wire)?;
    }
    if let Some(extra) = tokens.next() {
        return Err(RdataFault::Extra { text: extra.shown().into_owned() });
    }
    if wire.len() > MAX_RDATA_OCTETS { Err(RdataFault::TooLong { octets: wire.len() }) } else { Ok(()) }
}

/// The addresses that SVCB and HTTPS hint at: the key of ipv4hint (RFC 9460, 7.3).
pub const IPV4_HINT: u16 = 4;
/// The key of ipv6hint.
pub const IPV6_HINT: u16 = 6;

/// Well-formed `rdata` of SVCB or HTTPS without the parameter `key`; `None` where it has none, or where it is mandatory.
pub fn without_parameter(rdata: &[u8], key: u16) -> Option<Box<[u8]>> {
    let (fixed, parameters) = rdata.split_at(2 + name_length(rdata, 2)?); // priority and target
    let kept = svcb::without(parameters, key)?;
    Some([fixed, &kept].concat().into())
}

/// The addresses that well-formed `rdata` of SVCB or HTTPS hints at.
pub fn hinted(rdata: &[u8]) -> Vec<IpAddr> {
    let parameters = name_length(rdata, 2).and_then(|octets| rdata.get(2 + octets..));
    parameters.map_or_else(Vec::new, svcb::hinted)
}

/// The octets that `text` stands for in base64 (RFC 4648, 4); `None` when it is none. Blanks are passed over.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    encoding::BASE64.decode(text.split_ascii_whitespace().map(str::as_bytes), &mut octets).map(|()| octets)
}

/// Reads what stands behind `\#` (RFC 3597, 5).
fn read_generic(tokens: &mut Tokens<'_>, wire: &mut Vec<u8>) -> Result<(), RdataFault> {
    let told: u16 = tokens.number("length in octets")?;
    let start = tokens.position();
    encoding::HEX.decode(tokens.rest(), wire).ok_or_else(|| RdataFault::Invalid {
        what: "octets",
        text: tokens.shown_from(start),
        wanted: "hexadecimal digits, two for each octet",
    })?;
    if wire.len() == told as usize { Ok(()) } else { Err(RdataFault::Length { told, found: wire.len() }) }
}

/// Writes RDATA in presentation format: names absolute, with the dot at the end; as octets (RFC 3597) where the type has no
/// text form here, or the octets do not fit it.
pub fn to_text(rtype: Rtype, wire: &[u8]) -> String {
    pretty(rtype, wire).unwrap_or_else(|| {
        let mut text = format!("\\# {}", wire.len());
        if !wire.is_empty() {
            text.push(' ');
            encoding::HEX.encode(wire, &mut text);
        }
        text
    })
}

fn pretty(rtype: Rtype, wire: &[u8]) -> Option<String> {
    let fields = layout(rtype)?;
    if !is_well_formed(rtype, wire) {
        return None;
    }
    let mut text = String::new();
    for (kind, range) in pieces(fields, wire) {
        let start = text.len();
        if start > 0 {
            text.push(' ');
        }
        let behind_blank = text.len();
        field::write(kind, wire, range, &mut text)?;
        if text.len() == behind_blank {
            text.truncate(start); // a field that is empty, as a list can be
        }
    }
    Some(text)
}

/// Octets in base64 (RFC 4648, 4), as DNSKEY has them.
pub fn to_base64(octets: &[u8]) -> String {
    let mut text = String::new();
    encoding::BASE64.encode(octets, &mut text);
    text
}

/// What a label of base32 with extended hex digits stands for, in any case; `None` when it is none.
pub fn from_base32hex(label: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    encoding::BASE32HEX.decode(std::iter::once(label), &mut octets)?;
    Some(octets)
}

/// Whether `wire` is RDATA of `rtype` in uncompressed wire form, as far as its fields go. Anything is, for a type that is not
/// known here.
pub fn is_well_formed(rtype: Rtype, wire: &[u8]) -> bool {
    if wire.len() > MAX_RDATA_OCTETS {
        return false;
    }
    let Some(fields) = layout(rtype) else { return true };
    let mut at = 0;
    for (_, kind) in fields {
        match field::length(*kind, wire, at) {
            Some(octets) => at += octets,
            None => return false,
        }
    }
    at == wire.len()
}

/// The RDATA that begins at `at` and ends with `message`, its names uncompressed: those that RFC 1035 lets be compressed, and
/// those that older programs compress all the same (RFC 3597, 4). `None` when it is no RDATA of `rtype`.
pub fn uncompressed(rtype: Rtype, message: &[u8], at: usize) -> Option<Box<[u8]>> {
    let Some(fields) = layout(rtype) else { return message.get(at..).map(Box::from) };
    let (mut at, mut wire) = (at, Vec::with_capacity(message.len() - at));
    for (_, kind) in fields {
        let octets = if matches!(kind, Kind::Name) {
            wire.extend_from_slice(Name::from_message(message, at)?.wire());
            super::wire::skip_name(&message[at..])?
        } else {
            let octets = field::length(*kind, message, at)?;
            wire.extend_from_slice(message.get(at..at + octets)?);
            octets
        };
        at += octets;
    }
    (at == message.len() && is_well_formed(rtype, &wire)).then(|| wire.into())
}

/// Where domain names lie in the RDATA of those types whose names may be compressed in a message (the types of RFC 1035:
/// RFC 3597, 4), in order. Nothing for other types, nor for RDATA that is not well-formed.
pub fn names_in(rtype: Rtype, wire: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let known = if rtype.0 <= Rtype::MX.0 { layout(rtype) } else { None }; // all of RFC 1035's with names are below MX
    all_names(known.unwrap_or(&[]), wire)
}

/// RDATA in the canonical form of DNSSEC (RFC 4034, 6.2, with RFC 6840, 5.1): the names of older types in lower case. Two
/// records are the same when this is.
pub fn canonical(rtype: Rtype, wire: &[u8]) -> Cow<'_, [u8]> {
    let mut form = Cow::Borrowed(wire);
    if !layout::lowercased(rtype) {
        return form;
    }
    for range in all_names(layout(rtype).unwrap_or(&[]), wire) {
        if wire[range.clone()].iter().any(u8::is_ascii_uppercase) {
            form.to_mut()[range].make_ascii_lowercase(); // length octets are below 64, no letters
        }
    }
    form
}

/// The name whose addresses belong into the additional section of an answer with this record: of NS, MX, SRV, SVCB and
/// HTTPS (RFC 1035, 3.3; RFC 2782; RFC 9460, 4.1), as uncompressed wire. `None` where there is none, also for the root as
/// "no such service" (RFC 7505; RFC 2782; RFC 9460, 2.5.1). In ServiceMode of SVCB and HTTPS the root stands for the owner
/// name (RFC 9460, 2.5.2) and is given as it is.
pub fn target(rtype: Rtype, wire: &[u8]) -> Option<&[u8]> {
    let before = match rtype {
        Rtype::NS => 0,
        Rtype::MX | Rtype::SVCB | Rtype::HTTPS => 2,
        Rtype::SRV => 6,
        _ => return None,
    };
    let octets = field::length(Kind::Name, wire, before)?;
    let name = &wire[before..before + octets];
    let of_owner = matches!(rtype, Rtype::SVCB | Rtype::HTTPS) && wire[..2] != [0, 0];
    (octets > 1 || of_owner).then_some(name)
}

fn all_names(fields: layout::Fields, wire: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    pieces(fields, wire).filter(|(kind, _)| matches!(kind, Kind::Name)).map(|(_, range)| range)
}

/// The fields of `wire` one after the other, up to the first that does not fit.
fn pieces(fields: layout::Fields, wire: &[u8]) -> impl Iterator<Item = (Kind, Range<usize>)> + '_ {
    let mut at = 0;
    fields.iter().map_while(move |(_, kind)| {
        let start = at;
        at += field::length(*kind, wire, start)?;
        Some((*kind, start..at))
    })
}

/// The octets of the wire name that begins at `at`.
fn name_length(wire: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    loop {
        match *wire.get(end)? {
            0 => return (end + 1 - at <= MAX_NAME_OCTETS).then_some(end + 1 - at),
            n @ 1..=63 => end += 1 + n as usize,
            _ => return None,
        }
    }
}

/// A text that is no RDATA of the type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rtype}: {fault}")]
pub struct RdataError {
    /// The type that was to be read.
    pub rtype: Rtype,
    /// The index of the token at fault; `None` when it is what should stand behind the last one.
    pub token: Option<usize>,
    /// What is wrong.
    pub fault: RdataFault,
}

/// What is wrong with RDATA.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RdataFault {
    #[error("the {what} is missing")]
    Missing { what: &'static str },
    #[error("{text:?} is one field too many")]
    Extra { text: String },
    #[error("{text:?} is no {what} ({wanted})")]
    Invalid { what: &'static str, text: String, wanted: &'static str },
    #[error("the {what} {error}")]
    Name { what: &'static str, error: NameError },
    #[error("the {what} has {octets} octets, more than 255: split it into several strings")]
    StringTooLong { what: &'static str, octets: usize },
    #[error("it has {octets} octets, more than 65535")]
    TooLong { octets: usize },
    #[error("\\# says {told} octets, but there are {found}")]
    Length { told: u16, found: usize },
    #[error("these octets are no RDATA of type {rtype}")]
    Octets { rtype: Rtype },
    #[error("the text form of type {rtype} is not known here: write it as \\# LENGTH HEX (RFC 3597)")]
    NoTextForm { rtype: Rtype },
    #[error("{key:?} is given twice")]
    KeyTwice { key: String },
    #[error("{key:?} is mandatory, but not given")]
    KeyMissing { key: String },
    #[error("{key:?} has no value")]
    ValueMissing { key: String },
}

impl RdataFault {
    /// Whether it is about what should stand behind the last token, or about all of them.
    fn is_at_the_end(&self) -> bool {
        use RdataFault::{KeyMissing, Length, Missing, NoTextForm, Octets, TooLong};
        matches!(
            self,
            Missing { .. } | KeyMissing { .. } | Length { .. } | Octets { .. } | NoTextForm { .. } | TooLong { .. }
        )
    }
}

#[cfg(test)]
mod tests;
