//! RFC 8467, RFC 7830: padding is for encrypted transports, with real clients in `tests/encrypted.rs`. Elsewhere it is passed over.

use crate::case::*;

const PADDING: u16 = 12;

#[test]
fn rfc7830_section_6_no_padding_where_nothing_is_encrypted() {
    ask("ns2.example.org A").options(&[(PADDING, &[0; 4])]).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
    ask("ns2.example.org A").options(&[(PADDING, &[0; 4])]).over_tcp().gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
}
