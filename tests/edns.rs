//! EDNS (RFC 6891) and its options:
//! - sizes, versions, flags and options that are not known (6.1.2, 6.1.3, 6.1.4);
//! - NSID (RFC 5001), client subnet (RFC 7871), cookies (RFC 7873, RFC 9018), keepalive (RFC 7828), extended errors (RFC 8914).

#[path = "support/answers.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod answers;

use std::sync::Arc;

use answers::{PLAIN, query, raw, serving};
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType as T;
use hickory_proto::rr::rdata::opt::EdnsCode;
use waypost::query::cookies::Secret;
use waypost::query::{Cookies, Snapshot, Transport};
use waypost::zone::ZoneSet;

const ZONE: &str = "@ 3600 SOA ns hostmaster 1 2 3 4 60\n@ 3600 NS ns\nns 3600 A 192.0.2.1\n";

fn snapshot() -> Snapshot {
    let secret = Secret::parse("e5e973e5a6b2a43f48e7dc849e37bfcf").unwrap();
    Snapshot { cookies: Some(Cookies::new(&[secret])), ..serving(&[("example.org", ZONE)]) }
}

/// A query for `ns.example.org A` with an OPT record of these options.
fn with_options(options: &[(u16, &[u8])]) -> Vec<u8> {
    of_name("ns.example.org.", options)
}

fn of_name(name: &str, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (code, octets) in options {
        data.extend_from_slice(&code.to_be_bytes());
        data.extend_from_slice(&(octets.len() as u16).to_be_bytes());
        data.extend_from_slice(octets);
    }
    let mut packet = query(name, T::A, PLAIN);
    packet[11] = 1;
    packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0]);
    packet.extend_from_slice(&(data.len() as u16).to_be_bytes());
    packet.extend_from_slice(&data);
    packet
}

/// RCODE, and the octets of the option `code` in the response.
fn option(snapshot: &Snapshot, packet: &[u8], transport: Transport, code: u16) -> (u16, Option<Vec<u8>>) {
    let message = Message::from_vec(&raw(snapshot, packet, transport).unwrap()).unwrap();
    let edns = message.edns.as_ref();
    let found = edns.and_then(|e| e.option(EdnsCode::from(code))).map(|o| Vec::<u8>::try_from(o).unwrap());
    (message.metadata.response_code.into(), found)
}

const NSID: u16 = 3;
const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const ERROR: u16 = 15;

#[test]
fn rfc5001_the_server_tells_who_it_is_when_asked() {
    assert_eq!(option(&snapshot(), &with_options(&[(NSID, b"")]), Transport::Udp, NSID), (0, Some(b"ns1".to_vec())));
    assert_eq!(option(&snapshot(), &with_options(&[]), Transport::Udp, NSID), (0, None));
}

#[test]
fn rfc6891_6_1_2_unknown_options_are_passed_over_and_not_given_back() {
    let asked = with_options(&[(65001, b"abc"), (NSID, b""), (65002, b"")]);
    assert_eq!(option(&snapshot(), &asked, Transport::Udp, 65001), (0, None));
    assert_eq!(option(&snapshot(), &asked, Transport::Udp, NSID).1, Some(b"ns1".to_vec()));
}

#[test]
fn rfc6891_6_1_3_another_version_is_badvers_whatever_its_options_are() {
    let mut asked = with_options(&[(COOKIE, b"short")]);
    asked[38] = 1;
    let message = Message::from_vec(&raw(&snapshot(), &asked, Transport::Udp).unwrap()).unwrap();
    let edns = message.edns.as_ref().unwrap();
    assert_eq!((u16::from(message.metadata.response_code), edns.version()), (16, 0));
    assert!(message.answers.is_empty());
}

#[test]
fn rfc7873_5_2_3_a_client_cookie_alone_is_answered_with_one_of_the_server() {
    let asked = with_options(&[(COOKIE, b"12345678")]);
    let (rcode, cookie) = option(&snapshot(), &asked, Transport::Udp, COOKIE);
    let cookie = cookie.unwrap();
    assert_eq!((rcode, cookie.len(), &cookie[..8]), (0, 24, &b"12345678"[..]));
    let again = with_options(&[(COOKIE, &cookie)]);
    assert_eq!(option(&snapshot(), &again, Transport::Udp, COOKIE), (0, Some(cookie)), "a good one stays");
}

