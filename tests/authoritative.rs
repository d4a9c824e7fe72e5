//! Answers from zones, as RFC 1034, 4.3.2 has them:
//! - data, with additional addresses; NODATA and NXDOMAIN with the SOA at the TTL of RFC 2308, 3;
//! - wildcards (RFC 4592): closest encloser, names that exist, empty non-terminals;
//! - referrals with glue, AA clear; DS at the cut from above;
//! - DNAME with the CNAME made of it (RFC 6672);
//! - CNAME chains in our zones and out of them, RCODE of the last name (RFC 6604);
//! - EDNS, truncation, what is refused, the child-most zone.

#[path = "support/answers.rs"]
mod answers;

use answers::{EDNS, PLAIN, TCP, ask, query, raw, serving, shown};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType as T;
use waypost::query::{Snapshot, Transport};
use waypost::zone::ZoneSet;

const ZONE: &str = "\
$ORIGIN example.org.
$TTL 3600
@       SOA ns1 hostmaster 7 7200 900 1209600 60
@       NS  ns1
@       NS  ns2.elsewhere.net.
@       MX  10 mail
@       MX  20 mail2
ns1     A   192.0.2.1
ns1     AAAA 2001:db8::1
mail    A   192.0.2.25
mail2   A   192.0.2.26
www     A   192.0.2.80
www     A   192.0.2.81
MiXed   TXT \"as written\"
*.w     A   192.0.2.99
*.w     MX  5 mail
a.w     TXT \"here\"
x.ent.w A   192.0.2.98
sub     NS  ns.sub
sub     NS  ns1
sub     DS  1 13 2 0000000000000000000000000000000000000000000000000000000000000000
ns.sub  A   192.0.2.53
deep.sub A  192.0.2.54
alias   CNAME www
cnx     CNAME nothing
out     CNAME www.example.net.
wild    CNAME b.w
tosub   CNAME www.sub
loop1   CNAME loop2
loop2   CNAME loop1
_s._tcp SRV 0 5 443 www
big     TXT \"0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\"
big     TXT \"1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111\"
big     TXT \"2222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222\"
";

const SOA: &str = "au example.org. 60 SOA ns1.example.org. hostmaster.example.org. 7 7200 900 1209600 60\n";

fn zone() -> Snapshot {
    serving(&[("example.org", ZONE)])
}

#[track_caller]
fn assert_answer(name: &str, rtype: T, expected: &str) {
    assert_eq!(shown(&ask(&zone(), name, rtype, PLAIN)), expected, "{name} {rtype}");
}

#[test]
fn data_is_answered_with_all_its_records() {
    assert_answer(
        "www.example.org.",
        T::A,
        "NOERROR aa\nan www.example.org. 3600 A 192.0.2.80\nan www.example.org. 3600 A 192.0.2.81\n",
    );
}

#[test]
fn names_that_data_points_at_bring_their_addresses() {
    assert_answer(
        "example.org.",
        T::MX,
        "NOERROR aa\n\
         an example.org. 3600 MX 10 mail.example.org.\nan example.org. 3600 MX 20 mail2.example.org.\n\
         ad mail.example.org. 3600 A 192.0.2.25\nad mail2.example.org. 3600 A 192.0.2.26\n",
    );
    assert_answer(
        "_s._tcp.example.org.",
        T::SRV,
        "NOERROR aa\nan _s._tcp.example.org. 3600 SRV 0 5 443 www.example.org.\n\
         ad www.example.org. 3600 A 192.0.2.80\nad www.example.org. 3600 A 192.0.2.81\n",
    );
    assert_answer(
        "example.org.",
        T::NS,
        "NOERROR aa\nan example.org. 3600 NS ns1.example.org.\nan example.org. 3600 NS ns2.elsewhere.net.\n\
         ad ns1.example.org. 3600 A 192.0.2.1\nad ns1.example.org. 3600 AAAA 2001:db8::1\n",
    );
}

