//! Waypost beside NSD, Knot DNS and BIND: the same zones, the same packets, the same answers.
//!
//! Some ten thousand queries are made from the zones in `tests/references/` (every name, its ancestors, children and
//! siblings, with many types, in UDP, EDNS and TCP), and odd packets are added. Each response of Waypost must be that of at least
//! two of the three. Where it is not, or where there are no two that agree, [`CHOICES`] has the case and the reason.
//!
//! What is compared: RCODE, flags, EDNS version and DO, the answer and authority sections as sets. Additional data is at a
//! server's choice: ours must have what all those send that answer alike, and nothing that none of them sends. Order,
//! compression and letter case are not compared, nor the records of a truncated response (RFC 2181, 9), nor whether an error
//! brings the question back (Knot and BIND: where they could read it; NSD and Waypost: not with an error in the packet).

#[path = "support/answers.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod answers;
#[path = "differential/queries.rs"]
mod queries;
mod references;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use references::packets::{Mode, packet};
use references::servers::Server;
use references::shape::{Response, Shape, additional_is_right, alike, parts};
use references::zones::ZONES;
use waypost::query::Transport;

/// A case in which Waypost goes its own way, or in which there is no way that two of the three go.
struct Choice {
    reason: &'static str,
    matches: fn(&Case) -> bool,
}

const CHOICES: &[Choice] = &[
    Choice {
        reason: "A chain that leads from one of our zones into another is followed there (RFC 1034, 4.3.2, 3a: back to \
                 step 1, which looks among all zones), as NSD does. Knot and BIND end it at the zone's border, or refer \
                 to the child that they serve themselves.",
        matches: |case| alike(&case.ours, case.nsd()) && crosses_zones(&case.ours),
    },
    Choice {
        reason: "RFC 9471: a referral that can't bring all glue of names below the cut sets TC, as Knot does. NSD and \
                 BIND send some of it, without TC.",
        matches: |case| alike(&case.ours, case.knot()) && case.ours.is(|r| r.truncated && !r.authoritative),
    },
    Choice {
        reason: "ANY gets one RRset (RFC 8482, 4.1), over TCP too, RRSIG the signatures of one; each server picks its own. BIND \
                 gives all over TCP.",
        matches: |case| [" ANY", " RRSIG"].iter().any(|t| case.text.ends_with(t)) && case.ours.is(is_one_rrset),
    },
    Choice {
        reason: "Below a DNAME, ANY is followed like other types, as NSD and Knot do; BIND stops at the CNAME. Below a \
                 wildcard's DNAME Knot gives the QNAME as the DNAME's owner, which RFC 6672, 3.3 does not have.",
        matches: |case| alike(&case.ours, case.nsd()) && case.text.to_lowercase().contains(".w9."),
    },
    Choice {
        reason: "Below a DNAME in a signed zone, NSD leaves out one of the two proofs that the name which it makes does not \
                 exist; BIND goes its own way for ANY and SOA there, too.",
        matches: |case| alike(&case.ours, case.knot()) && case.text.to_lowercase().contains("dname.signed.example"),
    },
    Choice {
        reason: "A DNAME that leads below itself is followed once, as NSD does; Knot and BIND go on until a limit is reached.",
        matches: |case| alike(&case.ours, case.nsd()) && case.text.to_lowercase().contains("dgrow"),
    },
    Choice {
        reason: "The CNAME made of a long DNAME ends with a pointer into it: there is room left for the SOA of a negative \
                 answer. NSD writes the name out and truncates; Knot leaves the SOA out; BIND does either.",
        matches: |case| {
            let may_be_cut = |shape: &Shape| shape.is(|r| r.truncated || r.authorities.is_empty());
            case.text.to_lowercase().contains("dlong") && case.ours.is(|r| r.rcode == 3) && may_be_cut(case.nsd())
        },
    },
    Choice {
        reason: "BIND gives the SOA in the negative answer to QTYPE SOA a TTL of 0, by which resolvers can't remember it; \
                 NSD takes glue of the parent zone for a name of the child zone that it serves.",
        matches: |case| alike(&case.ours, case.knot()) && case.text.ends_with("mail.kid.example.org SOA"),
    },
    Choice {
        reason: "Owners of NSEC3 records are no names of the zone (RFC 5155, 7.2.8), so what is below them has the apex as its \
                 closest encloser, as Knot has it. NSD leaves that proof out; BIND gives the SOA a TTL of 0 here, too.",
        matches: |case| alike(&case.ours, case.knot()) && is_hash_and_soa(&case.text),
    },
    Choice {
        reason: "QDCOUNT other than 1 is FORMERR (RFC 9619), as BIND has it. NSD clears RD in it, Knot stays silent.",
        matches: |case| alike(&case.ours, case.bind()) && case.text.starts_with("odd: QDCOUNT"),
    },
    Choice {
        reason: "QCLASS ANY is answered with AA clear (RFC 1035, 6.2), as NSD does; Knot sets AA, BIND refuses with FORMERR.",
        matches: |case| alike(&case.ours, case.nsd()) && case.text == "odd: QCLASS ANY",
    },
    Choice {
        reason: "A cookie of a wrong length is FORMERR (RFC 7873, 5.2.2), as BIND has it; NSD and Knot, as installed, pass \
                 cookies over.",
        matches: |case| {
            case.text.starts_with("odd: EDNS cookie of")
                && [&case.ours, case.bind()].iter().all(|s| s.is(|r| r.rcode == 1))
        },
    },
    Choice {
        reason: "A malformed client subnet is FORMERR (RFC 7871, 7.2.1), as BIND has it; NSD and Knot pass it over.",
        matches: |case| {
            case.text.starts_with("odd: EDNS client subnet")
                && [&case.ours, case.bind()].iter().all(|s| s.is(|r| r.rcode == 1))
        },
    },
    Choice {
        reason: "TSIG is checked in the server, by a thread that is not asked here: there is no server in this test.",
        matches: |case| case.text == "odd: TSIG of an unknown key",
    },
];

