//! A file read again: what differs from the zone that it was read into before, in little time and memory.
//!
//! The text passes through a window, and each record is held against the zone (`compiled::against`). So nothing is told of where
//! something stands, and nothing needs to be: whatever is doubtful has the file read whole, which finds the same and says where.
//! What comes of it is checked as a whole zone is. The zone must have been read without any doubt for that: whatever is doubtful
//! about what did not change was doubtful before.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::Read as _;
use std::path::Path;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::lexer::{Entry, Lexer};
use super::report::Report;
use super::{READ_OCTETS, Reader, Scope, checks};
use crate::zone::compiled::Overlay;
use crate::zone::compiled::against::Against;
use crate::zone::drift::{Changed, Drift};
use crate::zone::{Edit, Stamps, Zone};

/// The window grows no further: an entry that does not fit is left to who reads the file whole.
const MOST_OCTETS: usize = 1 << 20;
/// A stamp for records of which nothing is told.
const NOWHERE: u32 = 0;

/// How a file differs from what it was.
#[derive(Debug)]
pub struct Differences {
    /// The RRsets that differ.
    pub changed: Vec<Changed>,
    /// What it holds; `None`: what it held.
    pub file: Option<Zone>,
    /// Of all that was read, as in [`super::Read`].
    pub digest: u128,
}

/// Reads the file at `path` again, from which `zone` has drifted; it lies under `overlay`, and its file was read without a doubt.
/// `None`: that does not tell the difference, for whatever reason. Else `stamps` takes what is read.
pub fn differences(
    path: &Path,
    (zone, drift): (&Zone, &Drift),
    overlay: &Overlay,
    stamps: &mut Stamps,
) -> Option<Differences> {
    differences_by(READ_OCTETS, path, (zone, drift), overlay, stamps)
}

fn differences_by(
    octets: u64,
    path: &Path,
    (zone, drift): (&Zone, &Drift),
    overlay: &Overlay,
    stamps: &mut Stamps,
) -> Option<Differences> {
    let mut noted = Stamps::default();
    noted.note(path);
    let mut unused = Stamps::default();
    let mut reader = Reader::new(zone.apex(), &mut unused);
    reader.against = Some(Against::new(zone, drift)?);
    let digest = pass_through(octets, path, &mut reader)?;
    let changed = reader.against?.finish()?;
    let file = if changed.is_empty() { None } else { Some(file_of(zone, drift, &changed, overlay)?) };
    *stamps = noted;
    Some(Differences { changed, file, digest })
}

/// Has `reader` take in all of the file, of which so many octets are read at a time. Gives the digest.
fn pass_through(read_octets: u64, path: &Path, reader: &mut Reader<'_>) -> Option<u128> {
    let mut file = File::open(path).ok()?;
    let octets = u32::try_from(file.metadata().ok()?.len()).ok()? as usize; // no more are read whole, either
    let mut digest = SipHasher13::new();
    digest.write_usize(octets);
    let mut scope = Scope { origin: reader.apex.clone(), owner: Vec::new() };
    let (mut window, mut passed, mut is_end) = (Vec::new(), 0, false);
    while !is_end {
        let known = window.len();
        is_end = (&mut file).take(read_octets).read_to_end(&mut window).ok()? == 0;
        digest.write(&window[known..]);
        let begin = if passed == 0 { Lexer::new(&window).position() } else { 0 };
        let used = piece(reader, &window[begin..], is_end, &mut scope)? + begin;
        passed += used;
        window.drain(..used);
        if window.len() > MOST_OCTETS {
            return None;
        }
    }
    (passed == octets && window.is_empty()).then(|| digest.finish128().as_u128())
}

/// Takes in the whole entries of `text`, which begins with a line; at the end of the file all. Gives the octets they have.
fn piece(reader: &mut Reader<'_>, text: &[u8], is_end: bool, scope: &mut Scope) -> Option<usize> {
    let whole = if is_end { text.len() } else { text.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1) };
    let mut lexer = Lexer::new(text);
    lexer.go_on_at(0);
    let mut entry = Entry::default();
    let mut plain = std::mem::take(&mut reader.plain);
    let used = loop {
        let at = lexer.position();
        if at == whole {
            break at;
        }
        if let Some(next) = plain.read(text, at, &scope.origin).filter(|next| *next <= whole)
            && reader.plain_line(NOWHERE, plain.line(next), scope).is_some()
        {
            lexer.go_on_at(next);
        } else {
            let next = lexer.next(&mut entry);
            if !is_end && (lexer.position() > whole || next.is_err()) {
                break at;
            }
            match next {
                Ok(true) => reader.entry(NOWHERE, &entry, scope),
                Ok(false) => break lexer.position(),
                Err(_) => return None,
            }
        }
        if reader.report.is_in_doubt {
            return None;
        }
    };
    reader.plain = plain;
    (!reader.report.is_in_doubt).then_some(used)
}

