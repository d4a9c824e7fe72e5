//! `waypost restore`: back to the weights of a generation.

use crate::cli::client::{ChangeArgs, Failure, ServerArgs};
use crate::cli::render::{self, Paint};
use crate::control::message::{FlipAnswer, RestoreRequest};

/// Go back to the weights of an older generation
///
/// Whatever was flipped since: all pools get the weights that they had in GENERATION, by a new flip. `waypost audit` lists
/// the generations.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The generation to go back to
    generation: u64,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Restores the weights, and tells what that does.
pub fn run(args: &Args) -> Result<String, Failure> {
    let request = RestoreRequest { generation: args.generation, reason: args.change.reason.clone() };
    let answer = args.server.client()?.change_on_generation("/api/v1/restore", &request, &args.change)?;
    answer.told(|done: &FlipAnswer| render::flip(done, Paint::for_stdout()))
}
