//! Health: up or down since when, by rise and fall thresholds.

/// How many equal observations in a row change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones until down becomes up, at least 1.
    pub rise: u32,
    /// Bad ones until up becomes down, at least 1.
    pub fall: u32,
}

/// The outcome of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It answered as it should.
    Up,
    /// It did not.
    Down,
}
