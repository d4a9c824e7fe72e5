//! RFC 8482: minimal answers to ANY. One RRset (4.1).

use crate::case::*;

#[test]
fn section_4_1_any_gives_one_rrset() {
    ask("www.example.org ANY").gives(
        "NOERROR aa
         an www.example.org 3600 A 192.0.2.80
         an www.example.org 3600 A 192.0.2.81",
    );
    ask("types.example.org ANY").over_tcp().unlike([Bind], "It gives all over TCP.").gives(
        "NOERROR aa
         an types.example.org 3600 PTR www.example.org.",
    );
    ask("MiXed.example.org ANY").unlike([Bind], "Each server picks its own RRset.").gives(
        "NOERROR aa
         an MiXed.example.org 3600 A 192.0.2.82",
    );
    ask("example.org ANY").unlike([Nsd, Bind], "Each server picks its own RRset.").gives(
        "NOERROR aa
         an example.org 3600 A 192.0.2.10",
    );
}

#[test]
fn section_4_1_of_a_wildcard_and_at_an_alias() {
    ask("x.w.example.org ANY").gives(
        "NOERROR aa
         an x.w.example.org 3600 A 192.0.2.99",
    );
    ask("alias.example.org ANY").gives(
        "NOERROR aa
         an alias.example.org 3600 CNAME www.example.org.",
    );
}

#[test]
fn section_4_1_without_data_it_is_an_ordinary_question() {
    ask("ent.example.org ANY").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("nothing.example.org ANY").gives(
        "NXDOMAIN aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("sub.example.org ANY").gives(
        "NOERROR
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
}

#[test]
fn section_4_1_with_do_its_signatures_come_along() {
    ask("www.signed.example ANY").dnssec().gives(
        "NOERROR aa
         an www.signed.example 3600 A 192.0.2.80
         an www.signed.example 3600 RRSIG A
         edns 1232 do",
    );
    ask("www.signed.example RRSIG").dnssec().unlike([Nsd], "It gives the signatures of all RRsets.").gives(
        "NOERROR aa
         an www.signed.example 3600 RRSIG A
         edns 1232 do",
    );
}
