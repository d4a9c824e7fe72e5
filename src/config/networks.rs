//! Which networks are given which sites: files of lines `KEY[ KEY ...] = SITE[ SITE ...]`, and a MaxMind DB file.
//!
//! A key is a prefix, `asn:64500`, `country:DE`, `continent:EU`, or `*` for all others.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use maxminddb::{Reader, WithinOptions};
use serde::Deserialize;

use super::lines;
use super::reader::{Value, guess};
use super::source::Source;
use super::values;
use crate::diagnostic::Diagnostic;
use crate::steering::networks::Preferences;
use crate::steering::pool::Site;

/// What `[steering]` says of it, and the files that were read.
#[derive(Default)]
pub(super) struct Networks {
    /// Of pools that name none of their own.
    pub(super) of_all: Option<Arc<Preferences>>,
    database: Option<(PathBuf, Range<usize>)>,
    read: RefCell<BTreeMap<PathBuf, Option<Arc<Preferences>>>>,
}

impl Networks {
    /// `networks` and `geo-database` of `[steering]`.
    pub(super) fn new(file: Option<&Value>, database: Option<&Value>, sites: &[Site], src: &mut Source) -> Self {
        let database = database.and_then(|v| Some((values::path(v, "a file", src)?, v.span.clone())));
        let mut networks = Self { database, ..Self::default() };
        networks.of_all = file.and_then(|v| networks.preferences(v, sites, src));
        networks
    }

    /// What the file that `value` names says; each file is read once.
    pub(super) fn preferences(&self, value: &Value, sites: &[Site], src: &mut Source) -> Option<Arc<Preferences>> {
        let file = values::path(value, "a file", src)?;
        if let Some(known) = self.read.borrow().get(&file) {
            return known.clone();
        }
        let made = match parse(&file, sites) {
            Ok(written) => self.with_database(written, value, src),
            Err(found) => {
                src.also(&value.span, found);
                None
            }
        };
        self.read.borrow_mut().insert(file, made.clone());
        made
    }

    fn with_database(&self, written: Written, value: &Value, src: &mut Source) -> Option<Arc<Preferences>> {
        let Written { own, places, otherwise, lists } = written;
        let mut of_database = Vec::new();
        if !places.is_empty() {
            let Some((file, at)) = &self.database else {
                let message = "its lines with country, continent or asn want a \"geo-database\" in [steering]";
                src.error(value.span.clone(), message);
                return None;
            };
            match located(file, &places) {
                Ok(found) => of_database = found,
                Err(error) => {
                    src.error(at.clone(), format!("\"{}\" can't be read: {error}", file.display()));
                    return None;
                }
            }
        }
        Some(Arc::new(Preferences::new(&own, &of_database, otherwise, lists)))
    }
}

/// A file as written.
#[derive(Default)]
struct Written {
    own: Vec<(IpNet, u32)>,
    /// By `asn:64500`, `country:DE`, `continent:EU`.
    places: HashMap<String, u32>,
    otherwise: Option<u32>,
    lists: Vec<Vec<String>>,
}

fn parse(file: &Path, sites: &[Site]) -> Result<Written, Vec<Diagnostic>> {
    let text = fs::read_to_string(file).map_err(|e| vec![Diagnostic::of_file(file, format!("can't be read: {e}"))])?;
    let mut written = Written::default();
    lines::read(file, &text, |line| {
        let Some(middle) = line.words.iter().position(|word| word.text == "=") else {
            let first = line.words[0].clone();
            return Err((first, "a line has networks, \"=\", and then sites, the best first".to_owned()));
        };
        let (keys, named) = (&line.words[..middle], &line.words[middle + 1..]);
        if keys.is_empty() || named.is_empty() {
            return Err((line.words[middle].clone(), "networks stand before \"=\", sites behind it".to_owned()));
        }
        let place = written.lists.len() as u32;
        for key in keys {
            if key.text == "*" {
                if written.otherwise.replace(place).is_some() {
                    return Err((key.clone(), "\"*\" is written twice".to_owned()));
                }
            } else if let Some(known) = place_key(key.text) {
                if written.places.insert(known, place).is_some() {
                    return Err((key.clone(), format!("{:?} is written twice", key.text)));
                }
            } else {
                written.own.push((line.prefix(key)?, place));
            }
        }
        let mut list = Vec::new();
        for site in named {
            if !sites.iter().any(|known| known.name == site.text) {
                let known = guess(site.text, sites.iter().map(|site| site.name.as_str()));
                return Err((site.clone(), format!("there is no [[site]] named {:?} ({known})", site.text)));
            }
            list.push(site.text.to_owned());
        }
        written.lists.push(list);
        Ok(())
    })?;
    Ok(written)
}

