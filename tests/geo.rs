//! The policy `geo`:
//! - a network is given the first of its sites that may be answered, by the longest prefix, a client subnet as its resolver;
//!   what no line speaks of goes by the client key;
//! - a site that is drained, down or at weight 0 gives way to the next of the list, and takes its clients back;
//! - a MaxMind DB file tells countries, continents and AS numbers; what is written as a prefix comes first;
//! - mistakes in the file are told with their place.

mod support;

use std::fs;
use std::net::IpAddr;

use hickory_proto::rr::RecordType as T;
use serde_json::json;
use support::dns::{addresses, scope};
use support::{DC1, EC2, HEAD, Server, folder};

const WWW: &str = "www.example.org";
const DC2: &str = "192.0.2.13";

fn config(steering: &str) -> String {
    format!(
        "{HEAD}[[site]]\nname = \"dc2\"\n[steering]\nnetworks = \"networks\"\n{steering}\n[[pool]]\nname = \"{WWW}\"\npolicy = \"geo\"\n\
         endpoint = [{{ site = \"ec2\", address = [\"{EC2}\"], weight = 1 }}, {{ site = \"dc1\", address = [\"{DC1}\"], weight = 1 }}, \
         {{ site = \"dc2\", address = [\"{DC2}\"], weight = 1 }}]\n"
    )
}

fn server(networks: &str, steering: &str, database: Option<Vec<u8>>) -> Server {
    let folder = folder(&config(steering));
    fs::write(folder.path().join("networks"), networks).unwrap();
    if let Some(octets) = database {
        fs::write(folder.path().join("geo.mmdb"), octets).unwrap();
    }
    Server::start_in(folder)
}

/// What the resolver at this loopback address is given.
fn given(server: &Server, from: [u8; 4]) -> String {
    addresses(&server.question(WWW, T::A).from(from).send())[0].clone()
}

#[test]
fn networks_are_given_their_sites() {
    // `client(n)` of the test's DNS client names a /24 of 10.0.0.0/8.
    let server = server("127.0.0.0/8 = dc1 ec2\n127.5.0.0/16 = dc2 dc1\n10.0.0.0/8 = dc2\n", "", None);
    let (here, there) = ([127, 0, 0, 9], [127, 5, 1, 1]);
    assert_eq!((given(&server, here), given(&server, there)), (DC1.to_owned(), DC2.to_owned()));
    let subnet = server.question(WWW, T::A).client(7).send();
    assert_eq!((&addresses(&subnet)[..], scope(&subnet)), (&[DC2.to_owned()][..], Some(24)));
    let told =
        |server: &Server| server.get(&format!("/api/v1/explain?name={WWW}&client=127.5.1.1"))["steps"].to_string();
    assert!(told(&server).contains("its network is to have dc2, dc1: dc2 is the first"), "{}", told(&server));

    let site = |state: &str| server.api("PUT", "/api/v1/sites/dc2", json!({ "state": state }), &[]).done();
    site("drained");
    assert_eq!(given(&server, there), DC1, "the next of its list");
    let others = addresses(&server.question(WWW, T::A).client(7).send());
    assert!(others[0] == EC2 || others[0] == DC1, "its list is at its end: by the client key");
    site("active");
    assert_eq!(given(&server, there), DC2);
    server.force(WWW, "dc2", "down").done();
    assert_eq!(given(&server, there), DC1);
    server.force(WWW, "dc2", "obey").done();
    server.flip(json!({"pools": [WWW], "from": "dc2", "to": "ec2", "percent": 100})).done();
    assert_eq!(given(&server, there), DC1, "at weight 0 it is not answered");
    assert_eq!(given(&server, here), DC1);
}

