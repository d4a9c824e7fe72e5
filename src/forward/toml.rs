//! The forwarder's own settings file, in TOML: read with its mistakes all at once, and written from settings.
//!
//! ```toml
//! log = "/var/log/forward.log"        # log-format = "tabs" (default) or "common", as rinetd logs
//! pid-file = "/run/forward.pid"
//! drain = "30s"
//! metrics = "127.0.0.1:9411"
//! control = "/run/waypost-forward.sock"
//! state = "/var/lib/waypost/forward.state"   # default: beside the control socket, .state added
//! wait-bind = true
//! deny = ["192.0.2.66"]               # allow and deny up here hold for all rules
//!
//! [authority]                         # who leads it
//! url = "https://ns1.example.org:5380"
//! name = "old-web-1"                  # default: the host's name
//! token-file = "/etc/waypost/forwarder.token"
//! ca = "/etc/waypost/ca.pem"          # default: what the system trusts
//!
//! [[rule]]
//! name = "web"
//! pool = "www.example.org"            # whose stragglers come by it, to which site
//! site = "ec2"
//! listen = "0.0.0.0:80"
//! target = "new.example.org:80"
//! proxy-protocol = "v2"               # or "v1", "none" (default)
//! proxy-from = ["198.51.100.1"]       # load balancers that begin with a PROXY header
//! allow = ["198.51.100.0/24", "203.0.113.*"]
//! source = "192.0.2.1"
//! peek = true                         # default: on ports 80 and 443
//! connect-timeout = "5s"
//! idle-timeout = "72h"
//! total-timeout = "24h"               # default: none
//! max-connections = 10000             # default: none
//!
//! [[rule]]
//! protocol = "udp"                    # default: "tcp"
//! listen = "0.0.0.0:53"
//! targets = ["192.0.2.2:53", { target = "192.0.2.3:53", weight = 50 }]
//! ```

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue, Deserializer, Error, ValueDeserializer};
use ipnet::IpNet;
use serde::Deserialize;

use super::access::{Access, Pattern};
use super::mistake::{Mistake, Place};
use super::names::{self, Lookup};
use super::settings::{Authority, LogFile, LogFormat, Protocol, ProxyProtocol, Rule, Settings, WeightedTarget};
use crate::pairing::Belongs;

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

/// A rule as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RuleSpec {
    name: Option<Spanned<String>>,
    protocol: Option<Spanned<String>>,
    listen: Option<Spanned<String>>,
    target: Option<Spanned<String>>,
    proxy_from: Vec<Spanned<String>>,
    peek: Option<bool>,
    total_timeout: Option<Spanned<String>>,
    max_connections: Option<Spanned<i64>>,
    proxy_protocol: Option<Spanned<String>>,
    allow: Vec<Spanned<String>>,
    deny: Vec<Spanned<String>>,
    source: Option<Spanned<String>>,
    connect_timeout: Option<Spanned<String>>,
    idle_timeout: Option<Spanned<String>>,
    pool: Option<Spanned<String>>,
    site: Option<Spanned<String>>,
}

/// A target as written, with its weight.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightedSpec {
    target: Spanned<String>,
    weight: Option<Spanned<i64>>,
}

