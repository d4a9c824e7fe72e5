//! Whole files in, contents and mistakes out.

use proptest::prelude::*;

use super::*;
use crate::diagnostic::Severity;

const HEAD: &str = "@ 3600 IN SOA ns host 1 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.1\n";

fn apex() -> Name {
    "example.org".parse().unwrap()
}

fn read(text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    parse(text.as_bytes(), Path::new("zone"), &apex())
}

/// The records that `text` adds to [`HEAD`], as lines of [`print`] with blanks for tabs, and the warnings.
fn with_head(text: &str) -> (Vec<String>, Vec<String>) {
    let loaded = read(&format!("{HEAD}{text}")).unwrap();
    let head: Vec<String> = print(&read(HEAD).unwrap().contents).lines().map(|l| l.replace('\t', " ")).collect();
    let all = print(&loaded.contents);
    let records = all.lines().map(|l| l.replace('\t', " ")).filter(|l| !head.contains(l)).collect();
    (records, loaded.warnings.iter().map(ToString::to_string).collect())
}

fn records(text: &str) -> Vec<String> {
    let (records, warnings) = with_head(text);
    assert_eq!(warnings, [""; 0], "{text}");
    records
}

/// The warnings for what stands behind [`HEAD`], whose last line is 3.
fn warnings(text: &str) -> Vec<String> {
    with_head(text).1
}

