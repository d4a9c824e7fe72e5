//! Dynamic updates (RFC 2136): what a request asks for, and what it does to a zone. Pure: the zone comes in as an [`Edit`], an
//! RCODE comes out. Who may do what to which records is asked of the caller, record by record.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::dns::wire::records::{RawRecord, Records};
use crate::dns::wire::{CLASS_ANY, CLASS_IN, Rcode};
use crate::dns::{Name, Rtype, Ttl, rdata};
use crate::zone::diff::soa_serial;
use crate::zone::serial::is_newer;
use crate::zone::{Edit, Record, Rrset, Zone};

/// CLASS NONE (RFC 2136, 2.4).
const CLASS_NONE: u16 = 254;
/// MAILB and MAILA (RFC 1035, 3.2.3).
const MAIL: [Rtype; 2] = [Rtype(253), Rtype(254)];

/// A request to change a zone, as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The zone to change.
    pub zone: Name,
    prerequisites: Vec<RawRecord>,
    updates: Vec<RawRecord>,
}

impl Update {
    /// Reads a request, without its TSIG.
    ///
    /// # Errors
    /// FORMERR (RFC 2136, 3.1.1); NOTAUTH for another class.
    pub fn read(message: &[u8]) -> Result<Self, Rcode> {
        let Records { questions, sections } = Records::read(message).ok_or(Rcode::FormErr)?;
        let [(zone, Rtype::SOA, class)] = &questions[..] else { return Err(Rcode::FormErr) };
        if *class != CLASS_IN {
            return Err(Rcode::NotAuth);
        }
        let [prerequisites, updates, _] = sections;
        Ok(Self { zone: zone.clone(), prerequisites, updates })
    }

    /// What it would change: owner name and type, where the type may be ANY.
    pub fn targets(&self) -> impl Iterator<Item = (&Name, Rtype)> {
        self.updates.iter().map(|record| (&record.owner, record.rtype))
    }

