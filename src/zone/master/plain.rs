//! The short way for the lines that most of a large file is made of: owner, TTL, class, a common type and its RDATA on one
//! line, without quotes, parentheses, escapes or comments.
//!
//! What is read here the general way reads just so; what is not, for whatever reason, is left to it, and so are all mistakes.

use std::net::Ipv6Addr;
use std::ops::Range;
use std::str::FromStr;

use crate::dns::name::{MAX_LABEL_OCTETS, MAX_NAME_OCTETS};
use crate::dns::{Name, Rtype, Ttl};

/// A record on one line. Filled again and again.
pub(super) struct Plain {
    /// The owner name in wire form; empty where the line gives none.
    pub owner: Vec<u8>,
    pub ttl: Option<Ttl>,
    pub rtype: Rtype,
    pub rdata: Vec<u8>,
    /// From the first word to the last, in the text.
    pub span: Range<usize>,
}

impl Default for Plain {
    fn default() -> Self {
        Self { owner: Vec::new(), ttl: None, rtype: Rtype::A, rdata: Vec::new(), span: 0..0 }
    }
}

/// The same to look at.
pub(super) struct PlainLine<'p> {
    /// The owner name in wire form; empty where the line gives none.
    pub owner: &'p [u8],
    pub ttl: Option<Ttl>,
    pub rtype: Rtype,
    pub rdata: &'p [u8],
    /// From the first word to the last, in the text.
    pub span: Range<usize>,
    /// Where the next line begins.
    pub next: usize,
}

/// The most words of a line: owner, TTL, class, type, and two of RDATA.
const MOST_WORDS: usize = 6;

impl Plain {
    /// What was read, the line behind which the next one begins at `next`.
    pub(super) fn line(&self, next: usize) -> PlainLine<'_> {
        let Self { owner, ttl, rtype, rdata, span } = self;
        PlainLine { owner, ttl: *ttl, rtype: *rtype, rdata, span: span.clone(), next }
    }

    /// Reads the line that begins at `start` of `text`. Gives where the next one begins; `None` leaves it to the general way.
    pub(super) fn read(&mut self, text: &[u8], start: usize, origin: &Name) -> Option<usize> {
        let mut words = [(0, 0); MOST_WORDS];
        let mut count = 0;
        let mut at = start;
        let next = loop {
            match text.get(at) {
                None => break at,
                Some(b'\n') => break at + 1,
                Some(b' ' | b'\t' | b'\r') => at += 1,
                Some(_) => {
                    let begin = at;
                    at +=
                        text[begin..].iter().position(|octet| ENDS_WORD[*octet as usize]).unwrap_or(text.len() - begin);
                    if at == begin || count == MOST_WORDS {
                        return None;
                    }
                    words[count] = (begin, at);
                    count += 1;
                }
            }
        };
        self.span = words[0].0..words[count.checked_sub(1)?].1;
        let mut words = words[..count].iter().map(|&(begin, end)| &text[begin..end]).peekable();
        self.owner.clear();
        if self.span.start == start {
            let owner = words.next().filter(|word| word[0] != b'$')?;
            put_name(owner, origin, &mut self.owner)?;
        }
        self.ttl = None;
        if let Some(word) = words.next_if(|word| word[0].is_ascii_digit()) {
            self.ttl = Some(Ttl::parse(std::str::from_utf8(word).ok()?).ok()?);
        }
        words.next_if_eq(&&b"IN"[..]);
        let rtype = match words.next()? {
            b"A" => Rtype::A,
            b"AAAA" => Rtype::AAAA,
            b"NS" => Rtype::NS,
            b"CNAME" => Rtype::CNAME,
            b"PTR" => Rtype::PTR,
            b"MX" => Rtype::MX,
            _ => return None,
        };
        self.rtype = rtype;
        self.rdata.clear();
        let first = words.next()?;
        match rtype {
            Rtype::A => self.rdata.extend_from_slice(&dotted(first)?),
            Rtype::AAAA => self.rdata.extend(address::<Ipv6Addr>(first)?.octets()),
            Rtype::MX => {
                let preference = std::str::from_utf8(first).ok().filter(|text| !text.starts_with('+'))?;
                self.rdata.extend(preference.parse::<u16>().ok()?.to_be_bytes());
                put_name(words.next()?, origin, &mut self.rdata)?;
            }
            _ => put_name(first, origin, &mut self.rdata)?,
        }
        words.next().is_none().then_some(next)
    }
}

/// Octets that end a word; those that are not blanks are not for us.
static ENDS_WORD: [bool; 256] = {
    let mut ends = [false; 256];
    let all = b" \t\r\n\"\\();";
    let mut at = 0;
    while at < all.len() {
        ends[all[at] as usize] = true;
        at += 1;
    }
    ends
};

/// Four numbers up to 255, written without zeros before them.
fn dotted(word: &[u8]) -> Option<[u8; 4]> {
    let (mut octets, mut at) = ([0; 4], 0);
    let (mut number, mut digits) = (0u32, 0);
    for octet in word {
        match octet {
            b'0'..=b'9' if digits < 3 && (digits == 0 || number > 0) => {
                number = number * 10 + u32::from(octet - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && at < 3 => {
                octets[at] = u8::try_from(number).ok()?;
                (at, number, digits) = (at + 1, 0, 0);
            }
            _ => return None,
        }
    }
    octets[at] = u8::try_from(number).ok()?;
    (at == 3 && digits > 0).then_some(octets)
}

fn address<A: FromStr>(word: &[u8]) -> Option<A> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Appends the name that `word` writes, absolute or relative to `origin`.
fn put_name(word: &[u8], origin: &Name, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    match word {
        b"@" => {
            out.extend_from_slice(origin.wire());
            return Some(());
        }
        b"." => {
            out.push(0);
            return Some(());
        }
        _ => {}
    }
    let (labels, absolute) = match word {
        [labels @ .., b'.'] => (labels, true),
        labels => (labels, false),
    };
    if !labels.is_ascii() {
        return None;
    }
    for label in labels.split(|octet| *octet == b'.') {
        if label.is_empty() || label.len() > MAX_LABEL_OCTETS {
            return None;
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label);
    }
    out.extend_from_slice(if absolute { &[0] } else { origin.wire() });
    (out.len() - start <= MAX_NAME_OCTETS).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    proptest! {
        #[test]
        fn an_address_is_read_as_the_library_does(word in "(25[0-6]|[0-9]{0,4}|[01a])(\\.(25[0-6]|[0-9]{0,3})){2,4}|[0-9.]{0,16}") {
            prop_assert_eq!(dotted(word.as_bytes()), word.parse::<Ipv4Addr>().ok().map(|address| address.octets()));
        }
    }
}
