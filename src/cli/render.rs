//! Text for people: aligned tables, lengths of time, shares, and colour where it helps and can be seen.

use std::fmt::Write;
use std::io::IsTerminal;

use crate::control::message::{AmendAnswer, ChangeAnswer, FlipAnswer, LoadShare};
use crate::time::Timestamp;

/// Whether colour may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub bool);

/// What a passage shall be noticed as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Not at all.
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// A doubt.
    Warning,
    /// Something down.
    Bad,
}

impl Paint {
    /// Colour on a terminal, unless `NO_COLOR` is set.
    pub fn for_stdout() -> Self {
        Self(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()))
    }

    /// `text` in a tone.
    pub fn on(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Strong => "1",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Plain => "",
        };
        if self.0 && !code.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A table under construction: columns as wide as they must be, two blanks between them.
pub struct Table {
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    /// With these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|h| ((*h).to_owned(), Tone::Plain)).collect()] }
    }

    /// One more row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = (String, Tone)>) {
        self.rows.push(cells.into_iter().map(|(text, tone)| (printable(&text), tone)).collect());
    }

    /// The table, each line indented by `indent`.
    pub fn print(&self, indent: &str, paint: Paint) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |c: usize| self.rows.iter().filter_map(|r| r.get(c)).map(|(t, _)| t.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            text += indent;
            for (c, (cell, tone)) in row.iter().enumerate() {
                text += &paint.on(*tone, cell);
                if c + 1 < row.len() {
                    text += &" ".repeat(widths[c] - cell.chars().count() + 2);
                }
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}

/// `text` without what would steer a terminal: reasons and names come from others.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A length of time, exact: `2h5s`.
pub fn span(seconds: u64) -> String {
    let mut text = String::new();
    let mut rest = seconds;
    for (unit, letter) in [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')] {
        if rest >= unit {
            let _ = write!(text, "{}{letter}", rest / unit);
            rest %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A length of time in its two largest units, rounded down: for what is past.
pub fn about(seconds: u64) -> String {
    let coarse = match seconds {
        86_400.. => seconds - seconds % 3600,
        3600.. => seconds - seconds % 60,
        _ => seconds,
    };
    span(coarse)
}

/// `2027-01-15T08:00:00Z (in 2h)`, or `(5m ago)`, or `(now)`.
pub fn when(at: Timestamp, now: Timestamp) -> String {
    match (at.since(now), now.since(at)) {
        (0, 0) => format!("{at} (now)"),
        (0, past) => format!("{at} ({} ago)", about(past)),
        (left, _) => format!("{at} (in {})", span(left)),
    }
}

/// A share, with at most four places: `0.25 %`. What is above nothing never reads as nothing, what is below all never as all.
pub fn share(percent: f64) -> String {
    if percent > 0.0 && percent < 0.0001 {
        return "<0.0001 %".to_owned();
    }
    if percent < 100.0 && percent > 99.9999 {
        return ">99.9999 %".to_owned();
    }
    let fixed = format!("{percent:.4}");
    format!("{} %", fixed.trim_end_matches('0').trim_end_matches('.'))
}

/// A share of the load with its interval, to one place: `5.1 % (4.6..5.7)`.
pub fn load(load: &LoadShare) -> String {
    let short = |percent: f64| format!("{percent:.1}").trim_end_matches(".0").to_owned();
    format!("{} % ({}..{})", short(load.percent), short(load.low_percent), short(load.high_percent))
}

/// Notes for the operator, each on a line of its own, after an empty one.
pub fn warnings(warnings: &[String], paint: Paint) -> String {
    let mut text = String::new();
    for warning in warnings {
        let lead = if text.is_empty() { "\n" } else { "" };
        let _ = writeln!(text, "{lead}{} {}", paint.on(Tone::Warning, "note:"), printable(warning));
    }
    text
}

/// What a flip, revert or restore did, or would do.
pub fn flip(answer: &FlipAnswer, paint: Paint) -> String {
    let mut text = if answer.dry_run {
        format!("Dry run on generation {}: nothing was changed.\n", answer.generation)
    } else {
        format!("Generation {}, made at {}.\n", answer.generation, answer.at)
    };
    for pool in &answer.pools {
        let moved = share(pool.moved_percent);
        let _ = writeln!(text, "\n{}: {moved} of the clients move", paint.on(Tone::Strong, &pool.name.to_string()));
        let mut table = Table::new(&["SITE", "WEIGHT", "SHARE", "TTL", "OLD ANSWERS GONE"]);
        if pool.postponed > 0 {
            let _ = writeln!(text, "  {} busy ones stay behind, until a larger step takes them along", pool.postponed);
        }
        for endpoint in &pool.endpoints {
            let [weight, new_weight] = endpoint.weight;
            let [before, after] = endpoint.share_percent.map(share);
            let gone = endpoint.horizon.map_or("none were given".to_owned(), |at| when(at, answer.at));
            let cells = [
                endpoint.site.clone(),
                format!("{weight} -> {new_weight}"),
                format!("{before} -> {after}"),
                endpoint.ttl.to_string(),
                gone,
            ];
            table.row(cells.map(|cell| (cell, Tone::Plain)));
        }
        text += &table.print("  ", paint);
        for endpoint in &pool.endpoints {
            if let (Some(_), Some(why)) = (endpoint.horizon, &endpoint.horizon_why) {
                let _ = writeln!(text, "  old answers of {}: {why}", endpoint.site);
            }
        }
        let loads = pool.endpoints.iter().filter_map(|e| Some(format!("{} {}", e.site, load(e.load.as_ref()?))));
        let loads: Vec<String> = loads.collect();
        if !loads.is_empty() {
            let _ = writeln!(text, "  expected load: {}", loads.join(", "));
        }
    }
    let _ = writeln!(text, "\nTaken back at once, it would be gone from all caches after {}.", span(answer.undo_s));
    if let Some(by) = answer.confirm_by {
        let _ = writeln!(text, "It takes itself back at {}, unless it is confirmed.", when(by, answer.at));
    }
    text += &warnings(&answer.warnings, paint);
    if !answer.dry_run {
        let confirm = answer.confirm_by.map(|_| (format!("waypost confirm {}", answer.generation), "to keep it"));
        let others = [
            (format!("waypost revert {}", answer.generation), "to take it back"),
            ("waypost status".to_owned(), "to see how far it has come"),
        ];
        text += "\nNext:\n";
        for (command, purpose) in confirm.into_iter().chain(others) {
            let _ = writeln!(text, "  {command:<20}  {purpose}");
        }
    }
    text
}

/// What became of endpoints and pools, or would.
pub fn amended(answer: &AmendAnswer, paint: Paint) -> String {
    let mut text = if answer.dry_run {
        format!("Dry run on generation {}: nothing was changed.\n", answer.generation)
    } else {
        format!("Generation {}, made at {}.\n", answer.generation, answer.at)
    };
    for pool in &answer.pools {
        let _ = writeln!(text, "\n{}", paint.on(Tone::Strong, &pool.name.to_string()));
        let mut table = Table::new(&["SITE", "WEIGHT", "SHARE"]);
        for endpoint in &pool.endpoints {
            let [before, after] = endpoint.share_percent.map(share);
            let shares = if before == after { after } else { format!("{before} -> {after}") };
            let cells = [endpoint.site.clone(), endpoint.weight[1].to_string(), shares];
            table.row(cells.map(|cell| (cell, Tone::Plain)));
        }
        text += &table.print("  ", paint);
    }
    for gone in &answer.departed {
        let until = gone.horizon.map_or("no cache holds it".to_owned(), |at| {
            let why = gone.horizon_why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
            format!("the last cache lets go of it at {}{why}", when(at, answer.at))
        });
        let _ = writeln!(text, "\n{}: {} is gone; {until}.", gone.pool, gone.site);
    }
    text + &warnings(&answer.warnings, paint)
}

/// What another change did.
pub fn change(answer: &ChangeAnswer, paint: Paint) -> String {
    let mut text = format!("Generation {}, made at {}.\n", answer.generation, answer.at);
    if let Some(clear) = answer.caches_clear_at {
        let _ =
            writeln!(text, "From {} on no cache holds an answer with more than the low TTL.", when(clear, answer.at));
    }
    text + &warnings(&answer.warnings, paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Paint = Paint(false);

    #[test]
    fn lengths_of_time_are_exact_ahead_and_coarse_behind() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m"), (3603, "1h3s"), (90_061, "1d1h1m1s")] {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(about(3659), "1h");
        assert_eq!(about(90_061), "1d1h");
        let now = Timestamp(1_800_000_000);
        assert_eq!(when(now.after(90), now), "2027-01-15T08:01:30Z (in 1m30s)");
        assert_eq!(when(now.before(90), now), "2027-01-15T07:58:30Z (1m30s ago)");
    }

    #[test]
    fn shares_never_read_as_nothing_or_all_when_they_are_not() {
        for (percent, text) in [
            (0.0, "0 %"),
            (5.0, "5 %"),
            (0.25, "0.25 %"),
            (100.0, "100 %"),
            (1e-7, "<0.0001 %"),
            (99.999_999, ">99.9999 %"),
        ] {
            assert_eq!(share(percent), text);
        }
        assert_eq!(share(100.0 / 3.0), "33.3333 %");
    }

    #[test]
    fn columns_are_aligned_with_and_without_colour() {
        let mut table = Table::new(&["SITE", "HEALTH"]);
        table.row([("münchen".to_owned(), Tone::Plain), ("down".to_owned(), Tone::Bad)]);
        table.row([("dc1".to_owned(), Tone::Bad), (String::new(), Tone::Plain)]);
        assert_eq!(table.print("  ", PLAIN), "  SITE     HEALTH\n  münchen  down\n  dc1\n");
        let coloured = table.print("", Paint(true));
        assert!(coloured.contains("\x1b[31mdc1\x1b[0m"), "{coloured:?}");
        assert_eq!(PLAIN.on(Tone::Bad, "x"), "x");
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb"), "a\u{fffd}[2Jb");
    }

    #[test]
    fn a_flip_is_told_with_what_to_type_next() {
        let answer = serde_json::from_value(serde_json::json!({
            "generation": 18, "dry_run": false, "at": "2027-01-15T08:00:00Z", "undo_s": 63,
            "confirm_by": "2027-01-15T08:10:00Z", "warnings": ["one secondary can't steer"],
            "pools": [{"name": "www.example.org", "moved_percent": 5.0, "endpoints": [
                {"site": "ec2", "weight": [100, 95], "share_percent": [100.0, 95.0], "ttl": 60,
                 "horizon": "2027-01-15T09:00:03Z"},
                {"site": "dc1", "weight": [0, 5], "share_percent": [0.0, 5.0], "ttl": 60, "horizon": null},
            ]}],
        }))
        .unwrap();
        let expected = "\
Generation 18, made at 2027-01-15T08:00:00Z.

www.example.org: 5 % of the clients move
  SITE  WEIGHT     SHARE          TTL  OLD ANSWERS GONE
  ec2   100 -> 95  100 % -> 95 %  60   2027-01-15T09:00:03Z (in 1h3s)
  dc1   0 -> 5     0 % -> 5 %     60   none were given

Taken back at once, it would be gone from all caches after 1m3s.
It takes itself back at 2027-01-15T08:10:00Z (in 10m), unless it is confirmed.

note: one secondary can't steer

Next:
  waypost confirm 18    to keep it
  waypost revert 18     to take it back
  waypost status        to see how far it has come
";
        assert_eq!(flip(&answer, PLAIN), expected);
        let dry = FlipAnswer { dry_run: true, generation: 17, ..answer };
        assert!(flip(&dry, PLAIN).starts_with("Dry run on generation 17: nothing was changed.\n"));
        assert!(!flip(&dry, PLAIN).contains("Next:"));
    }

    #[test]
    fn a_cutover_says_when_caches_are_clear() {
        let answer: ChangeAnswer = serde_json::from_value(serde_json::json!({
            "generation": 19, "at": "2027-01-15T08:00:00Z", "caches_clear_at": "2027-01-15T09:00:03Z",
        }))
        .unwrap();
        assert_eq!(
            change(&answer, PLAIN),
            "Generation 19, made at 2027-01-15T08:00:00Z.\n\
             From 2027-01-15T09:00:03Z (in 1h3s) on no cache holds an answer with more than the low TTL.\n"
        );
    }
}
