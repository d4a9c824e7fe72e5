//! One try to deliver one event: a POST over a new connection, signed.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::{Event, Settings};
use crate::time::Timestamp;

/// For a whole try.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// So much of an answer is read.
const ANSWER_OCTETS: usize = 16 << 10;

/// An event that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// 2xx.
    pub status: StatusCode,
    /// How long that took.
    pub took: Duration,
}

/// Why a try failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection, or it broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The name in the URL is none that a certificate could have.
    #[error("{0}")]
    Name(#[from] InvalidDnsNameError),
    /// No authority can be trusted.
    #[error("there are no certificates of authorities to trust")]
    NoAuthorities,
    /// What answers does not speak HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The receiver says no.
    #[error("the receiver answers {0}")]
    Refused(StatusCode),
    /// Nothing came in time.
    #[error("no answer within {} s", TIME_LIMIT.as_secs())]
    Late,
}

impl Failure {
    /// Whether another try would come to the same.
    pub fn is_final(&self) -> bool {
        let Self::Refused(status) = self else { return false };
        let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        !status.is_server_error() && !later.contains(status)
    }
}

/// Sends `event` once; `now` is the instant that is signed.
///
/// # Errors
/// [`Failure`].
pub async fn deliver(settings: &Settings, event: &Event, now: Timestamp) -> Result<Delivery, Failure> {
    let begun = Instant::now();
    let status = tokio::time::timeout(TIME_LIMIT, post(settings, event, now)).await.map_err(|_| Failure::Late)??;
    if status.is_success() { Ok(Delivery { status, took: begun.elapsed() }) } else { Err(Failure::Refused(status)) }
}

async fn post(settings: &Settings, event: &Event, now: Timestamp) -> Result<StatusCode, Failure> {
    let url = &settings.url;
    let is_tls = url.scheme_str() == Some("https");
    let host = url.host().unwrap_or_default();
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await?;
    let request = request(settings, event, now);
    if !is_tls {
        return exchange(stream, request).await;
    }
    let config = Arc::new(trusting(settings)?);
    let stream = TlsConnector::from(config).connect(ServerName::try_from(bare.to_owned())?, stream).await?;
    exchange(stream, request).await
}

fn request(settings: &Settings, event: &Event, now: Timestamp) -> Request<Full<Bytes>> {
    let url = &settings.url;
    let body = event.body();
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    Request::post(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("waypost-webhook/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .header("webhook-id", &event.id)
        .header("webhook-timestamp", now.0)
        .header("webhook-signature", signatures(&settings.secrets, &event.id, now, &body))
        .body(Full::from(body))
        .expect("host and path come of a URL, all else is digits and letters")
}

/// One for each secret, blanks between them.
fn signatures(secrets: &[Vec<u8>], id: &str, now: Timestamp, body: &str) -> String {
    let signed = format!("{id}.{}.{body}", now.0);
    let one = |secret: &Vec<u8>| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(&key, signed.as_bytes())))
    };
    secrets.iter().map(one).collect::<Vec<_>>().join(" ")
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut response = sender.send_request(request).await?;
    // What it says is of no interest, but who is cut off while speaking may take that for a failure.
    let mut read = 0;
    while let Some(Ok(frame)) = response.body_mut().frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > ANSWER_OCTETS {
            break;
        }
    }
    Ok(response.status())
}

fn trusting(settings: &Settings) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    match &settings.authorities {
        Some((_, certificates)) => roots.add_parsable_certificates(certificates.iter().cloned()),
        None => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    };
    if roots.is_empty() {
        return Err(Failure::NoAuthorities);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the cipher suites of both versions");
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
    #[test]
    fn it_is_signed_as_standard_webhooks_says() {
        let secret = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signatures(
            &[secret, b"second".to_vec()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Timestamp(1_614_265_330),
            r#"{"test": 2432232314}"#,
        );
        assert!(signed.starts_with("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,"), "{signed}");
    }

    #[test]
    fn what_is_tried_again() {
        let refused = |status: u16| Failure::Refused(StatusCode::from_u16(status).unwrap());
        for status in [400, 401, 404, 410, 301] {
            assert!(refused(status).is_final(), "{status}");
        }
        for status in [408, 429, 500, 503] {
            assert!(!refused(status).is_final(), "{status}");
        }
        assert!(!Failure::Late.is_final());
    }
}
