//! `waypost serve`: the name server, in the foreground, until SIGTERM.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use crate::cli::check::ConfigArg;
use crate::cli::{check, log};
use crate::control::catalog::Catalog;
use crate::control::{Handle, StartError};
use crate::run::{self, Addresses, RunError};
use crate::server::Turns;

/// Answer DNS queries, in the foreground, until SIGTERM
///
/// Configuration and zones are read and checked whole before a port is bound; all mistakes are told at once. SIGHUP reads
/// them again. Once the store has weights and overrides, they come from there: a restart undoes no flip.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    file: ConfigArg,
    /// Start although the configuration lacks endpoints or pools that are being answered
    #[arg(long)]
    pub force: bool,
}

/// Runs it.
pub fn run(args: &ServeArgs) -> ExitCode {
    let catalog = match run::read(&args.file.config) {
        Ok(catalog) => catalog,
        Err(mistakes) => return check::refuse(&mistakes),
    };
    let ready = |_: &Addresses, _: &Handle| _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    finish(block_on(&args.file.config, catalog, args.force, ready, async { Ok(()) }))
}

/// Serves on a runtime of its own, until SIGTERM or SIGINT; a second one ends at once. `beside` runs first and is kept as
/// long as the server runs.
pub(super) fn block_on<T>(
    config: &Path,
    catalog: Catalog,
    force: bool,
    ready: impl FnOnce(&Addresses, &Handle),
    beside: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<()> {
    log::begin(&catalog.settings.log);
    raise_descriptor_limit();
    Turns::Control.take(); // as its threads will, unless they say otherwise
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("can't start a runtime")?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_signal(stop.clone()));
        let _beside = beside.await?;
        Ok(run::serve(config, catalog, force, ready, stop).await?)
    })
}

/// A thousand forwarders are a thousand streams, and resolvers come over TCP; the usual soft limit of 1,024 is for programs
/// that use select(2).
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Turns how it ended into an exit code: 0 as asked, 2 for what the operator wrote, 1 for all else.
pub(super) fn finish(ended: anyhow::Result<()>) -> ExitCode {
    let Err(error) = ended else { return ExitCode::SUCCESS };
    if let Some(RunError::Mistakes(mistakes)) = error.downcast_ref() {
        return check::refuse(mistakes);
    }
    eprintln!("waypost: {error:#}");
    match error.downcast_ref() {
        Some(RunError::Start(StartError::Removal(_))) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return tracing::warn!("SIGTERM can't be listened for: the server ends without saving its horizons");
    };
    let mut next = async || {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    };
    next().await;
    stop.cancel();
    next().await;
    eprintln!("waypost: a second signal: ending at once");
    std::process::exit(1);
}
