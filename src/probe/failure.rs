//! Why a check did not see what it should, in words that an operator can act on.

use std::error::Error;
use std::io;
use std::time::Duration;

use tokio::task::JoinError;

/// Why an endpoint did not answer as it should, or could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no answer in {after:?} ({phase})")]
    Timeout { after: Duration, phase: &'static str },
    #[error("{}", in_words(.0))]
    Connection(io::Error),
    #[error("closed without an answer")]
    Closed,
    /// What TLS or the certificate lacks, in words.
    #[error("{0}")]
    Tls(String),
    #[error("no HTTP: {0}")]
    NotHttp(hyper::Error),
    #[error("no HTTP/2: the server chose {chosen}")]
    NotHttp2 { chosen: String },
    #[error("status {status}, expected {expected}")]
    Status { status: u16, expected: String },
    #[error("status {status}, but its body broke off")]
    BrokenOff { status: u16 },
    #[error("{what} does not {expected}; it begins with {begins:?}")]
    Content { what: &'static str, expected: String, begins: String },
    #[error("the request can't be sent: {0}")]
    Request(hyper::http::Error),
    #[error("the {what} can't be understood")]
    Malformed { what: &'static str },
    #[error("RCODE {rcode}, expected {expected}")]
    Rcode { rcode: String, expected: String },
    #[error("answer {seen:?}, expected {expected}")]
    Answer { seen: String, expected: String },
    #[error("gRPC status {status}{message}")]
    Grpc { status: String, message: String },
    #[error("{seen}, expected SERVING")]
    NotServing { seen: &'static str },
    #[error("value {value}, expected {expected}")]
    Value { value: f64, expected: String },
    #[error("refused: {reason}")]
    Refused { reason: String },
    #[error("{told}")]
    Command { told: String },
    /// Who was asked instead of the endpoint does not know.
    #[error("unknown: {detail}")]
    Unknown { detail: String, is_down: bool },
    /// Says nothing about the endpoint.
    #[error("the check itself failed: {0}")]
    Broken(JoinError),
    /// Says nothing about the endpoint.
    #[error("{0}")]
    Ours(io::Error),
}

impl Failure {
    /// Whether it says that the endpoint is down; else it says nothing about it.
    pub(super) fn is_the_endpoints(&self) -> bool {
        !self.is_ours() && !matches!(self, Self::Unknown { is_down: false, .. })
    }

    /// Whether it is our own side that lacks something.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Broken(_) | Self::Ours(_))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let own = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
        match error.raw_os_error() {
            Some(code) if own.contains(&code) => Self::Ours(error),
            _ if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Connection(error),
        }
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            return Self::Closed;
        }
        match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
            Some(source) => Self::Connection(io::Error::from(source.kind())),
            None => Self::NotHttp(error),
        }
    }
}

/// Without "(os error 111)" where the plain words are clear.
fn in_words(error: &io::Error) -> String {
    use io::ErrorKind as K;
    match error.kind() {
        kind @ (K::ConnectionRefused
        | K::ConnectionReset
        | K::ConnectionAborted
        | K::HostUnreachable
        | K::NetworkUnreachable
        | K::TimedOut
        | K::BrokenPipe) => kind.to_string(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_our_side_lacks_is_no_observation() {
        assert!(!Failure::from(io::Error::from_raw_os_error(libc::EMFILE)).is_the_endpoints());
        let refused = Failure::from(io::Error::from_raw_os_error(libc::ECONNREFUSED));
        assert!(refused.is_the_endpoints());
        assert_eq!(refused.to_string(), "connection refused");
    }
}
