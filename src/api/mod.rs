//! HTTP face of `control`: it reads a request, asks the [`Handle`], shapes the reply. It decides nothing.
//!
//! | endpoint | |
//! |---|---|
//! | `GET /api/v1/status` | all that there is to show |
//! | `GET /api/v1/pools` | the pools |
//! | `GET /api/v1/pools/{name}` | one pool |
//! | `PUT /api/v1/pools/{name}/endpoints/{site}/override` | an operator's word over health |
//! | `PUT`, `DELETE /api/v1/pools/{name}/cutover` | the planned instant of a change |
//! | `POST /api/v1/flips` | changes weights |
//! | `POST /api/v1/flips/{generation}/revert` | undoes the flip that made that generation |
//! | `POST /api/v1/flips/{generation}/confirm` | keeps a flip that would take itself back |
//! | `POST /api/v1/restore` | back to the weights of a generation |
//! | `POST /api/v1/reload` | reads configuration and zones again |
//! | `GET /api/v1/audit?before=&limit=` | past changes, newest first |
//! | `GET /api/v1/explain?name=&type=&client=` | why a client is answered what it is |
//! | `GET /metrics` | for Prometheus |
//! | `GET /livez`, `GET /readyz` | whether the process lives; whether it serves |
//! | `GET /` | this list as text |
//!
//! The last four are open; all other paths, known or not, want `Authorization: Bearer TOKEN`, checked before the body is
//! read. A change takes `If-Match` (the generation that it is decided on; answers carry it as ETag), `Idempotency-Key` and
//! `X-Waypost-Author`. What goes in and comes out is in [`control::message`](crate::control::message); every refusal is a
//! [`Problem`].

mod body;
mod listen;
pub mod metrics;
mod origin;
mod parameters;
pub mod problem;
mod ready;
mod routes;
mod shell;
pub mod token;
pub mod words;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::control::Handle;

pub use problem::Problem;
pub use token::{Token, TokenError};

/// Where the API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// TCP; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The file with the admin's bearer token; made at the first start, mode 0600.
    pub token_file: PathBuf,
}

/// What the API tells and `control` does not know.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether DNS queries are being answered: what `/readyz` says.
    pub serving: Arc<AtomicBool>,
}

/// Serves the API on `listener` until `stop`; then no more connections are accepted, and those that are in the middle of a
/// request have 10 s to finish it.
pub async fn serve(listener: TcpListener, control: Handle, token: Token, facts: Facts, stop: CancellationToken) {
    let requests = metrics::Requests::default();
    let routes = routes::routes(routes::App { control, facts, requests: requests.clone() });
    listen::listen(listener, shell::around(routes, token, requests), stop).await;
}
