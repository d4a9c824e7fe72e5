//! What is served: configuration and zones, read and compiled. It changes with a reload, and a zone also by itself.
//!
//! Reading is slow (files, compiling), so it happens beside the writer, which takes the result whole. A zone that can't be
//! read takes no other down: it keeps its last good contents, or alone answers SERVFAIL.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::config::amendments::{Amendment, Amendments};
use crate::config::{self, Loaded};
use crate::control::copy::{Keep, copy_of};
use crate::control::message::ZoneState;
use crate::control::planned;
use crate::control::zones::{self, Fallback, Reading, Served, ServedZone};
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::dns::Name;
use crate::query::Records;
use crate::steering::client::{ByClient, Farms};
use crate::steering::key::Salt;
use crate::steering::networks::{Located, Preference, Preferences};
use crate::steering::pool::{Policy, Preview, Settings, SiteName};
use crate::steering::prefixes::Prefixes;
use crate::store::{StateStore, StoreError};
use crate::time::Timestamp;
use crate::zone::compiled::Overlay;
use crate::zone::signing::online::Online;
use crate::zone::stamps::Watched;
use crate::zone::{self, Zone, ZoneSet};

/// Configuration and zones, read and checked.
#[derive(Clone)]
pub struct Catalog {
    /// As the configuration file says, with what operators changed of the pools since.
    pub settings: config::Settings,
    /// The file alone.
    pub file: Arc<Loaded>,
    /// What operators changed, as far as it holds.
    pub amendments: Arc<Amendments>,
    /// In the order of the configuration.
    pub zones: Vec<ServedZone>,
    /// All zones for queries; their overlay has each pool at its place in the settings.
    pub zone_set: Arc<ZoneSet>,
    /// Where each pool stands in the settings.
    places: Arc<HashMap<Name, usize>>,
    /// What each pool answers, in the order of the settings.
    pub records: Vec<Arc<Records>>,
    /// The salt of each pool.
    pub salts: Vec<Salt>,
    /// For each pool the places of all pools of its group, its own among them.
    pub groups: Vec<Arc<[usize]>>,
    /// For each pool the places of all that are published anew when it changes: those of its group, then the pools that have one
    /// of them as an endpoint, and so on.
    pub affected: Vec<Arc<[usize]>>,
    /// For each pool that is an endpoint of others, which these are, and the site of that.
    outer: Arc<HashMap<Name, Vec<(Name, SiteName)>>>,
    /// For each pool who sees which endpoint first.
    pub previews: Vec<Option<Arc<ByClient>>>,
    /// For each pool which endpoints which clients are to have, where that is its policy.
    pub preferences: Vec<Option<Preference>>,
    /// Doubts about the configuration and the zones.
    pub warnings: Vec<Diagnostic>,
    /// Those of `warnings` that are about the configuration.
    doubts: Vec<Diagnostic>,
    /// Where the file was edited over what operators had changed: told once.
    pub dropped: Vec<String>,
    /// What the reading means for each of `zones`; empty once the writer has taken it over.
    pub readings: Vec<Reading>,
    /// The files of the zones that are watched, as they were when they were read.
    pub watched: Arc<[Watched]>,
}

impl Catalog {
    /// Reads `file` and all that it names. `before` is what is served now, whose compiled zones and amendments are kept;
    /// `last_good` gives older contents for zones that can't be read and weren't served. Amendments that do not fit the file
    /// any more are mistakes, unless it is `force`d: then they are dropped.
    ///
    /// # Errors
    /// All mistakes of the configuration, alone and against the zones.
    pub fn read(
        file: &Path,
        before: Option<&Catalog>,
        last_good: &Fallback,
        force: bool,
        now: Timestamp,
    ) -> Result<Self, Vec<Diagnostic>> {
        let loaded = config::load(file)?;
        let amendments = before.map_or_else(Amendments::default, |before| (*before.amendments).clone());
        let amended = Amended::of(&loaded, &amendments, force)?;
        let settings = &amended.loaded.settings;
        let mut warnings = Vec::new();
        let apexes: Vec<&Name> = settings.zones.iter().map(|z| &z.name).collect();
        let read = |zone: &zone::Settings| {
            let old = before.and_then(|c| c.zone(&zone.name));
            let overlay = overlay_of(&zone.name, &apexes, settings);
            zones::read(zone, overlay, old, last_good, now, &mut warnings)
        };
        let (mut zones, readings): (Vec<ServedZone>, _) = settings.zones.iter().map(read).unzip();
        for ((zone, settings), place) in zones.iter_mut().zip(settings.zones.iter()).zip(&loaded.zone_places) {
            tell_of_absence(zone, settings, file, place);
        }
        let is_known = |found: &Diagnostic| before.is_some_and(|before| before.has_doubt(&found.message));
        Self::assemble(Arc::new(loaded), amended, zones, readings, warnings, is_known)
    }