fn mistakes(text: &str) -> Vec<String> {
    read(&format!("{HEAD}{text}")).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn owners_ttls_and_classes() {
    assert_eq!(
        records("a 60 IN A 192.0.2.1\n  IN 1h AAAA ::1\nB.example.org. in a 192.0.2.2\n CLASS1 TXT x\n"),
        [
            "a.example.org. 60 IN A 192.0.2.1",
            "a.example.org. 3600 IN AAAA ::1",
            "B.example.org. 3600 IN A 192.0.2.2",
            "B.example.org. 3600 IN TXT \"x\"",
        ]
    );
    assert_eq!(records("\\@ TXT ( a ; note\n\n \"b c\" )"), ["\\@.example.org. 3600 IN TXT \"a\" \"b c\""]);
    assert_eq!(records("x TYPE65280 \\# 1 ff\ny A \\# 4 c0000201").len(), 2);
}

#[test]
fn missing_ttls() {
    let ttls = |text: &str| {
        let loaded = read(text).unwrap();
        ["ns", "a", "b"].map(|n| {
            let name = Name::parse(n, Some(&apex())).unwrap();
            loaded.contents.rrset(&name, Rtype::A).map(|set| set.ttl.secs())
        })
    };
    let soa = "@ SOA ns host 1 7200 900 1209600 300\n@ NS ns\n";
    assert_eq!(ttls(&format!("{soa}ns A 192.0.2.1\na 60 A 192.0.2.1\nb A 192.0.2.1")), [Some(300), Some(60), Some(60)]);
    assert_eq!(
        ttls(&format!("$TTL 1d\n{soa}ns 60 A 192.0.2.1\na A 192.0.2.1\n$TTL 5\nb A 192.0.2.1")),
        [Some(60), Some(86400), Some(5)]
    );
    let early = read(&format!("ns A 192.0.2.1\n{soa}")).unwrap();
    assert_eq!(early.warnings[0].to_string(), "zone:1:1: warning: no TTL was given yet: 3600 is taken");
}

#[test]
fn directives() {
    assert_eq!(
        records("$ORIGIN sub\na A 192.0.2.1\n$origin example.org.\nb CNAME a\n"),
        ["b.example.org. 3600 IN CNAME a.example.org.", "a.sub.example.org. 3600 IN A 192.0.2.1"]
    );
    assert_eq!(
        mistakes("$ORIGIN\n$TTL x\n$FOO 1\n$TTL 1 2\n"),
        [
            "zone:4:8: error: $ORIGIN wants a name",
            "zone:5:6: error: \"x\" is no TTL (seconds, or units as in 1h30m, at most 2147483647 s)",
            "zone:6:1: error: \"$FOO\" is no directive ($ORIGIN, $TTL, $INCLUDE, $GENERATE)",
            "zone:7:8: error: \"2\" is one field too many",
        ]
    );
}

#[test]
fn names_without_their_final_dot_are_told() {
    let warnings = |text: &str| {
        let zone = format!("$TTL 1h\n@ SOA ns host 1 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.1\n{text}\n");
        let read = read(&zone).unwrap();
        read.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let help = "(a name that is not relative to the origin wants a dot at its end)";
    for (record, target) in [
        ("www CNAME edge.example.net", "edge.example.net.example.org"),
        ("www CNAME ns.example.org", "ns.example.org.example.org"),
        ("_x._tcp SRV 0 0 443 host.example.com", "host.example.com.example.org"),
    ] {
        let told = warnings(record);
        assert!(told.contains(&format!("nothing is at {target}")) && told.ends_with(help), "{record}: {told}");
    }
    let mail = warnings("@ MX 5 mail.example.org");
    assert!(mail.contains("mail.example.org.example.org has no address") && mail.ends_with(help), "{mail}");
    for record in
        ["www CNAME edge.example.net.", "www CNAME app.eu", "www CNAME a.net\nnet A 192.0.2.1", "www CNAME ns"]
    {
        assert_eq!(warnings(record), "", "{record}");
    }
}

#[test]
fn generated_records() {
    assert_eq!(
        records("$GENERATE 1-3/2 h-${0,3} 60 IN A 10.0.0.$\n"),
        ["h-001.example.org. 60 IN A 10.0.0.1", "h-003.example.org. 60 IN A 10.0.0.3"]
    );
    assert_eq!(records("$GENERATE 7-7 m$ MX \"$ ns\""), ["m7.example.org. 3600 IN MX 7 ns.example.org."]);
    assert_eq!(records("$GENERATE 7-7 m$ MX $ ns"), ["m7.example.org. 3600 IN MX 7 ns.example.org."]);
    assert_eq!(records("$GENERATE 7-7 t$ TXT \"a $\" \"b;\""), ["t7.example.org. 3600 IN TXT \"a 7\" \"b;\""]);
    assert_eq!(
        mistakes("$GENERATE 250-260 h$ A 10.0.0.$\n$GENERATE 1-0 a A 1.2.3.4\n$GENERATE 1-2 a\n$GENERATE 1-2 a$ $ X\n"),
        [
            "zone:4:24: error: A: \"10.0.0.256\" is no IPv4 address (four numbers, as in 192.0.2.1)",
            "zone:5:11: error: the range \"1-0\" runs backwards",
            "zone:6:16: error: $GENERATE wants a range, an owner name, a type and RDATA",
            "zone:7:18: error: \"$\" is no record type",
        ]
    );
}

#[test]
fn every_mistake_with_its_place() {
    let text = "a A 1.2.3\nb 1x A 1.2.3.4\nc CH A 1.2.3.4\nd NONSENSE x\ne A\nf.. A 1.2.3.4\ng A ( 1.2.3.4\n h )\ni TXT \"x\nj ANY x\n\
                k MX 10 a b\n  ( \n";
    let text = format!("{HEAD}{text}");
    let errors = read(&text).unwrap_err();
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "zone:4:5: error: A: \"1.2.3\" is no IPv4 address (four numbers, as in 192.0.2.1)",
            "zone:5:3: error: \"1x\" is no TTL (seconds, or units as in 1h30m, at most 2147483647 s)",
            "zone:6:3: error: the class CH is not served: only IN is",
            "zone:7:3: error: \"NONSENSE\" is no record type",
            "zone:8:4: error: A: the IPv4 address is missing",
            "zone:9:1: error: the owner name \"f..\" is no domain name: a label is empty",
            "zone:11:2: error: A: \"h\" is one field too many",
            "zone:12:7: error: this string has no end",
            "zone:13:3: error: ANY can't stand in a zone: it is for queries and messages only",
            "zone:14:11: error: MX: \"b\" is one field too many",
            "zone:15:3: error: this parenthesis is never closed",
        ]
    );
    let place = errors[1].place.as_ref().unwrap();
    assert_eq!((place.length, place.source.as_str()), (2, "b 1x A 1.2.3.4"));
}

#[test]
fn columns_count_characters() {
    let errors = read(&format!("{HEAD}ö TXT \"ü\" \\1\n")).unwrap_err();
    assert_eq!(errors[0].place.as_ref().map(|p| (p.line, p.column, p.length)), Some((4, 11, 2)));
}

#[test]
fn of_very_many_mistakes_a_hundred_are_told() {
    let errors = read(&"a A x\n".repeat(200)).unwrap_err();
    assert_eq!(errors.len(), 101);
    assert_eq!(errors[100].to_string(), "zone: error: there are more; the first 100 are told");
    let loaded = read(&format!("{HEAD}{}", "other.net. A 192.0.2.1\n".repeat(200))).unwrap();
    assert_eq!(loaded.warnings.len(), 101);
    assert!(loaded.warnings.iter().all(|w| w.severity == Severity::Warning));
}

