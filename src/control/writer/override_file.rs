//! The override file: read each second beside the writer, told to it when it says something else.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::control::message::Origin;
use crate::control::overrides::Overrides;
use crate::control::state::EndpointState;
use crate::control::writer::Writer;
use crate::dns::Name;
use crate::steering::pool::SiteName;
use crate::time::Timestamp;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A larger file is refused.
const MAX_OCTETS: u64 = 1 << 20;

/// What the file says now: its text (none where there is no file), or why it can't be read.
pub(super) type Reading = Result<String, String>;

/// What is known of the override file.
#[derive(Debug, Default)]
pub(super) struct OverrideFile {
    path: Option<PathBuf>,
    /// The last content that was understood.
    good: Overrides,
    /// What is wrong with what stands there now, and what it says of nobody.
    pub(super) problems: Vec<String>,
    _watch: Option<AbortOnDropHandle<()>>,
}

fn read(path: &Path) -> Reading {
    match std::fs::metadata(path) {
        Ok(found) if found.len() > MAX_OCTETS => Err(format!("it is larger than {MAX_OCTETS} octets")),
        Ok(_) => std::fs::read_to_string(path).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// Looks at the file until nobody listens. A file that is missing counts as empty only when it is missing twice in a row:
/// some editors take it away for a moment.
async fn watch(path: PathBuf, mut known: Option<Reading>, readings: mpsc::Sender<Reading>) {
    let mut missing = false;
    loop {
        tokio::time::sleep(LOOK).await;
        let asked = path.clone();
        let Ok((reading, there)) = tokio::task::spawn_blocking(move || (read(&asked), asked.exists())).await else {
            return;
        };
        let missing_before = std::mem::replace(&mut missing, !there);
        if (!there && !missing_before) || known.as_ref() == Some(&reading) {
            continue;
        }
        known = Some(reading.clone());
        if readings.send(reading).await.is_err() {
            return;
        }
    }
}

impl Writer {
    /// Follows the file that the configuration names now, and takes in what it says.
    pub(super) async fn follow_override_file(&mut self, now: Timestamp) {
        let path = self.catalog.settings.override_file.clone();
        if path == self.override_file.path && path.is_some() {
            return self.apply_overrides(now).await; // pools may be others by now
        }
        let Some(path) = path else {
            self.override_file = OverrideFile::default();
            return self.apply_overrides(now).await;
        };
        // At a start, and where the name changes, nobody waits for it: it is small and local.
        let reading = read(&path);
        let watch = tokio::spawn(watch(path.clone(), Some(reading.clone()), self.override_sender.clone()));
        self.override_file =
            OverrideFile { path: Some(path), _watch: Some(AbortOnDropHandle::new(watch)), ..OverrideFile::default() };
        self.override_file_read(reading, now).await;
    }

    /// Takes in what stands in the file now.
    pub(super) async fn override_file_read(&mut self, reading: Reading, now: Timestamp) {
        let understood = reading.map_err(|why| vec![why]).and_then(|text| Overrides::parse(&text));
        match understood {
            Ok(overrides) => {
                self.override_file.good = overrides;
                self.apply_overrides(now).await;
            }
            Err(mistakes) => {
                for mistake in &mistakes {
                    tracing::error!(file = ?self.override_file.path, "override file: {mistake}; what it said before stays in force");
                }
                let told = |mistake: String| format!("override file: {mistake}; what it said before stays in force");
                self.override_file.problems = mistakes.into_iter().map(told).collect();
            }
        }
    }

    async fn apply_overrides(&mut self, now: Timestamp) {
        let proposal = self.override_file.good.apply(&self.state, now);
        for warning in &proposal.warnings {
            tracing::warn!("{warning}");
        }
        self.override_file.problems.clone_from(&proposal.warnings);
        if proposal.touched.is_empty() {
            return;
        }
        let origin = Origin { author: "override file".to_owned(), ..Origin::default() };
        let touched = proposal.touched.clone();
        let spoken_of: Vec<(Name, SiteName)> = (touched.iter())
            .flat_map(|(name, new)| {
                let old = self.state.pools.get(name);
                let same = move |e: &EndpointState| old.is_some_and(|old| old.endpoints.contains(e));
                new.endpoints.iter().filter(move |e| !same(e)).map(|e| (name.clone(), e.site.clone()))
            })
            .collect();
        if let Err(error) = self.make(&origin, None, proposal, now, Vec::new()).await {
            // The file itself is durable: it counts without the store, too.
            tracing::error!(%error, "the override file is in force, but not on record");
            self.state.pools.extend(touched);
            self.publish();
        }
        for (pool, site) in spoken_of {
            self.end_damping(&pool, &site);
        }
    }
}
