//! The command line: one file per subcommand. All but those that need no running server are clients of the HTTP API.
//!
//! A client subcommand gives the text to print or a [`client::Failure`]; printing and exit codes are here. Exit codes: 0
//! done, 1 refused or failed, 2 bad arguments or input.

mod audit;
pub mod check;
pub mod client;
mod confirm;
mod cutover;
pub mod demo;
pub mod demo_sites;
mod dnssec;
mod endpoint;
mod explain;
mod flip;
mod forecast;
mod forwarder;
mod health;
mod log;
mod r#override;
mod pool;
mod probe;
mod reload;
mod render;
mod restore;
mod revert;
pub mod serve;
mod site;
mod status;
mod stragglers;
mod webhook;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::dns::{Name, Rtype};
use crate::forward;

/// An authoritative DNS server that moves live traffic from one site to another.
///
/// `waypost serve` answers DNS queries from zone files; over some names lie pools of endpoints at sites. A flip changes how
/// many clients are given which site, `waypost status` says how far it has come and when the last cache lets go of the old
/// answer, and each flip can be taken back.
#[derive(Debug, Parser)]
#[command(name = "waypost", version, max_term_width = 100, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  waypost demo                                       a server and two tiny sites to play with
  waypost check --config config/waypost.toml         all mistakes of configuration and zones at once
  waypost serve --config config/waypost.toml
  waypost status --watch                             shares, health, TTLs and cache horizons
  waypost flip --from ec2 --to dc1 --percent 5 --pool www.example.org --dry-run
  waypost flip --from ec2 --to dc1 --percent 5 --pool www.example.org --confirm-within 10m
  waypost confirm 18                                 keep the flip that made generation 18
  waypost revert 18                                  take it back
  waypost forward --config /etc/rinetd.conf          on the old site: bring the stragglers along
  waypost forwarder hold old-web-1 --secs 10         let its new connections wait

Exit codes: 0 done, 1 refused or failed, 2 bad arguments or input.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Demo(demo::DemoArgs),
    Forward(forward::ForwardArgs),
    Check(check::CheckArgs),
    Probe(probe::Args),
    Status(status::Args),
    Flip(flip::Args),
    Forecast(forecast::Args),
    Confirm(confirm::Args),
    Revert(revert::Args),
    Restore(restore::Args),
    Override(r#override::Args),
    Health(health::Args),
    Site(site::Args),
    Endpoint(endpoint::Args),
    Pool(pool::Args),
    Cutover(cutover::Args),
    Reload(reload::Args),
    Audit(audit::Args),
    Explain(explain::Args),
    Forwarder(forwarder::Args),
    Stragglers(stragglers::Args),
    Dnssec(dnssec::Args),
    Webhook(webhook::Args),
}

/// Reads the arguments, runs the subcommand, gives its exit code: 0 done, 1 failed, 2 bad input.
pub fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(told) => {
            // Help and version come this way too; whoever closed our output has read enough.
            let _ = told.print();
            return ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2));
        }
    };
    let told = match command {
        Command::Serve(args) => return serve::run(&args),
        Command::Demo(args) => return demo::run(&args),
        Command::Forward(args) => return forward::main(&args),
        Command::Check(args) => return check::run(&args),
        Command::Probe(args) => return probe::run(&args),
        Command::Webhook(args) => return webhook::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Flip(args) => flip::run(args),
        Command::Forecast(args) => forecast::run(&args),
        Command::Confirm(args) => confirm::run(&args),
        Command::Revert(args) => revert::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Override(args) => r#override::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Site(args) => site::run(&args),
        Command::Endpoint(args) => endpoint::run(&args),
        Command::Pool(args) => pool::run(&args),
        Command::Cutover(args) => cutover::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Forwarder(args) => forwarder::run(&args),
        Command::Stragglers(args) => stragglers::run(&args),
        Command::Dnssec(args) => dnssec::run(&args),
    };
    match told.and_then(|text| say(&text)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("waypost: {failure}");
            failure.exit_code()
        }
    }
}

/// Prints `text`, and gives whether somebody still reads. A reader that has gone away, such as `head`, is no failure.
fn say(text: &str) -> Result<bool, client::Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(client::Failure::Output(error)),
    }
}

/// A domain name as an argument.
fn name(text: &str) -> Result<Name, String> {
    Name::parse(text, None).map_err(|e| e.to_string())
}

