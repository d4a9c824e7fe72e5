//! Files of lines that begin with address prefixes: words between blanks, `#` begins a comment. All mistakes are told, each
//! with its place.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use ipnet::IpNet;

use super::source::Source;
use crate::diagnostic::Diagnostic;

/// A word and its place.
#[derive(Clone)]
pub(super) struct Word<'t> {
    pub(super) text: &'t str,
    at: Range<usize>,
}

/// A line that has words.
pub(super) struct Line<'t, 'f> {
    /// At least one.
    pub(super) words: Vec<Word<'t>>,
    number: usize,
    /// The line of each prefix so far.
    seen: &'f RefCell<HashMap<IpNet, usize>>,
}

impl<'t> Line<'t, '_> {
    /// The prefix that `word` is; no prefix may be in the file twice.
    pub(super) fn prefix(&self, word: &Word<'t>) -> Result<IpNet, (Word<'t>, String)> {
        let net = network(word.text).map_err(|why| (word.clone(), why))?;
        match self.seen.borrow_mut().insert(net, self.number) {
            Some(line) => Err((word.clone(), format!("the prefix {net} is already written on line {line}"))),
            None => Ok(net),
        }
    }
}

/// Has each line of `text` taken by `take`, which gives the word that is wrong and why.
pub(super) fn read<'t>(
    file: &Path,
    text: &'t str,
    mut take: impl FnMut(&Line<'t, '_>) -> Result<(), (Word<'t>, String)>,
) -> Result<(), Vec<Diagnostic>> {
    let mut src = Source::new(file, text);
    let seen = RefCell::default();
    let mut begin = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let content = line.split('#').next().unwrap_or_default();
        let place = |word: &'t str| {
            let at = begin + (word.as_ptr() as usize - line.as_ptr() as usize);
            Word { text: word, at: at..at + word.len() }
        };
        let words: Vec<Word> = content.split_whitespace().map(place).collect();
        if !words.is_empty()
            && let Err((word, why)) = take(&Line { words, number, seen: &seen })
        {
            src.error(word.at, why);
        }
        begin += line.len();
    }
    let found = src.into_found();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// A prefix, or a single address. Bits beyond the length must be clear: who wrote some meant another prefix.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text
        .parse()
        .or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()))
        .map_err(|_| format!("{text:?} is no address prefix, such as 192.0.2.0/24 or 2001:db8::/32"))?;
    if net != net.trunc() {
        return Err(format!("{text:?} has bits beyond its length; {} has none", net.trunc()));
    }
    Ok(net)
}
