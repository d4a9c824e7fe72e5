//! Pools against what the zones hold: a pool lies over a zone, and must leave it a zone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::iter::successors;

use super::pools::listed;
use super::{Loaded, hints};
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::dns::{Name, Rtype, Ttl};
use crate::steering::planned::{self, RrsetKey};
use crate::steering::pool::{Policy, Settings, Transfer};
use crate::zone::hidden::hidden;
use crate::zone::{self, Edit, Zone};

/// What is wrong with the pools, given what the zones hold, in the order of the file. A pool is judged by the lowest zone
/// of the file that it lies in; if that is not among `zones`, because its file could not be read, it is not.
///
/// What is found of a zone that is transferred from a primary is a warning.
pub fn check_against_zones(loaded: &Loaded, zones: &[&Zone]) -> Vec<Diagnostic> {
    let mut by_apex: HashMap<&Name, Option<&Zone>> =
        loaded.settings.zones.iter().map(|zone| (&zone.name, None)).collect();
    for zone in zones {
        by_apex.insert(zone.apex(), Some(zone));
    }
    let policies: HashMap<&Name, Policy> = loaded.settings.pools.iter().map(|pool| (&pool.name, pool.policy)).collect();
    let mut found = Vec::new();
    for (pool, place) in loaded.settings.pools.iter().zip(&loaded.pool_places) {
        let mut names = successors(Some(pool.name.clone()), Name::parent);
        let Some(Some(zone)) = names.find_map(|name| by_apex.get(&name)) else { continue };
        let settings = loaded.settings.zones.iter().find(|settings| settings.name == *zone.apex());
        if let Some(settings) = settings.filter(|s| !s.allow_transfer.0.is_empty() || !s.notify.is_empty()) {
            let what = match (settings.file.is_some(), pool.transfer) {
                (false, _) => "what its primary says, and the horizon does not count that",
                (true, Transfer::Largest) => "all clients with the endpoint of the largest share",
                (true, Transfer::All) => "all clients with all endpoints, whatever their shares",
            };
            found.push(Diagnostic {
                severity: Severity::Warning,
                message: format!(
                    "pool \"{}\" lies over zone \"{}\", which is transferred: secondaries can't steer, they answer {what}",
                    pool.name,
                    zone.apex()
                ),
                file: loaded.file.clone(),
                place: place.clone(),
                help: Some("for weights on all name servers, run several Waypost servers".to_owned()),
            });
        }
        if pool.name.is_wildcard() {
            found.extend(hidden_names(loaded, pool, zone, place.as_ref()));
        }
        // Signatures that were made here are made for what pools answer too.
        let is_ours = settings.is_some_and(|settings| settings.dnssec.is_some());
        let gives_all = |name: &&Name| policies.get(name) == Some(&Policy::All);
        if let Some(all) = pool.nest.iter().flat_map(|nest| nest.pools()).find(gives_all).filter(|_| is_ours) {
            let message = format!(
                "pool \"{}\" lies over a zone that is signed here, and pool \"{all}\" below it gives all endpoints at once",
                pool.name
            );
            let help = "what \"all\" gives is signed under its own name only; take another policy for that pool";
            found.push(Mistake { message, help }.at(loaded, place.as_ref()));
        }
        let signed = if is_ours { None } else { zone.signature() };
        let judge = Judge { pool, edit: &Edit::new(zone), signed };
        // What comes from a primary may change at any time: that must not keep the server from its next start.
        let from_primary = settings.is_some_and(|settings| settings.file.is_none());
        let severity = if from_primary { Severity::Warning } else { Severity::Error };
        found.extend(judge.mistakes().into_iter().map(|m| Diagnostic { severity, ..m.at(loaded, place.as_ref()) }));
    }
    found.extend(hints::in_zones(loaded, zones));
    for (rrset, place) in loaded.settings.rrsets.iter().zip(&loaded.rrset_places) {
        let mut names = successors(Some(rrset.key.name.clone()), Name::parent);
        let Some(Some(zone)) = names.find_map(|name| by_apex.get(&name)) else { continue };
        let settings = loaded.settings.zones.iter().find(|settings| settings.name == *zone.apex());
        let from_primary = settings.is_some_and(|settings| settings.file.is_none());
        let is_given = settings.is_some_and(zone::Settings::is_transferred);
        for (is_error, Mistake { message, help }) in mistakes_of_rrset(rrset, zone, is_given) {
            let severity = if is_error && !from_primary { Severity::Error } else { Severity::Warning };
            found.push(Diagnostic { severity, ..Mistake { message, help }.at(loaded, Some(place)) });
        }
    }
    found
}

