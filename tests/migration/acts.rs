//! What the play tells of itself: its acts with their times.

use std::io::Write;
use std::time::Duration;

use super::wait::{Ms, now_ms};

/// The acts so far, with their times.
pub struct Acts {
    began: Ms,
    last: Ms,
    lines: Vec<String>,
}

impl Acts {
    /// They begin now.
    pub fn new() -> Self {
        Self { began: now_ms(), last: now_ms(), lines: Vec::new() }
    }

    /// The act that ended just now.
    pub fn next(&mut self, act: &str, what: String) {
        let now = now_ms();
        let [from, took] = [self.last - self.began, now - self.last].map(|t| t as f64 / 1000.0);
        self.lines.push(format!("{from:7.1} s  {took:5.1} s  {act:<10} {what}"));
        self.last = now;
    }

    /// From the beginning to the end of the last one.
    pub fn total(&self) -> Duration {
        Duration::from_millis(self.last - self.began)
    }

    /// To be read by people.
    pub fn table(&self) -> String {
        format!("\n    from   took  act\n{}\n", self.lines.join("\n"))
    }
}

/// What there was of it, when the play breaks off.
impl Drop for Acts {
    fn drop(&mut self) {
        if std::thread::panicking() {
            _ = writeln!(std::io::stderr(), "{}", self.table());
        }
    }
}
