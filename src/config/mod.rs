//! The configuration file as written becomes checked settings of each part.
//!
//! `config` knows the parts; no part knows the file. A file is taken whole or not at all, and all its mistakes are told
//! at once, each with its place. To that end the TOML document is read key by key (`reader`), not deserialized, which
//! would stop at the first mistake. A default stands where its key is read, with its reason.
//!
//! [`parse`] needs nothing but the text (and asks the machine for its host name and number of cores, where the file
//! leaves those open, for the secrets in files of their own, and for the authorities that probes trust). What only the
//! zones' contents can tell is told by [`check_against_zones`]. [`render()`] shows diagnostics to people. Relative paths
//! stay as written: they are taken from the working directory.

mod against_zones;
pub mod amendments;
mod clients;
#[cfg(test)]
mod documented;
mod forwarders;
mod groups;
mod hints;
mod keys;
mod limits;
mod lines;
mod nested;
mod networks;
mod pools;
mod primaries;
mod probes;
mod reader;
mod render;
mod rrsets;
mod sections;
mod signing;
mod source;
mod trust;
mod updates;
mod values;
mod webhooks;

pub use against_zones::{Mistake, check_against_zones, made_wrong, wrong_over};
pub use render::render;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::dns::Name;
use crate::dns::tsig::KeyRing;
use crate::query::RateLimit;
use crate::query::cookies::Secret;
use crate::steering::client::ClientRules;
use crate::steering::planned;
use crate::steering::pool::{self, Site};
use crate::{api, control, probe, server, webhook, zone};
use amendments::Amendments;
use reader::Table;
use source::Source;

/// What the whole server is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Sockets of the data plane.
    pub server: server::Settings,
    /// The server's name: NSID, log, metrics. At most 255 printable ASCII characters.
    pub name: String,
    /// Secrets of the server cookies: the one in use, and one more that is good. None: one of this process.
    pub cookie_secrets: Vec<Secret>,
    /// The folder of the embedded store.
    pub state: PathBuf,
    /// Where the API listens.
    pub api: api::Settings,
    /// TSIG keys.
    pub keys: Arc<KeyRing>,
    /// Where the secondaries of all zones are.
    pub secondaries: Arc<HashSet<IpAddr>>,
    /// Zones to serve; no name twice.
    pub zones: Arc<[zone::Settings]>,
    /// The sites, in the order of the file; none twice.
    pub sites: Vec<Site>,
    /// Whom answers are for.
    pub clients: Arc<ClientRules>,
    /// The file of overrides, if there is one.
    pub override_file: Option<PathBuf>,
    /// Probes by name.
    pub probes: BTreeMap<String, probe::Settings>,
    /// Checks that are carried out at the same time, at most.
    pub checks_at_once: usize,
    /// Pools; no name twice, each at or below a zone's apex, their sites and probes among those above.
    pub pools: Vec<pool::Settings>,
    /// RRsets of the zones whose TTL is planned; none twice, none that a pool steers, each at or below a zone's apex.
    pub rrsets: Vec<planned::Settings>,
    /// Forwarders that this server leads; none twice.
    pub forwarders: Vec<control::forwarders::Settings>,
    /// Who is told what happens; no name twice.
    pub webhooks: Vec<webhook::Settings>,
    /// What is logged, and how.
    pub log: LogSettings,
    /// How many responses a prefix may have; `None`: as many as it asks for.
    pub rate_limit: Option<RateLimit>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The form of a line.
    pub format: LogFormat,
    /// A filter as `tracing` reads it: `info`, `warn,waypost::probe=debug`.
    pub level: String,
}

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A file that was taken.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// Doubts about it, from top to bottom.
    pub warnings: Vec<Diagnostic>,
    /// Where it was read from.
    pub file: PathBuf,
    /// Where the `file` of each zone is written, in the order of `settings.zones`.
    pub zone_places: Vec<Place>,
    /// Where the `name` of each pool is written, in the order of `settings.pools`; `None`: not in the file.
    pub pool_places: Vec<Option<Place>>,
    /// Where the type of each planned RRset is written, in the order of `settings.rrsets`.
    pub rrset_places: Vec<Place>,
    text: Arc<str>,
}

