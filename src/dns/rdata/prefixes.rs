//! Lists of address prefixes: APL (RFC 3123).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::tokens::{Tokens, invalid};
use super::{RdataFault, Token};

const NEGATED: u8 = 0x80;

/// Reads `[!]FAMILY:ADDRESS/PREFIX` as often as there are tokens, and appends them.
pub(super) fn read(what: &'static str, tokens: &mut Tokens<'_>, wire: &mut Vec<u8>) -> Result<(), RdataFault> {
    while let Some(token) = tokens.next() {
        item(&token, wire).ok_or_else(|| invalid(what, &token, "as in 1:192.0.2.0/24 or !2:2001:db8::/32"))?;
    }
    Ok(())
}

fn item(token: &Token<'_>, wire: &mut Vec<u8>) -> Option<()> {
    let text = std::str::from_utf8(token.text).ok()?;
    let (text, negated) = text.strip_prefix('!').map_or((text, 0), |rest| (rest, NEGATED));
    let (family, rest) = text.split_once(':')?;
    let (address, prefix) = rest.split_once('/')?;
    let prefix: u8 = prefix.parse().ok()?;
    let (family, octets, most) = match (family, address.parse().ok()?) {
        ("1", IpAddr::V4(a)) => (1, a.octets().to_vec(), 32),
        ("2", IpAddr::V6(a)) => (2, a.octets().to_vec(), 128),
        _ => return None,
    };
    if prefix > most {
        return None;
    }
    let significant = octets.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
    wire.extend([0, family, prefix, negated | significant as u8]);
    wire.extend_from_slice(&octets[..significant]);
    Some(())
}

/// Whether `rest` is whole items.
pub(super) fn is_well_formed(mut rest: &[u8]) -> bool {
    while let [_, _, _, n, behind @ ..] = rest {
        match behind.get((n & !NEGATED) as usize..) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    rest.is_empty()
}

/// Appends the items of `rest`, which is well-formed; `None` when the text form can't carry one of them.
pub(super) fn write(mut rest: &[u8], out: &mut String) -> Option<()> {
    let mut blank = "";
    while let [0, family, prefix, n, behind @ ..] = rest {
        let (octets, behind) = behind.split_at_checked((n & !NEGATED) as usize)?;
        rest = behind;
        if octets.last() == Some(&0) {
            return None;
        }
        let address = match family {
            1 if *prefix <= 32 => IpAddr::from(Ipv4Addr::from(padded::<4>(octets)?)),
            2 if *prefix <= 128 => IpAddr::from(Ipv6Addr::from(padded::<16>(octets)?)),
            _ => return None,
        };
        let not = if n & NEGATED == 0 { "" } else { "!" };
        let _ = write!(out, "{blank}{not}{family}:{address}/{prefix}"); // a String takes all
        blank = " ";
    }
    rest.is_empty().then_some(())
}

fn padded<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(all)
}
