//! RFC 5001: NSID, told to who asks.

use crate::case::*;

const NSID: u16 = 3;

#[test]
fn section_2_1_the_server_tells_who_it_is_when_asked() {
    ask("ns2.example.org A").options(&[(NSID, b"")]).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232 3:6e7331",
    );
    ask("ns2.example.org A").options(&[(65001, b"abc"), (NSID, b""), (65002, b"")]).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232 3:6e7331",
    );
}

#[test]
fn section_2_1_errors_bring_it_too() {
    ask("example.com A").options(&[(NSID, b"")]).gives(
        "REFUSED
         edns 1232 3:6e7331 15:0014",
    );
}
