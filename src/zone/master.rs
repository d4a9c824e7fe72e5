//! Master files: reading them with every mistake told, and writing them.
//!
//! What is read: RFC 1035, 5, with `$TTL` (RFC 2308, 4), BIND's `$GENERATE`, TTL units, and unknown types (RFC 3597). Three
//! stages, each with a file of its own: `lexer` cuts the text into entries, `Reader` here makes records of them, and
//! `checks` looks at the whole zone. What NSD or Knot load is loaded, with a warning where it is doubtful:
//!
//! - A record outside the zone is left out, with a warning, as Knot and BIND do.
//! - A record without a TTL has that of `$TTL`, else the last one written, else the SOA's MINIMUM, else an hour.
//! - Of different TTLs in one RRset the least is taken (RFC 2181, 5.2).
//! - `$INCLUDE` looks beside the file it stands in, then in the working directory. Origin and owner name of the including
//!   file come back behind it (RFC 1035, 5.1); `$TTL` stays as the included file left it, as in BIND.
//! - A string may run over lines outside of parentheses, as in NSD.
//!
//! Reading goes on after a mistake with the next entry; a zone with a mistake is not loaded.

mod again;
mod ahead;
mod checks;
mod generate;
mod lexer;
mod looked_at;
mod plain;
mod print;
mod report;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

pub use again::{Differences, differences};
pub use print::{print, print_zone};

use crate::diagnostic::Diagnostic;
use crate::dns::rdata::{self, Token};
use crate::dns::{Name, Rtype, Ttl, name};
use crate::zone::compiled::against::Against;
use crate::zone::gathered::{Added, Spot};
use crate::zone::{Contents, Gathered, Stamps};
use ahead::Ahead;
use lexer::{Entry, Lexer};
use plain::{Plain, PlainLine};
use report::{Report, Source};

/// A zone as read from its master file, to be compiled.
#[derive(Debug)]
pub struct Read {
    /// All its records.
    pub records: Gathered,
    /// Of all that was read: files with the same digest hold the same zone.
    pub digest: u128,
    /// What is doubtful; of more than 100, the last says that there are more.
    pub warnings: Vec<Diagnostic>,
    /// The files that were read, the master file first.
    pub files: Vec<PathBuf>,
}

/// The same with its records by themselves: for what is small.
#[derive(Debug)]
pub struct Loaded {
    /// All its records.
    pub contents: Contents,
    /// What is doubtful; of more than 100, the last says that there are more.
    pub warnings: Vec<Diagnostic>,
    /// The files that were read, the master file first.
    pub files: Vec<PathBuf>,
}

/// The deepest that `$INCLUDE`s may be nested.
const MOST_INCLUDES_DEEP: usize = 16;
/// Octets that are read from a file at a time.
const READ_OCTETS: u64 = 1 << 17;
/// From so many octets on, room is made for all records of a file at once.
const LARGE_OCTETS: usize = 1 << 16;
/// The TTL of a record for which the file gives none, as in NSD and Knot.
const LAST_RESORT_TTL: Ttl = Ttl::from_secs(3600);

/// Reads the zone `apex`, which is also the first origin, from a master file and what it includes.
///
/// # Errors
/// All mistakes; of more than 100, the last says that there are more.
pub fn read(file: &Path, apex: &Name) -> Result<Read, Vec<Diagnostic>> {
    read_stamped(file, apex, &mut Stamps::default())
}

/// The same; `stamps` takes what is read, also where that has mistakes.
///
/// # Errors
/// As [`read`].
pub fn read_stamped(file: &Path, apex: &Name, stamps: &mut Stamps) -> Result<Read, Vec<Diagnostic>> {
    stamps.note(file);
    match read_octets(file) {
        Ok(text) => read_as(text, file, apex, stamps),
        Err(error) => Err(vec![Diagnostic::of_file(file, format!("can't be read: {error}"))]),
    }
}