struct Reader<'a> {
    text: &'a str,
    file: &'a Path,
    lookup: &'a Lookup<'a>,
    mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
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

    fn rules(&mut self, written: Spanned<DeValue<'a>>) -> Vec<Rule> {
        let span = written.span();
        let DeValue::Array(items) = written.into_inner() else {
            self.mistake(span, "rules are tables, each headed [[rule]]".to_owned());
            return Vec::new();
        };
        let mut listens: HashMap<(Protocol, SocketAddr), usize> = HashMap::new();
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut rules = Vec::new();
        for mut item in items {
            let span = item.span();
            let targets = match item.get_mut() {
                DeValue::Table(rule) => rule.remove("targets"),
                _ => None,
            };
            let spec = match RuleSpec::deserialize(ValueDeserializer::from(item)) {
                Ok(spec) => spec,
                Err(e) => {
                    self.refused(&e, span);
                    continue;
                }
            };
            let listen_span = spec.listen.as_ref().map_or(span.clone(), Spanned::span);
            let name_span = spec.name.as_ref().map_or(span.clone(), Spanned::span);
            let Some(rule) = self.rule(spec, targets, span) else { continue };
            let address = rule.listen.address;
            let line = Place::of_span(self.text, listen_span.clone()).line;
            if let Some(earlier) = listens.insert((rule.protocol, address), line).filter(|_| address.port() != 0) {
                self.mistake(listen_span, format!("the rule of line {earlier} listens on {address} already"));
            }
            if let Some(name) = &rule.name {
                let line = Place::of_span(self.text, name_span.clone()).line;
                if let Some(earlier) = names.insert(name.clone(), line) {
                    self.mistake(name_span, format!("the rule of line {earlier} has the name {name:?} already"));
                }
            }
            rules.push(rule);
        }
        rules
    }

    fn rule(&mut self, spec: RuleSpec, targets: Option<Spanned<DeValue<'a>>>, span: Range<usize>) -> Option<Rule> {
        let protocol =
            self.one_of(spec.protocol, &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)]).unwrap_or_default();
        let name = spec.name.and_then(|w| {
            let read = |text: &str| match text {
                "" => Err("a name can't be empty".to_owned()),
                long if long.len() > 255 => Err("a name has 255 octets at most".to_owned()),
                text => Ok(text.to_owned()),
            };
            self.checked(&w, read)
        });
        let listen = self.needed(spec.listen, "listen", &span);
        let listen = listen.and_then(|w| self.checked(&w, |text| names::listen(text, protocol, self.lookup)));
        let targets = self.targets(spec.target, targets, protocol, &span);
        let proxy = [("none", ProxyProtocol::None), ("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];
        let proxy_span = spec.proxy_protocol.as_ref().map(Spanned::span);
        let proxy_protocol = self.one_of(spec.proxy_protocol, &proxy).unwrap_or_default();
        if let (Protocol::Udp, Some(span)) = (protocol, proxy_span.or(spec.proxy_from.first().map(Spanned::span))) {
            self.mistake(span, "the PROXY protocol is for TCP rules".to_owned());
        }
        let access = self.access(&spec.allow, &spec.deny);
        let proxy_from = spec.proxy_from.iter().filter_map(|w| self.checked(w, network)).collect();
        let source_span = spec.source.as_ref().map(Spanned::span);
        let source = spec.source.and_then(|w| {
            self.checked(&w, |text| text.parse::<IpAddr>().map_err(|_| format!("{text:?} is no address")))
        });
        let connect_timeout = self.duration(spec.connect_timeout).unwrap_or(Rule::CONNECT_TIMEOUT);
        let quiet = if protocol == Protocol::Udp { Rule::UDP_TIMEOUT } else { Rule::IDLE_TIMEOUT };
        let idle_timeout = self.duration(spec.idle_timeout).unwrap_or(quiet);
        let total_timeout = self.duration(spec.total_timeout);
        let max_connections = spec.max_connections.and_then(|written| {
            let number = u32::try_from(*written.get_ref()).ok().filter(|&number| number > 0);
            if number.is_none() {
                let message = format!("{} is no number of connections: expected 1 or more", written.get_ref());
                self.mistake(written.span(), message);
            }
            number
        });
        let both = spec.pool.is_some() == spec.site.is_some();
        if let (false, Some(one)) = (both, spec.pool.as_ref().or(spec.site.as_ref())) {
            self.mistake(one.span(), "a rule belongs to a pool and a site: write both or none".to_owned());
        }
        let belongs = spec.pool.zip(spec.site).map(|(pool, site)| Belongs {
            pool: pool.into_inner().trim_end_matches('.').to_ascii_lowercase(),
            site: site.into_inner(),
        });
        let (listen, targets) = (listen?, targets?);
        let by_port = protocol == Protocol::Tcp && Rule::peeks_at(listen.address.port());
        let rule = Rule {
            name,
            protocol,
            access,
            source,
            proxy_protocol,
            proxy_from,
            peek: spec.peek.unwrap_or(by_port),
            connect_timeout,
            idle_timeout,
            total_timeout,
            max_connections,
            belongs,
            ..Rule::new(listen, targets[0].target.clone())
        };
        let rule = Rule { targets, ..rule };
        if let (Some(doubt), Some(span)) = (rule.source_mismatch(), source_span) {
            self.mistake(span, doubt);
        }
        Some(rule)
    }

    /// `target` or `targets`; `None` if there is none that can be taken.
    fn targets(
        &mut self,
        one: Option<Spanned<String>>,
        many: Option<Spanned<DeValue<'a>>>,
        protocol: Protocol,
        span: &Range<usize>,
    ) -> Option<Vec<WeightedTarget>> {
        let (one, many) = match (one, many) {
            (one, None) => {
                let written = self.needed(one, "target", span)?;
                let target = self.checked(&written, |text| names::target(text, protocol, self.lookup.services))?;
                return Some(vec![WeightedTarget { target, weight: WeightedTarget::WEIGHT }]);
            }
            (one, Some(many)) => (one, many),
        };
        let span = many.span();
        if one.is_some() {
            self.mistake(span, "a rule has either target or targets".to_owned());
            return None;
        }
        let DeValue::Array(items) = many.into_inner() else {
            self.mistake(
                span,
                "expected targets = [\"HOST:PORT\", { target = \"HOST:PORT\", weight = 50 }]".to_owned(),
            );
            return None;
        };
        let count = items.len();
        let mut targets = Vec::with_capacity(count);
        for item in items {
            let at = item.span();
            let spec = if let DeValue::String(text) = item.get_ref() {
                WeightedSpec { target: Spanned::new(at, text.to_string()), weight: None }
            } else {
                match WeightedSpec::deserialize(ValueDeserializer::from(item)) {
                    Ok(spec) => spec,
                    Err(e) => {
                        self.refused(&e, at);
                        continue;
                    }
                }
            };
            let target = self.checked(&spec.target, |text| names::target(text, protocol, self.lookup.services));
            let weight = match spec.weight {
                None => Some(WeightedTarget::WEIGHT),
                Some(written) => {
                    let weight = u32::try_from(*written.get_ref()).ok().filter(|w| *w <= WeightedTarget::MAX_WEIGHT);
                    if weight.is_none() {
                        let (weight, most) = (written.get_ref(), WeightedTarget::MAX_WEIGHT);
                        self.mistake(written.span(), format!("{weight} is no weight: expected 0 to {most}"));
                    }
                    weight
                }
            };
            if let (Some(target), Some(weight)) = (target, weight) {
                targets.push(WeightedTarget { target, weight });
            }
        }
        if targets.len() < count {
            return None;
        }
        if targets.iter().all(|t| t.weight == 0) {
            self.mistake(span, "at least one target needs a weight above 0".to_owned());
            return None;
        }
        Some(targets)
    }

    fn needed(&mut self, value: Option<Spanned<String>>, key: &str, span: &Range<usize>) -> Option<Spanned<String>> {
        if value.is_none() {
            self.mistake(span.clone(), format!("this rule has no {key}: expected {key} = \"HOST:PORT\""));
        }
        value
    }

    fn access(&mut self, allow: &[Spanned<String>], deny: &[Spanned<String>]) -> Access {
        let mut patterns = |written: &[Spanned<String>]| {
            let read = |text: &str| Pattern::parse(text).map_err(|e| format!("{text:?} is no pattern: {e}"));
            written.iter().filter_map(|w| self.checked(w, read)).collect()
        };
        Access { allow: patterns(allow), deny: patterns(deny) }
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

    fn path(&mut self, written: Option<Spanned<String>>) -> Option<PathBuf> {
        let read = |text: &str| if text.is_empty() { Err("a file name can't be empty") } else { Ok(text.into()) };
        written.and_then(|w| self.checked(&w, read))
    }

    fn duration(&mut self, written: Option<Spanned<String>>) -> Option<Duration> {
        written.and_then(|w| self.checked(&w, duration))
    }

    fn one_of<T: Copy>(&mut self, written: Option<Spanned<String>>, words: &[(&str, T)]) -> Option<T> {
        let read = |text: &str| {
            let known = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            known.ok_or_else(|| {
                let expected: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
                format!("{text:?} is not one of {}", expected.join(", "))
            })
        };
        written.and_then(|w| self.checked(&w, read))
    }

    /// What `read` makes of a value, or `None` with its mistake noted.
    fn checked<T, E: ToString>(
        &mut self,
        written: &Spanned<String>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        read(written.get_ref()).map_err(|e| self.mistake(written.span(), e.to_string())).ok()
    }

    fn refused(&mut self, error: &Error, otherwise: Range<usize>) {
        self.mistake(error.span().unwrap_or(otherwise), error.message().replace('\n', ", "));
    }

    fn mistake(&mut self, span: Range<usize>, message: String) {
        let place = Some(Place::of_span(self.text, span));
        self.mistakes.push(Mistake { file: self.file.to_owned(), place, message });
    }
}

/// Reads an address, or a network in CIDR notation.
fn network(text: &str) -> Result<IpNet, String> {
    match Pattern::parse(text) {
        Ok(Pattern::Net(net)) => Ok(net),
        Ok(Pattern::Wildcard(_)) => Err(format!("{text:?} has a wildcard: expected an address or a network")),
        Err(e) => Err(format!("{text:?} is no network: {e}")),
    }
}

/// Reads a duration such as `"5s"`, `"1m 30s"` or `"72h"`: longer than nothing, at most ten years.
fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_hours(10 * 366 * 24);
    let read = text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    match read {
        Some(d) if !d.is_zero() && d <= LONGEST => Ok(d),
        Some(_) => Err(format!("{text:?} is out of range: expected more than nothing and at most ten years")),
        None => Err(format!("{text:?} is no duration: expected a number with a unit, such as \"5s\" or \"72h\"")),
    }
}

