//! Calls to the kernel that have no safe wrapper. The one module with `unsafe`; the rest of the crate denies it.
#![allow(
    unsafe_code,
    reason = "each block says why it is sound; what these files show to the rest of the crate is safe"
)]

pub(super) mod clock;
pub mod memory;
pub(super) mod mmsg;
pub(super) mod priority;
pub(super) mod xdp;
