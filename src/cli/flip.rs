//! `waypost flip`: changes weights.

use std::collections::BTreeMap;

use crate::api::words;
use crate::cli::client::{ChangeArgs, Client, Failure, ServerArgs};
use crate::cli::render::{self, Paint};
use crate::control::message::{FlipAnswer, FlipRequest, Status};
use crate::control::which::Selector;
use crate::dns::Name;
use crate::steering::flip::Percent;
use crate::steering::pool::{SiteName, Weight};

/// Change how many clients are given which site
///
/// All pools change at once or none does. PERCENT is the share that --to shall have of what --from and --to hold together:
/// 0 gives all to --from, 100 all to --to. With --weights the weights are said in full; sites left out keep theirs.
///
/// The flip is decided on the generation that the server has now, or on that of --if-generation: if somebody changes
/// something in between, it is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub struct Args {
    /// The site that gives
    #[arg(long, value_name = "SITE", required_unless_present = "weights", conflicts_with = "weights")]
    from: Option<SiteName>,
    /// The site that gets
    #[arg(long, value_name = "SITE", required_unless_present = "weights", conflicts_with = "weights")]
    to: Option<SiteName>,
    /// The share of --to, 0 to 100 with at most 4 decimal places
    #[arg(long, value_parser = words::percent, required_unless_present = "weights", conflicts_with = "weights")]
    percent: Option<Percent>,
    /// The pools to flip, by owner name
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = crate::cli::name)]
    #[arg(required_unless_present_any = ["all", "select", "weights"], conflicts_with_all = ["all", "weights"])]
    pool: Vec<Name>,
    /// The pools with this label, or with all of several, such as web,region=eu
    #[arg(long, value_name = "LABEL", conflicts_with_all = ["all", "weights"])]
    select: Option<Selector>,
    /// Flip every pool that has both sites
    #[arg(long, conflicts_with = "weights")]
    all: bool,
    /// The weights of a pool in full; may be repeated
    #[arg(long, value_name = "POOL:SITE=WEIGHT,...", value_parser = weights)]
    weights: Vec<PoolWeights>,
    /// Say what would happen, change nothing
    #[arg(long)]
    dry_run: bool,
    /// Go by demand: clients that each carry more than a fifth of the step are postponed to a larger one
    #[arg(long)]
    cap: bool,
    /// Take the flip back after this time unless it is confirmed, e.g. 10m
    #[arg(long, value_name = "TIME", value_parser = words::duration_s)]
    confirm_within: Option<u64>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

const USAGE: &str = "\
waypost flip [OPTIONS] --from <SITE> --to <SITE> --percent <PERCENT> (--pool <NAME>... | --select <LABEL> | --all)
       waypost flip [OPTIONS] --weights <POOL:SITE=WEIGHT,...>";

const EXAMPLES: &str = "\
Examples:
  waypost flip --from ec2 --to dc1 --percent 5 --pool www.example.org --dry-run
  waypost flip --from ec2 --to dc1 --percent 5 --pool www.example.org --confirm-within 10m
  waypost flip --from ec2 --to dc1 --percent 100 --all --reason \"the move\"
  waypost flip --from ec2 --to dc1 --percent 100 --select web
  waypost flip --weights www.example.org:ec2=95,dc1=5";

/// One `--weights`.
type PoolWeights = (Name, BTreeMap<SiteName, Weight>);

/// Flips, and tells what that does.
pub fn run(args: Args) -> Result<String, Failure> {
    let client = args.server.client()?;
    flip(args, &client, Paint::for_stdout())
}

fn flip(args: Args, client: &Client, paint: Paint) -> Result<String, Failure> {
    let mut how = args.change;
    let mut request = FlipRequest {
        pools: args.pool,
        select: args.select,
        from: args.from,
        to: args.to,
        percent: args.percent,
        weights: BTreeMap::new(),
        reason: how.reason.clone(),
        dry_run: args.dry_run,
        confirm_within_s: args.confirm_within,
        cap: args.cap,
    };
    for (pool, weights) in args.weights {
        if let Some((pool, _)) = request.weights.remove_entry(&pool) {
            return Err(Failure::Usage(format!("--weights names the pool {pool} twice")));
        }
        request.weights.insert(pool, weights);
    }
    if args.all || how.if_generation.is_none() {
        let status = client.status()?;
        how.if_generation.get_or_insert(status.generation);
        if args.all {
            request.pools = with_both(&status, request.from.as_deref(), request.to.as_deref())?;
        }
    }
    client.change("POST", "/api/v1/flips", &request, &how)?.told(|answer: &FlipAnswer| render::flip(answer, paint))
}

