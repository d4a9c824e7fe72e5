//! Catalog zones (RFC 9432), as their producer: a zone that lists others, from which secondaries know which zones to serve.
//! Pure: it is written as a master file, and lives on as one that was read.

use std::fmt::Write as _;

use crate::dns::Name;
use crate::zone::signing::nsec3;

/// The catalog of `members`, in schema version 2. A member's label is the hash of its name, so that it stays as long as it is a
/// member (4.1). The serial is not counted here.
pub fn text(members: &[Name]) -> String {
    // Nobody resolves by it (4.1): the name server is `invalid.`, and nothing is to be cached.
    let mut text =
        "$TTL 0\n@ SOA invalid. invalid. 1 3600 600 2147483646 0\n@ NS invalid.\nversion TXT \"2\"\n".to_owned();
    for member in members {
        let member = member.to_lowercase();
        let label = nsec3::label(&nsec3::hash(member.wire(), &[], 0));
        let dot = if member.wire().len() > 1 { "." } else { "" }; // the root is a dot by itself
        writeln!(text, "{}.zones PTR {member}{dot}", String::from_utf8_lossy(&label)).expect("a String takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Rtype;
    use crate::zone::master;

    #[test]
    fn members_are_listed_once_each_by_a_label_of_their_own() {
        let names = ["example.org", "Example.NET", "."].map(|name| name.parse::<Name>().unwrap());
        let apex: Name = "catalog.invalid".parse().unwrap();
        let read = master::parse(text(&names).as_bytes(), "catalog".as_ref(), &apex).unwrap();
        assert_eq!(read.warnings, []);
        let version = read.contents.rrset(&"version.catalog.invalid".parse().unwrap(), Rtype::TXT).unwrap();
        assert_eq!(*version.rdatas[0], *b"\x012");
        let pointers = read.contents.owners.values().flatten().filter(|set| set.rtype == Rtype(12));
        let mut members: Vec<&[u8]> = pointers.flat_map(|set| set.rdatas.iter().map(|rdata| &**rdata)).collect();
        members.sort_unstable();
        assert_eq!(members, [&b"\0"[..], b"\x07example\x03net\0", b"\x07example\x03org\0"]);
    }
}
