//! `waypost health`: health that is pushed.

use clap::ValueEnum;
use serde_json::json;

use crate::api::words;
use crate::cli::client::{ChangeArgs, Failure, ServerArgs, encoded};
use crate::cli::render::when;
use crate::control::message::HealthAnswer;
use crate::dns::Name;
use crate::steering::pool::SiteName;

/// Say how an endpoint is, where its probe is of the type push
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Push a value: an observation, weaker than an override
    ///
    /// It counts at once, until its time is over. Then the endpoint stays as it is, or is down, as the probe says
    /// (when-expired).
    Push {
        /// The pool, by owner name
        #[arg(value_parser = crate::cli::name)]
        pool: Name,
        /// The endpoint's site
        site: SiteName,
        /// How it is
        state: State,
        /// For how long that holds, e.g. 90s
        #[arg(long = "for", value_name = "TIME", value_parser = words::duration_s)]
        holds: u64,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    /// It works
    Up,
    /// It does not
    Down,
}

/// Pushes the value.
pub fn run(args: &Args) -> Result<String, Failure> {
    let Command::Push { pool, site, state, holds, change } = &args.command;
    let path = format!("/api/v1/pools/{}/endpoints/{}/health", encoded(&pool.to_string()), encoded(site));
    let body = json!({"up": matches!(state, State::Up), "for_s": holds, "reason": change.reason});
    let answer = args.server.client()?.change("PUT", &path, &body, change)?;
    answer.told(|taken: &HealthAnswer| {
        let counts = if taken.up { "up" } else { "down" };
        format!("{pool}: {site} counts as {counts}; the value holds until {}.\n", when(taken.expires_at, taken.at))
    })
}
