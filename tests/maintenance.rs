//! Zones kept up to date by others' programs, in what the other files leave open:
//! - TSIG with each algorithm, as dig, kdig, nsupdate and knsupdate sign and verify;
//! - serials by the zone's policy, on a running server;
//! - a NOTIFY that is lost is sent again, until it is answered; also of an UPDATE.

mod support;

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};

use support::{HEAD, SOON, Server};

const ALGORITHMS: [&str; 3] = ["hmac-sha256", "hmac-sha384", "hmac-sha512"];
const SECRET: &str = "c2l4dGVlbiBvY3RldHMgYXQgbGVhc3QgZm9yIGEga2V5";

/// A zone with these further lines, and a key for each algorithm, called as it.
fn config(more: &str) -> String {
    let key = |name| format!("[[tsig]]\nname = \"{name}\"\nalgorithm = \"{name}\"\nsecret = \"{SECRET}\"\n");
    let allowed = ALGORITHMS.map(|name| format!("\"key:{name}\"")).join(", ");
    let zone = format!("file = \"example.org.zone\"\nallow-transfer = [{allowed}]\nallow-update = [{allowed}]\n{more}");
    HEAD.replace("file = \"example.org.zone\"", &zone) + &ALGORITHMS.map(key).concat()
}

/// What a program prints, on both ways, and whether it ended well.
fn output(command: &mut Command, input: &str) -> (bool, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}; see tests/setup.sh"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// An UPDATE by `program` with the key of `algorithm`.
fn update(program: &str, at: SocketAddr, algorithm: &str, lines: &str) -> (bool, String) {
    let key = format!("{algorithm}:{algorithm}:{SECRET}");
    let text = format!("server {} {}\nzone example.org.\n{lines}\nsend\n", at.ip(), at.port());
    let (done, said) = output(Command::new(program).args(["-y", &key]), &text);
    (done && !said.contains("failed"), said)
}

fn serial(server: &Server) -> u32 {
    server.status()["zones"][0]["serial"].as_u64().unwrap() as u32
}

#[test]
fn each_tsig_algorithm_is_that_of_other_programs() {
    let server = Server::start(&config(""));
    let at = server.dns[0];
    let port = at.port().to_string();
    for algorithm in ALGORITHMS {
        for program in ["nsupdate", "knsupdate"] {
            let line = format!("add {algorithm}.{program}.example.org. 60 TXT signed");
            let (done, said) = update(program, at, algorithm, &line);
            assert!(done, "{program} {algorithm}: {said}");
        }
        let key = format!("{algorithm}:{algorithm}:{SECRET}");
        for program in ["dig", "kdig"] {
            for (options, kind) in [(&["+tcp"][..], "AXFR"), (&[], "SOA"), (&["+tcp"], "SOA")] {
                let mut command = Command::new(program);
                command.args(["@127.0.0.1", "-p", &port, "-y", &key, "+norecurse", "example.org", kind]).args(options);
                let (done, said) = output(&mut command, "");
                assert!(done && said.contains("2026010"), "{program} {algorithm} {kind}: {said}");
                // Both say so when the signature of a response is not as it should be.
                let doubt = ["verify", "BADSIG", "BADKEY", "WARNING", "FAILED"].into_iter().find(|w| said.contains(w));
                assert_eq!(doubt, None, "{program} {algorithm} {kind}: {said}");
                if kind == "AXFR" {
                    assert!(said.contains(&format!("{algorithm}.nsupdate.example.org.")), "{said}");
                }
            }
        }
        // Another algorithm than the key's is another key.
        let other = if algorithm == "hmac-sha256" { "hmac-sha512" } else { "hmac-sha256" };
        let wrong = format!("{other}:{algorithm}:{SECRET}");
        let (_, said) = output(
            Command::new("dig").args(["@127.0.0.1", "-p", &port, "-y", &wrong, "+tcp", "example.org", "AXFR"]),
            "",
        );
        assert!(said.contains("BADKEY") && !said.contains("nsupdate.example.org."), "{algorithm}: {said}");
    }
}

