//! RFC 6604: RCODE and AA of chains.

use crate::case::*;

#[test]
fn section_2_1_aa_is_that_of_the_first_name() {
    ask("tosub.example.org A").gives(
        "NOERROR aa
         an tosub.example.org 3600 CNAME www.sub.example.org.
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
    ask("alias.example.org A").gives(
        "NOERROR aa
         an alias.example.org 3600 CNAME www.example.org.
         an www.example.org 3600 A 192.0.2.80
         an www.example.org 3600 A 192.0.2.81",
    );
}

#[test]
fn section_3_rcode_is_that_of_the_last_name() {
    ask("cnx.example.org A").gives(
        "NXDOMAIN aa
         an cnx.example.org 3600 CNAME nothing.example.org.
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("dgone.example.org A").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("x.dgone.example.org A").gives(
        "NXDOMAIN aa
         an dgone.example.org 3600 DNAME nowhere.example.org.
         an x.dgone.example.org 3600 CNAME x.nowhere.example.org.
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("nodata.example.org TXT").gives(
        "NOERROR aa
         an nodata.example.org 3600 CNAME ent.example.org.
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}
