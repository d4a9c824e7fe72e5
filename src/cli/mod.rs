//! The command line: one file per subcommand.

pub mod check;
pub mod demo;
pub mod demo_sites;
mod log;
pub mod serve;

use std::process::ExitCode;

use clap::Parser;

use crate::forward;

#[derive(Parser)]
#[command(version)]
enum Cli {
    Serve(serve::ServeArgs),
    Demo(demo::DemoArgs),
    Forward(forward::ForwardArgs),
    Check(check::CheckArgs),
}

/// Reads the arguments, runs the subcommand, gives its exit code: 0 done, 1 failed, 2 bad input.
pub fn main() -> ExitCode {
    match Cli::parse() {
        Cli::Serve(args) => serve::run(&args),
        Cli::Demo(args) => demo::run(&args),
        Cli::Forward(args) => forward::main(&args),
        Cli::Check(args) => check::run(&args),
    }
}
