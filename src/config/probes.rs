//! `[probe.NAME]`: what is asked, of which type, and how often.
//!
//! Each type has keys of its own beside the common ones; a key of another type is told to be that.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Uri};

use super::reader::{Table, Value};
use super::source::Source;
use super::trust;
use super::values::{self, LABEL, label};
use crate::dns::Rtype;
use crate::probe::expect::{Expect, Pattern};
use crate::probe::prometheus::Comparison;
use crate::probe::{self, Kind, Settings, command, dns, grpc, http, prometheus, push, tcp};
use crate::steering::damping::Damping;
use crate::steering::health::Thresholds;
use crate::tls::{Client, Trust};

/// A `[probe.NAME]` as read.
pub(super) struct Probe {
    /// Where its name is.
    pub(super) at: Range<usize>,
    /// `None` when it has mistakes.
    pub(super) settings: Option<Settings>,
}

/// `[probe.NAME]`, by name.
pub(super) fn probes(section: Option<Value>, src: &mut Source) -> BTreeMap<String, Probe> {
    let table = section.and_then(|s| s.table("[probe.NAME]", src));
    let mut probes = BTreeMap::new();
    for (at, value) in table.iter().flat_map(Table::named) {
        if !label(value.key) {
            src.error(at.clone(), format!("a probe's name must be {LABEL}, not {:?}", value.key));
        }
        probes.insert(value.key.to_owned(), Probe { at, settings: probe(&value, src) });
    }
    probes
}

/// The types, as they are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Http,
    Https,
    Tcp,
    Dns,
    Grpc,
    Prometheus,
    Command,
    Push,
}

const TYPES: [(&str, Type); 8] = [
    ("http", Type::Http),
    ("https", Type::Https),
    ("tcp", Type::Tcp),
    ("dns", Type::Dns),
    ("grpc", Type::Grpc),
    ("prometheus", Type::Prometheus),
    ("command", Type::Command),
    ("push", Type::Push),
];

impl Type {
    /// The keys of its own.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Http => &["port", "version", "method", "path", "host", "headers", "status", "expect", "expect-regex"],
            Self::Https => &[
                "port",
                "version",
                "method",
                "path",
                "host",
                "headers",
                "status",
                "expect",
                "expect-regex",
                "sni",
                "ca-file",
                "pins",
                "verify",
            ],
            Self::Tcp => &["port", "send", "expect", "expect-regex", "tls", "sni", "ca-file", "pins", "verify"],
            Self::Dns => &["port", "transport", "query", "query-type", "rcode", "expect", "expect-regex"],
            Self::Grpc => &["port", "host", "service", "tls", "sni", "ca-file", "pins", "verify"],
            Self::Prometheus => &["url", "query", "expect", "unknown", "max-age", "sni", "ca-file", "pins", "verify"],
            Self::Command => &["command"],
            Self::Push => &["when-expired"],
        }
    }
}

/// The keys of this probe's type, and the others.
struct Keys<'d> {
    table: Table<'d>,
    title: String,
}

