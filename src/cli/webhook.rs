//! `waypost webhook`: tries a hook of the configuration.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::check::{self, ConfigArg};
use crate::config;
use crate::time::Timestamp;
use crate::webhook::{Event, Kind, deliver};

/// Try a webhook of the configuration
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send an event of the kind "test" once, now, and say what the receiver answers
    ///
    /// Reads the configuration; needs no running server. Exit code 0: it was taken; 1: it was not.
    Test {
        /// The hook, by its name in the configuration
        name: String,
        #[command(flatten)]
        file: ConfigArg,
    },
}

/// Tries it.
pub fn run(args: &Args) -> ExitCode {
    let Command::Test { name, file } = &args.command;
    let settings = match config::load(&file.config) {
        Ok(loaded) => loaded.settings,
        Err(mistakes) => return check::refuse(&mistakes),
    };
    let Some(hook) = settings.webhooks.iter().find(|hook| hook.name == *name) else {
        let known: Vec<&str> = settings.webhooks.iter().map(|hook| hook.name.as_str()).collect();
        eprintln!("waypost: there is no [[webhook]] named {name:?}; there are: {}", known.join(", "));
        return ExitCode::from(2);
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("waypost: can't start a runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let now = Timestamp::now();
    let text = format!("somebody tries the webhook {name} of {}", settings.name);
    let event = Event::new(Kind::Test, text, json!({"server": settings.name}), now);
    match runtime.block_on(deliver(hook, &event, now)) {
        Ok(delivery) => {
            let took_ms = delivery.took.as_secs_f64() * 1000.0;
            let told = format!("{name}: {} from {} after {took_ms:.1} ms\n", delivery.status, hook.url);
            if matches!(crate::cli::say(&told), Ok(true)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            eprintln!("waypost: {name}: {}: {failure}", hook.url);
            ExitCode::FAILURE
        }
    }
}
