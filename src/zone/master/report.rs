//! The mistakes and doubts found so far, and the files that they are in.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::zone::gathered::Spot;

/// How many are told, of errors and of warnings.
pub(super) const MOST_TOLD: usize = 100;

/// A file as read.
pub(super) struct Source {
    pub path: PathBuf,
    pub text: Arc<Vec<u8>>,
}

#[derive(Default)]
pub(super) struct Report {
    /// Something was to be told of a source that is not at hand: then no more than that is known.
    pub is_in_doubt: bool,
    pub sources: Vec<Source>,
    pub errors: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
}

impl Report {
    /// Whether more errors were found than are told: reading on is of no use.
    pub(super) fn is_full(&self) -> bool {
        self.errors.len() > MOST_TOLD
    }

    pub(super) fn error(&mut self, source: u32, span: Range<usize>, message: impl Into<String>) {
        self.tell(Severity::Error, source, Some(span), message.into(), None);
    }

    pub(super) fn warn(&mut self, source: u32, span: Range<usize>, message: impl Into<String>) {
        self.tell(Severity::Warning, source, Some(span), message.into(), None);
    }

    /// About the record at `spot`.
    pub(super) fn error_at(&mut self, spot: Spot, message: impl Into<String>) {
        self.tell(Severity::Error, spot.source, Some(self.line_from(spot)), message.into(), None);
    }

    /// About the record at `spot`, with what would be right, if that is known.
    pub(super) fn warn_at(&mut self, spot: Spot, message: impl Into<String>, help: Option<String>) {
        self.tell(Severity::Warning, spot.source, Some(self.line_from(spot)), message.into(), help);
    }

    /// About the zone as a whole.
    pub(super) fn error_of_zone(&mut self, message: impl Into<String>) {
        self.tell(Severity::Error, 0, None, message.into(), None);
    }

    fn tell(
        &mut self,
        severity: Severity,
        source: u32,
        span: Option<Range<usize>>,
        message: String,
        help: Option<String>,
    ) {
        let list = if severity == Severity::Error { &mut self.errors } else { &mut self.warnings };
        let Some(source) = self.sources.get(source as usize) else {
            self.is_in_doubt = true;
            return;
        };
        let told = |message, place, help| Diagnostic { severity, message, file: source.path.clone(), place, help };
        if list.len() < MOST_TOLD {
            list.push(told(message, span.map(|span| source.place(span)), help));
        } else if list.len() == MOST_TOLD {
            list.push(told(format!("there are more; the first {MOST_TOLD} are told"), None, None));
        }
    }

    /// The rest of the line from `spot` on.
    fn line_from(&self, spot: Spot) -> Range<usize> {
        let start = spot.start as usize;
        let rest = self.sources.get(spot.source as usize).map_or(&[][..], |source| &source.text[start..]);
        let line = rest.split(|&b| b == b'\n').next().unwrap_or(rest);
        start..start + line.trim_ascii_end().len()
    }
}

impl Source {
    fn place(&self, span: Range<usize>) -> Place {
        let before = &self.text[..span.start];
        let start = before.iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1);
        let end = self.text[start..].iter().position(|&b| b == b'\n').map_or(self.text.len(), |n| start + n);
        let characters = |octets: &[u8]| String::from_utf8_lossy(octets).chars().count();
        Place {
            line: before.split(|&b| b == b'\n').count(),
            column: characters(&before[start..]) + 1,
            length: characters(&self.text[span.start..span.end.clamp(span.start, end.max(span.start))]).max(1),
            source: String::from_utf8_lossy(self.text[start..end].trim_ascii_end()).into_owned(),
        }
    }
}
