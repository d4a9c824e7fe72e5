//! RFC 4592: wildcards. Closest encloser and source of synthesis (3.3.1), names that exist (2.2), special types (4).

use crate::case::*;

#[test]
fn section_2_2_1_a_wildcard_stands_for_names_that_do_not_exist() {
    ask("x.w.example.org A").gives(
        "NOERROR aa
         an x.w.example.org 3600 A 192.0.2.99",
    );
    ask("a.b.w.example.org A").gives(
        "NOERROR aa
         an a.b.w.example.org 3600 A 192.0.2.99",
    );
    ask("x.w.example.org MX").gives(
        "NOERROR aa
         an x.w.example.org 3600 MX 5 mail.example.org.
         ad mail.example.org 3600 A 192.0.2.25",
    );
    ask("x.w.example.org SRV").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("*.x.w.example.org A").gives(
        "NOERROR aa
         an *.x.w.example.org 3600 A 192.0.2.99",
    );
}

#[test]
fn section_2_2_1_asked_itself_it_is_a_name_like_others() {
    ask("*.w.example.org A").gives(
        "NOERROR aa
         an *.w.example.org 3600 A 192.0.2.99",
    );
    ask("*.w.example.org SRV").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_2_2_1_it_does_not_stand_for_names_that_exist() {
    ask("a.w.example.org A").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("a.w.example.org TXT").gives(
        "NOERROR aa
         an a.w.example.org 3600 TXT \"here\"",
    );
    ask("b.a.w.example.org A").gives(
        "NXDOMAIN aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("w.example.org A").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_2_2_2_empty_non_terminals_exist() {
    ask("ent.w.example.org A").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("x.ent.w.example.org A").gives(
        "NOERROR aa
         an x.ent.w.example.org 3600 A 192.0.2.98",
    );
    ask("y.ent.w.example.org A").gives(
        "NXDOMAIN aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_4_9_below_a_wildcard_names_make_it_an_empty_non_terminal() {
    ask("x.w6.example.org A").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("*.w6.example.org A").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("sub.*.w6.example.org A").gives(
        "NOERROR aa
         an sub.*.w6.example.org 3600 A 192.0.2.96",
    );
    ask("x.*.w6.example.org A").gives(
        "NXDOMAIN aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_2_1_3_wildcards_at_several_levels() {
    ask("x.star.w.example.org A").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("star.w.example.org A").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("x.star.w.example.org TXT").gives(
        "NOERROR aa
         an x.star.w.example.org 3600 TXT \"deeper\"",
    );
    ask("x.y.star.w.example.org TXT").gives(
        "NOERROR aa
         an x.y.star.w.example.org 3600 TXT \"deeper\"",
    );
    ask("x.y.w8.example.org A").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("x.*.w8.example.org A").gives(
        "NOERROR aa
         an x.*.w8.example.org 3600 A 192.0.2.94",
    );
    ask("*.*.w8.example.org A").gives(
        "NOERROR aa
         an *.*.w8.example.org 3600 A 192.0.2.94",
    );
}

#[test]
fn section_2_2_1_a_cut_beside_a_wildcard_refers() {
    ask("x.cut.w.example.org A").gives(
        "NOERROR
         au cut.w.example.org 3600 NS ns1.example.org.
         ad ns1.example.org 3600 A 192.0.2.1
         ad ns1.example.org 3600 AAAA 2001:db8::1",
    );
    ask("x.wns.example.org A").gives(
        "NOERROR aa
         an x.wns.example.org 3600 A 192.0.2.93",
    );
    ask("x.deleg.wns.example.org A").gives(
        "NOERROR
         au deleg.wns.example.org 3600 NS ns.deleg.wns.example.org.
         ad ns.deleg.wns.example.org 3600 A 192.0.2.92",
    );
}

#[test]
fn section_4_3_a_wildcard_cname() {
    ask("x.w2.example.org A").gives(
        "NOERROR aa
         an x.w2.example.org 3600 CNAME www.example.org.
         an www.example.org 3600 A 192.0.2.80
         an www.example.org 3600 A 192.0.2.81",
    );
    ask("x.w2.example.org CNAME").gives(
        "NOERROR aa
         an x.w2.example.org 3600 CNAME www.example.org.",
    );
    ask("here.w2.example.org A").gives(
        "NOERROR aa
         an here.w2.example.org 3600 A 192.0.2.97",
    );
    ask("towildalias.example.org A").gives(
        "NOERROR aa
         an towildalias.example.org 3600 CNAME x.w2.example.org.
         an x.w2.example.org 3600 CNAME www.example.org.
         an www.example.org 3600 A 192.0.2.80
         an www.example.org 3600 A 192.0.2.81",
    );
    ask("towild.example.org MX").gives(
        "NOERROR aa
         an towild.example.org 3600 CNAME x.w.example.org.
         an x.w.example.org 3600 MX 5 mail.example.org.
         ad mail.example.org 3600 A 192.0.2.25",
    );
    ask("x.w3.example.org A").gives(
        "NXDOMAIN aa
         an x.w3.example.org 3600 CNAME nothing.example.org.
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("x.w4.example.org A").unlike([Knot, Bind], ACROSS).gives(
        "NOERROR aa
         an x.w4.example.org 3600 CNAME www.example.net.
         an www.example.net 900 A 198.51.100.80",
    );
    ask("x.w5.example.org A")
        .unlike([Bind], "A loop is no failure of ours: what of it was found is told. BIND says SERVFAIL.")
        .gives(
            "NOERROR aa
             an x.w5.example.org 3600 CNAME a.w5.example.org.
             an a.w5.example.org 3600 CNAME a.w5.example.org.",
        );
    ask("x.w.kid.example.org A").gives(
        "NOERROR aa
         an x.w.kid.example.org 600 CNAME www.kid.example.org.
         an www.kid.example.org 600 A 192.0.2.160",
    );
}

#[test]
fn section_4_4_a_wildcard_dname() {
    ask("x.w9.example.org A").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("x.w9.example.org DNAME").gives(
        "NOERROR aa
         an x.w9.example.org 3600 DNAME target.example.org.",
    );
    ask("x.y.w9.example.org A").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_4_5_and_other_types() {
    ask("x.w7.example.org SRV").gives(
        "NOERROR aa
         an x.w7.example.org 3600 SRV 0 0 443 www.example.org.
         ad www.example.org 3600 A 192.0.2.80
         ad www.example.org 3600 A 192.0.2.81
         ad www.example.org 3600 AAAA 2001:db8::80",
    );
    ask("x.w7.example.org HTTPS").gives(
        "NOERROR aa
         an x.w7.example.org 3600 HTTPS 1 . alpn=\"h2\"",
    );
}