#[test]
fn serials_follow_the_policy_of_the_zone() {
    let today = || output(Command::new("date").args(["-u", "+%Y%m%d"]), "").1.trim().parse::<u32>().unwrap();
    for policy in ["unixtime", "dateserial"] {
        let mut server = Server::start(&config(&format!("serial = \"{policy}\"")));
        assert_eq!(serial(&server), 2_026_010_101, "it is the file's until something changes");
        let mut before = serial(&server);
        for change in 0..3 {
            // What the clock says is taken where that is newer than the serial; else it goes up by one.
            let least = if policy == "unixtime" { support::now() as u32 } else { today() * 100 };
            let line = format!("add change{change}.example.org. 60 TXT x");
            let (done, said) = update("nsupdate", server.dns[0], "hmac-sha256", &line);
            assert!(done, "{said}");
            let most = if policy == "unixtime" { support::now() as u32 } else { today() * 100 };
            let after = serial(&server);
            if least > before {
                assert!((least..=most).contains(&after), "{policy}: {least} <= {after} <= {most}");
            } else {
                assert_eq!(after, before + 1, "{policy}");
            }
            before = after;
        }
        // An edit of the file that forgets the serial raises it too; a restart does not.
        let file = server.file("example.org.zone");
        fs::write(&file, fs::read_to_string(&file).unwrap() + "edited A 192.0.2.44\n").unwrap();
        server.reload().done();
        let after = serial(&server);
        assert!(after > before, "{policy}: {before} {after}");
        server.kill9();
        server.start_again();
        assert_eq!(serial(&server), after, "{policy}");
    }
}

#[test]
fn a_notify_that_is_lost_is_sent_again_until_it_is_answered() {
    let secondary = UdpSocket::bind("127.0.0.1:0").unwrap();
    secondary.set_read_timeout(Some(SOON)).unwrap();
    let server = Server::start(&config(&format!("notify = [\"{}\"]", secondary.local_addr().unwrap())));
    /// The next NOTIFY: who sent it, the message, and the serial that it tells.
    fn next(secondary: &UdpSocket) -> (SocketAddr, Vec<u8>, u32) {
        let mut buffer = [0; 512];
        loop {
            let (octets, from) = secondary.recv_from(&mut buffer).expect("a NOTIFY");
            let message = &buffer[..octets];
            if message[2] & 0x78 == 4 << 3 {
                let tail = &message[octets - 20..];
                return (from, message.to_vec(), u32::from_be_bytes(tail[..4].try_into().unwrap()));
            }
        }
    }
    let answer = |(from, mut message, _): (SocketAddr, Vec<u8>, u32)| {
        message[2] |= 0x80;
        secondary.send_to(&message, from).unwrap();
    };
    let first = next(&secondary); // of the start; it is lost
    let again = next(&secondary);
    assert_eq!((first.2, again.2), (2_026_010_101, 2_026_010_101));
    answer(again);
    server.wait_for("the answer", |server| {
        let page = server.api("GET", "/metrics", serde_json::Value::Null, &[]).text;
        page.lines().any(|l| l.starts_with("waypost_secondary_notified_serial") && l.ends_with("2026010101"))
    });
    let (done, said) = update("nsupdate", server.dns[0], "hmac-sha256", "add new.example.org. 60 A 192.0.2.1");
    assert!(done, "{said}");
    for _ in 0..2 {
        assert_eq!(next(&secondary).2, 2_026_010_102, "and so is the one that tells of an update");
    }
    answer(next(&secondary));
    server.wait_for("the answer", |server| {
        let page = server.api("GET", "/metrics", serde_json::Value::Null, &[]).text;
        page.lines().any(|l| l.starts_with("waypost_secondary_notified_serial") && l.ends_with("2026010102"))
    });
}
