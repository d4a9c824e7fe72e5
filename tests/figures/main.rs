//! The figures of `docs/steering.md`: each test prints one, and fails where it is worse than what is promised there.
//!
//! `make figures` prints them at full size. `cargo test` asserts the same bounds at the same size, but over fewer and shorter
//! nights.

mod countdown;
mod demand;
mod horizon;
mod keys;
mod shares;
mod world;

/// `full` in a release build, `reduced` in a debug build.
pub const fn size(full: usize, reduced: usize) -> usize {
    if cfg!(debug_assertions) { reduced } else { full }
}

/// Numbers that look random and are the same in every run (SplitMix64).
pub struct Draws(u64);

impl Draws {
    /// Others for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// Uniform over `u64`.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform over `0..below`.
    pub fn below(&mut self, below: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(below)) >> 64) as u64
    }

    /// Uniform over `0.0..1.0`.
    pub fn part(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }
}