#[test]
fn a_database_tells_where_networks_are() {
    let data = database(&[
        ("127.1.0.0", 16, "DE", "EU", 64500),
        ("127.2.0.0", 16, "FR", "EU", 64501),
        ("127.3.0.0", 16, "JP", "AS", 64502),
        ("127.4.0.0", 16, "DE", "EU", 64503),
    ]);
    let lines = "country:de = dc1\ncontinent:EU = dc2\nasn:64503 = ec2\n127.1.7.0/24 = ec2\n* = dc2 ec2\n";
    let server = server(lines, "geo-database = \"geo.mmdb\"", Some(data));
    for (from, site) in [
        ([127, 1, 1, 1], DC1),
        ([127, 1, 7, 1], EC2),
        ([127, 2, 1, 1], DC2),
        ([127, 3, 1, 1], DC2),
        ([127, 4, 1, 1], EC2),
    ] {
        assert_eq!(given(&server, from), site, "{from:?}");
    }
    // Another file counts from the next reload on.
    fs::write(server.file("networks"), "* = dc1\n").unwrap();
    server.reload().done();
    assert_eq!(given(&server, [127, 4, 1, 1]), DC1);
    fs::write(server.file("networks"), "127.0.0.0/8 = dc1 dc9\n").unwrap();
    assert!(server.reload().refused(422).contains("networks:1:19: error: there is no [[site]] named \"dc9\""));
    fs::write(server.file("geo.mmdb"), "this is none").unwrap();
    fs::write(server.file("networks"), "country:DE = dc1\n").unwrap();
    assert!(server.reload().refused(422).contains("\"geo.mmdb\" can't be read"));
    assert_eq!(given(&server, [127, 4, 1, 1]), DC1);
}

/// A database as <https://maxmind.github.io/MaxMind-DB/> has it, of IPv4 networks: a tree of records of 24 bits, then data.
fn database(networks: &[(&str, u8, &str, &str, u32)]) -> Vec<u8> {
    enum Record {
        Nothing,
        Node(usize),
        Data(usize),
    }
    let mut nodes = vec![[Record::Nothing, Record::Nothing]];
    let mut data = Vec::new();
    for (address, length, country, continent, asn) in networks {
        let IpAddr::V4(address) = address.parse().unwrap() else { panic!("{address} is none of IPv4") };
        let offset = data.len();
        map(&mut data, 3);
        text(&mut data, "autonomous_system_number");
        data.push(6 << 5 | 4); // uint32
        data.extend_from_slice(&asn.to_be_bytes());
        for (key, inner, code) in [("country", "iso_code", country), ("continent", "code", continent)] {
            text(&mut data, key);
            map(&mut data, 1);
            text(&mut data, inner);
            text(&mut data, code);
        }
        let mut at = 0;
        for bit in 0..*length {
            let side = (address.to_bits() >> (31 - bit) & 1) as usize;
            if bit + 1 == *length {
                nodes[at][side] = Record::Data(offset);
                break;
            }
            at = if let Record::Node(next) = nodes[at][side] {
                next
            } else {
                nodes.push([Record::Nothing, Record::Nothing]);
                nodes[at][side] = Record::Node(nodes.len() - 1);
                nodes.len() - 1
            };
        }
    }
    let count = nodes.len();
    let mut octets = Vec::new();
    for record in nodes.iter().flatten() {
        let value = match record {
            Record::Nothing => count,
            Record::Node(node) => *node,
            Record::Data(offset) => count + 16 + offset,
        };
        octets.extend_from_slice(&(value as u32).to_be_bytes()[1..]);
    }
    octets.extend_from_slice(&[0; 16]);
    octets.append(&mut data);
    octets.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    map(&mut octets, 9);
    let number16 = |octets: &mut Vec<u8>, key: &str, value: u16| {
        text(octets, key);
        octets.push(5 << 5 | 2);
        octets.extend_from_slice(&value.to_be_bytes());
    };
    number16(&mut octets, "binary_format_major_version", 2);
    number16(&mut octets, "binary_format_minor_version", 0);
    number16(&mut octets, "ip_version", 4);
    number16(&mut octets, "record_size", 24);
    text(&mut octets, "node_count");
    octets.push(6 << 5 | 4);
    octets.extend_from_slice(&(count as u32).to_be_bytes());
    text(&mut octets, "build_epoch");
    octets.extend_from_slice(&[8, 2]); // extended: uint64 of 8 octets
    octets.extend_from_slice(&1_800_000_000u64.to_be_bytes());
    text(&mut octets, "database_type");
    text(&mut octets, "Test");
    text(&mut octets, "languages");
    octets.extend_from_slice(&[0, 4]); // extended: an array of nothing
    text(&mut octets, "description");
    map(&mut octets, 0);
    octets
}

fn map(octets: &mut Vec<u8>, size: u8) {
    octets.push(7 << 5 | size);
}

fn text(octets: &mut Vec<u8>, text: &str) {
    octets.push(2 << 5 | text.len() as u8); // below 29
    octets.extend_from_slice(text.as_bytes());
}