/// A record type as an argument.
fn rtype(text: &str) -> Result<Rtype, String> {
    Rtype::parse(text).ok_or_else(|| format!("{text:?} is no record type, such as A or AAAA"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_manual_shows_is_understood() {
        for line in [
            "waypost serve --config config/waypost.toml --force",
            "waypost check --strict",
            "waypost probe web --site ec2",
            "waypost flip --from ec2 --to dc1 --percent 5 --pool www.example.org --reason canary --confirm-within 10m",
            "waypost flip --from ec2 --to dc1 --percent 0.25% --pool a.example b.example --dry-run",
            "waypost flip --from ec2 --to dc1 --percent 100 --all --if-generation 17",
            "waypost flip --weights www.example.org:ec2=95,dc1=5 --weights a.example:ec2=1",
            "waypost revert 18 --reason oops",
            "waypost override --select web ec2 down",
            "waypost flip --from ec2 --to dc1 --percent 5 --select web,eu",
            "waypost cutover --select web --in 2h",
            "waypost override www.example.org ec2 down",
            "waypost site ec2 drained --reason maintenance",
            "waypost cutover www.example.org --in 2h",
            "waypost cutover www.example.org --at 2027-01-15T08:00:00Z",
            "waypost cutover www.example.org --clear",
            "waypost cutover example.org --type MX --type NS --in 2h",
            "waypost explain www.example.org --type AAAA --client 192.0.2.1",
            "waypost endpoint add www.example.org dc2 --address 192.0.2.3,2001:db8::3 --role spare --dry-run",
            "waypost endpoint add www.example.org dc2 --address 192.0.2.3 --also api.example.org=192.0.2.4",
            "waypost endpoint set www.example.org dc2 --cname www.example.net",
            "waypost endpoint remove www.example.org dc2 --force --reason gone",
            "waypost pool add shop.example.org --endpoint ec2=192.0.2.1 --endpoint dc1=192.0.2.2 --weight ec2=100",
            "waypost pool set shop.example.org --file shop.toml",
            "waypost pool show shop.example.org",
            "waypost pool remove shop.example.org --force",
            "waypost webhook test pager --config w.toml",
            "waypost health push www.example.org ec2 up --for 90s --reason load",
            "waypost dnssec status example.org",
            "waypost dnssec ds example.org",
            "waypost dnssec roll example.org --role zsk",
            "waypost dnssec confirm-ds example.org --reason seen",
            "waypost dnssec import example.org --key Kexample.org.+013+00001 --key zsk=a.pem --state active",
            "waypost forwarder add old-web-1",
            "waypost forwarder hold old-web-1 old-web-2 --secs 10 --rate 200",
            "waypost forwarder release --all",
            "waypost forwarder rung old-web-1 --class stays close-idle 600",
            "waypost forwarder rule old-web-1 web --target 192.0.2.1:80 --pool www.example.org --site ec2",
        ] {
            if let Err(error) = Cli::try_parse_from(line.split(' ')) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for line in [
            "waypost",
            "waypost flip",
            "waypost flip --from ec2 --to dc1 --percent 5",
            "waypost flip --from ec2 --to dc1 --pool a.example",
            "waypost flip --from ec2 --to dc1 --percent 101 --pool a.example",
            "waypost flip --from ec2 --to dc1 --percent 5 --pool a.example --all",
            "waypost flip --weights a.example:ec2=1 --percent 5",
            "waypost flip --weights a.example",
            "waypost flip --weights a.example:ec2=x",
            "waypost flip --weights a.example:ec2=1,ec2=2",
            "waypost cutover a.example",
            "waypost cutover a.example --clear --in 2h",
            "waypost cutover --select web --type MX --in 2h",
            "waypost override a.example ec2 off",
            "waypost site ec2 off",
            "waypost endpoint add www.example.org dc2",
            "waypost endpoint add www.example.org dc2 --address here",
            "waypost pool add shop.example.org",
            "waypost pool add shop.example.org --file a --endpoint ec2=192.0.2.1",
            "waypost explain a.example",
            "waypost revert eighteen",
            "waypost forwarder hold",
            "waypost forwarder hold a --all",
            "waypost forwarder rung a --class some refuse",
            "waypost forwarder rule a web --pool www.example.org",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
