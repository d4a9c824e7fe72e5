//! Random numbers of a worker.

/// Draws for the policies that want them: splitmix64 from a random start; not for secrets.
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new() -> Self {
        // Without randomness from the system, the start is the same for all: the draws are still uniform.
        Self(getrandom::u64().unwrap_or(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
