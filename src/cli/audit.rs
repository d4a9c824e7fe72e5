//! `waypost audit`: past changes.

use std::fmt::Write;

use serde::Deserialize;

use crate::cli::client::{Failure, ServerArgs};
use crate::cli::render::{Paint, Tone, printable, share};
use crate::control::message::{Action, AuditEntry, PoolChange};

/// List past changes, newest first: who, when, why, what
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only generations below this one
    #[arg(long, value_name = "GENERATION")]
    before: Option<u64>,
    /// At most so many, up to 1000
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    server: ServerArgs,
}

/// The part of the server's answer that is shown.
#[derive(Deserialize)]
struct Audit {
    entries: Vec<AuditEntry>,
}

/// Lists the changes.
pub fn run(args: &Args) -> Result<String, Failure> {
    let before = args.before.map_or_else(String::new, |generation| format!("&before={generation}"));
    let answer = args.server.client()?.get(&format!("/api/v1/audit?limit={}{before}", args.limit))?;
    answer.told(|audit: &Audit| {
        let paint = Paint::for_stdout();
        if audit.entries.is_empty() {
            return "No changes.\n".to_owned();
        }
        audit.entries.iter().map(|e| entry(e, paint)).collect()
    })
}

fn entry(entry: &AuditEntry, paint: Paint) -> String {
    let generation = paint.on(Tone::Strong, &entry.generation.to_string());
    let author = printable(&entry.author);
    let mut text = format!("{generation}  {}  {author}: {}\n", entry.at, action(&entry.action));
    if let Some(reason) = &entry.reason {
        let _ = writeln!(text, "    \"{}\"", printable(reason));
    }
    let moves =
        |pool: &&PoolChange| pool.endpoints.iter().any(|e| share(e.share_percent[0]) != share(e.share_percent[1]));
    for pool in entry.changes.iter().filter(moves) {
        let sites: Vec<String> = pool
            .endpoints
            .iter()
            .map(|e| match e.share_percent.map(share) {
                [before, after] if before == after => format!("{} {after}", e.site),
                [before, after] => format!("{} {before} -> {after}", e.site),
            })
            .collect();
        let _ = writeln!(text, "    {}: {}", pool.name, sites.join(", "));
    }
    text
}

fn action(action: &Action) -> String {
    match action {
        Action::Start => "first start".to_owned(),
        Action::Flip { confirm_by, cap } => {
            let capped = if *cap { ", capped" } else { "" };
            confirm_by.map_or_else(|| format!("flip{capped}"), |by| format!("flip{capped}, to be confirmed by {by}"))
        }
        Action::Revert { undone } => format!("revert of generation {undone}"),
        Action::Unconfirmed { undone } => format!("generation {undone} was not confirmed and is taken back"),
        Action::Confirm { confirmed } => format!("generation {confirmed} confirmed"),
        Action::Restore { restored } => format!("back to the weights of generation {restored}"),
        Action::OverrideFile => "override file".to_owned(),
        Action::Override { pool, site, forced } => format!("override {pool} {site} {forced}"),
        Action::Overrides { pools, site, forced } => format!("override of {} pools at {site} {forced}", pools.len()),
        Action::Site { site, state } => format!("site {site} {state}"),
        Action::Cutover { pool, cutover: Some(at) } => format!("cutover of {pool} at {at}"),
        Action::Cutover { pool, cutover: None } => format!("cutover of {pool} cleared"),
        Action::Cutovers { pools, cutover: Some(at) } => format!("cutover of {} pools at {at}", pools.len()),
        Action::Cutovers { pools, cutover: None } => format!("cutover of {} pools cleared", pools.len()),
        Action::RrsetCutover { rrsets, cutover } => {
            let of = rrsets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            cutover.map_or_else(|| format!("cutover of {of} cleared"), |at| format!("cutover of {of} at {at}"))
        }
        Action::Reload => "configuration read again".to_owned(),
        Action::Amend { amended } => amended.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_who_when_what_and_why() {
        let flip = serde_json::from_value(serde_json::json!({
            "generation": 18, "at": "2027-01-15T08:00:00Z", "author": "anna", "reason": "canary",
            "action": {"kind": "flip", "confirm_by": "2027-01-15T08:10:00Z"},
            "changes": [{"name": "www.example.org", "moved_percent": 5.0, "endpoints": [
                {"site": "ec2", "weight": [100, 95], "share_percent": [100.0, 95.0], "ttl": 60, "horizon": null},
                {"site": "dc1", "weight": [0, 5], "share_percent": [0.0, 5.0], "ttl": 60, "horizon": null},
                {"site": "dc2", "weight": [0, 0], "share_percent": [0.0, 0.0], "ttl": 60, "horizon": null},
            ]}],
        }))
        .unwrap();
        let expected = "\
18  2027-01-15T08:00:00Z  anna: flip, to be confirmed by 2027-01-15T08:10:00Z
    \"canary\"
    www.example.org: ec2 100 % -> 95 %, dc1 0 % -> 5 %, dc2 0 %
";
        assert_eq!(entry(&flip, Paint(false)), expected);
    }
}
