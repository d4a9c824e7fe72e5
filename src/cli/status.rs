//! `waypost status`: all that there is to show, on a screen.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use crate::cli::client::{Client, Failure, ServerArgs};
use crate::cli::render::{Paint, Table, Tone, about, printable, share, span, warnings, when};
use crate::control::message::why::{Growing, NORMAL, Why};
use crate::control::message::{
    EndpointStatus, HorizonStatus, LeafStatus, PoolStatus, RrsetHorizon, RrsetStatus, Status, ZoneState, ZoneStatus,
};
use crate::steering::planned::Answered;
use crate::steering::pool::{Override, Role, SiteState};
use crate::time::Timestamp;

/// Show zones, pools, shares, health, TTLs and cache horizons
///
/// HORIZON says when no cache that obeys TTLs can hold an answer that named the endpoint: `in 42s`, `passed`, or, while it
/// is still being answered, the least that it can be. An endpoint that is a pool is told as `SITE = POOL`; that pool has a table of
/// its own, whose horizons count what was answered under either name.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Draw it anew each second
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Shows the status; with `--watch` until the output is closed.
pub fn run(args: &Args) -> Result<String, Failure> {
    let client = args.server.client()?;
    let paint = Paint::for_stdout();
    if args.watch {
        return watch(&client, paint);
    }
    client.get("/api/v1/status")?.told(|status: &Status| show(status, paint))
}

