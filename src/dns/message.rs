//! A response read whole, for whoever wants to show it. Not for the answer path: it allocates.

use hickory_proto::op::Message;
use hickory_proto::rr::RData;

use crate::dns::{Name, Rtype, Ttl};

/// What a response says in its ANSWER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The mnemonic of its RCODE.
    pub rcode: String,
    /// In the order sent.
    pub records: Vec<Record>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of the owner name.
    pub owner: String,
    /// Its TTL.
    pub ttl: Ttl,
    /// Its type.
    pub rtype: Rtype,
    /// RDATA as a master file writes it.
    pub rdata: String,
    /// Of a CNAME: where it leads.
    pub target: Option<Name>,
}

impl Answer {
    /// Reads a response; `None` when it is none.
    pub fn read(octets: &[u8]) -> Option<Self> {
        let message = Message::from_vec(octets).ok()?;
        let record = |r: &hickory_proto::rr::Record| Record {
            owner: r.name.to_string(),
            ttl: Ttl::from_secs(u64::from(r.ttl)),
            rtype: Rtype(r.record_type().into()),
            rdata: r.data.to_string(),
            target: match &r.data {
                RData::CNAME(target) => target.0.to_string().parse().ok(),
                _ => None,
            },
        };
        let rcode = format!("{:?}", message.metadata.response_code).to_uppercase();
        Some(Self { rcode, records: message.answers.iter().map(record).collect() })
    }
}
