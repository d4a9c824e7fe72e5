//! Waypost: an authoritative DNS server that moves live traffic from one site to another, and the TCP forwarder that
//! brings the stragglers along. `docs/design.md` says what its words mean and how it behaves; this is the map of the code.
//!
//! Data runs one way, each module imports only what stands above it:
//!
//! | module | what it is for |
//! |---|---|
//! | [`time`] | instants in UTC seconds, durations as written |
//! | [`background`] | work that must not delay answers, on a thread that gives way |
//! | [`diagnostic`] | what is wrong with a file that somebody wrote, and where |
//! | [`pairing`] | what a forwarder and its authority say to each other: plain data for `control` and `forward` |
//! | [`tls`] | TLS as a client that looks closely: whom it trusts |
//! | [`dns`] | names, types, TTLs, messages on the wire; the one place that meets the DNS library's types |
//! | [`zone`] | contents, master files, the compiled zone and its look-up (RFC 1034, 4.3.2) |
//! | [`steering`] | share table, health, selection, TTL, horizon: decisions without clock, draw or I/O of their own |
//! | [`query`] | one response, stage by stage, from one immutable snapshot |
//! | [`server`] | sockets of the data plane: UDP workers, TCP |
//! | [`probe`] | health checks; they only report |
//! | [`store`] | durable state |
//! | [`webhook`] | people and programs are told what happened, by HTTP |
//! | [`control`] | the one writer: commands, observations and ticks in, a new snapshot out |
//! | [`secondary`] | zones that are transferred from primaries: when to ask, and what comes |
//! | [`api`] | HTTP face of `control` |
//! | [`forward`] | the TCP forwarder; stands alone, but for those words |
//! | [`config`] | the files as written -> checked settings of the parts |
//! | [`cli`] | one file per subcommand |
//! | [`run`] | builds the parts from checked settings, joins them, waits for the end |
//!
//! [`query`] and [`control`] meet in one value, the [`query::Snapshot`]: `control` publishes it, the workers of [`server`]
//! read it. No part knows the configuration file: each owns a plain settings struct that `config` fills.

pub mod api;
pub mod background;
pub mod cli;
pub mod config;
pub mod control;
pub mod diagnostic;
pub mod dns;
pub mod forward;
pub mod pairing;
pub mod probe;
pub mod query;
pub mod run;
pub mod secondary;
pub mod server;
pub mod steering;
pub mod store;
pub mod time;
pub mod tls;
pub mod webhook;
pub mod zone;
