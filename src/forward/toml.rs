//! The forwarder's own settings file, in TOML: read with its mistakes all at once, and written from settings.
//!
//! ```toml
#![doc = include_str!("toml/keys.toml")]
//! ```

mod reader;
mod rules;
mod write;

use std::net::SocketAddr;
use std::path::Path;

use ::toml::Spanned;
use ::toml::de::{DeTable, Deserializer};
use serde::Deserialize;

use super::mistake::Mistake;
use super::names::Lookup;
use super::settings::{Authority, LogFile, LogFormat, Settings};
use reader::Reader;

pub use write::write;

/// All keys, each with what it is for.
pub(super) const KEYS: &str = include_str!("toml/keys.toml");

/// Reads `text`, which came from `file`.
///
/// # Errors
/// All mistakes in the order of their places; of a table with an unknown or mistyped key only the first such key, as its
/// other keys can't be relied on.
pub fn parse(text: &str, file: &Path, lookup: &Lookup<'_>) -> Result<Settings, Vec<Mistake>> {
    let mut reader = Reader { text, file, lookup, mistakes: Vec::new() };
    let mut settings = reader.settings();
    if reader.mistakes.is_empty() {
        if settings.rules.is_empty() {
            settings.warnings.push(Mistake::of_file(file, "there is no [[rule]], so nothing is forwarded"));
        }
        Ok(settings)
    } else {
        reader.mistakes.sort_by_key(|m| m.place.as_ref().map(|p| (p.line, p.column)));
        Err(reader.mistakes)
    }
}

/// All but the rules, as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Spec {
    log: Option<Spanned<String>>,
    log_format: Option<Spanned<String>>,
    pid_file: Option<Spanned<String>>,
    drain: Option<Spanned<String>>,
    metrics: Option<Spanned<String>>,
    control: Option<Spanned<String>>,
    state: Option<Spanned<String>>,
    authority: Option<Spanned<AuthoritySpec>>,
    wait_bind: bool,
    allow: Vec<Spanned<String>>,
    deny: Vec<Spanned<String>>,
}

/// The authority as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct AuthoritySpec {
    url: Option<Spanned<String>>,
    name: Option<Spanned<String>>,
    token_file: Option<Spanned<String>>,
    ca: Option<Spanned<String>>,
}

