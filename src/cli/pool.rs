//! `waypost pool`: pools added, changed and removed while the server runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cli::client::{Failure, ServerArgs, encoded};
use crate::cli::endpoint::{AmendArgs, addresses};
use crate::cli::render::{self, Paint};
use crate::control::message::AmendAnswer;
use crate::dns::Name;
use crate::steering::pool::{SiteName, Weight};

/// Add, change, remove or show a pool while the server runs
///
/// `show` prints it as the configuration file would say it. All changes survive a restart. Where the configuration file is edited at the same pool later, the file counts. A pool that is
/// answered is removed only with --force; the zone's own records take over.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Add a pool
    Add(Definition),
    /// Say anew all that a pool is; weights of sites that it has stay
    Set(Definition),
    /// Remove a pool
    Remove {
        /// The pool, by owner name
        #[arg(value_parser = crate::cli::name)]
        pool: Name,
        /// Although it is answered
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        change: AmendArgs,
    },
    /// Print a pool in the words of the configuration file, with what was changed while the server ran
    Show {
        /// The pool, by owner name
        #[arg(value_parser = crate::cli::name)]
        pool: Name,
    },
}

#[derive(Debug, clap::Args)]
struct Definition {
    /// The pool, by owner name
    #[arg(value_parser = crate::cli::name)]
    pool: Name,
    /// What stands below [[pool]] in a configuration, but for the name; all that a pool can have
    #[arg(long, value_name = "FILE", conflicts_with_all = ["endpoint", "pool_endpoint", "weight", "probe", "group", "policy"])]
    file: Option<PathBuf>,
    /// An endpoint with its addresses; may be repeated
    #[arg(long, value_name = "SITE=ADDRESS,...", value_parser = endpoint, required_unless_present_any = ["file", "pool_endpoint"])]
    endpoint: Vec<(SiteName, Vec<IpAddr>)>,
    /// An endpoint that is another pool; may be repeated
    #[arg(long, value_name = "SITE=POOL", value_parser = pool_endpoint)]
    pool_endpoint: Vec<(SiteName, Name)>,
    /// The weight of an endpoint, else 0; may be repeated
    #[arg(long, value_name = "SITE=WEIGHT", value_parser = weight)]
    weight: Vec<(SiteName, Weight)>,
    /// The probe that tells its health
    #[arg(long, value_name = "NAME")]
    probe: Option<String>,
    /// The group that it belongs to
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// How an endpoint is chosen: sticky (the usual), random, failover, all
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// Although clients are given an endpoint that goes
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    change: AmendArgs,
}

impl Definition {
    fn body(&self) -> Result<Map<String, Value>, Failure> {
        if let Some(file) = &self.file {
            return written(file);
        }
        let mut weights: BTreeMap<&str, Weight> = self.weight.iter().map(|(site, w)| (site.as_str(), *w)).collect();
        let mut weight = |site: &SiteName| weights.remove(site.as_str()).unwrap_or(Weight::ZERO);
        let mut endpoints: Vec<Value> = Vec::new();
        for (site, addresses) in &self.endpoint {
            endpoints.push(json!({"site": site, "address": addresses, "weight": weight(site)}));
        }
        for (site, inner) in &self.pool_endpoint {
            endpoints.push(json!({"site": site, "pool": inner, "weight": weight(site)}));
        }
        if let Some(site) = weights.keys().next() {
            return Err(Failure::Usage(format!(
                "--weight names the site {site:?}, for which there is no --endpoint or --pool-endpoint"
            )));
        }
        let mut body = Map::new();
        body.insert("endpoint".to_owned(), Value::Array(endpoints));
        for (key, said) in [("probe", &self.probe), ("group", &self.group), ("policy", &self.policy)] {
            body.extend(said.as_ref().map(|said| (key.to_owned(), json!(said))));
        }
        Ok(body)
    }
}

/// A file's definition of a pool.
fn written(file: &Path) -> Result<Map<String, Value>, Failure> {
    let bad = |told: String| Failure::Usage(format!("{}: {told}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| bad(e.to_string()))?;
    let table: toml::Table = toml::from_str(&text).map_err(|e| bad(e.to_string()))?;
    match serde_json::to_value(table) {
        Ok(Value::Object(body)) => Ok(body),
        _ => Err(bad("it holds what JSON has no word for".to_owned())),
    }
}

/// Changes or shows the pool.
pub fn run(args: &Args) -> Result<String, Failure> {
    let client = args.server.client()?;
    let path = |pool: &Name| format!("/api/v1/pools/{}", encoded(&pool.to_string()));
    let answer = match &args.command {
        Command::Add(definition) => {
            let mut body = definition.body()?;
            body.insert("name".to_owned(), json!(definition.pool));
            let change = &definition.change;
            client.change("POST", "/api/v1/pools", &change.in_body(body, definition.force), &change.change)?
        }
        Command::Set(definition) => {
            let body = definition.change.in_body(definition.body()?, definition.force);
            client.change("PUT", &path(&definition.pool), &body, &definition.change.change)?
        }
        Command::Remove { pool, force, change } => {
            client.change("DELETE", &path(pool), &change.in_body(Map::new(), *force), &change.change)?
        }
        Command::Show { pool } => {
            let answer = client.get(&format!("{}/definition", path(pool)))?;
            return answer.told(|pool: &toml::Table| {
                let whole: toml::Table =
                    [("pool".to_owned(), toml::Value::Array(vec![toml::Value::Table(pool.clone())]))]
                        .into_iter()
                        .collect();
                toml::to_string(&whole).unwrap_or_default()
            });
        }
    };
    answer.told(|done: &AmendAnswer| render::amended(done, Paint::for_stdout()))
}

fn endpoint(text: &str) -> Result<(SiteName, Vec<IpAddr>), String> {
    let (site, written) = text.split_once('=').ok_or_else(|| format!("{text:?} is not SITE=ADDRESS,..."))?;
    Ok((site.to_owned(), addresses(written)?))
}

fn pool_endpoint(text: &str) -> Result<(SiteName, Name), String> {
    let (site, inner) = text.split_once('=').ok_or_else(|| format!("{text:?} is not SITE=POOL"))?;
    Ok((site.to_owned(), crate::cli::name(inner)?))
}

fn weight(text: &str) -> Result<(SiteName, Weight), String> {
    let split = text.split_once('=').ok_or_else(|| format!("{text:?} is not SITE=WEIGHT"));
    let (site, written) = split?;
    let weight = written.parse().ok().and_then(Weight::new);
    Ok((site.to_owned(), weight.ok_or_else(|| format!("{written:?} is no weight: 0 to {}", Weight::MAX))?))
}
