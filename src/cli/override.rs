//! `waypost override`: an operator's word over health.

use clap::ValueEnum;

use crate::cli::client::{ChangeArgs, Failure, ServerArgs, encoded};
use crate::cli::render::{self, Paint};
use crate::control::message::{ChangeAnswer, OverrideRequest};
use crate::dns::Name;
use crate::steering::pool::{Override, SiteName};

/// Say whether an endpoint is up, whatever the probes say
///
/// No probe and no restart undoes it; `obey` does. Weights stay as they are: clients of an endpoint that is down are given
/// the others, and come back with it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool, by owner name
    #[arg(value_parser = crate::cli::name)]
    pool: Name,
    /// The endpoint's site
    site: SiteName,
    /// What it shall count as
    word: Word,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// As healthy
    Up,
    /// As not there
    Down,
    /// As the probes say
    Obey,
}

/// Sets the override.
pub fn run(args: &Args) -> Result<String, Failure> {
    let forced = match args.word {
        Word::Up => Override::Up,
        Word::Down => Override::Down,
        Word::Obey => Override::Obey,
    };
    let request = OverrideRequest { forced, reason: args.change.reason.clone() };
    let path = format!("/api/v1/pools/{}/endpoints/{}/override", encoded(&args.pool.to_string()), encoded(&args.site));
    let answer = args.server.client()?.change("PUT", &path, &request, &args.change)?;
    answer.told(|done: &ChangeAnswer| render::change(done, Paint::for_stdout()))
}
