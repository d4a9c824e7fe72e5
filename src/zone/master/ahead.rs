//! Lines of a large file, read ahead the short way by other threads.
//!
//! A line that is read the short way means the same wherever it stands: only the origin counts, which seldom changes. So
//! threads read pieces of the text ahead, beginning with any line, and the reader that goes through the text from its
//! beginning takes over the lines that it comes to. What they have read inside of parentheses or strings it never comes to; a
//! line that they left, or read under another origin, it reads by itself. So records, mistakes and their order are the same.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope, available_parallelism};

use super::plain::{Plain, PlainLine};
use crate::dns::{Name, Rtype, Ttl};

/// Octets of text that a thread reads at a time: what is made of them stays in its cache.
const PIECE_OCTETS: usize = 1 << 16;
/// From so many octets of text on, threads are worth their start.
const LARGE_OCTETS: usize = 1 << 20;
/// More threads than this read ahead faster than records can be taken in.
const MOST_THREADS: usize = 3;

/// The pieces that are read ahead.
pub(super) struct Ahead {
    origin: Name,
    /// Piece n comes from thread n modulo their number.
    threads: Vec<Receiver<Piece>>,
    /// How many pieces were taken.
    taken: usize,
    piece: Piece,
    /// The place of the next line in the piece.
    line: usize,
}

/// What was read of a piece of the text.
#[derive(Default)]
struct Piece {
    lines: Vec<Line>,
    /// Owner name and RDATA of each.
    octets: Vec<u8>,
    /// Where the next piece begins.
    end: usize,
}

struct Line {
    start: u32,
    next: u32,
    span: (u32, u32),
    octets: u32,
    owner_octets: u16,
    rdata_octets: u16,
    ttl: Option<Ttl>,
    rtype: Rtype,
}

impl Ahead {
    /// Begins to read `text` ahead, where it is large and there are cores for that.
    pub(super) fn begin<'s, 't: 's>(threads: &'s Scope<'s, 't>, text: &'t [u8], origin: &Name) -> Option<Self> {
        let cores = available_parallelism().map_or(1, usize::from);
        if text.len() < LARGE_OCTETS || cores < 2 {
            return None;
        }
        let count = (cores - 1).min(MOST_THREADS);
        Self::with_threads(count, PIECE_OCTETS, threads, text, origin)
    }

    fn with_threads<'s, 't: 's>(
        count: usize,
        piece_octets: usize,
        threads: &'s Scope<'s, 't>,
        text: &'t [u8],
        origin: &Name,
    ) -> Option<Self> {
        let mut receivers = Vec::new();
        for thread in 0..count {
            let (sender, receiver) = sync_channel(2);
            let own = origin.clone();
            let read = move || read_pieces(text, piece_octets, (thread, count), &own, &sender);
            Builder::new().spawn_scoped(threads, read).ok()?;
            receivers.push(receiver);
        }
        Some(Self { origin: origin.clone(), threads: receivers, taken: 0, piece: Piece::default(), line: 0 })
    }

    /// The line that begins at `at`, if it was read under `origin`. Lines are asked for in their order.
    #[inline]
    pub(super) fn line(&mut self, at: usize, origin: &Name) -> Option<PlainLine<'_>> {
        while at >= self.piece.end {
            // None is left at the end of the text.
            self.piece = self.threads[self.taken % self.threads.len()].recv().ok()?;
            self.taken += 1;
            self.line = 0;
        }
        while self.piece.lines.get(self.line)?.start < at as u32 {
            self.line += 1;
        }
        let line = &self.piece.lines[self.line];
        if line.start != at as u32 || *origin != self.origin {
            return None;
        }
        let rdata = line.octets as usize + line.owner_octets as usize;
        Some(PlainLine {
            owner: &self.piece.octets[line.octets as usize..rdata],
            ttl: line.ttl,
            rtype: line.rtype,
            rdata: &self.piece.octets[rdata..rdata + line.rdata_octets as usize],
            span: line.span.0 as usize..line.span.1 as usize,
            next: line.next as usize,
        })
    }
}

