//! `[steering]`: whom answers are for.

use std::fs;
use std::ops::Range;
use std::path::Path;

use ipnet::IpNet;

use super::lines;
use super::networks::Networks;
use super::reader::Value;
use super::source::Source;
use super::values;
use crate::diagnostic::Diagnostic;
use crate::steering::client::{ClientRules, Farms, Subnets};
use crate::steering::pool::{Preview, Site};
use crate::steering::prefixes::Prefixes;

/// The longest prefixes that can be a client's: finer ones would tell single people apart (RFC 7871, 11.1).
const MOST_BITS: (u32, u32) = (32, 56);

/// What `[steering]` says of all pools.
#[derive(Default)]
pub(super) struct OfAllPools {
    /// Who sees which site first.
    pub(super) previews: Vec<Preview>,
    /// The least time from one flip of a pool to the next.
    pub(super) min_between_flips_secs: u64,
    /// Which networks are given which sites.
    pub(super) networks: Networks,
}

/// `[steering]`.
pub(super) fn steering(section: Option<Value>, sites: &[Site], src: &mut Source) -> (ClientRules, OfAllPools) {
    let mut rules = ClientRules::default();
    let Some(mut table) = section.and_then(|s| s.table("[steering]", src)) else {
        return (rules, OfAllPools::default());
    };
    let [v4, v6, map, ecs, previews] =
        ["ipv4-prefix", "ipv6-prefix", "prefix-map", "ecs", "preview"].map(|key| table.get(key));
    let [between, networks, database] = ["min-between-flips", "networks", "geo-database"].map(|key| table.get(key));
    table.finish(src);
    let min_between_flips_secs = between.map_or(0, |v| values::whole_seconds(&v, src));
    let previews = previews.map_or_else(Vec::new, |v| self::previews(&v, sites, src));
    let bits = |value: Option<Value>, most, default, src: &mut Source| {
        value.and_then(|v| v.integer("a number of bits", 1..=most, src)).map_or(default, |bits| bits as u8)
    };
    rules.v4_bits = bits(v4, MOST_BITS.0, rules.v4_bits, src);
    rules.v6_bits = bits(v6, MOST_BITS.1, rules.v6_bits, src);
    if let Some(value) = map
        && let Some(file) = values::path(&value, "a file", src)
    {
        match farms(&file) {
            Ok(farms) => rules.farms = farms,
            Err(found) => src.also(&value.span, found),
        }
    }
    if let Some(value) = ecs {
        rules.subnets = subnets(&value, src);
    }
    let previews = previews.into_iter().map(|(preview, _)| preview).collect();
    let networks = Networks::new(networks.as_ref(), database.as_ref(), sites, src);
    (rules, OfAllPools { previews, min_between_flips_secs, networks })
}

/// `preview = [{ site, networks }]`, each with the place of its site.
pub(super) fn previews(value: &Value, sites: &[Site], src: &mut Source) -> Vec<(Preview, Range<usize>)> {
    let mut read = Vec::new();
    for element in value.list("an array such as [{ site = \"dc1\", networks = [\"192.0.2.0/24\"] }]", src) {
        let Some(mut table) = element.table("the preview", src) else { continue };
        let (site, networks) = (table.require("site", src), table.require("networks", src));
        table.finish(src);
        let site = site.and_then(|v| Some((values::site_name(&v, sites, src)?, v.span)));
        let networks = networks.map(|v| self::networks(&v, "an array of networks", src));
        if let (Some((site, at)), Some(networks)) = (site, networks) {
            read.push((Preview { site, networks }, at));
        }
    }
    read
}

/// `ecs = true`, `false` or the networks of resolvers.
fn subnets(value: &Value, src: &mut Source) -> Subnets {
    if let Some(all) = value.as_flag() {
        return if all { Subnets::All } else { Subnets::None };
    }
    let networks = networks(value, "true, false, or an array of the networks of resolvers", src);
    Subnets::From(Prefixes::new(networks.into_iter().map(|net| (net, 0))))
}

/// An array of prefixes.
pub(super) fn networks(value: &Value, what: &str, src: &mut Source) -> Vec<IpNet> {
    let what = format!("{what}, such as [\"192.0.2.0/24\", \"2001:db8::/32\"]");
    let element = |element: Value, src: &mut Source| {
        element
            .parsed("a network, such as \"192.0.2.0/24\" or \"2001:db8::/32\"", src, |text| lines::network(text).ok())
    };
    value.list(&what, src).into_iter().filter_map(|v| element(v, src)).collect()
}

/// Lines of `PREFIX[ PREFIX ...] NAME`; a name may have several.
fn farms(file: &Path) -> Result<Farms, Vec<Diagnostic>> {
    let text = fs::read_to_string(file).map_err(|e| vec![Diagnostic::of_file(file, format!("can't be read: {e}"))])?;
    let mut farms: Vec<(String, Vec<IpNet>)> = Vec::new();
    lines::read(file, &text, |line| {
        let Some((name, prefixes)) = line.words.split_last().filter(|(_, prefixes)| !prefixes.is_empty()) else {
            return Err((line.words[0].clone(), "a line has prefixes, and then a name".to_owned()));
        };
        if lines::network(name.text).is_ok() {
            return Err((name.clone(), format!("{:?} is a prefix: the name is missing behind it", name.text)));
        }
        for prefix in prefixes {
            let net = line.prefix(prefix)?;
            match farms.iter_mut().find(|(known, _)| known == name.text) {
                Some((_, nets)) => nets.push(net),
                None => farms.push((name.text.to_owned(), vec![net])),
            }
        }
        Ok(())
    })?;
    Ok(Farms::new(farms))
}
