//! `[rrl]`: response-rate limiting; `[probes]`: how much is asked at a time.

use std::net::IpAddr;

use ipnet::IpNet;

use super::reader::Value;
use super::source::Source;
use crate::query::RateLimit;

/// `[rrl]`. The defaults are those of Knot DNS and NSD where these agree, but for the IPv6 prefix, which is a customer's (/56).
pub(super) fn rate_limit(section: &Value, src: &mut Source) -> Option<RateLimit> {
    let mut table = section.table("[rrl]", src)?;
    let rate = table.require("rate", src);
    let [slip, ipv4, ipv6, exempt] = ["slip", "ipv4-prefix", "ipv6-prefix", "exempt"].map(|key| table.get(key));
    table.finish(src);
    let rate = rate.and_then(|v| v.integer("responses a second to one prefix", 1..=1_000_000, src));
    let slip = slip.map_or(Some(2), |v| v.integer("0 (never), 1 (always) or each so many", 0..=100, src));
    let ipv4 = ipv4.map_or(Some(24), |v| v.integer("bits of an IPv4 prefix", 8..=32, src));
    let ipv6 = ipv6.map_or(Some(56), |v| v.integer("bits of an IPv6 prefix", 16..=64, src));
    let exempt = exempt.map_or_else(Vec::new, |v| networks(&v, src));
    Some(RateLimit { rate: rate?, slip: slip? as u8, prefixes: (ipv4? as u8, ipv6? as u8), exempt })
}

/// `[probes]`. The default: 10,000 targets at 5 s, a half of them silent for 2 s each time, hold 2,000 places; three quarters
/// of all are for silent ones.
pub(super) fn checks_at_once(section: Option<Value>, src: &mut Source) -> usize {
    let at_once = section.and_then(|section| {
        let mut table = section.table("[probes]", src)?;
        let at_once = table.get("at-once");
        table.finish(src);
        at_once?.integer("checks at a time", 8..=1_000_000, src)
    });
    at_once.unwrap_or(4096) as usize
}

fn networks(value: &Value, src: &mut Source) -> Vec<IpNet> {
    const WHAT: &str = "an array of networks, such as [\"192.0.2.0/24\", \"2001:db8::1\"]";
    let mut networks = Vec::new();
    for element in value.list(WHAT, src) {
        let address = |text: &str| text.parse::<IpAddr>().map(IpNet::from).ok();
        let read = |text: &str| text.parse().ok().or_else(|| address(text));
        networks.extend(element.parsed("a network or an address", src, read));
    }
    networks
}
