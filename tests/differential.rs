//! Waypost beside NSD, Knot DNS and BIND: the same zones, the same packets, the same answers.
//!
//! Some ten thousand queries are made from the zones in `tests/differential/` (every name, its ancestors, children and
//! siblings, with many types, in UDP, EDNS and TCP), and odd packets are added. Each response of Waypost must be that of at least
//! two of the three. Where it is not, or where there are no two that agree, [`CHOICES`] has the case and the reason.
//!
//! What is compared: RCODE, flags, EDNS version and DO, the answer and authority sections as sets. Additional data is free by
//! RFC 2181, 9 as long as it fits: ours must have what all three send, and nothing that none of them sends. Order,
//! compression and letter case are not compared, nor the records of a truncated response.

#[path = "support/answers.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod answers;
#[path = "differential/queries.rs"]
mod queries;
#[path = "differential/servers.rs"]
mod servers;
#[path = "differential/shape.rs"]
mod shape;

use std::collections::BTreeMap;
use std::thread;

use queries::Mode;
use servers::{Server, Zone};
use shape::{Response, Shape};
use waypost::query::Transport;

const ZONES: [Zone; 3] = [
    ("example.org", include_str!("differential/example.org.zone")),
    ("kid.example.org", include_str!("differential/kid.example.org.zone")),
    ("example.net", include_str!("differential/example.net.zone")),
];

/// A case in which Waypost goes its own way, or two ways are common.
struct Choice {
    /// Whether it is about this query, as the report writes it.
    matches: fn(&str, &Case) -> bool,
    #[allow(dead_code, reason = "for whoever reads the list")]
    reason: &'static str,
}

const CHOICES: &[Choice] = &[];

/// One query and what came back.
struct Case {
    text: String,
    ours: Shape,
    /// In the order NSD, Knot, BIND.
    theirs: Vec<Shape>,
}

#[test]
fn answers_are_those_of_nsd_knot_and_bind() {
    let servers = Server::start_all(&ZONES);
    let snapshot = answers::serving(&ZONES);
    let mut cases = Vec::new();
    let questions = queries::questions(&ZONES);
    for mode in Mode::ALL {
        let packets: Vec<Vec<u8>> = questions.iter().map(|q| queries::packet(&q.name, q.rtype.0, mode)).collect();
        let texts = questions.iter().map(|q| format!("{mode:?} {}", q.text)).collect();
        cases.extend(ask_all(&servers, &snapshot, texts, &packets, mode.is_tcp()));
    }
    let (texts, packets): (Vec<_>, Vec<_>) =
        queries::oddities().into_iter().map(|(text, packet)| (format!("odd: {text}"), packet)).unzip();
    cases.extend(ask_all(&servers, &snapshot, texts, &packets, false));
    assert!(cases.len() > 5000, "{} cases are too few", cases.len());

    let mut groups: BTreeMap<String, Vec<&Case>> = BTreeMap::new();
    let mut chosen = 0;
    for case in &cases {
        let agreeing = case.theirs.iter().filter(|theirs| alike(&case.ours, theirs)).count();
        if agreeing >= 2 && additional_is_right(case) {
            continue;
        }
        if CHOICES.iter().any(|choice| (choice.matches)(&case.text, case)) {
            chosen += 1;
            continue;
        }
        groups.entry(difference(case)).or_default().push(case);
    }
    println!("{} cases, {chosen} by choice", cases.len());
    for (difference, cases) in &groups {
        println!("== {difference}: {}", cases.len());
        for case in cases.iter().take(shown_of_each()) {
            println!("  {}\n    Waypost: {}", case.text, case.ours);
            for (server, theirs) in servers.iter().zip(&case.theirs) {
                println!("    {}: {theirs}", server.name);
            }
        }
    }
    assert!(groups.is_empty(), "{} answers differ", groups.values().map(Vec::len).sum::<usize>());
}

/// How many cases of each group are printed: `WAYPOST_DIFFERENCES`, else 3.
fn shown_of_each() -> usize {
    std::env::var("WAYPOST_DIFFERENCES").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

fn ask_all(
    servers: &[Server],
    snapshot: &waypost::query::Snapshot,
    texts: Vec<String>,
    packets: &[Vec<u8>],
    tcp: bool,
) -> Vec<Case> {
    let transport = if tcp { Transport::Tcp } else { Transport::Udp };
    let theirs: Vec<Vec<Shape>> = thread::scope(|scope| {
        let asking: Vec<_> = (servers.iter())
            .map(|server| {
                scope.spawn(move || {
                    let responses = if tcp { server.ask_tcp(packets) } else { server.ask_udp(packets) };
                    responses.iter().map(|r| Shape::of(r.as_deref())).collect()
                })
            })
            .collect();
        asking.into_iter().map(|thread| thread.join().expect("the asking thread")).collect()
    });
    (texts.into_iter().zip(packets).enumerate())
        .map(|(i, (text, packet))| Case {
            text,
            ours: Shape::of(answers::raw(snapshot, packet, transport).as_deref()),
            theirs: theirs.iter().map(|shapes| shapes[i].clone()).collect(),
        })
        .collect()
}

/// Whether two responses are the same but for additional data.
fn alike(a: &Shape, b: &Shape) -> bool {
    match (a, b) {
        (Shape::Silent, Shape::Silent) => true,
        (Shape::Response(a), Shape::Response(b)) => parts(a, b).next().is_none(),
        _ => false,
    }
}

/// What differs.
fn parts<'a>(a: &'a Response, b: &'a Response) -> impl Iterator<Item = &'static str> + use<> {
    [
        ("rcode", a.rcode == b.rcode),
        ("aa", a.authoritative == b.authoritative),
        ("tc", a.truncated == b.truncated),
        ("flags", a.other_flags == b.other_flags),
        ("question", a.question == b.question),
        ("edns", a.edns == b.edns),
        ("answer", a.answers == b.answers),
        ("authority", a.authorities == b.authorities),
    ]
    .into_iter()
    .filter(|(_, same)| !same)
    .map(|(part, _)| part)
}

/// Has all that the three agree on, and nothing that none of them sends.
fn additional_is_right(case: &Case) -> bool {
    let Shape::Response(ours) = &case.ours else { return true };
    let theirs: Vec<&Response> = (case.theirs.iter())
        .filter_map(|shape| match shape {
            Shape::Response(response) if alike(&case.ours, shape) => Some(&**response),
            _ => None,
        })
        .collect();
    let everywhere = |record: &String| theirs.iter().all(|r| r.additionals.contains(record));
    ours.additionals.iter().all(|record| theirs.iter().any(|r| r.additionals.contains(record)))
        && theirs.iter().flat_map(|r| &r.additionals).filter(|r| everywhere(r)).all(|r| ours.additionals.contains(r))
}

/// What the group of this case is called: what differs from whom.
fn difference(case: &Case) -> String {
    let from = |(name, theirs): (&str, &Shape)| match (&case.ours, theirs) {
        (Shape::Response(a), Shape::Response(b)) => {
            let parts: Vec<&str> = parts(a, b).collect();
            (!parts.is_empty()).then(|| format!("{name} {}", parts.join(" ")))
        }
        _ if alike(&case.ours, theirs) => None,
        _ => Some(format!("{name} silence")),
    };
    let all: Vec<String> = ["NSD", "Knot", "BIND"].into_iter().zip(&case.theirs).filter_map(from).collect();
    if all.len() < 2 { "additional".to_owned() } else { all.join(", ") }
}
