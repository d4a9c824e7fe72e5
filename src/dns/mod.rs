//! DNS as data: names, types, TTLs, RDATA and messages on the wire.
//!
//! [`Name`], the wire codec and the text forms of RDATA are ours: the answer path may not allocate, and a master file may
//! hold what hickory-proto can't read. That is met in [`rtype`] and in tests only. No I/O here.

pub mod message;
pub mod name;
pub mod rdata;
pub mod rtype;
pub mod tsig;
pub mod ttl;
pub mod wire;

pub use name::{Name, NameError};
pub use rtype::Rtype;
pub use ttl::Ttl;
