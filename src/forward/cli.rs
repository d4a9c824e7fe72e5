//! The forwarder as a subcommand: arguments, signals, exit codes.
//!
//! SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reads the settings again and reopens the log. Exit code
//! 0: ended in order; 1: it could not run; 2: the settings are wrong.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use super::ask::{self, Action};
use super::life::Forwarder;
use super::load::load;
use super::mistake::Mistake;
use super::settings::{Authority, Settings};
use super::toml;

/// Forward TCP and UDP, by a rinetd.conf or a TOML file
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES, after_long_help = long_help())]
pub struct ForwardArgs {
    /// The settings, as rinetd.conf or as TOML; the content tells which
    #[arg(short, long, value_name = "FILE", default_value = "/etc/rinetd.conf")]
    pub config: PathBuf,
    /// Only check the settings
    #[arg(long)]
    pub check: bool,
    /// Only print the settings as TOML
    #[arg(long, conflicts_with = "check")]
    pub convert: bool,
    /// Wait for a listen address that is in use until it is free, instead of failing
    #[arg(long)]
    pub wait_bind: bool,
    /// Take the listening sockets from the forwarder that runs with the same control socket, which then drains
    #[arg(long)]
    pub take_over: bool,
    /// The control socket; for the subcommands /run/waypost-forward.sock where nothing is said
    #[arg(long, value_name = "FILE", global = true, env = "WAYPOST_FORWARD_CONTROL")]
    pub control: Option<PathBuf>,
    /// Where the server that leads it has its API; with --token-file
    #[arg(long, value_name = "URL", value_parser = Authority::url, requires = "token_file")]
    pub authority: Option<String>,
    /// The file with the token that `waypost forwarder add` printed
    #[arg(long, value_name = "FILE", requires = "authority")]
    pub token_file: Option<PathBuf>,
    /// Certificates (PEM) that the authority's own may be signed by; left out: those that the system trusts
    #[arg(long, value_name = "FILE", requires = "authority")]
    pub authority_ca: Option<PathBuf>,
    /// What it is called there; left out: the host's name
    #[arg(long, value_name = "NAME", value_parser = Authority::name, requires = "authority")]
    pub name: Option<String>,
    /// What a running forwarder is asked or told
    #[command(subcommand)]
    pub action: Option<Action>,
}

const EXAMPLES: &str = "\
Examples:
  waypost forward --config /etc/rinetd.conf --control /run/waypost-forward.sock
  waypost forward --config /etc/rinetd.conf --convert > forward.toml
  waypost forward status                             rules, targets, who still comes
  waypost forward hold --secs 10 --rate 200          while a database moves; Ctrl-C releases
  waypost forward ladder refuse-part 5 60            5 % of new connections for a minute
  waypost forward ladder forward                     takes it back";

/// The examples, and the keys of a TOML file.
fn long_help() -> String {
    format!("{EXAMPLES}\n\nA TOML file (each value shown is the default, or an example):\n\n{}", toml::KEYS.trim_end())
}

/// Where the subcommands ask.
const CONTROL: &str = "/run/waypost-forward.sock";

/// Runs the subcommand to its end.
pub fn main(args: &ForwardArgs) -> ExitCode {
    if let Some(action) = &args.action {
        return asked(args, action.clone());
    }
    let settings = match read(args) {
        Ok(settings) => settings,
        Err(mistakes) => {
            tell(&mistakes);
            return ExitCode::from(2);
        }
    };
    tell(&settings.warnings);
    let result = if args.check {
        writeln!(io::stdout(), "{}: no mistakes, rules: {}", args.config.display(), settings.rules.len())
            .map_err(anyhow::Error::from)
    } else if args.convert {
        io::stdout().write_all(toml::write(&settings).as_bytes()).map_err(anyhow::Error::from)
    } else {
        run(args, settings)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; the exit code says it as well.
            let _ = writeln!(io::stderr(), "waypost forward: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

fn asked(args: &ForwardArgs, action: Action) -> ExitCode {
    let control = args.control.as_deref().unwrap_or(Path::new(CONTROL));
    let done = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| Ok(runtime.block_on(ask::run(control, action))?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "waypost forward: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, but for those that it tells itself.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn read(args: &ForwardArgs) -> Result<Settings, Vec<Mistake>> {
    let mut settings = load(&args.config)?;
    settings.wait_bind |= args.wait_bind;
    if let Some(control) = &args.control {
        settings.control = Some(control.clone());
    }
    if let (Some(url), Some(token_file)) = (&args.authority, &args.token_file) {
        let name = args.name.clone().map_or_else(Authority::host_name, Ok);
        let name = name.map_err(|told| vec![Mistake::of_file(&args.config, told)])?;
        let (url, token_file, ca) = (url.clone(), token_file.clone(), args.authority_ca.clone());
        settings.authority = Some(Authority { url, name, token_file, ca });
    }
    Ok(settings)
}

fn tell(mistakes: &[Mistake]) {
    for mistake in mistakes {
        let _ = writeln!(io::stderr(), "{mistake}");
    }
}

fn run(args: &ForwardArgs, settings: Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("WAYPOST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Already set where the forwarder runs within a larger program.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
    raise_descriptor_limit();
    runtime()?.block_on(serve(args, settings))
}

/// One thread where there is one core: nothing to be handed over between threads is the cheapest.
fn runtime() -> io::Result<Runtime> {
    let one_core = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut builder = if one_core { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.thread_name("forward").enable_all().build()
}

/// Each connection takes two descriptors; the usual soft limit of 1,024 is for programs that use select(2).
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

async fn serve(args: &ForwardArgs, settings: Settings) -> anyhow::Result<()> {
    let mut ends = Ends { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
    let mut hangup = signal(SignalKind::hangup())?;
    let mut forwarder = if args.take_over { Forwarder::take_over(settings) } else { Forwarder::start(settings) }?;
    // Whoever started us may not be systemd.
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]);
    // Reading may wait for the resolver; a signal to end is not kept waiting by it.
    let mut reading: Option<JoinHandle<Result<Settings, Vec<Mistake>>>> = None;
    loop {
        tokio::select! {
            () = ends.next() => break,
            () = forwarder.handed_over() => break,
            Some(()) = hangup.recv() => {
                forwarder.reopen_log();
                let args = args.clone();
                reading = Some(tokio::task::spawn_blocking(move || read(&args)));
            }
            read = async { reading.as_mut().expect("the branch is on only if there is one").await },
                if reading.is_some() =>
            {
                reading = None;
                reload(&mut forwarder, read?);
            }
        }
    }
    forwarder.drain(ends.next()).await;
    Ok(())
}

fn reload(forwarder: &mut Forwarder, read: Result<Settings, Vec<Mistake>>) {
    let refused = match read {
        Ok(settings) => {
            tell(&settings.warnings);
            forwarder.reload(settings).map_err(|e| e.to_string())
        }
        Err(mistakes) => {
            tell(&mistakes);
            forwarder.reload_refused();
            Err(format!("mistakes in the file: {}", mistakes.len()))
        }
    };
    match refused {
        Ok(()) => tracing::info!("the new settings are in force"),
        Err(reason) => tracing::error!(%reason, "the new settings are refused, the old ones stay in force"),
    }
}

/// The signals that ask for the end.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
