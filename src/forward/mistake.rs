//! What is wrong in a file of settings: one sentence, the place, the line as written.

use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake in a file of settings, or one doubt about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// Where in it; `None` when it is about the file as a whole.
    pub place: Option<Place>,
    /// One sentence that quotes what was written.
    pub message: String,
}

/// A passage of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// Characters of the passage, at least 1.
    pub length: usize,
    /// The whole line as written.
    pub source: String,
}

impl Mistake {
    /// A mistake about the file as a whole.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: None, message: message.into() }
    }
}

/// `FILE:LINE:COLUMN: MESSAGE`, below it the line with the passage marked.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = &self.place else {
            return write!(f, "{}: {}", self.file.display(), self.message);
        };
        writeln!(f, "{}:{}:{}: {}", self.file.display(), place.line, place.column, self.message)?;
        // A tab stays a tab below itself, so that the mark stands under the passage.
        let indent: String =
            place.source.chars().take(place.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(f, "    {}", place.source)?;
        write!(f, "    {indent}{}", "^".repeat(place.length))
    }
}

impl Place {
    /// The passage `span` (in octets) of `text`, cut off at the end of its first line.
    pub fn of_span(text: &str, span: std::ops::Range<usize>) -> Self {
        let start = floor_char(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor_char(text, span.end.clamp(start, line_end));
        Self {
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            length: text[start..end].trim_end_matches('\r').chars().count().max(1),
            source: text[line_start..line_end].trim_end_matches('\r').to_owned(),
        }
    }
}

/// The last character boundary at or before `at`.
fn floor_char(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_marks_its_passage() {
        let text = "first\n\tlisten = \"äh\"\nlast";
        let at = text.find("\"äh\"").unwrap();
        let place = Place::of_span(text, at..at + "\"äh\"".len());
        let mistake = Mistake { file: "f.toml".into(), place: Some(place), message: "no address".into() };
        assert_eq!(mistake.to_string(), "f.toml:2:11: no address\n    \tlisten = \"äh\"\n    \t         ^^^^");
    }

    #[test]
    fn a_span_never_leaves_its_line() {
        assert_eq!(Place::of_span("ab\ncd", 1..5).length, 1);
        let end = Place::of_span("ab", 2..2);
        assert_eq!((end.line, end.column, end.length), (1, 3, 1));
    }
}
