//! The `grpc` probe: `Check` of `grpc.health.v1.Health` over HTTP/2, as gRPC's health checking protocol has it.
//!
//! The two messages have one field each, so they are written and read here rather than by a compiler's code.

use std::net::{IpAddr, SocketAddr};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, header};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connect::connect;
use super::failure::Failure;
use super::http::{USER_AGENT, begin};
use super::phases::Phases;
use super::tls::handshake;
use crate::tls::Client;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// An answer has five octets and a number.
const MAX_ANSWER_OCTETS: usize = 4096;

/// Which service is asked after, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// TCP port.
    pub port: u16,
    /// Over TLS; it offers `h2`.
    pub tls: Option<Client>,
    /// `:authority`; the pool's name when left out.
    pub host: Option<String>,
    /// The service; empty is the server as a whole.
    pub service: String,
}

/// Asks at `address`; what was seen, if it is good. There is no timeout of its own.
pub(super) async fn ask(
    settings: &Settings,
    address: IpAddr,
    source: Option<IpAddr>,
    phases: &mut Phases,
) -> Result<String, Failure> {
    let stream = connect(SocketAddr::new(address, settings.port), source, phases).await?;
    let host = settings.host.as_deref().unwrap_or_default();
    match &settings.tls {
        None => over(settings, stream, host, phases).await,
        Some(tls) => over(settings, handshake(tls, stream, host, phases).await?, host, phases).await,
    }
}

async fn over(
    settings: &Settings,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
    phases: &mut Phases,
) -> Result<String, Failure> {
    phases.begin("request");
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let request = Request::post(format!("{scheme}://{host}{PATH}"))
        .version(hyper::Version::HTTP_2)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Full::new(Bytes::from(framed(&settings.service))))
        .map_err(Failure::Request)?;
    let mut conversation = begin(stream, request, true).await?;
    let response = &mut conversation.response;
    let status = response.status().as_u16();
    phases.end(|| format!("HTTP/2.0 {status}"));
    if status != 200 {
        return Err(Failure::Status { status, expected: "200".to_owned() });
    }
    phases.begin("answer");
    let mut headers = response.headers().clone();
    let mut octets = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        match frame?.into_data() {
            Ok(data) => octets.extend_from_slice(&data[..data.len().min(MAX_ANSWER_OCTETS - octets.len())]),
            Err(frame) => headers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    let text = |name: &str| headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    match text("grpc-status").as_deref() {
        Some("0") => {}
        status => {
            let status = status.unwrap_or("missing").to_owned();
            let message = text("grpc-message").map_or_else(String::new, |m| format!(": {m}"));
            return Err(Failure::Grpc { status, message });
        }
    }
    let serving = match serving_status(&octets) {
        None => return Err(Failure::Malformed { what: "gRPC answer" }),
        Some(0) => "UNKNOWN",
        Some(1) => "SERVING",
        Some(2) => "NOT_SERVING",
        Some(3) => "SERVICE_UNKNOWN",
        Some(_) => "a status that gRPC does not have",
    };
    phases.end(|| serving.to_owned());
    if serving == "SERVING" { Ok(serving.to_owned()) } else { Err(Failure::NotServing { seen: serving }) }
}

/// `HealthCheckRequest { service = 1 }`, uncompressed, with its length before it.
fn framed(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a); // field 1, length-delimited
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut octets = vec![0];
    octets.extend_from_slice(&(message.len() as u32).to_be_bytes());
    octets.extend_from_slice(&message);
    octets
}

/// `status` of a `HealthCheckResponse { status = 1 }`; `None` when it is none.
fn serving_status(octets: &[u8]) -> Option<u8> {
    let (frame, message) = octets.split_at_checked(5)?;
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
    if frame[0] != 0 || length as usize != message.len() {
        return None;
    }
    match message {
        [] => Some(0), // what proto3 leaves out is 0
        [0x08, status] if *status < 0x80 => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_are_those_of_the_protocol() {
        assert_eq!(framed(""), [0, 0, 0, 0, 0]);
        assert_eq!(framed("a.B"), *b"\0\0\0\0\x05\x0a\x03a.B");
        assert_eq!(framed(&"x".repeat(300))[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(serving_status(b"\0\0\0\0\x02\x08\x01"), Some(1));
        assert_eq!(serving_status(b"\0\0\0\0\0"), Some(0));
        for wrong in [&b""[..], b"\0\0\0\0\x02\x08", b"\x01\0\0\0\x02\x08\x01", b"\0\0\0\0\x02\x10\x01"] {
            assert_eq!(serving_status(wrong), None, "{wrong:?}");
        }
    }
}