/// Writes `settings` so that [`parse`] reads the same again; what is at its default is left out.
pub fn write(settings: &Settings) -> String {
    let mut out = String::new();
    let defaults = Settings::default();
    if let Some(log) = &settings.log {
        line(&mut out, "log", &quoted(&log.file.to_string_lossy()));
        if log.format == LogFormat::Common {
            line(&mut out, "log-format", "\"common\"");
        }
    }
    if let Some(file) = &settings.pid_file {
        line(&mut out, "pid-file", &quoted(&file.to_string_lossy()));
    }
    if settings.drain != defaults.drain {
        line(&mut out, "drain", &written_duration(settings.drain));
    }
    if let Some(address) = settings.metrics {
        line(&mut out, "metrics", &quoted(&address.to_string()));
    }
    if let Some(file) = &settings.control {
        line(&mut out, "control", &quoted(&file.to_string_lossy()));
    }
    if let Some(file) = &settings.state {
        line(&mut out, "state", &quoted(&file.to_string_lossy()));
    }
    if settings.wait_bind {
        line(&mut out, "wait-bind", "true");
    }
    write_access(&mut out, &settings.access);
    if let Some(Authority { url, name, token_file, ca }) = &settings.authority {
        out.push_str("\n[authority]\n");
        line(&mut out, "url", &quoted(url));
        line(&mut out, "name", &quoted(name));
        line(&mut out, "token-file", &quoted(&token_file.to_string_lossy()));
        if let Some(ca) = ca {
            line(&mut out, "ca", &quoted(&ca.to_string_lossy()));
        }
    }
    for rule in &settings.rules {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str("[[rule]]\n");
        write_rule(&mut out, rule);
    }
    out
}

