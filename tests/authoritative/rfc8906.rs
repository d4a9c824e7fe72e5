//! RFC 8906: what must not go unanswered. The tests of its section 8, by their numbers.

use crate::case::*;
use crate::references::packets::opt;

#[test]
fn section_8_1_1_the_zone_is_served() {
    ask("example.org SOA").gives(
        "NOERROR aa
         an example.org 3600 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_8_1_2_unknown_types() {
    ask("example.org TYPE1000").gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_8_1_3_header_bits() {
    ask("example.org SOA")
        .changed(|p| p[3] |= 0x10)
        .unlike([Bind], "CD should be clear in an authoritative answer (RFC 4035, 3.1.6); BIND copies it.")
        .gives(
            "NOERROR aa
             an example.org 3600 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
        );
    ask("example.org SOA").changed(|p| p[3] |= 0x20).gives(
        "NOERROR aa
         an example.org 3600 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("example.org SOA").changed(|p| p[3] |= 0x40).gives(
        "NOERROR aa
         an example.org 3600 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("example.org SOA").changed(|p| p[2] |= 1).gives(
        "NOERROR aa rd
         an example.org 3600 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_8_1_4_unknown_opcodes() {
    ask("example.org SOA").changed(|p| p[2] |= 15 << 3).gives("NOTIMP opcode 15 no question");
}

#[test]
fn section_8_1_5_tcp() {
    ask("example.org SOA").over_tcp().gives(
        "NOERROR aa
         an example.org 3600 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_8_2_1_minimal_edns() {
    ask("example.org SOA").edns(1232).gives(
        "NOERROR aa
         an example.org 3600 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300
         edns 1232",
    );
}

#[test]
fn section_8_2_2_version_negotiation() {
    ask("example.org SOA").opt(&opt(1232, 1, 0, &[])).gives(
        "BADVERS
         edns 1232",
    );
}

#[test]
fn section_8_2_3_unknown_options() {
    ask("example.org SOA").options(&[(100, &[])]).gives(
        "NOERROR aa
         an example.org 3600 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300
         edns 1232",
    );
}

#[test]
fn section_8_2_4_unknown_flags() {
    ask("example.org SOA").opt(&opt(1232, 0, 0x40, &[])).gives(
        "NOERROR aa
         an example.org 3600 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300
         edns 1232",
    );
}

#[test]
fn section_8_2_5_version_1_with_unknown_flags() {
    ask("example.org SOA").opt(&opt(1232, 1, 0x40, &[])).gives(
        "BADVERS
         edns 1232",
    );
}

#[test]
fn section_8_2_6_version_1_with_unknown_options() {
    ask("example.org SOA").opt(&opt(1232, 1, 0, &[0, 100, 0, 0])).gives(
        "BADVERS
         edns 1232",
    );
}

#[test]
fn section_8_2_7_truncated_responses() {
    ask("signed.example DNSKEY").opt(&opt(512, 0, 0x80, &[])).gives(
        "NOERROR aa
         an signed.example 3600 DNSKEY 256 3 13 MqAWJWqps2LI9HO+MD7ogX1LJnwd7kfiBZm7sVuwJwze3TuGS7IFVC3vKwCYryREEtK/MeH...
         an signed.example 3600 DNSKEY 257 3 13 ipJMsbgsFBM3T2TjwgVkZb7a5cEhTmQhQIgDBI4fWg7GGL6RP/e2nR5M4KcCByp8pZESYTZ...
         an signed.example 3600 RRSIG DNSKEY
         an signed.example 3600 RRSIG DNSKEY
         edns 1232 do",
    );
}

#[test]
fn section_8_2_8_do() {
    ask("example.org SOA").dnssec().gives(
        "NOERROR aa
         an example.org 3600 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300
         edns 1232 do",
    );
}

#[test]
fn section_8_2_9_version_1_with_do() {
    ask("example.org SOA")
        .opt(&opt(1232, 1, 0x80, &[]))
        .unlike([Nsd], "DO is copied into every response with an OPT record (RFC 3225, 3); NSD clears it in BADVERS.")
        .gives("BADVERS\nedns 1232 do");
}

#[test]
fn section_8_2_10_several_options() {
    ask("example.org SOA").options(&[(3, &[][..]), (8, &[0, 1, 0, 0]), (9, &[]), (10, b"12345678")]).gives(
        "NOERROR aa
         an example.org 3600 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300
         edns 1232 3:6e7331 10:3132333435363738010000006b49d2004a2a6db4d3bf7ca7 8:00010000",
    );
}
