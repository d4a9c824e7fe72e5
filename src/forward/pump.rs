//! One direction of a connection: takes octets from one socket, gives them to the other, then passes on the end.
//!
//! What always holds: it takes in only when it holds nothing, so memory is bounded by one buffer or one pipe, and is none
//! while nothing waits; the order of octets is kept; the end is passed on after the last octet. A small copy comes first,
//! as most exchanges are small; while copies fill their buffer, bytes go through a pipe without being copied.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::peek::{MOST, Peeked, peek};
use super::pipe::Pipe;

/// A read that fills this much is the sign of bulk.
const COPY_SIZE: usize = 16 * 1024;
/// Rounds before other connections get their turn: 2 MiB at most.
const ROUNDS: usize = 8;

thread_local! {
    /// Where small reads land; only what can't be given on at once is kept beyond the call.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; COPY_SIZE].into_boxed_slice());
}

/// A socket that never blocks, and what is known of its readiness. Wrong only on the side of trying in vain.
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// An end or an error was announced: a short read is not the last one.
    pub(super) ending: bool,
}

impl Socket {
    /// A socket of which nothing is known yet: what is there to read will be announced, to write is tried.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, readable: false, writable: true, ending: false }
    }
}

/// One direction of a connection.
#[derive(Default)]
pub(super) struct Pump {
    /// What was taken in and not yet given on.
    held: Option<Box<Held>>,
    /// The first octets, while they are looked at for the host that is wanted.
    first: Option<Box<First>>,
    /// Octets taken in so far.
    taken: u64,
    bulk: bool,
    state: State,
}

enum Held {
    Octets { octets: Vec<u8>, given: usize },
    Pipe(Pipe),
}

/// The first octets of a client.
#[derive(Default)]
struct First {
    /// So far; empty as long as one read is enough.
    octets: Vec<u8>,
    host: Option<String>,
}

impl First {
    /// Takes in more; whether there is nothing to be looked for any more.
    fn hears_nothing(&mut self, more: &[u8]) -> bool {
        if self.host.is_some() {
            return false;
        }
        let looked = if self.octets.is_empty() {
            peek(&more[..more.len().min(MOST)])
        } else {
            self.octets.extend_from_slice(&more[..more.len().min(MOST - self.octets.len())]);
            peek(&self.octets)
        };
        match looked {
            Peeked::Host(host) => self.host = Some(host),
            Peeked::Nothing => return true,
            Peeked::Incomplete if self.octets.len().max(more.len()) >= MOST => return true,
            Peeked::Incomplete if self.octets.is_empty() => self.octets = more.to_vec(),
            Peeked::Incomplete => {}
        }
        false
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The end was read; it is passed on once nothing is held.
    Ending,
    Done,
}

/// Where a pump stands when it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A socket isn't ready.
    Waits,
    /// There is more to do; others should have their turn first.
    Again,
    /// The end was passed on.
    Done,
}

/// Which side of the pump an error is of.
#[derive(Debug)]
pub(super) enum Broken {
    /// The socket that is read from.
    From(io::Error),
    /// The socket that is written to.
    To(io::Error),
}

impl Pump {
    /// A pump that gives `header` before anything it takes in, and looks at its first octets on the way, if so asked.
    pub(super) fn starting_with(header: Vec<u8>, look: bool) -> Self {
        Self { held: Held::of(header), first: look.then(Box::default), ..Self::default() }
    }

    /// The host that its first octets name, once.
    pub(super) fn heard(&mut self) -> Option<String> {
        self.first.take_if(|first| first.host.is_some()).and_then(|first| first.host)
    }

    /// Octets taken in so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether octets wait for the receiver.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Whether the sender's end was read.
    pub(super) fn ended(&self) -> bool {
        self.state != State::Open
    }

    /// Whether the end was passed on.
    pub(super) fn done(&self) -> bool {
        self.state == State::Done
    }

    /// Moves octets until there are none, the receiver takes no more, or others should have their turn. Where this
    /// direction is the `last`, closing the sockets passes on the end.
    pub(super) fn run(&mut self, from: &mut Socket, to: &mut Socket, last: bool) -> Result<Step, Broken> {
        if self.done() {
            return Ok(Step::Done);
        }
        for _ in 0..ROUNDS {
            if !self.give(to).map_err(Broken::To)? {
                return Ok(Step::Waits);
            }
            if self.state == State::Ending {
                if !last {
                    to.stream.shutdown(Shutdown::Write).map_err(Broken::To)?;
                }
                self.state = State::Done;
                return Ok(Step::Done);
            }
            if !from.readable {
                return Ok(Step::Waits);
            }
            self.take(from, to)?;
        }
        Ok(Step::Again)
    }

