//! The TCP forwarder: a drop-in for rinetd that passes the client's address on and knows who still comes.
//!
//! It stands alone: of the crate only [`pairing`](crate::pairing), the words that it speaks with an authority, is imported
//! here, and it has its own settings and errors. Data runs one way, each file uses only what stands above it:
//!
//! | file | what it is for |
//! |---|---|
//! | [`mistake`] | what is wrong in a file of settings, and where |
//! | [`access`] | who may connect; a pure function in rinetd's order |
//! | [`settings`] | what the forwarder is set to do, checked |
//! | `span`, [`names`], [`circle`] | parts of lines; hosts, ports and services as written; rules that lead back to themselves |
//! | [`rinetd`], [`toml`] | the two formats of settings; [`load()`] tells them apart |
//! | [`proxy`] | the PROXY protocol's header, written and read |
//! | [`peek`] | the host that a client wants, from its first octets |
//! | [`balance`], [`ladder`], [`hold`] | which target; how firmly stragglers are nudged; holding and letting go |
//! | [`outcome`] | what became of a connection |
//! | `sketch`, `source`, [`counts`] | totals and stragglers, `page` shows them over HTTP |
//! | `log` | rinetd's log of connections, off the relay's path |
//! | `pipe`, `pump`, `relay` | bytes from socket to socket: pooled pipes, one direction, both directions |
//! | `resolve`, `connect` | addresses of names; reaching a target |
//! | `connection` | the life of one connection up to its relay |
//! | `door`, `inbox`, `engine` | accepting, and what can be done at once; threads with many connections, each a place in a table |
//! | `entrance`, `udp` | datagrams: to which address they came, and who sent them |
//! | `listener` | one listen address and the connections that came in by it |
//! | `classes`, `memory`, `orders` | classes of sources; what outlives a restart; what rules are told while they run |
//! | [`control`], `handover` | what is asked and told while it runs; sockets for a successor |
//! | `link` | the authority: its stream, and what it is told |
//! | [`life`] | the whole: start, reload, drain |
//! | [`ask`], [`cli`] | the subcommand: arguments, signals, exit codes; asking one that runs |

pub mod access;
pub mod ask;
pub mod balance;
pub mod circle;
mod classes;
pub mod cli;
mod connect;
mod connection;
pub mod control;
pub mod counts;
mod door;
mod engine;
mod entrance;
mod handover;
pub mod hold;
mod inbox;
pub mod ladder;
pub mod life;
mod link;
mod listener;
pub mod load;
mod log;
mod memory;
pub mod mistake;
pub mod names;
mod orders;
pub mod outcome;
mod page;
pub mod peek;
mod pipe;
pub mod proxy;
mod pump;
mod relay;
mod resolve;
pub mod rinetd;
pub mod settings;
mod sketch;
mod source;
mod span;
mod throttle;
pub mod toml;
mod udp;

pub use cli::{ForwardArgs, main};
pub use life::{ForwardError, Forwarder};
pub use load::load;
pub use settings::Settings;
