//! `[[tsig]]`, and the access lists that name its keys.
//!
//! A secret is never quoted, not even a wrong one.

use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::reader::{Table, Value, guess};
use super::source::Source;
use super::values;
use crate::dns::tsig::{Algorithm, Key, KeyRing};
use crate::dns::{Name, rdata};
use crate::zone::AccessList;
use crate::zone::access::{Rule, Who};
use crate::zone::notify::Target;

/// Fewer octets of a secret are doubted.
const SHORT_OCTETS: usize = 16;
/// More octets are no file with a secret.
const MAX_FILE_OCTETS: u64 = 4096;
const BASE64: &str = "a secret in base64, as tsig-keygen and keymgr print it";

/// `[[tsig]]` as read.
#[derive(Default)]
pub(super) struct Keys {
    /// Those without mistakes.
    pub(super) ring: KeyRing,
    /// The names of all, each with its line: those with mistakes are told once.
    named: Vec<(Name, usize)>,
    /// Whether every name could be read, so that one that is missing is missing.
    complete: bool,
}

/// `[[tsig]]`.
pub(super) fn keys(section: Option<Value>, src: &mut Source) -> Keys {
    let mut keys = Keys { complete: true, ..Keys::default() };
    let mut good = Vec::new();
    for mut table in section.map_or_else(Vec::new, |s| s.tables("[[tsig]]", src)) {
        let name = table.require("name", src);
        let algorithm = table.get("algorithm");
        let secret = secret(&mut table, src);
        table.finish(src);
        let Some((name, at)) = name.and_then(|v| Some((values::name(&v, src)?, v.span))) else {
            keys.complete = false;
            continue;
        };
        if let Some((_, line)) = keys.named.iter().find(|(known, _)| *known == name) {
            src.error(at, format!("key \"{name}\" is already written on line {line}"));
            continue;
        }
        keys.named.push((name.clone(), src.line(at.start)));
        // The one that RFC 8945 demands of all, and that every tool makes by default.
        let algorithm = algorithm.map_or(Some(Algorithm::HmacSha256), |v| {
            v.one_of(&Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm)), src)
        });
        if let (Some(algorithm), Some(secret)) = (algorithm, secret) {
            good.push(Key::new(&name, algorithm, &secret));
        }
    }
    keys.ring = good.into_iter().collect();
    keys
}

/// The octets of `secret`, or of what stands in `secret-file`.
fn secret(table: &mut Table, src: &mut Source) -> Option<Vec<u8>> {
    let (value, octets) = match (table.get("secret"), table.get("secret-file")) {
        (Some(_), Some(file)) => {
            src.error(file.span, "a key has a \"secret\" or a \"secret-file\", not both");
            return None;
        }
        (None, None) => {
            src.absence(table.span(), "[[tsig]] has no \"secret-file\", and no \"secret\" either");
            return None;
        }
        (Some(value), None) => {
            let text = value.as_text();
            let octets = text.and_then(rdata::base64);
            if octets.is_none() {
                src.error(value.span.clone(), format!("\"secret\" must be {BASE64}")).secret();
            }
            (value, octets?)
        }
        (None, Some(value)) => {
            let file = values::path(&value, "a file", src)?;
            let octets = read(&file, &value, src)?;
            (value, octets)
        }
    };
    if octets.is_empty() {
        src.error(value.span, "the secret is empty");
        return None;
    }
    if octets.len() < SHORT_OCTETS {
        let message = format!("the secret has only {} octets: it can be guessed", octets.len());
        let told = src.warning(Some(value.span), message);
        if value.key == "secret" {
            told.secret();
        }
    }
    Some(octets)
}

