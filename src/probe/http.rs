//! The `http` and `https` probes: one request over a new connection, judged by status and body. Redirects are not followed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;

use super::connect::connect;
use super::expect::Expect;
use super::failure::Failure;
use super::phases::Phases;
use super::tls::handshake;
use crate::tls::Client;

pub(super) const USER_AGENT: &str = concat!("waypost-probe/", env!("CARGO_PKG_VERSION"));
/// So much of a body is read and looked at; then the connection is closed.
const MAX_BODY_OCTETS: usize = 64 << 10;
/// For status line and headers together.
const MAX_HEAD_OCTETS: usize = 64 << 10;

/// What is asked for over HTTP, and what is a good answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// TCP port.
    pub port: u16,
    /// Over TLS; the protocols that it offers go with `version`.
    pub tls: Option<Client>,
    /// The version of HTTP.
    pub version: Version,
    /// Without a body: GET, HEAD, OPTIONS, ...
    pub method: Method,
    /// Path and query, begins with `/`.
    pub path: String,
    /// The Host header (`:authority` in HTTP/2); the pool's name when left out.
    pub host: Option<String>,
    /// Further headers, in the order written; none of those that are sent anyway but User-Agent and Accept.
    pub headers: Vec<(header::HeaderName, header::HeaderValue)>,
    /// Which status is good.
    pub statuses: Statuses,
    /// What the body must say; the first 64 KiB are looked at.
    pub body: Option<Expect>,
}

/// The version of HTTP that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.1.
    One,
    /// HTTP/2: by ALPN over TLS, with prior knowledge without (RFC 9113, 3.2 and 3.3).
    Two,
    /// HTTP/2 if the server takes it by ALPN, else HTTP/1.1.
    Either,
}

impl Version {
    /// What TLS offers for it.
    pub fn protocols(self) -> &'static [&'static str] {
        match self {
            Self::One => &["http/1.1"],
            Self::Two => &["h2"],
            Self::Either => &["h2", "http/1.1"],
        }
    }
}

/// Ranges of statuses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Statuses(pub Vec<RangeInclusive<u16>>);

impl Default for Statuses {
    /// 200 to 399: a redirect is an answer of a server that works.
    fn default() -> Self {
        Self(vec![200..=399])
    }
}

impl fmt::Display for Statuses {
    /// `200-299, 304`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match (range.start(), range.end()) {
                (start, end) if start == end => write!(f, "{comma}{start}")?,
                (start, end) => write!(f, "{comma}{start}-{end}")?,
            }
        }
        Ok(())
    }
}

/// Asks at `address`; what was seen, if it is good. There is no timeout of its own.
pub(super) async fn ask(
    settings: &Settings,
    address: IpAddr,
    source: Option<IpAddr>,
    phases: &mut Phases,
) -> Result<String, Failure> {
    let host = settings.host.as_deref().unwrap_or_default();
    let stream = connect(SocketAddr::new(address, settings.port), source, phases).await?;
    match &settings.tls {
        None => over(settings, stream, host, settings.version == Version::Two, phases).await,
        Some(tls) => {
            let stream = handshake(tls, stream, host, phases).await?;
            let chosen = stream.get_ref().1.alpn_protocol();
            let two = chosen == Some(b"h2");
            if settings.version == Version::Two && !two {
                let chosen =
                    chosen.map_or_else(|| "no protocol".to_owned(), |p| String::from_utf8_lossy(p).into_owned());
                return Err(Failure::NotHttp2 { chosen });
            }
            over(settings, stream, host, two, phases).await
        }
    }
}

/// Asks over a connection that is there.
async fn over(
    settings: &Settings,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
    two: bool,
    phases: &mut Phases,
) -> Result<String, Failure> {
    phases.begin("request");
    let mut conversation = begin(stream, request(settings, host, two)?, two).await?;
    let response = &mut conversation.response;
    let status = response.status().as_u16();
    let version = response.version();
    phases.end(|| format!("{version:?} {status}"));
    if !settings.statuses.0.iter().any(|range| range.contains(&status)) {
        return Err(Failure::Status { status, expected: settings.statuses.to_string() });
    }
    phases.begin("body");
    // Without anything to look for it is only seen that the body comes at all.
    let body = collect(response.body_mut(), MAX_BODY_OCTETS).await.map_err(|_| Failure::BrokenOff { status })?;
    phases.end(|| format!("{} octets", body.len()));
    match &settings.body {
        Some(expected) => expected.check("body", &body)?,
        None => return Ok(format!("status {status}")),
    }
    Ok(format!("status {status}, body as expected"))
}

fn request(settings: &Settings, host: &str, two: bool) -> Result<Request<Empty<Bytes>>, Failure> {
    let request = Request::builder().method(settings.method.clone());
    let mut request = if two {
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        request.version(hyper::Version::HTTP_2).uri(format!("{scheme}://{host}{}", settings.path))
    } else {
        request.uri(&settings.path).header(header::HOST, host).header(header::CONNECTION, "close")
    };
    for (name, usual) in [(header::USER_AGENT, USER_AGENT), (header::ACCEPT, "*/*")] {
        if !settings.headers.iter().any(|(own, _)| *own == name) {
            request = request.header(name, usual);
        }
    }
    for (name, value) in &settings.headers {
        request = request.header(name, value);
    }
    request.body(Empty::new()).map_err(Failure::Request)
}

/// A response, and the connection that its body comes over.
pub(super) struct Conversation {
    pub(super) response: Response<Incoming>,
    _driver: AbortOnDropHandle<()>,
}

/// Sends `request` as the first and only one over `stream`.
pub(super) async fn begin<B>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<B>,
    two: bool,
) -> Result<Conversation, Failure>
where
    B: hyper::body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    let stream = TokioIo::new(stream);
    // What goes wrong with the connection, the request is told too.
    let (response, driver) = if two {
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(MAX_HEAD_OCTETS as u32)
            .handshake(stream)
            .await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move { _ = connection.await }));
        (sender.send_request(request).await?, driver)
    } else {
        let (mut sender, connection) = http1::Builder::new().max_buf_size(MAX_HEAD_OCTETS).handshake(stream).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move { _ = connection.await }));
        (sender.send_request(request).await?, driver)
    };
    Ok(Conversation { response, _driver: driver })
}

/// The body, or its first `most` octets.
pub(super) async fn collect(body: &mut Incoming, most: usize) -> Result<Vec<u8>, hyper::Error> {
    let mut octets = Vec::new();
    while octets.len() < most {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame?.into_data() {
            octets.extend_from_slice(&data[..data.len().min(most - octets.len())]);
        }
    }
    Ok(octets)
}
