//! What is wrong with a file that somebody wrote: one sentence, the place, an excerpt.

use std::fmt;
use std::path::PathBuf;

/// Whether it refuses the file or only warns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken; `check --strict` refuses it.
    Warning,
}

/// One mistake (or doubt) in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Refused or only doubted.
    pub severity: Severity,
    /// One sentence that quotes what was written.
    pub message: String,
    /// The file.
    pub file: PathBuf,
    /// Where in it; `None` when it is about the file as a whole.
    pub place: Option<Place>,
    /// What would be right, where that can be said.
    pub help: Option<String>,
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
    /// The whole line as written, for the excerpt.
    pub source: String,
}

impl Diagnostic {
    /// An error about a file as a whole.
    pub fn of_file(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), file: file.into(), place: None, help: None }
    }
}

/// `FILE:LINE:COLUMN: error: MESSAGE`, on one line, as compilers do and editors follow.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(p) = &self.place {
            write!(f, "{}:{}:", p.line, p.column)?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, " {severity}: {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}
