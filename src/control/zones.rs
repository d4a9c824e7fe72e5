//! Zones as they are served: read from their files beside the writer, then changed by it alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::Mistake;
use crate::control::copy::{Keep, Steps};
use crate::control::message::ZoneState;
use crate::diagnostic::{Diagnostic, Severity};
use crate::dns::wire::Rcode;
use crate::dns::{Name, Rtype};
use crate::time::Timestamp;
use crate::zone::compiled::{Overlay, compile_gathered};
use crate::zone::drift::{Changed, diff_of, merge};
use crate::zone::gathered::Gathered;
use crate::zone::master::Differences;
use crate::zone::signing::online::Online;
use crate::zone::signing::zone::{is_made, strip};
use crate::zone::stamps::Watched;
use crate::zone::{self, Diff, Drift, Edit, Stamps, Zone, master};

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
    /// Its files, when they were read last.
    pub reading: Arc<FileReading>,
    /// What signs answers of it as they are made, where its policy has compact denial.
    pub online: Option<Arc<Online>>,
}

/// The files of a zone, as they were when they were read, well or not.
#[derive(Clone, Debug, Default)]
pub struct FileReading {
    /// What they were.
    pub stamps: Stamps,
    /// When they were read.
    pub at: Timestamp,
    /// Whether their DNSSEC records were to be passed over.
    signed_here: bool,
    /// Whether anything in them is doubtful.
    in_doubt: bool,
    /// What is doubtful about them, and what is served.
    warnings: Vec<Diagnostic>,
}

impl FileReading {
    /// The same, for who watches the files of `zone`.
    pub fn watched(&self, zone: &Name) -> Watched {
        Watched { zone: zone.clone(), stamps: self.stamps.clone(), read_at: self.at }
    }
}

/// What is served of a zone.
#[derive(Clone)]
pub struct Served {
    /// As queries read it.
    pub zone: Arc<Zone>,
    /// What lies over it.
    pub overlay: Arc<Overlay>,
    /// Where it is not as its file says.
    pub drift: Arc<Drift>,
    /// Of its file.
    pub digest: u128,
    /// When its file was read.
    pub loaded_at: Timestamp,
    /// How the store keeps its file.
    pub steps: Steps,
}

/// What the reading of a zone's file means for what is served.
#[derive(Clone, Default)]
pub struct Reading {
    /// The zone that was served when it was read.
    pub base: Option<Arc<Zone>>,
    /// The file is another one than before.
    pub edit: Option<FileEdit>,
}

/// A file that was read and is not as it was.
#[derive(Clone)]
pub struct FileEdit {
    /// What it holds.
    pub file: Arc<Zone>,
    /// Of its octets.
    pub digest: u128,
    /// The RRsets that differ; none when the file was never read before.
    pub changed: Vec<Changed>,
    /// What leads from the zone that was served to the one to serve.
    pub step: Diff,
    /// How the store is to keep it.
    pub keep: Keep,
    /// How the store keeps the file as it was.
    pub before: Steps,
}

/// Zones to fall back on, by apex, with nothing over them.
pub type Fallback = BTreeMap<Name, Served>;

/// Reads the file of a zone, unless it is as it was when it was last read. `before` is what became of that; `warnings` takes
/// doubts.
pub fn read(
    settings: &zone::Settings,
    overlay: Overlay,
    before: Option<&ServedZone>,
    last_good: &Fallback,
    now: Timestamp,
    warnings: &mut Vec<Diagnostic>,
) -> (ServedZone, Reading) {
    if let Some(unchanged) = before.and_then(|before| before.unchanged(settings, &overlay)) {
        warnings.extend(unchanged.reading.warnings.iter().cloned());
        let base = before.and_then(|before| before.served.as_ref()).map(|served| served.zone.clone());
        return (unchanged, Reading { base, edit: None });
    }
    let mut reading = FileReading { at: now, signed_here: settings.dnssec.is_some(), ..FileReading::default() };
    let mut doubts = Vec::new();
    let (mut zone, edit) = read_anew(settings, overlay, before, last_good, &mut reading, &mut doubts);
    warnings.extend(doubts.iter().cloned());
    reading.warnings = doubts;
    zone.reading = Arc::new(reading);
    (zone, edit)
}

