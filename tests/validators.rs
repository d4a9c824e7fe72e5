//! Zones that the server signs, before real validators: BIND's `delv`, DNSViz, `ldns-verify-zone` over a transfer, and Unbound as a
//! validating resolver. Nothing may be bogus, and DNSViz may have no warning, with NSEC and with NSEC3:
//! - steered answers, what is not there, wildcards, aliases and DNAMEs;
//! - while TTLs count down to a cutover, while a flip is under way, and after it;
//! - at each step of the rollover of a zone signing key and of a key signing key.
//!
//! `tests/signing.rs` takes time itself in steps, up to the ends of signatures. DNSViz does not ask loopback addresses, so that
//! all runs in a network namespace, which needs root.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::SOON;
use support::host::{Host, Running};
use support::programs::found;

const ZONE: &str = "\
$TTL 2
@     SOA ns1 hostmaster 2026010101 4h 1h 4w 5
@     NS  ns1
ns1   A   192.0.2.1
www   A   192.0.2.99
www   TXT \"steered\"
alias CNAME www
plain A   192.0.2.7
lab   NS  ns.lab
ns.lab A  192.0.2.53
*.wild A  192.0.2.8
a.b.ent A 192.0.2.9
dn    DNAME plain
x.plain A 192.0.2.10
";

/// What delv and Unbound are asked: each has this RCODE.
const QUESTIONS: [(&str, &str, &str); 11] = [
    ("www.example.org", "A", "NOERROR"),
    ("www.example.org", "AAAA", "NOERROR"),
    ("www.example.org", "TXT", "NOERROR"),
    ("alias.example.org", "A", "NOERROR"),
    ("x.wild.example.org", "A", "NOERROR"),
    ("x.wild.example.org", "MX", "NOERROR"),
    ("x.dn.example.org", "A", "NOERROR"),
    ("b.ent.example.org", "A", "NOERROR"),
    ("lab.example.org", "DS", "NOERROR"),
    ("example.org", "DNSKEY", "NOERROR"),
    ("missing.example.org", "A", "NXDOMAIN"),
];

#[test]
fn with_nsec_nothing_is_ever_bogus() {
    never_bogus("nsec");
}

#[test]
fn with_nsec3_nothing_is_ever_bogus() {
    never_bogus("nsec3");
}

fn never_bogus(denial: &str) {
    if ["delv", "dnsviz", "ldns-verify-zone", "unbound"].iter().any(|program| found(program).is_none()) {
        return;
    }
    let host = Host::new(denial);
    host.plug_in();
    let _server = serve(&host, denial);
    let zone = Signed { host: &host, anchors: String::new() }.trusting_all();
    zone.is_valid("at first");

    host.waypost("cutover www.example.org --in 6s");
    zone.is_valid("in a countdown");
    zone.is_valid_throughout("a flip", |_| {
        for percent in [1, 50, 100, 0, 100] {
            host.waypost(&format!("flip --from ec2 --to dc1 --percent {percent} --pool www.example.org"));
        }
    });
    zone.is_valid("after a flip");
    zone.is_fine_to_dnsviz("after a flip");

    let before = zone.keys();
    host.waypost("dnssec roll --role zsk example.org");
    zone.is_valid_throughout("the rollover of a ZSK", |begun| {
        zone.step_until(begun, |keys| keys.len() == 2 && *keys != before);
    });

    host.waypost("dnssec confirm-ds example.org");
    let before = zone.keys();
    host.waypost("dnssec roll --role ksk example.org");
    zone.is_valid_throughout("the first half of the rollover of a KSK", |begun| {
        zone.step_until(begun, |_| zone.status()["waits_for_parent"] == true);
    });
    zone.is_fine_to_dnsviz("with two KSKs");
    // The parent has the new key's DS now: it alone is trusted.
    let after = Signed { host: &host, anchors: String::new() }.trusting_new(&before);
    host.waypost("dnssec confirm-ds example.org");
    after.is_valid_throughout("the second half of the rollover of a KSK", |begun| {
        after.step_until(begun, |keys| keys.len() == 2);
    });
    after.is_valid("at last");
    after.is_fine_to_dnsviz("at last");
}

