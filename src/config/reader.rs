//! A TOML document read key by key: each wrong type, unknown key and missing key is told, and reading goes on.
//!
//! A [`Table`] is asked for its keys; at the end every key that nobody asked for is unknown, so the list of known keys
//! stands nowhere twice. A [`Value`] is read as one type or told to be another. `None` from a value always means that
//! the mistake was told already.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::{Source, Told};

/// A table and the keys it was asked for. Ask for all of them, then call [`Table::finish`], then judge the values.
pub(super) struct Table<'d> {
    /// `[server]`, `[[pool]]`, `the endpoint`; empty for the document itself.
    title: String,
    span: Range<usize>,
    entries: &'d DeTable<'d>,
    known: Vec<&'static str>,
}

impl<'d> Table<'d> {
    /// The document itself.
    pub(super) fn document(root: &'d Spanned<DeTable<'d>>) -> Self {
        Self { title: String::new(), span: root.span(), entries: root.get_ref(), known: Vec::new() }
    }

    /// Where its header is, or the whole of an inline table.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The value of `key`, if it has that key.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Value<'d>> {
        self.known.push(key);
        let value = self.entries.get(key)?;
        Some(Value { key, span: value.span(), what: value.get_ref() })
    }

    /// Takes `key` as known, whatever stands there.
    pub(super) fn know(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// The value of `key`, which must be there.
    pub(super) fn require(&mut self, key: &'static str, src: &mut Source) -> Option<Value<'d>> {
        let value = self.get(key);
        if value.is_none() {
            src.absence(self.span(), format!("{} has no {key:?}", self.title));
        }
        value
    }

    /// All keys, for a table whose keys are names: each with its place and value.
    pub(super) fn named(&self) -> impl Iterator<Item = (Range<usize>, Value<'d>)> + use<'d> {
        self.entries
            .iter()
            .map(|(key, value)| (key.span(), Value { key: key.get_ref(), span: value.span(), what: value.get_ref() }))
    }

    /// Tells the keys that were not asked for.
    pub(super) fn finish(self, src: &mut Source) {
        #[cfg(test)]
        ASKED.with_borrow_mut(|asked| asked.push((self.title.clone(), self.known.clone())));
        for (span, value) in self.named() {
            let key = value.key;
            if self.known.contains(&key) {
                continue;
            }
            let within = if self.title.is_empty() { String::new() } else { format!(" in {}", self.title) };
            let known = self.known.iter().copied();
            src.error(span, format!("unknown key {key:?}{within}")).help(guess(key, known));
        }
    }
}

#[cfg(test)]
std::thread_local! {
    static ASKED: std::cell::RefCell<Vec<(String, Vec<&'static str>)>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Which keys this thread has asked tables for, by title, since this was called last.
#[cfg(test)]
pub(super) fn asked() -> Vec<(String, Vec<&'static str>)> {
    ASKED.take()
}

/// One value, with the key that it was written for.
#[derive(Clone)]
pub(super) struct Value<'d> {
    pub(super) key: &'d str,
    pub(super) span: Range<usize>,
    what: &'d DeValue<'d>,
}

impl<'d> Value<'d> {
    /// Tells that it should have been `what`.
    pub(super) fn must_be<'s>(&self, what: impl Display, src: &'s mut Source) -> Told<'s> {
        let message = format!("{:?} must be {what}, not {}", self.key, self.written(src));
        src.error(self.span.clone(), message)
    }

    /// How it stands in the file, shortened where it is long.
    pub(super) fn written(&self, src: &Source) -> String {
        let text = src.text().get(self.span.clone()).unwrap_or_default();
        match self.what {
            DeValue::Array(a) if a.is_empty() => return "an empty array".to_owned(),
            DeValue::Table(_) if !text.starts_with('[') => return "a table".to_owned(),
            DeValue::Array(_) if !text.starts_with("[[") => return "an array".to_owned(),
            DeValue::String(s) => return shortened(&format!("{s:?}")),
            _ => {}
        }
        shortened(text)
    }

    /// A string.
    pub(super) fn text(&self, what: impl Display, src: &mut Source) -> Option<&'d str> {
        let made = self.as_text();
        if made.is_none() {
            self.must_be(what, src);
        }
        made
    }

    /// What `read` makes of a string; `None` from it means that the string is not `what`.
    pub(super) fn parsed<T>(&self, what: &str, src: &mut Source, read: impl FnOnce(&'d str) -> Option<T>) -> Option<T> {
        let made = read(self.text(what, src)?);
        if made.is_none() {
            self.must_be(what, src);
        }
        made
    }

    /// The string among `choices` that it is.
    pub(super) fn one_of<T: Copy>(&self, choices: &[(&'static str, T)], src: &mut Source) -> Option<T> {
        let words = choices.iter().map(|(word, _)| *word);
        let listed = words.clone().map(|w| format!("{w:?}")).collect::<Vec<_>>();
        let what =
            listed.split_last().map_or_else(String::new, |(last, rest)| format!("{} or {last}", rest.join(", ")));
        let text = self.text(&what, src)?;
        let made = choices.iter().find(|(word, _)| *word == text).map(|(_, made)| *made);
        if made.is_none() {
            let near = nearest(text, words).map(|near| format!("did you mean {near:?}?"));
            self.must_be(what, src).maybe_help(near);
        }
        made
    }

    /// `true` or `false`; `None` when it is another type.
    pub(super) fn as_flag(&self) -> Option<bool> {
        if let DeValue::Boolean(flag) = self.what { Some(*flag) } else { None }
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.what, DeValue::Table(_))
    }

    /// A string; `None` when it is another type.
    pub(super) fn as_text(&self) -> Option<&'d str> {
        if let DeValue::String(text) = self.what { Some(text) } else { None }
    }

    /// True or false.
    pub(super) fn flag(&self, src: &mut Source) -> Option<bool> {
        if let DeValue::Boolean(flag) = self.what {
            return Some(*flag);
        }
        self.must_be("true or false", src);
        None
    }

    /// A whole number, in any of TOML's forms; `None` when it is another type, or too large for this one.
    pub(super) fn as_integer(&self) -> Option<i128> {
        let DeValue::Integer(number) = self.what else { return None };
        i128::from_str_radix(number.as_str(), number.radix()).ok()
    }

    /// A whole number within `range`; `what` is its noun.
    pub(super) fn integer(&self, what: &str, range: RangeInclusive<u32>, src: &mut Source) -> Option<u32> {
        let made = self.as_integer().and_then(|n| u32::try_from(n).ok()).filter(|n| range.contains(n));
        if made.is_none() {
            self.must_be(format_args!("{what} from {} to {}", range.start(), range.end()), src);
        }
        made
    }

    /// The elements of an array that is not empty.
    pub(super) fn list(&self, what: &str, src: &mut Source) -> Vec<Value<'d>> {
        if let DeValue::Array(array) = self.what
            && !array.is_empty()
        {
            return array.iter().map(|e| Value { key: self.key, span: e.span(), what: e.get_ref() }).collect();
        }
        self.must_be(what, src);
        Vec::new()
    }

    /// A table: `title` is its header, or what an inline table is called.
    pub(super) fn table(&self, title: impl Into<String>, src: &mut Source) -> Option<Table<'d>> {
        let title = title.into();
        if let DeValue::Table(entries) = self.what {
            return Some(Table { title, span: self.span.clone(), entries, known: Vec::new() });
        }
        let form = if title.starts_with('[') { format!("headed {title}") } else { "in braces".to_owned() };
        self.must_be(format_args!("a table, {form}"), src);
        None
    }

    /// Tables that are each headed `title`, or stand in an array.
    pub(super) fn tables(&self, title: &str, src: &mut Source) -> Vec<Table<'d>> {
        let DeValue::Array(array) = self.what else {
            self.must_be(format_args!("an array of tables, each headed {title}"), src);
            return Vec::new();
        };
        let elements = array.iter().map(|e| Value { key: self.key, span: e.span(), what: e.get_ref() });
        elements.filter_map(|e| e.table(title, src)).collect()
    }
}

