//! Service parameters of SVCB and HTTPS (RFC 9460, 2.1 and 2.2), with the keys of RFC 9461 (dohpath), RFC 9540 (ohttp) and
//! the registry since.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::encoding::{BASE64, quote, unescape};
use super::tokens::{Tokens, invalid};
use super::{IPV4_HINT, IPV6_HINT, RdataFault};

/// How the value of a key is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Keys,
    Protocols,
    Nothing,
    Port,
    Ipv4s,
    Ipv6s,
    Base64,
    Octets,
    Numbers,
}

const MANDATORY: u16 = 0;

/// The keys with a name; its place is its number.
const KEYS: [(&str, Form); 10] = [
    ("mandatory", Form::Keys),
    ("alpn", Form::Protocols),
    ("no-default-alpn", Form::Nothing),
    ("port", Form::Port),
    ("ipv4hint", Form::Ipv4s),
    ("ech", Form::Base64),
    ("ipv6hint", Form::Ipv6s),
    ("dohpath", Form::Octets),
    ("ohttp", Form::Nothing),
    ("tls-supported-groups", Form::Numbers),
];

/// Reads `KEY` or `KEY=VALUE` as often as there are tokens, and appends them in the order of their numbers.
pub(super) fn read(tokens: &mut Tokens<'_>, wire: &mut Vec<u8>) -> Result<(), RdataFault> {
    let mut params: Vec<(u16, Vec<u8>)> = Vec::new();
    while let Some(token) = tokens.next() {
        let (key, written) = match token.text.iter().position(|&b| b == b'=') {
            Some(at) => (&token.text[..at], Some(&token.text[at + 1..])),
            None => (token.text, None),
        };
        // alpn="h2,h3": the string behind the sign is a token of its own.
        let written = match written {
            Some([]) => Some(tokens.next_glued_string().map_or(&[][..], |string| string.text)),
            other => other,
        };
        let (number, form) = key_of(key).ok_or_else(|| invalid("key", &token, "as in alpn or key65280"))?;
        let key = || String::from_utf8_lossy(key).into_owned();
        if params.iter().any(|(other, _)| *other == number) {
            return Err(RdataFault::KeyTwice { key: key() });
        }
        let wants_value = !matches!(form, Form::Nothing | Form::Octets);
        if wants_value && written.is_none_or(<[u8]>::is_empty) {
            return Err(RdataFault::ValueMissing { key: key() });
        }
        let mut value = Vec::new();
        read_value(form, written.unwrap_or(&[]), &mut value).map_err(|(what, wanted)| RdataFault::Invalid {
            what,
            text: String::from_utf8_lossy(written.unwrap_or(&[])).into_owned(),
            wanted,
        })?;
        params.push((number, value));
    }
    params.sort_unstable_by_key(|(number, _)| *number);
    let start = wire.len();
    for (number, value) in params {
        let octets = u16::try_from(value.len()).map_err(|_| RdataFault::TooLong { octets: value.len() })?;
        wire.extend(number.to_be_bytes());
        wire.extend(octets.to_be_bytes());
        wire.extend(value);
    }
    match missing(&wire[start..]) {
        Some(number) => Err(RdataFault::KeyMissing { key: key_text(number) }),
        None => Ok(()),
    }
}

/// Whether `wire` is parameters in strictly ascending order of keys.
pub(super) fn is_well_formed(wire: &[u8]) -> bool {
    let (mut octets, mut last) = (0, None);
    for (number, value) in params(wire) {
        if last >= Some(number) {
            return false;
        }
        last = Some(number);
        octets += 4 + value.len();
    }
    octets == wire.len()
}

/// `wire` without the parameter `number`, where that is there and not mandatory.
pub(super) fn without(wire: &[u8], number: u16) -> Option<Vec<u8>> {
    let mandatory = params(wire).next().filter(|(first, _)| *first == MANDATORY).map_or(&[][..], |(_, list)| list);
    let is_there = params(wire).any(|(key, _)| key == number);
    if !is_there || mandatory.chunks_exact(2).any(|key| key == number.to_be_bytes()) {
        return None;
    }
    let mut kept = Vec::with_capacity(wire.len());
    for (key, value) in params(wire).filter(|(key, _)| *key != number) {
        kept.extend(key.to_be_bytes());
        kept.extend((value.len() as u16).to_be_bytes());
        kept.extend(value);
    }
    Some(kept)
}