    /// Gives on what is held; whether that was all.
    fn give(&mut self, to: &mut Socket) -> io::Result<bool> {
        while let Some(held) = &mut self.held {
            if !to.writable {
                return Ok(false);
            }
            let given = match &mut **held {
                Held::Octets { octets, given } => to.stream.write(&octets[*given..]).map(|count| {
                    *given += count;
                    *given == octets.len()
                }),
                Held::Pipe(pipe) => pipe.drain(&to.stream).map(|_| pipe.waiting() == 0),
            };
            match given {
                Ok(false) => {}
                Ok(true) => {
                    if let Some(Held::Pipe(pipe)) = self.held.take().map(|held| *held) {
                        pipe.give_back();
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => to.writable = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                    if let Held::Pipe(pipe) = &mut **held {
                        self.held = Held::of(pipe.read_out()?);
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Takes in once; holds nothing when called. A copy is given on at once, as far as the receiver takes it.
    fn take(&mut self, from: &mut Socket, to: &mut Socket) -> Result<(), Broken> {
        if self.bulk
            && let Some(pipe) = Pipe::take()
        {
            return self.splice(from, pipe).map_err(Broken::From);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let count = match from.stream.read(scratch) {
                Ok(0) => {
                    self.state = State::Ending;
                    return Ok(());
                }
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    from.readable = false;
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
                Err(e) => return Err(Broken::From(e)),
            };
            self.taken += count as u64;
            self.bulk = count == COPY_SIZE;
            self.first.take_if(|first| first.hears_nothing(&scratch[..count]));
            // A short read has emptied the socket; what comes later is announced.
            from.readable = self.bulk || from.ending;
            let mut given = 0;
            if to.writable {
                match to.stream.write(&scratch[..count]) {
                    Ok(count) => given = count,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => to.writable = false,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(Broken::To(e)),
                }
            }
            if given < count {
                self.held = Held::of(scratch[given..count].to_vec());
            }
            Ok(())
        })
    }

    fn splice(&mut self, from: &mut Socket, mut pipe: Pipe) -> io::Result<()> {
        match pipe.fill(&from.stream) {
            Ok(0) => {
                self.state = State::Ending;
                pipe.give_back();
            }
            Ok(count) => {
                self.taken += count as u64;
                self.bulk = count >= COPY_SIZE;
                self.held = Some(Box::new(Held::Pipe(pipe)));
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                from.readable = false;
                pipe.give_back();
            }
            Err(e) if e.kind() == io::ErrorKind::Unsupported => self.bulk = false,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => pipe.give_back(),
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

impl Held {
    fn of(octets: Vec<u8>) -> Option<Box<Self>> {
        (!octets.is_empty()).then(|| Box::new(Self::Octets { octets, given: 0 }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use super::super::pipe;
    use super::*;

    fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let other = listener.accept().unwrap().0;
        other.set_nonblocking(true).unwrap();
        (one, Socket::new(other))
    }

    #[test]
    fn the_host_is_heard_in_passing_also_in_parts() {
        let request = b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\nmore";
        for part in [1, 7, 20, request.len()] {
            let mut first = First::default();
            assert!(!request.chunks(part).any(|part| first.hears_nothing(part)));
            assert_eq!(first.host.as_deref(), Some("www.example.org"));
        }
        assert!(First::default().hears_nothing(b"SSH-2.0-OpenSSH_9.2\r\n"));
        let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 2 * MOST]].concat();
        for part in [100, endless.len()] {
            let mut first = First::default();
            assert!(endless.chunks(part).any(|part| first.hears_nothing(part)));
            assert!(first.octets.len() <= MOST);
        }
    }

    #[test]
    fn where_splice_is_refused_octets_are_copied() {
        pipe::refuse();
        let ((mut sender, mut from), (mut receiver, mut to)) = (pair(), pair());
        let sent: Vec<u8> = (0..4_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let expected = sent.clone();
        let sending = thread::spawn(move || {
            sender.write_all(&sent).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
        });
        let receiving = thread::spawn(move || {
            let mut got = Vec::new();
            receiver.read_to_end(&mut got).unwrap();
            got
        });
        let mut pump = Pump::starting_with(b"first".to_vec(), false);
        while pump.run(&mut from, &mut to, false).unwrap() != Step::Done {
            thread::sleep(Duration::from_micros(100));
            (from.readable, to.writable) = (true, true);
        }
        drop(to);
        sending.join().unwrap();
        let got = receiving.join().unwrap();
        assert!(got[..5] == *b"first" && got[5..] == expected);
        assert_eq!(pump.taken(), expected.len() as u64);
        assert!(pump.done() && !pump.holds());
    }
}