    /// The same with the file of one zone read again.
    ///
    /// # Errors
    /// What is wrong with pools over what it holds now.
    pub fn read_zone(&self, name: &Name, now: Timestamp) -> Result<Self, Vec<Diagnostic>> {
        let amended = Amended::of(&self.file, &self.amendments, false)?;
        let apexes: Vec<&Name> = self.zones.iter().map(|z| &z.name).collect();
        let file = self.settings.zones.iter().find(|zone| zone.name == *name).and_then(|zone| zone.file.as_ref());
        let others = self.warnings.iter().filter(|doubt| !self.doubts.contains(doubt) && Some(&doubt.file) != file);
        let mut of_zones: Vec<Diagnostic> = others.cloned().collect();
        let read = |((zone, settings), place): ((&ServedZone, &zone::Settings), &Place)| {
            let base = zone.served.as_ref().map(|served| served.zone.clone());
            if zone.name != *name {
                return (zone.clone(), Reading { base, edit: None });
            }
            let overlay = overlay_of(name, &apexes, &amended.loaded.settings);
            let (mut read, reading) = zones::read(settings, overlay, Some(zone), &Fallback::new(), now, &mut of_zones);
            tell_of_absence(&mut read, settings, &self.file.file, place);
            (read, reading)
        };
        let of_all = self.zones.iter().zip(self.settings.zones.iter()).zip(&self.file.zone_places);
        let (zones, readings) = of_all.map(read).unzip();
        Self::assemble(self.file.clone(), amended, zones, readings, of_zones, |found| self.has_doubt(&found.message))
    }

    /// The same configuration and zones with other amendments. Nothing is read; the writer takes it as it takes a reading.
    ///
    /// # Errors
    /// What is wrong with the pools that come of it; with `force` what does not fit is dropped.
    pub fn amended(&self, amendments: &Amendments, force: bool) -> Result<Self, Vec<Diagnostic>> {
        self.amended_but(amendments, force, |found| self.has_doubt(&found.message))
    }

    /// The same at a start, once zones are as the store says: what hides a pool there is a doubt, as it must not keep the
    /// server from its start.
    ///
    /// # Errors
    /// As [`Catalog::amended`], but nothing of the zones.
    pub fn amended_at_start(&self, amendments: &Amendments, force: bool) -> Result<Self, Vec<Diagnostic>> {
        self.amended_but(amendments, force, |_| true)
    }

    fn amended_but(
        &self,
        amendments: &Amendments,
        force: bool,
        is_doubt: impl Fn(&Diagnostic) -> bool,
    ) -> Result<Self, Vec<Diagnostic>> {
        let amended = Amended::of(&self.file, amendments, force)?;
        let apexes: Vec<&Name> = self.zones.iter().map(|z| &z.name).collect();
        let under = |zone: &ServedZone| {
            let overlay = overlay_of(&zone.name, &apexes, &amended.loaded.settings);
            let served = zone.served.as_ref().map(|served| served.under(&overlay));
            let base = zone.served.as_ref().map(|served| served.zone.clone());
            (ServedZone { served, ..zone.clone() }, Reading { base, edit: None })
        };
        let (zones, readings) = self.zones.iter().map(under).unzip();
        let of_zones = self.warnings.iter().filter(|doubt| !self.doubts.contains(doubt)).cloned().collect();
        Self::assemble(self.file.clone(), amended, zones, readings, of_zones, is_doubt)
    }