/// The addresses of both hints.
pub(super) fn hinted(wire: &[u8]) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for (key, value) in params(wire) {
        let (v4, v6) = (value.as_chunks::<4>().0, value.as_chunks::<16>().0);
        match key {
            IPV4_HINT => found.extend(v4.iter().map(|octets| IpAddr::from(*octets))),
            IPV6_HINT => found.extend(v6.iter().map(|octets| IpAddr::from(*octets))),
            _ => {}
        }
    }
    found
}

/// Appends the parameters of `wire`, which is well-formed; `None` when reading would refuse them.
pub(super) fn write(wire: &[u8], out: &mut String) -> Option<()> {
    if missing(wire).is_some() {
        return None;
    }
    for (i, (number, value)) in params(wire).enumerate() {
        if i > 0 {
            out.push(' ');
        }
        let start = out.len();
        let named = KEYS.get(number as usize).and_then(|(name, form)| {
            out.push_str(name);
            write_value(*form, value, out)
        });
        if named.is_none() {
            out.truncate(start);
            let _ = write!(out, "key{number}"); // a String takes all
            let _ = write_value(Form::Octets, value, out);
        }
    }
    Some(())
}

fn key_of(text: &[u8]) -> Option<(u16, Form)> {
    if let Some(at) = KEYS.iter().position(|(name, _)| name.as_bytes().eq_ignore_ascii_case(text)) {
        return Some((at as u16, KEYS[at].1));
    }
    let number = text.split_at_checked(3).filter(|(key, _)| key.eq_ignore_ascii_case(b"key"))?.1;
    let plain = number.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(number).ok().filter(|_| plain)?.parse().ok()?;
    Some((number, Form::Octets)) // also of a key with a name (RFC 9460, 2.1)
}

fn key_text(number: u16) -> String {
    KEYS.get(number as usize).map_or_else(|| format!("key{number}"), |(name, _)| (*name).to_owned())
}

type Wanted = (&'static str, &'static str);

fn read_value(form: Form, text: &[u8], value: &mut Vec<u8>) -> Result<(), Wanted> {
    match form {
        Form::Keys => {
            let wanted = ("list of keys", "each once and without mandatory itself, as in alpn,ipv4hint");
            let keys = text.split(|&b| b == b',').map(|key| key_of(key).map(|(number, _)| number));
            let mut keys = keys.collect::<Option<Vec<u16>>>().ok_or(wanted)?;
            keys.sort_unstable();
            if keys[0] == MANDATORY || keys.windows(2).any(|two| two[0] == two[1]) {
                return Err(wanted);
            }
            value.extend(keys.into_iter().flat_map(u16::to_be_bytes));
        }
        Form::Protocols => {
            let mut list = Vec::new();
            unescape(text, &mut list).ok_or(("list of protocols", "as in h2,h3"))?;
            split_list(&list, value).ok_or(("list of protocols", "each of 1 to 255 octets, as in h2,h3"))?;
        }
        Form::Nothing if text.is_empty() => {}
        Form::Nothing => return Err(("value here", "this key has none")),
        Form::Port => value.extend(plain::<u16>(text).ok_or(("port", "a number up to 65535"))?.to_be_bytes()),
        Form::Numbers => {
            for number in text.split(|&b| b == b',') {
                let number = plain::<u16>(number).ok_or(("list of numbers", "each up to 65535, as in 29,23"))?;
                value.extend(number.to_be_bytes());
            }
        }
        Form::Ipv4s => {
            for address in text.split(|&b| b == b',') {
                let address = plain::<Ipv4Addr>(address);
                value.extend(address.ok_or(("list of IPv4 addresses", "as in 192.0.2.1,192.0.2.2"))?.octets());
            }
        }
        Form::Ipv6s => {
            for address in text.split(|&b| b == b',') {
                let address = plain::<Ipv6Addr>(address);
                value.extend(address.ok_or(("list of IPv6 addresses", "as in 2001:db8::1,2001:db8::2"))?.octets());
            }
        }
        Form::Base64 => {
            BASE64.decode(std::iter::once(text), value).ok_or(("base64", "digits A to Z, a to z, 0 to 9, +, /"))?;
        }
        Form::Octets => {
            let wanted = "a backslash wants three digits up to 255, or one other character, behind it";
            unescape(text, value).ok_or(("value", wanted))?;
        }
    }
    Ok(())
}

