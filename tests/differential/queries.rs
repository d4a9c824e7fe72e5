//! The queries, made from the zones: every owner name with its ancestors, children and siblings, each with many types; and
//! packets that are out of the ordinary, written down one by one.

use std::collections::BTreeSet;
use std::path::Path;

use waypost::dns::{Name, Rtype};
use waypost::zone::master;

use super::references::packets::{Mode, opt, packet};
use super::references::zones::Zone;

/// A question asked of all.
#[derive(Clone, Debug)]
pub struct Question {
    /// As a person would write it.
    pub text: String,
    pub name: String,
    pub rtype: Rtype,
}

/// Types asked of every name; those that it has are added.
const TYPES: [u16; 9] = [1, 28, 2, 6, 15, 16, 5, 43, 255];
/// Types asked of owner names only.
const MORE_TYPES: [u16; 8] = [33, 39, 65, 257, 47, 48, 46, 65400];

/// All questions of the zones, in an order that stays.
pub fn questions(zones: &[Zone]) -> Vec<Question> {
    let mut asked = BTreeSet::new();
    for (apex, text) in zones {
        let apex: Name = apex.parse().unwrap();
        let contents = master::parse(text.as_bytes(), Path::new("zone"), &apex).unwrap().contents;
        for (owner, sets) in &contents.owners {
            let types = || TYPES.iter().copied().map(Rtype);
            let own = types().chain(MORE_TYPES.map(Rtype)).chain(sets.iter().map(|s| s.rtype));
            asked.extend(own.map(|t| (owner.to_string(), t)));
            asked.extend(relatives(owner).into_iter().flat_map(|name| types().map(move |t| (name.clone(), t))));
        }
    }
    (asked.into_iter().enumerate())
        .map(|(i, (name, rtype))| {
            let name = if i % 3 == 0 { mixed_case(&name) } else { name };
            Question { text: format!("{name} {rtype}"), name, rtype }
        })
        .collect()
}

/// Ancestors up to the root, children, grandchildren, siblings, and the wildcards beside.
fn relatives(owner: &Name) -> Vec<String> {
    let mut names = Vec::new();
    let mut here = owner.clone();
    while let Some(up) = here.parent() {
        names.push(up.to_string());
        here = up;
    }
    if let Some(up) = owner.parent() {
        names.extend(["zzz", "*", "0"].map(|label| format!("{label}.{up}")));
    }
    names.extend(["x", "*", "x.y", "a.b.c.d"].map(|labels| format!("{labels}.{owner}")));
    names.retain(|name| name.parse::<Name>().is_ok());
    names
}

