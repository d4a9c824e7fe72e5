//! `[[dnssec-policy]]`: how zones are signed, and `dnssec` of a zone, which names one.

use std::sync::Arc;

use super::reader::{Value, guess};
use super::source::Source;
use super::values::{self, LABEL, label};
use crate::dns::Ttl;
use crate::zone::signing::keys::Algorithm;
use crate::zone::signing::nsec::Denial;
use crate::zone::signing::policy::{DEFAULT, Policy};
use crate::zone::signing::sign::Validity;

/// `[[dnssec-policy]]` as read.
pub(super) struct Policies {
    /// Each with its name and line.
    named: Vec<(String, usize, Arc<Policy>)>,
}

/// `[[dnssec-policy]]`.
pub(super) fn policies(section: Option<Value>, src: &mut Source) -> Policies {
    let mut policies = Policies { named: Vec::new() };
    for mut table in section.map_or_else(Vec::new, |s| s.tables("[[dnssec-policy]]", src)) {
        let name = table.require("name", src);
        let [algorithm, keys, denial, validity] =
            ["algorithm", "keys", "denial", "signature-validity"].map(|key| table.get(key));
        let [ksk, zsk, dnskey_ttl, propagation, parent_ttl, parent_propagation] =
            ["ksk-lifetime", "zsk-lifetime", "dnskey-ttl", "propagation", "parent-ds-ttl", "parent-propagation"]
                .map(|key| table.get(key));
        table.finish(src);
        let mut policy = Policy::default();
        if let Some(algorithm) = algorithm.and_then(|v| v.one_of(&Algorithm::ALL, src)) {
            policy.algorithm = algorithm;
        }
        if let Some(split) = keys.and_then(|v| v.one_of(&[("csk", false), ("ksk-zsk", true)], src)) {
            policy.split = split;
        }
        let denials = [("nsec", Denial::Nsec), ("nsec3", Denial::Nsec3), ("compact", Denial::Compact)];
        if let Some(found) = denial.as_ref().and_then(|v| v.one_of(&denials, src)) {
            policy.denial = found;
        }
        if let Some(denial) = denial.filter(|_| policy.denial == Denial::Compact && !policy.algorithm.is_made()) {
            let message = "\"compact\" signs answers as they are made: RSA is too slow for that";
            src.error(denial.span, message).help("take ecdsap256sha256 or ed25519");
        }
        // Less than an hour is over before secondaries have it.
        if let Some(lifetime) = validity.and_then(|v| at_least(&v, 3600, src)) {
            policy.validity = Validity::of(lifetime.secs());
        }
        let lifetime = |v: Option<Value>, src: &mut Source| v.and_then(|v| at_least(&v, 3600, src));
        let timing = &mut policy.timing;
        timing.entry_lifetime_secs = lifetime(ksk, src).map(|t| t.secs().into());
        timing.zsk_lifetime_secs = lifetime(zsk, src).map(|t| t.secs().into());
        let secs =
            |v: Option<Value>, default: Ttl, src: &mut Source| v.and_then(|v| values::ttl(&v, src)).unwrap_or(default);
        timing.dnskey_ttl = secs(dnskey_ttl, timing.dnskey_ttl, src);
        timing.parent_ttl = secs(parent_ttl, timing.parent_ttl, src);
        timing.propagation_secs = secs(propagation, Ttl::from_secs(timing.propagation_secs), src).secs().into();
        timing.parent_propagation_secs =
            secs(parent_propagation, Ttl::from_secs(timing.parent_propagation_secs), src).secs().into();
        let Some(name) = name else { continue };
        let Some(text) = name.text(LABEL, src) else { continue };
        if !label(text) || text == DEFAULT {
            name.must_be(format!("{LABEL}, but not \"{DEFAULT}\", which is there already"), src);
        }
        if let Some((_, line, _)) = policies.named.iter().find(|(known, ..)| known == text) {
            let message = format!("policy {text:?} is already written on line {line}");
            src.error(name.span, message);
            continue;
        }
        policies.named.push((text.to_owned(), src.line(name.span.start), Arc::new(policy)));
    }
    policies
}

fn at_least(value: &Value, secs: u32, src: &mut Source) -> Option<Ttl> {
    let ttl = values::ttl(value, src)?;
    if ttl.secs() < secs {
        value.must_be(format!("at least {secs} s"), src);
        return None;
    }
    Some(ttl)
}

/// `dnssec` of a zone.
pub(super) fn of_zone(section: &Value, policies: &Policies, src: &mut Source) -> Option<Arc<Policy>> {
    let mut table = section.table("dnssec", src)?;
    let policy = table.require("policy", src);
    table.finish(src);
    let value = policy?;
    let text = value.text("the name of a [[dnssec-policy]]", src)?;
    if text == DEFAULT {
        return Some(Arc::default());
    }
    if let Some((.., policy)) = policies.named.iter().find(|(name, ..)| name == text) {
        return Some(policy.clone());
    }
    let known = policies.named.iter().map(|(name, ..)| name.as_str()).chain([DEFAULT]);
    let help = guess(text, known);
    src.error(value.span, format!("there is no [[dnssec-policy]] {text:?}")).help(help);
    None
}