/// Whether the question is for the SOA of a name at or below the owner of an NSEC3 record.
fn is_hash_and_soa(text: &str) -> bool {
    let text = text.to_lowercase();
    let name = text.strip_suffix(".hashed.example soa");
    name.and_then(|name| name.rsplit(['.', ' ']).next()).is_some_and(|label| label.len() == 32)
}

/// Whether the answer has an alias in one zone of a name in another.
fn crosses_zones(shape: &Shape) -> bool {
    let is_in = |name: &str, apex: &str| name.strip_suffix(apex).is_some_and(|s| s.is_empty() || s.ends_with('.'));
    let zone =
        |name: &str| ZONES.map(|(apex, _)| apex).into_iter().filter(|apex| is_in(name, apex)).max_by_key(|a| a.len());
    shape.is(|response| {
        response.answers.iter().any(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            words[3] == "cname" && zone(words[0]) != zone(words[4].trim_end_matches('.'))
        })
    })
}

/// Whether the answer is one RRset, maybe with its signatures, or only signatures of one.
fn is_one_rrset(response: &Response) -> bool {
    let lines = response.answers.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    let heads: BTreeSet<Vec<&str>> =
        lines.map(|words| words[..if words[3] == "rrsig" { 5 } else { 4 }].to_vec()).collect();
    let of_one = match heads.iter().map(Vec::as_slice).collect::<Vec<_>>()[..] {
        [_] => true,
        [a, b] => (a.len() == 5 && a[4] == b[3]) || (b.len() == 5 && b[4] == a[3]),
        _ => false,
    };
    response.rcode == 0 && response.authoritative && (of_one || response.truncated)
}

/// One query and what came back.
struct Case {
    text: String,
    ours: Shape,
    /// In the order NSD, Knot, BIND.
    theirs: Vec<Shape>,
}

impl Case {
    fn nsd(&self) -> &Shape {
        &self.theirs[0]
    }
    fn knot(&self) -> &Shape {
        &self.theirs[1]
    }
    fn bind(&self) -> &Shape {
        &self.theirs[2]
    }
}

#[test]
fn answers_are_those_of_nsd_knot_and_bind() {
    let servers = Server::start_all(&ZONES);
    let snapshot = answers::serving(&ZONES);
    let mut cases = Vec::new();
    let questions = queries::questions(&ZONES);
    for mode in Mode::ALL {
        let packets: Vec<Vec<u8>> = questions.iter().map(|q| packet(&q.name, q.rtype.0, mode)).collect();
        let texts = questions.iter().map(|q| format!("{mode:?} {}", q.text)).collect();
        cases.extend(ask_all(&servers, &snapshot, texts, &packets, mode.is_tcp()));
    }
    let (texts, packets): (Vec<_>, Vec<_>) =
        queries::oddities().into_iter().map(|(text, packet)| (format!("odd: {text}"), packet)).unzip();
    cases.extend(ask_all(&servers, &snapshot, texts, &packets, false));
    assert!(cases.len() > 5000, "{} cases are too few", cases.len());

    let mut groups: BTreeMap<String, Vec<&Case>> = BTreeMap::new();
    let mut chosen = [0; CHOICES.len()];
    for case in &cases {
        assert!(!case.ours.is(|r| r.repeats), "{}: a record twice in a section: {}", case.text, case.ours);
        let agreeing = case.theirs.iter().filter(|theirs| alike(&case.ours, theirs)).count();
        if agreeing >= 2 && additional_is_right(&case.ours, &case.theirs) {
            continue;
        }
        if let Some(choice) = CHOICES.iter().position(|choice| (choice.matches)(case)) {
            chosen[choice] += 1;
            continue;
        }
        groups.entry(difference(case)).or_default().push(case);
    }
    println!("{} cases", cases.len());
    for (choice, count) in CHOICES.iter().zip(chosen) {
        println!("{count} by choice: {}", choice.reason);
        assert!(count > 0, "no case any more for: {}", choice.reason);
    }
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