impl<'d> Keys<'d> {
    fn get(&mut self, key: &'static str) -> Option<Value<'d>> {
        self.table.get(key)
    }

    /// Tells the keys that belong to other types only.
    fn refuse_foreign(&mut self, of: Type, src: &mut Source) {
        let word = |t: Type| TYPES.iter().find(|(_, other)| *other == t).map_or("", |(word, _)| *word);
        for (at, value) in self.table.named().collect::<Vec<_>>() {
            let key = TYPES.iter().flat_map(|(_, t)| t.keys()).find(|key| **key == value.key);
            let Some(key) = key.filter(|key| !of.keys().contains(key)) else { continue };
            let owners: Vec<String> =
                TYPES.iter().filter(|(_, t)| t.keys().contains(key)).map(|(word, _)| format!("{word:?}")).collect();
            let message = format!(
                "{key:?} is for probes of type {}, and {} is of type {:?}",
                owners.join(", "),
                self.title,
                word(of)
            );
            src.error(at, message);
            self.table.know(key);
        }
    }
}

fn probe(section: &Value, src: &mut Source) -> Option<Settings> {
    let title = format!("[probe.{}]", section.key);
    let mut table = section.table(title.as_str(), src)?;
    let kind = table.require("type", src);
    let [interval, timeout, rise, fall, source, flap] =
        ["interval", "timeout", "rise", "fall", "source", "flap"].map(|key| table.get(key));
    let mut keys = Keys { table, title: title.clone() };
    let of = kind.and_then(|v| v.one_of(&TYPES, src));
    let kind = if let Some(of) = of {
        keys.refuse_foreign(of, src);
        match of {
            Type::Http => http(&mut keys, false, src),
            Type::Https => http(&mut keys, true, src),
            Type::Tcp => tcp(&mut keys, src),
            Type::Dns => dns(&mut keys, src),
            Type::Grpc => grpc(&mut keys, src),
            Type::Prometheus => prometheus(&mut keys, src),
            Type::Command => command(&mut keys, src),
            Type::Push => push(&mut keys, src),
        }
    } else {
        // Nothing is unknown that some type knows.
        TYPES.iter().flat_map(|(_, t)| t.keys()).for_each(|key| keys.table.know(key));
        None
    };
    keys.table.finish(src);
    if of == Some(Type::Push) {
        for value in [&interval, &timeout, &rise, &fall, &source].into_iter().flatten() {
            let message = format!("{title} is of type \"push\": nobody is asked, and each value counts at once");
            src.error(value.span.clone(), message);
        }
    }
    let source = source.map_or_else(|| Some(probe::Source::default()), |v| sources(&v, src));

    // 2 s and 5 s with 2 and 3: a dead endpoint is out within 17 s, and one lost packet (sent again after 1 s) harms none.
    let timed = |value: &Option<Value>, default_secs, least_ms, src: &mut Source| match value {
        Some(v) => values::duration(v, Duration::from_millis(least_ms), src),
        None => Some(Duration::from_secs(default_secs)),
    };
    let (interval_spec, timeout_spec) = (interval, timeout);
    let interval = timed(&interval_spec, 5, 100, src);
    let timeout = timed(&timeout_spec, 2, 10, src);
    if let (Some(interval), Some(timeout), Some(spec)) = (interval, timeout, timeout_spec.or(interval_spec))
        && timeout > interval
    {
        let message = format!("the timeout of {title}, {timeout:?}, is longer than its interval, {interval:?}");
        src.error(spec.span, message);
    }
    let count = |value: Option<Value>, default: u32, src: &mut Source| match value {
        Some(v) => v.integer("a whole number", 1..=1000, src),
        None => Some(default),
    };
    let (rise_default, fall_default) = if of == Some(Type::Push) { (1, 1) } else { (2, 3) };
    let (rise, fall) = (count(rise, rise_default, src), count(fall, fall_default, src));
    let damping = flap.map_or_else(|| Some(Damping::default()), |v| damping(&v, src));
    let thresholds = Thresholds { rise: rise?, fall: fall? };
    Some(Settings {
        kind: kind?,
        interval: interval?,
        timeout: timeout?,
        thresholds,
        damping: damping?,
        source: source?,
    })
}

/// `flap = { changes, within, hold, longest }`: when changes come too often, and how long they are answered with down.
fn damping(value: &Value, src: &mut Source) -> Option<Damping> {
    let mut table = value.table("flap", src)?;
    let [changes, within, hold, longest] = ["changes", "within", "hold", "longest"].map(|key| table.get(key));
    table.finish(src);
    let default = Damping::default();
    let secs = |value: Option<Value>, default, src: &mut Source| match value {
        Some(v) => values::duration(&v, Duration::from_secs(1), src).map(|d| d.as_secs()),
        None => Some(default),
    };
    let changes = match changes {
        Some(v) => v.integer("a whole number", 0..=1000, src),
        None => Some(default.changes),
    };
    let within_secs = secs(within, default.within_secs, src);
    let hold_secs = secs(hold, default.hold_secs, src);
    let longest_at = longest.as_ref().map(|v| v.span.clone());
    let longest_secs = secs(longest, default.longest_secs.max(hold_secs.unwrap_or(0)), src);
    if let (Some(hold), Some(longest), Some(at)) = (hold_secs, longest_secs, longest_at)
        && longest < hold
    {
        src.error(at, format!("\"longest\" is {longest} s, which is below \"hold\", {hold} s"));
    }
    let (changes, within_secs) = (changes?, within_secs?);
    Some(Damping { changes, within_secs, hold_secs: hold_secs?, longest_secs: longest_secs? })
}

/// `source`: an address of our own, or one of each family.
fn sources(value: &Value, src: &mut Source) -> Option<probe::Source> {
    const WHAT: &str = "an IP address of this machine, or an array of one IPv4 and one IPv6 address";
    let elements = if value.as_text().is_some() { vec![value.clone()] } else { value.list(WHAT, src) };
    let mut made = probe::Source::default();
    let mut whole = !elements.is_empty();
    for element in elements {
        let twice = match element.parsed(WHAT, src, |text| text.parse().ok()) {
            Some(IpAddr::V4(address)) => made.v4.replace(address).is_some(),
            Some(IpAddr::V6(address)) => made.v6.replace(address).is_some(),
            None => {
                whole = false;
                continue;
            }
        };
        if twice {
            src.error(element.span.clone(), "one source of each family is used: this is one too many");
            whole = false;
        }
    }
    whole.then_some(made)
}

fn port(value: Option<Value>, default: Option<u16>, keys: &Keys, src: &mut Source) -> Option<u16> {
    match (value, default) {
        (Some(v), _) => v.integer("a port", 1..=65535, src).map(|port| port as u16),
        (None, Some(port)) => Some(port),
        (None, None) => {
            src.absence(keys.table.span(), format!("{} has no \"port\"", keys.title));
            None
        }
    }
}

fn printable(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

/// A mistake that was told.
struct Wrong;

/// `host` and the like.
fn host(value: Option<Value>, what: &str, src: &mut Source) -> Result<Option<String>, Wrong> {
    let Some(v) = value else { return Ok(None) };
    let text = v.parsed(what, src, |text| Some(text).filter(|t| printable(t))).ok_or(Wrong)?;
    Ok(Some(text.to_owned()))
}

fn http(keys: &mut Keys, tls: bool, src: &mut Source) -> Option<Kind> {
    let [port_spec, version, method, path, host_spec, headers_spec, status] =
        ["port", "version", "method", "path", "host", "headers", "status"].map(|key| keys.get(key));
    let port = port(port_spec, Some(if tls { 443 } else { 80 }), keys, src);
    let version = match version {
        // Over TLS what browsers would speak; without it what every server speaks.
        None => Some(if tls { http::Version::Either } else { http::Version::One }),
        Some(v) if tls => {
            v.one_of(&[("1.1", http::Version::One), ("2", http::Version::Two), ("either", http::Version::Either)], src)
        }
        Some(v) => v.one_of(&[("1.1", http::Version::One), ("2", http::Version::Two)], src),
    };
    let what = "a method of requests without a body, such as \"GET\" or \"HEAD\"";
    let method = match method {
        Some(v) => v.parsed(what, src, |text| {
            Method::from_bytes(text.as_bytes()).ok().filter(|m| *m != Method::CONNECT && text == text.to_uppercase())
        }),
        None => Some(Method::GET),
    };
    let what = "a path that begins with \"/\", of printable ASCII characters without spaces";
    let is_path = |text: &&str| {
        printable(text) && text.starts_with('/') && !text.contains('#') && text.parse::<PathAndQuery>().is_ok()
    };
    let path = match path {
        Some(v) => v.parsed(what, src, |text| Some(text).filter(is_path)),
        None => Some("/"),
    };
    let host = host(host_spec, "what the Host header shall say, of printable ASCII characters without spaces", src);
    let headers = headers_spec.map_or_else(|| Some(Vec::new()), |v| headers(&v, src));
    let statuses = status.map_or_else(|| Some(http::Statuses::default()), |v| statuses(&v, src));
    let expected_at = ["expect", "expect-regex"].into_iter().find_map(|key| keys.get(key)).map(|v| v.span);
    let body = expect(keys, src);
    if let (Some(at), Some(Method::HEAD)) = (expected_at, &method) {
        src.error(at, "an answer to HEAD has no body to look at");
    }
    let tls = if tls {
        client(keys, version.unwrap_or(http::Version::Either).protocols(), src).map(Some)
    } else {
        Some(None)
    };
    Some(Kind::Http(http::Settings {
        port: port?,
        tls: tls?,
        version: version?,
        method: method?,
        path: path?.to_owned(),
        host: host.ok()?,
        headers: headers?,
        statuses: statuses?,
        body: body.ok()?,
    }))
}

fn headers(value: &Value, src: &mut Source) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let table = value.table("headers", src)?;
    let mut made = Vec::new();
    let mut whole = true;
    for (at, value) in table.named() {
        let name = value.key.parse::<HeaderName>().ok();
        match &name {
            None => _ = src.error(at, format!("{:?} is no name of a header", value.key)),
            Some(name) if ["host", "connection", "content-length", "transfer-encoding"].contains(&name.as_str()) => {
                src.error(at, format!("{:?} is sent as it must be", value.key)).help("\"host\" is a key of the probe");
                whole = false;
            }
            Some(_) => {}
        }
        let content = value.parsed("the value of a header", src, |text| HeaderValue::from_str(text).ok());
        match name.zip(content) {
            Some(header) => made.push(header),
            None => whole = false,
        }
    }
    whole.then_some(made)
}

fn statuses(value: &Value, src: &mut Source) -> Option<http::Statuses> {
    const WHAT: &str = "a status from 100 to 599, a range such as \"200-299\", or an array of these";
    let single = value.as_integer().is_some() || value.as_text().is_some();
    let elements = if single { vec![value.clone()] } else { value.list(WHAT, src) };
    let mut whole = !elements.is_empty();
    let mut made = Vec::new();
    for element in elements {
        let status = |n: i128| u16::try_from(n).ok().filter(|n| (100..=599).contains(n));
        let read = |text: &str| text.trim().parse().ok().and_then(status);
        let range = match (element.as_integer(), element.as_text()) {
            (Some(n), _) => status(n).map(|n| n..=n),
            (None, Some(text)) => match text.split_once('-') {
                Some((from, to)) => {
                    read(from).zip(read(to)).filter(|(from, to)| from <= to).map(|(from, to)| from..=to)
                }
                None => read(text).map(|n| n..=n),
            },
            (None, None) => None,
        };
        if let Some(range) = range {
            made.push(range);
        } else {
            element.must_be(WHAT, src);
            whole = false;
        }
    }
    whole.then_some(http::Statuses(made))
}

/// `expect` or `expect-regex`, if either is there.
fn expect(keys: &mut Keys, src: &mut Source) -> Result<Option<Expect>, Wrong> {
    let [text, pattern] = ["expect", "expect-regex"].map(|key| keys.get(key));
    if let (Some(_), Some(v)) = (&text, &pattern) {
        src.error(v.span.clone(), "\"expect\" and \"expect-regex\" don't go together: say one of them");
        return Err(Wrong);
    }
    if let Some(v) = text {
        let text = v.parsed("the text to look for", src, |text| Some(text).filter(|t| !t.is_empty())).ok_or(Wrong)?;
        return Ok(Some(Expect::Text(text.to_owned())));
    }
    let Some(v) = pattern else { return Ok(None) };
    match Pattern::new(v.text("a regular expression", src).ok_or(Wrong)?) {
        Ok(pattern) => Ok(Some(Expect::Pattern(pattern))),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            src.error(v.span.clone(), format!("{} is no regular expression: {reason}", v.written(src)));
            Err(Wrong)
        }
    }
}

