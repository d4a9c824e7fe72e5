//! The text of one file, the places in it, and what was found wrong so far.
//!
//! Offsets are octets into the text, as the TOML reader gives them. Nothing here knows what the file is about.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Place, Severity};

/// One file while it is read.
pub(super) struct Source<'t> {
    file: PathBuf,
    text: &'t str,
    /// The offset at which each line begins.
    line_starts: Vec<usize>,
    /// Where the text is not TOML: values, or whole lines.
    damaged: Vec<Range<usize>>,
    /// Whether more than single values are damaged, so that any part of the file may be missing.
    torn: bool,
    /// By where they begin; `None` is about the file as a whole.
    found: Vec<(Option<usize>, Diagnostic)>,
}

impl<'t> Source<'t> {
    /// A file of which nothing is known yet.
    pub(super) fn new(file: &Path, text: &'t str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.to_owned(), text, line_starts, damaged: Vec::new(), torn: false, found: Vec::new() }
    }

    /// The text of the file.
    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    /// Tells a mistake.
    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>) -> Told<'_> {
        self.tell(Severity::Error, Some(span), message.into())
    }

    /// Tells that something is not in the file. Kept back when the text is not TOML beyond single values, as it may stand
    /// in the part that could not be read.
    pub(super) fn absence(&mut self, span: Range<usize>, message: impl Into<String>) -> Told<'_> {
        if self.torn { Told(None) } else { self.error(span, message) }
    }

    /// Tells a doubt. Kept back too when the text is not TOML throughout.
    pub(super) fn warning(&mut self, span: Option<Range<usize>>, message: impl Into<String>) -> Told<'_> {
        if self.damaged.is_empty() { self.tell(Severity::Warning, span, message.into()) } else { Told(None) }
    }

    /// Tells that the text is not TOML at `span`, which lies within a value (with whether that is a single one), or else
    /// spoils its line. Of each of these it is told once, since one slip makes the reader stumble often.
    pub(super) fn not_toml(&mut self, span: Range<usize>, within: Option<(Range<usize>, bool)>, reason: &str) {
        self.error(span.clone(), format!("this is not TOML: {reason}"));
        let (spoiled, single) = within.unwrap_or_else(|| {
            let line = self.line_at(span.start);
            let next = self.line_starts.get(line + 1).map_or(usize::MAX, |next| *next);
            (self.line_starts[line]..next, false)
        });
        self.damaged.push(spoiled);
        self.torn |= !single;
    }

    fn tell(&mut self, severity: Severity, span: Option<Range<usize>>, message: String) -> Told<'_> {
        let start = span.as_ref().map(|s| s.start);
        if start.is_some_and(|at| self.damaged.iter().any(|d| d.contains(&at))) {
            return Told(None); // what the reader guessed there is no ground for a complaint
        }
        let place = span.map(|s| self.place(s));
        self.found.push((start, Diagnostic { severity, message, file: self.file.clone(), place, help: None }));
        Told(self.found.last_mut().map(|(_, d)| d))
    }

    /// The part of `span` on its first line.
    pub(super) fn place(&self, span: Range<usize>) -> Place {
        let line = self.line_at(span.start);
        let begin = self.line_starts[line];
        let end = self.line_starts.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let source = self.text[begin..end].trim_end_matches('\r');
        let within = |at: usize| source.floor_char_boundary(at.saturating_sub(begin));
        let (from, to) = (within(span.start), within(span.end));
        Place {
            line: line + 1,
            column: source[..from].chars().count() + 1,
            length: source[from..to.max(from)].chars().count().max(1),
            source: source.to_owned(),
        }
    }

    /// The number, from 1, of the line with the octet at `offset`.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_at(offset) + 1
    }

    fn line_at(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset) - 1 // the first line begins at 0
    }

    /// What was found in another file that this one names at `span`.
    pub(super) fn also(&mut self, span: &Range<usize>, found: Vec<Diagnostic>) {
        self.found.extend(found.into_iter().map(|diagnostic| (Some(span.start), diagnostic)));
    }

    /// What was found, from top to bottom.
    pub(super) fn into_found(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|(at, _)| *at);
        self.found.into_iter().map(|(_, d)| d).collect()
    }
}

/// What was just told, for a word of help; nothing when it was kept back.
pub(super) struct Told<'s>(Option<&'s mut Diagnostic>);

impl Told<'_> {
    /// Says what would be right.
    pub(super) fn help(self, help: impl Into<String>) {
        if let Some(diagnostic) = self.0 {
            diagnostic.help = Some(help.into());
        }
    }

    /// What was written is a secret: excerpts show only how long it is.
    pub(super) fn secret(self) {
        if let Some(place) = self.0.and_then(|diagnostic| diagnostic.place.as_mut()) {
            let within = place.column - 1..place.column - 1 + place.length;
            let hide = |(at, c)| if within.contains(&at) { '*' } else { c };
            place.source = place.source.chars().enumerate().map(hide).collect();
        }
    }

    /// Says what would be right, if that is known.
    pub(super) fn maybe_help(self, help: Option<String>) {
        if let Some(help) = help {
            self.help(help);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_and_stay_on_one_line() {
        let source = Source::new(Path::new("f"), "eins\r\nzwölf = \"x\ny\"\n");
        let place = |span| {
            let p = source.place(span);
            (p.line, p.column, p.length, p.source)
        };
        assert_eq!(place(0..4), (1, 1, 4, "eins".to_owned()));
        assert_eq!(place(15..20), (2, 9, 2, "zwölf = \"x".to_owned()));
        assert_eq!(place(4..4), (1, 5, 1, "eins".to_owned()));
        assert_eq!(place(21..99), (4, 1, 1, String::new()));
    }
}
