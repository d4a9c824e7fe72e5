//! `waypost check`: reads configuration and zones as a start would, and says all that is wrong with them.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config;
use crate::diagnostic::{Diagnostic, Severity};
use crate::run;
use crate::zone::master;

/// Check configuration and zones, and tell all mistakes at once
///
/// Needs no running server and binds no port. Exit code 0: `waypost serve` would take them; 2: something is wrong.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    file: ConfigArg,
    /// Refuse what is only doubtful, too
    #[arg(long)]
    pub strict: bool,
}

/// Where the configuration is.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConfigArg {
    /// The configuration; paths in it are taken from the working directory
    #[arg(
        long,
        value_name = "FILE",
        env = "WAYPOST_CONFIG",
        hide_env_values = true,
        default_value = "/etc/waypost/waypost.toml"
    )]
    pub(super) config: PathBuf,
}

/// Runs it: 0 when a start would serve all, 2 when something is wrong.
pub fn run(args: &CheckArgs) -> ExitCode {
    let catalog = match run::read(&args.file.config) {
        Ok(catalog) => catalog,
        Err(mut mistakes) => {
            mistakes.extend(of_zones(&args.file.config));
            return refuse(&mistakes);
        }
    };
    let mut found: Vec<Diagnostic> = catalog.zones.iter().flat_map(|z| z.problem.clone()).collect();
    found.extend(catalog.warnings.iter().cloned());
    if !found.is_empty() {
        show(&found);
    }
    if found.iter().any(|d| d.severity == Severity::Error || args.strict) {
        return ExitCode::from(2);
    }
    let names: usize = catalog.zones.iter().filter_map(|z| z.served.as_ref()).map(|s| s.zone.name_count()).sum();
    let (zones, pools) = (catalog.zones.len(), catalog.settings.pools.len());
    println!("{}: good: zones {zones} (names {names}), pools {pools}", args.file.config.display());
    ExitCode::SUCCESS
}

/// What is wrong with the zones of a configuration that has mistakes itself.
fn of_zones(config: &Path) -> Vec<Diagnostic> {
    let zones = config::zones_of(config);
    let read = zones.iter().filter_map(|zone| Some((zone.file.as_ref().filter(|file| file.exists())?, &zone.name)));
    read.flat_map(|(file, name)| master::read(file, name).map_or_else(|mistakes| mistakes, |read| read.warnings))
        .collect()
}

/// Shows mistakes of files and gives the exit code for them.
pub(super) fn refuse(mistakes: &[Diagnostic]) -> ExitCode {
    show(mistakes);
    ExitCode::from(2)
}

fn show(found: &[Diagnostic]) {
    let terminal = std::io::stderr().is_terminal();
    eprint!("{}", config::render(found, terminal));
}
