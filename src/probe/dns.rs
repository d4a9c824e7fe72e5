//! The `dns` probe: one question over UDP or TCP, judged by its RCODE and records.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;

use super::connect::{connect, not_ours};
use super::expect::Expect;
use super::failure::Failure;
use super::phases::Phases;
use crate::dns::message::Answer;
use crate::dns::wire::{CLASS_IN, HEADER_OCTETS};
use crate::dns::{Name, Rtype};

/// The most that is read of an answer over UDP.
const MAX_UDP_OCTETS: usize = 4096;

/// What is asked over DNS, and what is a good answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// UDP or TCP port.
    pub port: u16,
    /// Over TCP instead of UDP.
    pub tcp: bool,
    /// QNAME; the pool's name when left out.
    pub name: Option<Name>,
    /// QTYPE.
    pub rtype: Rtype,
    /// The mnemonic of the RCODE that is good.
    pub rcode: String,
    /// What the RDATA of one record of QTYPE in ANSWER must be (a text), or one must match (a pattern).
    pub expect: Option<Expect>,
}

/// Asks at `address`; what was seen, if it is good. There is no timeout of its own.
pub(super) async fn ask(
    settings: &Settings,
    address: IpAddr,
    source: Option<IpAddr>,
    phases: &mut Phases,
) -> Result<String, Failure> {
    let address = SocketAddr::new(address, settings.port);
    // Whoever can't see our packets can't guess it; where the system has no randomness, the port still must be guessed.
    let id = getrandom::u32().unwrap_or_default() as u16;
    let query = query(settings, id);
    let octets = if settings.tcp {
        over_tcp(&query, address, source, phases).await?
    } else {
        over_udp(&query, address, source, phases).await?
    };
    let Some(answer) = Answer::read(&octets) else { return Err(Failure::Malformed { what: "DNS answer" }) };
    let truncated = octets.get(2).is_some_and(|flags| flags & 0x02 != 0);
    let own = || answer.records.iter().filter(|record| record.rtype == settings.rtype);
    let seen = || own().map(|record| record.rdata.as_str()).collect::<Vec<_>>().join(", ");
    phases.end(|| {
        let tc = if truncated { ", truncated" } else { "" };
        format!("{}{tc}: {}", answer.rcode, seen())
    });
    if answer.rcode != settings.rcode {
        return Err(Failure::Rcode { rcode: answer.rcode, expected: settings.rcode.clone() });
    }
    let Some(expected) = &settings.expect else { return Ok(answer.rcode) };
    let good = own().any(|record| match expected {
        Expect::Text(text) => record.rdata == *text,
        Expect::Pattern(_) => expected.is_in(record.rdata.as_bytes()),
    });
    if !good {
        let hint = if truncated { " (truncated: TCP has it whole)" } else { "" };
        return Err(Failure::Answer { seen: seen() + hint, expected: expected.to_string() });
    }
    Ok(format!("{}, answer as expected", answer.rcode))
}

/// A query with RD, since the endpoint may be a resolver.
fn query(settings: &Settings, id: u16) -> Vec<u8> {
    let mut octets = vec![0; HEADER_OCTETS];
    octets[..2].copy_from_slice(&id.to_be_bytes());
    octets[2] = 0x01; // RD
    octets[5] = 1; // QDCOUNT
    octets.extend_from_slice(settings.name.as_ref().map_or(&[0][..], Name::wire));
    octets.extend_from_slice(&settings.rtype.0.to_be_bytes());
    octets.extend_from_slice(&CLASS_IN.to_be_bytes());
    octets
}

/// Whether `octets` are a response to `query`, by ID and question.
fn answers(octets: &[u8], query: &[u8]) -> bool {
    let id = octets.get(..2) == query.get(..2);
    let question = octets.get(HEADER_OCTETS..query.len());
    id && octets.get(2).is_some_and(|flags| flags & 0x80 != 0)
        && question.is_none_or(|question| question.eq_ignore_ascii_case(&query[HEADER_OCTETS..]))
}

async fn over_udp(
    query: &[u8],
    address: SocketAddr,
    source: Option<IpAddr>,
    phases: &mut Phases,
) -> Result<Vec<u8>, Failure> {
    phases.begin("query");
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let local = source.unwrap_or(any);
    let socket = UdpSocket::bind((local, 0)).await.map_err(|error| not_ours(local, &error))?;
    socket.connect(address).await?;
    socket.send(query).await?;
    let mut octets = vec![0; MAX_UDP_OCTETS];
    loop {
        let length = socket.recv(&mut octets).await?;
        if answers(&octets[..length], query) {
            octets.truncate(length);
            return Ok(octets);
        }
    }
}

async fn over_tcp(
    query: &[u8],
    address: SocketAddr,
    source: Option<IpAddr>,
    phases: &mut Phases,
) -> Result<Vec<u8>, Failure> {
    let mut stream = connect(address, source, phases).await?;
    phases.begin("query");
    let mut framed = (query.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let mut octets = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut octets).await?;
    if answers(&octets, query) { Ok(octets) } else { Err(Failure::Malformed { what: "DNS answer" }) }
}
