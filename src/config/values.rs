//! The kinds of values that the file is made of: names, addresses, durations, TTLs, words for labels.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Value, guess};
use super::source::Source;
use crate::dns::{Name, Ttl};
use crate::steering::flip::Percent;
use crate::steering::pool::Site;

/// An absolute domain name, with or without the dot at the end.
pub(super) fn name(value: &Value, src: &mut Source) -> Option<Name> {
    let text = value.text("a domain name", src)?;
    if !text.is_ascii() {
        src.error(value.span.clone(), format!("{text:?} is no domain name: it has letters outside ASCII"))
            .help("write its A-labels (xn--...), or octets as \\DDD");
        return None;
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) {
        src.error(value.span.clone(), format!("{text:?} is no domain name: {c:?} stands in it"))
            .help(format!("if that is meant, write it as \\{:03}", c as u32));
        return None;
    }
    match Name::parse(text, None) {
        Ok(name) => Some(name),
        Err(e) => {
            src.error(value.span.clone(), e.to_string());
            None
        }
    }
}

/// The name of a site or probe. It stands in URLs, metrics and commands, so it needs no quotes in any of them.
pub(super) fn label(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    (1..=63).contains(&text.len()) && text.chars().all(fits)
}

/// What [`label`] takes, in words.
pub(super) const LABEL: &str = "1 to 63 letters a-z, digits, \"-\", \"_\" or \".\"";

/// An address with its port.
pub(super) fn socket_address(value: &Value, src: &mut Source) -> Option<SocketAddr> {
    let what = "an IP address with a port, such as \"127.0.0.1:5300\" or \"[::1]:5300\"";
    value.parsed(what, src, |text| text.parse().ok())
}

/// A TTL of at least one second: what a TTL of nothing earns back by doubling is nothing.
pub(super) fn ttl(value: &Value, src: &mut Source) -> Option<Ttl> {
    let made = seconds(value).filter(|ttl| *ttl > Ttl::ZERO);
    if made.is_none() {
        value.must_be("a TTL from 1 s to 2147483647 s, such as \"1h\", \"1h30m\" or 5400", src);
    }
    made
}

/// A share: a whole number of percent, or a text such as "12.5%".
pub(super) fn percent(value: &Value, src: &mut Source) -> Option<Percent> {
    let made = match value.as_integer() {
        Some(n) => n.to_string().parse().ok(),
        None => value.as_text().and_then(|text| text.strip_suffix('%')?.trim_end().parse().ok()),
    };
    if made.is_none() {
        value.must_be("a percentage from 0 to 100, such as 30 or \"12.5%\"", src);
    }
    made
}

/// Whole seconds as a TTL is written.
pub(super) fn seconds(value: &Value) -> Option<Ttl> {
    match value.as_integer() {
        Some(n) => u32::try_from(n).ok().filter(|n| *n <= Ttl::MAX.secs()).map(|n| Ttl::from_secs(n.into())),
        None => Ttl::parse(value.as_text()?).ok(),
    }
}

/// A length of time in whole seconds; 0 where it is none.
pub(super) fn whole_seconds(value: &Value, src: &mut Source) -> u64 {
    let made = seconds(value);
    if made.is_none() {
        value.must_be("a duration in whole seconds, such as \"5m\" or 300", src);
    }
    made.map_or(0, |secs| secs.secs().into())
}

/// A duration from `least` to a day.
pub(super) fn duration(value: &Value, least: Duration, src: &mut Source) -> Option<Duration> {
    let made = match value.as_integer() {
        Some(n) => u64::try_from(n).ok().map(Duration::from_secs),
        None => value.as_text().and_then(duration_from_text),
    };
    let made = made.filter(|d| (least..=Duration::from_hours(24)).contains(d));
    if made.is_none() {
        let what = format!("a duration from {} ms to 1 day, such as \"500ms\", \"5s\" or \"1m30s\"", least.as_millis());
        value.must_be(what, src);
    }
    made
}

/// Numbers, each with its unit, added up; `None` when it is anything else.
fn duration_from_text(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let part = Duration::from_millis(number.parse::<u32>().ok()?.into()).checked_mul(unit_ms)?;
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// A path in the file system. Whether there is anything isn't looked at.
pub(super) fn path(value: &Value, what: &str, src: &mut Source) -> Option<PathBuf> {
    value.parsed(what, src, |text| Some(PathBuf::from(text)).filter(|_| !text.is_empty() && !text.contains('\0')))
}

/// The name of one of `sites`.
pub(super) fn site_name(value: &Value, sites: &[Site], src: &mut Source) -> Option<String> {
    let name = value.text("the name of a site", src)?;
    if !sites.iter().any(|s| s.name == name) {
        let known = guess(name, sites.iter().map(|s| s.name.as_str()));
        src.absence(value.span.clone(), format!("there is no [[site]] named {name:?}")).help(known);
        return None;
    }
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |text| duration_from_text(text).map(|d| d.as_millis());
        assert_eq!(ms("5s"), Some(5000));
        assert_eq!(ms("500ms"), Some(500));
        assert_eq!(ms("1h1m1s1ms"), Some(3_661_001));
        assert_eq!(ms("1d"), Some(86_400_000));
        for bad in ["", "5", "s", "5 s", "5S", "-5s", "1.5s", "5s3", "5000000000s", "5ß"] {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn labels() {
        assert!(label("dc-1.eu_west"));
        assert!(!label("") && !label("DC1") && !label("a b") && !label(&"a".repeat(64)));
    }
}