    /// The pool that all of it is about, if it is about the addresses of one of `pools` alone.
    pub fn pool<'p>(&self, mut pools: impl Iterator<Item = &'p Name>) -> Option<&'p Name> {
        let (first, _) = self.targets().next()?;
        let pool = pools.find(|pool| *pool == first)?;
        let is_of_it = |(owner, rtype)| owner == pool && matches!(rtype, Rtype::A | Rtype::AAAA | Rtype::ANY);
        self.targets().all(is_of_it).then_some(pool)
    }

    /// What it makes of `addresses`, those of one endpoint, given what `zone` says of its prerequisites.
    ///
    /// # Errors
    /// The RCODE to answer.
    pub fn addresses(&self, zone: &Zone, mut addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, Rcode> {
        self.check_prerequisites(&Edit::new(zone))?;
        self.prescan()?;
        for RawRecord { rtype, class, rdata, .. } in &self.updates {
            let address = <[u8; 4]>::try_from(&**rdata).map(IpAddr::from);
            let address = address.or_else(|_| <[u8; 16]>::try_from(&**rdata).map(IpAddr::from)).ok();
            match (*class, address) {
                (CLASS_IN, Some(new)) if !addresses.contains(&new) => addresses.push(new),
                (CLASS_IN, _) => {}
                (CLASS_ANY, _) => addresses.retain(|there| match *rtype {
                    Rtype::A => there.is_ipv6(),
                    Rtype::AAAA => there.is_ipv4(),
                    _ => false,
                }),
                (_, old) => addresses.retain(|there| Some(*there) != old),
            }
        }
        Ok(addresses)
    }

    /// Changes the zone of `edit`, which is the one it names: all of it, or nothing where an RCODE comes back. `may` says whether
    /// records of a type at a name may be changed.
    ///
    /// # Errors
    /// The RCODE to answer.
    pub fn apply(&self, edit: &mut Edit<'_>, may: impl Fn(&Name, Rtype) -> bool) -> Result<(), Rcode> {
        self.check_prerequisites(edit)?;
        for record in &self.updates {
            let allowed = match record.rtype {
                // All that is there now: what else would come is among the updates itself.
                Rtype::ANY => {
                    let sets = edit.rrsets_at(&record.owner);
                    let of_zone = |t: Rtype| is_apex(edit, &record.owner) && matches!(t, Rtype::SOA | Rtype::NS);
                    let stays = |t: Rtype| of_zone(t) || is_made(t);
                    sets.iter().all(|set| stays(set.rtype) || may(&record.owner, set.rtype))
                }
                rtype => may(&record.owner, rtype),
            };
            // The zone comes first: who asks for another one is told that.
            if record.owner.is_at_or_below(&self.zone) && !allowed {
                return Err(Rcode::Refused);
            }
        }
        self.prescan()?;
        for record in &self.updates {
            match record.class {
                CLASS_IN => add(edit, record),
                CLASS_ANY => delete_sets(edit, &record.owner, record.rtype),
                _ => delete_record(edit, record),
            }
        }
        Ok(())
    }

    /// RFC 2136, 3.2.
    fn check_prerequisites(&self, edit: &Edit<'_>) -> Result<(), Rcode> {
        let mut wanted: HashMap<(&Name, Rtype), Vec<&[u8]>> = HashMap::new();
        for record in &self.prerequisites {
            let RawRecord { owner, rtype, class, ttl, rdata } = record;
            if *ttl != 0 {
                return Err(Rcode::FormErr);
            }
            if !owner.is_at_or_below(&self.zone) {
                return Err(Rcode::NotZone);
            }
            if *class != CLASS_IN && !(rdata.is_empty() && matches!(*class, CLASS_ANY | CLASS_NONE)) {
                return Err(Rcode::FormErr);
            }
            let in_use = || !edit.rrsets_at(owner).is_empty();
            let has = || edit.rrset(owner, *rtype).is_some();
            match (*class, *rtype) {
                (CLASS_ANY, Rtype::ANY) if !in_use() => return Err(Rcode::NxDomain),
                (CLASS_NONE, Rtype::ANY) if in_use() => return Err(Rcode::YxDomain),
                (_, Rtype::ANY) if *class != CLASS_IN => {}
                (_, rtype) if !rtype.is_data() => return Err(Rcode::FormErr),
                (CLASS_ANY, _) if !has() => return Err(Rcode::NxRrset),
                (CLASS_NONE, _) if has() => return Err(Rcode::YxRrset),
                (CLASS_IN, _) => wanted.entry((owner, *rtype)).or_default().push(rdata),
                _ => {}
            }
        }
        for ((owner, rtype), rdatas) in wanted {
            let set = edit.rrset(owner, rtype).ok_or(Rcode::NxRrset)?;
            let canonical = |rdata: &[u8]| rdata::canonical(rtype, rdata).into_owned();
            let mut there: Vec<Vec<u8>> = set.rdatas.iter().map(|rdata| canonical(rdata)).collect();
            let mut asked: Vec<Vec<u8>> = rdatas.into_iter().map(canonical).collect();
            there.sort();
            asked.sort();
            asked.dedup();
            if there != asked {
                return Err(Rcode::NxRrset);
            }
        }
        Ok(())
    }

    /// RFC 2136, 3.4.1.
    fn prescan(&self) -> Result<(), Rcode> {
        for RawRecord { owner, rtype, class, ttl, rdata } in &self.updates {
            if !owner.is_at_or_below(&self.zone) {
                return Err(Rcode::NotZone);
            }
            let good = match *class {
                CLASS_IN => rtype.is_data() && rdata::is_well_formed(*rtype, rdata),
                CLASS_ANY => *ttl == 0 && rdata.is_empty() && (rtype.is_data() || *rtype == Rtype::ANY),
                CLASS_NONE => *ttl == 0 && rtype.is_data() && rdata::is_well_formed(*rtype, rdata),
                _ => false,
            };
            if !good || MAIL.contains(rtype) {
                return Err(Rcode::FormErr);
            }
        }
        Ok(())
    }
}

fn is_apex(edit: &Edit<'_>, owner: &Name) -> bool {
    owner == edit.zone().apex()
}

/// Types that may stand beside a CNAME (RFC 2181, 10.1; RFC 4034, 3 and 4; RFC 3007, 2).
fn beside_cname(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype(25))
}

/// What whoever signs the zone makes, and takes away with what it was made for.
pub fn is_made(rtype: Rtype) -> bool {
    use Rtype as T;
    matches!(rtype, T::RRSIG | T::NSEC | T::NSEC3 | T::NSEC3PARAM | T::DNSKEY | T::CDS | T::CDNSKEY)
}

