//! RFC 3597: types that are not known.

use crate::case::*;

#[test]
fn section_3_unknown_types_are_given_as_they_are() {
    ask("types.example.org TYPE65280").gives(
        "NOERROR aa
         an types.example.org 3600 TYPE65280 \\# 4 01020304",
    );
    ask("types.example.org TYPE731").gives(
        "NOERROR aa
         an types.example.org 3600 TYPE731 \\# 0",
    );
}

#[test]
fn section_3_a_type_that_is_not_there_is_nodata() {
    ask("www.example.org TYPE65281").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("nothing.example.org TYPE65281").gives(
        "NXDOMAIN aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}
