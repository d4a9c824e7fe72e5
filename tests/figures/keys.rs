//! Client keys, and weights as tables.

use std::net::Ipv4Addr;

use waypost::steering::key::{ClientKey, Salt, point};
use waypost::steering::pool::Weight;
use waypost::steering::share::ShareTable;

/// As many keys as the figures are promised for.
pub const KEYS: u32 = 1_000_000;

/// The client key of the `number`th /24.
pub fn key(number: u32) -> ClientKey {
    ClientKey::of_resolver(Ipv4Addr::from_bits((number + (1 << 16)) << 8).into())
}

/// Where all [`KEYS`] fall for one pool.
pub fn points() -> Vec<u64> {
    let salt = Salt::of("www.example.org");
    (0..KEYS).map(|number| point(&salt, &key(number))).collect()
}

pub fn weights(of: &[u32]) -> Vec<Weight> {
    of.iter().map(|&weight| Weight::new(weight).unwrap()).collect()
}

pub fn table(of: &[u32]) -> ShareTable {
    ShareTable::from_weights(&weights(of))
}