/// A server that is away for a while may come back: that is told, and watched on.
fn watch(client: &Client, paint: Paint) -> Result<String, Failure> {
    let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    loop {
        let screen = client.status().map_or_else(|failure| format!("{failure}\n"), |status| show(&status, paint));
        if !crate::cli::say(&format!("{clear}{screen}\n"))? {
            return Ok(String::new());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn show(status: &Status, paint: Paint) -> String {
    let up = about(status.now.since(status.started_at));
    let mut text = format!(
        "{}  waypost {}  generation {}  up {up}  {}\n",
        paint.on(Tone::Strong, &printable(&status.server)),
        status.version,
        status.generation,
        status.now
    );
    let listen: Vec<String> = status.listen.iter().map(ToString::to_string).collect();
    let _ = writeln!(text, "DNS on {}", listen.join(", "));
    if !status.zones.is_empty() {
        text.push('\n');
        text += &zones(&status.zones, status.now, paint);
    }
    if status.zones.iter().any(|zone| !zone.secondaries.is_empty()) {
        text.push('\n');
        text += &secondaries(&status.zones, status.now, paint);
    }
    for site in status.sites.iter().filter(|site| site.state != SiteState::Active) {
        let lead = paint.on(Tone::Warning, &format!("site {} {}:", site.name, site.state));
        let _ = writeln!(text, "\n{lead} it is not answered, whatever its weights, health and overrides");
    }
    for pool in &status.pools {
        text.push('\n');
        text += &show_pool(pool, status.now, paint);
    }
    if !status.rrsets.is_empty() {
        text.push('\n');
        text += &rrsets(&status.rrsets, status.now, paint);
    }
    for pending in &status.pending {
        let pools: Vec<String> = pending.pools.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "\n{}: generation {} ({}) takes itself back at {}\n  waypost confirm {}   to keep it",
            paint.on(Tone::Warning, "to be confirmed"),
            pending.generation,
            pools.join(", "),
            when(pending.confirm_by, status.now),
            pending.generation,
        );
    }
    text + &warnings(&status.warnings, paint)
}

fn zones(zones: &[ZoneStatus], now: Timestamp, paint: Paint) -> String {
    let mut table = Table::new(&["ZONE", "STATE", "SERIAL", "NAMES", "LOADED"]);
    for zone in zones {
        let (state, tone) = match zone.state {
            ZoneState::Current => ("current", Tone::Plain),
            ZoneState::LastGood => ("last good", Tone::Warning),
            ZoneState::Unloaded => ("unloaded", Tone::Bad),
            ZoneState::Awaited => ("awaited", Tone::Bad),
            ZoneState::Expired => ("expired", Tone::Bad),
        };
        let loaded = zone.loaded_at.map_or("-".to_owned(), |at| format!("{} ago", about(now.since(at))));
        table.row([
            (zone.name.to_string(), Tone::Plain),
            (state.to_owned(), tone),
            (zone.serial.map_or("-".to_owned(), |serial| serial.to_string()), Tone::Plain),
            (zone.names.to_string(), Tone::Plain),
            (loaded, Tone::Plain),
        ]);
    }
    let mut text = table.print("", paint);
    for zone in zones {
        if let Some(problem) = &zone.problem {
            let lines: Vec<String> = problem.lines().map(printable).collect();
            let _ = writeln!(text, "  {}: {}", zone.name, lines.join("\n    "));
        }
    }
    text
}

/// Who is given which zone; LAG says for how long there has been a newer version than the one that it is known to have.
fn secondaries(zones: &[ZoneStatus], now: Timestamp, paint: Paint) -> String {
    let mut table = Table::new(&["SECONDARY", "ZONE", "SERIAL", "SINCE", "LAG"]);
    for zone in zones {
        for secondary in &zone.secondaries {
            let ago = |at: Timestamp| format!("{} ago", about(now.since(at)));
            let lag = match secondary.behind_since {
                Some(since) => (about(now.since(since)), Tone::Warning),
                None if secondary.listed => ("none".to_owned(), Tone::Plain),
                None => ("not listed in notify".to_owned(), Tone::Plain),
            };
            table.row([
                (secondary.address.clone(), Tone::Plain),
                (zone.name.to_string(), Tone::Plain),
                (secondary.serial.map_or("unknown".to_owned(), |serial| serial.to_string()), Tone::Plain),
                (secondary.since.map_or("-".to_owned(), ago), Tone::Plain),
                lag,
            ]);
        }
    }
    let mut text = table.print("", paint);
    for (zone, secondary) in zones.iter().flat_map(|zone| zone.secondaries.iter().map(move |s| (zone, s))) {
        if let Some(problem) = &secondary.problem {
            let _ = writeln!(text, "  {} {}: {}", secondary.address, zone.name, printable(problem));
        }
    }
    text
}

/// RRsets that the zones answer themselves; HORIZON is of what each was before its last change.
fn rrsets(rrsets: &[RrsetStatus], now: Timestamp, paint: Paint) -> String {
    let mut table = Table::new(&["RRSET", "ANSWERED", "TTL", "NORMAL", "LOW", "CUTOVER", "CHANGED", "HORIZON"]);
    for status in rrsets {
        let answered = match status.answered {
            Some(Answered::Rrset) => ("yes", Tone::Plain),
            Some(Answered::Nothing) => ("not there", Tone::Plain),
            Some(Answered::Other) => ("another one", Tone::Warning),
            None => ("unknown", Tone::Bad),
        };
        let cutover = match status.cutover {
            Some(at) if at < now => (format!("{} ago", about(now.since(at))), Tone::Warning),
            Some(at) => (format!("in {}", about(at.since(now))), Tone::Plain),
            None => ("-".to_owned(), Tone::Plain),
        };
        let horizon = match &status.horizon {
            None => "not changed".to_owned(),
            Some(RrsetHorizon { at: None, at_least: false, .. }) => "never answered".to_owned(),
            Some(RrsetHorizon { at_least: true, seconds_left, .. }) => format!("at least {}", span(*seconds_left)),
            Some(RrsetHorizon { seconds_left: 0, .. }) => "passed".to_owned(),
            Some(RrsetHorizon { seconds_left, .. }) => format!("in {}", span(*seconds_left)),
        };
        table.row([
            (status.rrset.to_string(), Tone::Plain),
            (answered.0.to_owned(), answered.1),
            (status.ttl.served.to_string(), Tone::Plain),
            (status.ttl.normal.to_string(), Tone::Plain),
            (status.ttl.low.to_string(), Tone::Plain),
            cutover,
            (status.changed_at.map_or("-".to_owned(), |at| format!("{} ago", about(now.since(at)))), Tone::Plain),
            (horizon, Tone::Plain),
        ]);
    }
    let mut text = table.print("", paint);
    for status in rrsets {
        if let Some(RrsetHorizon { at: Some(at), why, seconds_left: 1.., .. }) = &status.horizon {
            let _ = writeln!(text, "  {}: as it was it is held until {}: {why}", status.rrset, when(*at, now));
        }
    }
    text
}

fn show_pool(pool: &PoolStatus, now: Timestamp, paint: Paint) -> String {
    let types: Vec<String> = pool.types.iter().map(ToString::to_string).collect();
    let ttl = pool.ttl;
    let group = pool.group.as_ref().map_or_else(String::new, |group| format!("  group {group}"));
    let mut text = format!(
        "{}  {}{group}  {}  TTL {} (normal {}, low {})\n",
        paint.on(Tone::Strong, &pool.name.to_string()),
        pool.policy,
        types.join(" "),
        ttl.served,
        ttl.normal,
        ttl.low
    );
    let mut table = Table::new(&["SITE", "SHARE", "WEIGHT", "HEALTH", "OVERRIDE", "ANSWERED", "ANSWERS", "HORIZON"]);
    for endpoint in &pool.endpoints {
        table.row(cells(endpoint, now));
    }
    text += &table.print("  ", paint);
    match pool.mode.as_str() {
        "fail-open" => {
            let lead = paint.on(Tone::Bad, "fail open:");
            let _ = writeln!(text, "  {lead} none is healthy: all active ones are answered");
        }
        "spare" => {
            let lead = paint.on(Tone::Warning, "spare:");
            let _ = writeln!(text, "  {lead} no active endpoint is healthy, those of weight 0 stand in");
        }
        _ => {}
    }
    if !pool.leaves.is_empty() {
        let leaf = |leaf: &LeafStatus| {
            let idle = if leaf.answered { "" } else { " (not answered)" };
            format!("{} {}{idle}", leaf.sites.join("/"), share(leaf.share_percent))
        };
        let _ = writeln!(text, "  in the end: {}", pool.leaves.iter().map(leaf).collect::<Vec<_>>().join(", "));
    }
    if let Some(cutover) = pool.cutover {
        let _ = writeln!(text, "  cutover at {}", when(cutover, now));
    }
    if let Some(changed) = pool.changed_at {
        let _ = writeln!(text, "  last change at {}", when(changed, now));
    }
    for endpoint in &pool.endpoints {
        for line in reasons(&endpoint.horizon) {
            let _ = writeln!(text, "  {}: {line}", endpoint.site);
        }
    }
    for endpoint in &pool.endpoints {
        if let Some(held) = &endpoint.held {
            let by = held.at.map_or_else(|| "has let go".to_owned(), |at| format!("lets go by {}", when(at, now)));
            let of = format!("{} of the demand {by}, {} has", share(held.percent), share(held.gone_percent));
            let _ = writeln!(text, "  {}: {of}; the rest is unknown ({})", endpoint.site, held.why);
        }
    }
    if pool.postponed > 0 {
        let _ =
            writeln!(text, "  {} busy client keys stay behind, until a larger step takes them along", pool.postponed);
    }
    for amended in &pool.amended {
        let _ = writeln!(text, "  {amended}: the configuration file does not say so (waypost pool show {})", pool.name);
    }
    if pool.differs_from_configuration {
        text += "  the weights differ from the configuration, which counts at the first start only\n";
    }
    text
}

fn cells(endpoint: &EndpointStatus, now: Timestamp) -> [(String, Tone); 8] {
    let health = &endpoint.health;
    let since = health.since.map_or(String::new(), |at| format!(" {}", about(now.since(at))));
    let seen = health
        .seen
        .as_ref()
        .filter(|_| health.state == "down" || health.withdrawn.is_some())
        .map_or(String::new(), |s| format!(" ({s})"));
    let without = health.withdrawn.map_or(String::new(), |family| format!(", without {family}"));
    let held = health.held_until.map_or(String::new(), |until| format!(", held down for {}", about(until.since(now))));
    let expiry = match health.expires_at {
        Some(at) if at <= now => format!(", expired {} ago", about(now.since(at))),
        Some(at) => format!(", for {} more", about(at.since(now))),
        None => String::new(),
    };
    let health_tone = match health.state.as_str() {
        "down" => Tone::Bad,
        _ if !without.is_empty() || !held.is_empty() || health.expires_at.is_some_and(|at| at <= now) => Tone::Warning,
        _ => Tone::Plain,
    };
    let override_tone = if endpoint.forced == Override::Obey { Tone::Plain } else { Tone::Warning };
    let weight = match (endpoint.configured_weight, endpoint.role) {
        (None, _) => format!("{} removed", endpoint.weight),
        (_, Role::Spare) => format!("{} spare", endpoint.weight),
        _ => endpoint.weight.to_string(),
    };
    [
        (
            endpoint.pool.as_ref().map_or_else(|| endpoint.site.clone(), |pool| format!("{} = {pool}", endpoint.site)),
            Tone::Plain,
        ),
        (share(endpoint.share_percent), Tone::Plain),
        (weight, Tone::Plain),
        (format!("{}{since}{without}{held}{expiry}{seen}", health.state), health_tone),
        (format!("{}{}", endpoint.forced, if endpoint.override_by_file { " (file)" } else { "" }), override_tone),
        ((if endpoint.answered { "yes" } else { "no" }).to_owned(), Tone::Plain),
        (endpoint.answers.to_string(), Tone::Plain),
        (horizons(&endpoint.horizon), Tone::Plain),
    ]
}

/// One text when it is the same for all types, else type by type.
fn horizons(horizons: &[HorizonStatus]) -> String {
    let texts: Vec<String> = horizons.iter().map(horizon).collect();
    match texts.split_first() {
        None => "-".to_owned(),
        Some((first, others)) if others.iter().all(|t| t == first) => first.clone(),
        Some(_) => {
            let each: Vec<String> =
                horizons.iter().zip(&texts).map(|(h, text)| format!("{} {text}", h.rtype)).collect();
            each.join(", ")
        }
    }
}

/// Where horizons come from, each reason once. That an endpoint is answered and how, its row and the TTL of the pool tell.
fn reasons(horizons: &[HorizonStatus]) -> Vec<String> {
    let mut told: Vec<(String, Vec<String>)> = Vec::new();
    for horizon in horizons.iter().filter(|horizon| horizon.seconds_left > 0) {
        let growing = horizon.growing.filter(|growing| *growing != Growing::Answered);
        let why = match &horizon.why {
            Some(Why::Answer { ttl }) if ttl.as_ref().is_none_or(|part| part.rule == NORMAL) && growing.is_none() => {
                continue;
            }
            Some(why) => why,
            None => continue,
        };
        let growing = growing.map_or_else(String::new, |growing| format!(", and may grow, as {growing}"));
        let (rtype, text) = (horizon.rtype.to_string(), format!("{why}{growing}"));
        match told.iter_mut().find(|(known, _)| *known == text) {
            Some((_, types)) => types.push(rtype),
            None => told.push((text, vec![rtype])),
        }
    }
    told.into_iter().map(|(text, types)| format!("horizon of {}: {text}", types.join(", "))).collect()
}

fn horizon(horizon: &HorizonStatus) -> String {
    match (horizon.at, horizon.at_least, horizon.seconds_left) {
        (_, true, 0) => "still answered".to_owned(),
        (_, true, left) => format!("at least {}", span(left)),
        (None, false, _) => "never answered".to_owned(),
        (Some(_), false, 0) => "passed".to_owned(),
        (Some(_), false, left) => format!("in {}", span(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::metrics::tests::status;
    use crate::control::message::{Pending, SecondaryStatus};
    use crate::dns::Rtype;

    #[test]
    fn a_status_on_a_screen() {
        let mut status = status();
        status.zones[0].state = ZoneState::LastGood;
        status.zones[0].problem = Some("zones/example.org.zone:3:1: error: what is this".to_owned());
        status.pools[0].endpoints[1].health.since = Some(status.now.before(125));
        status.pools[0].endpoints[1].health.seen = Some("connection refused".to_owned());
        let pools = vec![status.pools[0].name.clone()];
        status.pending = vec![Pending { generation: 17, confirm_by: status.now.after(90), pools }];
        status.warnings = vec!["the clock jumped".to_owned()];
        status.zones[0].secondaries = vec![
            SecondaryStatus {
                address: "192.0.2.53:53".to_owned(),
                listed: true,
                serial: Some(2_027_011_500),
                since: Some(status.now.before(3600)),
                behind_since: Some(status.now.before(65)),
                asked_at: None,
                notified: None,
                problem: Some("no good answer to NOTIFY: none in time".to_owned()),
            },
            SecondaryStatus {
                address: "192.0.2.99".to_owned(),
                listed: false,
                serial: Some(2_027_011_501),
                since: Some(status.now.before(5)),
                behind_since: None,
                asked_at: None,
                notified: None,
                problem: None,
            },
        ];
        let expected = "\
ns1.example.org  waypost 0.1.0  generation 17  up 1h  2027-01-15T08:00:00Z
DNS on 127.0.0.1:5300

ZONE         STATE      SERIAL      NAMES  LOADED
example.org  last good  2027011501  42     -
  example.org: zones/example.org.zone:3:1: error: what is this

SECONDARY      ZONE         SERIAL      SINCE   LAG
192.0.2.53:53  example.org  2027011500  1h ago  1m5s
192.0.2.99     example.org  2027011501  5s ago  not listed in notify
  192.0.2.53:53 example.org: no good answer to NOTIFY: none in time

www.example.org  sticky  A  TTL 60 (normal 3600, low 60)
  SITE  SHARE  WEIGHT  HEALTH                            OVERRIDE  ANSWERED  ANSWERS  HORIZON
  ec2   95 %   95      up, without IPv6, for 1m30s more  obey      yes       7        at least 1h3s
  dc1   5 %    5       down 2m5s (connection refused)    down      no        0        never answered
  cutover at 2027-01-15T09:00:00Z (in 1h)
  the weights differ from the configuration, which counts at the first start only

RRSET           ANSWERED  TTL  NORMAL  LOW  CUTOVER  CHANGED  HORIZON
example.org MX  yes       60   3600    60   in 1h    10s ago  in 53s
  example.org MX: as it was it is held until 2027-01-15T08:00:53Z (in 53s): because

to be confirmed: generation 17 (www.example.org) takes itself back at 2027-01-15T08:01:30Z (in 1m30s)
  waypost confirm 17   to keep it

note: the clock jumped
";
        assert_eq!(show(&status, Paint(false)), expected);
    }

    #[test]
    fn a_horizon_is_told_with_its_reason() {
        let mut of = status().pools[0].endpoints[0].horizon.clone();
        of.push(HorizonStatus { rtype: Rtype::AAAA, ..of[0].clone() });
        assert_eq!(reasons(&of), Vec::<String>::new());
        let recovered = Why::Recovered { restart: Timestamp(1_800_000_000) };
        for horizon in &mut of {
            (horizon.why, horizon.growing) = (Some(recovered.clone()), Some(Growing::Answered));
        }
        assert_eq!(reasons(&of), [format!("horizon of A, AAAA: {recovered}")]);
        of[1].growing = Some(Growing::Workers);
        assert!(reasons(&of)[1].ends_with("and may grow, as a worker has not left the snapshot that gave it"));
    }

    #[test]
    fn regions_are_told_with_what_they_come_down_to() {
        let mut pool = status().pools.remove(0);
        pool.endpoints[0].pool = Some("ec2.www.example.org".parse().unwrap());
        let leaf = |sites: &[&str], share_percent, answered| LeafStatus {
            sites: sites.iter().map(|site| (*site).to_owned()).collect(),
            share_percent,
            answered,
        };
        pool.leaves =
            vec![leaf(&["ec2", "fra"], 66.5, true), leaf(&["ec2", "ams"], 28.5, false), leaf(&["dc1"], 5.0, true)];
        let text = show_pool(&pool, status().now, Paint(false));
        assert!(text.contains("\n  ec2 = ec2.www.example.org  95 %   95 "), "{text}");
        assert!(text.contains("\n  in the end: ec2/fra 66.5 %, ec2/ams 28.5 % (not answered), dc1 5 %\n"), "{text}");
    }

    #[test]
    fn horizons_of_several_types_are_told_apart_only_where_they_differ() {
        let mut of = status().pools[0].endpoints[0].horizon.clone();
        of.push(of[0].clone());
        assert_eq!(horizons(&of), "at least 1h3s");
        of[1].rtype = crate::dns::Rtype::AAAA;
        of[1].at_least = false;
        assert_eq!(horizons(&of), "A at least 1h3s, AAAA in 1h3s");
        of[1].seconds_left = 0;
        assert_eq!(horizons(&of[1..]), "passed");
        assert_eq!(horizons(&[]), "-");
    }
}