/// Reads each `count`th piece from piece `thread` on, until nobody wants them any more.
fn read_pieces(
    text: &[u8],
    piece_octets: usize,
    (thread, count): (usize, usize),
    origin: &Name,
    sender: &SyncSender<Piece>,
) {
    let mut plain = Plain::default();
    let pieces = text.len().div_ceil(piece_octets);
    for piece in (thread..pieces).step_by(count) {
        let (start, end) =
            (line_from(text, piece * piece_octets), line_from(text, (piece + 1).saturating_mul(piece_octets)));
        if sender.send(read_piece(text, start, end, origin, &mut plain)).is_err() {
            return;
        }
    }
}

fn read_piece(text: &[u8], start: usize, end: usize, origin: &Name, plain: &mut Plain) -> Piece {
    let mut piece = Piece { lines: Vec::with_capacity((end - start) / 24), octets: Vec::new(), end };
    piece.octets.reserve((end - start) / 4 * 5);
    let mut at = start;
    while at < end {
        let Some(next) = plain.read(text, at, origin) else {
            at = line_from(text, at + 1);
            continue;
        };
        let line = plain.line(next);
        let octets = piece.octets.len() as u32;
        piece.octets.extend_from_slice(line.owner);
        piece.octets.extend_from_slice(line.rdata);
        piece.lines.push(Line {
            start: at as u32, // no file is read that is too long for this
            next: next as u32,
            span: (line.span.start as u32, line.span.end as u32),
            octets,
            owner_octets: line.owner.len() as u16,
            rdata_octets: line.rdata.len() as u16, // a name or an address
            ttl: line.ttl,
            rtype: line.rtype,
        });
        at = next;
    }
    piece
}

/// Where the first line begins that does not begin before `at`.
fn line_from(text: &[u8], at: usize) -> usize {
    if at == 0 || at >= text.len() {
        return at.min(text.len());
    }
    text[at - 1..].iter().position(|octet| *octet == b'\n').map_or(text.len(), |found| at + found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All lines that are read ahead of a text, in pieces of `piece_octets`: where they begin and end, and their owners.
    fn ahead(text: &str, piece_octets: usize, threads: usize) -> Vec<(usize, usize, Vec<u8>)> {
        let (text, origin): (&[u8], Name) = (text.as_bytes(), "example.org".parse().unwrap());
        std::thread::scope(|scope| {
            let mut ahead = Ahead::with_threads(threads, piece_octets, scope, text, &origin).unwrap();
            let mut found = Vec::new();
            for at in 0..=text.len() {
                if let Some(line) = ahead.line(at, &origin) {
                    found.push((at, line.next, line.owner.to_vec()));
                }
            }
            found
        })
    }

    #[test]
    fn an_origin_that_was_not_expected_is_not_taken_for_another() {
        let text = b"a A 192.0.2.1\nb A 192.0.2.2\n";
        let (origin, other): (Name, Name) = ("example.org".parse().unwrap(), "other.org".parse().unwrap());
        std::thread::scope(|scope| {
            let mut ahead = Ahead::with_threads(1, 8, scope, text, &origin).unwrap();
            assert!(ahead.line(0, &other).is_none());
            assert_eq!(ahead.line(14, &origin).unwrap().rdata, [192, 0, 2, 2]);
            assert!(ahead.line(text.len(), &origin).is_none());
        });
    }

    proptest! {
        #[test]
        fn the_size_of_pieces_makes_no_difference(
            text in "(a A 192\\.0\\.2\\.1\n|\tAAAA ::1\n|x TXT \"a\n|b MX 1 c\n| \n|\\( \n|\\)|;|\n){0,30}",
            piece_octets in 1usize..60,
            threads in 1usize..4,
        ) {
            prop_assert_eq!(ahead(&text, piece_octets, threads), ahead(&text, 1 << 20, 1));
        }
    }
}
