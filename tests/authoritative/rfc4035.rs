//! RFC 4035: signed zones with NSEC. What DO brings (3.1), DS at the cut (3.1.4.1), flags (3.1.6, 3.2).

use crate::case::*;

#[test]
fn section_3_1_without_do_nothing_is_added() {
    ask("www.signed.example A").gives(
        "NOERROR aa
         an www.signed.example 3600 A 192.0.2.80",
    );
    ask("nothing.signed.example A").edns(1232).gives(
        "NXDOMAIN aa
         au signed.example 300 SOA ns.signed.example. hostmaster.signed.example. 3 7200 900 1209600 300
         edns 1232",
    );
    ask("safe.signed.example A").gives(
        "NOERROR
         au safe.signed.example 3600 NS ns.safe.signed.example.
         ad ns.safe.signed.example 3600 A 192.0.2.54",
    );
}

#[test]
fn section_3_1_1_signatures_come_along() {
    ask("www.signed.example A").dnssec().gives(
        "NOERROR aa
         an www.signed.example 3600 A 192.0.2.80
         an www.signed.example 3600 RRSIG A
         edns 1232 do",
    );
    ask("signed.example MX").dnssec().gives(
        "NOERROR aa
         an signed.example 3600 MX 10 mail.signed.example.
         an signed.example 3600 RRSIG MX
         ad mail.signed.example 3600 A 192.0.2.25
         ad mail.signed.example 3600 RRSIG A
         edns 1232 do",
    );
    ask("alias2.signed.example A").dnssec().gives(
        "NOERROR aa
         an alias2.signed.example 3600 CNAME alias.signed.example.
         an alias2.signed.example 3600 RRSIG CNAME
         an alias.signed.example 3600 CNAME www.signed.example.
         an alias.signed.example 3600 RRSIG CNAME
         an www.signed.example 3600 A 192.0.2.80
         an www.signed.example 3600 RRSIG A
         edns 1232 do",
    );
    ask("www.signed.example RRSIG")
        .unlike(
            [Nsd],
            "RRSIG is a meta query like ANY: signatures of one RRset (as RFC 8482, 4.1 has it for ANY). NSD gives all.",
        )
        .gives(
            "NOERROR aa
             an www.signed.example 3600 RRSIG A",
        );
    ask("x.dname.signed.example A")
        .dnssec()
        .unlike([Nsd], "It leaves out the proof that no wildcard stands for the name that the DNAME makes.")
        .gives(
            "NXDOMAIN aa
             an dname.signed.example 3600 DNAME target.signed.example.
             an dname.signed.example 3600 RRSIG DNAME
             an x.dname.signed.example 3600 CNAME x.target.signed.example.
             au signed.example 300 SOA ns.signed.example. hostmaster.signed.example. 3 7200 900 1209600 300
             au signed.example 300 RRSIG SOA
             au www.target.signed.example 300 NSEC *.w.signed.example. A RRSIG NSEC
             au www.target.signed.example 300 RRSIG NSEC
             au sub.signed.example 300 NSEC www.target.signed.example. NS RRSIG NSEC
             au sub.signed.example 300 RRSIG NSEC
             edns 1232 do",
        );
}

#[test]
fn section_3_1_3_1_nodata_is_proven() {
    ask("www.signed.example MX").dnssec().gives(
        "NOERROR aa
         au signed.example 300 SOA ns.signed.example. hostmaster.signed.example. 3 7200 900 1209600 300
         au signed.example 300 RRSIG SOA
         au www.signed.example 300 NSEC signed.example. A AAAA RRSIG NSEC
         au www.signed.example 300 RRSIG NSEC
         edns 1232 do",
    );
    ask("b.c.ent.signed.example A").dnssec().gives(
        "NOERROR aa
         au signed.example 300 SOA ns.signed.example. hostmaster.signed.example. 3 7200 900 1209600 300
         au signed.example 300 RRSIG SOA
         au dname.signed.example 300 NSEC a.b.c.ent.signed.example. DNAME RRSIG NSEC
         au dname.signed.example 300 RRSIG NSEC
         edns 1232 do",
    );
    ask("www.signed.example NSEC").gives(
        "NOERROR aa
         an www.signed.example 300 NSEC signed.example. A AAAA RRSIG NSEC",
    );
}

#[test]
fn section_3_1_3_2_nxdomain_is_proven() {
    ask("nothing.signed.example A").dnssec().gives(
        "NXDOMAIN aa
         au signed.example 300 SOA ns.signed.example. hostmaster.signed.example. 3 7200 900 1209600 300
         au signed.example 300 RRSIG SOA
         au nodata.signed.example 300 NSEC ns.signed.example. CNAME RRSIG NSEC
         au nodata.signed.example 300 RRSIG NSEC
         au signed.example 300 NSEC _s._tcp.signed.example. NS SOA MX RRSIG NSEC DNSKEY
         au signed.example 300 RRSIG NSEC
         edns 1232 do",
    );
    ask("cnx.signed.example A").dnssec().gives(
        "NXDOMAIN aa
         an cnx.signed.example 3600 CNAME nothing.signed.example.
         an cnx.signed.example 3600 RRSIG CNAME
         au signed.example 300 SOA ns.signed.example. hostmaster.signed.example. 3 7200 900 1209600 300
         au signed.example 300 RRSIG SOA
         au nodata.signed.example 300 NSEC ns.signed.example. CNAME RRSIG NSEC
         au nodata.signed.example 300 RRSIG NSEC
         au signed.example 300 NSEC _s._tcp.signed.example. NS SOA MX RRSIG NSEC DNSKEY
         au signed.example 300 RRSIG NSEC
         edns 1232 do",
    );
}

