//! RFC 7871: client subnet. What no pool steers is the same for all: scope 0. Steered answers, whose scope is the network that
//! decides, are in `tests/steering.rs`, with a resolver that sends subnets in `tests/resolvers.rs`.

use crate::case::*;

const SUBNET: u16 = 8;

const IGNORES: &str = "It passes the option over.";

#[test]
fn section_7_2_1_what_does_not_depend_on_the_client_has_scope_0() {
    ask("ns2.example.org A").options(&[(SUBNET, &[0, 1, 24, 0, 192, 0, 2])]).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232 8:00011800c00002",
    );
    ask("ns2.example.org A").options(&[(SUBNET, &[0, 2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0])]).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232 8:0002380020010db8000000",
    );
    ask("nothing.example.org A").options(&[(SUBNET, &[0, 1, 24, 0, 192, 0, 2])]).gives(
        "NXDOMAIN aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300
         edns 1232 8:00011800c00002",
    );
}

#[test]
fn section_7_1_2_a_source_of_0_bits_asks_not_to_be_told_apart() {
    ask("ns2.example.org A").options(&[(SUBNET, &[0, 1, 0, 0])]).gives(
        "NOERROR aa
         an ns2.example.org 3600 A 192.0.2.2
         edns 1232 8:00010000",
    );
}

/// Other than 4 and 6 there are no families; an address has as many octets as its prefix, and no bits behind it.
#[test]
fn section_6_malformed_subnets() {
    ask("ns2.example.org A")
        .options(&[(SUBNET, &[0, 1, 24, 0, 192, 0, 2, 7])])
        .unlike([Nsd, Knot], IGNORES)
        .gives("FORMERR\nedns 1232");
    ask("ns2.example.org A")
        .options(&[(SUBNET, &[0, 1, 20, 0, 192, 0, 0xff])])
        .unlike([Nsd, Knot], IGNORES)
        .gives("FORMERR\nedns 1232");
    ask("ns2.example.org A")
        .options(&[(SUBNET, &[0, 1, 33, 0, 192, 0, 2, 1, 0])])
        .unlike([Nsd, Knot], IGNORES)
        .gives("FORMERR\nedns 1232");
    ask("ns2.example.org A")
        .options(&[(SUBNET, &[0, 1, 24, 24, 192, 0, 2])])
        .unlike([Nsd, Knot], IGNORES)
        .unlike([Bind], "RFC 6891, 7 wants an OPT record in a FORMERR of EDNS, which BIND sends but for this one.")
        .gives("FORMERR\nedns 1232");
    ask("ns2.example.org A")
        .options(&[(SUBNET, &[0, 3, 24, 0, 192, 0, 2])])
        .unlike([Nsd, Knot], IGNORES)
        .gives("FORMERR\nedns 1232");
    ask("ns2.example.org A").options(&[(SUBNET, &[0, 1, 24])]).unlike([Nsd, Knot], IGNORES).gives("FORMERR\nedns 1232");
}
