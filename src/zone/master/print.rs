//! A zone as a master file.

use std::fmt::Write as _;

use crate::dns::{Name, Rtype, rdata};
use crate::zone::signing::nsec::order_key;
use crate::zone::signing::sign::Fields;
use crate::zone::{Contents, Rrset, Zone};

/// Writes a master file, one record to a line, all names absolute: the SOA first, then the owner names in the canonical
/// order of DNSSEC (RFC 4034, 6.1), each with its types by number. [`super::parse`] reads the same contents from it.
pub fn print(contents: &Contents) -> String {
    let mut owners: Vec<(&Name, &Vec<Rrset>)> = contents.owners.iter().collect();
    owners.sort_by_cached_key(|(name, _)| order_key(name.wire()));
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

/// Writes a master file for [`super::read_text`] alone: the SOA first, the rest as it comes, owner names relative to the apex.
pub fn print_zone(zone: &Zone) -> String {
    let apex = zone.apex();
    let mut out = format!("$ORIGIN {apex}{}\n", if apex.is_root() { "" } else { "." });
    if let Some(soa) = zone.rrset(apex, Rtype::SOA) {
        write_set(apex, &soa, &mut out);
    }
    for (owner, set) in zone.rrsets().filter(|(_, set)| set.rtype != Rtype::SOA) {
        let above = owner.wire().len() - apex.wire().len();
        let relative = [&owner.wire()[..above], &[0]].concat();
        match Name::from_wire(&relative) {
            Ok(name) if above > 0 && !apex.is_root() => write_records(&name.to_string(), &set, &mut out),
            _ => write_set(&owner, &set, &mut out),
        }
    }
    out
}

fn write_set(owner: &Name, set: &Rrset, out: &mut String) {
    let dot = if owner.is_root() { "" } else { "." }; // the root is written with it
    write_records(&format!("{owner}{dot}"), set, out);
}

fn write_records(owner: &str, set: &Rrset, out: &mut String) {
    for wire in &set.rdatas {
        // Signatures of an owner name have the TTL of what each covers (RFC 4034, 3).
        let covered = Fields::read(wire).filter(|_| set.rtype == Rtype::RRSIG);
        let ttl = covered.map_or(set.ttl, |fields| fields.original_ttl);
        // A String takes all.
        let _ = writeln!(out, "{owner}\t{ttl}\tIN\t{}\t{}", set.rtype, rdata::to_text(set.rtype, wire));
    }
}
