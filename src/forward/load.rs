//! A file of settings, whichever of the two formats it has: its content tells, not its name.

use std::path::Path;

use super::mistake::Mistake;
use super::names::{self, Lookup, Services};
use super::settings::Settings;
use super::{rinetd, toml};

/// Reads and checks a file of settings. Asks the system's resolver for host names to listen on, so it may take a while.
///
/// # Errors
/// All mistakes of the file; nothing of it should be used then.
pub fn load(file: &Path) -> Result<Settings, Vec<Mistake>> {
    let unreadable = |reason: String| vec![Mistake::of_file(file, format!("can't be read: {reason}"))];
    let octets = std::fs::read(file).map_err(|e| unreadable(e.to_string()))?;
    let text = String::from_utf8(octets).map_err(|e| unreadable(format!("it is not UTF-8, {}", e.utf8_error())))?;
    let services = Services::of_system();
    let lookup = Lookup { services: &services, resolve: &names::resolve, is_ours: &names::is_ours };
    match Format::of(&text) {
        Format::Rinetd => rinetd::parse(&text, file, &lookup),
        Format::Toml => toml::parse(&text, file, &lookup),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Format {
    Rinetd,
    Toml,
}

impl Format {
    /// The first line that says something decides: TOML begins with a table's header or `key =`, which no line of
    /// rinetd.conf does. A file that says nothing is a rinetd.conf, as Debian's package ships it.
    fn of(text: &str) -> Self {
        let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let Some(first) = first else { return Self::Rinetd };
        // An IPv6 address in square brackets has colons; a header has none.
        let header = first.starts_with("[[")
            || first.strip_prefix('[').and_then(|r| r.split_once(']')).is_some_and(|(name, _)| !name.contains(':'));
        let key = first.split_once('=').is_some_and(|(key, _)| {
            let key = key.trim_end();
            !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'"'))
        });
        if header || key { Self::Toml } else { Self::Rinetd }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Rule;
    use super::*;

    #[test]
    fn the_content_tells_the_format() {
        for toml in ["# c\n\n[[rule]]\n", "drain = \"5s\"", "[rule]", "log=\"x\"\n", "rule = [ { listen = \"::1\" } ]"]
        {
            assert_eq!(Format::of(toml), Format::Toml, "{toml}");
        }
        for rinetd in ["", "# only this", "0.0.0.0 80 a 80 [src=::1]", "[::1] 80 a 80", "allow 10.*", "logcommon"] {
            assert_eq!(Format::of(rinetd), Format::Rinetd, "{rinetd}");
        }
    }

    #[test]
    fn the_sample_is_in_order_and_says_what_the_defaults_are() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/forward.toml");
        let settings = load(&file).unwrap();
        assert_eq!(settings.warnings, []);
        let names: Vec<_> = settings.rules.iter().map(Rule::label).collect();
        assert_eq!(names, ["web", "app", "dns"]);
        // With all that is shown as a comment it is in order as well.
        let text = std::fs::read_to_string(&file).unwrap();
        let all: String = text.lines().fold(String::new(), |all, line| {
            let says = |l: &&str| l.starts_with('[') || l.split_once(" = ").is_some_and(|(k, _)| !k.contains(' '));
            all + line.strip_prefix("# ").filter(says).unwrap_or(line) + "\n"
        });
        let services = Services::of_system();
        let lookup = Lookup { services: &services, resolve: &names::resolve, is_ours: &names::is_ours };
        let all = toml::parse(&all, &file, &lookup).unwrap();
        let web = &all.rules[0];
        assert_eq!((web.connect_timeout, web.idle_timeout), (Rule::CONNECT_TIMEOUT, Rule::IDLE_TIMEOUT));
        assert_eq!((all.drain, all.rules[2].idle_timeout), (Settings::DRAIN, Rule::UDP_TIMEOUT));
        assert!(web.peek && web.total_timeout.is_some() && !web.proxy_from.is_empty() && all.wait_bind);
    }

    #[test]
    fn a_file_that_is_missing_or_no_text_is_one_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rinetd.conf");
        assert!(load(&file).unwrap_err()[0].message.contains("can't be read"));
        std::fs::write(&file, b"# \xff\n").unwrap();
        assert!(load(&file).unwrap_err()[0].message.contains("not UTF-8"));
        std::fs::write(&file, "127.0.0.1 0 127.0.0.1 9\n").unwrap();
        assert_eq!(load(&file).unwrap().rules.len(), 1);
    }
}
