//! RFC 1035: implementation and specification. Sizes (2.3.4), types (3.3), the parts of a message (4.1).

use waypost::query::Transport;

use crate::answers;
use crate::case::*;

const NOT_DATA: &str = "No record has this type, so the name has none: NODATA, as the other two have it.";

const SILENT: &str = "What can't be read is FORMERR (4.1.1) where there is a header; Knot stays silent.";

#[test]
fn section_2_3_4_names_of_255_octets_and_labels_of_63() {
    ask("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc.ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.example.org TXT").gives(
        "NOERROR aa
         an aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc.ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.example.org 3600 TXT \"a name of 255 octets\"",
    );
    ask("lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll.example.org A").gives(
        "NOERROR aa
         an lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll.example.org 3600 A 192.0.2.86",
    );
    ask("x.lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll.example.org A").gives(
        "NXDOMAIN aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("tolong.example.org TXT").gives(
        "NOERROR aa
         an tolong.example.org 3600 CNAME aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb...
         an aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc.ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.example.org 3600 TXT \"a name of 255 octets\"",
    );
}

/// Those of RFC 1035 and of what came after it; SRV, NAPTR, TLSA, CAA, SVCB and HTTPS have files of their own.
#[test]
fn section_3_3_types_in_use() {
    ask("types.example.org HINFO").gives(
        "NOERROR aa
         an types.example.org 3600 HINFO \"PDP-11\" \"UNIX\"",
    );
    ask("types.example.org PTR").gives(
        "NOERROR aa
         an types.example.org 3600 PTR www.example.org.",
    );
    ask("types.example.org RP").gives(
        "NOERROR aa
         an types.example.org 3600 RP hostmaster.example.org. www.example.org.",
    );
    ask("types.example.org AFSDB").gives(
        "NOERROR aa
         an types.example.org 3600 AFSDB 1 sip.example.org.",
    );
    ask("types.example.org KX").gives(
        "NOERROR aa
         an types.example.org 3600 KX 10 sip.example.org.",
    );
    ask("types.example.org LOC").gives(
        "NOERROR aa
         an types.example.org 3600 LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000.00m 10.00m",
    );
    ask("types.example.org SSHFP").gives(
        "NOERROR aa
         an types.example.org 3600 SSHFP 4 2 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
    );
    ask("types.example.org CERT").gives(
        "NOERROR aa
         an types.example.org 3600 CERT 1 0 0 AAECAw==",
    );
    ask("types.example.org DHCID").gives(
        "NOERROR aa
         an types.example.org 3600 DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=",
    );
    ask("types.example.org APL").gives(
        "NOERROR aa
         an types.example.org 3600 APL 1:192.0.2.0/24 !2:2001:db8::/32",
    );
    ask("types.example.org URI").gives(
        "NOERROR aa
         an types.example.org 3600 URI 10 1 \"https://example.org/\"",
    );
    ask("types.example.org EUI48").gives(
        "NOERROR aa
         an types.example.org 3600 EUI48 00-00-5e-00-53-2a",
    );
    ask("types.example.org OPENPGPKEY").gives(
        "NOERROR aa
         an types.example.org 3600 OPENPGPKEY AAECAw==",
    );
    ask("types.example.org SMIMEA").gives(
        "NOERROR aa
         an types.example.org 3600 SMIMEA 3 1 1 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
    );
}

#[test]
fn section_3_2_5_a_question_of_any_class_is_not_authoritative() {
    ask("www.example.org A")
        .changed(|p| *p.last_mut().unwrap() = 255)
        .unlike([Knot], "6.2: AA is clear where the class is not one of ours. Knot sets it.")
        .unlike([Bind], "It knows no class ANY: FORMERR.")
        .gives(
            "NOERROR
             an www.example.org 3600 A 192.0.2.80
             an www.example.org 3600 A 192.0.2.81",
        );
}

#[test]
fn section_3_2_4_other_classes_are_refused() {
    let of_class = |class| ask("www.example.org A").changed(|p| *p.last_mut().unwrap() = class);
    of_class(2).unlike([Bind], "In class CH it has zones of its own, with other rules.").gives("REFUSED");
    of_class(4).gives("REFUSED");
    of_class(3).gives("REFUSED");
    of_class(0).unlike([Bind], "A class that can't be is one that we don't serve. BIND says FORMERR.").gives("REFUSED");
    of_class(254)
        .unlike([Bind], "A class that can't be is one that we don't serve. BIND says FORMERR.")
        .gives("REFUSED");
}

