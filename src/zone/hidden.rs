//! Names that a wildcard does not answer for, although they have no records: empty non-terminals (RFC 4592, 2.2.2). A record at
//! `_acme-challenge.foo.example.org` makes `foo.example.org` exist, so that `*.example.org` no longer answers for it.

use std::collections::BTreeMap;

use crate::dns::{Name, Rtype};

/// The names without records between `wildcard`'s parent and one of `owners`, each with the owner that brings it into being.
/// `types_at` tells what stands at a name. Names that begin with an underscore or an asterisk are nobody's host and left out.
pub fn hidden(
    wildcard: &Name,
    owners: impl IntoIterator<Item = Name>,
    types_at: impl Fn(&Name) -> Vec<Rtype>,
) -> BTreeMap<Name, Name> {
    let mut hidden = BTreeMap::new();
    let Some(parent) = wildcard.parent() else { return hidden };
    for owner in owners {
        if owner.label_count() < parent.label_count() + 2
            || !owner.is_at_or_below(&parent)
            || owner.is_at_or_below(wildcard)
        {
            continue;
        }
        let mut above = owner.parent();
        while let Some(name) = above.filter(|name| *name != parent) {
            let is_host = name.labels().next().is_some_and(|label| !matches!(label.first(), Some(b'_' | b'*')));
            if is_host && !hidden.contains_key(&name) && types_at(&name).is_empty() {
                hidden.insert(name.clone(), owner.clone());
            }
            above = name.parent();
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_above_a_record_and_below_the_wildcard_is_hidden() {
        let of = |owners: &[&str]| {
            let owners = owners.iter().map(|owner| owner.parse().unwrap());
            let types = |name: &Name| if name.to_string() == "full.example.org" { vec![Rtype::A] } else { Vec::new() };
            let found = hidden(&"*.example.org".parse().unwrap(), owners, types);
            found.into_iter().map(|(name, by)| format!("{name} by {by}")).collect::<Vec<_>>()
        };
        assert_eq!(of(&["_acme-challenge.foo.example.org"]), ["foo.example.org by _acme-challenge.foo.example.org"]);
        assert_eq!(of(&["_sip._tcp.a.b.example.org"]).len(), 2, "a.b and b; not _tcp.a.b");
        for harmless in [
            "foo.example.org",
            "_dmarc.example.org",
            "s1._domainkey.example.org",
            "_acme-challenge.full.example.org",
            "_acme-challenge.*.example.org",
            "a.b.example.net",
            "example.org",
        ] {
            assert_eq!(of(&[harmless]), [""; 0], "{harmless}");
        }
    }
}
