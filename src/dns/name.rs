//! Domain names in wire form (RFC 1035, 3.1): labels with their length octets, ended by the root's empty label.
//!
//! A name keeps the letter case it was written with and compares without it (RFC 4343). [`labels`] and its kin work on
//! borrowed wire bytes, for the answer path, which has no [`Name`].

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most octets a name may have on the wire, root label included (RFC 1035, 3.1).
pub const MAX_NAME_OCTETS: usize = 255;
/// The most octets of one label.
pub const MAX_LABEL_OCTETS: usize = 63;

/// An absolute domain name, uncompressed, case kept. Equal, ordered and hashed without regard to case.
#[derive(Clone)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The root, `.`.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Takes an uncompressed name off the wire.
    ///
    /// # Errors
    /// [`NameError`] when the labels do not end exactly with the bytes, or are too long.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        let bad = |reason| NameError { text: format!("{wire:02x?}"), reason };
        if wire.len() > MAX_NAME_OCTETS {
            return Err(bad(NameFault::TooLong));
        }
        let mut at = 0;
        loop {
            match wire.get(at).copied() {
                Some(0) if at + 1 == wire.len() => return Ok(Self(wire.into())),
                Some(n @ 1..=63) => at += 1 + n as usize,
                _ => return Err(bad(NameFault::Malformed)),
            }
        }
    }

    /// Reads the name at `at` of a message, maybe compressed (RFC 1035, 4.1.4); `None` when it is none, or leads in a circle.
    pub fn from_message(message: &[u8], mut at: usize) -> Option<Self> {
        let mut wire = Vec::with_capacity(32);
        let mut bound = at; // a pointer leads to before the labels that it ends, so there is no circle
        loop {
            match *message.get(at)? {
                high @ 0xc0.. => {
                    at = usize::from(high & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                    if at >= bound {
                        return None;
                    }
                    bound = at;
                }
                length @ 0..=63 => {
                    let label = message.get(at..=at + usize::from(length))?;
                    if wire.len() + label.len() > MAX_NAME_OCTETS {
                        return None;
                    }
                    wire.extend_from_slice(label);
                    at += label.len();
                    if length == 0 {
                        return Some(Self(wire.into()));
                    }
                }
                _ => return None,
            }
        }
    }

    /// Reads a name as master files write it (RFC 1035, 5.1): `\DDD` and `\X` escapes; without a dot at the end it is
    /// relative to `origin`, or absolute when there is none. `@` is the origin.
    ///
    /// # Errors
    /// [`NameError`], which quotes the text.
    pub fn parse(text: &str, origin: Option<&Name>) -> Result<Self, NameError> {
        let bad = |reason| NameError { text: text.to_owned(), reason };
        match (text, origin) {
            ("", _) => return Err(bad(NameFault::Empty)),
            (".", _) => return Ok(Self::root()),
            ("@", Some(origin)) => return Ok(origin.clone()),
            _ => {}
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut start = 0; // of the label being read: its length octet
        wire.push(0);
        let bytes = text.as_bytes();
        let mut next = 0;
        let mut absolute = false;
        while next < bytes.len() {
            let mut octet = bytes[next];
            next += 1;
            if octet == b'.' {
                if wire.len() - start == 1 {
                    return Err(bad(NameFault::EmptyLabel));
                }
                wire[start] = (wire.len() - start - 1) as u8;
                if next == bytes.len() {
                    absolute = true;
                    break;
                }
                start = wire.len();
                wire.push(0);
                continue;
            }
            if octet == b'\\' {
                let rest = &bytes[next..];
                octet = match rest {
                    [a, b, c, ..] if a.is_ascii_digit() && b.is_ascii_digit() && c.is_ascii_digit() => {
                        next += 3;
                        let n = (a - b'0') as u32 * 100 + (b - b'0') as u32 * 10 + (c - b'0') as u32;
                        u8::try_from(n).map_err(|_| bad(NameFault::Escape))?
                    }
                    [a, ..] if !a.is_ascii_digit() => {
                        next += 1;
                        *a
                    }
                    _ => return Err(bad(NameFault::Escape)),
                };
            }
            wire.push(octet);
            if wire.len() - start - 1 > MAX_LABEL_OCTETS {
                return Err(bad(NameFault::LabelTooLong));
            }
        }
        if absolute {
            wire.push(0);
        } else {
            wire[start] = (wire.len() - start - 1) as u8;
            wire.extend_from_slice(origin.map_or(&[0][..], |o| &o.0));
        }
        if wire.len() > MAX_NAME_OCTETS {
            return Err(bad(NameFault::TooLong));
        }
        Ok(Self(wire.into()))
    }

    /// The bytes on the wire, uncompressed, with the root label.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The same name in lower case.
    pub fn to_lowercase(&self) -> Self {
        Self(self.0.iter().map(u8::to_ascii_lowercase).collect())
    }

    /// Its labels from the left, without the root's.
    pub fn labels(&self) -> Labels<'_> {
        labels(&self.0)
    }

    /// How many labels it has, the root's not counted.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// The name without its leftmost label; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        parent(&self.0).map(|wire| Self(wire.into()))
    }

    /// Whether it is `other` or stands below it.
    pub fn is_at_or_below(&self, other: &Name) -> bool {
        is_at_or_below(&self.0, &other.0)
    }

    /// Whether its leftmost label is `*` (RFC 4592, 2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// The wildcard right below this name; `None` where that would be too long.
    pub fn wildcard_below(&self) -> Option<Self> {
        (self.0.len() + 2 <= MAX_NAME_OCTETS).then(|| Self([b"\x01*", &*self.0].concat().into()))
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }
}

