//! RFC 7505: null MX.

use crate::case::*;

#[test]
fn section_3_no_mail_is_accepted() {
    ask("nullmx.example.org MX").gives(
        "NOERROR aa
         an nullmx.example.org 3600 MX 0 .",
    );
}