fn serve(host: &Host, denial: &str) -> Running {
    host.write("example.org.zone", ZONE);
    host.write(
        "waypost.toml",
        &format!(
            "[server]\nname = \"ns1\"\nlisten = [\"192.0.2.1:53\", \"127.0.0.1:53\"]\nworkers = 1\nstate = \"state\"\n\
             [api]\nlisten = \"127.0.0.1:5380\"\n\
             [[zone]]\nname = \"example.org\"\nfile = \"example.org.zone\"\nallow-transfer = [\"127.0.0.0/8\"]\n\
             dnssec = {{ policy = \"test\" }}\n\
             [[dnssec-policy]]\nname = \"test\"\nkeys = \"ksk-zsk\"\ndenial = \"{denial}\"\ndnskey-ttl = 2\npropagation = 1\n\
             parent-ds-ttl = 1\nparent-propagation = 1\n\
             [[site]]\nname = \"ec2\"\n[[site]]\nname = \"dc1\"\n\
             [[pool]]\nname = \"www.example.org\"\nttl = {{ normal = 4, low = 1 }}\nendpoint = [\n\
             {{ site = \"ec2\", address = [\"192.0.2.11\", \"192.0.2.13\"], weight = 100 }},\n\
             {{ site = \"dc1\", address = [\"192.0.2.12\"], weight = 0 }},\n]\n"
        ),
    );
    let server = host.serve("waypost.toml");
    host.wait_for("127.0.0.1", "example.org");
    server
}

/// The zone, and the keys of it that are trusted.
struct Signed<'h> {
    host: &'h Host,
    /// DNSKEY records, as dig prints them.
    anchors: String,
}

