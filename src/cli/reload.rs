//! `waypost reload`: configuration and zones, read again.

use crate::cli::client::{ChangeArgs, Failure, ServerArgs};
use crate::cli::render::{self, Paint};
use crate::control::message::{ChangeAnswer, ReloadWish};
use crate::dns::Name;

/// Read configuration and zones again
///
/// The configuration is taken whole or not at all: what is wrong with it is told as `waypost check` tells it, and the server
/// goes on as it was. A zone whose file can't be read takes nothing else down: it keeps its old content, and is told as a
/// note.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Take it although it lacks endpoints or pools that are being answered
    #[arg(long)]
    force: bool,
    /// Read only the file of this zone; the configuration stays as it is
    #[arg(long, value_name = "NAME")]
    zone: Option<Name>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Reloads.
pub fn run(args: &Args) -> Result<String, Failure> {
    let request = ReloadWish { reason: args.change.reason.clone(), force: args.force, zone: args.zone.clone() };
    let answer = args.server.client()?.change("POST", "/api/v1/reload", &request, &args.change)?;
    answer.told(|done: &ChangeAnswer| render::change(done, Paint::for_stdout()))
}