#[test]
fn nothing_is_told_apart_from_no_such_name() {
    assert_answer("www.example.org.", T::AAAA, &format!("NOERROR aa\n{SOA}"));
    assert_answer("_tcp.example.org.", T::A, &format!("NOERROR aa\n{SOA}"));
    assert_answer("nothing.example.org.", T::A, &format!("NXDOMAIN aa\n{SOA}"));
    assert_answer("a.b.nothing.example.org.", T::A, &format!("NXDOMAIN aa\n{SOA}"));
}

#[test]
fn the_case_asked_comes_back_and_that_of_the_zone_stays() {
    let packet = query("mIxEd.eXample.org.", T::TXT, PLAIN);
    let octets = raw(&zone(), &packet, Transport::Udp).unwrap();
    assert_eq!(octets[12..packet.len()], packet[12..], "the question is given back to the letter");
    let shown = shown(&Message::from_vec(&octets).unwrap());
    assert_eq!(shown, "NOERROR aa\nan mIxEd.eXample.org. 3600 TXT as written\n");
}

#[test]
fn a_wildcard_stands_for_names_that_do_not_exist() {
    assert_answer("b.w.example.org.", T::A, "NOERROR aa\nan b.w.example.org. 3600 A 192.0.2.99\n");
    assert_answer("c.b.w.example.org.", T::A, "NOERROR aa\nan c.b.w.example.org. 3600 A 192.0.2.99\n");
    assert_answer(
        "longer.name.w.example.org.",
        T::MX,
        "NOERROR aa\nan longer.name.w.example.org. 3600 MX 5 mail.example.org.\nad mail.example.org. 3600 A 192.0.2.25\n",
    );
    assert_answer("*.w.example.org.", T::A, "NOERROR aa\nan *.w.example.org. 3600 A 192.0.2.99\n");
    assert_answer("foo.w.example.org.", T::TXT, &format!("NOERROR aa\n{SOA}"));
}

#[test]
fn a_wildcard_does_not_stand_for_names_that_exist_nor_below_them() {
    assert_answer("a.w.example.org.", T::A, &format!("NOERROR aa\n{SOA}"));
    assert_answer("b.a.w.example.org.", T::A, &format!("NXDOMAIN aa\n{SOA}"));
    assert_answer("ent.w.example.org.", T::A, &format!("NOERROR aa\n{SOA}"));
    assert_answer("foo.ent.w.example.org.", T::A, &format!("NXDOMAIN aa\n{SOA}"));
}

const REFERRAL: &str = "NOERROR\n\
     au sub.example.org. 3600 NS ns.sub.example.org.\nau sub.example.org. 3600 NS ns1.example.org.\n\
     ad ns.sub.example.org. 3600 A 192.0.2.53\n\
     ad ns1.example.org. 3600 A 192.0.2.1\nad ns1.example.org. 3600 AAAA 2001:db8::1\n";

#[test]
fn at_and_below_a_cut_it_refers_with_glue() {
    for name in ["sub.example.org.", "www.sub.example.org.", "ns.sub.example.org.", "x.deep.sub.example.org."] {
        assert_answer(name, T::A, REFERRAL);
    }
    assert_answer("sub.example.org.", T::NS, REFERRAL);
    assert_answer("x.sub.example.org.", T::DS, REFERRAL);
}

#[test]
fn ds_at_the_cut_is_answered_from_above() {
    let ds = ask(&zone(), "sub.example.org.", T::DS, PLAIN);
    assert!(ds.metadata.authoritative && ds.answers.len() == 1 && ds.authorities.is_empty(), "{}", shown(&ds));
    assert_eq!(ds.answers[0].record_type(), T::DS);
    assert_answer("www.example.org.", T::DS, &format!("NOERROR aa\n{SOA}"));
}

