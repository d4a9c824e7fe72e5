//! Hints of HTTPS and SVCB records toward steered names (RFC 9460, 7.3): addresses that clients may go to without asking for them,
//! so that they can see another site than the one they are given.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Loaded;
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::dns::rdata::{hinted, target};
use crate::dns::{Name, Rtype};
use crate::steering::pool::{Endpoint, Rdata, Settings};
use crate::zone::Zone;

/// The types that have hints.
const TYPES: [Rtype; 2] = [Rtype::HTTPS, Rtype::SVCB];

/// Records of the zones themselves that hint at addresses for the name of a pool: all are doubts.
pub(super) fn in_zones(loaded: &Loaded, zones: &[&Zone]) -> Vec<Diagnostic> {
    let places = loaded.settings.pools.iter().zip(&loaded.pool_places);
    let pools: HashMap<&Name, (&Settings, &Option<Place>)> = places
        .filter(|(pool, _)| pool.leaves().into_iter().any(|leaf| addresses(leaf).next().is_some()))
        .map(|(pool, place)| (&pool.name, (pool, place)))
        .collect();
    let mut found = Vec::new();
    if pools.is_empty() {
        return found;
    }
    for (zone, rtype) in zones.iter().flat_map(|zone| TYPES.map(|rtype| (zone, rtype))) {
        for (owner, rrset) in zone.rrsets_of(rtype) {
            if pools.get(&owner).is_some_and(|(pool, _)| pool.types().contains(&rtype)) {
                continue; // it gives way to the pool's
            }
            for rdata in &rrset.rdatas {
                let Some((pool, place)) = toward(rtype, rdata, &owner).and_then(|name| pools.get(&name)) else {
                    continue;
                };
                for hint in hinted(rdata) {
                    let name = &pool.name;
                    let has = |leaf: usize| addresses(pool.leaf(leaf)).any(|own| own == hint);
                    let whose = (0..pool.endpoints.len()).find(|endpoint| pool.leaves_of(*endpoint).any(has));
                    let what = match whose {
                        Some(endpoint) => {
                            format!(
                                ", which is {:?}'s, also to who is given another site",
                                pool.endpoints[endpoint].site
                            )
                        }
                        None => ", which none of its endpoints has".to_owned(),
                    };
                    found.push(Diagnostic {
                        severity: Severity::Warning,
                        message: format!("the {rtype} record of \"{owner}\" hints at {hint} for pool \"{name}\"{what}"),
                        file: loaded.file.clone(),
                        place: (*place).clone(),
                        help: Some(
                            "take the hint out of the zone, or give the record in the pool's endpoints".to_owned(),
                        ),
                    });
                }
            }
        }
    }
    found
}

/// The hints of an endpoint's own records that are none of its addresses, each with its type.
pub(super) fn astray(pool: &Name, endpoint: &Endpoint) -> Vec<(Rtype, IpAddr)> {
    let own: Vec<IpAddr> = addresses(&endpoint.rdata).collect();
    let of = |(rtype, rdatas): &(Rtype, Vec<Box<[u8]>>)| {
        let here = rdatas.iter().filter(|rdata| toward(*rtype, rdata, pool).is_some_and(|name| name == *pool));
        here.flat_map(|rdata| hinted(rdata)).map(|hint| (*rtype, hint)).collect::<Vec<_>>()
    };
    let all = endpoint.rdata.iter().filter(|(rtype, _)| TYPES.contains(rtype)).flat_map(of);
    all.filter(|(_, hint)| !own.is_empty() && !own.contains(hint)).collect()
}

/// The name whose service a record is, which stands at `owner`.
fn toward(rtype: Rtype, rdata: &[u8], owner: &Name) -> Option<Name> {
    let target = Name::from_wire(target(rtype, rdata)?).ok()?;
    Some(if target.is_root() { owner.clone() } else { target })
}

/// The addresses among these records.
pub(super) fn addresses(rdata: &Rdata) -> impl Iterator<Item = IpAddr> + '_ {
    let of = |(rtype, rdatas): &'_ (Rtype, Vec<Box<[u8]>>)| {
        let read = |rdata: &[u8]| match *rtype {
            Rtype::A => rdata.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
            Rtype::AAAA => rdata.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
            _ => None,
        };
        rdatas.iter().filter_map(|rdata| read(rdata)).collect::<Vec<_>>()
    };
    rdata.iter().flat_map(of)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config::{check_against_zones, parse};
    use crate::dns::Ttl;
    use crate::zone::Contents;
    use crate::zone::compiled::{Overlay, compile};
    use crate::zone::master::parse_rdata;

    #[test]
    fn hints_that_go_past_the_steering_are_told() {
        let text = "[[site]]\nname = \"a\"\n[[site]]\nname = \"b\"\n[[zone]]\nname = \"example.org\"\nfile = \"z\"\n\
                    [[pool]]\nname = \"www.example.org\"\nendpoint = [\
                    { site = \"a\", address = [\"192.0.2.1\"], https = [\"1 . ipv4hint=192.0.2.2\"], weight = 1 },\
                    { site = \"b\", address = [\"192.0.2.2\"], https = [\"1 . ipv4hint=192.0.2.2\"], weight = 1 }]\n";
        let loaded = parse(text, Path::new("w.toml")).unwrap();
        let told = |all: &[Diagnostic]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let own = told(&loaded.warnings);
        assert!(own.contains("site \"a\" hints at 192.0.2.2 in its HTTPS record, which is not its address"), "{own}");
        assert_eq!(loaded.warnings.len(), 1, "{own}");
        let mut zone = Contents::new("example.org".parse().unwrap());
        for (owner, rdata) in [
            ("www.example.org", "1 . ipv4hint=192.0.2.7"), // the pool's own takes its place
            ("svc.example.org", "1 www.example.org. ipv4hint=192.0.2.9,192.0.2.1"),
            ("alias.example.org", "0 www.example.org."),
            ("else.example.org", "1 . ipv4hint=192.0.2.8"),
        ] {
            let rdata = parse_rdata(Rtype::HTTPS, rdata, &Name::root()).unwrap();
            zone.rrset_mut(&owner.parse().unwrap(), Rtype::HTTPS, Ttl::from_secs(60)).rdatas.push(rdata);
        }
        let zone = compile(Arc::new(zone), &Overlay::default());
        let found = check_against_zones(&loaded, &[&zone]);
        assert_eq!(found.len(), 2, "{}", told(&found));
        let of = "the HTTPS record of \"svc.example.org\" hints at";
        let said = told(&found);
        assert!(
            said.contains(&format!("{of} 192.0.2.9 for pool \"www.example.org\", which none of its endpoints has")),
            "{said}"
        );
        assert!(
            said.contains(&format!("{of} 192.0.2.1 for pool \"www.example.org\", which is \"a\"'s, also to")),
            "{said}"
        );
    }
}
