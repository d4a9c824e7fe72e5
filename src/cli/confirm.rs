//! `waypost confirm`: keeps a flip.

use crate::cli::client::{ChangeArgs, Failure, ServerArgs};
use crate::cli::render::{self, Paint};
use crate::control::message::{ChangeAnswer, ReasonRequest};

/// Keep a flip that would take itself back
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The generation that the flip made
    generation: u64,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Confirms the flip.
pub fn run(args: &Args) -> Result<String, Failure> {
    let request = ReasonRequest { reason: args.change.reason.clone() };
    let path = format!("/api/v1/flips/{}/confirm", args.generation);
    let answer = args.server.client()?.change("POST", &path, &request, &args.change)?;
    answer.told(|done: &ChangeAnswer| {
        format!(
            "The flip that made generation {} stays.\n{}",
            args.generation,
            render::change(done, Paint::for_stdout())
        )
    })
}
