//! RFC 8659: CAA.

use crate::case::*;

#[test]
fn section_4_1_caa() {
    ask("example.org CAA").gives(
        "NOERROR aa
         an example.org 3600 CAA 0 issue \"ca.example.net\"",
    );
    ask("types.example.org CAA").gives(
        "NOERROR aa
         an types.example.org 3600 CAA 128 issue \"ca.example.org; policy=ev\"",
    );
}

#[test]
fn section_3_an_alias_is_followed_for_caa() {
    ask("alias.example.org CAA").gives(
        "NOERROR aa
         an alias.example.org 3600 CNAME www.example.org.
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}
