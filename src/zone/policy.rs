//! Which names and types a TSIG key may change by UPDATE (RFC 2136, 3.3).

use std::fmt;
use std::str::FromStr;

use crate::dns::name::labels;
use crate::dns::{Name, NameError, Rtype};

/// One right that a key has in a zone; what no right covers is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whose right it is.
    pub key: Name,
    /// At which names: at least one must match.
    pub names: Vec<Names>,
    /// Which types; `None`: all but those that hold the zone together (SOA, NS and those of DNSSEC).
    pub types: Option<Vec<Rtype>>,
}

/// The right of a key to say the addresses of one endpoint of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolGrant {
    /// Whose right it is.
    pub key: Name,
    /// The pool's owner name.
    pub pool: Name,
    /// Where the endpoint is.
    pub site: String,
}

/// Names that a right holds for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// The key's own name: a host that is called as its key.
    Myself,
    /// The key's own name and all below.
    MySubdomain,
    /// All of the zone.
    Zone,
    /// A name and all below it.
    Subdomain(Name),
    /// Names like this one, in which a label `*` stands for one or more labels, whatever they are. At the end it stands for the rest
    /// of the name, so `_acme-challenge.*` holds for that label in front of any name.
    Like(Name),
}

impl Grant {
    /// Whether `key` may change records of `rtype` at `owner`, a name of the zone.
    pub fn allows(&self, key: &Name, owner: &Name, rtype: Rtype) -> bool {
        self.key == *key && self.has_type(rtype) && self.names.iter().any(|names| names.match_name(key, owner))
    }

    fn has_type(&self, rtype: Rtype) -> bool {
        match &self.types {
            Some(types) => types.contains(&rtype),
            None => !matches!(rtype, Rtype::SOA | Rtype::NS | Rtype::DS | Rtype::DNSKEY | Rtype(51 | 59 | 60)),
        }
    }
}

impl Names {
    fn match_name(&self, key: &Name, owner: &Name) -> bool {
        match self {
            Self::Myself => owner == key,
            Self::MySubdomain => owner.is_at_or_below(key),
            Self::Zone => true,
            Self::Subdomain(name) => owner.is_at_or_below(name),
            Self::Like(pattern) => {
                let (pattern, owner): (Vec<&[u8]>, Vec<&[u8]>) =
                    (labels(pattern.wire()).collect(), labels(owner.wire()).collect());
                is_like(&pattern, &owner)
            }
        }
    }
}

/// Whether `labels` are those of `pattern`, of which each `*` is one or more.
fn is_like(pattern: &[&[u8]], labels: &[&[u8]]) -> bool {
    match (pattern, labels) {
        ([], []) => true,
        ([b"*", rest @ ..], [_, left @ ..]) => (0..=left.len()).any(|more| is_like(rest, &left[more..])),
        ([label, rest @ ..], [first, left @ ..]) => label.eq_ignore_ascii_case(first) && is_like(rest, left),
        _ => false,
    }
}

impl FromStr for Names {
    type Err = NameError;
    /// Reads `self`, `selfsub`, `zonesub`, `subdomain:NAME`, or a name in which labels may be `*`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        Ok(match text {
            "self" => Self::Myself,
            "selfsub" => Self::MySubdomain,
            "zonesub" => Self::Zone,
            _ => match text.strip_prefix("subdomain:") {
                Some(name) => Self::Subdomain(name.parse()?),
                None => Self::Like(text.parse()?),
            },
        })
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Myself => f.write_str("self"),
            Self::MySubdomain => f.write_str("selfsub"),
            Self::Zone => f.write_str("zonesub"),
            Self::Subdomain(name) => write!(f, "subdomain:{name}"),
            Self::Like(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_right_holds_for_its_names_and_types() {
        let key = name("host.example.org");
        for (names, owner, holds) in [
            ("self", "HOST.example.org", true),
            ("self", "x.host.example.org", false),
            ("selfsub", "x.host.example.org", true),
            ("selfsub", "example.org", false),
            ("zonesub", "example.org", true),
            ("subdomain:dyn.example.org", "dyn.example.org", true),
            ("subdomain:dyn.example.org", "a.b.dyn.example.org", true),
            ("subdomain:dyn.example.org", "xdyn.example.org", false),
            ("www.example.org.", "www.example.org", true),
            ("www.example.org", "x.www.example.org", false),
            ("*.dyn.example.org", "a.dyn.example.org", true),
            ("*.dyn.example.org", "a.b.dyn.example.org", true),
            ("*.dyn.example.org", "dyn.example.org", false),
            ("_acme-challenge.*", "_ACME-challenge.www.example.org", true),
            ("_acme-challenge.*", "_acme-challenge.example.org", true),
            ("_acme-challenge.*", "www.example.org", false),
            ("_acme-challenge.*.example.org", "_acme-challenge.a.b.example.org", true),
            ("_acme-challenge.*.example.org", "_acme-challenge.example.org", false),
        ] {
            let grant = Grant { key: key.clone(), names: vec![names.parse().unwrap()], types: Some(vec![Rtype::TXT]) };
            assert_eq!(grant.allows(&key, &name(owner), Rtype::TXT), holds, "{names}: {owner}");
            assert!(!grant.allows(&key, &name(owner), Rtype::A));
            assert!(!grant.allows(&name("other"), &name(owner), Rtype::TXT));
        }
        let all = Grant { key: key.clone(), names: vec![Names::Zone], types: None };
        assert!(all.allows(&key, &name("a.example.org"), Rtype::A));
        assert!(
            !all.allows(&key, &name("example.org"), Rtype::NS) && !all.allows(&key, &name("example.org"), Rtype::SOA)
        );
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in ["self", "selfsub", "zonesub", "subdomain:a.example", "_acme-challenge.*", "*.a.example"] {
            assert_eq!(text.parse::<Names>().unwrap().to_string(), text);
        }
        assert!("subdomain:".parse::<Names>().is_err() && "a..b".parse::<Names>().is_err());
    }
}
