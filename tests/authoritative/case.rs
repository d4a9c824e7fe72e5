//! A case: a question, the answer of Waypost to the letter, and that NSD, Knot and BIND give the same one, but for those that
//! are named, with the reason. What is compared with them is told in `tests/references/shape.rs`.

use std::sync::LazyLock;

use waypost::query::cookies::Secret;
use waypost::query::{Cookies, Snapshot, Transport};

use crate::answers;
use crate::references::packets::{Mode, opt, packet};
use crate::references::servers::Server;
use crate::references::shape::{Shape, additional_is_right, alike};
use crate::references::zones::ZONES;

/// A server that is asked the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Other {
    Nsd,
    Knot,
    Bind,
}

pub use Other::{Bind, Knot, Nsd};

/// For chains between zones.
pub const ACROSS: &str = "A chain that leads from one of our zones into another is followed there (RFC 1034, 4.3.2, step 3a: \
                          back to step 1, which looks among all zones), as NSD does it. These end it at the zone's border, or \
                          refer to the child that they serve themselves.";

/// The three, until this process ends.
static OTHERS: LazyLock<Vec<Server>> = LazyLock::new(|| Server::start_all(&ZONES));

/// What Waypost serves here.
pub static SERVED: LazyLock<Snapshot> = LazyLock::new(|| {
    let secret = Secret::parse("e5e973e5a6b2a43f48e7dc849e37bfcf").unwrap();
    Snapshot { cookies: Some(Cookies::new(&[secret])), ..answers::serving(&ZONES) }
});

/// A question to all four, over UDP unless said otherwise.
pub struct Case {
    text: String,
    pub packet: Vec<u8>,
    transport: Transport,
    unlike: Vec<(Other, &'static str)>,
    longer: bool,
}

/// Asks for `NAME TYPE`, RD clear.
#[track_caller]
pub fn ask(question: &str) -> Case {
    let (name, rtype) = question.split_once(' ').expect("a name and a type");
    let mut packet = packet(name, waypost::dns::Rtype::parse(rtype).unwrap().0, Mode::Plain);
    packet[2] = 0;
    Case { text: question.to_owned(), packet, transport: Transport::Udp, unlike: Vec::new(), longer: false }
}

impl Case {
    pub fn over_tcp(self) -> Self {
        Self { transport: Transport::Tcp, ..self }
    }

    /// With an OPT record of this size.
    pub fn edns(self, size: u16) -> Self {
        self.opt(&opt(size, 0, 0, &[]))
    }

    /// With an OPT record of 1,232 octets, DO set.
    pub fn dnssec(self) -> Self {
        self.opt(&opt(1232, 0, 0x80, &[]))
    }

    /// With an OPT record of 1,232 octets and these options.
    pub fn options(self, options: &[(u16, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (code, octets) in options {
            data.extend_from_slice(&code.to_be_bytes());
            data.extend_from_slice(&(octets.len() as u16).to_be_bytes());
            data.extend_from_slice(octets);
        }
        self.opt(&opt(1232, 0, 0, &data))
    }

    /// With this OPT record.
    pub fn opt(self, record: &[u8]) -> Self {
        self.changed(|packet| {
            packet[11] += 1;
            packet.extend_from_slice(record);
        })
    }

    /// With other octets.
    pub fn changed(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.packet);
        self
    }

    /// Those answer otherwise, because.
    pub fn unlike(mut self, others: impl IntoIterator<Item = Other>, reason: &'static str) -> Self {
        self.unlike.extend(others.into_iter().map(|other| (other, reason)));
        self
    }

    /// Some send the same in fewer octets, because.
    pub fn longer(self, _reason: &'static str) -> Self {
        Self { longer: true, ..self }
    }

    /// Waypost's response as text: RCODE and flags, then a line for each record in the order sent, options at the end.
    #[track_caller]
    pub fn gives(self, expected: &str) {
        let (ours, shown) = self.asked();
        let expected: String = expected.lines().map(|line| line.trim().to_owned() + "\n").collect();
        assert_eq!(shown, expected, "{}", self.text);
        self.is_compared(&ours);
    }

    /// The same for a long response: RCODE and flags, and how many records there are in the answer, authority and additional
    /// sections.
    #[track_caller]
    pub fn gives_so_many(self, head: &str, expected: [usize; 3]) {
        let (ours, shown) = self.asked();
        let count = |section: &str| shown.lines().filter(|line| line.starts_with(section)).count();
        let counts = ["an ", "au ", "ad "].map(count);
        assert_eq!((shown.lines().next().unwrap_or_default(), counts), (head, expected), "{}: {shown}", self.text);
        self.is_compared(&ours);
    }

    fn asked(&self) -> (Shape, String) {
        let ours = Shape::of(answers::raw(&SERVED, &self.packet, self.transport).as_deref());
        let shown = match &ours {
            Shape::Response(response) => response.shown(),
            Shape::Silent => "silence\n".to_owned(),
        };
        (ours, shown)
    }

    #[track_caller]
    fn is_compared(&self, ours: &Shape) {
        let theirs: Vec<Shape> = (OTHERS.iter())
            .map(|server| {
                let packets = std::slice::from_ref(&self.packet);
                let is_tcp = matches!(self.transport, Transport::Tcp);
                let responses = if is_tcp { server.ask_tcp(packets) } else { server.ask_udp(packets) };
                Shape::of(responses[0].as_deref())
            })
            .collect();
        let mut mistakes = Vec::new();
        for (other, theirs) in [Nsd, Knot, Bind].into_iter().zip(&theirs) {
            let name = OTHERS[other as usize].name;
            let named = self.unlike.iter().find(|(unlike, _)| *unlike == other);
            match (alike(ours, theirs), named) {
                (true, Some((_, reason))) => mistakes.push(format!("{name} answers the same, not any more: {reason}")),
                (false, None) => mistakes.push(format!("{name} answers otherwise: {theirs}")),
                _ => {}
            }
            if !self.longer && is_longer(ours, theirs) {
                mistakes.push(format!("{name} sends the same in fewer octets: {theirs}"));
            }
        }
        if !additional_is_right(ours, &theirs) {
            let all = OTHERS.iter().zip(&theirs).map(|(server, theirs)| format!("\n{}: {theirs}", server.name));
            mistakes.push(format!("additional data: {}", all.collect::<String>()));
        }
        assert!(mistakes.is_empty(), "{}: {}\nWaypost: {ours}", self.text, mistakes.join("\n"));
    }
}

/// Whether theirs says the same in fewer octets, which better compression makes of it. The target of an alias stands as it is,
/// as a chain goes on from it.
fn is_longer(ours: &Shape, theirs: &Shape) -> bool {
    let (Shape::Response(a), Shape::Response(b)) = (ours, theirs) else { return false };
    let has_alias = a.answers.iter().any(|record| record.split(' ').nth(3) == Some("cname"));
    let same = alike(ours, theirs) && a.additionals == b.additionals && a.question == b.question;
    same && a.edns.is_none() && !a.truncated && !has_alias && a.octets > b.octets
}
