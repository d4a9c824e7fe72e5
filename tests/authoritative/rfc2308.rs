//! RFC 2308: negative answers. NXDOMAIN (2.1), NODATA (2.2), their TTL (3).

use crate::case::*;

#[test]
fn section_2_1_nxdomain_brings_the_soa() {
    ask("nothing.example.org A").gives(
        "NXDOMAIN aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("a.b.nothing.example.org TXT").gives(
        "NXDOMAIN aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("nothing.example.org ANY").gives(
        "NXDOMAIN aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_2_1_behind_an_alias_the_last_name_counts() {
    ask("cnx.example.org A").gives(
        "NXDOMAIN aa
         an cnx.example.org 3600 CNAME nothing.example.org.
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("x.w3.example.org A").gives(
        "NXDOMAIN aa
         an x.w3.example.org 3600 CNAME nothing.example.org.
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_2_2_nodata_brings_the_soa() {
    ask("www.example.org MX").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("example.org SRV").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("nons.example.org A").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("nodata.example.org A").gives(
        "NOERROR aa
         an nodata.example.org 3600 CNAME ent.example.org.
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("alias.example.org MX").gives(
        "NOERROR aa
         an alias.example.org 3600 CNAME www.example.org.
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

/// 300 by MINIMUM; 900 by the TTL of the SOA record.
#[test]
fn section_3_its_ttl_is_the_lesser_of_the_soa_and_minimum() {
    ask("nothing.example.org AAAA").gives(
        "NXDOMAIN aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("nothing.example.net A").gives(
        "NXDOMAIN aa
         au example.net 900 SOA ns.example.org. hostmaster.example.net. 9 7200 900 1209600 3600",
    );
    ask("www.example.net AAAA").gives(
        "NOERROR aa
         au example.net 900 SOA ns.example.org. hostmaster.example.net. 9 7200 900 1209600 3600",
    );
    ask("www.kid.example.org AAAA").gives(
        "NOERROR aa
         au kid.example.org 60 SOA ns.kid.example.org. hostmaster.kid.example.org. 7 7200 900 1209600 60",
    );
}
