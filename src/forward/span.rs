//! Parts of a line that know where they stand in the file, so that a mistake can be shown there.

use std::ops::Range;

/// A part of one line, and where it starts in the file (in octets).
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) start: usize,
    pub(super) text: &'a str,
}

impl<'a> Span<'a> {
    pub(super) fn new(start: usize, text: &'a str) -> Self {
        Self { start, text }
    }

    pub(super) fn end(self) -> usize {
        self.start + self.text.len()
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start..self.end()
    }

    pub(super) fn trim(self) -> Self {
        let text = self.text.trim_start();
        Self { start: self.end() - text.len(), text: text.trim_end() }
    }

    /// The last `length` octets.
    pub(super) fn last(self, length: usize) -> Self {
        let skipped = self.text.len() - length;
        Self { start: self.start + skipped, text: &self.text[skipped..] }
    }

    pub(super) fn before_comment(self) -> Self {
        Self { text: self.text.split('#').next().unwrap_or_default(), ..self }
    }

    /// Takes off the next word, which ends at a blank or (not as its first character) at one of `stops`. `None` when
    /// nothing but a comment is left and `#` is a stop, or when nothing is left.
    pub(super) fn word(&mut self, stops: &[char]) -> Option<Self> {
        let from = self.trim();
        if from.text.is_empty() || stops.contains(&'#') && from.text.starts_with('#') {
            return None;
        }
        let ends = |(at, c): (usize, char)| (c.is_whitespace() || at > 0 && stops.contains(&c)).then_some(at);
        let length = from.text.char_indices().find_map(ends).unwrap_or(from.text.len());
        *self = from.last(from.text.len() - length);
        Some(Self { text: &from.text[..length], ..from })
    }
}
