//! A zone as a master file.

use std::fmt::Write as _;

use crate::dns::{Name, Rtype, rdata};
use crate::zone::{Contents, Rrset};

/// Writes a master file, one record to a line, all names absolute: the SOA first, then the owner names in the canonical
/// order of DNSSEC (RFC 4034, 6.1), each with its types by number. [`super::parse`] reads the same contents from it.
pub fn print(contents: &Contents) -> String {
    let mut owners: Vec<(&Name, &Vec<Rrset>)> = contents.owners.iter().collect();
    owners.sort_by_cached_key(|(name, _)| canonical_key(name));
    let mut out = String::new();
    if let Some(soa) = contents.rrset(&contents.apex, Rtype::SOA) {
        write_set(&contents.apex, soa, &mut out);
    }
    for (owner, sets) in owners {
        let is_apex = *owner == contents.apex;
        let mut sets: Vec<&Rrset> = sets.iter().filter(|s| !(is_apex && s.rtype == Rtype::SOA)).collect();
        sets.sort_by_key(|s| s.rtype);
        for set in sets {
            write_set(owner, set, &mut out);
        }
    }
    out
}

fn write_set(owner: &Name, set: &Rrset, out: &mut String) {
    let dot = if owner.is_root() { "" } else { "." }; // the root is written with it
    for wire in &set.rdatas {
        // A String takes all.
        let _ = writeln!(out, "{owner}{dot}\t{}\tIN\t{}\t{}", set.ttl, set.rtype, rdata::to_text(set.rtype, wire));
    }
}

/// Octets whose order is the canonical order of the names.
fn canonical_key(name: &Name) -> Vec<u8> {
    let labels: Vec<&[u8]> = name.labels().collect();
    let mut key = Vec::with_capacity(name.wire().len() + labels.len());
    for label in labels.into_iter().rev() {
        for octet in label.iter().map(u8::to_ascii_lowercase) {
            key.push(octet);
            if octet == 0 {
                key.push(1); // so that 0 0 can end a label, and ends before all that go on
            }
        }
        key.extend([0, 0]);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_are_ordered_as_names(
            a in proptest::collection::vec(proptest::collection::vec(0u8..3, 1..3), 0..4),
            b in proptest::collection::vec(proptest::collection::vec(0u8..3, 1..3), 0..4),
        ) {
            let name = |labels: Vec<Vec<u8>>| {
                let mut wire: Vec<u8> = labels.iter().flat_map(|l| [&[l.len() as u8], &l[..]].concat()).collect();
                wire.push(0);
                Name::from_wire(&wire).unwrap()
            };
            let (a, b) = (name(a), name(b));
            prop_assert_eq!(canonical_key(&a).cmp(&canonical_key(&b)), a.cmp(&b));
        }
    }
}
