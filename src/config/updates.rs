//! `allow-update` and `update-policy` of a zone.

use super::keys::{Keys, access};
use super::reader::Value;
use super::source::Source;
use super::values;
use crate::dns::Rtype;
use crate::zone::AccessList;
use crate::zone::access::Who;
use crate::zone::policy::{Grant, Names, PoolGrant};

/// `allow-update`: who may change all of the zone.
pub(super) fn allow_update(value: &Value, keys: &Keys, src: &mut Source) -> AccessList {
    let list = access(value, keys, src);
    let by_address = list.0.iter().find(|rule| {
        !rule.deny
            && match &rule.who {
                Who::Any => true,
                Who::Net(net) => !net.addr().is_loopback(),
                Who::Key(_) => false,
            }
    });
    if let Some(rule) = by_address {
        let message = format!("\"{rule}\" lets whoever can forge that address change the zone");
        src.warning(Some(value.span.clone()), message).help("let them sign: \"key:NAME\"");
    }
    list
}

/// `update-policy`: what single keys may change.
pub(super) fn update_policy(value: &Value, keys: &Keys, src: &mut Source) -> (Vec<Grant>, Vec<PoolGrant>) {
    const WHAT: &str =
        "an array of rights, such as [{ key = \"acme\", names = [\"_acme-challenge.*\"], types = [\"TXT\"] }]";
    const NAMES: &str = "an array of names, such as [\"www.example.org\", \"_acme-challenge.*\", \"subdomain:dyn.example.org\"], or of \
                         \"self\", \"selfsub\" and \"zonesub\"";
    const TYPES: &str = "an array of record types, such as [\"A\", \"TXT\"]";
    let (mut grants, mut of_pools) = (Vec::new(), Vec::new());
    for element in value.list(WHAT, src) {
        let Some(mut table) = element.table("the right", src) else { continue };
        let (key, pool) = (table.require("key", src), table.get("pool"));
        let names = if pool.is_some() { None } else { table.require("names", src) };
        let site = if pool.is_some() { table.require("site", src) } else { None };
        let types = if pool.is_some() { None } else { table.get("types") };
        table.finish(src);
        let key = key.and_then(|v| {
            let name = values::name(&v, src)?;
            keys.require(&name, v.span, src);
            Some(name)
        });
        let names: Vec<Names> = names.map_or_else(Vec::new, |v| {
            let elements = v.list(NAMES, src);
            elements
                .iter()
                .filter_map(|e| e.parsed("a name, or labels with \"*\" among them", src, |t| t.parse().ok()))
                .collect()
        });
        let types: Option<Vec<Rtype>> = types.map(|v| {
            let read = |text: &str| Rtype::parse(text).filter(|t| t.is_data());
            v.list(TYPES, src).iter().filter_map(|e| e.parsed("a record type, such as \"TXT\"", src, read)).collect()
        });
        let pool = pool.map(|v| (values::name(&v, src), site.and_then(|v| v.text("the name of a site", src))));
        match (key, pool) {
            (Some(key), None) => grants.push(Grant { key, names, types }),
            (Some(key), Some((Some(pool), Some(site)))) => {
                of_pools.push(PoolGrant { key, pool, site: site.to_owned() });
            }
            _ => {}
        }
    }
    (grants, of_pools)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::parse;
    use crate::dns::Rtype;

    fn zone(text: &str) -> String {
        let key = "[[tsig]]\nname = \"acme\"\nsecret = \"b25lIHNlY3JldCBmb3IgdGVzdHM=\"\n";
        format!("{key}[[zone]]\nname = \"example.org\"\nfile = \"z\"\n{text}")
    }

    fn said(text: &str) -> String {
        match parse(&zone(text), Path::new("w.toml")) {
            Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
            Err(found) => found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        }
    }

    #[test]
    fn rights_are_read_and_mistakes_told() {
        let text = "allow-update = [\"key:acme\", \"127.0.0.1\"]\n\
                    update-policy = [{ key = \"acme\", names = [\"_acme-challenge.*\", \"self\"], types = [\"TXT\"] }]\n";
        assert_eq!(said(text), "");
        let settings = parse(&zone(text), Path::new("w.toml")).unwrap().settings;
        let grant = &settings.zones[0].update_policy[0];
        assert!(grant.allows(&"ACME".parse().unwrap(), &"_acme-challenge.example.org".parse().unwrap(), Rtype::TXT));
        for (text, expected) in [
            ("allow-update = [\"10.0.0.0/8\"]\n", "warning: \"10.0.0.0/8\" lets whoever can forge that address change"),
            ("allow-update = [\"key:other\"]\n", "there is no [[tsig]] with the name \"other\""),
            ("update-policy = [{ key = \"akme\", names = [\"self\"] }]\n", "did you mean \"acme\"?"),
            ("update-policy = [{ key = \"acme\" }]\n", "the right has no \"names\""),
            ("update-policy = [{ key = \"acme\", pool = \"www.example.org\" }]\n", "the right has no \"site\""),
            (
                "update-policy = [{ key = \"acme\", pool = \"www.example.org\", site = \"a\", types = [\"A\"] }]\n",
                "unknown key \"types\" in the right",
            ),
            ("update-policy = [{ key = \"acme\", names = [\"a..b\"] }]\n", "must be a name, or labels"),
            ("update-policy = [{ key = \"acme\", names = [\"self\"], types = [\"ANY\"] }]\n", "must be a record type"),
            (
                "update-policy = [{ key = \"acme\", names = [\"self\"], type = [\"A\"] }]\n",
                "unknown key \"type\" in the right",
            ),
        ] {
            let said = said(text);
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
