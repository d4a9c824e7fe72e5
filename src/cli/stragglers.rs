//! `waypost stragglers`: who still comes to old sites.

use std::fmt::Write;

use serde::Deserialize;

use crate::cli::client::{Failure, ServerArgs, encoded};
use crate::cli::render::{Paint, Table, Tone, about, printable};
use crate::control::forwarders::Summary;
use crate::dns::Name;

/// Tell who still comes to old sites by forwarders, by class, host and source
///
/// cached: a cache may still hold the old answer; stays: its resolver was told another site, or it keeps an old connection;
/// never-asked: its network was never heard asking here, so its address is written somewhere, or its resolver is elsewhere.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One pool, by owner name; else all
    #[arg(long, value_parser = crate::cli::name)]
    pool: Option<Name>,
    /// So many hosts and sources
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    most: u16,
    #[command(flatten)]
    server: ServerArgs,
}

/// The server's answer.
#[derive(Deserialize)]
struct Stragglers {
    pools: Vec<Summary>,
}

/// Tells them.
pub fn run(args: &Args) -> Result<String, Failure> {
    let pool = args.pool.as_ref().map_or_else(String::new, |pool| format!("&pool={}", encoded(&pool.to_string())));
    let answer = args.server.client()?.get(&format!("/api/v1/stragglers?most={}{pool}", args.most))?;
    answer.told(|all: &Stragglers| {
        if all.pools.iter().all(|pool| pool.classes.is_empty()) {
            return "Nobody has come by a forwarder of these pools.\n".to_owned();
        }
        all.pools.iter().map(|pool| show(pool, Paint::for_stdout())).collect()
    })
}

fn show(summary: &Summary, paint: Paint) -> String {
    let plain = |text: String| (text, Tone::Plain);
    let mut text = format!("{}\n", paint.on(Tone::Strong, &printable(&summary.pool)));
    let mut classes = Table::new(&["class", "sources", "there now", "open", "connections"]);
    for class in &summary.classes {
        let numbers = [class.sources, class.now, class.open, class.connections].map(|n| plain(n.to_string()));
        classes.row([plain(class.class.to_string())].into_iter().chain(numbers));
    }
    text += &classes.print("  ", paint);
    let hourly: Vec<String> =
        summary.curve.iter().rev().step_by(60).map(|point| point.sources.values().sum::<u64>().to_string()).collect();
    let _ = writeln!(text, "  sources there, now and each hour back: {}", hourly.join(" "));
    let mut hosts = Table::new(&["host", "sources", "connections"]);
    for host in &summary.hosts {
        hosts.row([plain(host.host.clone()), plain(host.sources.to_string()), plain(host.connections.to_string())]);
    }
    if !summary.hosts.is_empty() {
        text += &hosts.print("  ", paint);
    }
    let mut sources = Table::new(&["source", "by", "class", "open", "connections", "last seen", "host"]);
    for one in &summary.sources {
        let seen = format!("{} ago", about(summary.now.since(one.last_seen)));
        sources.row([
            plain(one.address.to_string()),
            plain(one.forwarder.clone()),
            plain(format!("{} ({})", one.class, format!("{:?}", one.confidence).to_lowercase())),
            plain(one.open.to_string()),
            plain(one.connections.to_string()),
            plain(seen),
            plain(one.hosts.first().cloned().unwrap_or_default()),
        ]);
    }
    text += &sources.print("  ", paint);
    if summary.others + summary.beyond > 0 {
        let (others, beyond) = (summary.others, summary.beyond);
        let _ =
            writeln!(text, "  not told apart: {others} connections at forwarders, {beyond} reports of sources here");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_reads_well() {
        let summary: Summary = serde_json::from_value(serde_json::json!({
            "pool": "www.example.org", "now": "2027-01-15T08:00:00Z", "others": 0, "beyond": 0,
            "classes": [{"class": "stays", "sources": 2, "now": 1, "connections": 11, "open": 1, "bytes": 9,
                "confidence": {"high": 2}}],
            "curve": [{"at": "2027-01-15T07:59:30Z", "sources": {"stays": 1}, "open": 1}],
            "hosts": [{"host": "www.example.org", "sources": 2, "connections": 11}],
            "sources": [{"address": "192.0.2.1", "forwarder": "old-web-1", "site": "ec2", "class": "stays",
                "confidence": "high", "why": "", "connections": 9, "open": 1, "bytes_up": 1, "bytes_down": 2,
                "first_seen": "2027-01-15T07:00:00Z", "last_seen": "2027-01-15T07:59:50Z", "oldest_open_secs": 10,
                "ports": [80], "hosts": ["www.example.org"]}],
        }))
        .unwrap();
        let expected = "\
www.example.org
  class  sources  there now  open  connections
  stays  2        1          1     11
  sources there, now and each hour back: 1
  host             sources  connections
  www.example.org  2        11
  source     by         class         open  connections  last seen  host
  192.0.2.1  old-web-1  stays (high)  1     9            10s ago    www.example.org
";
        assert_eq!(show(&summary, Paint(false)), expected);
    }
}
