//! What is served, as the files say: configuration and zones, read and compiled. It changes only with a reload.
//!
//! Reading is slow (files, compiling), so it happens beside the writer, which takes the result whole. A zone that can't be
//! read takes no other down: it keeps its last good contents, or alone answers SERVFAIL.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::config;
use crate::control::message::ZoneState;
use crate::diagnostic::{Diagnostic, Severity};
use crate::dns::Name;
use crate::query::Records;
use crate::steering::key::Salt;
use crate::steering::pool::Settings;
use crate::time::Timestamp;
use crate::zone::compiled::{Overlay, compile};
use crate::zone::{Contents, Zone, ZoneSet, master};

/// Configuration and zones, read and checked.
pub struct Catalog {
    /// As the configuration file says.
    pub settings: config::Settings,
    /// In the order of the configuration.
    pub zones: Vec<ServedZone>,
    /// All zones for queries; their overlay has each pool at its place in the settings.
    pub zone_set: Arc<ZoneSet>,
    /// What each pool answers, in the order of the settings.
    pub records: Vec<Arc<Records>>,
    /// The salt of each pool.
    pub salts: Vec<Salt>,
    /// For each pool the places of all pools of its group, its own among them.
    pub groups: Vec<Arc<[usize]>>,
    /// Doubts about the configuration and the zones.
    pub warnings: Vec<Diagnostic>,
}

/// A zone and what became of its file.
#[derive(Clone)]
pub struct ServedZone {
    /// Its apex.
    pub name: Name,
    /// What is served; `None`: nothing was ever read.
    pub served: Option<Served>,
    /// How it is served.
    pub state: ZoneState,
    /// What is wrong with its file: all mistakes, the first one first.
    pub problem: Vec<Diagnostic>,
}

/// A zone as read, not compiled yet.
struct ReadZone {
    name: Name,
    contents: Option<(Arc<Contents>, Timestamp)>,
    state: ZoneState,
    problem: Vec<Diagnostic>,
}

/// A zone's contents, compiled.
#[derive(Clone)]
pub struct Served {
    /// As loaded.
    pub contents: Arc<Contents>,
    /// As queries read it.
    pub zone: Arc<Zone>,
    overlay: Arc<Overlay>,
    /// When it was read from its file.
    pub loaded_at: Timestamp,
}

/// Zones to fall back on, by apex: contents and when they were read from the file.
pub type Fallback = BTreeMap<Name, (Arc<Contents>, Timestamp)>;

