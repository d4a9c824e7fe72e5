//! The TCP forwarder: a drop-in for rinetd that passes the client's address on and knows who still comes.
//!
//! It stands alone: nothing else of the crate is imported here, and it has its own settings and errors. Data runs one
//! way, each file uses only what stands above it:
//!
//! | file | what it is for |
//! |---|---|
//! | [`mistake`] | what is wrong in a file of settings, and where |
//! | [`access`] | who may connect; a pure function in rinetd's order |
//! | [`settings`] | what the forwarder is set to do, checked |
//! | [`names`] | hosts, ports and services as written |
//! | [`rinetd`], [`toml`] | the two formats of settings; [`load`] tells them apart |
//! | [`proxy`] | the PROXY protocol's header |
//! | [`outcome`] | what became of a connection |
//! | [`counts`] | totals and stragglers, `page` shows them over HTTP |
//! | `log` | rinetd's log of connections, off the relay's path |
//! | `pipe`, `pump`, `relay` | bytes from socket to socket: pooled pipes, one direction, both directions |
//! | `engine` | many relays at once, each a place in a table |
//! | `connection` | the life of one connection |
//! | `listener` | one listen address and the connections that came in by it |
//! | [`life`] | the whole: start, reload, drain |
//! | [`cli`] | the subcommand: arguments, signals, exit codes |

pub mod access;
pub mod cli;
mod connection;
pub mod counts;
mod engine;
pub mod life;
mod listener;
pub mod load;
mod log;
pub mod mistake;
pub mod names;
pub mod outcome;
mod page;
mod pipe;
pub mod proxy;
mod pump;
mod relay;
pub mod rinetd;
pub mod settings;
mod throttle;
pub mod toml;

pub use cli::{ForwardArgs, main};
pub use life::{ForwardError, Forwarder};
pub use load::load;
pub use settings::Settings;
