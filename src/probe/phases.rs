//! What a check goes through, one phase after the other, and how long each takes.

use std::time::Duration;

use tokio::time::Instant;

/// A phase that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// `connect`, `TLS`, `request`, `body`, ...
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub seen: String,
}

/// The phases of one check. A check that nobody watches keeps only the name of the phase it is in.
#[derive(Debug)]
pub(super) struct Phases {
    current: &'static str,
    began: Instant,
    done: Option<Vec<Phase>>,
}

impl Phases {
    /// Keeps none of them.
    pub(super) fn unwatched() -> Self {
        Self { current: "start", began: Instant::now(), done: None }
    }

    /// Keeps all of them.
    pub(super) fn watched() -> Self {
        Self { done: Some(Vec::new()), ..Self::unwatched() }
    }

    /// The next one begins.
    pub(super) fn begin(&mut self, name: &'static str) {
        self.current = name;
        self.began = Instant::now();
    }

    /// The current one is over.
    pub(super) fn end(&mut self, seen: impl FnOnce() -> String) {
        if let Some(done) = &mut self.done {
            done.push(Phase { name: self.current, took: self.began.elapsed(), seen: seen() });
        }
    }

    /// The one that it is in.
    pub(super) fn current(&self) -> &'static str {
        self.current
    }

    /// Those that are over.
    pub(super) fn into_done(self) -> Vec<Phase> {
        self.done.unwrap_or_default()
    }
}
