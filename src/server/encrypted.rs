//! DNS over TLS (RFC 7858), QUIC (RFC 9250) and HTTPS (RFC 8484), carried by hickory-server: connections, framing and
//! cryptography are its part, the answers are those of [`answer`], as everywhere.
//!
//! One thread with its own runtime, one worker of [`Readers`](crate::query::Readers). A new certificate is taken from its file
//! without a restart; a bad one leaves the old one in use.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::slice::Iter;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Header, HeaderCounts, Message};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, default_tls_server_config};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder};
use tokio_util::sync::CancellationToken;

use crate::dns::wire::TCP_OCTETS;
use crate::query::{Context, Reader, Transport, answer};
use crate::server::certificate::Certificate;
use crate::server::draws::Draws;
use crate::time::Timestamp;

/// A handshake that takes longer is given up, and a connection that asks nothing for so long is closed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where queries are sent to over HTTPS (RFC 8484, 4.1.1).
const HTTPS_PATH: &str = "/dns-query";
/// How often the thread looks for a newer snapshot when nobody asks, so that it keeps no old one.
const REFRESH: Duration = Duration::from_millis(250);
/// What may wait in a connection's socket for its reader.
pub(super) const SEND_OCTETS: usize = 16 * 1024;
/// Responses are padded to multiples of so many octets, where the query was padded (RFC 8467, 4.1).
const PADDING_BLOCK: usize = 468;

/// Encrypted transports, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// PEM, of the first certificate.
    pub key: PathBuf,
    /// DNS over TLS.
    pub tls: Vec<SocketAddr>,
    /// DNS over QUIC.
    pub quic: Vec<SocketAddr>,
    /// DNS over HTTPS, at `/dns-query`.
    pub https: Vec<SocketAddr>,
}

/// Bound sockets and the certificate for them.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) tls: Vec<TcpListener>,
    pub(super) quic: Vec<UdpSocket>,
    pub(super) https: Vec<TcpListener>,
    pub(super) certificate: Arc<Certificate>,
}

/// Answers until `stop`.
pub(super) async fn serve(listeners: Listeners, reader: Reader, stop: CancellationToken) {
    let asked = Asked { reader, draws: Draws::new(), scratch: vec![0; TCP_OCTETS].into() };
    let asked = Arc::new(Mutex::new(asked));
    let mut server = Server::new(Handler { asked: asked.clone() });
    let certificate = listeners.certificate;
    let mut registered = Ok(());
    for listener in listeners.tls {
        let listener = tokio::net::TcpListener::from_std(listener);
        let config = default_tls_server_config(b"dot", certificate.clone());
        registered =
            registered.and(listener.and_then(|listener| {
                server.register_tls_listener_with_tls_config(listener, TIMEOUT, Arc::new(config?))
            }));
    }
    for listener in listeners.https {
        let listener = tokio::net::TcpListener::from_std(listener);
        let path = HTTPS_PATH.to_owned();
        registered =
            registered.and(listener.and_then(|listener| {
                server.register_https_listener(listener, TIMEOUT, certificate.clone(), None, path)
            }));
    }
    for socket in listeners.quic {
        let socket = tokio::net::UdpSocket::from_std(socket);
        registered = registered
            .and(socket.and_then(|socket| server.register_quic_listener(socket, TIMEOUT, certificate.clone())));
    }
    if let Err(error) = registered {
        tracing::error!(%error, "an encrypted listener is not served");
    }
    let refresh = async {
        loop {
            tokio::time::sleep(REFRESH).await;
            asked.lock().unwrap_or_else(PoisonError::into_inner).reader.read(|_, _| ());
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = refresh => {}
        ended = server.block_until_done() => {
            if let Err(error) = ended {
                tracing::error!(%error, "the encrypted listeners ended");
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
        let context = Context { client, now: Timestamp::now(), draw: draws.next(), transport: Transport::Encrypted };
        let octets = reader.read(|snapshot, tally| answer(snapshot, &context, tally, request.as_slice(), scratch))?;
        let mut message = Message::from_vec(&scratch[..octets]).ok()?;
        if request.edns.as_ref().is_some_and(|edns| edns.option(EdnsCode::Padding).is_some()) {
            pad(request, &mut message);
        }
        Some(message)
    }
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
