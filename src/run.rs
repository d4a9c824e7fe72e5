//! Builds the parts from checked settings, joins them, waits for the end.
//!
//! The order is the promise: files are read and checked whole before a port is bound; ports are bound before the state is
//! touched; what is due is carried out and the first round of probes is in before the first answer. At the end the data plane
//! stops first, so that what it recorded is exact when the state is saved.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::api::{self, Token, TokenError};
use crate::control::catalog::Catalog;
use crate::control::message::{Origin, ReloadWish};
use crate::control::{self, Handle, Start, StartError};
use crate::diagnostic::Diagnostic;
use crate::query::Readers;
use crate::secondary;
use crate::server::secondaries::Secondaries;
use crate::server::{Beside, BindError, Listeners};
use crate::store::{Embedded, StoreError};
use crate::time::Timestamp;

/// What listens where, once it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// DNS over UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// HTTP.
    pub api: SocketAddr,
}

/// Why a server ended, or never began.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The files are wrong: all mistakes.
    #[error("the configuration has mistakes")]
    Mistakes(Vec<Diagnostic>),
    /// An address can't be listened on for DNS.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The API's address can't be listened on.
    #[error("can't listen on {address} (API)")]
    BindApi {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The API's certificate can't be used.
    #[error("the API's certificate can't be used: {0}")]
    Tls(io::Error),
    /// The store can't be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The admin's token can't be had.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The state does not go with the configuration, or can't be read.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system refused a thread or a runtime.
    #[error("the data plane can't start: {0}")]
    Threads(io::Error),
}

/// Reads configuration and zones, as a start or `check` needs them.
///
/// # Errors
/// All mistakes.
pub fn read(config_file: &Path) -> Result<Catalog, Vec<Diagnostic>> {
    Catalog::read(config_file, None, &std::collections::BTreeMap::new(), false, Timestamp::now())
}

/// Serves what `catalog`, read from `config_file`, says, until `stop`. `ready` is told the addresses and a handle once
/// queries are answered. With `force`, endpoints that are being answered may be missing from the configuration.
///
/// # Errors
/// [`RunError`], before anything was answered.
pub async fn serve(
    config_file: &Path,
    catalog: Catalog,
    force: bool,
    ready: impl FnOnce(&Addresses, &Handle),
    stop: CancellationToken,
) -> Result<(), RunError> {
    let settings = catalog.settings.clone();
    let listeners = Listeners::bind(&settings.server)?;
    let bind_api = |source| RunError::BindApi { address: settings.api.listen, source };
    let api_listener = TcpListener::bind(settings.api.listen).await.map_err(bind_api)?;
    let addresses =
        Addresses { dns: listeners.addresses().to_vec(), api: api_listener.local_addr().map_err(bind_api)? };
    let store = Arc::new(Embedded::open(&settings.state)?);
    let curve_file = settings.state.join("stragglers.json");
    let token = Token::load_or_create(&settings.api.token_file)?;
    let tls = settings.api.tls.as_ref().map(api::acceptor).transpose().map_err(RunError::Tls)?;
    // From here on SIGHUP ends nothing; one that comes before the first answer is carried out after it.
    let hangups = signal(SignalKind::hangup()).map_err(RunError::Threads)?;
    let readers = Readers::new(listeners.workers());
    let secondaries = Arc::<Secondaries>::default();
    let (mut writer, control, published) = control::start(Start {
        config_file: config_file.to_owned(),
        catalog,
        store,
        readers: readers.clone(),
        udp_workers: listeners.udp_workers(),
        secondaries: secondaries.clone(),
        listen: addresses.dns.clone(),
        force,
        now: Timestamp::now(),
    })
    .await?;
    writer.first_round().await;

    let data_plane_stop = CancellationToken::new();
    let (notified, notifications) = secondary::notifications();
    let history = Arc::new(control.clone());
    let beside = Beside { updates: history.clone(), history, secondaries: secondaries.clone(), notified };
    let serving = listeners.serve(&published, &readers, beside, &data_plane_stop).map_err(RunError::Threads)?;
    let writer_stop = CancellationToken::new();
    let writing = tokio::spawn(writer.run(writer_stop.clone()));
    let api_stop = CancellationToken::new();
    let api = tokio::spawn(api::serve(
        api_listener,
        tls,
        control.clone(),
        token,
        api::Facts { serving: Arc::new(true.into()), secondaries },
        api_stop.clone(),
    ));
    let reloads = tokio::spawn(reload_on_hangup(hangups, control.clone()));
    tokio::spawn(secondary::follow(control.clone(), notifications, api_stop.clone()));
    tokio::spawn(control::watch::watch(control.clone(), api_stop.clone()));
    tokio::spawn(control::forwarders::watch(control.clone(), curve_file, api_stop.clone()));
    tracing::info!(dns = ?addresses.dns, api = %addresses.api, "serving");
    ready(&addresses, &control);

    stop.cancelled().await;
    tracing::info!("stopping");
    _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    reloads.abort();
    api_stop.cancel();
    if api.await.is_err() {
        tracing::error!("the API did not end as it should");
    }
    data_plane_stop.cancel();
    // The threads look up at least once in a quarter of a second.
    if tokio::task::spawn_blocking(move || serving.join()).await.is_err() {
        tracing::error!("the data plane did not end as it should");
    }
    writer_stop.cancel();
    if writing.await.is_err() {
        tracing::error!("the writer did not end as it should: the next start takes horizons to be later than they are");
    }
    Ok(())
}

/// Each SIGHUP reads configuration and zones again.
async fn reload_on_hangup(mut hangups: Signal, control: Handle) {
    while hangups.recv().await.is_some() {
        let origin = Origin { author: "SIGHUP".to_owned(), ..Origin::default() };
        // What comes of it, the writer tells the log.
        _ = control.reload(origin, ReloadWish::default()).await;
    }
}