/// The labels of an uncompressed wire name from the left, without the root's.
pub fn labels(wire: &[u8]) -> Labels<'_> {
    Labels(wire)
}

/// See [`labels`].
#[derive(Clone)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.0.split_first()?;
        if length == 0 || length as usize > rest.len() {
            return None;
        }
        let (label, rest) = rest.split_at(length as usize);
        self.0 = rest;
        Some(label)
    }
}

/// A wire name without its leftmost label; `None` for the root.
pub fn parent(wire: &[u8]) -> Option<&[u8]> {
    match wire {
        [0, ..] | [] => None,
        [n, ..] => wire.get(1 + *n as usize..),
    }
}

/// A wire name in lower case, in `buffer`, which has room for it: for look-ups that allocate nothing.
#[inline]
pub fn lowered<'b>(name: &[u8], buffer: &'b mut [u8]) -> &'b [u8] {
    let lower = &mut buffer[..name.len()];
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    lower
}

/// Whether the wire name `name` is `other` or stands below it, without regard to case.
pub fn is_at_or_below(name: &[u8], other: &[u8]) -> bool {
    let mut rest = Some(name);
    while let Some(here) = rest {
        if here.len() <= other.len() {
            return here == other || here.eq_ignore_ascii_case(other); // mostly as written, and then compared at once
        }
        rest = parent(here);
    }
    false
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0) // length octets are below 64, no letters
    }
}
impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for b in &self.0 {
            state.write_u8(b.to_ascii_lowercase());
        }
    }
}

/// The canonical order of DNSSEC (RFC 4034, 6.1): by labels from the right, so a name stands before all below it.
impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        let mut a: Vec<&[u8]> = self.labels().collect();
        let mut b: Vec<&[u8]> = other.labels().collect();
        loop {
            match (a.pop(), b.pop()) {
                (None, None) => return Ordering::Equal,
                (None, _) => return Ordering::Less,
                (_, None) => return Ordering::Greater,
                (Some(x), Some(y)) => {
                    let lower = |l: &'_ [u8]| l.iter().map(u8::to_ascii_lowercase).collect::<Vec<_>>();
                    match lower(x).cmp(&lower(y)) {
                        Ordering::Equal => {}
                        unequal => return unequal,
                    }
                }
            }
        }
    }
}
impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Writes as a master file does, without the dot at the end (the root is `.`).
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_wire(&self.0, f)
    }
}