/// What is wrong with a planned RRset over its zone, and what is doubtful.
fn mistakes_of_rrset(rrset: &planned::Settings, zone: &Zone, is_given: bool) -> Vec<(bool, Mistake)> {
    let (RrsetKey { name, rtype }, apex, edit) = (&rrset.key, zone.apex(), Edit::new(zone));
    let mut found = Vec::new();
    let mut tell = |is_error, message: String, help| found.push((is_error, Mistake { message, help }));
    if let Some(cut) = cut_above(&edit, name) {
        let side = if cut == *name { "at" } else { "below" };
        let message = format!("rrset \"{name}\" {rtype} is {side} the zone cut \"{cut}\" of zone \"{apex}\"");
        tell(true, message, "queries for it get a referral, which has the zone's own TTL");
        return found; // what lies there is another zone's
    }
    if let Some(dname) = dname_above(&edit, name) {
        let message = format!("rrset \"{name}\" {rtype} is below the DNAME at \"{dname}\"");
        tell(true, message, "queries for it are redirected (RFC 6672, 2.4)");
        return found;
    }
    let types = zone.types_at(name);
    if *rtype != Rtype::CNAME && types.contains(&Rtype::CNAME) {
        let message = format!("rrset \"{name}\" {rtype}: zone \"{apex}\" has a CNAME there");
        tell(true, message, "a CNAME stands alone (RFC 1034, 3.6.2): it is its TTL that can be planned");
        return found;
    }
    let beside = listed(types.iter().copied().filter(|t| *t != Rtype::CNAME && !is_signature(*t)));
    if *rtype == Rtype::CNAME && !beside.is_empty() {
        let message = format!("rrset \"{name}\" CNAME: zone \"{apex}\" has {beside} there");
        tell(true, message, "a CNAME stands alone (RFC 1034, 3.6.2)");
        return found;
    }
    if is_given {
        let message = format!(
            "rrset \"{name}\" {rtype} is of zone \"{apex}\", which is transferred: secondaries serve it with the zone's own TTL"
        );
        tell(
            false,
            message,
            "lower that one in the zone ahead of a cutover; the horizon counts secondaries with EXPIRE",
        );
    }
    match zone.rrset(name, *rtype) {
        None => {
            let message = format!("rrset \"{name}\" {rtype} is not in zone \"{apex}\"");
            let help = "until it is there all negative answers of the zone have its planned TTL at most, so that caches let it in";
            tell(false, message, help);
        }
        Some(set) if rrset.ttl.normal != Ttl::MAX && rrset.ttl.normal > set.ttl => {
            let (normal, own) = (rrset.ttl.normal, set.ttl);
            let message =
                format!("rrset \"{name}\" {rtype}: \"normal\" is {normal} s, above its own TTL in the zone, {own} s");
            tell(false, message, "it is never raised: the zone's counts");
        }
        Some(set) if rrset.ttl.low >= set.ttl => {
            let (low, own) = (rrset.ttl.low, set.ttl);
            let message = format!("rrset \"{name}\" {rtype}: \"low\" is {low} s, and its own TTL in the zone {own} s");
            tell(false, message, "there is nothing to lower");
        }
        Some(_) => {}
    }
    found
}

