//! DNS over HTTPS (RFC 8484), carried by hickory-server: connections, HTTP and cryptography are its part, the answers are those of
//! [`answer()`](crate::query::answer()), as everywhere.
//!
//! hickory-server takes records, not octets, and one response to a request. So what is to be signed and what is no ordinary query
//! is refused here: it has TCP, TLS and QUIC.

use std::net::TcpListener;
use std::slice::Iter;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Header, HeaderCounts, Message};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder};
use tokio_util::sync::CancellationToken;

use crate::dns::wire::{ExtendedError, NAME_BUFFER, PADDING_BLOCK, Query, Rcode, TCP_OCTETS, is_request};
use crate::query::{Context, Reader, Tally, Transport};
use crate::server::caught::answer;
use crate::server::certificate::Certificate;
use crate::server::draws::Draws;
use crate::server::transfer;
use crate::time::Timestamp;

/// A handshake that takes longer is given up, and a connection that asks nothing for so long is closed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where queries are sent to (RFC 8484, 4.1.1).
const PATH: &str = "/dns-query";
/// What may wait in a connection's socket for its reader.
pub(super) const SEND_OCTETS: usize = 16 * 1024;

/// Answers until `stop`.
pub(super) async fn serve(
    listeners: Vec<TcpListener>,
    certificate: Arc<Certificate>,
    reader: Reader,
    stop: CancellationToken,
) {
    let asked = Asked { reader, draws: Draws::new(), scratch: vec![0; TCP_OCTETS].into() };
    let asked = Arc::new(Mutex::new(asked));
    let mut server = Server::new(Handler { asked: asked.clone() });
    for listener in listeners {
        let registered = tokio::net::TcpListener::from_std(listener).and_then(|listener| {
            server.register_https_listener(listener, TIMEOUT, certificate.clone(), None, PATH.to_owned())
        });
        if let Err(error) = registered {
            tracing::error!(%error, "an HTTPS listener is not served");
        }
    }
    tokio::select! {
        () = stop.cancelled() => {}
        ended = server.block_until_done() => {
            if let Err(error) = ended {
                tracing::error!(%error, "the HTTPS listeners ended");
            }
        }
    }
}

/// hickory-server's way to our answers.
struct Handler {
    /// Held for one answer, never over an await. All connections run on one thread, so nobody waits for it.
    asked: Arc<Mutex<Asked>>,
}

struct Asked {
    reader: Reader,
    draws: Draws,
    scratch: Box<[u8]>,
}

impl Handler {
    /// The response to a request, as a message; `None` where silence is right.
    fn answer(&self, request: &Request) -> Option<Message> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let Asked { reader, draws, scratch } = &mut *asked;
        let client = request.src().ip();
        let context = Context { client, now: Timestamp::now(), draw: draws.next(), transport: Transport::Https };
        let packet = request.as_slice();
        let octets = reader.read(|snapshot, tally| match refused(packet, tally) {
            Some(refusal) => {
                scratch[..refusal.len()].copy_from_slice(&refusal);
                Some(refusal.len())
            }
            None => answer(snapshot, &context, tally, packet, scratch),
        })?;
        let mut message = Message::from_vec(&scratch[..octets]).ok()?;
        if request.edns.as_ref().is_some_and(|edns| edns.option(EdnsCode::Padding).is_some()) {
            pad(request, &mut message);
        }
        Some(message)
    }
}

/// What is answered to a query that is no ordinary one: signed, or for a transfer.
fn refused(packet: &[u8], tally: Tally<'_>) -> Option<Vec<u8>> {
    let mut lower = [0; NAME_BUFFER];
    if !is_request(packet, || false) {
        return None;
    }
    let query = Query::parse(packet, &mut lower).ok()?; // NOTIFY and UPDATE are none: they are not implemented here
    tally.counters.answered(query.qtype, Rcode::Refused);
    Some(transfer::refusal(&query, Rcode::Refused, Some(ExtendedError::NotSupported)))
}

/// The response in the form that hickory-server sends.
type Sent<'a> = MessageResponse<'a, 'a, Iter<'a, Record>, Iter<'a, Record>, Iter<'a, Record>, Iter<'a, Record>>;

fn sent<'a>(request: &'a Request, message: &'a Message) -> Sent<'a> {
    let mut builder = MessageResponseBuilder::from_message_request(request);
    if let Some(edns) = &message.edns {
        builder.edns(edns);
    }
    builder.build(message.metadata, &message.answers, &message.authorities, &[], &message.additionals)
}

/// Fills a response up to a whole number of blocks, counted as it will be sent.
fn pad(request: &Request, message: &mut Message) {
    let mut octets = Vec::new();
    if sent(request, message).destructive_emit(&mut BinEncoder::new(&mut octets)).is_err() {
        return; // sending it says why
    }
    let with_option = octets.len() + 4;
    let padding = with_option.next_multiple_of(PADDING_BLOCK) - with_option;
    if let Some(edns) = &mut message.edns {
        edns.options_mut().insert(EdnsOption::Unknown(EdnsCode::Padding.into(), vec![0; padding]));
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let failed = || {
            let metadata = request.metadata;
            ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
        };
        let Some(message) = self.answer(request) else { return failed() };
        response.send_response(sent(request, &message)).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "an answer could not be sent encrypted");
            failed()
        })
    }
}
