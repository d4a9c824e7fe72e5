//! RFC 7873: cookies, made as RFC 9018 has it.

use waypost::query::Transport;

use crate::answers;
use crate::case::*;

const COOKIE: u16 = 10;

/// RCODE and cookie of the answer to this cookie.
fn cookie(sent: &[u8]) -> (u8, Vec<u8>) {
    let packet = ask("ns2.example.org A").options(&[(COOKIE, sent)]).packet;
    let response = answers::raw(&SERVED, &packet, Transport::Udp).unwrap();
    (response[3] & 15, response[response.len() - 24..].to_vec())
}

#[test]
fn section_5_2_3_a_client_cookie_alone_is_answered_with_one_of_the_server() {
    let (rcode, both) = cookie(b"12345678");
    assert_eq!((rcode, &both[..8]), (0, &b"12345678"[..]));
    assert_eq!(both[8..12], [1, 0, 0, 0], "version 1, reserved octets (RFC 9018, 4.1, 4.2)");
    assert_eq!(both[12..16], 1_800_000_000_u32.to_be_bytes(), "when it was made (RFC 9018, 4.3)");
    assert_eq!(cookie(&both), (0, both), "a good one stays");
}

#[test]
fn section_5_2_4_a_wrong_server_cookie_is_answered_with_a_right_one() {
    let (_, right) = cookie(b"12345678");
    let wrong = [&b"12345678"[..], &[1; 16]].concat();
    assert_eq!(cookie(&wrong), (0, right));
}

#[test]
fn section_5_2_2_a_cookie_of_a_wrong_length_is_formerr() {
    for octets in [0, 7, 9, 15, 41] {
        ask("ns2.example.org A")
            .options(&[(COOKIE, &[7; 41][..octets])])
            .unlike([Nsd, Knot], "As installed, they have no cookies.")
            .gives("FORMERR\nedns 1232");
    }
}

#[test]
fn section_5_4_a_cookie_can_be_asked_for_without_a_question() {
    let mut packet = ask("ns2.example.org A").options(&[(COOKIE, b"12345678")]).packet;
    packet[5] = 0;
    packet.drain(12..33);
    let response = answers::raw(&SERVED, &packet, Transport::Udp).unwrap();
    assert_eq!((response[3] & 15, response.len()), (0, 12 + 11 + 4 + 24));
    packet[11] = 0;
    packet.truncate(12);
    assert_eq!(answers::raw(&SERVED, &packet, Transport::Udp).unwrap()[3] & 15, 1, "without a cookie it is FORMERR");
}