/// `asn:64500`, `country:DE` or `continent:EU`, as it is looked up.
fn place_key(text: &str) -> Option<String> {
    let (kind, value) = text.split_once(':')?;
    let is_code = value.len() == 2 && value.bytes().all(|b| b.is_ascii_alphabetic());
    match kind {
        "country" | "continent" if is_code => Some(format!("{kind}:{}", value.to_ascii_uppercase())),
        "asn" => value.parse::<u32>().ok().map(|number| format!("asn:{number}")),
        _ => None,
    }
}

/// What a database says of a network; the rest of it is passed over.
#[derive(Deserialize)]
struct Record<'d> {
    autonomous_system_number: Option<u32>,
    #[serde(borrow)]
    country: Option<Country<'d>>,
    continent: Option<Continent<'d>>,
}

#[derive(Deserialize)]
struct Country<'d> {
    iso_code: Option<&'d str>,
}

#[derive(Deserialize)]
struct Continent<'d> {
    code: Option<&'d str>,
}

/// The networks of a database that one of `places` speaks of: by AS number, else by country, else by continent.
fn located(file: &Path, places: &HashMap<String, u32>) -> Result<Vec<(IpNet, u32)>, maxminddb::MaxMindDbError> {
    let database = Reader::open_readfile(file)?;
    let mut found = Vec::new();
    for network in database.networks(WithinOptions::default())? {
        let network = network?;
        let Some(record) = network.decode::<Record>()? else { continue };
        let keys = [
            record.autonomous_system_number.map(|number| format!("asn:{number}")),
            record.country.and_then(|country| country.iso_code).map(|code| format!("country:{code}")),
            record.continent.and_then(|continent| continent.code).map(|code| format!("continent:{code}")),
        ];
        if let Some(place) = keys.iter().flatten().find_map(|key| places.get(key)) {
            let net = network.network()?;
            found.extend(canonical(net.ip(), net.prefix()).map(|net| (net, *place)));
        }
    }
    Ok(found)
}

/// IPv4 within an IPv6 tree is IPv4.
fn canonical(address: IpAddr, bits: u8) -> Option<IpNet> {
    match address {
        IpAddr::V6(v6) if bits >= 96 && v6.octets()[..12] == [0; 12] => {
            IpNet::new(IpAddr::V4(v6.to_ipv4()?), bits - 96).ok()
        }
        other => IpNet::new(other, bits).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::pool::SiteState;

    #[test]
    fn keys_are_told_apart() {
        assert_eq!(place_key("country:de"), Some("country:DE".to_owned()));
        assert_eq!(place_key("asn:064500"), Some("asn:64500".to_owned()));
        for other in ["2001:db8::/32", "country:", "asn:x", "planet:EU", "192.0.2.0/24"] {
            assert_eq!(place_key(other), None, "{other}");
        }
        assert_eq!(canonical("::192.0.2.0".parse().unwrap(), 120), "192.0.2.0/24".parse().ok());
        assert_eq!(canonical("2001:db8::".parse().unwrap(), 32), "2001:db8::/32".parse().ok());
    }

    #[test]
    fn a_file_is_read_with_its_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("map");
        let sites = ["a", "b"].map(|name| Site { name: name.to_owned(), state: SiteState::default() });
        let read = |text: &str| {
            fs::write(&file, text).unwrap();
            parse(&file, &sites).map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        };
        let written = read("10.0.0.0/8 2001:db8::/32 = a b  # here\ncountry:DE asn:64500 = b\n* = a\n").unwrap();
        assert_eq!((written.own.len(), written.places.len(), written.otherwise), (2, 2, Some(2)));
        let told = read("10.0.0.0/8 a\n= a\n10.0.0.0/8 = c\n* = a\n* = b\n10.0.0.1 = \n").err().unwrap();
        for part in
            ["1:1: error: a line has networks", ":2:1:", "no [[site]] named \"c\"", "\"*\" is written twice", ":6:10:"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
