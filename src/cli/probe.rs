//! `waypost probe`: carries out a probe of the configuration once, and shows each phase.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::cli::check::{self, ConfigArg};
use crate::cli::render::{Paint, Tone, printable};
use crate::config;
use crate::control::targets::targets;
use crate::probe::trial::{Trial, try_once};
use crate::probe::{self, Kind};
use crate::steering::pool::SiteName;

/// Carry out a probe once, now, and show each phase
///
/// Reads the configuration, asks each address of the endpoints that use the probe, and says how far it got. Needs no
/// running server and changes nothing. Exit code 0: all are up; 1: not all are.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The probe, by its name in the configuration
    name: String,
    /// Only the endpoints at this site
    #[arg(long, value_name = "SITE")]
    site: Option<SiteName>,
    #[command(flatten)]
    file: ConfigArg,
}

/// Runs it.
pub fn run(args: &Args) -> ExitCode {
    let loaded = match config::load(&args.file.config) {
        Ok(loaded) => loaded,
        Err(mistakes) => return check::refuse(&mistakes),
    };
    let settings = loaded.settings;
    if !settings.probes.contains_key(&args.name) {
        let known: Vec<&str> = settings.probes.keys().map(String::as_str).collect();
        eprintln!("waypost: there is no [probe.{}]; there are: {}", args.name, known.join(", "));
        return ExitCode::from(2);
    }
    let mut targets = targets(&settings);
    targets.retain(|t| t.probe_name == args.name && args.site.as_ref().is_none_or(|site| *site == t.site));
    if matches!(settings.probes.get(&args.name), Some(probe::Settings { kind: Kind::Push(_), .. })) {
        eprintln!(
            "waypost: [probe.{}] is of type \"push\": its values come by the API, there is nothing to try",
            args.name
        );
        return ExitCode::from(2);
    }
    if targets.is_empty() {
        eprintln!("waypost: no endpoint {} is asked by [probe.{}]", at_site(args), args.name);
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("waypost: can't start a runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let paint = Paint::for_stdout();
    let mut all_good = true;
    for target in targets {
        for trial in runtime.block_on(try_once(&target)) {
            all_good &= trial.outcome.is_ok();
            let title = format!("{} at {}, {}", target.pool, target.site, trial.subject);
            if !matches!(crate::cli::say(&show(&title, &trial, paint)), Ok(true)) {
                return ExitCode::FAILURE;
            }
        }
    }
    if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn at_site(args: &Args) -> String {
    args.site.as_ref().map_or_else(String::new, |site| format!("at {site:?}"))
}

fn show(title: &str, trial: &Trial, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.on(Tone::Strong, title));
    for phase in &trial.phases {
        let took_ms = phase.took.as_secs_f64() * 1000.0;
        let _ = writeln!(text, "  {:10} {took_ms:9.3} ms  {}", phase.name, printable(&phase.seen));
    }
    let (word, tone, seen) = match &trial.outcome {
        Ok(seen) => ("up", Tone::Plain, seen),
        Err(seen) => ("not up", Tone::Bad, seen),
    };
    let _ = writeln!(text, "  {}: {}", paint.on(tone, word), printable(seen));
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probe::{Phase, Subject};

    #[test]
    fn each_phase_has_a_line() {
        let phase = Phase { name: "connect", took: Duration::from_micros(1500), seen: "192.0.2.1:80".to_owned() };
        let subject = Subject::Address([192, 0, 2, 1].into());
        let trial = Trial { subject, phases: vec![phase], outcome: Err("status 503, expected 200-399".to_owned()) };
        let expected = "a.example at ec2, 192.0.2.1\n  connect        1.500 ms  192.0.2.1:80\n  not up: status 503, expected 200-399\n";
        assert_eq!(show("a.example at ec2, 192.0.2.1", &trial, Paint(false)), expected);
    }
}
