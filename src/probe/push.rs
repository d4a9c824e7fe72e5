//! The `push` probe: nothing is asked, values come by the API, each with the time for which it holds.

/// What comes of a value whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// It counts as down. Else health stays as it was, which is warned of.
    pub down_when_expired: bool,
}