impl Signed<'_> {
    /// Key signing keys as they are now, as dig prints them.
    fn entry_keys(&self) -> Vec<String> {
        let keys = self.host.dig("127.0.0.1", &["example.org", "DNSKEY", "+noall", "+answer", "+nosplit"]);
        keys.lines().map(|line| line.replace('\t', " ")).filter(|line| line.contains(" 257 ")).collect()
    }

    fn trusting_all(self) -> Self {
        Self { anchors: self.entry_keys().join("\n"), ..self }
    }

    /// Trusts the keys whose tags are not among these.
    fn trusting_new(self, before: &[Value]) -> Self {
        let keys = self.status()["keys"].as_array().unwrap().clone();
        let new = keys.iter().find(|key| key["role"] == "ksk" && !before.contains(&key["tag"])).unwrap();
        let ds = new["ds"].as_str().unwrap().split(' ').next().unwrap().to_owned();
        let tag_of = |record: &String| {
            self.host.write("key", &format!("{record}\n"));
            let output = self.host.run("dnssec-dsfromkey", &["-2", "-f", "key", "example.org"]);
            String::from_utf8_lossy(&output.stdout).split(' ').nth(3).map(str::to_owned)
        };
        let anchors: Vec<String> =
            self.entry_keys().into_iter().filter(|record| tag_of(record).as_deref() == Some(&ds)).collect();
        assert_eq!(anchors.len(), 1, "{keys:?}");
        Self { anchors: anchors.concat(), ..self }
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.host.waypost("dnssec status --json example.org")).unwrap()
    }

    /// The tags of its keys.
    fn keys(&self) -> Vec<Value> {
        self.status()["keys"].as_array().unwrap().iter().map(|key| key["tag"].clone()).collect()
    }

    fn step_until(&self, begun: Instant, is: impl Fn(&Vec<Value>) -> bool) {
        while !is(&self.keys()) {
            assert!(begun.elapsed() < 2 * SOON, "{}", self.status());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// All validators but DNSViz take it as it is now.
    fn is_valid(&self, when: &str) {
        self.verify(when);
        let _unbound = self.unbound();
        for (name, rtype, rcode) in QUESTIONS {
            self.delv(name, rtype, rcode, when);
            let answer = self.host.dig("127.0.0.53", &[name, rtype, "+dnssec", "+rec", "+time=5"]);
            let flags = answer.lines().find(|line| line.starts_with(";; flags:")).unwrap_or_default();
            let is_secure = flags.split(';').nth(2).is_some_and(|flags| flags.contains(" ad"));
            assert!(answer.contains(&format!("status: {rcode}")) && is_secure, "{when}: {answer}");
        }
    }

    /// The same for delv and `ldns-verify-zone`, again and again while `work` is done.
    fn is_valid_throughout(&self, when: &str, work: impl FnOnce(Instant)) {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let end = Ends(&ended);
            let looking = scope.spawn(|| {
                let mut rounds = 0;
                while !ended.load(Ordering::Relaxed) || rounds == 0 {
                    self.verify(when);
                    for (name, rtype, rcode) in QUESTIONS {
                        self.delv(name, rtype, rcode, when);
                    }
                    rounds += 1;
                }
            });
            work(Instant::now());
            drop(end);
            looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }

    fn verify(&self, when: &str) {
        let zone = self.host.dig("127.0.0.1", &["example.org", "AXFR", "+onesoa"]);
        self.host.write("transferred", &zone);
        let output = self.host.run("ldns-verify-zone", &["transferred"]);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{when}: {said}\n{zone}");
    }

    fn delv(&self, name: &str, rtype: &str, rcode: &str, when: &str) {
        let key = |record: &str| {
            let words: Vec<&str> = record.split_whitespace().collect();
            let public = words[7..].concat();
            format!("example.org. static-key {} {} {} \"{public}\";\n", words[4], words[5], words[6])
        };
        let anchors: String = self.anchors.lines().map(key).collect();
        self.host.write("anchors", &format!("trust-anchors {{\n{anchors}}};\n"));
        let arguments = ["@127.0.0.1", "-a", "anchors", "+root=example.org", "+multiline", name, rtype];
        let output = self.host.run("delv", &arguments);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let is_there = said.contains("; fully validated") || said.contains("; negative response, fully validated");
        let is_right = said.contains("ncache nxdomain") == (rcode == "NXDOMAIN");
        assert!(is_there && is_right && !said.contains("unsigned"), "{when}: {name} {rtype}: {said}");
    }

    /// An Unbound with an empty cache, at 127.0.0.53.
    fn unbound(&self) -> Running {
        let anchors = self.anchors.replace('\n', "\"\n trust-anchor: \"");
        let dir = self.host.folder.path().display();
        let text = format!(
            "server:\n interface: 127.0.0.53\n directory: \"{dir}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n \
             use-syslog: no\n module-config: \"validator iterator\"\n do-not-query-localhost: no\n do-ip6: no\n \
             harden-dnssec-stripped: yes\n val-log-level: 2\n target-fetch-policy: \"0 0 0 0 0\"\n trust-anchor: \"{anchors}\"\n\
             stub-zone:\n name: \"example.org\"\n stub-addr: 127.0.0.1\nremote-control:\n control-enable: no\n"
        );
        self.host.write("unbound.conf", &text);
        let unbound = self.host.start("/usr/sbin/unbound", &["-d", "-c", "unbound.conf"]);
        let begun = Instant::now();
        while !self.host.dig("127.0.0.53", &["example.org", "SOA", "+rec"]).contains("status: NOERROR") {
            assert!(begun.elapsed() < SOON, "Unbound does not resolve");
            std::thread::sleep(Duration::from_millis(50));
        }
        unbound
    }

    /// DNSViz finds no error, nothing to warn of, and nothing that its trusted keys do not reach.
    fn is_fine_to_dnsviz(&self, when: &str) {
        self.host.write("trusted", &format!("{}\n", self.anchors));
        let keys = self.host.folder.path().join("trusted");
        let output = self.host.run("dnssec-dsfromkey", &["-2", "-f", keys.to_str().unwrap(), "example.org"]);
        let ds = String::from_utf8_lossy(&output.stdout).into_owned();
        let ds = ds.lines().map(|l| l.split(' ').skip(3).collect::<Vec<_>>().join(" "));
        let ds = format!("example.org:{}", ds.collect::<Vec<_>>().join(","));
        // Parents that it is told of are served by itself.
        let names = ["www.example.org", "alias.example.org", "x.wild.example.org", "missing.example.org"];
        let parents = ["-N", "example.org:ns1.example.org=192.0.2.1", "-D", &ds];
        let what = ["probe", "-A", "-R", "A,TXT", "-o", "probe.json"];
        let output = self.host.run("dnsviz", &[&what[..], &parents, &names].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{when}: {said}");
        // Debian's `grok` can't be given trusted keys; `print` can, and shows what of them is reached.
        let output = self.host.run("dnsviz", &["grok", "-r", "probe.json", "-l", "warning"]);
        let found = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && !found.contains("\"errors\"") && !found.contains("\"warnings\""),
            "{when}: {found}"
        );
        let output = self.host.run("dnsviz", &["print", "-r", "probe.json", "-t", "trusted"]);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let signatures: Vec<&str> = printed.lines().filter(|line| line.contains("RRSIG: ")).collect();
        let are_good = signatures.len() > 8 && signatures.iter().all(|line| line.ends_with("[.]"));
        assert!(are_good && !printed.contains("[!") && !printed.contains("[?"), "{when}: {printed}");
    }
}

/// Ends what is done until then, also when the work panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