fn mixed_case(name: &str) -> String {
    name.chars().enumerate().map(|(i, c)| if i % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect()
}

/// Packets that are no plain queries, with what is odd about each.
pub fn oddities() -> Vec<(&'static str, Vec<u8>)> {
    let good = || packet("www.example.org", 1, Mode::Plain);
    let with = |change: fn(&mut Vec<u8>)| {
        let mut packet = good();
        change(&mut packet);
        packet
    };
    let extra = |count_at: usize, count: u8, records: &[u8]| {
        let mut packet = good();
        packet[count_at] = count;
        packet.extend_from_slice(records);
        packet
    };
    let with_opt = |record: Vec<u8>| extra(11, 1, &record);
    let a = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";
    let options = |options: &[u8]| with_opt(opt(1232, 0, 0, options));
    let question = &good()[12..];
    vec![
        ("QR set", with(|p| p[2] |= 0x80)),
        ("OPCODE IQUERY", with(|p| p[2] |= 1 << 3)),
        ("OPCODE STATUS", with(|p| p[2] |= 2 << 3)),
        ("OPCODE 3", with(|p| p[2] |= 3 << 3)),
        ("OPCODE 6", with(|p| p[2] |= 6 << 3)),
        ("OPCODE 15", with(|p| p[2] |= 15 << 3)),
        ("AA set", with(|p| p[2] |= 4)),
        ("TC set", with(|p| p[2] |= 2)),
        ("RD clear", with(|p| p[2] &= !1)),
        ("RA set", with(|p| p[3] |= 0x80)),
        ("Z set", with(|p| p[3] |= 0x40)),
        ("AD set", with(|p| p[3] |= 0x20)),
        ("CD set", with(|p| p[3] |= 0x10)),
        ("RCODE set", with(|p| p[3] |= 3)),
        (
            "QDCOUNT 0, nothing behind the header",
            with(|p| {
                p[5] = 0;
                p.truncate(12);
            }),
        ),
        ("QDCOUNT 0, a question behind it", with(|p| p[5] = 0)),
        ("QDCOUNT 2, one question", with(|p| p[5] = 2)),
        ("QDCOUNT 2, two questions", extra(5, 2, question)),
        ("octets behind the message", with(|p| p.extend_from_slice(b"trailing"))),
        ("octets behind the OPT", [with_opt(opt(1232, 0, 0, &[])), b"trailing".to_vec()].concat()),
        ("no header", with(|p| p.truncate(11))),
        ("header alone", with(|p| p.truncate(12))),
        ("cut in the QNAME", with(|p| p.truncate(20))),
        ("cut in the QTYPE", with(|p| p.truncate(p.len() - 3))),
        ("cut in the QCLASS", with(|p| p.truncate(p.len() - 1))),
        (
            "QNAME a pointer to itself",
            with(|p| {
                p.splice(12..p.len() - 4, [0xc0, 12]);
            }),
        ),
        (
            "QNAME a pointer ahead",
            with(|p| {
                p.splice(12..p.len() - 4, [0xc0, 18]);
                p.extend_from_slice(b"\x01a\0");
            }),
        ),
        ("QNAME with a label of type 01", with(|p| p[12] = 0x43)),
        ("QNAME with a label of type 10", with(|p| p[12] = 0x83)),
        (
            "QNAME of 256 octets",
            with(|p| {
                let long: Vec<u8> = (0..4).flat_map(|_| [&[63u8][..], &[b'a'; 63]].concat()).collect();
                p.splice(12..12, long);
            }),
        ),
        (
            "QTYPE 0",
            with(|p| {
                let at = p.len() - 4;
                p[at + 1] = 0;
            }),
        ),
        (
            "QTYPE OPT",
            with(|p| {
                let at = p.len() - 4;
                p[at + 1] = 41;
            }),
        ),
        (
            "QTYPE AXFR",
            with(|p| {
                let at = p.len() - 4;
                p[at + 1] = 252;
            }),
        ),
        (
            "QTYPE MAILB",
            with(|p| {
                let at = p.len() - 4;
                p[at + 1] = 253;
            }),
        ),
        (
            "QTYPE MAILA",
            with(|p| {
                let at = p.len() - 4;
                p[at + 1] = 254;
            }),
        ),
        (
            "QTYPE TSIG",
            with(|p| {
                let at = p.len() - 4;
                p[at + 1] = 250;
            }),
        ),
        (
            "QTYPE TKEY",
            with(|p| {
                let at = p.len() - 4;
                p[at + 1] = 249;
            }),
        ),
        ("QCLASS 0", with(|p| *p.last_mut().unwrap() = 0)),
        ("QCLASS 2", with(|p| *p.last_mut().unwrap() = 2)),
        ("QCLASS CH", with(|p| *p.last_mut().unwrap() = 3)),
        ("QCLASS HS", with(|p| *p.last_mut().unwrap() = 4)),
        ("QCLASS NONE", with(|p| *p.last_mut().unwrap() = 254)),
        ("QCLASS ANY", with(|p| *p.last_mut().unwrap() = 255)),
        ("an answer in the query", extra(7, 1, a)),
        ("an authority record in the query", extra(9, 1, a)),
        ("an additional record in the query", extra(11, 1, a)),
        ("ANCOUNT 1, nothing there", extra(7, 1, &[])),
        ("NSCOUNT 1, nothing there", extra(9, 1, &[])),
        ("ARCOUNT 1, nothing there", extra(11, 1, &[])),
        ("OPT in the answer section", extra(7, 1, &opt(1232, 0, 0, &[]))),
        ("OPT in the authority section", extra(9, 1, &opt(1232, 0, 0, &[]))),
        ("OPT behind another record", extra(11, 2, &[&a[..], &opt(1232, 0, 0, &[])].concat())),
        ("OPT before another record", extra(11, 2, &[&opt(1232, 0, 0, &[])[..], a].concat())),
        ("two OPTs", extra(11, 2, &[opt(1232, 0, 0, &[]), opt(1232, 0, 0, &[])].concat())),
        ("OPT with an owner name", with_opt([&b"\x01a"[..], &opt(1232, 0, 0, &[])].concat())),
        ("EDNS version 1", with_opt(opt(1232, 1, 0, &[]))),
        ("EDNS version 1, unknown option", with_opt(opt(1232, 1, 0, &[0xff, 0xf0, 0, 1, 7]))),
        ("EDNS version 255", with_opt(opt(1232, 255, 0x80, &[]))),
        ("EDNS with unknown flags", with_opt(opt(1232, 0, 0x7f, &[]))),
        (
            "EDNS with an extended RCODE",
            with_opt({
                let mut record = opt(1232, 0, 0, &[]);
                record[5] = 1;
                record
            }),
        ),
        ("EDNS of 0 octets", with_opt(opt(0, 0, 0, &[]))),
        ("EDNS of 511 octets", with_opt(opt(511, 0, 0, &[]))),
        ("EDNS of 65535 octets", with_opt(opt(65535, 0, 0, &[]))),
        ("EDNS unknown option", options(&[0xff, 0xf0, 0, 3, 1, 2, 3])),
        ("EDNS empty unknown option", options(&[0xff, 0xf0, 0, 0])),
        ("EDNS option cut off", options(&[0xff, 0xf0, 0, 4, 1])),
        ("EDNS option's head cut off", options(&[0xff, 0xf0, 0])),
        (
            "EDNS RDLENGTH beyond the end",
            with(|p| {
                p[11] = 1;
                p.extend_from_slice(&opt(1232, 0, 0, &[]));
                *p.last_mut().unwrap() = 4;
            }),
        ),
        (
            "EDNS cut in its fixed part",
            with(|p| {
                p[11] = 1;
                p.extend_from_slice(&opt(1232, 0, 0, &[])[..7]);
            }),
        ),
        ("EDNS padding", options(&[0, 12, 0, 4, 0, 0, 0, 0])),
        ("EDNS client subnet", options(&[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2])),
        ("EDNS client subnet cut in its head", options(&[0, 8, 0, 3, 0, 1, 24])),
        ("EDNS client subnet of no family", options(&[0, 8, 0, 7, 0, 3, 24, 0, 192, 0, 2])),
        ("EDNS client subnet of 33 bits of IPv4", options(&[0, 8, 0, 9, 0, 1, 33, 0, 192, 0, 2, 0, 0])),
        ("EDNS client subnet with an octet too few", options(&[0, 8, 0, 6, 0, 1, 24, 0, 192, 0])),
        ("EDNS client subnet with an octet too many", options(&[0, 8, 0, 8, 0, 1, 24, 0, 192, 0, 2, 1])),
        ("EDNS client subnet with bits beyond its prefix", options(&[0, 8, 0, 7, 0, 1, 20, 0, 192, 0, 2])),
        ("EDNS client subnet with a scope in the query", options(&[0, 8, 0, 7, 0, 1, 24, 24, 192, 0, 2])),
        ("EDNS client subnet of 0 bits", options(&[0, 8, 0, 4, 0, 1, 0, 0])),
        ("EDNS cookie of 7 octets", options(&[0, 10, 0, 7, 1, 2, 3, 4, 5, 6, 7])),
        ("EDNS cookie of 12 octets", options(&[0, 10, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])),
        ("EDNS cookie of 41 octets", options(&[&[0, 10, 0, 41][..], &[7; 41]].concat())),
        ("TSIG that is not the last", extra(11, 2, &[tsig(), opt(1232, 0, 0, &[])].concat())),
        ("TSIG of an unknown key", extra(11, 1, &tsig())),
    ]
}

/// A TSIG record of a key that nobody knows (RFC 8945, 4.2).
fn tsig() -> Vec<u8> {
    let mut record =
        b"\x07unknown\0\0\xfa\0\xff\0\0\0\0\0\x3d\x0bhmac-sha256\0\0\0\x66\x00\x00\x00\x01\x2c\0\x20".to_vec();
    record.extend_from_slice(&[0; 32]);
    record.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
    record
}