#[test]
fn what_every_server_refuses() {
    for (text, told) in [
        ("@ SOA ns host 2 2 2 2 2", "zone:4:1: error: example.org has more than one SOA"),
        (
            "ns SOA ns host 2 2 2 2 2",
            "zone:4:1: error: a SOA stands at ns.example.org, which is not the apex example.org",
        ),
        ("a CNAME b\na A 192.0.2.1", "zone:5:1: error: a.example.org has a CNAME, and A beside it"),
        ("a CNAME b\na CNAME c", "zone:5:1: error: a.example.org has more than one CNAME"),
        ("a DNAME b\na DNAME c", "zone:5:1: error: a.example.org has more than one DNAME"),
        (
            "a DNAME b\nx.a A 192.0.2.1",
            "zone:5:1: error: x.a.example.org stands below the DNAME of a.example.org, which answers for it",
        ),
    ] {
        assert_eq!(mistakes(text), [told], "{text}");
    }
    let none = read("@ 60 NS ns.example.net.\n").unwrap_err();
    assert_eq!(none[0].to_string(), "zone: error: the zone example.org has no SOA record");
    let absent = load(Path::new("/nonexistent/zone"), &apex()).unwrap_err();
    assert!(absent[0].to_string().starts_with("/nonexistent/zone: error: can't be read: "), "{}", absent[0]);
}

#[test]
fn what_is_doubtful() {
    for (text, told) in [
        (
            "a 60 A 192.0.2.1\na 30 A 192.0.2.2",
            "5:1: warning: a.example.org A: the TTLs of one RRset differ; the least is taken",
        ),
        (
            "a A 192.0.2.1\na A 192.0.2.1",
            "5:1: warning: a.example.org A: this record is given twice; the second is dropped",
        ),
        ("other.net. A 192.0.2.1", "4:1: warning: other.net is outside of the zone example.org: left out"),
        ("a MX 1 b", "4:1: warning: a.example.org MX: b.example.org has no address in this zone"),
        (
            "a MX 1 b.example.org",
            "4:1: warning: a.example.org MX: b.example.org.example.org has no address in this zone (a name that is not relative \
             to the origin wants a dot at its end)",
        ),
        (
            "a MX 1 c\nc CNAME ns",
            "4:1: warning: a.example.org MX: c.example.org is an alias (CNAME), which RFC 2181, 10.3, forbids",
        ),
        (
            "s NS ns.s",
            "4:1: warning: s.example.org is delegated to ns.s.example.org below it, whose address (glue) is missing",
        ),
        (
            "s NS ns\nx.s TXT a",
            "5:1: warning: x.s.example.org TXT is never answered: s.example.org is delegated away, and it is below that zone cut \
             without being glue",
        ),
        (
            "s NS ns\ns MX 1 a",
            "5:1: warning: s.example.org MX is never answered: s.example.org is delegated away, and it is at that zone cut \
             without being glue",
        ),
        ("a TXT \"x\ny\"", "4:7: warning: this string runs over lines; only NSD reads that outside of parentheses"),
    ] {
        assert_eq!(warnings(text), [format!("zone:{told}")], "{text}");
    }
    for right in [
        "s NS ns.s\nns.s A 192.0.2.1\ns DS 1 8 2 00",
        "s NS ns.t\nt NS ns",
        "a MX 1 x.w\n*.w A 192.0.2.1",
        "a MX 0 .",
        "a CNAME b\na RRSIG CNAME 13 3 3600 20300101000000 20200101000000 1 @ AAAA\na NSEC b CNAME RRSIG NSEC",
        "a RRSIG A 13 3 60 20300101000000 20200101000000 1 @ AAAA\na 60 RRSIG MX 13 3 60 20300101000000 20200101000000 1 @ AAAA",
    ] {
        assert_eq!(warnings(right), [""; 0], "{right}");
    }
    let no_ns = read("@ 60 SOA ns host 1 2 3 4 5").unwrap();
    assert_eq!(no_ns.warnings[0].to_string(), "zone:1:1: warning: the zone example.org has no NS record at its apex");
}

#[test]
fn of_different_ttls_the_least_is_taken() {
    let loaded = read(&format!("{HEAD}a 60 A 192.0.2.1\na 30 A 192.0.2.2\na 90 A 192.0.2.3")).unwrap();
    let set = loaded.contents.rrset(&"a.example.org".parse().unwrap(), Rtype::A).unwrap();
    assert_eq!((set.ttl.secs(), set.rdatas.len(), loaded.warnings.len()), (30, 3, 1));
}