/// All octets of a file, in short reads: one for a large file would have the kernel copy for milliseconds, and one without
/// preemption lets nobody else on the core meanwhile.
fn read_octets(file: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(file)?;
    let expected = file.metadata()?.len();
    let mut octets = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    while (&mut file).take(READ_OCTETS).read_to_end(&mut octets)? > 0 {}
    Ok(octets)
}

/// As [`read`], with the records by themselves.
///
/// # Errors
/// As [`read`].
pub fn load(file: &Path, apex: &Name) -> Result<Loaded, Vec<Diagnostic>> {
    read(file, apex).map(Loaded::from)
}

/// As [`load`], for a text at hand that `file` is the name of; includes are read from disk.
///
/// # Errors
/// As [`read`].
pub fn parse(text: &[u8], file: &Path, apex: &Name) -> Result<Loaded, Vec<Diagnostic>> {
    read_text(text.to_vec(), file, apex).map(Loaded::from)
}

impl From<Read> for Loaded {
    fn from(read: Read) -> Self {
        Self { contents: read.records.to_contents(), warnings: read.warnings, files: read.files }
    }
}

/// Reads the RDATA of one record as a master file has it behind the type: what other files quote of master files.
///
/// # Errors
/// One sentence.
pub fn parse_rdata(rtype: Rtype, text: &str, origin: &Name) -> Result<Box<[u8]>, String> {
    let mut entry = Entry::default();
    let mut lexer = Lexer::new(text.as_bytes());
    lexer.next(&mut entry).map_err(|e| e.message.to_owned())?;
    let rdata = rdata::parse(rtype, &entry.tokens, origin).map_err(|e| e.fault.to_string())?;
    match lexer.next(&mut Entry::default()) {
        Ok(false) => Ok(rdata),
        _ => Err("it does not end with its line".to_owned()),
    }
}

/// As [`read`], for a text at hand that `file` is the name of; includes are read from disk.
///
/// # Errors
/// As [`read`].
pub fn read_text(text: Vec<u8>, file: &Path, apex: &Name) -> Result<Read, Vec<Diagnostic>> {
    read_as(text, file, apex, &mut Stamps::default())
}

fn read_as(text: Vec<u8>, file: &Path, apex: &Name, stamps: &mut Stamps) -> Result<Read, Vec<Diagnostic>> {
    let mut reader = Reader::new(apex, stamps);
    match reader.take_in(file.to_owned(), text) {
        Ok(source) => reader.read(source, Scope { origin: apex.clone(), owner: Vec::new() }),
        Err(message) => return Err(vec![Diagnostic::of_file(file, message)]),
    }
    let Reader { records, mut report, .. } = reader;
    if !report.is_full() {
        checks::check(&records, apex, &mut report);
    }
    if !report.errors.is_empty() {
        return Err(report.errors);
    }
    let mut digest = SipHasher13::new();
    let mut files: Vec<PathBuf> = Vec::new();
    for source in report.sources {
        digest.write_usize(source.text.len());
        digest.write(&source.text);
        if !files.contains(&source.path) {
            files.push(source.path);
        }
    }
    Ok(Read { records, digest: digest.finish128().as_u128(), warnings: report.warnings, files })
}

struct Reader<'z> {
    apex: &'z Name,
    /// Of what is included.
    stamps: &'z mut Stamps,
    records: Gathered,
    /// Takes the records in their place, where a file is read again.
    against: Option<Against<'z>>,
    plain: Plain,
    report: Report,
    /// The sources that are being read, each included by the one before it.
    including: Vec<u32>,
    /// Of `$TTL`.
    default_ttl: Option<Ttl>,
    /// The last one that a record gave.
    last_ttl: Option<Ttl>,
    soa_minimum: Option<Ttl>,
}

/// What one file has its own of.
struct Scope {
    origin: Name,
    /// The owner name for entries without one, in wire form; empty before the first.
    owner: Vec<u8>,
}