/// RFC 2136, 3.4.2.2. What can't stand is passed over without a word, as it says.
fn add(edit: &mut Edit<'_>, record: &RawRecord) {
    let RawRecord { owner, rtype, ttl, rdata, .. } = record;
    let others = edit.rrsets_at(owner);
    if *rtype == Rtype::CNAME && others.iter().any(|set| !beside_cname(set.rtype)) {
        return;
    }
    if !beside_cname(*rtype) && others.iter().any(|set| set.rtype == Rtype::CNAME) {
        return;
    }
    if *rtype == Rtype::SOA {
        let newer = soa_serial(rdata).is_some_and(|serial| is_newer(serial, edit.serial()));
        if !is_apex(edit, owner) || !newer {
            return;
        }
    }
    let ttl = Ttl::from_secs((*ttl).into());
    if matches!(*rtype, Rtype::SOA | Rtype::CNAME | Rtype::DNAME) {
        edit.set(owner, *rtype, Some(Rrset { rtype: *rtype, ttl, rdatas: vec![rdata.clone()] }));
        return;
    }
    // The same but for letter case: the new one takes its place.
    if let Some(same) = find(edit, owner, *rtype, rdata) {
        edit.remove(owner, *rtype, &same);
    }
    edit.add(Record { owner: owner.clone(), rtype: *rtype, ttl, rdata: rdata.clone() });
}

/// RFC 2136, 3.4.2.3.
fn delete_sets(edit: &mut Edit<'_>, owner: &Name, rtype: Rtype) {
    let keeps = |t: Rtype| is_apex(edit, owner) && matches!(t, Rtype::SOA | Rtype::NS);
    let gone: Vec<Rtype> = match rtype {
        Rtype::ANY => {
            edit.rrsets_at(owner).iter().map(|set| set.rtype).filter(|t| !keeps(*t) && !is_made(*t)).collect()
        }
        rtype => [rtype].into_iter().filter(|t| !keeps(*t)).collect(),
    };
    for rtype in gone {
        edit.set(owner, rtype, None);
    }
}

/// RFC 2136, 3.4.2.4.
fn delete_record(edit: &mut Edit<'_>, record: &RawRecord) {
    let RawRecord { owner, rtype, rdata, .. } = record;
    let Some(same) = find(edit, owner, *rtype, rdata) else { return };
    let is_last = || edit.rrset(owner, *rtype).is_some_and(|set| set.rdatas.len() == 1);
    if *rtype == Rtype::SOA || (*rtype == Rtype::NS && is_apex(edit, owner) && is_last()) {
        return;
    }
    edit.remove(owner, *rtype, &same);
}