fn read_anew(
    settings: &zone::Settings,
    overlay: Overlay,
    before: Option<&ServedZone>,
    last_good: &Fallback,
    reading: &mut FileReading,
    warnings: &mut Vec<Diagnostic>,
) -> (ServedZone, Reading) {
    let (now, old) = (reading.at, before.and_then(|before| before.served.as_ref()));
    let base = old.map(|old| old.zone.clone());
    let name = settings.name.clone();
    let online = before.and_then(|before| before.online.clone()); // until it is signed anew
    let made = |served, state, problem| {
        let (name, reading, online) = (name.clone(), Arc::default(), online.clone());
        ServedZone { name, served, state, problem, reading, online }
    };
    let Some(file) = &settings.file else {
        let served = old.or_else(|| last_good.get(&name)).map(|kept| kept.under(&overlay));
        let (mut state, mut problem) = (ZoneState::Current, Vec::new());
        if served.is_none() {
            let from = settings.primaries.first().map_or_else(String::new, |primary| primary.at.address.to_string());
            state = ZoneState::Awaited;
            problem.push(Diagnostic::of_file(from, "the zone was not transferred from here yet"));
        }
        return (made(served, state, problem), Reading { base, edit: None });
    };
    let can_be_compared = before.is_some_and(|before| before.can_be_compared(settings));
    if let Some(old) = old.filter(|_| can_be_compared).map(|old| old.under(&overlay))
        && let Some(again) = old.differences(file, &mut reading.stamps)
    {
        let (served, edit) = old.now_that(again, settings, &overlay, now, warnings);
        return (made(Some(served), ZoneState::Current, Vec::new()), Reading { base, edit });
    }
    let read = match &settings.catalog {
        Some(members) => master::read_text(zone::catalog::text(members).into_bytes(), file, &name),
        None => master::read_stamped(file, &name, &mut reading.stamps),
    };
    let mut read = match read {
        Ok(read) => read,
        Err(problem) => {
            let served = old.or_else(|| last_good.get(&name)).map(|kept| kept.under(&overlay));
            let state = if served.is_some() { ZoneState::LastGood } else { ZoneState::Unloaded };
            return (made(served, state, problem), Reading { base, edit: None });
        }
    };
    reading.in_doubt = !read.warnings.is_empty();
    warnings.append(&mut read.warnings);
    let is_stripped = settings.dnssec.is_some() && read.records.has_any(is_made);
    if is_stripped {
        let mut contents = read.records.to_contents();
        strip(&mut contents);
        read.records = Gathered::of_contents(&contents);
        let message = "its DNSSEC records are passed over: the zone is signed by its own policy".to_owned();
        warnings.push(Diagnostic { severity: Severity::Warning, ..Diagnostic::of_file(file, message) });
    }
    let digest = if is_stripped { !read.digest } else { read.digest }; // the same file holds another zone then
    let (served, edit) = match old {
        Some(old) if old.digest == digest => (Served { loaded_at: now, ..old.under(&overlay) }, None),
        Some(old) => {
            let file = compile_gathered(read.records, &overlay);
            let differences = Differences { changed: old.drift.changed(&old.zone, &file), file: Some(file), digest };
            old.now_that(differences, settings, &overlay, now, warnings)
        }
        None => {
            let served = Served::of(read, overlay, now);
            let file = served.zone.clone();
            let (changed, step, keep, before) = (Vec::new(), Diff::default(), Keep::Whole(None), Steps::default());
            (served, Some(FileEdit { file, digest, changed, step, keep, before }))
        }
    };
    (made(Some(served), ZoneState::Current, Vec::new()), Reading { base, edit })
}

impl ServedZone {
    /// Whether what its file held is known, and was without a doubt.
    fn can_be_compared(&self, settings: &zone::Settings) -> bool {
        self.state == ZoneState::Current
            && settings.catalog.is_none()
            && settings.dnssec.is_none()
            && !self.reading.signed_here
            && !self.reading.in_doubt
            && settings.file.as_deref() == self.reading.stamps.first()
    }

    /// The same under `overlay`, if its files were read well and are as they were then.
    fn unchanged(&self, settings: &zone::Settings, overlay: &Overlay) -> Option<Self> {
        let (served, reading) = (self.served.as_ref()?, &self.reading);
        let is_same = self.state == ZoneState::Current
            && settings.catalog.is_none()
            && settings.file.as_deref() == reading.stamps.first()
            && settings.dnssec.is_some() == reading.signed_here
            && reading.stamps.are_current(reading.at);
        is_same.then(|| Self { served: Some(served.under(overlay)), ..self.clone() })
    }
}

impl Served {
    /// A zone as it was read.
    pub fn of(read: master::Read, overlay: Overlay, loaded_at: Timestamp) -> Self {
        let zone = Arc::new(compile_gathered(read.records, &overlay));
        let steps = Steps::default();
        Self { zone, overlay: Arc::new(overlay), drift: Arc::default(), digest: read.digest, loaded_at, steps }
    }

    /// The same under `overlay`.
    pub fn under(&self, overlay: &Overlay) -> Self {
        if *self.overlay == *overlay {
            return self.clone();
        }
        Self { zone: Arc::new(self.zone.merged(overlay)), overlay: Arc::new(overlay.clone()), ..self.clone() }
    }