/// What a file holds that has `changed`; `None`: there is a doubt about it.
fn file_of(zone: &Zone, drift: &Drift, changed: &[Changed], overlay: &Overlay) -> Option<Zone> {
    let mut edit = Edit::new(zone);
    for (owner, rtype, in_file) in drift.iter() {
        edit.set(owner, rtype, in_file.clone());
    }
    for Changed { owner, rtype, after, .. } in changed {
        edit.set(owner, *rtype, after.clone());
    }
    let file = zone.with(&edit.diff(), overlay).ok()?;
    let mut report = Report::default();
    checks::check(&file, file.apex(), &mut report);
    (!report.is_in_doubt).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Name, Rtype, Ttl};
    use crate::zone::compiled::compile_gathered;
    use crate::zone::diff::Record;
    use crate::zone::master::{self, print_zone};
    use proptest::prelude::*;
    use proptest::sample::subsequence;
    use std::collections::BTreeMap;
    use std::fs;

    const HEAD: &str = "@ 60 SOA ns mail 7 1 1 1 60\n@ 60 NS ns\nns 60 A 192.0.2.53\n";

    fn apex() -> Name {
        "example".parse().unwrap()
    }

    fn sorted(zone: &Zone) -> String {
        let text = print_zone(zone).to_lowercase(); // letter case alone is no change of a name
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    /// An RRset, its records in order.
    type Sorted = (Ttl, Vec<Box<[u8]>>);

    /// RRsets that differ.
    fn by_name(changed: &[Changed]) -> BTreeMap<(Name, Rtype), [Option<Sorted>; 2]> {
        let of = |set: &Option<crate::zone::Rrset>| {
            set.as_ref().map(|set| {
                let mut rdatas = set.rdatas.clone();
                rdatas.sort();
                (set.ttl, rdatas)
            })
        };
        changed.iter().map(|c| ((c.owner.clone(), c.rtype), [of(&c.before), of(&c.after)])).collect()
    }

    /// A folder with a file `zone` that can be written anew.
    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
        fn put(&self, text: &str) -> std::path::PathBuf {
            let path = self.0.path().join("zone");
            fs::write(&path, text).unwrap();
            path
        }
    }

    /// What a whole reading says, held against what reading again says; gives the latter.
    fn both_ways(text: &str, octets: u64, zone: &Zone, drift: &Drift) -> Option<Differences> {
        let (folder, overlay) = (Folder::new(), Overlay::default());
        let path = folder.put(text);
        let whole = master::read(&path, &apex());
        let mut stamps = Stamps::default();
        let again = differences_by(octets, &path, (zone, drift), &overlay, &mut stamps);
        assert_eq!(stamps.first(), again.as_ref().map(|_| path.as_path()));
        let told = again?;
        let whole = whole.unwrap_or_else(|mistakes| panic!("not told: {mistakes:?}\n{text}"));
        assert!(whole.warnings.is_empty(), "not told: {:?}\n{text}", whole.warnings);
        assert_eq!(told.digest, whole.digest);
        let file = compile_gathered(whole.records, &overlay);
        assert_eq!(by_name(&told.changed), by_name(&drift.changed(zone, &file)), "{text}");
        match &told.file {
            Some(told) => assert_eq!(sorted(told), sorted(&file), "{text}"),
            None => assert!(told.changed.is_empty()),
        }
        Some(told)
    }

    fn zone(text: &str) -> Zone {
        let read = master::read_text(text.into(), Path::new("zone"), &apex()).unwrap();
        assert!(read.warnings.is_empty(), "{:?}", read.warnings);
        compile_gathered(read.records, &Overlay::default())
    }

    #[test]
    fn what_came_went_and_moved_is_told() {
        let old = zone(&format!(
            "{HEAD}a 60 A 192.0.2.1\na 60 A 192.0.2.2\nb 60 TXT \"b\"\nc.d 60 MX 1 a\ne 60 A 192.0.2.5\n"
        ));
        let new = "c.D 60 MX ( 1\n a )\ne 30 A 192.0.2.5\nf.g 60 A 192.0.2.6\na 60 A 192.0.2.2\n";
        let new = HEAD.replace(" 7 ", " 8 ") + new;
        for octets in [1, 7, 1 << 20] {
            let told = both_ways(&new, octets, &old, &Drift::default()).unwrap();
            let names: Vec<String> = told.changed.iter().map(|c| format!("{} {}", c.owner, c.rtype)).collect();
            assert_eq!(names, ["example SOA", "a.example A", "b.example TXT", "e.example A", "f.g.example A"]);
        }
        let same = both_ways(
            &format!("{HEAD}e 60 A 192.0.2.5\n"),
            9,
            &zone(&format!("{HEAD}E A 192.0.2.5\n")),
            &Drift::default(),
        );
        assert!(same.unwrap().changed.is_empty());
    }

    #[test]
    fn doubts_and_mistakes_are_left_to_a_whole_reading() {
        let old = zone(&format!("{HEAD}a 60 A 192.0.2.1\nb 60 MX 1 a\nc 60 A 192.0.2.3\n"));
        for doubtful in [
            "a 60 A 192.0.2.1\na 60 A 192.0.2.1\nb 60 MX 1 a\nc 60 A 192.0.2.3\n", // twice
            "a 60 A 192.0.2.1\na 30 A 192.0.2.2\nb 60 MX 1 a\n",                   // two TTLs
            "b 60 MX 1 a\nc 60 A 192.0.2.3\n",                                     // a target without an address
            "a 60 A 192.0.2.1\nb 60 MX 1 a\nc 60 CNAME a\nc 60 A 192.0.2.3\n",     // CNAME and data
            "a 60 A 192.0.2.1\nother. 60 A 192.0.2.1\n",                           // out of the zone
            "a 60 A 192.0.2.\n",
            "a 60 TXT ( \"b\"\n",
            "$INCLUDE more\n",
        ] {
            assert!(both_ways(&format!("{HEAD}{doubtful}"), 20, &old, &Drift::default()).is_none(), "{doubtful}");
        }
        assert!(both_ways("a 60 A 192.0.2.1\n", 20, &old, &Drift::default()).is_none(), "no SOA");
        let long = format!("{HEAD}a 60 TXT ({})\n", " \"x\"\n".repeat(MOST_OCTETS / 4));
        assert!(both_ways(&long, READ_OCTETS, &old, &Drift::default()).is_none());
        let signed = zone(&format!("{HEAD}a 60 TYPE46 \\# 20 0001080200000e10000000000000000000000000\n"));
        assert!(both_ways(HEAD, 20, &signed, &Drift::default()).is_none());
    }

    /// Lines of files, in which most that can be the matter is the matter with some.
    const LINES: [&str; 24] = [
        "a 60 A 192.0.2.1",
        "a 60 A 192.0.2.2",
        "A 60 A 192.0.2.3",
        "a 30 A 192.0.2.3",
        "a 60 MX 1 mail",
        "mail 60 A 192.0.2.9",
        "mail 60 AAAA ::1",
        "b 60 CNAME a",
        "b 60 TXT \"no alias\"",
        "c.b 60 TXT ( \"over\"\n \"lines\" ) ; and more",
        "*.w 60 A 192.0.2.4",
        "x.w 60 MX 5 y.w",
        "sub 60 NS ns.sub",
        "ns.sub 60 A 192.0.2.6",
        "d.sub 60 TXT \"occluded\"",
        "down 60 DNAME other.",
        "e.down 60 A 192.0.2.7",
        "a 60 TYPE65280 \\# 2 abcd",
        "a 60 A 192.0.2.1 ; again",
        "s 60 SRV 1 1 1 www.example.com.example.",
        "$ORIGIN f\ng 60 A 192.0.2.8\n$ORIGIN example.",
        "$GENERATE 1-3 h$ 60 A 192.0.2.$",
        "i 60 NS ns\nj.i 60 A 192.0.2.1",
        "@ 60 MX 1 a\n 60 TXT \"blank\"",
    ];

    fn text(serial: u32, lines: &[&str]) -> String {
        format!("{}\n{}\n", HEAD.replace(" 7 ", &format!(" {serial} ")), lines.join("\n"))
    }

    proptest! {
        #[test]
        fn it_tells_what_a_whole_reading_does(
            first in subsequence(LINES.to_vec(), 0..10),
            second in subsequence(LINES.to_vec(), 0..10),
            third in subsequence(LINES.to_vec(), 0..14).prop_shuffle(),
            updates in proptest::collection::vec((0u8..4, 0u8..5, any::<bool>()), 0..5),
            octets in 1u64..200,
        ) {
            let read = |text: &str| master::read_text(text.into(), Path::new("zone"), &apex()).ok().filter(|r| r.warnings.is_empty());
            let base = read(&text(7, &first)).unwrap_or_else(|| read(&text(7, &[])).unwrap());
            let base = compile_gathered(base.records, &Overlay::default());
            // Some of its names are newer than its table, and some were changed by others than the file.
            let (mut zone, mut drift) = (base.clone(), Drift::default());
            if let Some(edited) = both_ways(&text(8, &second), octets, &base, &drift) {
                zone = edited.file.unwrap_or(base);
            }
            let mut edit = Edit::new(&zone);
            for (name, last, comes) in updates {
                let owner: Name = format!("{}.example", ["a", "c.b", "u", "mail"][usize::from(name)]).parse().unwrap();
                let record = Record { owner, rtype: Rtype::A, ttl: Ttl::from_secs(60), rdata: [192, 0, 2, last].into() };
                if comes {
                    edit.add(record);
                } else {
                    edit.remove(&record.owner, Rtype::A, &record.rdata);
                }
            }
            drift.follow(&edit);
            let served = zone.with(&edit.diff(), &Overlay::default()).unwrap();
            both_ways(&text(9, &third), octets, &served, &drift);
        }
    }
}
