//! The log: one line per event that an operator needs, to stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Begins to log. The filter in the environment's `WAYPOST_LOG` goes before the configuration's.
pub(super) fn begin(settings: &LogSettings) {
    // hickory-server tells each answer at info, and connections closed as they should be at warn; whoever wants that says so.
    let filter = EnvFilter::try_from_env("WAYPOST_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("hickory_server=error,{}", settings.level)));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber is refused: the first one goes on, which only a program with two servers in it could see.
    _ = match settings.format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
