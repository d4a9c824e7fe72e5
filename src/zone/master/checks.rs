//! What must hold over a whole zone, once it is read: what every server refuses is an error, what answers in a way that
//! nobody wants is a warning.

use super::looked_at::{Owner, Records, Set};
use super::report::Report;
use crate::dns::name::{self, Name};
use crate::dns::{Rtype, rdata};
use crate::zone::gathered::Spot;

/// Types that may stand beside a CNAME (RFC 4034, 2.5; RFC 2535, 2.3.5 before it): SIG, KEY, RRSIG, NSEC.
const BESIDE_CNAME: [Rtype; 4] = [Rtype(24), Rtype(25), Rtype::RRSIG, Rtype::NSEC];
/// Types that are answered at a zone cut, or are its glue.
const AT_A_CUT: [Rtype; 6] = [Rtype::NS, Rtype::DS, Rtype::NSEC, Rtype::RRSIG, Rtype::A, Rtype::AAAA];
/// With these a name hardly ends within a zone, but for those that lack their final dot.
const ELSEWHERE: [&str; 9] = ["com", "net", "org", "edu", "gov", "info", "biz", "io", "arpa"];
const DOT: &str = "a name that is not relative to the origin wants a dot at its end";
const GLUE: [Rtype; 2] = [Rtype::A, Rtype::AAAA];

/// Checks all `records` of the zone `apex`, in the order of the file.
pub(super) fn check(records: &impl Records, apex: &Name, report: &mut Report) {
    let zone = Zone {
        records,
        apex,
        has_cuts: records.owners().any(|n| n.has(Rtype::NS) && !n.name().eq_ignore_ascii_case(apex.wire())),
        has_dnames: records.owners().any(|n| n.has(Rtype::DNAME)),
    };
    match records.get(apex.wire()).and_then(|n| Some((n, n.set(Rtype::SOA)?))) {
        None => report.error_of_zone(format!("the zone {apex} has no SOA record")),
        Some((node, soa)) if !node.has(Rtype::NS) => {
            report.warn_at(soa.first(), format!("the zone {apex} has no NS record at its apex"), None);
        }
        Some(_) => {}
    }
    for node in records.owners() {
        one_of_a_kind(node, report);
        let cut = zone.cut_above(node.name());
        match zone.dname_above(node) {
            Some(dname) if cut.is_none() => {
                let message =
                    format!("{} stands below the DNAME of {}, which answers for it", node.shown(), dname.shown());
                report.error_at(node.sets().next().map_or(Spot::default(), Set::first), message);
            }
            _ => {}
        }
        if let Some(cut) = cut {
            occluded(node, cut, report);
        }
        for rtype in [Rtype::NS, Rtype::MX] {
            if let Some(set) = node.set(rtype).filter(|_| cut.is_none_or(|c| c.is(node) && rtype == Rtype::NS)) {
                zone.targets(node, set, report);
            }
        }
        for rtype in [Rtype::CNAME, Rtype::SRV] {
            if let Some(set) = node.set(rtype).filter(|_| cut.is_none()) {
                zone.dots(node, set, report);
            }
        }
    }
}

/// Errors: more than one record of a type that may have one, and CNAME beside other data (RFC 1034, 3.6.2; RFC 6672, 2.4).
fn one_of_a_kind<'r>(node: impl Owner<'r>, report: &mut Report) {
    for set in node.sets() {
        let rtype = set.rtype();
        if matches!(rtype, Rtype::SOA | Rtype::CNAME | Rtype::DNAME) && set.count() > 1 {
            report.error_at(set.last(), format!("{} has more than one {rtype}", node.shown()));
        }
    }
    let other = || node.sets().find(|s| s.rtype() != Rtype::CNAME && !BESIDE_CNAME.contains(&s.rtype()));
    if let Some(cname) = node.set(Rtype::CNAME)
        && let Some(other) = other()
    {
        let message = format!("{} has a CNAME, and {} beside it", node.shown(), other.rtype());
        report.error_at(later(cname.first(), other.first()), message);
    }
}

/// Of two records at one name that of which the second is the mistake.
fn later(a: Spot, b: Spot) -> Spot {
    if (a.source, a.start) > (b.source, b.start) { a } else { b }
}

/// Data at or below a cut that is neither delegation nor glue (RFC 2136, 7.18; RFC 9499, 7).
fn occluded<'r, O: Owner<'r>>(node: O, cut: O, report: &mut Report) {
    let seen = if node.is(cut) { &AT_A_CUT[..] } else { &GLUE[..] };
    if let Some(set) = node.sets().find(|s| !seen.contains(&s.rtype())) {
        let place = if node.is(cut) { "is at" } else { "is below" };
        let message = format!(
            "{} {} is never answered: {} is delegated away, and it {place} that zone cut without being glue",
            node.shown(),
            set.rtype(),
            cut.shown()
        );
        report.warn_at(set.first(), message, None);
    }
}

