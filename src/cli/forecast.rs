//! `waypost forecast`: what share of the load a flip would move.

use std::fmt::Write;

use crate::api::words;
use crate::cli::client::{Failure, ServerArgs, encoded};
use crate::cli::render::{Paint, Table, Tone, load, share, warnings};
use crate::control::message::Forecast;
use crate::dns::Name;
use crate::steering::flip::Percent;
use crate::steering::pool::SiteName;

/// Tell what share of the load each site has, and would have after a flip
///
/// Weights divide clients, but a few resolvers ask for most users: 5 % of the clients may be 2 % or 13 % of the load. LOAD is
/// what the queries on record let expect, with the 5th to 95th percentile. With --cap the flip goes by that load, and the
/// clients that each carry more than a fifth of the step are postponed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool, by owner name
    #[arg(value_parser = crate::cli::name)]
    pool: Name,
    /// The site that gives
    #[arg(long, value_name = "SITE", requires_all = ["to", "percent"])]
    from: Option<SiteName>,
    /// The site that gets
    #[arg(long, value_name = "SITE", requires_all = ["from", "percent"])]
    to: Option<SiteName>,
    /// The share of --to, 0 to 100 with at most 4 decimal places
    #[arg(long, value_parser = words::percent, requires_all = ["from", "to"])]
    percent: Option<Percent>,
    /// The flip would be capped
    #[arg(long, requires = "from")]
    cap: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Asks, and shows it.
pub fn run(args: &Args) -> Result<String, Failure> {
    let mut path = format!("/api/v1/pools/{}/forecast", encoded(&args.pool.to_string()));
    if let (Some(from), Some(to), Some(percent)) = (&args.from, &args.to, args.percent) {
        let (from, to) = (encoded(from), encoded(to));
        let _ = write!(path, "?from={from}&to={to}&percent={percent}&cap={}", args.cap);
    }
    args.server
        .client()?
        .get(&path)?
        .told(|forecast: &Forecast| show(forecast, args.from.is_some(), Paint::for_stdout()))
}

fn show(forecast: &Forecast, flip: bool, paint: Paint) -> String {
    let mut text = format!(
        "{}: {} queries per second since {}, {} clients told apart\n",
        paint.on(Tone::Strong, &forecast.name.to_string()),
        forecast.queries_per_second,
        forecast.since,
        forecast.keys
    );
    let mut table = Table::new(&["SITE", "WEIGHT", "POINTS", "LOAD (5TH TO 95TH PERCENTILE)"]);
    for e in &forecast.endpoints {
        let pair = |of: [String; 2]| if flip { of.join(" -> ") } else { of[0].clone() };
        table.row([
            (e.site.clone(), Tone::Plain),
            (pair(e.nominal_percent.map(share)), Tone::Plain),
            (pair(e.share_percent.map(share)), Tone::Plain),
            (pair([load(&e.load[0]), load(&e.load[1])]), Tone::Plain),
        ]);
    }
    text += &table.print("  ", paint);
    for postponed in &forecast.postponed {
        let _ = writeln!(
            text,
            "  {} stays behind at {}: {} of the load",
            postponed.client_key,
            postponed.site,
            share(postponed.load_percent)
        );
    }
    text + &warnings(&forecast.warnings, paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_on_a_screen() {
        let load = |p: f64| serde_json::json!({"percent": p, "low_percent": p * 0.9, "high_percent": p * 1.1});
        let forecast = serde_json::from_value(serde_json::json!({
            "generation": 17, "at": "2027-01-15T08:00:00Z", "name": "www.example.org", "queries_per_second": 12.5,
            "since": "2027-01-15T07:00:00Z", "keys": 310,
            "endpoints": [
                {"site": "ec2", "nominal_percent": [100, 95], "share_percent": [100, 92.5], "load": [load(90.0), load(80.0)]},
                {"site": "dc1", "nominal_percent": [0, 5], "share_percent": [0, 7.5], "load": [load(10.0), load(20.0)]},
            ],
            "postponed": [{"client_key": "192.0.2.0/24", "site": "ec2", "load_percent": 11}],
        }))
        .unwrap();
        let expected = "\
www.example.org: 12.5 queries per second since 2027-01-15T07:00:00Z, 310 clients told apart
  SITE  WEIGHT         POINTS           LOAD (5TH TO 95TH PERCENTILE)
  ec2   100 % -> 95 %  100 % -> 92.5 %  90 % (81..99) -> 80 % (72..88)
  dc1   0 % -> 5 %     0 % -> 7.5 %     10 % (9..11) -> 20 % (18..22)
  192.0.2.0/24 stays behind at ec2: 11 % of the load
";
        assert_eq!(show(&forecast, true, Paint(false)), expected);
        assert!(show(&forecast, false, Paint(false)).contains("  dc1   0 %     0 %     10 % (9..11)\n"));
    }
}