    /// `warnings` are those of the zones; `is_doubt` tells which mistakes of pools over zones are no more than that.
    fn assemble(
        file: Arc<Loaded>,
        amended: Amended,
        zones: Vec<ServedZone>,
        readings: Vec<Reading>,
        mut warnings: Vec<Diagnostic>,
        is_doubt: impl Fn(&Diagnostic) -> bool,
    ) -> Result<Self, Vec<Diagnostic>> {
        let Amended { loaded, amendments, dropped } = amended;
        let known: Vec<&Zone> = zones.iter().filter_map(|z| z.served.as_ref().map(|served| &*served.zone)).collect();
        let mut found = config::check_against_zones(&loaded, &known);
        for doubt in found.iter_mut().filter(|found| is_doubt(found)) {
            doubt.severity = Severity::Warning;
        }
        let (errors, of_pools): (Vec<_>, Vec<_>) = found.into_iter().partition(|d| d.severity == Severity::Error);
        if !errors.is_empty() {
            return Err(errors);
        }
        let doubts: Vec<Diagnostic> = loaded.warnings.iter().cloned().chain(of_pools).collect();
        warnings.splice(0..0, doubts.iter().cloned());
        let settings = loaded.settings;
        let zone_set = zone_set(&zones, &settings);
        let places: HashMap<Name, usize> =
            (0..).zip(&settings.pools).map(|(place, pool)| (pool.name.clone(), place)).collect();
        let places = Arc::new(places);
        let records = settings.pools.iter().map(|pool| Arc::new(Records::new(pool))).collect();
        let (salts, groups) = (settings.pools.iter().map(salt_of).collect(), groups(&settings.pools));
        let outer = outer(&settings.pools);
        let affected = affected(&settings.pools, &outer, &groups, &places);
        let previews = settings.pools.iter().map(|pool| preview_of(pool, &settings.clients.farms)).collect();
        let preferences = preferences(&settings);
        let watched = settings.zones.iter().zip(&zones).filter(|(settings, _)| settings.watch);
        let watched = watched.map(|(_, zone)| zone.reading.watched(&zone.name)).collect();
        let outer = Arc::new(outer);
        Ok(Self {
            settings,
            file,
            amendments: Arc::new(amendments),
            zones,
            zone_set,
            places,
            records,
            salts,
            groups,
            affected,
            outer,
            previews,
            preferences,
            warnings,
            doubts,
            dropped,
            readings,
            watched,
        })
    }

    /// Whether this is among the doubts already: what was served with it is not refused for it.
    pub fn has_doubt(&self, message: &str) -> bool {
        self.doubts.iter().any(|doubt| doubt.message == message)
    }

    /// The pools over the zone at `index`, given what is served of it.
    pub fn pools_over(&self, index: usize) -> impl Iterator<Item = &Settings> {
        let overlay = self.zones[index].served.as_ref().map(|served| &served.overlay);
        overlay.into_iter().flat_map(|overlay| overlay.values()).map(|slot| &self.settings.pools[*slot as usize])
    }

    /// The pool at `name` over the zone at `index`.
    pub fn pool_over(&self, index: usize, name: &Name) -> Option<&Settings> {
        let slot = self.zones[index].served.as_ref()?.overlay.get(name)?;
        self.settings.pools.get(*slot as usize)
    }

    /// Makes the copies that the store is to have of files that were edited. It takes a while.
    ///
    /// # Errors
    /// What the store says that keeps them.
    pub fn make_copies(&mut self, store: &dyn StateStore) -> Result<(), StoreError> {
        for (zone, reading) in self.zones.iter().zip(&mut self.readings) {
            if let (Some(served), Some(edit)) = (&zone.served, &mut reading.edit)
                && let Keep::Whole(copy) = &mut edit.keep
            {
                *copy = Some(store.keep(copy_of(&edit.file, served.loaded_at))?);
            }
        }
        Ok(())
    }

    /// The zone whose apex is `name`.
    pub fn zone(&self, name: &Name) -> Option<&ServedZone> {
        self.zones.iter().find(|z| z.name == *name)
    }

    /// Serves `served` of the zone at `index` from now on.
    pub fn serve(&mut self, index: usize, served: Served) {
        self.zones[index].served = Some(served);
        self.zone_set = zone_set(&self.zones, &self.settings);
    }

    /// Answers of the zones at these places are signed by these as they are made, from now on.
    pub fn sign_online(&mut self, signers: Vec<(usize, Option<Arc<Online>>)>) {
        for (index, online) in signers {
            self.zones[index].online = online;
        }
        self.zone_set = zone_set(&self.zones, &self.settings);
    }

