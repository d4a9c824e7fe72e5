//! Reading, writing, and hickory-proto's opinion on the types that it reads too.

use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
use proptest::prelude::*;

use super::*;

fn origin() -> Name {
    "Example.org".parse().unwrap()
}

/// Tokens of `text`, split at blanks; `"` opens and closes a string.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let (mut all, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        if bytes[i] == b' ' {
            i += 1;
            continue;
        }
        let quoted = bytes[i] == b'"';
        let start = i + quoted as usize;
        let mut end = start;
        while end < bytes.len() && (bytes[end] != b'"' && (quoted || bytes[end] != b' ')) {
            end += 1 + (bytes[end] == b'\\') as usize;
        }
        let end = end.min(bytes.len());
        all.push(Token { text: &bytes[start..end], quoted, glued: i > 0 && bytes[i - 1] != b' ' });
        i = end + quoted as usize;
    }
    all
}

fn read(rtype: &str, text: &str) -> Result<Box<[u8]>, RdataError> {
    parse(Rtype::parse(rtype).unwrap(), &tokens(text), &origin())
}

/// What is read from `text`, written again.
fn again(rtype: &str, text: &str) -> String {
    to_text(Rtype::parse(rtype).unwrap(), &read(rtype, text).unwrap())
}

#[test]
fn text_of_each_type() {
    for (rtype, text, written) in [
        ("A", "192.0.2.1", ""),
        ("AAAA", "2001:DB8:0::1", "2001:db8::1"),
        ("NS", "Ns1", "Ns1.Example.org."),
        ("CNAME", "@", "Example.org."),
        ("MX", "0 .", ""),
        ("SOA", "ns h\\.m 1 1h 15m 1w 60", r"ns.Example.org. h\.m.Example.org. 1 3600 900 604800 60"),
        ("TXT", r#"plain "two words" "" \"\\\010"#, r#""plain" "two words" "" "\"\\\010""#),
        ("SPF", "v=spf1", r#""v=spf1""#),
        ("HINFO", "PC \"Plan 9\"", r#""PC" "Plan 9""#),
        ("SRV", "0 5 5060 sip", "0 5 5060 sip.Example.org."),
        ("CAA", "0 issue \"ca.example; a=b\"", ""),
        ("URI", "10 1 \"ftp://a/b\"", ""),
        ("RP", "joe .", "joe.Example.org. ."),
        ("AFSDB", "1 db.", ""),
        ("NAPTR", "100 50 \"s\" \"SIP+D2U\" \"!^.*$!a!\" .", ""),
        ("DNAME", "a.b.", ""),
        (
            "DS",
            "60485 RSASHA1 1 2BB183AF5F22588179A53B0A 98631FAD1A292118",
            "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
        ),
        ("CDS", "0 0 0 00", ""),
        ("DNSKEY", "256 3 5 AQPSKmyn fzU=", "256 3 5 AQPSKmynfzU="),
        ("RRSIG", "A 5 3 86400 20030322173103 20030220173103 2642 example.com. oJB1", ""),
        (
            "RRSIG",
            "TYPE65280 13 3 1h 1048354263 0 2642 @ oJB1",
            "TYPE65280 13 3 3600 20030322173103 19700101000000 2642 Example.org. oJB1",
        ),
        ("NSEC", "host.a. A MX RRSIG NSEC TYPE1234", ""),
        ("NSEC", "host.a. TYPE1234 NSEC A A", "host.a. A NSEC TYPE1234"),
        (
            "NSEC3",
            "1 1 12 aabbccdd 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX",
            "1 1 12 AABBCCDD 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR MX",
        ),
        ("NSEC3", "1 0 0 - 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR", ""),
        ("NSEC3PARAM", "1 0 0 -", ""),
        ("TLSA", "3 1 1 0123 4567", "3 1 1 01234567"),
        ("SSHFP", "2 1 123456789abcdef67890123456789abcdef67890", "2 1 123456789ABCDEF67890123456789ABCDEF67890"),
        ("CERT", "PKIX 1 RSASHA256 AQID", "1 1 8 AQID"),
        ("CSYNC", "66 3 A NS AAAA", ""),
        ("ZONEMD", "1 1 1 00FF", ""),
        ("EUI48", "00-00-5e-00-53-2a", ""),
        ("EUI64", "00-00-5e-ef-10-00-00-2a", ""),
        ("L64", "10 2001:0db8:1140:1000", ""),
        ("NID", "10 14:4fff:ff20:0", "10 0014:4fff:ff20:0000"),
        ("L32", "10 192.0.2.1", ""),
        ("LOC", "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000.00m 10.00m", ""),
        ("LOC", "42 21 n 71 06 18 W 24m 30m", "42 21 0.000 N 71 6 18.000 W 24.00m 30.00m 10000.00m 10.00m"),
        ("APL", "1:192.168.32.0/21 !1:192.168.38.0/28 2:2001:db8::/32", ""),
        ("APL", "", ""),
        ("IPSECKEY", "10 1 2 192.0.2.38 AQNR", ""),
        ("IPSECKEY", "10 3 2 gw AQNR", "10 3 2 gw.Example.org. AQNR"),
        ("IPSECKEY", "10 0 2 . AQNR", ""),
        ("TYPE65280", r"\# 4 0A00 0001", r"\# 4 0A000001"),
        ("TYPE65280", r"\# 0", ""),
        ("A", r"\# 4 0A000001", "10.0.0.1"),
    ] {
        assert_eq!(again(rtype, text), if written.is_empty() { text } else { written }, "{rtype} {text}");
    }
}

#[test]
fn service_parameters() {
    for (text, written) in [
        ("0 foo.example.com.", ""),
        ("1 . port=53", ""),
        ("1 foo. key667=hello", r#"1 foo. key667="hello""#),
        (r"1 foo. key667=hello\210qoo", r#"1 foo. key667="hello\210qoo""#),
        ("1 foo. ipv6hint=2001:db8::1,2001:db8::53:1", ""),
        (
            "16 foo. alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1",
            "16 foo. mandatory=alpn,ipv4hint alpn=\"h2,h3-19\" ipv4hint=192.0.2.1",
        ),
        (r#"16 foo. alpn="f\\\\oo\\,bar,h2""#, ""),
        (r"16 foo. alpn=f\\\092oo\092,bar,h2", r#"16 foo. alpn="f\\\\oo\\,bar,h2""#),
        ("1 . no-default-alpn alpn=h2", "1 . alpn=\"h2\" no-default-alpn"),
        (
            "1 . ech=AEj+DQ== dohpath=/q{?dns} ohttp tls-supported-groups=29,23",
            "1 . ech=\"AEj+DQ==\" dohpath=\"/q{?dns}\" ohttp tls-supported-groups=29,23",
        ),
        (r"1 . key1=\002h2", "1 . alpn=\"h2\""),
        (r"1 . key3=\001", r#"1 . key3="\001""#),
    ] {
        assert_eq!(again("HTTPS", text), if written.is_empty() { text } else { written }, "{text}");
    }
    for bad in [
        "1 . port=1 port=2",
        "1 . alpn",
        "1 . alpn=",
        "1 . alpn=a,,b",
        "1 . ohttp=1",
        "1 . mandatory=port",
        "1 . mandatory=port,port port=1",
        "1 . port=65536",
        "1 . ipv4hint=1.2.3",
        "1 . key65536=x",
        "1 . nonsense=x",
    ] {
        assert!(read("SVCB", bad).is_err(), "{bad}");
    }
}

#[test]
fn mistakes_are_told_with_their_token() {
    for (rtype, text, token, message) in [
        ("A", "1.2.3", Some(0), r#"A: "1.2.3" is no IPv4 address (four numbers, as in 192.0.2.1)"#),
        ("A", "1.2.3.4 5", Some(1), r#"A: "5" is one field too many"#),
        ("MX", "10", None, "MX: the target name is missing"),
        ("MX", "mail 10", Some(0), r#"MX: "mail" is no preference (a number up to 65535)"#),
        ("MX", "65536 a", Some(0), r#"MX: "65536" is no preference (a number up to 65535)"#),
        ("MX", "10 a..b", Some(1), r#"MX: the target name "a..b" is no domain name: a label is empty"#),
        (
            "TXT",
            r"a \25",
            Some(1),
            r#"TXT: "\\25" is no text (a backslash wants three digits up to 255, or one other character, behind it)"#,
        ),
        ("DS", "1 8 2 0", Some(3), r#"DS: "0" is no digest (hexadecimal digits, two for each octet)"#),
        ("DS", "1 8 2", None, "DS: the digest is missing"),
        ("A", r"\# 3 010203", None, "A: these octets are no RDATA of type A"),
        ("TYPE65280", r"\# 2 01", None, r"TYPE65280: \# says 2 octets, but there are 1"),
        (
            "TYPE65280",
            "x",
            None,
            r"TYPE65280: the text form of type TYPE65280 is not known here: write it as \# LENGTH HEX (RFC 3597)",
        ),
        (
            "LOC",
            "91 N 0 E 0m",
            Some(0),
            r#"LOC: "91" is no latitude (degrees [minutes [seconds]], as in 52 22 23.000)"#,
        ),
        ("APL", "1:1.2.3.4", Some(0), r#"APL: "1:1.2.3.4" is no prefix (as in 1:192.0.2.0/24 or !2:2001:db8::/32)"#),
    ] {
        let error = read(rtype, text).unwrap_err();
        assert_eq!((error.token, error.to_string().as_str()), (token, message), "{rtype} {text}");
    }
    let long = "x".repeat(256);
    assert_eq!(read("TXT", &long).unwrap_err().fault, RdataFault::StringTooLong { what: "text", octets: 256 });
    assert!(read("TXT", &long[1..]).is_ok());
}

#[test]
fn names_that_may_be_compressed() {
    let of = |rtype: &str, text: &str| {
        names_in(Rtype::parse(rtype).unwrap(), &read(rtype, text).unwrap())
            .map(|r| (r.start, r.end))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("NS", "a."), [(0, 3)]);
    assert_eq!(of("SOA", "a. bc. 1 2 3 4 5"), [(0, 3), (3, 7)]);
    assert_eq!(of("MX", "10 a."), [(2, 5)]);
    for (rtype, text) in [("SRV", "0 0 1 a."), ("DNAME", "a."), ("RP", "a. b."), ("A", "192.0.2.1"), ("TXT", "a")] {
        assert_eq!(of(rtype, text), [], "{rtype}");
    }
    assert_eq!(names_in(Rtype::NS, b"\x05ab").count(), 0);
}

#[test]
fn names_to_look_up_for_the_additional_section() {
    let of = |rtype: &str, text: &str| {
        let wire = read(rtype, text).unwrap();
        target(Rtype::parse(rtype).unwrap(), &wire).map(|name| Name::from_wire(name).unwrap().to_string())
    };
    for (rtype, text, name) in [
        ("NS", "a.", Some("a")),
        ("MX", "10 a.", Some("a")),
        ("MX", "0 .", None),
        ("SRV", "1 2 3 a.b.", Some("a.b")),
        ("SRV", "0 0 0 .", None),
        ("HTTPS", "1 a. port=1", Some("a")),
        ("HTTPS", "1 .", Some(".")),
        ("HTTPS", "0 .", None),
        ("SVCB", "0 a.", Some("a")),
        ("PTR", "a.", None),
    ] {
        assert_eq!(of(rtype, text).as_deref(), name, "{rtype} {text}");
    }
    assert_eq!(target(Rtype::MX, b"\0"), None);
}

#[test]
fn the_canonical_form_lowers_names_only() {
    let wire = read("MX", "10 MAIL.Example.").unwrap();
    assert_eq!(&*canonical(Rtype::MX, &wire), &*read("MX", "10 mail.example.").unwrap());
    let wire = read("TXT", "ABC").unwrap();
    assert_eq!(&*canonical(Rtype::TXT, &wire), &*wire);
    let wire = read("HTTPS", "1 A.").unwrap();
    assert_eq!(&*canonical(Rtype::HTTPS, &wire), &*wire);
}

#[test]
fn each_type_number_survives_text() {
    for number in 0..=u16::MAX {
        assert_eq!(Rtype::parse(&Rtype(number).to_string()), Some(Rtype(number)), "{number}");
    }
}

#[test]
fn hickory_reads_the_same() {
    for (rtype, text) in [
        ("A", "192.0.2.1"),
        ("AAAA", "2001:db8::1"),
        ("NS", "ns1.example.org."),
        ("MX", "10 mail.example.org."),
        ("SOA", "ns.a. h.b. 1 3600 900 604800 60"),
        ("TXT", "\"two words\" \"a\""),
        ("SRV", "0 5 5060 sip.a."),
        ("CAA", "0 issue \"ca.example\""),
        ("NAPTR", "100 50 \"s\" \"SIP+D2U\" \"\" a.b."),
        ("HINFO", "\"PC\" \"Plan 9\""),
        ("TLSA", "3 1 1 01234567"),
        ("SSHFP", "2 1 123456789abcdef67890123456789abcdef67890"),
        ("OPENPGPKEY", "AQID"),
        ("CSYNC", "66 3 A NS AAAA"),
        ("HTTPS", "1 a. alpn=h2,h3 port=443 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1"),
    ] {
        let theirs = RData::try_from_str(rtype.parse::<RecordType>().unwrap(), text).unwrap();
        let mut wire = Vec::new();
        theirs.emit(&mut BinEncoder::new(&mut wire)).unwrap();
        assert_eq!(&*read(rtype, text).unwrap(), &wire[..], "{rtype} {text}");
    }
}

/// RDATA of a type, made field by field.
fn rdata_of(rtype: Rtype) -> BoxedStrategy<Vec<u8>> {
    let octets = |range: std::ops::Range<usize>| proptest::collection::vec(any::<u8>(), range);
    let counted = |most: usize| {
        proptest::collection::vec(any::<u8>(), 0..most).prop_map(|mut s| {
            s.insert(0, s.len() as u8);
            s
        })
    };
    let fields = layout(rtype).expect("only types with fields are asked for");
    let mut all = Just(Vec::new()).boxed();
    for (_, kind) in fields {
        let piece = match kind {
            Kind::Name => proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..9), 0..5)
                .prop_map(|labels| {
                    let mut wire: Vec<u8> = labels.iter().flat_map(|l| [&[l.len() as u8], &l[..]].concat()).collect();
                    wire.push(0);
                    wire
                })
                .boxed(),
            Kind::Str | Kind::Salt | Kind::Hash => counted(30).boxed(),
            Kind::Strings => proptest::collection::vec(counted(30), 1..4).prop_map(|s| s.concat()).boxed(),
            Kind::Tag => "[a-zA-Z0-9]{1,9}".prop_map(|t| [&[t.len() as u8], t.as_bytes()].concat()).boxed(),
            Kind::Text | Kind::Hex | Kind::Base64 => octets(0..40).boxed(),
            Kind::Types => proptest::collection::vec(any::<u16>(), 0..9)
                .prop_map(|types| {
                    let text = types.into_iter().map(|t| Rtype(t).to_string()).collect::<Vec<_>>().join(" ");
                    parse(Rtype::NSEC, &tokens(&format!(". {text}")), &origin()).unwrap()[1..].to_vec()
                })
                .boxed(),
            Kind::Params => proptest::collection::btree_map(
                prop_oneof![0u16..12, any::<u16>()],
                prop_oneof![octets(0..4), octets(4..5), octets(16..17), counted(5)],
                0..5,
            )
            .prop_map(|params| {
                let param =
                    |(k, v): (u16, Vec<u8>)| [&k.to_be_bytes()[..], &(v.len() as u16).to_be_bytes(), &v].concat();
                params.into_iter().flat_map(param).collect()
            })
            .boxed(),
            Kind::Prefixes => proptest::collection::vec((0u8..4, 0u8..130, any::<bool>(), octets(0..17)), 0..4)
                .prop_map(|items| {
                    let item = |(f, p, not, a): (u8, u8, bool, Vec<u8>)| {
                        [&[0, f, p, (not as u8) << 7 | a.len() as u8], &a[..]].concat()
                    };
                    items.into_iter().flat_map(item).collect()
                })
                .boxed(),
            Kind::Gateway => octets(0..17).boxed(),
            fixed => octets(1..2)
                .prop_map({
                    let size = (1..=16).find(|n| field::length(*fixed, &vec![0; *n], 0).is_some()).unwrap();
                    move |seed| {
                        seed.iter().cycle().take(size).enumerate().map(|(i, b)| b.wrapping_mul(i as u8 + 7)).collect()
                    }
                })
                .boxed(),
        };
        all = (all, piece).prop_map(|(a, b): (Vec<u8>, Vec<u8>)| [a, b].concat()).boxed();
    }
    all
}

fn any_rdata() -> impl Strategy<Value = (Rtype, Vec<u8>)> {
    let known: Vec<Rtype> = (0..=u16::MAX).map(Rtype).filter(|t| layout(*t).is_some()).collect();
    proptest::sample::select(known).prop_flat_map(|rtype| (Just(rtype), rdata_of(rtype)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn rdata_survives_text((rtype, wire) in any_rdata()) {
        let text = to_text(rtype, &wire);
        if is_well_formed(rtype, &wire) {
            let read = parse(rtype, &tokens(&text), &origin());
            prop_assert_eq!(read.as_deref(), Ok(&wire[..]), "{} {}", rtype, text);
        }
    }

    #[test]
    fn no_octets_and_no_text_panic(rtype in 0u16..260, wire in proptest::collection::vec(any::<u8>(), 0..40), text in ".{0,40}") {
        let rtype = Rtype(rtype);
        let written = to_text(rtype, &wire);
        if is_well_formed(rtype, &wire) {
            let read = parse(rtype, &tokens(&written), &origin());
            prop_assert_eq!(read.as_deref(), Ok(&wire[..]), "{} {}", rtype, written);
        }
        let _ = (names_in(rtype, &wire).count(), target(rtype, &wire), canonical(rtype, &wire).len());
        if let Ok(wire) = parse(rtype, &tokens(&text), &origin()) {
            prop_assert!(is_well_formed(rtype, &wire));
        }
    }
}