fn tcp(keys: &mut Keys, src: &mut Source) -> Option<Kind> {
    let [port_spec, send] = ["port", "send"].map(|key| keys.get(key));
    let port = port(port_spec, None, keys, src);
    let send = match send {
        Some(v) => v.text("what is sent", src).map(|text| Some(Box::from(text.as_bytes()))),
        None => Some(None),
    };
    let expect = expect(keys, src);
    let tls = optional_client(keys, &[], src);
    Some(Kind::Tcp(tcp::Settings { port: port?, tls: tls.ok()?, host: None, send: send?, expect: expect.ok()? }))
}

fn dns(keys: &mut Keys, src: &mut Source) -> Option<Kind> {
    let [port_spec, transport, query, rtype, rcode] =
        ["port", "transport", "query", "query-type", "rcode"].map(|key| keys.get(key));
    let port = port(port_spec, Some(53), keys, src);
    let tcp = transport.map_or(Some(false), |v| v.one_of(&[("udp", false), ("tcp", true)], src));
    let name = match query {
        Some(v) => values::name(&v, src).map(Some),
        None => Some(None),
    };
    let rtype =
        rtype.map_or(Some(Rtype::A), |v| v.parsed("a record type, such as \"A\" or \"SOA\"", src, Rtype::parse));
    const RCODES: [&str; 6] = ["NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"];
    let rcode = rcode.map_or(Some("NOERROR"), |v| v.one_of(&RCODES.map(|rcode| (rcode, rcode)), src));
    let expect = expect(keys, src);
    let (rcode, expect) = (rcode?.to_owned(), expect.ok()?);
    Some(Kind::Dns(dns::Settings { port: port?, tcp: tcp?, name: name?, rtype: rtype?, rcode, expect }))
}