#[test]
fn section_3_2_3_types_that_are_no_data() {
    let of_type = |rtype| ask("www.example.org A").changed(|p| p[30] = rtype);
    of_type(0).unlike([Knot], NOT_DATA).gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    of_type(41).unlike([Bind], NOT_DATA).gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    of_type(249).unlike([Bind], NOT_DATA).gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    of_type(250).unlike([Bind], NOT_DATA).gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    of_type(252)
        .unlike(
            [Bind],
            "There are no transfers over UDP (RFC 5936, 4.2): NOTIMP, as NSD and Knot have it. BIND says NOTAUTH.",
        )
        .gives("NOTIMP");
    of_type(253).unlike([Bind], NOT_DATA).gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    of_type(254).unlike([Bind], NOT_DATA).gives(
        "NOERROR aa
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}

#[test]
fn section_4_1_1_a_response_gets_no_response() {
    ask("www.example.org A").changed(|p| p[2] |= 0x80).gives("silence");
}

#[test]
fn section_4_1_1_other_opcodes_are_not_implemented() {
    let of_opcode = |opcode: u8| ask("www.example.org A").changed(|p| p[2] |= opcode << 3);
    of_opcode(1).gives("NOTIMP opcode 1 no question");
    of_opcode(2).gives("NOTIMP opcode 2 no question");
    of_opcode(3).gives("NOTIMP opcode 3 no question");
    of_opcode(6).gives("NOTIMP opcode 6 no question");
    of_opcode(15).gives("NOTIMP opcode 15 no question");
}

/// RD is copied; nothing else of a query's header counts.
#[test]
fn section_4_1_1_flags_of_the_query() {
    ask("ns2.example.org A").changed(|p| p[2] |= 1).gives(
        "NOERROR aa rd
         an ns2.example.org 3600 A 192.0.2.2",
    );
    for (octet, bits) in [(2, 4), (2, 2), (3, 0x80)] {
        ask("ns2.example.org A").changed(|p| p[octet] |= bits).gives(
            "NOERROR aa
             an ns2.example.org 3600 A 192.0.2.2",
        );
    }
    ask("ns2.example.org A")
        .changed(|p| p[3] |= 3)
        .unlike([Nsd], "An RCODE means nothing in a query; NSD says FORMERR.")
        .gives(
            "NOERROR aa
             an ns2.example.org 3600 A 192.0.2.2",
        );
}

/// What counts say is there must be there.
#[test]
fn section_4_1_1_counts_without_records_are_formerr() {
    for count in [7, 9, 11] {
        ask("www.example.org A").changed(|p| p[count] = 1).gives("FORMERR no question");
    }
}

#[test]
fn section_4_1_records_in_a_query_are_passed_over() {
    for count in [7, 9, 11] {
        let record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";
        let with = |p: &mut Vec<u8>| {
            p[count] = 1;
            p.extend_from_slice(record);
        };
        ask("ns2.example.org A")
            .changed(with)
            .unlike([Nsd], "What else a query holds does not make its question unclear; NSD says FORMERR.")
            .gives(
                "NOERROR aa
                 an ns2.example.org 3600 A 192.0.2.2",
            );
    }
}

#[test]
fn section_4_1_octets_behind_a_message_are_passed_over() {
    ask("ns2.example.org A")
        .changed(|p| p.extend_from_slice(b"trailing"))
        .unlike([Knot], "The message ends where its counts say; Knot says FORMERR.")
        .gives(
            "NOERROR aa
             an ns2.example.org 3600 A 192.0.2.2",
        );
}

#[test]
fn section_4_1_1_less_than_a_header_is_passed_over() {
    ask("www.example.org A").changed(|p| p.truncate(11)).gives("silence");
}

#[test]
fn section_4_1_2_a_question_cut_off_is_formerr() {
    for octets in [12, 20, 30, 32] {
        ask("www.example.org A").changed(|p| p.truncate(octets)).unlike([Knot], SILENT).gives("FORMERR no question");
    }
}

/// Nothing stands before a question that a pointer could lead to; of label types only 00 and 11 are known (RFC 6891, 5).
#[test]
fn section_4_1_4_a_question_with_pointers_is_formerr() {
    ask("www.example.org A")
        .changed(|p| _ = p.splice(12..29, [0xc0, 12]))
        .unlike([Knot], SILENT)
        .gives("FORMERR no question");
    ask("www.example.org A").changed(|p| p[12] = 0x43).unlike([Knot], SILENT).gives("FORMERR no question");
    ask("www.example.org A").changed(|p| p[12] = 0x83).unlike([Knot], SILENT).gives("FORMERR no question");
}

#[test]
fn section_2_3_4_a_question_of_256_octets_is_formerr() {
    let long: Vec<u8> = (0..4).flat_map(|_| [&[63u8][..], &[b'a'; 63]].concat()).collect();
    ask("www.example.org A")
        .changed(|p| _ = p.splice(12..12, long))
        .unlike([Knot], SILENT)
        .gives("FORMERR no question");
}

/// That names are compressed as well as the others do it is looked at in each case; here, along a chain.
#[test]
fn section_4_1_4_names_of_a_chain_share_the_end_of_the_first() {
    let response = answers::raw(&SERVED, &ask("alias3.example.org A").packet, Transport::Udp).unwrap();
    assert_eq!(response.windows(7).filter(|w| w == b"example").count(), 1, "{response:02x?}");
}
