//! `waypost reload`: configuration and zones, read again.

use crate::cli::client::{ChangeArgs, Failure, ServerArgs};
use crate::cli::render::{self, Paint};
use crate::control::message::{ChangeAnswer, ReasonRequest};

/// Read configuration and zones again, all or nothing
///
/// What is wrong with them is told as `waypost check` tells it, and the server goes on as it was. A zone whose file can't
/// be read keeps its old content.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Reloads.
pub fn run(args: &Args) -> Result<String, Failure> {
    let request = ReasonRequest { reason: args.change.reason.clone() };
    let answer = args.server.client()?.change("POST", "/api/v1/reload", &request, &args.change)?;
    answer.told(|done: &ChangeAnswer| render::change(done, Paint::for_stdout()))
}
