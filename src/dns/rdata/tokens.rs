//! The tokens of one RDATA, in the hands of whoever reads a field.

use std::str::FromStr;

use super::{RdataFault, Token};

/// The tokens of one RDATA, taken one after the other.
pub(super) struct Tokens<'t> {
    all: &'t [Token<'t>],
    taken: usize,
}

impl<'t> Tokens<'t> {
    pub(super) fn new(all: &'t [Token<'t>]) -> Self {
        Self { all, taken: 0 }
    }

    pub(super) fn next(&mut self) -> Option<Token<'t>> {
        let token = self.all.get(self.taken).copied();
        self.taken += token.is_some() as usize;
        token
    }

    /// The next token, if it stands right behind the last one and in quotes.
    pub(super) fn next_glued_string(&mut self) -> Option<Token<'t>> {
        let token = self.all.get(self.taken).filter(|t| t.glued && t.quoted).copied();
        self.taken += token.is_some() as usize;
        token
    }

    pub(super) fn need(&mut self, what: &'static str) -> Result<Token<'t>, RdataFault> {
        self.next().ok_or(RdataFault::Missing { what })
    }

    pub(super) fn number<N: FromStr>(&mut self, what: &'static str) -> Result<N, RdataFault> {
        let token = self.need(what)?;
        let wanted = match size_of::<N>() {
            1 => "a number up to 255",
            2 => "a number up to 65535",
            _ => "a number up to 4294967295",
        };
        decimal(&token).ok_or_else(|| invalid(what, &token, wanted))
    }

    /// The texts of all tokens that are left.
    pub(super) fn rest(&mut self) -> impl Iterator<Item = &'t [u8]> {
        let rest = &self.all[self.taken..];
        self.taken = self.all.len();
        rest.iter().map(|t| t.text)
    }

    /// Takes the `\#` that RFC 3597 puts before octets.
    pub(super) fn take_generic_mark(&mut self) -> bool {
        let found = self.all.first().is_some_and(|t| !t.quoted && t.text == b"\\#");
        self.taken += found as usize;
        found
    }

    pub(super) fn position(&self) -> usize {
        self.taken
    }

    /// The index of the token taken last.
    pub(super) fn last_taken(&self) -> Option<usize> {
        self.taken.checked_sub(1)
    }

    /// The tokens from index `start` up to the last one taken, for a message.
    pub(super) fn shown_from(&self, start: usize) -> String {
        self.all[start..self.taken].iter().map(Token::shown).collect::<Vec<_>>().join(" ")
    }
}

/// A number in digits alone.
pub(super) fn decimal<N: FromStr>(token: &Token<'_>) -> Option<N> {
    let text = std::str::from_utf8(token.text).ok()?;
    if text.starts_with('+') { None } else { text.parse().ok() }
}

/// The fault of a token that is no `what`.
pub(super) fn invalid(what: &'static str, token: &Token<'_>, wanted: &'static str) -> RdataFault {
    RdataFault::Invalid { what, text: token.shown().into_owned(), wanted }
}