fn grpc(keys: &mut Keys, src: &mut Source) -> Option<Kind> {
    let [port_spec, host_spec, service] = ["port", "host", "service"].map(|key| keys.get(key));
    let port = port(port_spec, None, keys, src);
    let host = host(host_spec, "the authority asked for, of printable ASCII characters without spaces", src);
    let service = service.map_or(Some(""), |v| v.text("the name of a service", src));
    let tls = optional_client(keys, &["h2"], src);
    let service = service?.to_owned();
    Some(Kind::Grpc(grpc::Settings { port: port?, tls: tls.ok()?, host: host.ok()?, service }))
}

fn prometheus(keys: &mut Keys, src: &mut Source) -> Option<Kind> {
    let at = keys.table.span();
    let [url, query, expect, unknown, max_age] =
        ["url", "query", "expect", "unknown", "max-age"].map(|key| keys.get(key));
    for (key, missing) in [("url", url.is_none()), ("query", query.is_none()), ("expect", expect.is_none())] {
        if missing {
            src.absence(at.clone(), format!("{} has no {key:?}", keys.title));
        }
    }
    let what = "the URL of a Prometheus, such as \"http://127.0.0.1:9090\", without query or fragment";
    let url = url.and_then(|v| {
        v.parsed(what, src, |text| {
            let uri: Uri = text.parse().ok()?;
            let tls = match uri.scheme_str()? {
                "http" => false,
                "https" => true,
                _ => return None,
            };
            let plain = uri.query().is_none() && !text.contains(['#', '@']);
            let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
            let prefix = uri.path().trim_end_matches('/').to_owned();
            Some((tls, uri.host()?.to_owned(), port, prefix)).filter(|_| plain)
        })
    });
    let query = query.and_then(|v| v.parsed("a PromQL query", src, |text| Some(text).filter(|t| !t.trim().is_empty())));
    let what = "a comparison with a number, such as \"< 0.05\" or \">= 1\"";
    let comparison = expect.and_then(|v| v.parsed(what, src, Comparison::parse));
    // A Prometheus that is away must not take a site away.
    let unknown = unknown.map_or(Some(false), |v| v.one_of(&[("none", false), ("down", true)], src));
    let max_age = match max_age {
        Some(v) => values::duration(&v, Duration::from_secs(1), src).map(Some),
        None => Some(None),
    };
    let (with_tls, host, port, prefix) = url?;
    let tls = if with_tls {
        Some(client(keys, &["http/1.1"], src)?)
    } else {
        refuse_tls_keys(keys, "the URL must begin with https://", src);
        None
    };
    let (query, unknown_is_down) = (query?.to_owned(), unknown?);
    let (comparison, max_age) = (comparison?, max_age?);
    Some(Kind::Prometheus(prometheus::Settings {
        tls,
        host,
        port,
        prefix,
        query,
        comparison,
        unknown_is_down,
        max_age,
    }))
}