    /// What differs in its file, where that can be told without reading it whole.
    fn differences(&self, file: &Path, stamps: &mut Stamps) -> Option<Differences> {
        master::differences(file, (&self.zone, &self.drift), &self.overlay, stamps)
    }

    /// What to serve now that its file was read again, and what that means for the store; `warnings` takes doubts.
    fn now_that(
        &self,
        read: Differences,
        settings: &zone::Settings,
        overlay: &Overlay,
        now: Timestamp,
        warnings: &mut Vec<Diagnostic>,
    ) -> (Self, Option<FileEdit>) {
        let Differences { changed, file, digest } = read;
        let Some(file) = file.filter(|_| !changed.is_empty()) else {
            return (Self { loaded_at: now, digest, ..self.under(overlay) }, None);
        };
        let file = Arc::new(file);
        let (served, step, told) = self.edited(settings, &changed, (Some(file.clone()), digest), overlay, now);
        warnings.extend(told);
        let (keep, steps) = self.steps.keep(&file, &diff_of(&changed), now);
        let before = self.steps;
        (Self { steps, ..served }, Some(FileEdit { file, digest, changed, step, keep, before }))
    }

    /// What to serve now that the file has `changed`, to the zone that it holds, if that is at hand under `overlay`; what leads there from this, and what
    /// the operator should know.
    pub fn edited(
        &self,
        settings: &zone::Settings,
        changed: &[Changed],
        (file, digest): (Option<Arc<Zone>>, u128),
        overlay: &Overlay,
        now: Timestamp,
    ) -> (Self, Diff, Vec<Diagnostic>) {
        let merged = merge(&self.zone, &self.drift, changed, settings.serial, now);
        let zone = file.filter(|_| merged.drift.is_empty()).unwrap_or_else(|| {
            let zone = self.under(overlay).zone.with(&merged.step, overlay);
            Arc::new(zone.expect("the step was made for this zone"))
        });
        let file = settings.file.as_deref().unwrap_or_else(|| "".as_ref());
        let told = |message| Diagnostic { severity: Severity::Warning, ..Diagnostic::of_file(file, message) };
        // Nobody counts the serial of a catalog but us.
        let told = merged.warnings.into_iter().filter(|_| settings.catalog.is_none()).map(told).collect();
        let (overlay, drift) = (Arc::new(overlay.clone()), Arc::new(merged.drift));
        (Self { zone, overlay, drift, digest, loaded_at: now, steps: self.steps }, merged.step, told)
    }
}

/// A zone whose contents came from a primary, for the writer to serve as the first of it.
pub struct FirstZone {
    /// Its apex.
    pub apex: Name,
    /// All of it, with nothing over it.
    pub served: Served,
    /// The primary.
    pub author: String,
}

/// A change of one zone, for the writer to make.
pub struct ZoneChange {
    /// The zone.
    pub apex: Name,
    /// The serial that the change was decided on; `None`: whatever it is.
    pub expected: Option<u32>,
    /// Who wants it.
    pub author: String,
    /// Why, for log and journal.
    pub reason: String,
    /// What shall change. The serial goes up by the zone's policy, unless the edit itself makes it go up.
    pub edit: ZoneEdit,
}

/// Makes a change on a zone as it is served when its turn comes; a refusal is an RCODE, and changes nothing.
pub type ZoneEdit = Box<dyn FnOnce(&mut Edit<'_>) -> Result<(), Rcode> + Send>;

/// A change of a zone was made, or there was nothing to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneChanged {
    /// SERIAL of what is served now.
    pub serial: u32,
    /// Whether anything has changed.
    pub changed: bool,
}

/// A zone has a new serial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneEvent {
    /// The zone.
    pub apex: Name,
    /// Its serial.
    pub serial: u32,
}

/// Why a zone was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// It is not served here.
    #[error("there is no such zone")]
    NoZone,
    /// Its file was never read.
    #[error("the zone could never be read")]
    Unloaded,
    /// The zone has moved on.
    #[error("the serial of the zone is {serial} by now")]
    Stale {
        /// What it is.
        serial: u32,
    },
    /// Who made the edit refused it.
    #[error("{}", .0.name())]
    Refused(Rcode),
    /// A zone has one SOA, and name servers.
    #[error("the zone would be left without its {rtype}")]
    NoLongerAZone {
        /// What would be missing.
        rtype: Rtype,
    },
    /// Pools would no longer be answered as they are configured.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Pools(Vec<Mistake>),
    /// It can't be signed.
    #[error("the zone can't be signed: {0}")]
    Signing(String),
    /// The store did not take it.
    #[error("{0}")]
    Store(String),
    /// The server is going down.
    #[error("the server is stopping")]
    Stopping,
}
