//! RFC 3403: NAPTR.

use crate::case::*;

#[test]
fn section_4_1_naptr() {
    ask("types.example.org NAPTR").gives(
        "NOERROR aa
         an types.example.org 3600 NAPTR 100 10 \"S\" \"SIP+D2U\" \"\" _sip._udp.example.org.
         an types.example.org 3600 NAPTR 102 10 \"A\" \"SIP+D2T\" \"\" sip.example.org.",
    );
}
