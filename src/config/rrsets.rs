//! `[[rrset]]`: RRsets that the zones answer themselves, whose TTL is planned.

use std::collections::HashMap;

use super::pools::{check_zone, ttl_policy};
use super::reader::Value;
use super::sections::Zones;
use super::source::Source;
use super::values;
use crate::diagnostic::Place;
use crate::dns::{Rtype, Ttl};
use crate::steering::planned::{RrsetKey, Settings};
use crate::steering::pool;

/// Types whose TTL is not planned, and why.
const REFUSED: [(Rtype, &str); 10] = [
    (Rtype::SOA, "it says how long negative answers are kept, and secondaries go by it"),
    (Rtype::DNAME, "what is made of it for the names below lives as long as it"),
    (Rtype::DS, "it stands at a zone cut, and goes with referrals"),
    (Rtype::DNSKEY, "signing says its TTL"),
    (Rtype::CDS, "signing says its TTL"),
    (Rtype::CDNSKEY, "signing says its TTL"),
    (Rtype::RRSIG, "its TTL is that of what it covers (RFC 4034, 3)"),
    (Rtype::NSEC, "its TTL is that of negative answers (RFC 9077)"),
    (Rtype::NSEC3, "its TTL is that of negative answers (RFC 9077)"),
    (Rtype::NSEC3PARAM, "signing says its TTL"),
];

/// `[[rrset]]`: each type for itself, with the place of the type.
pub(super) fn rrsets(
    section: Option<Value>,
    zones: &Zones,
    pools: &[pool::Settings],
    src: &mut Source,
) -> (Vec<Settings>, Vec<Place>) {
    let (mut read, mut places) = (Vec::new(), Vec::new());
    let mut seen: HashMap<RrsetKey, usize> = HashMap::new(); // the line of each
    for mut table in section.map_or_else(Vec::new, |s| s.tables("[[rrset]]", src)) {
        let (name, types, ttl) = (table.require("name", src), table.require("types", src), table.get("ttl"));
        table.finish(src);
        let name = name.and_then(|v| Some((values::name(&v, src)?, v.span)));
        if let Some((name, at)) = &name {
            check_zone("rrset", name, at, zones, src);
        }
        let ttl = ttl_policy(ttl, Ttl::MAX, false, src);
        let types = types.map_or_else(Vec::new, |v| v.list("an array of record types, such as [\"MX\", \"NS\"]", src));
        for value in types {
            let rtype = value.parsed("a record type, such as \"MX\"", src, |text| {
                Rtype::parse(text).filter(|rtype| rtype.is_data())
            });
            let (Some(rtype), Some((name, _))) = (rtype, &name) else { continue };
            let key = RrsetKey { name: name.clone(), rtype };
            if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == rtype) {
                src.error(value.span.clone(), format!("the TTL of {rtype} can't be planned")).help(*why);
                continue;
            }
            if let Some(line) = seen.get(&key) {
                let message = format!("rrset \"{name}\" {rtype} is already written on line {line}");
                src.error(value.span.clone(), message);
                continue;
            }
            if let Some(pool) = pools.iter().find(|pool| pool.name == *name) {
                let types = pool.types();
                if types.contains(&rtype) || types.contains(&Rtype::CNAME) {
                    let steers = types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    let message = format!("rrset \"{name}\" {rtype}: the pool of this name steers {steers}");
                    src.error(value.span.clone(), message).help("the pool's own \"ttl\" plans what it answers");
                    continue;
                }
            }
            seen.insert(key.clone(), src.line(value.span.start));
            places.push(src.place(value.span.clone()));
            read.push(Settings { key, ttl });
        }
    }
    (read, places)
}