#[test]
fn a_cname_is_followed_as_far_as_we_know() {
    assert_answer(
        "alias.example.org.",
        T::A,
        "NOERROR aa\nan alias.example.org. 3600 CNAME www.example.org.\n\
         an www.example.org. 3600 A 192.0.2.80\nan www.example.org. 3600 A 192.0.2.81\n",
    );
    assert_answer("alias.example.org.", T::CNAME, "NOERROR aa\nan alias.example.org. 3600 CNAME www.example.org.\n");
    assert_answer(
        "cnx.example.org.",
        T::A,
        &format!("NXDOMAIN aa\nan cnx.example.org. 3600 CNAME nothing.example.org.\n{SOA}"),
    );
    assert_answer(
        "alias.example.org.",
        T::AAAA,
        &format!("NOERROR aa\nan alias.example.org. 3600 CNAME www.example.org.\n{SOA}"),
    );
    assert_answer("out.example.org.", T::A, "NOERROR aa\nan out.example.org. 3600 CNAME www.example.net.\n");
    assert_answer(
        "wild.example.org.",
        T::MX,
        "NOERROR aa\nan wild.example.org. 3600 CNAME b.w.example.org.\nan b.w.example.org. 3600 MX 5 mail.example.org.\n\
         ad mail.example.org. 3600 A 192.0.2.25\n",
    );
    let into_cut = shown(&ask(&zone(), "tosub.example.org.", T::A, PLAIN));
    assert!(
        into_cut.starts_with("NOERROR aa\nan tosub.example.org. 3600 CNAME www.sub.example.org.\nau sub"),
        "{into_cut}"
    );
}

#[test]
fn a_loop_of_cnames_ends() {
    let message = ask(&zone(), "loop1.example.org.", T::A, PLAIN);
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    assert!(message.answers.len() <= 16, "{}", message.answers.len());
}

const DNAMES: &str = "\
@       60 SOA ns hostmaster 1 2 3 4 60
@       60 NS ns
ns      60 A 192.0.2.1
old     60 DNAME new
old     60 TXT \"beside\"
www.new 60 A 192.0.2.2
long    60 DNAME 111111111122222222223333333333444444444455555555556666666666777.\
111111111122222222223333333333444444444455555555556666666666777.\
111111111122222222223333333333444444444455555555556666666666777
grows   60 DNAME below.grows
";

#[track_caller]
fn assert_dname(name: &str, rtype: T, expected: &str) {
    let snapshot = serving(&[("example.org", DNAMES), ("new.example.net", "@ 60 SOA n h 1 2 3 4 60\n@ 60 NS n\n")]);
    assert_eq!(shown(&ask(&snapshot, name, rtype, PLAIN)), expected, "{name} {rtype}");
}

/// RFC 6672, 3.2.
#[test]
fn below_a_dname_a_cname_is_made_with_its_ttl_and_followed() {
    assert_dname(
        "wWw.old.example.org.",
        T::A,
        "NOERROR aa\nan old.example.org. 60 DNAME new.example.org.\n\
         an wWw.old.example.org. 60 CNAME wWw.new.example.org.\nan wWw.new.example.org. 60 A 192.0.2.2\n",
    );
    assert_dname(
        "x.old.example.org.",
        T::A,
        "NXDOMAIN aa\nan old.example.org. 60 DNAME new.example.org.\n\
         an x.old.example.org. 60 CNAME x.new.example.org.\n\
         au example.org. 60 SOA ns.example.org. hostmaster.example.org. 1 2 3 4 60\n",
    );
    assert_dname(
        "x.old.example.org.",
        T::CNAME,
        "NOERROR aa\nan old.example.org. 60 DNAME new.example.org.\nan x.old.example.org. 60 CNAME x.new.example.org.\n",
    );
}

/// RFC 6672, 2.3: the name of the DNAME itself is not redirected.
#[test]
fn at_a_dname_its_own_data_is_answered() {
    assert_dname("old.example.org.", T::TXT, "NOERROR aa\nan old.example.org. 60 TXT beside\n");
    assert_dname("old.example.org.", T::DNAME, "NOERROR aa\nan old.example.org. 60 DNAME new.example.org.\n");
    let none = "NOERROR aa\nau example.org. 60 SOA ns.example.org. hostmaster.example.org. 1 2 3 4 60\n";
    assert_dname("old.example.org.", T::A, none);
}