    /// What lies over the zone `name`: the pools and planned RRsets of which it is the child-most zone.
    pub fn overlay(&self, name: &Name) -> Overlay {
        let apexes: Vec<&Name> = self.zones.iter().map(|z| &z.name).collect();
        overlay_of(name, &apexes, &self.settings)
    }

    /// Says how the zone at `index` is served.
    pub fn set_state(&mut self, index: usize, state: ZoneState) {
        self.zones[index].state = state;
        self.zone_set = zone_set(&self.zones, &self.settings);
    }

    /// Where the pool stands in the settings.
    pub fn pool_index(&self, name: &Name) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The places of the pools that lead to the one at `index`, or to one of its group.
    pub fn above(&self, index: usize) -> &[usize] {
        &self.affected[index][self.groups[index].len()..]
    }

    /// The pools that have `pool` as an endpoint, each with the site of that.
    pub fn outer_of(&self, pool: &Name) -> &[(Name, SiteName)] {
        self.outer.get(pool).map_or(&[], Vec::as_slice)
    }

    /// The pool as configured.
    pub fn pool(&self, name: &Name) -> Option<&Settings> {
        self.pool_index(name).map(|index| &self.settings.pools[index])
    }
}

/// Where there is no file of a zone, it is the configuration that names a wrong one.
fn tell_of_absence(zone: &mut ServedZone, settings: &zone::Settings, config: &Path, place: &Place) {
    let on_disk = settings.file.as_ref().filter(|_| settings.catalog.is_none());
    let Some(file) = on_disk.filter(|file| !file.exists()) else { return };
    for problem in zone.problem.iter_mut().filter(|problem| problem.place.is_none() && problem.file == *file) {
        problem.message = format!("zone \"{}\": {} {}", zone.name, file.display(), problem.message);
        (problem.file, problem.place) = (config.to_owned(), Some(place.clone()));
    }
}

/// A file with what was changed at run time over it.
struct Amended {
    loaded: Loaded,
    amendments: Amendments,
    dropped: Vec<String>,
}

impl Amended {
    fn of(file: &Loaded, amendments: &Amendments, force: bool) -> Result<Self, Vec<Diagnostic>> {
        let (loaded, amendments, dropped) = match file.amended(amendments) {
            Err(_) if force => fitting(file, amendments)?,
            amended => amended?,
        };
        Ok(Self { loaded, amendments, dropped })
    }
}

/// The same without the amendments that do not fit the file, one by one.
fn fitting(file: &Loaded, all: &Amendments) -> Result<(Loaded, Amendments, Vec<String>), Vec<Diagnostic>> {
    let (mut fit, mut dropped) = (Amendments::default(), Vec::new());
    // One that has a pool as an endpoint fits only once that one is there.
    let mut left: Vec<(&Name, &Amendment)> = all.0.iter().collect();
    loop {
        let before = left.len();
        let mut why = Vec::new();
        left.retain(|(pool, amendment)| {
            let one: (Name, Amendment) = ((*pool).clone(), (*amendment).clone());
            let with = Amendments(fit.0.iter().map(|(n, a)| (n.clone(), a.clone())).chain([one]).collect());
            match file.amended(&with) {
                Ok(_) => fit = with,
                Err(mistakes) => {
                    why.push(mistakes.into_iter().next().map_or_else(String::new, |mistake| mistake.message));
                    return true;
                }
            }
            false
        });
        if left.len() == before {
            dropped.extend(left.iter().zip(why).map(|((pool, _), why)| {
                format!("pool {pool}: what was changed at run time is dropped, by force: {why}")
            }));
            break;
        }
    }
    let (loaded, amendments, more) = file.amended(&fit)?;
    dropped.extend(more);
    Ok((loaded, amendments, dropped))
}

/// Pools of one group have one salt, so that they send one client to one site.
fn salt_of(pool: &Settings) -> Salt {
    match &pool.selection.group {
        Some(group) => Salt::of(group),
        None => Salt::of(&pool.name.to_lowercase().to_string()),
    }
}

/// Who sees which endpoint of `pool` before all others.
fn preview_of(pool: &Settings, farms: &Farms) -> Option<Arc<ByClient>> {
    let of = |preview: &Preview| -> Vec<_> {
        let endpoint = pool.endpoints.iter().position(|e| e.site == preview.site);
        endpoint.map_or_else(Vec::new, |e| preview.networks.iter().map(|net| (*net, e as u32)).collect())
    };
    let prefixes = Prefixes::new(pool.selection.previews.iter().flat_map(of));
    (!prefixes.is_empty()).then(|| Arc::new(ByClient::new(prefixes, farms)))
}

