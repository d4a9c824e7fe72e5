//! RFC 6672: DNAME. The CNAME made of it (3.1), names that become too long (2.2), what is not redirected (2.3).

use crate::case::*;

#[test]
fn section_2_2_a_name_that_becomes_too_long_is_yxdomain() {
    ask("x.dlong.example.org A")
        .unlike([Nsd], "The CNAME made of a long DNAME ends with a pointer into it, so there is room for the SOA; NSD writes the name out and truncates.")
        .unlike([Knot], "It leaves the SOA of the negative answer out.")
        .gives(
            "NXDOMAIN aa
             an dlong.example.org 3600 DNAME lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll.llllllllllllllll...
             an x.dlong.example.org 3600 CNAME x.lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll.llllllllllllll...
             au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
        );
    ask("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz.dlong.example.org A")
        .unlike([Knot], "It says NXDOMAIN of a name that can't be made.")
        .gives(
            "YXDOMAIN aa
             an dlong.example.org 3600 DNAME lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll.llllllllllllllll...",
        );
}

#[test]
fn section_2_3_the_owner_itself_is_not_redirected() {
    ask("dname.example.org A").gives(
        "NOERROR aa
         an dname.example.org 3600 A 192.0.2.70",
    );
    ask("dname.example.org TXT").gives(
        "NOERROR aa
         an dname.example.org 3600 TXT \"beside a DNAME\"",
    );
    ask("dname.example.org DNAME").gives(
        "NOERROR aa
         an dname.example.org 3600 DNAME target.example.org.",
    );
    ask("dname.example.org MX").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_2_2_names_below_it_are_redirected() {
    ask("www.dname.example.org A").gives(
        "NOERROR aa
         an dname.example.org 3600 DNAME target.example.org.
         an www.dname.example.org 3600 CNAME www.target.example.org.
         an www.target.example.org 3600 A 192.0.2.71",
    );
    ask("x.y.wild.dname.example.org A").gives(
        "NOERROR aa
         an dname.example.org 3600 DNAME target.example.org.
         an x.y.wild.dname.example.org 3600 CNAME x.y.wild.target.example.org.
         an x.y.wild.target.example.org 3600 A 192.0.2.72",
    );
    ask("nothing.dname.example.org A").gives(
        "NXDOMAIN aa
         an dname.example.org 3600 DNAME target.example.org.
         an nothing.dname.example.org 3600 CNAME nothing.target.example.org.
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("alias.dname.example.org A").gives(
        "NOERROR aa
         an dname.example.org 3600 DNAME target.example.org.
         an alias.dname.example.org 3600 CNAME alias.target.example.org.
         an alias.target.example.org 3600 CNAME www.target.example.org.
         an www.target.example.org 3600 A 192.0.2.71",
    );
    ask("x.dkid.example.org A").unlike([Knot, Bind], ACROSS).gives(
        "NXDOMAIN aa
         an dkid.example.org 3600 DNAME kid.example.org.
         an x.dkid.example.org 3600 CNAME x.kid.example.org.
         au kid.example.org 60 SOA ns.kid.example.org. hostmaster.kid.example.org. 7 7200 900 1209600 60",
    );
    ask("www.dkid.example.org A").unlike([Knot, Bind], ACROSS).gives(
        "NOERROR aa
         an dkid.example.org 3600 DNAME kid.example.org.
         an www.dkid.example.org 3600 CNAME www.kid.example.org.
         an www.kid.example.org 600 A 192.0.2.160",
    );
    ask("www.dsub.example.org A").gives(
        "NOERROR aa
         an dsub.example.org 3600 DNAME sub.example.org.
         an www.dsub.example.org 3600 CNAME www.sub.example.org.
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
    ask("www.dnet.example.org A").unlike([Knot, Bind], ACROSS).gives(
        "NOERROR aa
         an dnet.example.org 3600 DNAME example.net.
         an www.dnet.example.org 3600 CNAME www.example.net.
         an www.example.net 900 A 198.51.100.80",
    );
    ask("www.dout.example.org A").gives(
        "NOERROR aa
         an dout.example.org 3600 DNAME elsewhere.example.
         an www.dout.example.org 3600 CNAME www.elsewhere.example.",
    );
    ask("com.droot.example.org A").gives(
        "NOERROR aa
         an droot.example.org 3600 DNAME .
         an com.droot.example.org 3600 CNAME com.",
    );
}

#[test]
fn section_3_1_a_cname_with_the_ttl_of_the_dname() {
    ask("www.dname.example.org CNAME").gives(
        "NOERROR aa
         an dname.example.org 3600 DNAME target.example.org.
         an www.dname.example.org 3600 CNAME www.target.example.org.",
    );
    ask("x.dname.example.org DNAME").gives(
        "NXDOMAIN aa
         an dname.example.org 3600 DNAME target.example.org.
         an x.dname.example.org 3600 CNAME x.target.example.org.
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("www.dname.example.org ANY")
        .unlike(
            [Bind],
            "Below a DNAME, ANY is followed like other types, as NSD and Knot do it; BIND stops at the CNAME.",
        )
        .gives(
            "NOERROR aa
             an dname.example.org 3600 DNAME target.example.org.
             an www.dname.example.org 3600 CNAME www.target.example.org.
             an www.target.example.org 3600 A 192.0.2.71",
        );
}

#[test]
fn section_3_2_chains_of_aliases_and_dnames() {
    ask("todname.example.org A").gives(
        "NOERROR aa
         an todname.example.org 3600 CNAME www.dname.example.org.
         an dname.example.org 3600 DNAME target.example.org.
         an www.dname.example.org 3600 CNAME www.target.example.org.
         an www.target.example.org 3600 A 192.0.2.71",
    );
    ask("www.dchain.example.org A").gives(
        "NOERROR aa
         an dchain.example.org 3600 DNAME dname.example.org.
         an www.dchain.example.org 3600 CNAME www.dname.example.org.
         an dname.example.org 3600 DNAME target.example.org.
         an www.dname.example.org 3600 CNAME www.target.example.org.
         an www.target.example.org 3600 A 192.0.2.71",
    );
    ask("todname.example.net A").unlike([Knot, Bind], ACROSS).gives(
        "NOERROR aa
         an todname.example.net 900 CNAME www.dname.example.org.
         an dname.example.org 3600 DNAME target.example.org.
         an www.dname.example.org 3600 CNAME www.target.example.org.
         an www.target.example.org 3600 A 192.0.2.71",
    );
}

#[test]
fn section_3_2_loops_are_bounded() {
    ask("x.dloop.example.org A")
        .unlike([Bind], "A loop is no failure of ours: what of it was found is told. BIND says SERVFAIL.")
        .gives(
            "NOERROR aa
             an dloop.example.org 3600 DNAME dloop.example.org.
             an x.dloop.example.org 3600 CNAME x.dloop.example.org.",
        );
    ask("x.dgrow.example.org A")
        .unlike(
            [Knot, Bind],
            "A DNAME that leads below itself is followed once, as NSD does it; these go on until a limit is reached.",
        )
        .gives(
            "NOERROR aa
             an dgrow.example.org 3600 DNAME x.dgrow.example.org.
             an x.dgrow.example.org 3600 CNAME x.x.dgrow.example.org.",
        );
}
