//! Webhooks, with a receiver on loopback:
//! - what happens comes as signed JSON, of the kinds that are wanted: flips, an override's end, a flip that is not confirmed, a
//!   breach, a refused reload;
//! - a receiver that fails is tried again with the same id, one that says no is not, and neither holds up anything;
//! - `waypost webhook test` says what the receiver answers.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use support::{HEAD, SOON, Server, folder, now, pool};

const WWW: &str = "www.example.org";
const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// One request as it came.
#[derive(Clone, Debug)]
struct Taken {
    path: String,
    id: String,
    timestamp: String,
    signature: String,
    body: String,
    status: u16,
}

impl Taken {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// As a receiver checks it.
    #[track_caller]
    fn verify(&self) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_STANDARD.decode(SECRET).unwrap());
        let signed = format!("{}.{}.{}", self.id, self.timestamp, self.body);
        let signature = BASE64_STANDARD.decode(self.signature.strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
        let timestamp: u64 = self.timestamp.parse().unwrap();
        assert!(timestamp <= now() && timestamp + 120 > now(), "{self:?}");
    }
}

/// Answers each POST with a status that can be set; keeps what came.
struct Receiver {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    taken: Arc<Mutex<Vec<Taken>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (status, taken) = (Arc::new(AtomicU16::new(204)), Arc::<Mutex<Vec<Taken>>>::default());
        let (answer, kept) = (status.clone(), taken.clone());
        // It ends with the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let mut lines = Vec::new();
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                    lines.push(line.trim_end().to_owned());
                }
                let header = |name: &str| {
                    let of = |line: &String| line.split_once(": ").map(|(n, v)| (n.to_lowercase(), v.to_owned()));
                    lines.iter().filter_map(of).find(|(n, _)| n == name).map(|(_, v)| v).unwrap_or_default()
                };
                let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
                if lines.is_empty() || reader.read_exact(&mut body).is_err() {
                    continue;
                }
                let status = answer.load(Ordering::SeqCst);
                let taken = Taken {
                    path: lines[0].clone(),
                    id: header("webhook-id"),
                    timestamp: header("webhook-timestamp"),
                    signature: header("webhook-signature"),
                    body: String::from_utf8(body).unwrap(),
                    status,
                };
                kept.lock().unwrap().push(taken);
                let _ =
                    write!(reader.get_mut(), "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Self { address, status, taken }
    }

    fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    /// The first that `is`, once it is there.
    #[track_caller]
    fn wait_for(&self, what: &str, is: impl Fn(&Taken) -> bool) -> Taken {
        let until = Instant::now() + SOON;
        loop {
            if let Some(found) = self.taken().into_iter().find(|taken| is(taken)) {
                return found;
            }
            assert!(Instant::now() < until, "waited in vain for {what}: {:?}", self.taken());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn hook(name: &str, receiver: &Receiver, more: &str) -> String {
    let address = receiver.address;
    format!(
        "[[webhook]]\nname = \"{name}\"\nurl = \"http://{address}/hook?a=b\"\nsecret-file = \"hook.secret\"\n{more}\n"
    )
}

fn server(config: &str) -> Server {
    let folder = folder(config);
    fs::write(folder.path().join("hook.secret"), format!("whsec_{SECRET}\n")).unwrap();
    Server::start_in(folder)
}

#[test]
fn what_happens_is_told_signed() {
    let (all, some) = (Receiver::start(), Receiver::start());
    let probe = "[probe.pushed]\ntype = \"push\"\n";
    let pools = pool(WWW, 100, 0, "probe = \"pushed\"");
    let config =
        format!("{HEAD}{probe}{}{}{pools}", hook("all", &all, ""), hook("some", &some, "events = [\"breach\"]"));
    let server = server(&config);

    server.flip(json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 5, "confirm_within": "1s"})).done();
    let flip = all.wait_for("the flip", |taken| taken.kind() == "change");
    flip.verify();
    assert_eq!(flip.path, "POST /hook?a=b HTTP/1.1");
    assert_eq!(
        (&flip.json()["data"]["generation"], &flip.json()["data"]["action"]["kind"]),
        (&json!(2), &json!("flip"))
    );
    assert!(flip.json()["text"].as_str().unwrap().contains("to be confirmed by"), "{flip:?}");
    all.wait_for("the deadline", |taken| taken.kind() == "confirm-due").verify();
    let back = all.wait_for("its end", |taken| taken.kind() == "taken-back");
    assert_eq!(back.json()["data"]["action"]["undone"], 2);

    server.force(WWW, "dc1", "down").done();
    server.force(WWW, "dc1", "obey").done();
    all.wait_for("the override's end", |taken| taken.kind() == "override-ended");
    let path = format!("/api/v1/pools/{WWW}/endpoints/ec2/health");
    let push = |up: bool| server.api("PUT", &path, json!({"up": up, "for": "1h"}), &[]).done();
    push(true);
    for _ in 0..4 {
        push(false);
    }
    let down = all.wait_for("the endpoint", |taken| taken.kind() == "endpoint-down");
    assert_eq!(down.json()["data"]["site"], "ec2");
    let breach = some.wait_for("the breach", |taken| taken.kind() == "breach");
    assert_eq!(breach.json()["data"], json!({"pool": WWW, "mode": "fail-open"}));
    for _ in 0..4 {
        push(true);
    }
    all.wait_for("its end", |taken| taken.kind() == "breach-ended");
    server.configure("[server]\nworkers = \"many\"\n");
    server.reload().refused(422);
    all.wait_for("the refusal", |taken| taken.kind() == "reload-failed");
    assert!(some.taken().iter().all(|taken| taken.kind() == "breach"), "{:?}", some.taken());
    let page = server.api("GET", "/metrics", Value::Null, &[]).text;
    assert!(page.contains("waypost_webhook_events_delivered_total{webhook=\"some\"} 1"), "{page}");
}