impl Loaded {
    /// The file as a table, in its own words.
    ///
    /// # Errors
    /// That it is no TOML, which is known only of a file that was read with mistakes.
    pub fn document(&self) -> Result<toml::Table, String> {
        toml::from_str(&self.text).map_err(|e| format!("{}: {}", self.file.display(), e.message()))
    }

    /// The same with what of `amendments` holds over it, which is given too, and what no longer does, in words. All else but the
    /// pools is as it was.
    ///
    /// # Errors
    /// What is wrong with the pools that come of it; at least one is an error.
    pub fn amended(&self, amendments: &Amendments) -> Result<(Self, Amendments, Vec<String>), Vec<Diagnostic>> {
        if amendments.0.is_empty() {
            return Ok((self.clone(), Amendments::default(), Vec::new()));
        }
        let of_file = |mistake: String| vec![Diagnostic::of_file(&self.file, mistake)];
        let mut document = self.document().map_err(of_file)?;
        let (holds, dropped) = amendments.apply(&mut document);
        let text = toml::to_string(&document).map_err(|e| of_file(e.to_string()))?;
        let mut amended =
            parse_as(&text, &self.file, true).map_err(|found| found.into_iter().map(placeless).collect::<Vec<_>>())?;
        let places = self.settings.pools.iter().map(|pool| &pool.name).zip(&self.pool_places);
        let places: HashMap<&Name, &Option<Place>> = places.collect();
        amended.pool_places =
            amended.settings.pools.iter().map(|pool| places.get(&pool.name).copied().cloned().flatten()).collect();
        let known = |doubt: &Diagnostic| self.warnings.iter().find(|known| known.message == doubt.message).cloned();
        amended.warnings =
            amended.warnings.into_iter().map(|doubt| known(&doubt).unwrap_or_else(|| placeless(doubt))).collect();
        amended.settings = Settings { pools: amended.settings.pools, ..self.settings.clone() };
        (amended.zone_places, amended.text) = (self.zone_places.clone(), self.text.clone());
        amended.rrset_places.clone_from(&self.rrset_places);
        Ok((amended, holds, dropped))
    }
}

/// What is said of a text that nobody wrote has no place.
fn placeless(found: Diagnostic) -> Diagnostic {
    Diagnostic { place: None, ..found }
}

/// Reads and checks a file.
///
/// # Errors
/// All that is wrong with it, from top to bottom, warnings among it; at least one is an error.
pub fn load(file: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let octets = fs::read(file).map_err(|e| vec![Diagnostic::of_file(file, format!("can't be read: {e}"))])?;
    match std::str::from_utf8(&octets) {
        Ok(text) => parse(text, file),
        Err(e) => {
            let text = String::from_utf8_lossy(&octets);
            let mut src = Source::new(file, &text);
            let at = e.valid_up_to(); // until there the lossy text is the same
            src.error(at..at + 1, format!("the octet 0x{:02x} is not UTF-8, as TOML must be", octets[at]));
            Err(src.into_found())
        }
    }
}

/// The zones of a file that has mistakes, as far as they can be read: theirs can be told beside its own.
pub fn zones_of(file: &Path) -> Vec<zone::Settings> {
    let Ok(text) = fs::read_to_string(file) else { return Vec::new() };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let (root, _) = DeTable::parse_recoverable(text);
    settings(Table::document(&root), false, &mut Source::new(file, text)).0.zones.to_vec()
}

/// Checks the text of a file; `file` is only quoted.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, file: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    parse_as(text, file, false)
}

