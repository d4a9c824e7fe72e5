//! RFC 9471: glue. A referral has all of it, or TC set.

use crate::case::*;

#[test]
fn section_3_1_glue_below_the_cut_or_tc() {
    ask("x.sub.example.org A").gives(
        "NOERROR
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
    ask("x.nsmany.example.org A").unlike([Nsd, Bind], "They send some of the glue, without TC.").gives("NOERROR tc");
    ask("x.nsmany.example.org A").edns(1232).gives_so_many("NOERROR", [0, 8, 16]);
    ask("x.nsdeep.example.org A").unlike([Nsd, Bind], "They send some of the glue, without TC.").gives("NOERROR tc");
    ask("x.nsdeep.example.org A").edns(512).unlike([Nsd, Bind], "They send some of the glue, without TC.").gives(
        "NOERROR tc
         edns 1232",
    );
    ask("x.nsdeep.example.org A").over_tcp().gives_so_many("NOERROR", [0, 8, 16]);
}

#[test]
fn section_3_2_sibling_glue_as_it_fits() {
    ask("x.sibling2.example.org A").gives(
        "NOERROR
         au sibling2.example.org 3600 NS ns.sibling3.example.org.
         ad ns.sibling3.example.org 3600 A 192.0.2.59",
    );
    ask("x.sibling3.example.org A").gives(
        "NOERROR
         au sibling3.example.org 3600 NS ns.sibling3.example.org.
         au sibling3.example.org 3600 NS ns.sibling2.example.org.
         ad ns.sibling3.example.org 3600 A 192.0.2.59
         ad ns.sibling2.example.org 3600 A 192.0.2.58",
    );
}