#[test]
fn rfc7873_5_2_4_a_wrong_server_cookie_is_answered_with_a_right_one() {
    let wrong = [&b"12345678"[..], &[1; 16]].concat();
    let (rcode, cookie) = option(&snapshot(), &with_options(&[(COOKIE, &wrong)]), Transport::Udp, COOKIE);
    assert_eq!(rcode, 0);
    assert_ne!(cookie.unwrap(), wrong);
}

#[test]
fn rfc7873_5_4_a_cookie_can_be_asked_for_alone() {
    let mut asked = with_options(&[(COOKIE, b"12345678")]);
    asked[5] = 0; // no question
    asked.drain(12..12 + b"\x02ns\x07example\x03org\0\0\x01\0\x01".len());
    let (rcode, cookie) = option(&snapshot(), &asked, Transport::Udp, COOKIE);
    assert_eq!((rcode, cookie.unwrap().len()), (0, 24));
    asked.truncate(12);
    asked[11] = 0;
    assert_eq!(raw(&snapshot(), &asked, Transport::Udp).unwrap()[3] & 15, 1, "without a cookie it is FORMERR");
}

#[test]
fn rfc7873_5_2_2_a_cookie_of_a_wrong_length_is_formerr() {
    for octets in [0, 7, 9, 15, 41] {
        let asked = with_options(&[(COOKIE, &[7; 41][..octets])]);
        assert_eq!(raw(&snapshot(), &asked, Transport::Udp).unwrap()[3] & 15, 1, "{octets} octets");
    }
}

#[test]
fn rfc7828_3_2_the_idle_timeout_is_told_over_tcp_to_who_asks() {
    let asked = with_options(&[(KEEPALIVE, b"")]);
    assert_eq!(option(&snapshot(), &asked, Transport::Tcp, KEEPALIVE).1, Some(vec![0, 100]));
    assert_eq!(option(&snapshot(), &asked, Transport::Udp, KEEPALIVE).1, None, "never over UDP (3.3.1)");
    assert_eq!(option(&snapshot(), &with_options(&[]), Transport::Tcp, KEEPALIVE).1, None);
}

#[test]
fn rfc8914_an_error_says_why() {
    let broken = ("broken.example".parse().unwrap(), None);
    let mut snapshot = snapshot();
    let served = snapshot.zones.entries().iter().map(|e| (e.apex.clone(), e.zone.clone()));
    snapshot.zones = Arc::new(ZoneSet::new(served.chain([broken]).collect::<Vec<_>>()));
    let ask = |name: &str| option(&snapshot, &of_name(name, &[]), Transport::Udp, ERROR);
    assert_eq!(ask("www.broken.example."), (2, Some(vec![0, 14])), "Not Ready");
    assert_eq!(ask("www.example.net."), (5, Some(vec![0, 20])), "Not Authoritative");
    assert_eq!(ask("nothing.example.org."), (3, None));
    let mut transfer = of_name("example.org.", &[]);
    transfer[26] = 252;
    assert_eq!(option(&snapshot, &transfer, Transport::Tcp, ERROR), (5, Some(vec![0, 21])), "Not Supported");
}

#[test]
fn all_options_at_once_fit_beside_the_smallest_answer() {
    let subnet = [&[0, 2, 128, 0][..], &[1; 16]].concat();
    let snapshot = Snapshot { nsid: Arc::from(&[b'n'; 128][..]), ..snapshot() };
    let asked = with_options(&[(NSID, b""), (8, &subnet), (COOKIE, b"12345678"), (KEEPALIVE, b"")]);
    let response = raw(&snapshot, &asked, Transport::Udp).unwrap();
    let message = Message::from_vec(&response).unwrap();
    assert_eq!((message.answers.len(), message.metadata.truncation), (1, false));
}