/// RFC 6672, 2.2.
#[test]
fn a_name_that_a_dname_makes_too_long_is_yxdomain() {
    let label = "1".repeat(50);
    let message = shown(&ask(&serving(&[("example.org", DNAMES)]), &format!("{label}.long.example.org."), T::A, PLAIN));
    assert!(message.starts_with("YXDOMAIN aa\nan long.example.org. 60 DNAME "), "{message}");
    assert_eq!(message.lines().count(), 2);
}

#[test]
fn a_dname_below_itself_is_followed_once() {
    assert_dname(
        "x.grows.example.org.",
        T::A,
        "NOERROR aa\nan grows.example.org. 60 DNAME below.grows.example.org.\n\
         an x.grows.example.org. 60 CNAME x.below.grows.example.org.\n",
    );
}

/// RFC 1035, 4.1.4: a chain in one zone writes the zone's name once.
#[test]
fn names_of_a_chain_share_the_end_of_the_first() {
    let octets = raw(&zone(), &query("alias.example.org.", T::A, PLAIN), Transport::Udp).unwrap();
    let shared = octets.windows(7).filter(|w| w == b"example").count();
    assert_eq!(shared, 1, "{octets:02x?}");
}

/// RFC 9471, 3.2: a referral that lacks glue sets TC, and is no more authoritative for that.
#[test]
fn a_referral_that_cannot_bring_all_glue_is_truncated() {
    let servers = (0..12).map(|i| format!("cut NS ns{i}.cut\nns{i}.cut A 192.0.2.{i}\nns{i}.cut AAAA 2001:db8::{i}\n"));
    let text = format!("{ZONE}{}", servers.collect::<String>());
    let snapshot = serving(&[("example.org", &text)]);
    assert_eq!(shown(&ask(&snapshot, "x.cut.example.org.", T::A, PLAIN)), "NOERROR tc\n");
    assert_eq!(ask(&snapshot, "x.cut.example.org.", T::A, TCP).additionals.len(), 24);
}

/// RFC 6891, 6.1.1; RFC 8945, 5.2; RFC 1035, 6.2.
#[test]
fn records_out_of_their_place_are_formerr_and_class_any_is_not_authoritative() {
    let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    let with = |section: usize, count: u8, records: &[u8]| {
        let mut packet = query("www.example.org.", T::A, PLAIN);
        packet[section] = count;
        packet.extend_from_slice(records);
        raw(&zone(), &packet, Transport::Udp).unwrap()[3] & 15
    };
    let named = [&[1, b'a'][..], &opt].concat();
    let signed_first = [&[0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0][..], &opt].concat();
    assert_eq!([with(7, 1, &opt), with(9, 1, &opt), with(11, 1, &named), with(11, 2, &signed_first)], [1; 4]);
    assert_eq!(with(11, 1, &opt), 0);
    let mut any = query("www.example.org.", T::A, PLAIN);
    *any.last_mut().unwrap() = 255;
    let message = Message::from_vec(&raw(&zone(), &any, Transport::Udp).unwrap()).unwrap();
    assert_eq!((message.metadata.authoritative, message.answers.len()), (false, 2));
}

#[test]
fn what_does_not_fit_is_left_out_whole_and_tc_is_set() {
    let cut = ask(&zone(), "big.example.org.", T::TXT, PLAIN);
    assert_eq!(shown(&cut), "NOERROR aa tc\n");
    let octets = raw(&zone(), &query("big.example.org.", T::TXT, PLAIN), Transport::Udp).unwrap();
    assert_eq!(octets.len(), 12 + 17 + 4, "nothing behind the question");
    for whole in [EDNS, TCP] {
        assert_eq!(ask(&zone(), "big.example.org.", T::TXT, whole).answers.len(), 3);
    }
}