/// The pools that have an endpoint at either site.
fn with_both(status: &Status, from: Option<&str>, to: Option<&str>) -> Result<Vec<Name>, Failure> {
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    let pools: Vec<Name> = status
        .pools
        .iter()
        .filter(|p| {
            [from, to].iter().all(|s| p.endpoints.iter().any(|e| e.site == *s && e.configured_weight.is_some()))
        })
        .map(|p| p.name.clone())
        .collect();
    if pools.is_empty() {
        return Err(Failure::Usage(format!("no pool has both the site {from:?} and the site {to:?}")));
    }
    Ok(pools)
}

fn weights(text: &str) -> Result<PoolWeights, String> {
    let (pool, list) = text.rsplit_once(':').ok_or("it is written POOL:SITE=WEIGHT,SITE=WEIGHT")?;
    let mut weights = BTreeMap::new();
    for item in list.split(',') {
        let (site, number) = item
            .split_once('=')
            .filter(|(site, _)| !site.is_empty())
            .ok_or_else(|| format!("{item:?} is not of the form SITE=WEIGHT"))?;
        let weight = number.parse().ok().and_then(Weight::new);
        let weight = weight.ok_or_else(|| format!("{number:?} is no weight: a whole number up to {}", Weight::MAX))?;
        if weights.insert(site.to_owned(), weight).is_some() {
            return Err(format!("the site {site:?} stands there twice"));
        }
    }
    Ok((crate::cli::name(pool)?, weights))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::metrics::tests::status;
    use crate::cli::client::tests::canned;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::parse_from(format!("flip {line}").split(' ')).args
    }

    fn answer() -> (u16, String) {
        let answer = r#"{"generation":18,"dry_run":false,"at":"2027-01-15T08:00:00Z","pools":[],"undo_s":63}"#;
        (200, answer.to_owned())
    }

    #[test]
    fn a_flip_is_decided_on_the_generation_that_was_seen() {
        let (client, requests) = canned(vec![(200, serde_json::to_string(&status()).unwrap()), answer()]);
        let told = flip(args("--from ec2 --to dc1 --percent 5 --all --confirm-within 10m"), &client, Paint(false));
        assert!(told.unwrap().contains("waypost revert 18"));
        let requests = requests.join().unwrap();
        assert!(requests[0].starts_with("GET /api/v1/status "), "{}", requests[0]);
        assert!(requests[1].starts_with("POST /api/v1/flips "), "{}", requests[1]);
        assert!(requests[1].to_lowercase().contains("if-match: \"17\"\r\n"), "{}", requests[1]);
        let body = requests[1].split("\r\n\r\n").nth(1).unwrap();
        let expected = serde_json::json!({
            "pools": ["www.example.org"], "from": "ec2", "to": "dc1", "percent": 5, "confirm_within_s": 600,
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), expected);
    }

    #[test]
    fn a_generation_that_was_said_is_not_asked_for() {
        let (client, requests) = canned(vec![answer()]);
        flip(args("--weights a.example:ec2=95,dc1=5 --if-generation 12"), &client, Paint(false)).unwrap();
        let request = requests.join().unwrap().remove(0);
        assert!(request.to_lowercase().contains("if-match: \"12\"\r\n"), "{request}");
        assert!(request.ends_with(r#"{"weights":{"a.example":{"dc1":5,"ec2":95}}}"#), "{request}");
    }

    #[test]
    fn all_means_the_pools_that_have_both_sites() {
        assert_eq!(with_both(&status(), Some("ec2"), Some("dc1")).unwrap().len(), 1);
        let failure = with_both(&status(), Some("ec2"), Some("dc2")).unwrap_err();
        assert_eq!(failure.to_string(), "no pool has both the site \"ec2\" and the site \"dc2\"");
    }
}
