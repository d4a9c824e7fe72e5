//! `primary` of a zone: the servers that it is transferred from, over TCP or TLS.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::keys::{self, Keys};
use super::reader::Value;
use super::source::Source;
use super::trust::{self, trust};
use super::values;
use crate::tls::Client;
use crate::zone::Primary;
use crate::zone::notify::Target;

const WHAT: &str = "an array of addresses with ports, maybe with a key, such as \"key:NAME@192.0.2.1:53\", or for TLS of tables such as \
     { address = \"192.0.2.1:853\", key = \"NAME\", tls = true, sni = \"ns1.example.net\" }";

/// TLS of the primaries read so far, by what is written of it: many zones have one primary, and reading authorities takes a while.
#[derive(Default)]
pub(super) struct Clients(HashMap<[Option<String>; 3], Client>);

/// At least one, or it is told.
pub(super) fn primaries(value: &Value, known: &Keys, clients: &mut Clients, src: &mut Source) -> Vec<Primary> {
    let mut primaries: Vec<Primary> = Vec::new();
    for element in value.list(WHAT, src) {
        let primary = if element.is_table() {
            table(&element, known, clients, src)
        } else {
            keys::target(&element, WHAT, known, src).map(|at| Primary { at, tls: None })
        };
        let Some(primary) = primary else { continue };
        if primaries.iter().any(|other| other.at.address == primary.at.address) {
            src.error(element.span, format!("{} is written twice", primary.at.address));
            continue;
        }
        primaries.push(primary);
    }
    if primaries.is_empty() {
        src.absence(value.span.clone(), "\"primary\" names no server");
    }
    primaries
}

fn table(value: &Value, known: &Keys, clients: &mut Clients, src: &mut Source) -> Option<Primary> {
    let mut table = value.table("the primary", src)?;
    let address = table.require("address", src);
    let [key, tls, sni, authorities, pins] = ["key", "tls", "sni", "ca-file", "pins"].map(|key| table.get(key));
    table.finish(src);
    let what = "an IP address with a port, such as \"192.0.2.1:853\" or \"[2001:db8::1]:853\"";
    let port = |address: &SocketAddr| address.port() != 0;
    let address = address.and_then(|v| v.parsed(what, src, |text| text.parse().ok().filter(port)));
    let key = key.map(|v| {
        let name = values::name(&v, src)?;
        known.require(&name, v.span, src);
        Some(name)
    });
    let client = if tls.map_or(Some(false), |v| v.flag(src))? {
        Some(client(value, [sni, authorities, pins], clients, src)?)
    } else {
        for v in [sni, authorities, pins].into_iter().flatten() {
            src.error(v.span, format!("{:?} is for TLS: say tls = true, too", v.key));
        }
        None
    };
    Some(Primary { at: Target { address: address?, key: key.map_or(Some(None), |key| key.map(Some))? }, tls: client })
}

/// TLS with the `sni`, `ca-file` and `pins` of a primary.
fn client(
    primary: &Value,
    [sni, authorities, pins]: [Option<Value>; 3],
    clients: &mut Clients,
    src: &mut Source,
) -> Option<Client> {
    let as_written = |v: &Option<Value>| v.as_ref().map(|v| src.text()[v.span.clone()].to_owned());
    let written = [&sni, &authorities, &pins].map(as_written);
    if let Some(known) = clients.0.get(&written) {
        return Some(known.clone());
    }
    if let (Some(_), Some(v)) = (&authorities, &pins) {
        src.error(v.span.clone(), "of \"ca-file\" and \"pins\" one says whom to trust: both don't go together");
        return None;
    }
    let sni = match sni {
        Some(v) => Some(v.parsed(trust::SNI, src, |text| Some(text).filter(|t| is_host(t)))?.to_owned()),
        None => None, // the certificate is to be for the address
    };
    match Client::for_transfers(trust(authorities, pins, src)?, sni) {
        Ok(client) => {
            clients.0.insert(written, client.clone());
            Some(client)
        }
        Err(error) => {
            src.error(primary.span.clone(), error.to_string());
            None
        }
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::parse;
    use crate::zone::Primary;

    fn read(primary: &str) -> Result<Vec<Primary>, String> {
        let text = format!(
            "[[tsig]]\nname = \"k\"\nsecret = \"b25lIHNlY3JldCBmb3IgdGVzdHM=\"\n\
             [[zone]]\nname = \"example.org\"\nprimary = [{primary}]\n"
        );
        match parse(&text, Path::new("w.toml")) {
            Ok(loaded) => Ok(loaded.settings.zones[0].primaries.clone()),
            Err(found) => Err(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        }
    }

    #[test]
    fn a_primary_is_an_address_or_a_table() {
        let pin = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let both = format!(
            "\"key:k@192.0.2.1:53\", {{ address = \"[2001:db8::1]:853\", key = \"k.\", tls = true, pins = [\"{pin}\"] }}, \
             {{ address = \"192.0.2.2:53\" }}"
        );
        let read = read(&both).unwrap();
        assert_eq!(
            read.iter().map(|p| p.at.to_string()).collect::<Vec<_>>(),
            ["key:k@192.0.2.1:53", "key:k@[2001:db8::1]:853", "192.0.2.2:53"]
        );
        assert_eq!(read.iter().map(|p| p.tls.is_some()).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn what_is_wrong_with_a_primary_is_told() {
        for (primary, expected) in [
            ("\"192.0.2.1\"", "\"primary\" must be an array of addresses with ports"),
            ("{ address = \"192.0.2.1:0\" }", "\"address\" must be an IP address with a port"),
            ("{ key = \"k\" }", "the primary has no \"address\""),
            ("{ address = \"192.0.2.1:853\", key = \"no\", tls = true }", "there is no [[tsig]] with the name \"no\""),
            ("{ address = \"192.0.2.1:853\", sni = \"ns\" }", "6:47: error: \"sni\" is for TLS: say tls = true, too"),
            ("{ address = \"192.0.2.1:853\", tls = true, verify = false }", "unknown key \"verify\" in the primary"),
            ("{ address = \"192.0.2.1:853\", tls = true, pins = [\"x\"] }", "must be the SHA-256 of a key"),
            ("{ address = \"192.0.2.1:853\", tls = true, ca-file = \"/nowhere\" }", "\"/nowhere\" can't be read"),
            ("{ address = \"192.0.2.1:853\", tls = true, ca-file = \"c\", pins = [\"x\"] }", "both don't go together"),
            ("\"192.0.2.1:853\", { address = \"192.0.2.1:853\", tls = true }", "192.0.2.1:853 is written twice"),
        ] {
            let told = read(primary).unwrap_err();
            assert!(told.contains(expected), "{primary}: {told}");
        }
    }
}
