//! `waypost site`: an operator's word over all endpoints of a site.

use clap::ValueEnum;

use crate::cli::client::{ChangeArgs, Failure, ServerArgs, encoded};
use crate::cli::render::{self, Paint};
use crate::control::message::{ChangeAnswer, SiteRequest};
use crate::steering::pool::{SiteName, SiteState};

/// Say whether a site serves: in all pools at once
///
/// A site that is drained is answered to nobody, but keeps its weights: its clients are given the others, and come back with
/// it. One that is retired gives its weights to the others and gets none; to come back it is made active, then flipped to.
/// Refused where a pool would be left with nothing to answer.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The site
    site: SiteName,
    /// What it shall be
    state: Word,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// It serves
    Active,
    /// It is not answered; its weights are kept
    Drained,
    /// It is not answered, and has no weight
    Retired,
}

/// Sets the site's state.
pub fn run(args: &Args) -> Result<String, Failure> {
    let state = match args.state {
        Word::Active => SiteState::Active,
        Word::Drained => SiteState::Drained,
        Word::Retired => SiteState::Retired,
    };
    let request = SiteRequest { state, reason: args.change.reason.clone() };
    let path = format!("/api/v1/sites/{}", encoded(&args.site));
    let answer = args.server.client()?.change("PUT", &path, &request, &args.change)?;
    answer.told(|done: &ChangeAnswer| render::change(done, Paint::for_stdout()))
}