fn write_rule(out: &mut String, rule: &Rule) {
    if let Some(name) = &rule.name {
        line(out, "name", &quoted(name));
    }
    if let Some(Belongs { pool, site }) = &rule.belongs {
        line(out, "pool", &quoted(pool));
        line(out, "site", &quoted(site));
    }
    if rule.protocol == Protocol::Udp {
        line(out, "protocol", "\"udp\"");
    }
    line(out, "listen", &quoted(&rule.listen.to_string()));
    match &rule.targets[..] {
        [one] if one.weight == WeightedTarget::WEIGHT => line(out, "target", &quoted(&one.target.to_string())),
        many => {
            let one =
                |t: &WeightedTarget| format!("{{ target = {}, weight = {} }}", quoted(&t.target.to_string()), t.weight);
            line(out, "targets", &format!("[{}]", many.iter().map(one).collect::<Vec<_>>().join(", ")));
        }
    }
    match rule.proxy_protocol {
        ProxyProtocol::None => {}
        ProxyProtocol::V1 => line(out, "proxy-protocol", "\"v1\""),
        ProxyProtocol::V2 => line(out, "proxy-protocol", "\"v2\""),
    }
    if !rule.proxy_from.is_empty() {
        let nets: Vec<_> = rule.proxy_from.iter().map(|net| quoted(&net.to_string())).collect();
        line(out, "proxy-from", &format!("[{}]", nets.join(", ")));
    }
    write_access(out, &rule.access);
    if let Some(source) = rule.source {
        line(out, "source", &quoted(&source.to_string()));
    }
    if rule.peek != (rule.protocol == Protocol::Tcp && Rule::peeks_at(rule.listen.address.port())) {
        line(out, "peek", if rule.peek { "true" } else { "false" });
    }
    if rule.connect_timeout != Rule::CONNECT_TIMEOUT {
        line(out, "connect-timeout", &written_duration(rule.connect_timeout));
    }
    let quiet = if rule.protocol == Protocol::Udp { Rule::UDP_TIMEOUT } else { Rule::IDLE_TIMEOUT };
    if rule.idle_timeout != quiet {
        line(out, "idle-timeout", &written_duration(rule.idle_timeout));
    }
    if let Some(limit) = rule.total_timeout {
        line(out, "total-timeout", &written_duration(limit));
    }
    if let Some(most) = rule.max_connections {
        line(out, "max-connections", &most.to_string());
    }
}

