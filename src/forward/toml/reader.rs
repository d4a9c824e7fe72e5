//! What every table of the file needs: values that are checked, mistakes that are gathered with their place.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::toml::Spanned;
use ::toml::de::Error;

use super::super::access::{Access, Pattern};
use super::super::mistake::{Mistake, Place};
use super::super::names::Lookup;

/// The file, and what was found wrong in it so far.
pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) file: &'a Path,
    pub(super) lookup: &'a Lookup<'a>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    pub(super) fn access(&mut self, allow: &[Spanned<String>], deny: &[Spanned<String>]) -> Access {
        let mut patterns = |written: &[Spanned<String>]| {
            let read = |text: &str| Pattern::parse(text).map_err(|e| format!("{text:?} is no pattern: {e}"));
            written.iter().filter_map(|w| self.checked(w, read)).collect()
        };
        Access { allow: patterns(allow), deny: patterns(deny) }
    }

    pub(super) fn path(&mut self, written: Option<Spanned<String>>) -> Option<PathBuf> {
        let read = |text: &str| if text.is_empty() { Err("a file name can't be empty") } else { Ok(text.into()) };
        written.and_then(|w| self.checked(&w, read))
    }

    pub(super) fn duration(&mut self, written: Option<Spanned<String>>) -> Option<Duration> {
        written.and_then(|w| self.checked(&w, duration))
    }

    pub(super) fn one_of<T: Copy>(&mut self, written: Option<Spanned<String>>, words: &[(&str, T)]) -> Option<T> {
        let read = |text: &str| {
            let known = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            known.ok_or_else(|| {
                let expected: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
                format!("{text:?} is not one of {}", expected.join(", "))
            })
        };
        written.and_then(|w| self.checked(&w, read))
    }

    /// What `read` makes of a value, or `None` with its mistake noted.
    pub(super) fn checked<T, E: ToString>(
        &mut self,
        written: &Spanned<String>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        read(written.get_ref()).map_err(|e| self.mistake(written.span(), e.to_string())).ok()
    }

    pub(super) fn refused(&mut self, error: &Error, otherwise: Range<usize>) {
        self.mistake(error.span().unwrap_or(otherwise), error.message().replace('\n', ", "));
    }

    pub(super) fn mistake(&mut self, span: Range<usize>, message: String) {
        let place = Some(Place::of_span(self.text, span));
        self.mistakes.push(Mistake { file: self.file.to_owned(), place, message });
    }
}

/// Reads a duration such as `"5s"`, `"1m 30s"` or `"72h"`: longer than nothing, at most ten years.
fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_hours(10 * 366 * 24);
    let read = text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    match read {
        Some(d) if !d.is_zero() && d <= LONGEST => Ok(d),
        Some(_) => Err(format!("{text:?} is out of range: expected more than nothing and at most ten years")),
        None => Err(format!("{text:?} is no duration: expected a number with a unit, such as \"5s\" or \"72h\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bounds() {
        assert_eq!(duration("72h"), Ok(Duration::from_hours(72)));
        for bad in ["", "5", "-5s", "0s", "99999h 99999999999h", "200000h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
