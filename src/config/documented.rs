//! docs/configuration.md has every key that is read, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{parse, reader};

const PAGE: &str = include_str!("../../docs/configuration.md");

/// The titles that tables are read with, and where the page says what they hold.
const PLACES: [(&str, &str); 25] = [
    ("", "# Configuration"),
    ("[server]", "## `[server]`"),
    ("tls", "### `tls`"),
    ("[api]", "## `[api]`"),
    ("[log]", "## `[log]`"),
    ("[rrl]", "## `[rrl]`"),
    ("[[tsig]]", "## `[[tsig]]`"),
    ("[[dnssec-policy]]", "## `[[dnssec-policy]]`"),
    ("[[zone]]", "## `[[zone]]`"),
    ("the primary", "### A table of `primary`"),
    ("dnssec", "### `dnssec`"),
    ("the right", "### A right"),
    ("[steering]", "## `[steering]`"),
    ("the preview", "### A `preview`"),
    ("[[site]]", "## `[[site]]`"),
    ("[probe.", "## `[probe.NAME]`"),
    ("flap", "### `flap`"),
    ("[probes]", "## `[probes]`"),
    ("[[pool]]", "## `[[pool]]`"),
    ("the endpoint", "### An `endpoint`"),
    ("ttl", "### `ttl`"),
    ("[[rrset]]", "## `[[rrset]]`"),
    ("[overrides]", "## `[overrides]`"),
    ("[[forwarder]]", "## `[[forwarder]]`"),
    ("[[webhook]]", "## `[[webhook]]`"),
];

/// The keys in the first column of the table below `heading`.
fn listed(heading: &str) -> BTreeSet<&'static str> {
    let (_, rest) = PAGE.split_once(&format!("\n{heading}")).or(PAGE.split_once(heading)).expect(heading);
    let section = rest.split("\n#").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split_once('`').unwrap().0).collect()
}

/// The examples of the page, as one file.
fn examples() -> String {
    let lines = PAGE.lines().filter_map(|line| line.strip_prefix("    "));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn every_key_is_on_the_page_and_no_other() {
    let mut read: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    reader::asked(); // what this thread read before
    let found = parse(&examples(), Path::new("waypost.toml"));
    for (title, keys) in reader::asked() {
        let place =
            PLACES.iter().find(|(place, _)| *place == title || (place.ends_with('.') && title.starts_with(place)));
        let (_, heading) = place.unwrap_or_else(|| panic!("docs/configuration.md has no place for {title}"));
        read.entry(heading).or_default().extend(keys);
    }
    for (_, heading) in PLACES {
        let known = read.get(heading).unwrap_or_else(|| panic!("no example of {heading}"));
        assert_eq!(listed(heading), *known, "{heading}: what the page lists, and what is read");
    }
    // The examples are good, but for files that are not here.
    let mistakes = found.err().unwrap_or_default();
    let others = mistakes.iter().filter(|m| m.severity == crate::diagnostic::Severity::Error);
    let others: Vec<String> = others.map(ToString::to_string).filter(|m| !m.contains("can't be read")).collect();
    assert!(others.is_empty(), "{others:?}");
}