fn command(keys: &mut Keys, src: &mut Source) -> Option<Kind> {
    const WHAT: &str =
        "an array of a program and its arguments, such as [\"/usr/lib/nagios/plugins/check_load\", \"-w\", \"5\"]";
    let Some(v) = keys.get("command") else {
        src.absence(keys.table.span(), format!("{} has no \"command\"", keys.title));
        return None;
    };
    let elements = v.list(WHAT, src);
    let argv: Option<Vec<String>> = elements
        .iter()
        .map(|e| e.parsed("text without NUL", src, |t| Some(t.to_owned()).filter(|t| !t.contains('\0'))))
        .collect();
    let argv = argv.filter(|argv| !argv.is_empty())?;
    if !argv[0].starts_with('/') {
        src.error(v.span.clone(), format!("{:?} must be a whole path: no shell looks it up", argv[0]));
        return None;
    }
    if !is_executable(&argv[0]) {
        src.warning(Some(v.span), format!("{:?} is no program that can be run here", argv[0]));
    }
    Some(Kind::Command(command::Settings::new(argv)))
}

/// Values that come by the API.
fn push(keys: &mut Keys, src: &mut Source) -> Option<Kind> {
    let down_when_expired = match keys.get("when-expired") {
        Some(v) => v.one_of(&[("keep", false), ("down", true)], src)?,
        None => false,
    };
    Some(Kind::Push(push::Settings { down_when_expired }))
}