/// The innermost value with the passage `span` in it, as far as values have a passage of their own: one string, number
/// and so on, or an array or inline table. Tells where it stands, and whether it is a single one.
pub(super) fn value_around(table: &DeTable, span: &Range<usize>) -> Option<(Range<usize>, bool)> {
    fn within(value: &Spanned<DeValue>, span: &Range<usize>) -> Option<(Range<usize>, bool)> {
        let at = value.span();
        let around = at.start <= span.start && span.end <= at.end;
        match value.get_ref() {
            DeValue::Table(table) => value_around(table, span).or_else(|| around.then_some((at, false))),
            DeValue::Array(array) => {
                array.iter().find_map(|element| within(element, span)).or_else(|| around.then_some((at, false)))
            }
            _ => (around && !span.is_empty()).then_some((at, true)),
        }
    }
    table.iter().find_map(|(_, value)| within(value, span))
}

/// Of the words `known`, the one that `word` may stand for, and all of them.
pub(super) fn guess<'k>(word: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    let all = known.clone().collect::<Vec<_>>().join(", ");
    match nearest(word, known) {
        Some(near) => format!("did you mean {near:?}? known here: {all}"),
        None if all.is_empty() => "none is known here".to_owned(),
        None => format!("known here: {all}"),
    }
}

/// The word that differs least from `word`, if by no more than a third of its letters (at least one).
fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let bound = (word.chars().count() / 3).max(1);
    known.map(|k| (distance(word, k), k)).min_by_key(|(d, _)| *d).filter(|(d, _)| *d <= bound).map(|(_, k)| k)
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour to make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > b.len() {
        return a.len(); // a word more than twice as long is no slip, and may be as long as the file
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let best = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { best.min(rows[i - 2][j - 2] + 1) } else { best }
            };
        }
    }
    rows[a.len()][b.len()]
}

/// The first line, cut after 60 characters.
fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_told_from_other_words() {
        let known = || ["listen", "workers", "name", "state"].into_iter();
        assert_eq!(nearest("lisen", known()), Some("listen"));
        assert_eq!(nearest("wokrers", known()), Some("workers"));
        assert_eq!(nearest("nam", known()), Some("name"));
        assert_eq!(nearest("zone", known()), None);
        assert_eq!(nearest("", known()), None);
        assert_eq!(distance("ca", "abc"), 3);
        assert_eq!(distance("ab", "ba"), 1);
    }
}
