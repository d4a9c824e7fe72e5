//! `[[forwarder]]`: forwarders that this server leads.

use super::reader::Value;
use super::source::Source;
use crate::control::forwarders::Settings;
use crate::pairing::name_mistake;

/// `[[forwarder]]`, in the order of the file.
pub(super) fn forwarders(section: Option<Value>, src: &mut Source) -> Vec<Settings> {
    let mut seen: Vec<(Settings, usize)> = Vec::new();
    for mut table in section.map_or_else(Vec::new, |s| s.tables("[[forwarder]]", src)) {
        let (name, token) = (table.require("name", src), table.get("token-sha256"));
        table.finish(src);
        const WHAT: &str = "1 to 63 letters a-z, digits, \"-\", \"_\" or \".\" (not first)";
        let name = name.and_then(|v| {
            let text = v.parsed(WHAT, src, |text| Some(text).filter(|t| name_mistake(t).is_none()))?;
            Some((text.to_owned(), v.span))
        });
        let token_sha256 = token.and_then(|v| {
            let what = "the SHA-256 of a token, 64 hexadecimal digits, as sha256sum writes it";
            let digest = |t: &str| t.len() == 64 && t.bytes().all(|b| b.is_ascii_hexdigit());
            v.parsed(what, src, |text| Some(text.to_ascii_lowercase()).filter(|t| digest(t)))
        });
        let Some((name, at)) = name else { continue };
        match seen.iter().find(|(other, _)| other.name == name) {
            Some((_, line)) => _ = src.error(at, format!("forwarder {name:?} is already written on line {line}")),
            None => seen.push((Settings { name, token_sha256 }, src.line(at.start))),
        }
    }
    seen.into_iter().map(|(settings, _)| settings).collect()
}
