//! RFC 6698: TLSA.

use crate::case::*;

#[test]
fn section_2_1_tlsa() {
    ask("types.example.org TLSA").gives(
        "NOERROR aa
         an types.example.org 3600 TLSA 3 1 1 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
    );
}
