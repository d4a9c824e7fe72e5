//! As much of a stub resolver as the play needs: one question for A, and the answer's addresses and TTL.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

/// A response to a question for A.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub rcode: u8,
    /// Of the A records in ANSWER, in their order.
    pub addresses: Vec<Ipv4Addr>,
    /// The least of theirs; 0 without any.
    pub ttl_secs: u32,
}

impl Response {
    /// The one address that it gives, if it is a good answer.
    pub fn address(&self) -> Option<Ipv4Addr> {
        if self.rcode == 0 { self.addresses.first().copied() } else { None }
    }
}

/// Asks `server` for the addresses of `name` from `source`, up to three times.
pub fn ask(server: SocketAddrV4, source: Ipv4Addr, name: &str) -> Result<Response, String> {
    let socket = UdpSocket::bind((source, 0)).map_err(|e| format!("bind to {source}: {e}"))?;
    socket.connect(server).map_err(|e| e.to_string())?;
    socket.set_read_timeout(Some(Duration::from_secs(1))).map_err(|e| e.to_string())?;
    let mut last = String::new();
    for id in 1..=3 {
        let mut octets = [0; 1500];
        let exchange = socket.send(&query(id, name)).and_then(|_| socket.recv(&mut octets));
        match exchange.map_err(|e| e.to_string()).and_then(|length| parse(id, &octets[..length])) {
            Ok(response) => return Ok(response),
            Err(e) => last = e,
        }
    }
    Err(format!("{server} asked from {source}: {last}"))
}

/// A query for the addresses of `name`, recursion desired.
pub fn query(id: u16, name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    octets.extend(id.to_be_bytes());
    octets.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]); // RD; one question
    for label in name.split('.') {
        octets.push(label.len() as u8);
        octets.extend(label.as_bytes());
    }
    octets.extend([0, 0, 1, 0, 1]); // the root, A, IN
    octets
}

/// Reads the response to the query with `id`.
pub fn parse(id: u16, octets: &[u8]) -> Result<Response, String> {
    read(id, octets).ok_or_else(|| format!("no response to this query: {octets:02x?}"))
}

fn read(id: u16, octets: &[u8]) -> Option<Response> {
    let u16_at = |at: usize| Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]));
    let response = octets.get(2)? & 0x80 != 0;
    if u16_at(0)? != id || !response || u16_at(4)? != 1 {
        return None;
    }
    let rcode = octets.get(3)? & 0x0f;
    let mut at = after_name(octets, 12)? + 4;
    let mut addresses = Vec::new();
    let mut ttls = Vec::new();
    for _ in 0..u16_at(6)? {
        at = after_name(octets, at)?;
        let ttl = u32::from_be_bytes(octets.get(at + 4..at + 8)?.try_into().ok()?);
        let length = usize::from(u16_at(at + 8)?);
        let rdata = octets.get(at + 10..at + 10 + length)?;
        if u16_at(at)? == 1 {
            addresses.push(Ipv4Addr::from(<[u8; 4]>::try_from(rdata).ok()?));
            ttls.push(ttl);
        }
        at += 10 + length;
    }
    Some(Response { rcode, addresses, ttl_secs: ttls.into_iter().min().unwrap_or(0) })
}

/// Where the name at `at` ends: after the root, or after a compression pointer (RFC 1035, 4.1.4).
fn after_name(octets: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            0xc0.. => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}
