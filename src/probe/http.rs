//! One HTTP/1.1 GET, and the status it is answered with. Redirects are not followed.

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::check::Failure;

const USER_AGENT: &str = concat!("waypost-probe/", env!("CARGO_PKG_VERSION"));
/// So much of a body is read, to see that it comes at all; then the connection is closed.
const MAX_BODY_OCTETS: usize = 64 << 10;
/// For status line and headers together.
const MAX_HEAD_OCTETS: usize = 64 << 10;

/// Asks for `path` with `host` as Host header; the status, if it is in 200..=399 and the body arrives. The connection is
/// closed afterwards. There is no timeout of its own.
pub(super) async fn get(stream: TcpStream, host: &str, path: &str) -> Result<StatusCode, Failure> {
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(Failure::Request)?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD_OCTETS).handshake(TokioIo::new(stream)).await?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut response = sender.send_request(request).await?;
    let status = response.status();
    if !(200..=399).contains(&status.as_u16()) {
        return Err(Failure::Status(status));
    }
    let mut octets = 0;
    while octets < MAX_BODY_OCTETS {
        let Some(frame) = response.frame().await else { break };
        octets += frame.map_err(|_| Failure::BrokenOff(status))?.data_ref().map_or(0, Bytes::len);
    }
    Ok(status)
}