#[test]
fn section_3_1_3_3_an_answer_by_a_wildcard_is_proven() {
    ask("x.w.signed.example A").dnssec().gives(
        "NOERROR aa
         an x.w.signed.example 3600 A 192.0.2.82
         an x.w.signed.example 3600 RRSIG A
         au x.ent.w.signed.example 300 NSEC *.wc.signed.example. A RRSIG NSEC
         au x.ent.w.signed.example 300 RRSIG NSEC
         edns 1232 do",
    );
    ask("cw.signed.example A").dnssec().gives(
        "NOERROR aa
         an cw.signed.example 3600 CNAME x.w.signed.example.
         an cw.signed.example 3600 RRSIG CNAME
         an x.w.signed.example 3600 A 192.0.2.82
         an x.w.signed.example 3600 RRSIG A
         au x.ent.w.signed.example 300 NSEC *.wc.signed.example. A RRSIG NSEC
         au x.ent.w.signed.example 300 RRSIG NSEC
         edns 1232 do",
    );
    ask("x.wc.signed.example A").dnssec().gives(
        "NOERROR aa
         an x.wc.signed.example 3600 CNAME www.signed.example.
         an x.wc.signed.example 3600 RRSIG CNAME
         an www.signed.example 3600 A 192.0.2.80
         an www.signed.example 3600 RRSIG A
         au *.wc.signed.example 300 NSEC *.wcn.signed.example. CNAME RRSIG NSEC
         au *.wc.signed.example 300 RRSIG NSEC
         edns 1232 do",
    );
}

#[test]
fn section_3_1_3_4_no_type_at_a_wildcard_is_proven() {
    ask("x.w.signed.example TXT").dnssec().gives(
        "NOERROR aa
         au signed.example 300 SOA ns.signed.example. hostmaster.signed.example. 3 7200 900 1209600 300
         au signed.example 300 RRSIG SOA
         au *.w.signed.example 300 NSEC a.w.signed.example. A MX RRSIG NSEC
         au *.w.signed.example 300 RRSIG NSEC
         au x.ent.w.signed.example 300 NSEC *.wc.signed.example. A RRSIG NSEC
         au x.ent.w.signed.example 300 RRSIG NSEC
         edns 1232 do",
    );
}

#[test]
fn section_3_1_4_referrals_bring_ds_or_the_proof_that_there_is_none() {
    ask("x.safe.signed.example A").dnssec().gives(
        "NOERROR
         au safe.signed.example 3600 NS ns.safe.signed.example.
         au safe.signed.example 3600 DS 12345 13 2 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F
         au safe.signed.example 3600 RRSIG DS
         ad ns.safe.signed.example 3600 A 192.0.2.54
         edns 1232 do",
    );
    ask("x.sub.signed.example A").dnssec().gives(
        "NOERROR
         au sub.signed.example 3600 NS ns.sub.signed.example.
         au sub.signed.example 3600 NS ns.signed.example.
         au sub.signed.example 300 NSEC www.target.signed.example. NS RRSIG NSEC
         au sub.signed.example 300 RRSIG NSEC
         ad ns.sub.signed.example 3600 A 192.0.2.53
         ad ns.signed.example 3600 A 192.0.2.1
         ad ns.signed.example 3600 RRSIG A
         ad ns.signed.example 3600 AAAA 2001:db8::1
         ad ns.signed.example 3600 RRSIG AAAA
         edns 1232 do",
    );
    ask("x.wsafe.signed.example A").dnssec().gives(
        "NOERROR aa
         an x.wsafe.signed.example 3600 CNAME x.safe.signed.example.
         an x.wsafe.signed.example 3600 RRSIG CNAME
         au *.wsafe.signed.example 300 NSEC *.wsub.signed.example. CNAME RRSIG NSEC
         au *.wsafe.signed.example 300 RRSIG NSEC
         au safe.signed.example 3600 NS ns.safe.signed.example.
         au safe.signed.example 3600 DS 12345 13 2 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F
         au safe.signed.example 3600 RRSIG DS
         ad ns.safe.signed.example 3600 A 192.0.2.54
         edns 1232 do",
    );
}

#[test]
fn section_3_1_4_1_ds_at_the_cut_is_answered_from_above() {
    ask("safe.signed.example DS").dnssec().gives(
        "NOERROR aa
         an safe.signed.example 3600 DS 12345 13 2 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F
         an safe.signed.example 3600 RRSIG DS
         edns 1232 do",
    );
    ask("sub.signed.example DS").dnssec().gives(
        "NOERROR aa
         au signed.example 300 SOA ns.signed.example. hostmaster.signed.example. 3 7200 900 1209600 300
         au signed.example 300 RRSIG SOA
         au sub.signed.example 300 NSEC www.target.signed.example. NS RRSIG NSEC
         au sub.signed.example 300 RRSIG NSEC
         edns 1232 do",
    );
    ask("kid.example.org DS").gives(
        "NOERROR aa
         an kid.example.org 3600 DS 23456 15 2 F00102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
    );
    ask("sub.example.org DS").gives(
        "NOERROR aa
         an sub.example.org 3600 DS 12345 13 2 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
    );
    ask("x.sub.example.org DS").gives(
        "NOERROR
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
    ask("example.org DS").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_3_1_6_ad_and_cd_are_clear() {
    ask("www.signed.example A").changed(|p| p[3] |= 0x20).gives(
        "NOERROR aa
         an www.signed.example 3600 A 192.0.2.80",
    );
    ask("www.signed.example A")
        .changed(|p| p[3] |= 0x10)
        .unlike([Bind], "CD should be clear in an authoritative answer (3.1.6); BIND copies it.")
        .gives(
            "NOERROR aa
             an www.signed.example 3600 A 192.0.2.80",
        );
}