/// The same; of pools that were `amended` the weights written need not give anybody anything: the store's count.
fn parse_as(text: &str, file: &Path, amended: bool) -> Result<Loaded, Vec<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text); // editors that write a byte order mark count without it
    let mut src = Source::new(file, text);
    let (root, mistakes) = DeTable::parse_recoverable(text);
    for mistake in mistakes {
        let span = mistake.span().unwrap_or(0..0);
        match mistake.message() {
            // The text is understood all the same, so the rest of it can be judged.
            "duplicate key" => {
                let key = text.get(span.clone()).unwrap_or_default();
                src.error(span, format!("key {key:?} is written twice"));
            }
            reason => src.not_toml(span.clone(), reader::value_around(root.get_ref(), &span), reason),
        }
    }
    let (settings, Places { zones: zone_places, pools: pool_places, rrsets: rrset_places }) =
        settings(Table::document(&root), amended, &mut src);
    let found = src.into_found();
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Err(found);
    }
    let pool_places = pool_places.into_iter().map(Some).collect();
    let file = file.to_owned();
    Ok(Loaded { settings, warnings: found, file, zone_places, pool_places, rrset_places, text: text.into() })
}

/// Where what is judged by the zones is written.
struct Places {
    zones: Vec<Place>,
    pools: Vec<Place>,
    rrsets: Vec<Place>,
}

/// All sections; what is wrong stands in `src`, and is left out or has its default here.
fn settings(mut file: Table, amended: bool, src: &mut Source) -> (Settings, Places) {
    let written = [
        "server",
        "api",
        "log",
        "rrl",
        "tsig",
        "dnssec-policy",
        "steering",
        "zone",
        "site",
        "overrides",
        "probes",
        "probe",
        "pool",
        "rrset",
        "forwarder",
        "webhook",
    ]
    .map(|key| file.get(key));
    file.finish(src);
    let [
        server,
        api,
        log,
        rrl,
        keys,
        policies,
        steering,
        zones,
        sites,
        overrides,
        limits,
        probes,
        pools,
        rrsets,
        forwarders,
        webhooks,
    ] = written;

    let (server, name, cookie_secrets, state) = sections::server(server, src);
    let api = sections::api(api, &state, src);
    let log = sections::log(log, src);
    let rate_limit = rrl.and_then(|v| limits::rate_limit(&v, src));
    let keys = keys::keys(keys, src);
    let policies = signing::policies(policies, src);
    let gives_encrypted = server.encrypted.as_ref().is_some_and(|on| !on.tls.is_empty() || !on.quic.is_empty());
    let zones = sections::zones(zones, &keys, &policies, gives_encrypted, src);
    let sites = sections::sites(sites, src);
    let (clients, of_all) = clients::steering(steering, &sites, src);
    let clients = Arc::new(clients);
    let override_file = sections::overrides(overrides, src);
    let checks_at_once = limits::checks_at_once(limits, src);
    let probes = probes::probes(probes, src);
    let surroundings = pools::Surroundings { zones: &zones, sites: &sites, of_all: &of_all, probes: &probes, amended };
    let (pools, pool_places) = pools::pools(pools, &surroundings, src);
    let (rrsets, rrset_places) = rrsets::rrsets(rrsets, &zones, &pools, src);

    let forwarders = forwarders::forwarders(forwarders, src);
    let webhooks = webhooks::webhooks(webhooks, src);

    let (mut zones, zone_places): (Vec<zone::Settings>, _) =
        zones.served.into_iter().map(|(zone, file)| (zone, src.place(file))).unzip();
    let members = zones.iter().filter(|zone| zone.catalog.is_none() && !zone.allow_transfer.0.is_empty());
    let members: Arc<[Name]> = members.map(|zone| zone.name.clone()).collect();
    for catalog in zones.iter_mut().filter_map(|zone| zone.catalog.as_mut()) {
        *catalog = members.clone();
    }
    let secondaries = zones.iter().flat_map(|zone| &zone.notify).map(|to| to.address.ip()).collect();
    let secondaries = Arc::new(secondaries);
    let probes = probes.into_iter().filter_map(|(name, probe)| Some((name, probe.settings?))).collect();
    let keys = Arc::new(keys.ring);
    let zones = zones.into();
    let settings = Settings {
        server,
        name,
        cookie_secrets,
        state,
        api,
        keys,
        secondaries,
        zones,
        sites,
        clients,
        override_file,
        probes,
        checks_at_once,
        pools,
        rrsets,
        forwarders,
        webhooks,
        log,
        rate_limit,
    };
    (settings, Places { zones: zone_places, pools: pool_places, rrsets: rrset_places })
}
