//! `waypost endpoint`: endpoints added, changed and removed while the server runs.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::cli::client::{ChangeArgs, Failure, ServerArgs, encoded};
use crate::cli::render::{self, Paint};
use crate::control::message::AmendAnswer;
use crate::dns::Name;
use crate::steering::pool::SiteName;

/// Add, change or remove an endpoint of a pool while the server runs
///
/// A new endpoint begins at weight 0: flip to it. One that clients are given is removed only with --force; until the last
/// cache has let go of it, status tells its horizon. All of it survives a restart. Where the configuration file is edited at
/// the same endpoint later, the file counts.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Add an endpoint at a site where the pool has none
    Add {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        records: Records,
        /// The endpoint's addresses in another pool, or the pool that it is there, at once: pools of a group have the same sites
        #[arg(long, value_name = "POOL=ADDRESS,...", value_parser = also)]
        also: Vec<(Name, Also)>,
        #[command(flatten)]
        change: AmendArgs,
    },
    /// Give an endpoint other records; its weight stays
    Set {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        records: Records,
        #[command(flatten)]
        change: AmendArgs,
    },
    /// Remove an endpoint, from all pools of its group
    Remove {
        #[command(flatten)]
        which: Which,
        /// Although clients are given it
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        change: AmendArgs,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The pool, by owner name
    #[arg(value_parser = crate::cli::name)]
    pool: Name,
    /// The endpoint's site, as the configuration names it
    site: SiteName,
}

/// What goes with each of these changes.
#[derive(Debug, clap::Args)]
pub(super) struct AmendArgs {
    /// Say what would happen, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) change: ChangeArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Records {
    /// Addresses, for A and AAAA
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    address: Vec<IpAddr>,
    /// The target of a CNAME, instead of all else
    #[arg(long, value_name = "NAME", value_parser = crate::cli::name, conflicts_with_all = ["address", "https", "svcb", "srv"])]
    cname: Option<Name>,
    /// An HTTPS record, such as "1 . alpn=h2"; may be repeated
    #[arg(long, value_name = "RDATA")]
    https: Vec<String>,
    /// An SVCB record; may be repeated
    #[arg(long, value_name = "RDATA")]
    svcb: Vec<String>,
    /// An SRV record, such as "10 5 443 host.example.org."; may be repeated
    #[arg(long, value_name = "RDATA")]
    srv: Vec<String>,
    /// The pool that it is, instead of records: what that one answers is answered
    #[arg(long = "pool-endpoint", value_name = "POOL", value_parser = crate::cli::name, conflicts_with_all = ["address", "cname", "https", "svcb", "srv"])]
    inner: Option<Name>,
    /// What weight 0 means for it: never (the usual) or spare
    #[arg(long, value_parser = ["never", "spare"])]
    role: Option<String>,
}

impl Records {
    /// As the configuration says it.
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        for (key, list) in [("https", &self.https), ("svcb", &self.svcb), ("srv", &self.srv)] {
            if !list.is_empty() {
                body.insert(key.to_owned(), json!(list));
            }
        }
        if !self.address.is_empty() {
            body.insert("address".to_owned(), json!(self.address));
        }
        body.extend(self.inner.as_ref().map(|pool| ("pool".to_owned(), json!(pool))));
        body.extend(self.cname.as_ref().map(|name| ("cname".to_owned(), json!(name))));
        body.extend(self.role.as_ref().map(|role| ("role".to_owned(), json!(role))));
        body
    }
}

impl AmendArgs {
    /// Says in `body` what goes with each of these changes.
    pub(super) fn in_body(&self, mut body: Map<String, Value>, force: bool) -> Map<String, Value> {
        body.extend(self.change.reason.as_ref().map(|reason| ("reason".to_owned(), json!(reason))));
        for (key, said) in [("dry_run", self.dry_run), ("force", force)] {
            body.extend(said.then(|| (key.to_owned(), json!(true))));
        }
        body
    }
}

/// Changes the endpoint, and tells what became of the pool.
pub fn run(args: &Args) -> Result<String, Failure> {
    let client = args.server.client()?;
    let path = |which: &Which, end: &str| format!("/api/v1/pools/{}/endpoints{end}", encoded(&which.pool.to_string()));
    let at = |which: &Which| path(which, &format!("/{}", encoded(&which.site)));
    let answer = match &args.command {
        Command::Add { which, records, also, change } if also.is_empty() => {
            let mut body = records.body();
            body.insert("site".to_owned(), json!(which.site));
            client.change("POST", &path(which, ""), &change.in_body(body, false), &change.change)?
        }
        Command::Add { which, records, also, change } => {
            let mut pools: Map<String, Value> =
                [(which.pool.to_string(), Value::Object(records.body()))].into_iter().collect();
            for (pool, also) in also {
                let (address, inner) = match also {
                    Also::Addresses(addresses) => (addresses.clone(), None),
                    Also::Pool(inner) => (Vec::new(), Some(inner.clone())),
                };
                let records = Records { address, inner, ..Records::only_role(records) };
                pools.insert(pool.to_string(), Value::Object(records.body()));
            }
            let body = [("site".to_owned(), json!(which.site)), ("pools".to_owned(), Value::Object(pools))];
            client.change(
                "POST",
                "/api/v1/endpoints",
                &change.in_body(body.into_iter().collect(), false),
                &change.change,
            )?
        }
        Command::Set { which, records, change } => {
            client.change("PUT", &at(which), &change.in_body(records.body(), false), &change.change)?
        }
        Command::Remove { which, force, change } => {
            client.change("DELETE", &at(which), &change.in_body(Map::new(), *force), &change.change)?
        }
    };
    answer.told(|done: &AmendAnswer| render::amended(done, Paint::for_stdout()))
}

impl Records {
    /// None, in the role of `like`.
    fn only_role(like: &Self) -> Self {
        let (https, svcb, srv) = (Vec::new(), Vec::new(), Vec::new());
        Self { address: Vec::new(), cname: None, https, svcb, srv, inner: None, role: like.role.clone() }
    }
}

/// What an endpoint is in another pool.
#[derive(Clone, Debug)]
enum Also {
    Addresses(Vec<IpAddr>),
    Pool(Name),
}

fn also(text: &str) -> Result<(Name, Also), String> {
    let (pool, given) = text.split_once('=').ok_or_else(|| format!("{text:?} is not POOL=ADDRESS,... or POOL=POOL"))?;
    let also = match addresses(given) {
        // What ends in a digit is a mistaken address rather than a name.
        Err(mistake) if given.contains([',', ':']) || given.ends_with(|c: char| c.is_ascii_digit()) => {
            return Err(mistake);
        }
        Err(_) => Also::Pool(crate::cli::name(given)?),
        Ok(addresses) => Also::Addresses(addresses),
    };
    Ok((crate::cli::name(pool)?, also))
}

/// Addresses with commas between them.
pub(super) fn addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    text.split(',').map(|one| one.parse().map_err(|_| format!("{one:?} is no IP address"))).collect()
}
