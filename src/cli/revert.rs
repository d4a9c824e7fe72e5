//! `waypost revert`: undoes a flip.

use crate::cli::client::{ChangeArgs, Failure, ServerArgs};
use crate::cli::render::{self, Paint};
use crate::control::message::{FlipAnswer, ReasonRequest};

/// Take a flip back
///
/// Undoes the flip that made GENERATION, by a new flip. Refused, naming the later flip, when one has touched the same pools
/// since; `waypost restore` goes back further.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The generation that the flip made
    generation: u64,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Reverts the flip, and tells what that does.
pub fn run(args: &Args) -> Result<String, Failure> {
    let request = ReasonRequest { reason: args.change.reason.clone() };
    let path = format!("/api/v1/flips/{}/revert", args.generation);
    let answer = args.server.client()?.change_on_generation(&path, &request, &args.change)?;
    answer.told(|done: &FlipAnswer| render::flip(done, Paint::for_stdout()))
}