/// Names that a wildcard's pool seems to answer for, but does not.
fn hidden_names(loaded: &Loaded, pool: &Settings, zone: &Zone, place: Option<&Place>) -> Option<Diagnostic> {
    let steered: BTreeSet<&Name> = loaded.settings.pools.iter().map(|pool| &pool.name).collect();
    let owners = zone.rrsets().map(|(owner, _)| owner);
    let mut hidden = hidden(&pool.name, owners, |name| zone.types_at(name));
    hidden.retain(|name, _| !steered.contains(name) && zone.cut_above(name).is_none());
    let (name, by) = hidden.iter().next()?;
    let others = match hidden.len() - 1 {
        0 => String::new(),
        n => format!(", and {n} more"),
    };
    Some(Diagnostic {
        severity: Severity::Warning,
        message: format!(
            "pool \"{}\" does not answer for \"{name}\", which exists without records because of \"{by}\"{others}",
            pool.name
        ),
        file: loaded.file.clone(),
        place: place.cloned(),
        help: Some(
            "a wildcard stands for names that do not exist (RFC 4592, 2.2.2); give such a name a pool or records of its own"
                .to_owned(),
        ),
    })
}

/// What is wrong with `pools`, all of them over `zone`.
pub fn wrong_over<'p>(pools: impl Iterator<Item = &'p Settings>, zone: &Zone) -> Vec<Mistake> {
    let edit = Edit::new(zone);
    pools.flat_map(|pool| Judge { pool, edit: &edit, signed: None }.mistakes()).collect()
}

/// What `edit` would make wrong with the pools over its zone; what is wrong already is passed over. `pool` gives the
/// one of a name, `all` all of them, which are gone through only where a delegation or a DNAME comes.
pub fn made_wrong<'p>(
    edit: &Edit<'_>,
    pool: impl Fn(&Name) -> Option<&'p Settings>,
    all: impl Iterator<Item = &'p Settings>,
) -> Vec<Mistake> {
    let came = || edit.touched().filter(|(_, touched)| touched.now.is_some());
    let mut judged: Vec<&Settings> = came().filter_map(|(owner, _)| pool(owner)).collect();
    let hides = |owner: &Name, rtype| rtype == Rtype::DNAME || (rtype == Rtype::NS && owner != edit.zone().apex());
    let above: HashSet<&Name> = came().filter(|(owner, t)| hides(owner, t.rtype)).map(|(owner, _)| owner).collect();
    if !above.is_empty() {
        judged.extend(
            all.filter(|pool| successors(Some(pool.name.clone()), Name::parent).any(|name| above.contains(&name))),
        );
    }
    let before = Edit::new(edit.zone());
    let mut made = Vec::new();
    for pool in judged {
        let known = Judge { pool, edit: &before, signed: None }.mistakes();
        let mistakes = Judge { pool, edit, signed: None }.mistakes().into_iter();
        made.extend(mistakes.filter(|mistake| !known.contains(mistake)));
    }
    made.sort();
    made.dedup(); // of a pool that is both at a name and below one
    made
}

/// A pool that does not go with what a zone holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{message} ({help})")]
pub struct Mistake {
    /// What is wrong.
    pub message: String,
    /// What comes of it, or what to do.
    pub help: &'static str,
}

impl Mistake {
    fn at(self, loaded: &Loaded, place: Option<&Place>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            message: self.message,
            file: loaded.file.clone(),
            place: place.cloned(),
            help: Some(self.help.to_owned()),
        }
    }
}

/// One pool over one zone as it shall be.
struct Judge<'a> {
    pool: &'a Settings,
    edit: &'a Edit<'a>,
    /// A type by which the zone file brings its own signatures.
    signed: Option<Rtype>,
}