fn is_executable(program: &str) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(program).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The TLS part, where `tls = true` asks for it.
fn optional_client(
    keys: &mut Keys,
    protocols: &'static [&'static str],
    src: &mut Source,
) -> Result<Option<Client>, Wrong> {
    let tls = match keys.get("tls") {
        Some(v) => v.flag(src).ok_or(Wrong)?,
        None => false,
    };
    if tls {
        return client(keys, protocols, src).map(Some).ok_or(Wrong);
    }
    refuse_tls_keys(keys, "say tls = true, too", src);
    Ok(None)
}

fn refuse_tls_keys(keys: &mut Keys, when: &str, src: &mut Source) {
    for key in ["sni", "ca-file", "pins", "verify"] {
        if let Some(v) = keys.get(key) {
            src.error(v.span, format!("{key:?} is for TLS: {when}"));
        }
    }
}

/// `sni`, and whom TLS trusts: the system's authorities, those of `ca-file`, the keys in `pins`, or with `verify = false`
/// anyone.
fn client(keys: &mut Keys, protocols: &'static [&'static str], src: &mut Source) -> Option<Client> {
    let [sni, authorities, pins, verify] = ["sni", "ca-file", "pins", "verify"].map(|key| keys.get(key));
    let sni = host(sni, trust::SNI, src);
    let at = authorities.as_ref().map_or_else(|| keys.table.span(), |v| v.span.clone());
    let given = [&authorities, &pins, &verify].into_iter().flatten().count();
    if let (true, Some(v)) = (given > 1, verify.as_ref().or(pins.as_ref())) {
        src.error(
            v.span.clone(),
            "of \"ca-file\", \"pins\" and \"verify\" one says whom to trust: more don't go together",
        );
        return None;
    }
    let trust = match verify {
        Some(v) if !v.flag(src)? => {
            let message =
                format!("{} verifies no certificate: anyone could answer in the endpoint's place", keys.title);
            src.warning(Some(v.span), message).help("\"ca-file\" or \"pins\" trust a certificate of one's own");
            Trust::Anyone
        }
        _ => trust::trust(authorities, pins, src)?,
    };
    match Client::new(trust, sni.ok()?, protocols) {
        Ok(client) => Some(client),
        Err(error) => {
            src.error(at, error.to_string());
            None
        }
    }
}