#[test]
fn edns_is_answered_with_edns_and_its_size_is_bounded() {
    let message = ask(&zone(), "www.example.org.", T::A, EDNS);
    assert_eq!(message.edns.map(|e| e.max_payload()), Some(1232));
    assert!(ask(&zone(), "www.example.org.", T::A, PLAIN).edns.is_none());

    let many: Vec<String> = (0..200).map(|i| format!("many A 192.0.2.{i}\n")).collect();
    let zone = serving(&[("example.org", &format!("{ZONE}{}", many.concat()))]);
    let greedy = answers::Asking { edns: Some(4096), ..PLAIN };
    assert!(ask(&zone, "many.example.org.", T::A, greedy).metadata.truncation, "never more than 1,232 octets");
    assert_eq!(ask(&zone, "many.example.org.", T::A, TCP).answers.len(), 200);
}

#[test]
fn an_unknown_version_of_edns_is_badvers() {
    let mut packet = query("www.example.org.", T::A, EDNS);
    let opt = packet.len() - 11;
    packet[opt + 6] = 1; // VERSION
    let message = Message::from_vec(&raw(&zone(), &packet, Transport::Udp).unwrap()).unwrap();
    assert_eq!(shown(&message), "BADVERS\n");
}

#[test]
fn what_we_do_not_serve_is_refused() {
    assert_answer("example.net.", T::A, "REFUSED\n");
    assert_answer("org.", T::NS, "REFUSED\n");
    assert_eq!(shown(&ask(&zone(), "example.org.", T::AXFR, TCP)), "REFUSED\n");
    assert_answer("example.org.", T::AXFR, "NOTIMP\n");
    let mut chaos = query("www.example.org.", T::A, PLAIN);
    let class = chaos.len() - 1;
    chaos[class] = 3;
    let message = Message::from_vec(&raw(&zone(), &chaos, Transport::Udp).unwrap()).unwrap();
    assert_eq!(shown(&message), "REFUSED\n");
}

#[test]
fn what_is_no_query_is_answered_shortly_or_not_at_all() {
    let good = query("www.example.org.", T::A, PLAIN);
    let answered = |packet: &[u8]| raw(&zone(), packet, Transport::Udp);
    assert_eq!(answered(&good[..11]), None, "shorter than a header");
    let mut response = good.clone();
    response[2] |= 0x80;
    assert_eq!(answered(&response), None, "a response");
    let mut notify = good.clone();
    notify[2] = 0x20;
    assert_eq!(answered(&notify).unwrap()[3] & 15, 4, "NOTIMP");
    for cut in [12, 20, good.len() - 1] {
        assert_eq!(answered(&good[..cut]).unwrap()[3] & 15, 1, "FORMERR when cut at {cut}");
    }
}

#[test]
fn the_child_most_zone_answers_and_ds_comes_from_above() {
    let child = "@ 60 SOA ns hostmaster 1 2 3 4 60\n@ 60 NS ns\nns 60 A 192.0.2.60\n";
    let both = serving(&[("example.org", ZONE), ("sub.example.org", child)]);
    assert_eq!(
        shown(&ask(&both, "ns.sub.example.org.", T::A, PLAIN)),
        "NOERROR aa\nan ns.sub.example.org. 60 A 192.0.2.60\n"
    );
    let ds = shown(&ask(&both, "sub.example.org.", T::DS, PLAIN));
    assert!(ds.starts_with("NOERROR aa\nan sub.example.org. 3600 DS "), "{ds}");
    let alone = serving(&[("sub.example.org", child)]);
    let none = shown(&ask(&alone, "sub.example.org.", T::DS, PLAIN));
    assert!(none.starts_with("NOERROR aa\nau sub.example.org. 60 SOA"), "{none}");
}

#[test]
fn a_zone_that_could_never_be_read_alone_fails() {
    let mut zones = zone();
    let entries = zones.zones.entries().iter().map(|e| (e.apex.clone(), e.zone.clone()));
    let broken = ("broken.example".parse().unwrap(), None);
    zones.zones = std::sync::Arc::new(ZoneSet::new(entries.chain([broken]).collect::<Vec<_>>()));
    assert_eq!(shown(&ask(&zones, "www.broken.example.", T::A, PLAIN)), "SERVFAIL\n");
    assert_eq!(ask(&zones, "www.example.org.", T::A, PLAIN).answers.len(), 2);
}