fn read(file: &Path, value: &Value, src: &mut Source) -> Option<Vec<u8>> {
    let mut text = String::new();
    let read = File::open(file).and_then(|open| {
        open.take(MAX_FILE_OCTETS).read_to_string(&mut text)?;
        fs::metadata(file)
    });
    let shown = file.display();
    match read {
        Ok(metadata) => {
            if metadata.permissions().mode() & 0o007 != 0 {
                let message = format!("the secret in \"{shown}\" can be read or written by everybody");
                src.warning(Some(value.span.clone()), message).help("chmod o= takes that away");
            }
            let octets = rdata::base64(&text);
            if octets.is_none() {
                src.error(value.span.clone(), format!("\"{shown}\" does not hold {BASE64}"));
            }
            octets
        }
        Err(error) => {
            src.error(value.span.clone(), format!("the secret in \"{shown}\" can't be read: {error}"));
            None
        }
    }
}

/// An access list, such as `allow-transfer`.
pub(super) fn access(value: &Value, keys: &Keys, src: &mut Source) -> AccessList {
    let rules = rules(value, src);
    for (rule, span) in &rules {
        for name in AccessList(vec![rule.clone()]).keys() {
            keys.require(name, span.clone(), src);
        }
    }
    AccessList(rules.into_iter().map(|(rule, _)| rule).collect())
}

/// An access list for what comes without a key.
pub(super) fn addresses(value: &Value, src: &mut Source) -> AccessList {
    let rules = rules(value, src);
    for (_, span) in rules.iter().filter(|(rule, _)| matches!(rule.who, Who::Key(_))) {
        src.error(span.clone(), "queries are let in by address: a key says nothing here");
    }
    AccessList(rules.into_iter().map(|(rule, _)| rule).collect())
}

fn rules(value: &Value, src: &mut Source) -> Vec<(Rule, std::ops::Range<usize>)> {
    const WHAT: &str = "an array of rules, such as [\"key:NAME\", \"!192.0.2.1\", \"192.0.2.0/24\"]";
    let mut rules = Vec::new();
    for element in value.list(WHAT, src) {
        match element.text(WHAT, src).map(str::parse) {
            Some(Ok(rule)) => rules.push((rule, element.span)),
            Some(Err(error)) => {
                let message = format!("{}: {error}", element.written(src));
                src.error(element.span, message);
            }
            None => {}
        }
    }
    rules
}

/// Servers to tell of new serials: `notify`.
pub(super) fn targets(value: &Value, keys: &Keys, src: &mut Source) -> Vec<Target> {
    const WHAT: &str =
        "an array of addresses with ports, maybe with a key, such as \"192.0.2.1:53\" or \"key:NAME@192.0.2.1:53\"";
    let mut targets: Vec<Target> = Vec::new();
    for element in value.list(WHAT, src) {
        let Some(target) = target(&element, WHAT, keys, src) else { continue };
        if targets.iter().any(|other| other.address == target.address) {
            src.error(element.span, format!("{} is written twice", target.address));
            continue;
        }
        targets.push(target);
    }
    targets
}

/// An address, maybe with a key: `key:NAME@192.0.2.1:53`; `what` says what is wanted where it is none.
pub(super) fn target(value: &Value, what: &str, keys: &Keys, src: &mut Source) -> Option<Target> {
    let target = value.parsed(what, src, |text| {
        let (key, address) = match text.strip_prefix("key:") {
            Some(rest) => rest.rsplit_once('@').map(|(name, address)| (Some(name), address))?,
            None => (None, text),
        };
        let key = key.map(str::parse).transpose().ok()?;
        Some(Target { address: address.parse().ok().filter(|a: &SocketAddr| a.port() != 0)?, key })
    })?;
    if let Some(key) = &target.key {
        keys.require(key, value.span.clone(), src);
    }
    Some(target)
}

