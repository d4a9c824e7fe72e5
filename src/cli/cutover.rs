//! `waypost cutover`: the planned instant of a change.

use crate::api::words;
use crate::cli::client::{ChangeArgs, Client, Failure, ServerArgs, encoded};
use crate::cli::render::{self, Paint};
use crate::control::message::{ChangeAnswer, CutoverRequest};
use crate::control::which::Selector;
use crate::dns::{Name, Rtype};
use crate::time::Timestamp;

/// Plan the instant of a change, so that TTLs are low by then
///
/// A cutover flips nothing: it only lets the TTL of the pool's answers count down to the instant, so that right after it
/// few caches hold an old answer. Say it at least one normal TTL ahead; the answer tells when caches will be clear. Past
/// the instant the TTL stays low until the cutover is moved or cleared.
///
/// With --type it is the cutover of an RRset that the zone itself answers, such as an MX: it must be planned by an [[rrset]]
/// of the configuration. The change is then made in the zone, by an edit of its file or an update.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// The pool, by owner name; with --type the owner name of RRsets
    #[arg(value_parser = crate::cli::name, required_unless_present = "select")]
    pool: Option<Name>,
    /// The zone's own RRset of this type in place of a pool; may be said several times
    #[arg(long = "type", value_name = "TYPE", value_parser = crate::cli::rtype, conflicts_with = "select")]
    types: Vec<Rtype>,
    /// The pools with this label, or with all of several, such as web,region=eu
    #[arg(long, value_name = "LABEL", conflicts_with = "pool")]
    select: Option<Selector>,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct When {
    /// At this instant, e.g. 2027-01-15T08:00:00Z
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    at: Option<Timestamp>,
    /// So long from now, e.g. 2h
    #[arg(long = "in", value_name = "TIME", value_parser = words::duration_s)]
    from_now: Option<u64>,
    /// Not at all any more
    #[arg(long)]
    clear: bool,
}

/// Sets, moves or clears the cutover.
pub fn run(args: &Args) -> Result<String, Failure> {
    let client = args.server.client()?;
    let request = CutoverRequest { at: at(&args.when, &client)?, reason: args.change.reason.clone() };
    let answer = if let Some(name) = args.pool.as_ref().filter(|_| !args.types.is_empty()) {
        let path = format!("/api/v1/rrsets/{}/cutover", encoded(&name.to_string()));
        let body = serde_json::json!({"types": args.types, "at": request.at, "reason": request.reason});
        client.change("PUT", &path, &body, &args.change)?
    } else if let Some(pool) = &args.pool {
        let path = format!("/api/v1/pools/{}/cutover", encoded(&pool.to_string()));
        client.change("PUT", &path, &request, &args.change)?
    } else {
        let body = serde_json::json!({"select": args.select, "at": request.at, "reason": request.reason});
        client.change("PUT", "/api/v1/cutovers", &body, &args.change)?
    };
    answer.told(|done: &ChangeAnswer| render::change(done, Paint::for_stdout()))
}

/// "From now" is counted by the server's clock, which the TTLs are counted by.
fn at(when: &When, client: &Client) -> Result<Option<Timestamp>, Failure> {
    match when.from_now {
        Some(seconds) => Ok(Some(client.status()?.now.after(seconds))),
        None => Ok(when.at),
    }
}

fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|_| format!("{text:?} is no instant: write it as 2027-01-15T08:00:00Z (RFC 3339)"))
}