/// The tokens of an entry, and where they stand.
#[derive(Clone, Copy)]
struct Line<'e> {
    source: u32,
    tokens: &'e [Token<'e>],
    spans: &'e [Range<usize>],
}

impl Line<'_> {
    fn spot(&self) -> Spot {
        Spot { source: self.source, start: self.spans[0].start as u32 } // `take_in` refuses what is too long
    }

    /// Where token `at` stands, or what should stand behind the last one.
    fn span(&self, at: usize) -> Range<usize> {
        let end = || self.spans.last().map_or(0, |last| last.end);
        self.spans.get(at).cloned().unwrap_or_else(|| end()..end())
    }

    fn whole(&self) -> Range<usize> {
        self.span(0).start..self.span(self.spans.len()).end
    }
}

/// What stands before RDATA.
#[derive(Clone, Copy)]
struct Head {
    ttl: Option<Ttl>,
    rtype: Rtype,
    /// Index of the first token of the RDATA.
    rdata: usize,
}

impl<'z> Reader<'z> {
    fn new(apex: &'z Name, stamps: &'z mut Stamps) -> Self {
        Self {
            apex,
            stamps,
            records: Gathered::new(apex.clone()),
            against: None,
            plain: Plain::default(),
            report: Report::default(),
            including: Vec::new(),
            default_ttl: None,
            last_ttl: None,
            soa_minimum: None,
        }
    }

    /// Keeps a text as source; its index.
    fn take_in(&mut self, path: PathBuf, text: Vec<u8>) -> Result<u32, String> {
        let sources = &mut self.report.sources;
        match (u32::try_from(text.len()), u32::try_from(sources.len())) {
            (Ok(_), Ok(index)) => {
                if text.len() > LARGE_OCTETS {
                    self.records.reserve_for(text.len());
                }
                sources.push(Source { path, text: Arc::new(text) });
                Ok(index)
            }
            _ => Err(format!("has {} octets, more than {}", text.len(), u32::MAX)),
        }
    }

    fn read(&mut self, source: u32, mut scope: Scope) {
        let text = Arc::clone(&self.report.sources[source as usize].text);
        self.including.push(source);
        std::thread::scope(|threads| {
            let mut ahead = Ahead::begin(threads, &text, &scope.origin);
            let mut lexer = Lexer::new(&text);
            let mut entry = Entry::default();
            while !self.report.is_full() {
                let at = lexer.position();
                let next = match ahead.as_mut().and_then(|ahead| ahead.line(at, &scope.origin)) {
                    Some(line) => self.plain_line(source, line, &mut scope),
                    None => self.plain_line_at(source, &text, at, &mut scope),
                };
                if let Some(next) = next {
                    lexer.go_on_at(next);
                    continue;
                }
                match lexer.next(&mut entry) {
                    Ok(true) => self.entry(source, &entry, &mut scope),
                    Ok(false) => break,
                    Err(error) => self.report.error(source, error.span, error.message),
                }
            }
        });
        self.including.pop();
    }

    /// Reads a line the short way and takes it in; gives where the next begins.
    fn plain_line_at(&mut self, source: u32, text: &[u8], at: usize, scope: &mut Scope) -> Option<usize> {
        let mut plain = std::mem::take(&mut self.plain);
        let next =
            plain.read(text, at, &scope.origin).and_then(|next| self.plain_line(source, plain.line(next), scope));
        self.plain = plain;
        next
    }

    /// Takes in a line that was read the short way; gives where the next begins.
    #[inline]
    fn plain_line(&mut self, source: u32, line: PlainLine<'_>, scope: &mut Scope) -> Option<usize> {
        let owner = if line.owner.is_empty() { &scope.owner } else { line.owner };
        let ttl = line.ttl.or(self.default_ttl).or(self.last_ttl).or(self.soa_minimum)?;
        if owner.is_empty() || !name::is_at_or_below(owner, self.apex.wire()) {
            return None;
        }
        self.last_ttl = line.ttl.or(self.last_ttl);
        if !line.owner.is_empty() {
            scope.owner.clear();
            scope.owner.extend_from_slice(line.owner);
        }
        let spot = Spot { source, start: line.span.start as u32 };
        self.put(&scope.owner, (line.rtype, ttl), line.rdata, spot, line.span);
        Some(line.next)
    }