#[test]
fn includes() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), text).unwrap();
    };
    let main = folder.path().join("main");
    write("main", &format!("{HEAD}last TXT a\n$INCLUDE sub/one one\n TXT b\nafter A 192.0.2.9\n"));
    write("sub/one", "a A 192.0.2.1\n$TTL 60\n$INCLUDE two\n");
    write("sub/two", "b A 192.0.2.2\n");
    let loaded = load(&main, &apex()).unwrap();
    let names: Vec<PathBuf> = ["main", "sub/one", "sub/two"].map(|n| folder.path().join(n)).into();
    assert_eq!(loaded.files, names);
    let printed = print(&loaded.contents).replace('\t', " ");
    for line in [
        "a.one.example.org. 3600 IN A 192.0.2.1",
        "b.one.example.org. 60 IN A 192.0.2.2",
        "last.example.org. 60 IN TXT \"b\"",
        "after.example.org. 60 IN A 192.0.2.9",
    ] {
        assert!(printed.contains(line), "{line} in {printed}");
    }

    write("sub/two", "b A x\n$INCLUDE ../main\n$INCLUDE absent\n$INCLUDE\n");
    let told: Vec<String> = load(&main, &apex()).unwrap_err().iter().map(ToString::to_string).collect();
    let two = names[2].display();
    assert!(told[0].starts_with(&format!("{two}:1:5: error: A: \"x\"")), "{told:?}");
    assert_eq!(told[1], format!("{two}:2:10: error: \"../main\" includes itself"));
    assert!(told[2].starts_with(&format!("{two}:3:10: error: \"absent\" can't be read: ")), "{told:?}");
    assert_eq!(told[3], format!("{two}:4:9: error: $INCLUDE wants a file"));

    for depth in 0..20 {
        write(&format!("deep{depth}"), &format!("$INCLUDE deep{}\n", depth + 1));
    }
    let told = load(&folder.path().join("deep0"), &apex()).unwrap_err();
    assert!(told[0].to_string().ends_with("files are included more than 16 deep"), "{}", told[0]);
}

#[test]
fn print_begins_with_the_soa_and_orders_owners() {
    let printed = print(
        &read(&format!("b A 192.0.2.2\na.b A 192.0.2.3\n*.b A 192.0.2.4\nA A 192.0.2.1\n{HEAD}")).unwrap().contents,
    );
    let starts: Vec<String> = printed.lines().map(|l| l.split('\t').step_by(3).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        starts,
        [
            "example.org. SOA",
            "example.org. NS",
            "A.example.org. A",
            "b.example.org. A",
            "*.b.example.org. A",
            "a.b.example.org. A",
            "ns.example.org. A"
        ]
    );
}

fn same(a: &Contents, b: &Contents) -> bool {
    let sorted = |c: &Contents| {
        let mut all: Vec<_> = c
            .owners
            .iter()
            .flat_map(|(n, sets)| sets.iter().map(move |s| (n.wire().to_vec(), s.rtype, s.ttl, s.rdatas.clone())))
            .collect();
        all.sort();
        all
    };
    a.apex == b.apex && sorted(a) == sorted(b)
}

proptest! {
    #[test]
    fn contents_survive_print(
        records in proptest::collection::vec(
            (proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..5), 0..3), 0usize..4, 0u32..=Ttl::MAX.secs(), any::<[u8; 5]>()),
            0..30,
        )
    ) {
        let mut contents = read(HEAD).unwrap().contents;
        for (labels, kind, ttl, seed) in records {
            let mut wire: Vec<u8> = labels.iter().flat_map(|l| [&[l.len() as u8], &l[..]].concat()).collect();
            wire.extend_from_slice(apex().wire());
            let owner = Name::from_wire(&wire).unwrap();
            let (rtype, rdata) = match kind {
                0 => (Rtype::A, seed[..4].to_vec()),
                1 => (Rtype::TXT, [&[5], &seed[..]].concat()),
                2 => (Rtype::MX, [&[0, 1], &wire[..]].concat()),
                _ => (Rtype(65_280), seed.to_vec()),
            };
            let set = contents.rrset_mut(&owner, rtype, Ttl::from_secs(ttl.into()));
            let form = rdata::canonical(rtype, &rdata);
            if !set.rdatas.iter().any(|r| rdata::canonical(rtype, r) == form) {
                set.rdatas.push(rdata.clone().into());
            }
        }
        let printed = print(&contents);
        let again = read(&printed).unwrap().contents;
        prop_assert!(same(&contents, &again), "{}", printed);
    }

    #[test]
    fn no_text_panics(text in "([@a$ \\n\"\\\\();]|IN |A |TXT |SOA |1 |\\$ORIGIN |\\$TTL |\\$GENERATE |1-2 |\\\\# ){0,40}") {
        let _ = read(&format!("{HEAD}{text}"));
    }

    #[test]
    fn no_octets_panic(text in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&[HEAD.as_bytes(), &text].concat(), Path::new("zone"), &apex());
    }
}
