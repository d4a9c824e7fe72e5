//! Signing (RFC 4033 to 4035, 5155): keys, signatures, proofs of absence, and how keys follow each other.
//!
//! [`zone::sign`] takes a zone as served and a change of it, and gives the whole difference with signatures; it is where the
//! rest comes together. All of it is without clock, draw and files of its own.

pub mod keys;
pub mod nsec;
pub mod nsec3;
pub mod sign;
pub mod zone;