/// For each pool what networks are to have; tables of networks are large, and shared.
fn preferences(settings: &config::Settings) -> Vec<Option<Preference>> {
    let mut located: Vec<(Arc<Preferences>, Arc<Located>)> = Vec::new();
    let mut of = |pool: &Settings| {
        let wanted = pool.selection.preferences.as_ref().filter(|_| pool.policy == Policy::Geo)?;
        let known = located.iter().find(|(known, _)| Arc::ptr_eq(known, wanted)).map(|(_, located)| located.clone());
        let known = known.unwrap_or_else(|| {
            let made = Arc::new(Located::new(wanted, &settings.clients.farms));
            located.push((wanted.clone(), made.clone()));
            made
        });
        Some(Preference::new(wanted, known, pool.endpoints.iter().map(|e| &e.site)))
    };
    settings.pools.iter().map(&mut of).collect()
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

/// See [`Catalog::outer_of`].
fn outer(pools: &[Settings]) -> HashMap<Name, Vec<(Name, SiteName)>> {
    let mut outer: HashMap<Name, Vec<(Name, SiteName)>> = HashMap::new();
    for pool in pools.iter().filter(|pool| pool.nest.is_some()) {
        for endpoint in &pool.endpoints {
            if let Some(inner) = &endpoint.pool {
                outer.entry(inner.clone()).or_default().push((pool.name.clone(), endpoint.site.clone()));
            }
        }
    }
    outer
}

/// For each pool all that depend on it: see [`Catalog::affected`].
fn affected(
    pools: &[Settings],
    outer: &HashMap<Name, Vec<(Name, SiteName)>>,
    groups: &[Arc<[usize]>],
    places: &HashMap<Name, usize>,
) -> Vec<Arc<[usize]>> {
    let of = |group: &Arc<[usize]>| {
        if group.iter().all(|place| !outer.contains_key(&pools[*place].name)) {
            return group.clone();
        }
        let mut all: Vec<usize> = group.to_vec();
        let mut next = 0;
        while let Some(place) = all.get(next).copied() {
            let above = outer.get(&pools[place].name).into_iter().flatten();
            for above in above.flat_map(|(name, _)| groups[places[name]].iter()) {
                if !all.contains(above) {
                    all.push(*above);
                }
            }
            next += 1;
        }
        all.into()
    };
    groups.iter().map(of).collect()
}

/// The pools whose child-most zone is `name`, by their place in the settings, and names of which RRsets are planned, by theirs
/// among those.
fn overlay_of(name: &Name, apexes: &[&Name], settings: &config::Settings) -> Overlay {
    let mut overlay = Overlay::default();
    for (slot, pool) in settings.pools.iter().enumerate() {
        let child_most = apexes.iter().filter(|a| pool.name.is_at_or_below(a)).max_by_key(|a| a.label_count());
        if child_most.is_some_and(|apex| **apex == *name) {
            overlay.insert(pool.name.clone(), slot as u32);
        }
    }
    for (n, of) in planned::names(settings).iter().enumerate() {
        let child_most = apexes.iter().filter(|a| of.name.is_at_or_below(a)).max_by_key(|a| a.label_count());
        if child_most.is_some_and(|apex| **apex == *name) {
            overlay.insert(of.name.clone(), of.slot(n, settings));
        }
    }
    overlay
}

fn zone_set(zones: &[ServedZone], settings: &config::Settings) -> Arc<ZoneSet> {
    let served = |zone: &ServedZone| zone.served.as_ref().map(|served| served.zone.clone());
    let mut set = ZoneSet::new(zones.iter().map(|zone| (zone.name.clone(), served(zone))));
    for zone in zones.iter().filter(|zone| zone.state == ZoneState::Expired) {
        set.expire(&zone.name);
    }
    for zone in settings.zones.iter() {
        if let Some(allowed) = &zone.allow_query {
            set.restrict(&zone.name, allowed.clone());
        }
    }
    for zone in zones {
        if let Some(online) = &zone.online {
            set.sign_online(&zone.name, online.clone());
        }
    }
    Arc::new(set)
}
