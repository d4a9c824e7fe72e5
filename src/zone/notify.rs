//! NOTIFY (RFC 1996) as messages and decisions: what is told, when it is told again, and what counts as an answer.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::dns::wire::request::OPCODE_NOTIFY;
use crate::dns::wire::{CLASS_IN, HEADER_OCTETS};
use crate::dns::{Name, Rtype};
use crate::zone::Record;

/// A server that is told of each new serial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// The TSIG key to sign with.
    pub key: Option<Name>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "key:{key}@{}", self.address),
            None => self.address.fmt(f),
        }
    }
}

/// How long an answer to attempt number `attempt`, from 0 on, is waited for before the next; `None`: there is no next until
/// the serial changes again, or the secondary asks by itself at its SOA's REFRESH (RFC 1996, 3.6).
pub fn patience(attempt: u32) -> Option<Duration> {
    const ATTEMPTS: u32 = 12; // about seven minutes
    (attempt < ATTEMPTS).then(|| Duration::from_secs((1 << attempt.min(6)).min(60)))
}

/// The message that tells of `soa`, the newest of the zone.
pub fn message(id: u16, soa: &Record) -> Vec<u8> {
    let mut message = Vec::with_capacity(128);
    message.extend_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&[OPCODE_NOTIFY | 0x04, 0, 0, 1, 0, 1, 0, 0, 0, 0]); // AA; one question, one answer
    message.extend_from_slice(soa.owner.wire());
    for field in [Rtype::SOA.0, CLASS_IN] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    message.extend_from_slice(&(0xc000 | HEADER_OCTETS as u16).to_be_bytes());
    for field in [Rtype::SOA.0, CLASS_IN] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    message.extend_from_slice(&soa.ttl.secs().to_be_bytes());
    message.extend_from_slice(&(soa.rdata.len() as u16).to_be_bytes());
    message.extend_from_slice(&soa.rdata);
    message
}

/// The RCODE by which `response` answers the NOTIFY with `id`; `None` when it is no answer to it.
pub fn answered(response: &[u8], id: u16) -> Option<u8> {
    let header = response.first_chunk::<HEADER_OCTETS>()?;
    let ours = header[..2] == id.to_be_bytes() && header[2] & 0xf8 == 0x80 | OPCODE_NOTIFY;
    ours.then_some(header[3] & 0x0f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Ttl;
    use hickory_proto::op::{Message, OpCode};

    #[test]
    fn a_notify_says_the_soa() {
        let mut rdata = vec![0, 0];
        rdata.extend([0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
        let owner: Name = "example.org".parse().unwrap();
        let soa = Record { owner, rtype: Rtype::SOA, ttl: Ttl::from_secs(60), rdata: rdata.into() };
        let octets = message(0x1234, &soa);
        let read = Message::from_vec(&octets).unwrap();
        assert_eq!((read.metadata.op_code, read.queries.len(), read.answers.len()), (OpCode::Notify, 1, 1));
        let mut response = octets.clone();
        response[2] |= 0x80;
        response[3] = 5;
        assert_eq!(answered(&response, 0x1234), Some(5));
        assert_eq!((answered(&response, 0x1235), answered(&octets, 0x1234), answered(&[], 0)), (None, None, None));
    }

    #[test]
    fn it_is_told_again_at_longer_intervals_but_not_for_ever() {
        let waits: Vec<u64> = (0..).map_while(patience).map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]);
    }
}
