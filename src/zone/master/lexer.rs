//! Cuts a master file into entries (a line, or several held together by parentheses) and those into tokens that borrow
//! from it. It knows nothing of records; after a mistake it goes on with the next line that can begin an entry.

use std::ops::Range;

use crate::dns::rdata::Token;

pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

/// One entry. The same value is filled again and again.
#[derive(Default)]
pub(super) struct Entry<'a> {
    /// Whether it begins with a blank, and so has no owner name of its own.
    pub blank: bool,
    pub tokens: Vec<Token<'a>>,
    /// Where each token stands in the file, quotes included.
    pub spans: Vec<Range<usize>>,
    /// A string that runs over lines outside of parentheses.
    pub long_string: Option<Range<usize>>,
}

/// An entry that could not be cut into tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LexError {
    pub span: Range<usize>,
    pub message: &'static str,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let at = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }; // a byte order mark, as some editors leave it
        Self { text, at }
    }

    /// Where the next entry begins, or a blank line before it.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Goes on where a line begins.
    pub(super) fn go_on_at(&mut self, at: usize) {
        self.at = at;
    }

    /// Fills `entry` with the next one that has tokens; `false` at the end.
    pub(super) fn next(&mut self, entry: &mut Entry<'a>) -> Result<bool, LexError> {
        entry.tokens.clear();
        entry.spans.clear();
        entry.long_string = None;
        entry.blank = self.at_blank();
        let mut open = Vec::new(); // where the parentheses are that wait for their end
        let mut glued = false;
        while let Some(&octet) = self.text.get(self.at) {
            let start = self.at;
            match octet {
                b'\n' => {
                    self.at += 1;
                    if open.is_empty() {
                        if !entry.tokens.is_empty() {
                            return Ok(true);
                        }
                        entry.blank = self.at_blank();
                    }
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                b';' => self.at = self.line_end(start),
                b'(' => {
                    open.push(start);
                    self.at += 1;
                }
                b')' => {
                    self.at += 1;
                    if open.pop().is_none() {
                        self.at = self.line_end(start);
                        return Err(LexError { span: start..start + 1, message: "no parenthesis is open here" });
                    }
                }
                b'"' => {
                    let Some(end) = self.string_end(start + 1) else {
                        self.at = self.line_end(start);
                        return Err(LexError { span: start..self.at, message: "this string has no end" });
                    };
                    let text = &self.text[start + 1..end];
                    if open.is_empty() && text.contains(&b'\n') {
                        entry.long_string = Some(start..end + 1);
                    }
                    self.at = end + 1;
                    entry.push(Token { text, quoted: true, glued }, start..end + 1);
                    glued = true;
                    continue;
                }
                _ => {
                    self.at = self.word_end(start);
                    entry.push(Token { text: &self.text[start..self.at], quoted: false, glued }, start..self.at);
                    glued = true;
                    continue;
                }
            }
            glued = false;
        }
        match open.first() {
            Some(&start) => {
                self.at = self.next_owner(start);
                Err(LexError { span: start..start + 1, message: "this parenthesis is never closed" })
            }
            None => Ok(!entry.tokens.is_empty()),
        }
    }

    fn at_blank(&self) -> bool {
        matches!(self.text.get(self.at), Some(b' ' | b'\t'))
    }

    fn line_end(&self, from: usize) -> usize {
        self.text[from..].iter().position(|&b| b == b'\n').map_or(self.text.len(), |n| from + n)
    }

    fn word_end(&self, from: usize) -> usize {
        let mut at = from;
        while let Some(&octet) = self.text.get(at) {
            match octet {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
                b'\\' if !matches!(self.text.get(at + 1), None | Some(b'\n' | b'\r')) => at += 2,
                _ => at += 1,
            }
        }
        at
    }

    /// Where the quote is that ends the string whose text begins at `from`. A string may run over lines; but one that then
    /// ends in the middle of a word is taken for two, of which the first lacks its end.
    fn string_end(&self, from: usize) -> Option<usize> {
        let (mut at, mut lines) = (from, false);
        loop {
            match self.text.get(at)? {
                b'"' => break,
                b'\\' => at += 2,
                octet => {
                    lines |= *octet == b'\n';
                    at += 1;
                }
            }
        }
        let whole = matches!(self.text.get(at + 1), None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')'));
        (whole || !lines).then_some(at)
    }

    /// Where, behind `from`, a line begins with a name or directive.
    fn next_owner(&self, from: usize) -> usize {
        let mut at = self.line_end(from);
        while at < self.text.len() {
            at += 1;
            if !matches!(self.text.get(at), None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')')) {
                break;
            }
            at = self.line_end(at.min(self.text.len()));
        }
        at.min(self.text.len())
    }
}

impl<'a> Entry<'a> {
    fn push(&mut self, token: Token<'a>, span: Range<usize>) {
        self.tokens.push(token);
        self.spans.push(span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Entries as text: `|` between tokens, `_` for a leading blank, `"` before a string, `~` before what is glued.
    fn entries(text: &str) -> Vec<String> {
        let (mut lexer, mut entry, mut all) = (Lexer::new(text.as_bytes()), Entry::default(), Vec::new());
        loop {
            match lexer.next(&mut entry) {
                Ok(false) => return all,
                Ok(true) => {
                    let shown = |t: &Token<'_>| {
                        format!("{}{}{}", if t.glued { "~" } else { "" }, if t.quoted { "\"" } else { "" }, t.shown())
                    };
                    let tokens: Vec<String> = entry.tokens.iter().map(shown).collect();
                    all.push(format!("{}{}", if entry.blank { "_" } else { "" }, tokens.join("|")));
                }
                Err(error) => all.push(format!("{}: {}", error.span.start, error.message)),
            }
        }
    }

    #[test]
    fn lines_and_groups() {
        assert_eq!(entries("a A 1 ; note\n\n ; only\n\tB 2\r\n"), ["a|A|1", "_B|2"]);
        assert_eq!(entries("a SOA ( 1 ; one\n 2\n(3)\n) 4\nb"), ["a|SOA|1|2|3|4", "b"]);
        assert_eq!(entries(r#"a "x ; (y) \" z"b k="v w""#), [r#"a|"x ; (y) \" z|~b|k=|~"v w"#]);
        assert_eq!(entries("a\\ b\\;c d\\"), ["a\\ b\\;c|d\\"]);
        assert_eq!(entries("\u{feff}a b"), ["a|b"]);
        assert_eq!(entries("a \"x\ny\" b\nc"), ["a|\"x\ny|b", "c"]);
        assert!(entries("").is_empty());
    }

    #[test]
    fn after_a_mistake_it_goes_on() {
        assert_eq!(entries("a ) b\nc"), ["2: no parenthesis is open here", "c"]);
        assert_eq!(entries("a \"b\nc \"d\"\n"), ["2: this string has no end", "c|\"d"]);
        assert_eq!(entries("a \"b\nc"), ["2: this string has no end", "c"]);
        assert_eq!(
            entries("a ( b\n 1\n 2\n)\nx (\n 3\nc d"),
            ["a|b|1|2", "16: this parenthesis is never closed", "c|d"]
        );
        assert_eq!(entries("a ("), ["2: this parenthesis is never closed"]);
    }

    proptest! {
        #[test]
        fn any_text_has_an_end(text in "[a \\n\"\\\\();$\\t]{0,60}") {
            entries(&text);
        }
    }
}