    fn entry(&mut self, source: u32, entry: &Entry<'_>, scope: &mut Scope) {
        let line = Line { source, tokens: &entry.tokens, spans: &entry.spans };
        if let Some(span) = &entry.long_string {
            let message = "this string runs over lines; only NSD reads that outside of parentheses";
            self.report.warn(source, span.clone(), message);
        }
        let first = entry.tokens[0]; // an entry has tokens
        let done = if !first.quoted && first.text.starts_with(b"$") {
            self.directive(line, scope)
        } else {
            self.record(line, entry.blank, scope)
        };
        if let Err((span, message)) = done {
            self.report.error(source, span, message);
        }
    }

    fn record(&mut self, line: Line<'_>, blank: bool, scope: &mut Scope) -> Result<(), Mistake> {
        let Scope { origin, owner } = scope;
        if !blank {
            let name = line.tokens[0].name(origin).map_err(|e| (line.span(0), format!("the owner name {e}")))?;
            owner.clear();
            owner.extend_from_slice(name.wire());
        }
        if owner.is_empty() {
            let message = format!("no owner name was given yet: {origin} is taken");
            self.report.warn(line.source, line.span(0), message);
            owner.extend_from_slice(origin.wire());
        }
        let head = head(line, !blank as usize)?;
        self.add(owner, head, &line.tokens[head.rdata..], origin, line)
            .map_err(|(token, message)| (line.span(token.map_or(usize::MAX, |t| head.rdata + t)), message))
    }