impl Keys {
    /// Tells a name that no `[[tsig]]` has.
    pub(super) fn require(&self, name: &Name, span: std::ops::Range<usize>, src: &mut Source) {
        if self.complete && !self.named.iter().any(|(known, _)| known == name) {
            let known: Vec<String> = self.named.iter().map(|(known, _)| known.to_string()).collect();
            let help = guess(&name.to_string(), known.iter().map(String::as_str));
            src.absence(span, format!("there is no [[tsig]] with the name \"{name}\"")).help(help);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::parse;

    fn said(text: &str) -> String {
        let zone = format!("[[zone]]\nname = \"example.org\"\nfile = \"z\"\n{text}");
        match parse(&zone, Path::new("w.toml")) {
            Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
            Err(found) => found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        }
    }

    #[test]
    fn keys_and_the_lists_that_name_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("k.secret");
        fs::write(&file, "b25lIHNlY3JldCBmb3Ig\ndGVzdHM=\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let text = format!(
            "allow-transfer = [\"key:K1\", \"127.0.0.0/8\"]\n[[tsig]]\nname = \"k1\"\nsecret-file = {file:?}\n\
             [[tsig]]\nname = \"k2.\"\nalgorithm = \"hmac-sha512\"\nsecret = \"b25lIHNlY3JldCBmb3IgdGVzdHM=\"\n"
        );
        assert_eq!(said(&text), "");
        let zone = format!("[[zone]]\nname = \"example.org\"\nfile = \"z\"\n{text}");
        let settings = parse(&zone, Path::new("w.toml")).unwrap().settings;
        assert!(settings.keys.get(&"K2".parse().unwrap()).is_some());
        assert!(settings.zones[0].allow_transfer.allows("127.0.0.1".parse().unwrap(), None));

        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let warned = said(&text);
        assert!(warned.contains("can be read or written by everybody (chmod o= takes that away)"), "{warned}");
    }

    #[test]
    fn what_is_wrong_with_a_key_is_told_without_its_secret() {
        for (text, expected) in [
            ("[[tsig]]\nname = \"k\"\n", "4:1: error: [[tsig]] has no \"secret-file\""),
            ("[[tsig]]\nname = \"k\"\nsecret = \"TOPSECRET!\"\n", "\"secret\" must be a secret in base64"),
            ("[[tsig]]\nname = \"k\"\nsecret = 5\n", "\"secret\" must be a secret in base64"),
            ("[[tsig]]\nname = \"k\"\nsecret = \"\"\n", "the secret is empty"),
            ("[[tsig]]\nname = \"k\"\nsecret = \"YWJj\"\n", "warning: the secret has only 3 octets"),
            (
                "[[tsig]]\nname = \"k\"\nsecret-file = \"/nowhere/k\"\n",
                "the secret in \"/nowhere/k\" can't be read: No such",
            ),
            ("[[tsig]]\nname = \"k\"\nsecret = \"YWJj\"\nsecret-file = \"k\"\n", "not both"),
            (
                "[[tsig]]\nname = \"k\"\nalgorithm = \"hmac-md5\"\nsecret = \"YWJj\"\n",
                "\"algorithm\" must be \"hmac-sha256\", \"hmac-sha384\" or \"hmac-sha512\"",
            ),
            (
                "allow-transfer = [\"key:kay\"]\n[[tsig]]\nname = \"key\"\nsecret = \"TOPSECRETTOPSECRETTOPSECRET=\"\n",
                "4:19: error: there is no [[tsig]] with the name \"kay\" (did you mean \"key\"?",
            ),
            ("allow-transfer = [\"10.0.0.1/8\"]\n", "did you mean 10.0.0.0/8?"),
            ("allow-transfer = \"any\"\n", "must be an array of rules"),
            ("transfer-tls = 853\n", "\"transfer-tls\" must be true or false, not 853"),
            ("transfer-tls = true\n", "4:16: warning: \"transfer-tls\" lets nobody have the zone"),
        ] {
            let said = said(text);
            assert!(said.contains(expected), "{text}: {said}");
            let rendered = parse(&format!("[[zone]]\nname = \"z\"\nfile = \"z\"\n{text}"), Path::new("w"));
            let rendered = rendered.map_or_else(|found| crate::config::render(&found, false), |_| String::new());
            assert!(!rendered.contains("\"TOPSECRET!"), "{rendered}");
            assert!(!said.contains("TOPSECRET") && !said.contains("YWJj"), "{said}");
        }
    }
}
