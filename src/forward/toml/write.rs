//! Settings written as TOML, so that [`parse`](super::parse) reads the same again.

use std::fmt::Write;
use std::time::Duration;

use super::super::access::Access;
use super::super::settings::{Authority, LogFormat, Protocol, ProxyProtocol, Rule, Settings, WeightedTarget};
use crate::pairing::Belongs;

/// Writes `settings` so that [`parse`](super::parse) reads the same again; what is at its default is left out.
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
    if rule.transparent {
        line(out, "transparent", "true");
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
