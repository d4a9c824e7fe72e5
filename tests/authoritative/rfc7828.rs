//! RFC 7828: TCP keepalive. The idle timeout, in tenths of a second, to who asks, over TCP alone.

use crate::case::*;

const KEEPALIVE: u16 = 11;

#[test]
fn section_3_3_2_the_idle_timeout_is_told_to_who_asks() {
    ask("ns2.example.org A").options(&[(KEEPALIVE, b"")]).over_tcp().gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232 11:0064",
    );
    ask("ns2.example.org A").edns(1232).over_tcp().gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
}

#[test]
fn section_3_3_1_never_over_udp() {
    ask("ns2.example.org A").options(&[(KEEPALIVE, b"")]).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232",
    );
}
