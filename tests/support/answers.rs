//! A zone compiled in the test, asked without sockets by the function that answers all transports.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use waypost::dns::Rtype;
use waypost::dns::rdata::to_text;
use waypost::dns::wire::TCP_OCTETS;
use waypost::query::{Context, Counters, Snapshot, Tally, Transport, answer};
use waypost::time::Timestamp;
use waypost::zone::compiled::{Overlay, compile};
use waypost::zone::{ZoneSet, master};

/// A snapshot that serves these zones: apex and text.
pub fn serving(zones: &[(&str, &str)]) -> Snapshot {
    let compiled = zones.iter().map(|(apex, text)| {
        let apex: waypost::dns::Name = apex.parse().unwrap();
        let loaded = master::parse(text.as_bytes(), Path::new("test.zone"), &apex)
            .unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        (apex, Some(Arc::new(compile(Arc::new(loaded.contents), &Overlay::default()))))
    });
    let zones = Arc::new(ZoneSet::new(compiled.collect::<Vec<_>>()));
    Snapshot { serial: 1, generation: 1, zones, nsid: Arc::from(&b"ns1"[..]), ..Snapshot::default() }
}

/// How a question is asked.
#[derive(Clone, Copy)]
pub struct Asking {
    pub transport: Transport,
    /// UDP payload size of the OPT record; `None`: no EDNS.
    pub edns: Option<u16>,
}

pub const PLAIN: Asking = Asking { transport: Transport::Udp, edns: None };
pub const EDNS: Asking = Asking { transport: Transport::Udp, edns: Some(1232) };
pub const TCP: Asking = Asking { transport: Transport::Tcp, edns: None };

/// Asks `snapshot`; the response's octets.
pub fn raw(snapshot: &Snapshot, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let counters = Counters::default();
    let client: IpAddr = [192, 0, 2, 1].into();
    let context = Context { client, now: Timestamp(1_800_000_000), draw: 7, transport };
    let mut out = vec![0; TCP_OCTETS];
    let octets = answer(snapshot, &context, Tally { worker: None, counters: &counters }, query, &mut out)?;
    out.truncate(octets);
    Some(out)
}

/// The query's octets.
pub fn query(name: &str, rtype: RecordType, asking: Asking) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype));
    if let Some(size) = asking.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.edns = Some(edns);
    }
    message.to_vec().unwrap()
}

/// Asks `snapshot` and reads what comes back.
pub fn ask(snapshot: &Snapshot, name: &str, rtype: RecordType, asking: Asking) -> Message {
    let octets = raw(snapshot, &query(name, rtype, asking), asking.transport).expect("an answer");
    Message::from_vec(&octets).expect("a well-formed answer")
}

/// What a test looks at: RCODE and flags, then the sections in the order sent, as master files write records.
pub fn shown(message: &Message) -> String {
    let mut text = rcode(message.metadata.response_code).to_owned();
    for (set, flag) in [(message.metadata.authoritative, " aa"), (message.metadata.truncation, " tc")] {
        text.push_str(if set { flag } else { "" });
    }
    text.push('\n');
    for (section, records) in [("an", &message.answers), ("au", &message.authorities), ("ad", &message.additionals)] {
        for record in records {
            let data = match &record.data {
                RData::Unknown { code, rdata } => to_text(Rtype((*code).into()), &rdata.anything),
                known => known.to_string(),
            };
            let line = format!("{section} {} {} {} {data}\n", record.name, record.ttl, record.record_type());
            text.push_str(&line);
        }
    }
    text
}

fn rcode(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::YXDomain => "YXDOMAIN",
        code if u16::from(code) == 16 => "BADVERS",
        _ => "other",
    }
}