    /// Adds one record. The error has the index in `tokens`; `None` is behind the last.
    fn add(
        &mut self,
        owner: &[u8],
        head: Head,
        tokens: &[Token<'_>],
        origin: &Name,
        line: Line<'_>,
    ) -> Result<(), (Option<usize>, String)> {
        let rtype = head.rtype;
        let rdata = rdata::parse(rtype, tokens, origin).map_err(|e| (e.token, e.to_string()))?;
        let minimum = (rtype == Rtype::SOA).then(|| soa_minimum(&rdata));
        if let Some(ttl) = head.ttl {
            self.last_ttl = Some(ttl);
        }
        if !name::is_at_or_below(owner, self.apex.wire()) {
            let message = format!("{} is outside of the zone {}: left out", shown(owner), self.apex);
            self.report.warn(line.source, line.span(0), message);
            return Ok(());
        }
        if minimum.is_some() && !owner.eq_ignore_ascii_case(self.apex.wire()) {
            let message = format!("a SOA stands at {}, which is not the apex {}", shown(owner), self.apex);
            self.report.error(line.source, line.span(0), message);
            return Ok(());
        }
        self.soa_minimum = self.soa_minimum.or(minimum);
        let known = head.ttl.or(self.default_ttl).or(self.last_ttl).or(self.soa_minimum);
        let ttl = known.unwrap_or_else(|| {
            let message = format!("no TTL was given yet: {LAST_RESORT_TTL} is taken");
            self.report.warn(line.source, line.whole(), message);
            LAST_RESORT_TTL
        });
        self.put(owner, (rtype, ttl), &rdata, line.spot(), line.whole());
        Ok(())
    }

    /// Puts a record to the others; `whole` is where it stands, in the source of `spot`.
    fn put(&mut self, owner: &[u8], (rtype, ttl): (Rtype, Ttl), rdata: &[u8], spot: Spot, whole: Range<usize>) {
        if let Some(against) = &mut self.against {
            self.report.is_in_doubt |= against.take(owner, rtype, ttl, rdata, spot).is_none();
            return;
        }
        if !self.records.has_room() {
            return self.report.error(spot.source, whole, "the zone has more records than fit");
        }
        match self.records.add(owner, rtype, ttl, rdata, spot) {
            Added::Yes => {}
            Added::OtherTtl => {
                let message = format!("{} {rtype}: the TTLs of one RRset differ; the least is taken", shown(owner));
                self.report.warn(spot.source, whole, message);
            }
            Added::Twice => {
                let message = format!("{} {rtype}: this record is given twice; the second is dropped", shown(owner));
                self.report.warn(spot.source, whole, message);
            }
        }
    }

    fn directive(&mut self, line: Line<'_>, scope: &mut Scope) -> Result<(), Mistake> {
        let [directive, given @ ..] = line.tokens else { return Ok(()) }; // it has at least that one
        let missing = |what: &str| (line.span(line.tokens.len()), format!("{} wants {what}", directive.shown()));
        let most = match directive.text.to_ascii_uppercase().as_slice() {
            b"$ORIGIN" => {
                let token = given.first().ok_or_else(|| missing("a name"))?;
                scope.origin = token.name(&scope.origin).map_err(|e| (line.span(1), format!("the origin {e}")))?;
                1
            }
            b"$TTL" => {
                let token = given.first().ok_or_else(|| missing("a TTL"))?;
                self.default_ttl = Some(Ttl::parse(&token.shown()).map_err(|e| (line.span(1), e.to_string()))?);
                1
            }
            b"$INCLUDE" => {
                let file = given.first().ok_or_else(|| missing("a file"))?;
                let origin = match given.get(1) {
                    Some(token) => token.name(&scope.origin).map_err(|e| (line.span(2), format!("the origin {e}")))?,
                    None => scope.origin.clone(),
                };
                self.include(file, line, Scope { origin, owner: scope.owner.clone() })?;
                2
            }
            b"$GENERATE" => {
                self.generate(line, scope)?;
                usize::MAX
            }
            _ => {
                let message = format!("{:?} is no directive ($ORIGIN, $TTL, $INCLUDE, $GENERATE)", directive.shown());
                return Err((line.span(0), message));
            }
        };
        match given.get(most) {
            Some(extra) => Err((line.span(most + 1), format!("{:?} is one field too many", extra.shown()))),
            None => Ok(()),
        }
    }

    fn include(&mut self, file: &Token<'_>, line: Line<'_>, scope: Scope) -> Result<(), Mistake> {
        let mistake = |message: String| (line.span(1), message);
        if self.against.is_some() {
            self.report.is_in_doubt = true; // which was included may be another file now
            return Ok(());
        }
        let written = Path::new(OsStr::from_bytes(file.text));
        let beside = self.report.sources[line.source as usize].path.parent().unwrap_or(Path::new("")).join(written);
        self.stamps.note(&beside);
        let path = if beside.exists() { beside } else { written.to_owned() };
        self.stamps.note(&path);
        if self.including.len() > MOST_INCLUDES_DEEP {
            return Err(mistake(format!("files are included more than {MOST_INCLUDES_DEEP} deep")));
        }
        let same = |other: &Path| match (fs::canonicalize(&path), fs::canonicalize(other)) {
            (Ok(a), Ok(b)) => a == b,
            _ => path == other,
        };
        if self.including.iter().any(|&source| same(&self.report.sources[source as usize].path)) {
            return Err(mistake(format!("{:?} includes itself", file.shown())));
        }
        let text = read_octets(&path).map_err(|e| mistake(format!("{:?} can't be read: {e}", file.shown())))?;
        let source = self.take_in(path, text).map_err(|e| mistake(format!("{:?} {e}", file.shown())))?;
        self.read(source, scope);
        Ok(())
    }

    fn generate(&mut self, line: Line<'_>, scope: &Scope) -> Result<(), Mistake> {
        let [_, range, owner, _, ..] = line.tokens else {
            let message = "$GENERATE wants a range, an owner name, a type and RDATA";
            return Err((line.span(line.tokens.len()), message.to_owned()));
        };
        let range = generate::Range::parse(range.text).map_err(|e| (line.span(1), e.to_string()))?;
        let head = head(line, 3)?;
        let template = match &line.tokens[head.rdata..] {
            [one] => one.text.to_vec(), // in quotes it stands for all RDATA, as in BIND
            several => several.iter().flat_map(as_written).collect(),
        };
        let (mut name, mut rdata) = (Vec::new(), Vec::new());
        for number in range.numbers() {
            name.clear();
            generate::expand(owner.text, number, &mut name).map_err(|e| (line.span(2), e.to_string()))?;
            let name = Token::word(&name).name(&scope.origin);
            let name = name.map_err(|e| (line.span(2), format!("the owner name {e}")))?;
            let in_rdata = |message: String| (line.span(head.rdata).start..line.whole().end, message);
            rdata.clear();
            generate::expand(&template, number, &mut rdata).map_err(|e| in_rdata(e.to_string()))?;
            let mut entry = Entry::default(); // borrows from this round's RDATA
            Lexer::new(&rdata).next(&mut entry).map_err(|e| in_rdata(e.message.to_owned()))?;
            self.add(name.wire(), head, &entry.tokens, &scope.origin, line)
                .map_err(|(_, message)| in_rdata(message))?;
        }
        Ok(())
    }
}

/// A wire name for a message.
fn shown(name: &[u8]) -> String {
    Name::from_wire(name).map_or_else(|e| e.to_string(), |name| name.to_string())
}

/// Where a mistake is, and what.
type Mistake = (Range<usize>, String);

/// Reads TTL, class and type, which begin at token `start`; TTL and class in either order, or not at all.
fn head(line: Line<'_>, start: usize) -> Result<Head, Mistake> {
    let (mut ttl, mut class) = (None, false);
    for (at, token) in line.tokens.iter().enumerate().skip(start) {
        let mistake = |message: String| (line.span(at), message);
        let text = token.shown();
        if ttl.is_none() && token.text.first().is_some_and(u8::is_ascii_digit) {
            ttl = Some(Ttl::parse(&text).map_err(|e| mistake(e.to_string()))?);
            continue;
        }
        if !class && let Some(is_in) = class_of(&text) {
            if !is_in {
                return Err(mistake(format!("the class {text} is not served: only IN is")));
            }
            class = true;
            continue;
        }
        let rtype = Rtype::parse(&text).ok_or_else(|| mistake(format!("{text:?} is no record type")))?;
        if !rtype.is_data() {
            return Err(mistake(format!("{text} can't stand in a zone: it is for queries and messages only")));
        }
        return Ok(Head { ttl, rtype, rdata: at + 1 });
    }
    Err((line.span(line.tokens.len()), "the type is missing".to_owned()))
}

/// Whether a class is IN; `None` when it is no class.
fn class_of(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("IN") {
        return Some(true);
    }
    if ["CH", "CHAOS", "HS", "CS", "NONE"].iter().any(|c| text.eq_ignore_ascii_case(c)) {
        return Some(false);
    }
    let (class, number) = text.split_at_checked(5)?;
    let number = number.parse::<u16>().ok().filter(|_| class.eq_ignore_ascii_case("CLASS"))?;
    Some(number == 1)
}

/// A token with its quotes, and the blank that stands before it.
fn as_written(token: &Token<'_>) -> Vec<u8> {
    let quote: &[u8] = if token.quoted { b"\"" } else { b"" };
    let blank: &[u8] = if token.glued { b"" } else { b" " };
    [blank, quote, token.text, quote].concat()
}

/// MINIMUM, which stands last (RFC 1035, 3.3.13).
fn soa_minimum(rdata: &[u8]) -> Ttl {
    rdata.last_chunk().map_or(Ttl::ZERO, |octets| Ttl::from_secs(u32::from_be_bytes(*octets).into()))
}

#[cfg(test)]
mod tests;
