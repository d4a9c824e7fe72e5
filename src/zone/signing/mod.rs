//! Signing (RFC 4033 to 4035, 5155): keys, signatures, proofs of absence, and how keys follow each other.
//!
//! [`zone::sign`] takes a zone as served and a change of it, and gives the whole difference with signatures; it is where the
//! rest comes together. [`rollover`] says what keys do when. Nothing here has a clock or a draw of its own, and only [`keyring`]
//! touches files.

pub mod import;
pub mod keyring;
pub mod keys;
pub mod nsec;
pub mod nsec3;
pub mod online;
pub mod policy;
pub mod rollover;
pub mod sign;
pub mod zone;