impl Judge<'_> {
    fn mistakes(&self) -> Vec<Mistake> {
        let (name, apex) = (&self.pool.name, self.edit.zone().apex());
        let mut mistakes = Vec::new();
        let mut tell = |message, help| mistakes.push(Mistake { message, help });
        if let Some(rtype) = self.signed {
            let message =
                format!("pool \"{name}\" lies over zone \"{apex}\", whose file brings its own {rtype} records");
            tell(message, "no signature in the file fits the pool's answers; take the signatures out of the zone file");
        }
        if let Some(cut) = cut_above(self.edit, name) {
            let side = if cut == *name { "at" } else { "below" };
            let message = format!("pool \"{name}\" is {side} the zone cut \"{cut}\" of zone \"{apex}\"");
            tell(message, "queries for it get a referral, never the pool's answer");
            return mistakes; // what lies there is another zone's
        }
        if let Some(dname) = dname_above(self.edit, name) {
            tell(
                format!("pool \"{name}\" is below the DNAME at \"{dname}\""),
                "queries for it are redirected, and never get the pool's answer (RFC 6672, 2.4)",
            );
        }
        let steered: BTreeSet<Rtype> = self.pool.types().into_iter().collect();
        let owned = || self.edit.rrsets_at(name).into_iter().map(|rrset| rrset.rtype);
        if steered.contains(&Rtype::CNAME) {
            let beside = listed(owned().filter(|t| *t != Rtype::CNAME && !is_signature(*t)));
            if !beside.is_empty() && name != apex {
                let message = format!("pool \"{name}\" gives a CNAME where zone \"{apex}\" has {beside}");
                tell(message, "a CNAME stands alone (RFC 1034, 3.6.2)");
            }
        } else if owned().any(|t| t == Rtype::CNAME) {
            let steered = listed(steered.into_iter());
            let message = format!("pool \"{name}\" gives {steered} where zone \"{apex}\" has a CNAME");
            tell(message, "a CNAME stands alone (RFC 1034, 3.6.2); take it out of the zone file");
        }
        mistakes
    }
}

/// The zone cut at or above `name`, within the zone: the topmost one decides (RFC 1034, 4.3.2, 3b).
fn cut_above(edit: &Edit<'_>, name: &Name) -> Option<Name> {
    let below_apex = |here: &Name| here != edit.zone().apex();
    let up = successors(Some(name.clone()), Name::parent).take_while(below_apex);
    up.filter(|here| edit.rrset(here, Rtype::NS).is_some()).last()
}

/// The owner of a DNAME above `name`, within the zone.
fn dname_above(edit: &Edit<'_>, name: &Name) -> Option<Name> {
    let mut here = name.clone();
    while here != *edit.zone().apex() {
        here = here.parent()?;
        if edit.rrset(&here, Rtype::DNAME).is_some() {
            return Some(here);
        }
    }
    None
}

