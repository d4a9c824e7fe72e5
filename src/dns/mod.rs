//! DNS as data: names, types, TTLs, RDATA and messages on the wire.
//!
//! [`Name`] and the wire codec are ours, since the answer path may not allocate; text forms of RDATA come from
//! hickory-proto ([`rdata`]), which is met nowhere else. No I/O here.

pub mod name;
pub mod rdata;
pub mod rtype;
pub mod ttl;
pub mod wire;

pub use name::{Name, NameError};
pub use rtype::Rtype;
pub use ttl::Ttl;