fn fmt_wire(wire: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if wire.first() == Some(&0) {
        return f.write_str(".");
    }
    for (i, label) in labels(wire).enumerate() {
        if i > 0 {
            f.write_str(".")?;
        }
        for &b in label {
            match b {
                b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => write!(f, "\\{}", b as char)?,
                0x21..=0x7e => write!(f, "{}", b as char)?,
                _ => write!(f, "\\{b:03}")?,
            }
        }
    }
    Ok(())
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads an absolute name, with or without the dot at the end.
impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text, None)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text or bytes that are no domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no domain name: {reason}")]
pub struct NameError {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub reason: NameFault,
}

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// No text at all.
    #[error("it is empty")]
    Empty,
    /// Two dots in a row, or one at the start.
    #[error("a label is empty")]
    EmptyLabel,
    /// A label of more than 63 octets.
    #[error("a label has more than 63 octets")]
    LabelTooLong,
    /// More than 255 octets.
    #[error("it has more than 255 octets")]
    TooLong,
    /// A backslash without three digits up to 255 or one other character behind it.
    #[error("a backslash wants three digits up to 255, or one other character, behind it")]
    Escape,
    /// Wire bytes that are not labels.
    #[error("its labels do not end where the bytes do")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn text_becomes_labels() {
        assert_eq!(name("www.Example.org").wire(), b"\x03www\x07Example\x03org\0");
        assert_eq!(name("www.example.org."), name("WWW.example.ORG"));
        assert_eq!(name("."), Name::root());
        assert_eq!(name(r"a\.b.c\032d").wire(), b"\x03a.b\x03c d\0");
        assert_eq!(Name::parse("www", Some(&name("example.org"))).unwrap(), name("www.example.org"));
        assert_eq!(Name::parse("@", Some(&name("example.org"))).unwrap(), name("example.org"));
    }

    #[test]
    fn names_of_a_message_follow_pointers_backwards() {
        let message = b"\0\x03org\0\x03www\xc0\x01\xc0\x06\xc0\x0e\xc0\xff\x80";
        assert_eq!(Name::from_message(message, 1), Some(name("org")));
        assert_eq!(Name::from_message(message, 6), Some(name("www.org")));
        assert_eq!(Name::from_message(message, 12), Some(name("www.org")));
        for (at, why) in [(14, "to itself"), (16, "forward"), (18, "no label"), (19, "the end")] {
            assert_eq!(Name::from_message(message, at), None, "{why}");
        }
    }

    #[test]
    fn what_is_no_name_is_told_why() {
        let fault = |text: &str| text.parse::<Name>().unwrap_err().reason;
        assert_eq!(fault(""), NameFault::Empty);
        assert_eq!(fault("a..b"), NameFault::EmptyLabel);
        assert_eq!(fault(".a"), NameFault::EmptyLabel);
        assert_eq!(fault(&"a".repeat(64)), NameFault::LabelTooLong);
        assert_eq!(fault(&vec!["a".repeat(63); 4].join(".")), NameFault::TooLong);
        assert_eq!(fault(r"a\25"), NameFault::Escape);
        assert_eq!(fault(r"a\256"), NameFault::Escape);
    }

    #[test]
    fn family() {
        assert!(name("a.b.org").is_at_or_below(&name("B.org")));
        assert!(name("b.org").is_at_or_below(&name("b.org")));
        assert!(!name("xb.org").is_at_or_below(&name("b.org")));
        assert!(name("b.org").is_at_or_below(&Name::root()));
        assert_eq!(name("a.b").parent(), Some(name("b")));
        assert_eq!(Name::root().parent(), None);
        assert!(name("*.b").is_wildcard());
        let mut order = ["z.example", "*.z.example", "a.example", "yljkjljk.a.example", "example"].map(name);
        order.sort();
        assert_eq!(order, ["example", "a.example", "yljkjljk.a.example", "z.example", "*.z.example"].map(name));
    }

    proptest! {
        #[test]
        fn any_labels_survive_text(labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..8)) {
            let mut wire = Vec::new();
            for l in &labels {
                wire.push(l.len() as u8);
                wire.extend_from_slice(l);
            }
            wire.push(0);
            let made = Name::from_wire(&wire).unwrap();
            let read: Name = made.to_string().parse().unwrap();
            prop_assert_eq!(read.wire(), &wire[..]);
        }
    }
}