/// Appends `=VALUE`, or nothing where there is none; `None` when the octets do not have this form.
fn write_value(form: Form, value: &[u8], out: &mut String) -> Option<()> {
    let numbers = || value.chunks(2).map(|n| n.try_into().map(u16::from_be_bytes)).collect::<Result<Vec<_>, _>>().ok();
    if value.is_empty() {
        return matches!(form, Form::Nothing | Form::Octets).then_some(());
    }
    out.push('=');
    match form {
        Form::Nothing => return None,
        Form::Keys => {
            let keys = numbers()?;
            if keys[0] == MANDATORY || !keys.is_sorted_by(|a, b| a < b) {
                return None;
            }
            out.push_str(&keys.into_iter().map(key_text).collect::<Vec<_>>().join(","));
        }
        Form::Protocols => {
            let mut list = Vec::with_capacity(value.len());
            let mut rest = value;
            while let [n, behind @ ..] = rest {
                let (protocol, behind) = behind.split_at_checked(*n as usize).filter(|_| *n > 0)?;
                for &b in protocol {
                    if matches!(b, b',' | b'\\') {
                        list.push(b'\\');
                    }
                    list.push(b);
                }
                rest = behind;
                if !rest.is_empty() {
                    list.push(b',');
                }
            }
            quote(&list, out);
        }
        Form::Port if value.len() != 2 => return None,
        Form::Port | Form::Numbers => {
            out.push_str(&numbers()?.iter().map(u16::to_string).collect::<Vec<_>>().join(","));
        }
        Form::Ipv4s => {
            let of = |a: &[u8]| a.try_into().map(|a: [u8; 4]| Ipv4Addr::from(a).to_string()).ok();
            out.push_str(&value.chunks(4).map(of).collect::<Option<Vec<_>>>()?.join(","));
        }
        Form::Ipv6s => {
            let of = |a: &[u8]| a.try_into().map(|a: [u8; 16]| Ipv6Addr::from(a).to_string()).ok();
            out.push_str(&value.chunks(16).map(of).collect::<Option<Vec<_>>>()?.join(","));
        }
        Form::Base64 => {
            out.push('"'); // the padding is a sign of equality too
            BASE64.encode(value, out);
            out.push('"');
        }
        Form::Octets => quote(value, out),
    }
    Some(())
}

fn plain<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok().filter(|t| !t.starts_with('+'))?.parse().ok()
}

/// Appends the items of a list, each with its length octet; `\,` is a comma in an item (RFC 9460, A.1).
fn split_list(list: &[u8], value: &mut Vec<u8>) -> Option<()> {
    let mut start = value.len();
    value.push(0);
    let mut octets = list.iter();
    loop {
        let octet = octets.next();
        match octet {
            Some(b'\\') => value.push(*octets.next()?),
            Some(b',') | None => {
                value[start] = u8::try_from(value.len() - start - 1).ok().filter(|n| *n > 0)?;
                if octet.is_none() {
                    return Some(());
                }
                start = value.len();
                value.push(0);
            }
            Some(other) => value.push(*other),
        }
    }
}

/// Number and value of each parameter, up to the first that does not fit.
fn params(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [k1, k2, n1, n2, behind @ ..] = rest else { return None };
        let (value, behind) = behind.split_at_checked(u16::from_be_bytes([*n1, *n2]) as usize)?;
        rest = behind;
        Some((u16::from_be_bytes([*k1, *k2]), value))
    })
}

/// A key that `mandatory` names, and that is not there (RFC 9460, 8).
fn missing(wire: &[u8]) -> Option<u16> {
    let (_, list) = params(wire).next().filter(|(number, _)| *number == MANDATORY)?;
    let keys = list.chunks_exact(2).map(|n| u16::from_be_bytes([n[0], n[1]]));
    keys.into_iter().find(|key| !params(wire).any(|(number, _)| number == *key))
}