#[test]
fn a_receiver_that_fails_is_tried_again_and_holds_up_nobody() {
    let (failing, refusing) = (Receiver::start(), Receiver::start());
    failing.status.store(503, Ordering::SeqCst);
    refusing.status.store(404, Ordering::SeqCst);
    let hooks = hook("failing", &failing, "") + &hook("refusing", &refusing, "");
    let server = server(&format!("{HEAD}{hooks}{}", pool(WWW, 100, 0, "")));
    server.shift(&[WWW], 5.0);
    server.shift(&[WWW], 10.0);
    let first = failing.wait_for("a try", |_| true);
    server.wait_for("the doubt", |s| {
        s.status()["warnings"].to_string().contains("webhook failing: an event was not taken")
    });
    failing.status.store(200, Ordering::SeqCst);
    let again = failing.wait_for("another try", |taken| taken.status == 200);
    again.verify();
    assert_eq!((&again.id, &again.body), (&first.id, &first.body), "it is the same event");
    let generation = |taken: &Taken| taken.json()["data"]["generation"].as_u64();
    failing.wait_for("the next event", |taken| generation(taken) == Some(3) && taken.status == 200);
    refusing.wait_for("the next event", |taken| generation(taken) == Some(3));
    let of_first = refusing.taken().iter().filter(|taken| generation(taken) == Some(2)).count();
    assert_eq!(of_first, 1, "who says no is not asked again");
    server.wait_for("it to be well", |s| !s.status()["warnings"].to_string().contains("webhook failing"));
    assert!(server.log().contains("an event was not delivered to a webhook"), "{}", server.log());
}

#[test]
fn a_hook_is_tried_by_command() {
    let receiver = Receiver::start();
    let folder = folder(&format!("{HEAD}{}{}", hook("pager", &receiver, ""), pool(WWW, 100, 0, "")));
    fs::write(folder.path().join("hook.secret"), format!("{SECRET}\n")).unwrap();
    let test = |name: &str| {
        let mut command = support::waypost();
        command.args(["webhook", "test", name, "--config", "waypost.toml"]).current_dir(folder.path());
        let output = command.output().unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), told)
    };
    let (code, told) = test("pager");
    assert!(code == Some(0) && told.contains("pager: 204 No Content from http://127.0.0.1:"), "{told}");
    receiver.wait_for("the test", |taken| taken.kind() == "test").verify();
    receiver.status.store(500, Ordering::SeqCst);
    let (code, told) = test("pager");
    assert!(code == Some(1) && told.contains("the receiver answers 500 Internal Server Error"), "{told}");
    assert_eq!(test("nobody").0, Some(2));
}
