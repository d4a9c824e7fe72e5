//! HTTP face of `control`: it reads a request, asks the [`Handle`], shapes the reply. It decides nothing.
//!
//! | endpoint | |
//! |---|---|
//! | `GET /api/v1/status` | all that there is to show |
//! | `GET /api/v1/pools` | the pools |
//! | `GET /api/v1/pools/{name}` | one pool |
//! | `PUT /api/v1/pools/{name}/endpoints/{site}/override` | an operator's word over health |
//! | `PUT /api/v1/pools/{name}/endpoints/{site}/health` | health pushed, for probes of type push |
//! | `PUT`, `DELETE /api/v1/pools/{name}/cutover` | the planned instant of a change |
//! | `POST /api/v1/flips` | changes weights |
//! | `POST /api/v1/flips/{generation}/revert` | undoes the flip that made that generation |
//! | `POST /api/v1/flips/{generation}/confirm` | keeps a flip that would take itself back |
//! | `POST /api/v1/restore` | back to the weights of a generation |
//! | `POST /api/v1/reload` | reads configuration and zones again |
//! | `GET /api/v1/audit?before=&limit=` | past changes, newest first |
//! | `GET /api/v1/explain?name=&type=&client=&subnet=` | why a client is answered what it is |
//! | `GET`, `POST /api/v1/forwarders` | the forwarders and how they do; a new one |
//! | `GET`, `DELETE /api/v1/forwarders/{name}` | one of them; leads it no longer |
//! | `POST /api/v1/forwarders/{name}/token` | a new token for it |
//! | `PUT`, `DELETE /api/v1/forwarders/{name}/hold` | new connections wait; go on |
//! | `PUT /api/v1/forwarders/{name}/ladder` | a rung, for a rule and a class, or all |
//! | `PUT`, `DELETE /api/v1/forwarders/{name}/rules/{rule}` | targets, pool and site of a rule |
//! | `GET /api/v1/stragglers?pool=&most=` | who still comes by forwarders: classes, curve, hosts, sources |
//! | `GET /api/v1/zones/{name}/dnssec`; `POST .../roll`, `.../confirm-ds`, `.../leave`, `.../import` | the keys of a signed zone; an operator's word on them |
//! | `GET /api/v1/audit/forwarders?limit=` | past changes of forwarders, newest first |
//! | `GET /api/v1/forwarders/{name}/stream` | for the forwarder: what is wanted of it, a line of JSON for each change |
//! | `POST /api/v1/forwarders/{name}/report` | for the forwarder: how it does, and who comes |
//! | `GET /metrics` | for Prometheus |
//! | `GET /livez`, `GET /readyz` | whether the process lives; whether it serves |
//! | `GET /` | this list as text |
//!
//! The last four are open; all other paths, known or not, want `Authorization: Bearer TOKEN`, checked before the body is
//! read; the two for a forwarder want that forwarder's own token, which opens nothing else. A change takes `If-Match` (the
//! generation that it is decided on; answers carry it as ETag), `Idempotency-Key` (the same request again gets the first answer,
//! another one 422) and `X-Waypost-Author`. What goes in and comes out is in [`control::message`](crate::control::message); every refusal is a
//! [`Problem`].

mod amend;
mod app;
mod body;
mod dnssec;
mod forwarders;
mod listen;
pub mod metrics;
mod origin;
mod parameters;
pub mod problem;
mod ready;
mod routes;
mod rrsets;
mod shell;
pub mod token;
pub mod words;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::control::Handle;
use crate::server::certificate::{self, Certificate};
use crate::server::secondaries::Secondaries;

pub use problem::Problem;
pub use token::{Token, TokenError};

/// Where the API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// TCP; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The file with the admin's bearer token; made at the first start, mode 0600.
    pub token_file: PathBuf,
    /// With it, all is TLS; a new certificate is taken from its file without a restart.
    pub tls: Option<Tls>,
}

/// Files of the certificate, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The server's own certificate first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What the API tells and `control` does not know.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether DNS queries are being answered: what `/readyz` says.
    pub serving: Arc<AtomicBool>,
    /// What is known of the secondaries of our zones.
    pub secondaries: Arc<Secondaries>,
}

/// Serves the API on `listener` until `stop`; then no more connections are accepted, and those that are in the middle of a
/// request have 10 s to finish it.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    control: Handle,
    token: Token,
    facts: Facts,
    stop: CancellationToken,
) {
    let requests = metrics::Requests::default();
    let keys = shell::Keys { admin: token, forwarders: control.forwarders().clone() };
    let routes = routes::routes(app::App { control, facts, requests: requests.clone(), stop: stop.clone() });
    listen::listen(listener, tls, shell::around(routes, keys, requests), stop).await;
}

/// What makes a connection TLS, with the certificate of these files.
///
/// # Errors
/// What is wrong with which file.
pub fn acceptor(tls: &Tls) -> io::Result<TlsAcceptor> {
    let certificate = Certificate::read(&tls.certificate, &tls.key)?;
    let mut config = certificate::server_config(certificate, rustls::DEFAULT_VERSIONS, b"http/1.1")?;
    // Forwarders come back often: a ticket spares both sides the signature.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