/// The RDATA in the zone that is `rdata` (RFC 2136, 1.1.1).
fn find(edit: &Edit<'_>, owner: &Name, rtype: Rtype, rdata: &[u8]) -> Option<Box<[u8]>> {
    let wanted = rdata::canonical(rtype, rdata);
    edit.rrset(owner, rtype)?.rdatas.into_iter().find(|there| rdata::canonical(rtype, there) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::rdata::Token;
    use crate::time::Timestamp;
    use crate::zone::compiled::{Overlay, compile};
    use crate::zone::master;
    use crate::zone::serial::Policy;

    const ZONE: &str = "@ 60 SOA ns mail 7 1 1 1 60\n@ 60 NS ns\n@ 60 NS ns2\nns 60 A 192.0.2.53\nns2 60 A 192.0.2.54\n\
                        a 60 A 192.0.2.1\na 60 A 192.0.2.2\na 60 TXT one\nc 60 CNAME a\nx.ent 60 A 192.0.2.3\nm 60 MX 5 Mail\n";

    fn zone() -> Zone {
        let loaded = master::parse(ZONE.as_bytes(), "z".as_ref(), &"example".parse().unwrap()).unwrap();
        compile(std::sync::Arc::new(loaded.contents), &Overlay::default())
    }

    /// `OWNER CLASS TTL TYPE [RDATA...]`, owner names relative to `example` unless they end in a dot.
    fn record(text: &str) -> RawRecord {
        let origin: Name = "example".parse().unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        let rtype = Rtype::parse(words[3]).unwrap();
        let tokens: Vec<Token<'_>> = words[4..].iter().map(|word| Token::word(word.as_bytes())).collect();
        let rdata = if tokens.is_empty() { Box::default() } else { rdata::parse(rtype, &tokens, &origin).unwrap() };
        let class = match words[1] {
            "IN" => CLASS_IN,
            "ANY" => CLASS_ANY,
            "NONE" => CLASS_NONE,
            _ => 3,
        };
        let owner = Name::parse(words[0], Some(&origin)).unwrap();
        RawRecord { owner, rtype, class, ttl: words[2].parse().unwrap(), rdata }
    }

    fn update(prerequisites: &[&str], updates: &[&str]) -> Update {
        let records = |texts: &[&str]| texts.iter().map(|text| record(text)).collect();
        Update { zone: "example".parse().unwrap(), prerequisites: records(prerequisites), updates: records(updates) }
    }

    /// What an update leaves at `owner`, as text; the RCODE when it is refused.
    fn left(updates: &[&str], owner: &str) -> Result<Vec<String>, Rcode> {
        let zone = zone();
        let mut edit = Edit::new(&zone);
        update(&[], updates).apply(&mut edit, |_, _| true)?;
        edit.raise_serial(Policy::Increase, Timestamp(0));
        let after = zone.with(&edit.diff(), &Overlay::default()).unwrap();
        let mut lines: Vec<String> = after
            .rrsets_at(&Name::parse(owner, Some(&"example".parse().unwrap())).unwrap())
            .iter()
            .flat_map(|set| {
                set.rdatas.iter().map(move |r| format!("{} {} {}", set.ttl, set.rtype, rdata::to_text(set.rtype, r)))
            })
            .collect();
        lines.sort();
        Ok(lines)
    }

    #[test]
    fn prerequisites_of_rfc_2136_3_2() {
        let zone = zone();
        for (prerequisite, expected) in [
            ("a ANY 0 ANY", Ok(())),
            ("A.EXAMPLE. ANY 0 ANY", Ok(())),
            ("ent ANY 0 ANY", Err(Rcode::NxDomain)), // an empty non-terminal is not in use
            ("none ANY 0 ANY", Err(Rcode::NxDomain)),
            ("a NONE 0 ANY", Err(Rcode::YxDomain)),
            ("none NONE 0 ANY", Ok(())),
            ("a ANY 0 A", Ok(())),
            ("a ANY 0 MX", Err(Rcode::NxRrset)),
            ("a NONE 0 A", Err(Rcode::YxRrset)),
            ("a NONE 0 MX", Ok(())),
            ("a IN 0 TXT one", Ok(())),
            ("a IN 0 TXT two", Err(Rcode::NxRrset)),
            ("a IN 0 A 192.0.2.1", Err(Rcode::NxRrset)), // not the whole RRset
            ("m IN 0 MX 5 mAIL", Ok(())),
            ("a IN 0 MX 5 mail", Err(Rcode::NxRrset)),
            ("a ANY 1 A", Err(Rcode::FormErr)),
            ("a ANY 0 A 192.0.2.1", Err(Rcode::FormErr)),
            ("a NONE 0 A 192.0.2.1", Err(Rcode::FormErr)),
            ("a CH 0 A", Err(Rcode::FormErr)),
            ("a IN 0 ANY", Err(Rcode::FormErr)),
            ("a ANY 0 AXFR", Err(Rcode::FormErr)),
            ("a.other. ANY 0 ANY", Err(Rcode::NotZone)),
        ] {
            let found = update(&[prerequisite], &[]).apply(&mut Edit::new(&zone), |_, _| true);
            assert_eq!(found, expected, "{prerequisite}");
        }
        let whole = ["a IN 0 A 192.0.2.2", "a IN 0 A 192.0.2.1", "a IN 0 A 192.0.2.1"];
        assert_eq!(update(&whole, &[]).apply(&mut Edit::new(&zone), |_, _| true), Ok(()));
    }

    #[test]
    fn updates_of_rfc_2136_3_4() {
        for (updates, owner, expected) in [
            (&["new IN 60 A 192.0.2.9"][..], "new", &["60 A 192.0.2.9"][..]),
            (&["a IN 90 A 192.0.2.1"], "a", &["60 TXT \"one\"", "90 A 192.0.2.1", "90 A 192.0.2.2"]), // one TTL
            (&["m IN 60 MX 5 MAIL"], "m", &["60 MX 5 MAIL.example."]),
            (&["a IN 60 CNAME b"], "a", &["60 A 192.0.2.1", "60 A 192.0.2.2", "60 TXT \"one\""]),
            (&["c IN 60 A 192.0.2.9"], "c", &["60 CNAME a.example."]),
            (&["c IN 60 CNAME b"], "c", &["60 CNAME b.example."]),
            (&["c ANY 0 CNAME", "c IN 60 A 192.0.2.9"], "c", &["60 A 192.0.2.9"]),
            (&["a ANY 0 A"], "a", &["60 TXT \"one\""]),
            (&["a ANY 0 ANY"], "a", &[]),
            (&["a NONE 0 A 192.0.2.1", "a NONE 0 A 192.0.2.7"], "a", &["60 A 192.0.2.2", "60 TXT \"one\""]),
            (&["m NONE 0 MX 5 MAIL"], "m", &[]),
            (&["@ NONE 0 NS ns"], "@", &["60 NS ns2.example.", "60 SOA ns.example. mail.example. 8 1 1 1 60"]),
            (
                &["@ NONE 0 NS ns", "@ NONE 0 NS ns2", "@ ANY 0 NS", "@ ANY 0 SOA", "@ ANY 0 ANY"],
                "@",
                &["60 NS ns2.example.", "60 SOA ns.example. mail.example. 8 1 1 1 60"],
            ),
            (
                &["@ IN 60 SOA ns mail 6 1 1 1 60"],
                "@",
                &["60 NS ns.example.", "60 NS ns2.example.", "60 SOA ns.example. mail.example. 7 1 1 1 60"],
            ),
            (
                &["@ IN 30 SOA ns new 99 1 1 1 60"],
                "@",
                &["30 SOA ns.example. new.example. 99 1 1 1 60", "60 NS ns.example.", "60 NS ns2.example."],
            ),
            (&["a IN 60 SOA ns mail 99 1 1 1 60"], "a", &["60 A 192.0.2.1", "60 A 192.0.2.2", "60 TXT \"one\""]),
            (&["ent IN 60 A 192.0.2.9"], "ent", &["60 A 192.0.2.9"]),
        ] {
            assert_eq!(left(updates, owner).unwrap(), expected, "{updates:?}");
        }
    }

    #[test]
    fn what_is_malformed_changes_nothing() {
        for (bad, rcode) in [
            ("a.other. IN 60 A 192.0.2.9", Rcode::NotZone),
            ("a IN 60 ANY", Rcode::FormErr),
            ("a IN 60 A", Rcode::FormErr),
            ("a IN 60 AXFR", Rcode::FormErr),
            ("a ANY 1 A", Rcode::FormErr),
            ("a ANY 0 A 192.0.2.1", Rcode::FormErr),
            ("a ANY 0 IXFR", Rcode::FormErr),
            ("a NONE 1 A 192.0.2.1", Rcode::FormErr),
            ("a NONE 0 ANY", Rcode::FormErr),
            ("a CH 0 A 192.0.2.1", Rcode::FormErr),
        ] {
            let zone = zone();
            let mut edit = Edit::new(&zone);
            let done = update(&[], &["new IN 60 A 192.0.2.9", bad]).apply(&mut edit, |_, _| true);
            assert_eq!((done, edit.changes_anything()), (Err(rcode), false), "{bad}");
        }
    }

    #[test]
    fn each_record_must_be_allowed() {
        let zone = zone();
        let done = |updates: &[&str], allowed: &[Rtype]| {
            update(&[], updates).apply(&mut Edit::new(&zone), |_, rtype| allowed.contains(&rtype))
        };
        assert_eq!(done(&["a IN 60 A 192.0.2.9"], &[Rtype::A]), Ok(()));
        assert_eq!(done(&["a IN 60 A 192.0.2.9", "a ANY 0 TXT"], &[Rtype::A]), Err(Rcode::Refused));
        assert_eq!(done(&["a ANY 0 ANY"], &[Rtype::A]), Err(Rcode::Refused), "a TXT is there");
        assert_eq!(done(&["a ANY 0 ANY"], &[Rtype::A, Rtype::TXT]), Ok(()));
        assert_eq!(done(&["none ANY 0 ANY"], &[]), Ok(()));
        assert_eq!(done(&["a.other. IN 60 A 192.0.2.9"], &[]), Err(Rcode::NotZone));
    }

    #[test]
    fn the_zone_section_names_one_zone() {
        let mut message = vec![0, 1, 0x28, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(b"\x07example\0\0\x06\0\x01");
        assert_eq!(Update::read(&message).unwrap().zone.to_string(), "example");
        for (at, octet, rcode) in [(5, 0, Rcode::FormErr), (22, 1, Rcode::FormErr), (24, 3, Rcode::NotAuth)] {
            let mut bad = message.clone();
            bad[at] = octet;
            assert_eq!(Update::read(&bad), Err(rcode));
        }
    }
}
