//! The rules of the file, each by itself and against the others.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use ::toml::Spanned;
use ::toml::de::{DeValue, ValueDeserializer};
use ipnet::IpNet;
use serde::Deserialize;

use super::super::access::Pattern;
use super::super::circle::circles;
use super::super::mistake::Place;
use super::super::names;
use super::super::settings::{Protocol, ProxyProtocol, Rule, WeightedTarget};
use super::reader::Reader;
use crate::pairing::Belongs;

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
    transparent: Option<Spanned<bool>>,
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

impl<'a> Reader<'a> {
    pub(super) fn rules(&mut self, written: Spanned<DeValue<'a>>) -> Vec<Rule> {
        let span = written.span();
        let DeValue::Array(items) = written.into_inner() else {
            self.mistake(span, "rules are tables, each headed [[rule]]".to_owned());
            return Vec::new();
        };
        let mut listens: HashMap<(Protocol, SocketAddr), usize> = HashMap::new();
        let mut names: HashMap<String, usize> = HashMap::new();
        let (mut rules, mut target_spans) = (Vec::new(), Vec::new());
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
            let target_span = spec.target.as_ref().map(Spanned::span).or(targets.as_ref().map(Spanned::span));
            let target_span = target_span.unwrap_or(span.clone());
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
            target_spans.push(target_span);
        }
        for (at, message) in circles(&rules, self.lookup.is_ours) {
            self.mistake(target_spans[at].clone(), message);
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
        let transparent = spec.transparent.as_ref().is_some_and(|written| *written.get_ref());
        if let (true, Some(written), Some(_)) = (transparent, &spec.transparent, &source) {
            let message = "connections come from the client's address (transparent) or from source: write one of them";
            self.mistake(written.span(), message.to_owned());
        }
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
            transparent,
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
}

/// Reads an address, or a network in CIDR notation.
fn network(text: &str) -> Result<IpNet, String> {
    match Pattern::parse(text) {
        Ok(Pattern::Net(net)) => Ok(net),
        Ok(Pattern::Wildcard(_)) => Err(format!("{text:?} has a wildcard: expected an address or a network")),
        Err(e) => Err(format!("{text:?} is no network: {e}")),
    }
}
