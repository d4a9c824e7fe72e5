//! RFC 6891: EDNS(0). Where the OPT record stands (6.1.1), sizes (6.2.3), versions (6.1.3), options and flags that are not
//! known.

use std::sync::Arc;

use waypost::query::{Cookies, Snapshot, Transport};

use crate::answers;
use crate::case::*;
use crate::references::packets::opt;

#[test]
fn section_7_no_edns_in_answers_to_who_sends_none() {
    ask("ns2.example.org A").gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2",
    );
}

#[test]
fn section_6_2_3_sizes_from_512_to_1232() {
    ask("ns2.example.org A").edns(0).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
    ask("ns2.example.org A").edns(511).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
    ask("ns2.example.org A").edns(512).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
    ask("ns2.example.org A").edns(1232).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
    ask("ns2.example.org A").edns(4096).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
    ask("ns2.example.org A").edns(65535).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
}

#[test]
fn section_6_2_3_the_size_bounds_the_answer() {
    ask("big.example.org TXT").edns(512).gives(
        "NOERROR aa tc
         edns 1232",
    );
    ask("big.example.org TXT").edns(1100).gives(
        "NOERROR aa tc
         edns 1232",
    );
    ask("big.example.org TXT").edns(1400).gives(
        "NOERROR aa tc
         edns 1232",
    );
}

#[test]
fn section_6_1_2_options_that_are_not_known_are_passed_over() {
    ask("ns2.example.org A").options(&[(65001, b"abc"), (65002, b"")]).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
}

#[test]
fn section_6_1_4_flags_that_are_not_known_are_clear_in_the_answer() {
    ask("ns2.example.org A").opt(&opt(1232, 0, 0x7f, &[])).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
    ask("ns2.example.org A").opt(&opt(1232, 0, 0xff, &[])).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232 do",
    );
}

#[test]
fn section_6_1_3_other_versions_are_badvers() {
    ask("ns2.example.org A").opt(&opt(1232, 1, 0, &[])).gives(
        "BADVERS
         edns 1232",
    );
    ask("ns2.example.org A")
        .opt(&opt(1232, 255, 0x80, &[0xff, 0xf0, 0, 1, 7]))
        .unlike([Nsd], "DO is copied into every response with an OPT record (RFC 3225, 3); NSD clears it in BADVERS.")
        .gives(
            "BADVERS
             edns 1232 do",
        );
}

#[test]
fn section_6_1_1_two_opt_records_are_formerr() {
    ask("ns2.example.org A").edns(1232).edns(1232).gives("FORMERR no question");
}

#[test]
fn section_6_1_2_options_cut_off_are_formerr() {
    ask("ns2.example.org A").opt(&opt(1232, 0, 0, &[0xff, 0xf0, 0, 4, 1])).gives("FORMERR no question");
    ask("ns2.example.org A").opt(&opt(1232, 0, 0, &[0xff, 0xf0, 0])).gives("FORMERR no question");
    ask("ns2.example.org A").opt(&opt(1232, 0, 0, &[])[..7]).gives("FORMERR no question");
}

/// In the additional section, with the root as its owner.
#[test]
fn section_6_1_1_an_opt_record_elsewhere_is_formerr() {
    let record = opt(1232, 0, 0, &[]);
    for count in [7, 9] {
        let with = |p: &mut Vec<u8>| {
            p[count] = 1;
            p.extend_from_slice(&record);
        };
        ask("ns2.example.org A").changed(with).gives("FORMERR no question");
    }
    ask("ns2.example.org A")
        .opt(&[&b"\x01a"[..], &record].concat())
        .unlike([Knot], "The owner of an OPT record is the root (6.1.2). Knot does not look at it.")
        .gives("FORMERR no question");
}

#[test]
fn section_6_1_1_it_may_stand_anywhere_among_additional_records() {
    let record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";
    ask("ns2.example.org A").opt(record).edns(1232).unlike([Nsd], "NSD wants the OPT record before all others.").gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
    ask("ns2.example.org A").edns(1232).opt(record).unlike([Nsd], "NSD wants nothing behind the OPT record.").gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
}

#[test]
fn section_6_2_3_all_options_at_once_fit_beside_the_smallest_answer() {
    let secret = waypost::query::cookies::Secret::parse("e5e973e5a6b2a43f48e7dc849e37bfcf").unwrap();
    let zones = [("example.org", "@ 60 SOA ns hostmaster 1 2 3 4 60\n@ 60 NS ns\nns 60 A 192.0.2.2\n")];
    let served = answers::serving(&zones);
    let snapshot = Snapshot { nsid: Arc::from(&[b'n'; 128][..]), cookies: Some(Cookies::new(&[secret])), ..served };
    let subnet = [&[0, 2, 128, 0][..], &[1; 16]].concat();
    let asked = ask("ns.example.org A").options(&[(3, &[]), (8, &subnet), (10, b"12345678"), (11, &[])]);
    let response = answers::raw(&snapshot, &asked.packet, Transport::Udp).unwrap();
    assert_eq!((response[2] & 2, &response[6..12]), (0, &[0, 1, 0, 0, 0, 1][..]), "an answer, not truncated, and OPT");
}
