//! `waypost override`: an operator's word over health.

use clap::ValueEnum;

use crate::cli::client::{ChangeArgs, Failure, ServerArgs, encoded};
use crate::cli::render::{self, Paint};
use crate::control::message::{ChangeAnswer, OverrideRequest};
use crate::control::which::Selector;
use crate::steering::pool::Override;

/// Say whether an endpoint is up, whatever the probes say
///
/// No probe and no restart undoes it; `obey` does. Weights stay as they are: clients of an endpoint that is down are given
/// the others, and come back with it.
#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE)]
pub struct Args {
    /// The pool, by owner name (not with --select)
    #[arg(value_name = "POOL")]
    pool: String,
    /// The endpoint's site
    #[arg(value_name = "SITE")]
    site: String,
    /// What it shall count as
    #[arg(value_name = "WORD", required_unless_present = "select")]
    word: Option<Word>,
    /// The pools with this label, or with all of several, such as web,region=eu
    #[arg(long, value_name = "LABEL")]
    select: Option<Selector>,
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

const USAGE: &str = "\
waypost override [OPTIONS] <POOL> <SITE> <up|down|obey>
       waypost override [OPTIONS] --select <LABEL> <SITE> <up|down|obey>";

/// Sets the override.
pub fn run(args: &Args) -> Result<String, Failure> {
    // With --select the site stands first.
    let (pool, site, word) = match (&args.select, &args.word) {
        (None, Some(word)) => (Some(crate::cli::name(&args.pool).map_err(Failure::Usage)?), &args.site, *word),
        (Some(_), None) => {
            let word = Word::from_str(&args.site, false)
                .map_err(|_| Failure::Usage(format!("{:?} is neither up, down nor obey", args.site)))?;
            (None, &args.pool, word)
        }
        _ => return Err(Failure::Usage("say either a pool or --select, then a site and up, down or obey".to_owned())),
    };
    let forced = match word {
        Word::Up => Override::Up,
        Word::Down => Override::Down,
        Word::Obey => Override::Obey,
    };
    let reason = args.change.reason.clone();
    let client = args.server.client()?;
    let answer = if let Some(pool) = pool {
        let path = format!("/api/v1/pools/{}/endpoints/{}/override", encoded(&pool.to_string()), encoded(site));
        client.change("PUT", &path, &OverrideRequest { forced, reason }, &args.change)?
    } else {
        let body = serde_json::json!({"select": args.select, "site": site, "override": forced, "reason": reason});
        client.change("PUT", "/api/v1/overrides", &body, &args.change)?
    };
    answer.told(|done: &ChangeAnswer| render::change(done, Paint::for_stdout()))
}