fn is_signature(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config::parse;
    use crate::dns::Ttl;
    use crate::zone::Contents;
    use crate::zone::compiled::{Overlay, compile};

    fn zone(apex: &str, records: &[(&str, Rtype)]) -> Contents {
        let mut zone = Contents::new(apex.parse().unwrap());
        for (owner, rtype) in records {
            zone.rrset_mut(&owner.parse().unwrap(), *rtype, Ttl::from_secs(60)).rdatas.push(Box::new([0]));
        }
        zone
    }

    /// What is said of pools, each with a name and an endpoint's records.
    fn said(pools: &[(&str, &str)], zones: &[Contents]) -> Vec<String> {
        let mut text = "[[site]]\nname = \"a\"\n".to_owned();
        for apex in ["example.org", "sub.example.org"] {
            write!(text, "[[zone]]\nname = \"{apex}\"\nfile = \"z\"\n").unwrap();
        }
        for (name, records) in pools {
            write!(text, "[[pool]]\nname = \"{name}\"\nendpoint = [{{ site = \"a\", {records}, weight = 1 }}]\n")
                .unwrap();
        }
        let loaded = parse(&text, Path::new("w.toml")).unwrap();
        let zones: Vec<Zone> = zones.iter().map(|zone| compile(Arc::new(zone.clone()), &Overlay::default())).collect();
        check_against_zones(&loaded, &zones.iter().collect::<Vec<_>>()).iter().map(ToString::to_string).collect()
    }

    const ADDRESS: &str = "address = [\"127.0.0.1\"]";
    const CNAME: &str = "cname = \"x.example.net.\"";

    #[test]
    fn a_pool_leaves_the_zone_a_zone() {
        let apex = [("example.org", Rtype::SOA), ("example.org", Rtype::NS)];
        let here = |records: &[(&str, Rtype)]| vec![zone("example.org", &[&apex, records].concat())];
        for (pool, records, expected) in [
            (("www.example.org", ADDRESS), vec![("www.example.org", Rtype::A)], None),
            (("www.example.org", CNAME), vec![("www.example.org", Rtype::CNAME)], None),
            (("*.example.org", ADDRESS), vec![("*.example.org", Rtype::TXT)], None),
            (("example.org", ADDRESS), vec![], None),
            (
                ("www.d.example.org", ADDRESS),
                vec![("d.example.org", Rtype::NS)],
                Some(
                    "pool \"www.d.example.org\" is below the zone cut \"d.example.org\" of zone \"example.org\" (queries for it get a referral, never the pool's answer)",
                ),
            ),
            (
                ("d.example.org", ADDRESS),
                vec![("d.example.org", Rtype::NS)],
                Some(
                    "pool \"d.example.org\" is at the zone cut \"d.example.org\" of zone \"example.org\" (queries for it get a referral, never the pool's answer)",
                ),
            ),
            (
                ("a.d.example.org", ADDRESS),
                vec![("d.example.org", Rtype::DNAME)],
                Some(
                    "pool \"a.d.example.org\" is below the DNAME at \"d.example.org\" (queries for it are redirected, and never get the pool's answer (RFC 6672, 2.4))",
                ),
            ),
            (
                ("www.example.org", CNAME),
                vec![("www.example.org", Rtype::TXT), ("www.example.org", Rtype::A)],
                Some(
                    "pool \"www.example.org\" gives a CNAME where zone \"example.org\" has A, TXT (a CNAME stands alone (RFC 1034, 3.6.2))",
                ),
            ),
            (
                ("www.example.org", ADDRESS),
                vec![("www.example.org", Rtype::CNAME)],
                Some(
                    "pool \"www.example.org\" gives A where zone \"example.org\" has a CNAME (a CNAME stands alone (RFC 1034, 3.6.2); take it out of the zone file)",
                ),
            ),
            (
                ("www.example.org", ADDRESS),
                vec![("mail.example.org", Rtype::NSEC)],
                Some(
                    "pool \"www.example.org\" lies over zone \"example.org\", whose file brings its own NSEC records (no signature in the file fits the pool's answers; take the signatures out of the zone file)",
                ),
            ),
        ] {
            let expected: Vec<String> = expected.map(|e| format!("w.toml:10:8: error: {e}")).into_iter().collect();
            assert_eq!(said(&[pool], &here(&records)), expected, "{pool:?} over {records:?}");
        }
    }

    #[test]
    fn names_that_a_wildcard_does_not_answer_for_are_told() {
        let here = |owners: &[&str]| {
            let apex = [("example.org", Rtype::SOA), ("example.org", Rtype::NS)];
            let records: Vec<_> = owners.iter().map(|owner| (*owner, Rtype::TXT)).collect();
            vec![zone("example.org", &[&apex[..], &records].concat())]
        };
        let challenges = ["_acme-challenge.foo.example.org", "_acme-challenge.bar.example.org"];
        let told = said(&[("*.example.org", ADDRESS)], &here(&challenges));
        assert_eq!(
            told,
            [
                "w.toml:10:8: warning: pool \"*.example.org\" does not answer for \"bar.example.org\", which exists without records \
              because of \"_acme-challenge.bar.example.org\", and 1 more (a wildcard stands for names that do not exist \
              (RFC 4592, 2.2.2); give such a name a pool or records of its own)"
            ]
        );
        let pools = [("*.example.org", ADDRESS), ("foo.example.org", ADDRESS)];
        assert_eq!(said(&pools, &here(&challenges[..1])), [""; 0], "it has a pool of its own");
        assert_eq!(said(&[("*.example.org", ADDRESS)], &here(&["_dmarc.example.org"])), [""; 0]);
    }

    #[test]
    fn the_lowest_zone_counts() {
        let parent = zone("example.org", &[("sub.example.org", Rtype::NS)]);
        let child = zone("sub.example.org", &[("www.sub.example.org", Rtype::CNAME)]);
        let pools = [("www.sub.example.org", ADDRESS)];
        assert_eq!(
            said(&pools, std::slice::from_ref(&parent)),
            [""; 0],
            "a zone that could not be read judges nothing"
        );
        let both = said(&pools, &[parent, child]);
        assert_eq!(both.len(), 1);
        assert!(both[0].contains("where zone \"sub.example.org\" has a CNAME"), "{both:?}");
    }
}
