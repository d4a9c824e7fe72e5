//! The TCP forwarder: rules, access, relay, stragglers. It stands alone: nothing else of the crate is imported here.

pub mod access;
pub mod load;
pub mod mistake;
pub mod names;
pub mod outcome;
pub mod proxy;
pub mod rinetd;
pub mod settings;
pub mod toml;
