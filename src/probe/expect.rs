//! What a body or an answer must say.

use std::fmt;
use std::hash::{Hash, Hasher};

use regex::bytes::Regex;

use super::failure::Failure;

/// So many octets of what was seen instead are told.
const TOLD_OCTETS: usize = 60;

/// What octets must say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// This text, anywhere.
    Text(String),
    /// Something that this expression matches, anywhere.
    Pattern(Pattern),
}

impl Expect {
    /// Looks for it in `seen`, which is `what`.
    pub(super) fn check(&self, what: &'static str, seen: &[u8]) -> Result<(), Failure> {
        if self.is_in(seen) {
            return Ok(());
        }
        let expected = match self {
            Self::Text(text) => format!("contain {text:?}"),
            Self::Pattern(pattern) => format!("match {:?}", pattern.0.as_str()),
        };
        let begins = String::from_utf8_lossy(&seen[..seen.len().min(TOLD_OCTETS)]).into_owned();
        Err(Failure::Content { what, expected, begins })
    }

    /// Whether it is in `seen`.
    pub(super) fn is_in(&self, seen: &[u8]) -> bool {
        match self {
            Self::Text(text) => text.is_empty() || seen.windows(text.len()).any(|window| window == text.as_bytes()),
            Self::Pattern(pattern) => pattern.0.is_match(seen),
        }
    }
}

impl fmt::Display for Expect {
    /// `"text"` or `/pattern/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Pattern(pattern) => write!(f, "{pattern:?}"),
        }
    }
}

/// A regular expression, compiled. Equal when it is written the same.
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles it; it runs in linear time, whatever it is matched with.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        Regex::new(text).map(Self)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_what_is_there() {
        let text = Expect::Text("ok".to_owned());
        assert!(text.check("body", b"all is ok").is_ok());
        let told = text.check("body", b"maintenance").unwrap_err().to_string();
        assert_eq!(told, "body does not contain \"ok\"; it begins with \"maintenance\"");
        let pattern = Expect::Pattern(Pattern::new("^(?i)status: *ok$").unwrap());
        assert!(pattern.is_in(b"Status:  OK"));
        assert!(!pattern.is_in(b"status: okay"));
        let told = pattern.check("answer", &[0xff; 99]).unwrap_err().to_string();
        assert!(told.starts_with("answer does not match \"^(?i)status: *ok$\"; it begins with "), "{told}");
    }
}