impl Catalog {
    /// Reads `file` and all that it names. `before` is what is served now, whose compiled zones are kept where nothing
    /// changed; `last_good` gives older contents for zones that can't be read and weren't served.
    ///
    /// # Errors
    /// All mistakes of the configuration, alone and against the zones.
    pub fn read(
        file: &Path,
        before: Option<&Catalog>,
        last_good: &Fallback,
        now: Timestamp,
    ) -> Result<Self, Vec<Diagnostic>> {
        let loaded = config::load(file)?;
        let settings = &loaded.settings;
        let mut warnings = loaded.warnings.clone();
        let mut zones: Vec<ReadZone> = Vec::new();
        for zone in &*settings.zones {
            let old = before.and_then(|c| c.zone(&zone.name)).and_then(|z| z.served.as_ref());
            let (contents, state, problem) = match master::load(&zone.file, &zone.name) {
                Ok(read) => {
                    warnings.extend(read.warnings);
                    let same = old.filter(|old| *old.contents == read.contents);
                    let contents = same.map_or_else(|| Arc::new(read.contents), |old| old.contents.clone());
                    (Some((contents, now)), ZoneState::Current, Vec::new())
                }
                Err(problem) => {
                    let kept = old.map(|s| (s.contents.clone(), s.loaded_at));
                    let kept = kept.or_else(|| last_good.get(&zone.name).cloned());
                    let state = if kept.is_some() { ZoneState::LastGood } else { ZoneState::Unloaded };
                    (kept, state, problem)
                }
            };
            zones.push(ReadZone { name: zone.name.clone(), contents, state, problem });
        }
        let known: Vec<Arc<Contents>> =
            zones.iter().filter_map(|z| z.contents.as_ref().map(|(c, _)| c.clone())).collect();
        let (errors, doubts): (Vec<_>, Vec<_>) =
            config::check_against_zones(&loaded, &known).into_iter().partition(|d| d.severity == Severity::Error);
        warnings.extend(doubts);
        if !errors.is_empty() {
            return Err(errors);
        }
        let apexes: Vec<&Name> = settings.zones.iter().map(|z| &z.name).collect();
        let zones: Vec<ServedZone> = zones
            .into_iter()
            .map(|ReadZone { name, contents, state, problem }| {
                let overlay = overlay_of(&name, &apexes, settings);
                let old = before.and_then(|c| c.zone(&name)).and_then(|z| z.served.as_ref());
                let served = contents.map(|(contents, loaded_at)| serve(contents, loaded_at, overlay, old));
                ServedZone { name, served, state, problem }
            })
            .collect();
        let zone_set = Arc::new(ZoneSet::new(
            zones.iter().map(|z| (z.name.clone(), z.served.as_ref().map(|served| served.zone.clone()))),
        ));
        let records = settings.pools.iter().map(|pool| Arc::new(Records::new(pool))).collect();
        let (salts, groups) = (settings.pools.iter().map(salt_of).collect(), groups(&settings.pools));
        Ok(Self { settings: loaded.settings, zones, zone_set, records, salts, groups, warnings })
    }

    /// The zone whose apex is `name`.
    pub fn zone(&self, name: &Name) -> Option<&ServedZone> {
        self.zones.iter().find(|z| z.name == *name)
    }

    /// Where the pool stands in the settings.
    pub fn pool_index(&self, name: &Name) -> Option<usize> {
        self.settings.pools.iter().position(|p| p.name == *name)
    }
}

/// Pools of one group have one salt, so that they send one client to one site.
fn salt_of(pool: &Settings) -> Salt {
    match &pool.selection.group {
        Some(group) => Salt::of(group),
        None => Salt::of(&pool.name.to_lowercase().to_string()),
    }
}

/// For each pool the places of those of its group.
fn groups(pools: &[Settings]) -> Vec<Arc<[usize]>> {
    let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, pool) in pools.iter().enumerate() {
        if let Some(group) = &pool.selection.group {
            members.entry(group).or_default().push(i);
        }
    }
    let members: BTreeMap<&str, Arc<[usize]>> = members.into_iter().map(|(group, all)| (group, all.into())).collect();
    let own = |(i, pool): (usize, &Settings)| {
        let group = pool.selection.group.as_ref().and_then(|group| members.get(group.as_str()));
        group.map_or_else(|| Arc::from([i]), Arc::clone)
    };
    pools.iter().enumerate().map(own).collect()
}

/// The pools whose child-most zone is `name`, by their place in the settings.
fn overlay_of(name: &Name, apexes: &[&Name], settings: &config::Settings) -> Overlay {
    let mut overlay = Overlay::default();
    for (slot, pool) in settings.pools.iter().enumerate() {
        let child_most = apexes.iter().filter(|a| pool.name.is_at_or_below(a)).max_by_key(|a| a.label_count());
        if child_most.is_some_and(|apex| **apex == *name) {
            overlay.insert(pool.name.clone(), slot as u32);
        }
    }
    overlay
}

/// Compiles, unless `old` is just that already.
fn serve(contents: Arc<Contents>, loaded_at: Timestamp, overlay: Overlay, old: Option<&Served>) -> Served {
    if let Some(old) = old
        && Arc::ptr_eq(&old.contents, &contents)
        && *old.overlay == overlay
    {
        return Served { loaded_at, ..old.clone() };
    }
    let zone = Arc::new(compile(contents.clone(), &overlay));
    Served { contents, zone, overlay: Arc::new(overlay), loaded_at }
}