fn write_access(out: &mut String, access: &Access) {
    for (key, patterns) in [("allow", &access.allow), ("deny", &access.deny)] {
        if !patterns.is_empty() {
            let patterns: Vec<_> = patterns.iter().map(|p| quoted(&p.to_string())).collect();
            line(out, key, &format!("[{}]", patterns.join(", ")));
        }
    }
}

fn line(out: &mut String, key: &str, value: &str) {
    writeln!(out, "{key} = {value}").expect("writing to a String does not fail");
}

fn quoted(text: &str) -> String {
    ::toml::Value::from(text).to_string()
}

fn written_duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    match (seconds, nanos) {
        (_, 1..) => format!("\"{seconds}s {nanos}ns\""),
        (_, 0) if seconds.is_multiple_of(3600) => format!("\"{}h\"", seconds / 3600),
        _ => format!("\"{seconds}s\""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::Services;
    use super::super::rinetd;
    use super::*;

    fn lookup<T>(read: impl FnOnce(&Lookup<'_>) -> T) -> T {
        let services = Services::parse("http 80/tcp\nhttp 80/udp\n");
        let resolve = |_: &str| Ok("127.0.0.9".parse().unwrap());
        read(&Lookup { services: &services, resolve: &resolve })
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
    fn durations_have_units_and_bounds() {
        assert_eq!(duration("72h"), Ok(Duration::from_hours(72)));
        for bad in ["", "5", "-5s", "0s", "99999h 99999999999h", "200000h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
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
