//! RFC 2181: clarifications. TTLs (5.2), who answers for what (6), truncation (9), names that are aliases (10).

use crate::case::*;

#[test]
fn section_5_2_an_rrset_has_one_ttl_and_each_its_own() {
    ask("www.example.org AAAA").gives(
        "NOERROR aa
         an www.example.org 3600 AAAA 2001:db8::80",
    );
    ask("www.example.org TXT").gives(
        "NOERROR aa
         an www.example.org 60 TXT \"another TTL\"",
    );
}

/// Answered at the apex, referred to at the cut.
#[test]
fn section_6_1_ns_records_belong_to_the_zone_below_the_cut() {
    ask("example.org NS").gives(
        "NOERROR aa
         an example.org 3600 NS ns1.example.org.
         an example.org 3600 NS ns2.example.org.
         an example.org 3600 NS ns.elsewhere.net.
         ad ns1.example.org 3600 A 192.0.2.1
         ad ns1.example.org 3600 AAAA 2001:db8::1
         ad ns2.example.org 3600 A 192.0.2.2",
    );
    ask("kid.example.org NS").gives(
        "NOERROR aa
         an kid.example.org 600 NS ns.kid.example.org.
         ad ns.kid.example.org 600 A 192.0.2.60",
    );
    ask("inzone.example.org NS").gives(
        "NOERROR
         au inzone.example.org 3600 NS ns1.example.org.
         au inzone.example.org 3600 NS ns2.example.org.
         ad ns1.example.org 3600 A 192.0.2.1
         ad ns1.example.org 3600 AAAA 2001:db8::1
         ad ns2.example.org 3600 A 192.0.2.2",
    );
}

#[test]
fn section_9_what_does_not_fit_is_left_out_whole_and_tc_is_set() {
    ask("big.example.org TXT").gives("NOERROR aa tc");
    ask("big.example.org TXT").edns(1232).gives(
        "NOERROR aa tc
         edns 1232",
    );
    ask("many2.example.org AAAA").edns(4096).gives(
        "NOERROR aa tc
         edns 1232",
    );
    ask("many2.example.org AAAA").over_tcp().gives_so_many("NOERROR aa", [100, 0, 0]);
    ask("text.example.org TXT").gives("NOERROR aa tc");
}

#[test]
fn section_9_additional_data_that_does_not_fit_is_left_out_without_tc() {
    ask("mxmany.example.org MX").edns(1232).gives_so_many("NOERROR aa", [40, 0, 0]);
}

#[test]
fn section_9_over_tcp_all_is_sent() {
    ask("big.example.org TXT").over_tcp().gives(
        "NOERROR aa
         an big.example.org 3600 TXT \"0000000000000000000000000000000000000000000000000000000000000000000000000000000...
         an big.example.org 3600 TXT \"1111111111111111111111111111111111111111111111111111111111111111111111111111111...
         an big.example.org 3600 TXT \"2222222222222222222222222222222222222222222222222222222222222222222222222222222...
         an big.example.org 3600 TXT \"3333333333333333333333333333333333333333333333333333333333333333333333333333333...
         an big.example.org 3600 TXT \"4444444444444444444444444444444444444444444444444444444444444444444444444444444...
         an big.example.org 3600 TXT \"5555555555555555555555555555555555555555555555555555555555555555555555555555555...",
    );
    ask("text.example.org TXT").over_tcp().gives(
        "NOERROR aa
         an text.example.org 3600 TXT \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...",
    );
}

#[test]
fn section_10_3_targets_that_are_aliases_bring_no_addresses() {
    ask("mxalias.example.org MX").gives(
        "NOERROR aa
         an mxalias.example.org 3600 MX 10 alias.example.org.",
    );
    ask("mxdname.example.org MX").gives(
        "NOERROR aa
         an mxdname.example.org 3600 MX 10 www.dname.example.org.",
    );
}