struct Zone<'z, R> {
    records: &'z R,
    apex: &'z Name,
    has_cuts: bool,
    has_dnames: bool,
}

impl<'z, R: Records> Zone<'z, R> {
    /// The topmost zone cut at or above `name`, below the apex.
    fn cut_above(&self, name: &[u8]) -> Option<R::Owner<'z>> {
        if !self.has_cuts {
            return None;
        }
        let inside = self.upwards(name).take_while(|n| n.len() > self.apex.wire().len());
        inside.filter_map(|n| self.records.get(n)).filter(|node| node.has(Rtype::NS)).last()
    }

    /// A DNAME above `node`. The NSEC3 records of a zone stand below its apex, whatever is there.
    fn dname_above(&self, node: R::Owner<'z>) -> Option<R::Owner<'z>> {
        let is_hash = || node.sets().all(|s| matches!(s.rtype(), Rtype::NSEC3 | Rtype::RRSIG));
        if !self.has_dnames || is_hash() {
            return None;
        }
        self.upwards(node.name()).skip(1).filter_map(|n| self.records.get(n)).find(|node| node.has(Rtype::DNAME))
    }

    /// `name` and what is above it, up to the apex.
    fn upwards<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = &'n [u8]> + use<'n, 'z, R> {
        let apex = self.apex.wire().len();
        std::iter::successors(Some(name), |n| name::parent(n)).take_while(move |n| n.len() >= apex)
    }

    /// Hosts in this zone that NS and MX name, but that have no address here (RFC 2181, 10.3; RFC 1912, 2.3).
    fn targets(&self, node: R::Owner<'z>, set: impl Set, report: &mut Report) {
        let rtype = set.rtype();
        set.each(|wire| {
            let Some(target) = rdata::target(rtype, wire) else { return };
            if !name::is_at_or_below(target, self.apex.wire()) {
                return;
            }
            let host = self.records.get(target);
            if host.is_some_and(Owner::has_address) {
                return;
            }
            let shown = Name::from_wire(target).map_or_else(|e| e.to_string(), |n| n.to_string());
            let message = match self.cut_above(target) {
                Some(cut) if cut.is(node) => {
                    format!("{} is delegated to {shown} below it, whose address (glue) is missing", node.shown())
                }
                Some(_) => return, // another zone answers for it
                None if host.is_some_and(|h| h.has(Rtype::CNAME)) => {
                    format!("{} {rtype}: {shown} is an alias (CNAME), which RFC 2181, 10.3, forbids", node.shown())
                }
                None if host.is_none() && self.has_wildcard_address(target) => return,
                None => format!("{} {rtype}: {shown} has no address in this zone", node.shown()),
            };
            report.warn_at(set.first(), message, self.dot_forgotten(target));
        });
    }

    /// Targets in this zone of which nothing is here, and whose names say that they are meant to be elsewhere.
    fn dots(&self, node: R::Owner<'z>, set: impl Set, report: &mut Report) {
        let rtype = set.rtype();
        set.each(|wire| {
            let Some(target) = (if rtype == Rtype::CNAME { Some(wire) } else { rdata::target(rtype, wire) }) else {
                return;
            };
            let inside = || self.upwards(target).take_while(|n| n.len() > self.apex.wire().len());
            let is_here = |name: &[u8]| self.records.get(name).is_some();
            if !name::is_at_or_below(target, self.apex.wire()) || inside().any(is_here) || self.has_wildcard(target) {
                return;
            }
            let ends_elsewhere = inside().count() > 1
                && inside()
                    .last()
                    .and_then(|name| name::labels(name).next())
                    .is_some_and(|label| ELSEWHERE.iter().any(|known| label.eq_ignore_ascii_case(known.as_bytes())));
            if ends_elsewhere || self.dot_forgotten(target).is_some() {
                let shown = Name::from_wire(target).map_or_else(|e| e.to_string(), |n| n.to_string());
                let message = format!("{} {rtype}: nothing is at {shown}, nor above it in this zone", node.shown());
                report.warn_at(set.first(), message, Some(DOT.to_owned()));
            }
        });
    }

    fn has_wildcard(&self, name: &[u8]) -> bool {
        self.upwards(name).skip(1).any(|above| self.records.get(&[b"\x01*", above].concat()).is_some())
    }

    fn has_wildcard_address(&self, name: &[u8]) -> bool {
        self.upwards(name)
            .skip(1)
            .any(|above| self.records.get(&[b"\x01*", above].concat()).is_some_and(Owner::has_address))
    }

    /// A help for a name that ends in the zone's name twice.
    fn dot_forgotten(&self, name: &[u8]) -> Option<String> {
        let apex = self.apex.wire();
        let prefix = name.get(..name.len().checked_sub(apex.len())?)?;
        let once = &apex[..apex.len() - 1];
        let doubled = !once.is_empty() && prefix.to_ascii_lowercase().ends_with(&once.to_ascii_lowercase());
        doubled.then(|| DOT.to_owned())
    }
}
