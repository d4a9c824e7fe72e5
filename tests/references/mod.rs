//! The servers that Waypost is compared with, the zones that all of them serve, and what of a response is compared.

#![allow(dead_code, reason = "each test takes what it needs")]

pub mod packets;
#[path = "../support/ports.rs"]
mod ports;
pub mod servers;
pub mod shape;
pub mod zones;
