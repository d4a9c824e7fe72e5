//! A stub resolver for tests: one question, one answer, checked to belong together.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RecordType};

use super::{SOON, Server};

/// A question, to be sent as often as wanted.
#[derive(Clone)]
pub struct Question {
    server: SocketAddr,
    name: String,
    rtype: RecordType,
    from: Option<IpAddr>,
    subnet: Option<(IpAddr, u8)>,
    edns: bool,
    tcp: bool,
}

impl Server {
    /// A question to its first listener, over UDP without EDNS unless said otherwise.
    pub fn question(&self, name: &str, rtype: RecordType) -> Question {
        Question::to(self.dns[0], name, rtype)
    }

    /// Asks it.
    #[track_caller]
    pub fn ask(&self, name: &str, rtype: RecordType) -> Message {
        self.question(name, rtype).send()
    }

    /// The first address that a client in this /24 (10.x.y.0, by ECS) is given.
    #[track_caller]
    pub fn address_for(&self, name: &str, client: u32) -> String {
        addresses(&self.question(name, RecordType::A).client(client).send())[0].clone()
    }
}

impl Question {
    /// To any server.
    pub fn to(server: SocketAddr, name: &str, rtype: RecordType) -> Self {
        Self { server, name: name.to_owned(), rtype, from: None, subnet: None, edns: false, tcp: false }
    }

    /// From this address of ours.
    pub fn from(self, address: impl Into<IpAddr>) -> Self {
        Self { from: Some(address.into()), ..self }
    }

    /// On behalf of a subnet (RFC 7871).
    pub fn subnet(self, address: impl Into<IpAddr>, prefix: u8) -> Self {
        Self { subnet: Some((address.into(), prefix)), edns: true, ..self }
    }

    /// On behalf of the /24 10.x.y.0 with this number.
    pub fn client(self, number: u32) -> Self {
        let [_, _, high, low] = number.to_be_bytes();
        self.subnet([10, high, low, 0], 24)
    }

    /// With an OPT record.
    pub fn edns(self) -> Self {
        Self { edns: true, ..self }
    }

    /// Over TCP.
    pub fn tcp(self) -> Self {
        Self { tcp: true, ..self }
    }

    /// Asks and waits for the answer.
    #[track_caller]
    pub fn send(&self) -> Message {
        self.try_send().unwrap_or_else(|e| panic!("{} {} to {}: {e}", self.name, self.rtype, self.server))
    }

    /// The same, where there may be no answer.
    pub fn try_send(&self) -> std::io::Result<Message> {
        static ID: AtomicU16 = AtomicU16::new(1);
        let mut query = Message::new(ID.fetch_add(1, Ordering::Relaxed), MessageType::Query, OpCode::Query);
        let mut name = Name::from_ascii(&self.name).unwrap();
        name.set_fqdn(true);
        query.add_query(Query::query(name, self.rtype));
        if self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(1232);
            if let Some((address, prefix)) = self.subnet {
                edns.options_mut().insert(EdnsOption::Subnet(ClientSubnet::new(address, prefix, 0)));
            }
            query.edns = Some(edns);
        }
        let octets = query.to_vec().unwrap();
        let octets = if self.tcp { self.over_tcp(&octets)? } else { self.over_udp(&octets)? };
        let answer = Message::from_vec(&octets).expect("a well-formed answer");
        assert_eq!(answer.metadata.id, query.metadata.id);
        assert_eq!(answer.queries, query.queries);
        Ok(answer)
    }

    fn over_udp(&self, query: &[u8]) -> std::io::Result<Vec<u8>> {
        let any: IpAddr = if self.server.is_ipv4() { [127, 0, 0, 1].into() } else { "::1".parse().unwrap() };
        let socket = UdpSocket::bind((self.from.unwrap_or(any), 0))?;
        socket.set_read_timeout(Some(SOON))?;
        socket.connect(self.server)?;
        socket.send(query)?;
        let mut answer = vec![0; 65_535];
        let octets = socket.recv(&mut answer)?;
        answer.truncate(octets);
        Ok(answer)
    }

    fn over_tcp(&self, query: &[u8]) -> std::io::Result<Vec<u8>> {
        assert!(self.from.is_none(), "only UDP is sent from elsewhere");
        let mut stream = TcpStream::connect_timeout(&self.server, SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        let mut framed = (query.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(query);
        stream.write_all(&framed)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; u16::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

/// The RDATA in ANSWER, as text.
pub fn addresses(message: &Message) -> Vec<String> {
    message.answers.iter().map(|r| r.data.to_string()).collect()
}

/// The TTL of ANSWER, which all its records share.
#[track_caller]
pub fn ttl(message: &Message) -> u32 {
    let ttl = message.answers.first().unwrap_or_else(|| panic!("an answer: {message:?}")).ttl;
    assert!(message.answers.iter().all(|r| r.ttl == ttl), "an RRset shares its TTL: {message:?}");
    ttl
}

/// RCODE.
pub fn rcode(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

/// SCOPE PREFIX-LENGTH of the answer's subnet, if it has one.
pub fn scope(message: &Message) -> Option<u8> {
    match message.edns.as_ref()?.option(EdnsCode::Subnet)? {
        EdnsOption::Subnet(subnet) => Some(subnet.scope_prefix()),
        _ => None,
    }
}