impl Reader<'_> {
    fn settings(&mut self) -> Settings {
        let (mut table, errors) = DeTable::parse_recoverable(self.text);
        if !errors.is_empty() {
            for error in errors {
                self.refused(&error, 0..0);
            }
            return Settings::default();
        }
        let rules = table.get_mut().remove("rule").map(|rules| self.rules(rules)).unwrap_or_default();
        let spec = Spec::deserialize(Deserializer::from(table)).unwrap_or_else(|e| {
            self.refused(&e, 0..0);
            Spec::default()
        });
        let log_format = self.one_of(spec.log_format, &[("tabs", LogFormat::Tabs), ("common", LogFormat::Common)]);
        Settings {
            rules,
            access: self.access(&spec.allow, &spec.deny),
            log: self.path(spec.log).map(|file| LogFile { file, format: log_format.unwrap_or_default() }),
            pid_file: self.path(spec.pid_file),
            drain: self.duration(spec.drain).unwrap_or(Settings::DRAIN),
            metrics: self.metrics(spec.metrics),
            control: self.path(spec.control),
            state: self.path(spec.state),
            authority: self.authority(spec.authority),
            wait_bind: spec.wait_bind,
            warnings: Vec::new(),
        }
    }

    fn authority(&mut self, written: Option<Spanned<AuthoritySpec>>) -> Option<Authority> {
        let written = written?;
        let span = written.span();
        let AuthoritySpec { url, name, token_file, ca } = written.into_inner();
        let mut needed = |value: Option<Spanned<String>>, what: &str| {
            if value.is_none() {
                self.mistake(span.clone(), format!("[authority] needs {what}"));
            }
            value
        };
        let url = needed(url, "url = \"https://HOST:PORT\"");
        let token_file = needed(token_file, "token-file = \"FILE\"");
        let url = url.and_then(|w| self.checked(&w, Authority::url));
        let name = match name {
            Some(w) => self.checked(&w, Authority::name),
            None => Authority::host_name().map_err(|told| self.mistake(span, told)).ok(),
        };
        let (token_file, ca) = (self.path(token_file), self.path(ca));
        Some(Authority { url: url?, name: name?, token_file: token_file?, ca })
    }

    fn metrics(&mut self, written: Option<Spanned<String>>) -> Option<SocketAddr> {
        let read = |text: &str| {
            text.parse().map_err(|_| format!("{text:?} is no address with a port, such as \"127.0.0.1:9411\""))
        };
        written.and_then(|w| self.checked(&w, read))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::super::names::Services;
    use super::super::rinetd;
    use super::super::settings::{ProxyProtocol, Rule};
    use super::*;

    fn lookup<T>(read: impl FnOnce(&Lookup<'_>) -> T) -> T {
        let services = Services::parse("http 80/tcp\nhttp 80/udp\n");
        let resolve = |_: &str| Ok("127.0.0.9".parse().unwrap());
        read(&Lookup { services: &services, resolve: &resolve, is_ours: &|ip| ip == IpAddr::from([192, 0, 2, 1]) })
    }

    fn read(text: &str) -> Result<Settings, Vec<Mistake>> {
        lookup(|l| parse(text, Path::new("forward.toml"), l))
    }

    const ALL: &str = r#"
        log = "/var/log/a b.log"
        log-format = "common"
        pid-file = "/run/f.pid"
        drain = "1m 30s"
        metrics = "127.0.0.1:9411"
        control = "/run/f.sock"
        wait-bind = true
        deny = ["192.0.2.66"]

        [[rule]]
        name = "web"
        proxy-from = ["192.0.2.0/24", "::1"]
        peek = false
        total-timeout = "24h"
        max-connections = 7
        listen = "127.0.0.1:80"
        target = "new.example.org:http"
        proxy-protocol = "v2"
        allow = ["198.51.100.0/24", "203.0.113.*"]
        deny = ["2001:db8::/32"]
        source = "192.0.2.1"
        connect-timeout = "500ms"
        idle-timeout = "1h"

        [[rule]]
        listen = "[::1]:80"
        target = "[2001:db8::1]:80"

        [[rule]]
        protocol = "udp"
        listen = "[::1]:80"
        targets = ["a:http", { target = "b:8", weight = 0 }]
    "#;

    #[test]
    fn all_keys_are_read() {
        let settings = read(ALL).unwrap();
        assert_eq!(settings.drain, Duration::from_secs(90));
        assert_eq!(settings.log.as_ref().unwrap().format, LogFormat::Common);
        assert!(settings.wait_bind && settings.metrics.is_some());
        assert_eq!(settings.access.deny.len(), 1);
        let rule = &settings.rules[0];
        assert_eq!((rule.target().port, rule.proxy_protocol), (80, ProxyProtocol::V2));
        assert_eq!((rule.access.allow.len(), rule.access.deny.len()), (2, 1));
        assert_eq!((rule.connect_timeout, rule.idle_timeout), (Duration::from_millis(500), Duration::from_hours(1)));
        assert_eq!(settings.rules[1].idle_timeout, Rule::IDLE_TIMEOUT);
        assert_eq!(settings.rules[2].idle_timeout, Rule::UDP_TIMEOUT);
        assert_eq!(settings.rules[2].targets[1].weight, 0);
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let settings = read(ALL).unwrap();
        assert_eq!(read(&write(&settings)).unwrap(), settings);
    }

    #[test]
    fn rinetd_conf_converts() {
        let text = "allow 10.*\n0.0.0.0 80 10.0.0.1 80 [src=10.0.0.2]\ndeny 10.9.?.1\nlogfile /var/log/rinetd.log\n";
        let settings = lookup(|l| rinetd::parse(text, Path::new("rinetd.conf"), l)).unwrap();
        let written = write(&settings);
        assert_eq!(
            written,
            "log = \"/var/log/rinetd.log\"\nallow = [\"10.*\"]\n\n[[rule]]\nlisten = \"0.0.0.0:80\"\n\
             target = \"10.0.0.1:80\"\ndeny = [\"10.9.?.1\"]\nsource = \"10.0.0.2\"\n"
        );
        assert_eq!(read(&written).unwrap(), settings);
    }

    fn places(text: &str) -> Vec<(usize, usize, String)> {
        let place = |m: Mistake| m.place.map(|p| (p.line, p.column, m.message)).unwrap();
        read(text).unwrap_err().into_iter().map(place).collect()
    }

    #[test]
    fn mistakes_of_several_tables_are_told_at_once() {
        let found = places(
            "drain = \"30\"\nlog-format = \"json\"\nallow = [\"10.0.0.0/8\", \"example.org\"]\n\
             [[rule]]\nlisten = \"127.0.0.1:80\"\ntarget = \"10.0.0.1\"\nproxy-protocol = \"v3\"\n\
             [[rule]]\nlisten = \"127.0.0.1:81\"\ntarget = \"10.0.0.1:80\"\nidle = \"5s\"\n\
             [[rule]]\ntarget = \"10.0.0.1:80\"\nsource = \"here\"\n\
             [[rule]]\nlisten = \"127.0.0.1:82\"\nmax-connections = 0\ntargets = [{ target = \"10.0.0.1:80\", weight = -1 }]\n",
        );
        let at: Vec<_> = found.iter().map(|(line, column, _)| (*line, *column)).collect();
        assert_eq!(
            at,
            [(1, 9), (2, 14), (3, 24), (6, 10), (7, 18), (11, 1), (12, 1), (14, 10), (17, 19), (18, 47)],
            "{found:#?}"
        );
    }

    #[test]
    fn syntax_and_types_are_told_with_their_place() {
        assert_eq!(places("drain = 30\n")[0].0, 1);
        let syntax = places("log = \"a\nwait-bind = tru\n");
        assert!(syntax.iter().any(|(line, ..)| *line == 1), "{syntax:?}");
        assert!(syntax.iter().any(|(line, ..)| *line == 2), "{syntax:?}");
        assert_eq!(places("rule = 1\n")[0].0, 1);
    }

    #[test]
    fn two_rules_on_one_address_and_unfit_sources_are_mistakes() {
        let found = places(
            "[[rule]]\nlisten = \"127.0.0.1:80\"\ntarget = \"a:1\"\n[[rule]]\nlisten = \"127.0.0.1:http\"\n\
             target = \"10.0.0.1:1\"\nsource = \"::1\"\n",
        );
        assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [5, 7], "{found:?}");
    }

    #[test]
    fn each_key_is_shown_and_read() {
        let settings = read(&KEYS.replace("source = \"192.0.2.1\"", "transparent = true")).unwrap();
        assert_eq!(settings.rules[1].targets.len(), 2);
        assert!(settings.rules[0].transparent && settings.authority.is_some());
        assert_eq!(read(&write(&settings)).unwrap(), settings);
        assert!(read(KEYS).unwrap().rules[0].source.is_some());
    }

    #[test]
    fn what_comes_back_to_itself_is_a_mistake() {
        let two = |target: &str, next: &str| {
            format!(
                "[[rule]]\nlisten = \"0.0.0.0:80\"\ntarget = \"{target}\"\n[[rule]]\nlisten = \"127.0.0.9:81\"\n\
                 targets = [\"10.0.0.1:1\", \"{next}\"]\n"
            )
        };
        assert_eq!(places(&two("127.0.0.9:80", "10.0.0.1:80"))[0].0, 3);
        assert_eq!(places(&two("192.0.2.1:80", "127.0.0.9:81")).iter().map(|p| p.0).collect::<Vec<_>>(), [3, 6]);
        assert!(read(&two("127.0.0.9:81", "192.0.2.2:80")).is_ok(), "one rule may lead to another");
        assert_eq!(places(&two("127.0.0.9:81", "localhost:80")).iter().map(|p| p.0).collect::<Vec<_>>(), [3, 6]);
    }

    proptest::proptest! {
        #[test]
        fn no_lines_of_likely_words_make_it_panic(
            words in proptest::collection::vec(
                "(\\[\\[rule\\]\\]|\n|listen|targets?|=|\"a:1\"|\"::1\"|\\[|\\]|\\{|\\}|,|weight|1|peek|true|\"5s\"|#|name| )",
                0..40
            )
        ) {
            let _ = read(&words.join(" "));
        }
    }
}
