//! What is kept over a restart: the authority's last state, rungs and classes. Holds are not.
//!
//! What always holds: the file is there whole, old or new, whatever crashes; one that is damaged is told and passed over.

use std::fs::{File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::ladder::Rungs;
use crate::pairing::{Classes, Desired};

/// What the file begins with, before the checksum.
const HEADING: &str = "waypost-forward-state 1 ";

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// `None`: no authority has said anything yet.
    pub(super) desired: Option<Desired>,
    pub(super) rungs: Rungs,
    pub(super) classes: Classes,
}

/// Where it is kept.
#[derive(Clone)]
pub(super) struct Memory {
    file: PathBuf,
    /// The number of the last one written: of two on their way the newer one stays.
    written: Arc<Mutex<u64>>,
}

impl Memory {
    pub(super) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), written: Arc::default() }
    }

    /// What was kept; nothing where there is no file, or none that can be understood.
    pub(super) fn read(&self) -> Kept {
        let read = std::fs::read_to_string(&self.file).and_then(|text| {
            parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its checksum or form is wrong"))
        });
        read.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::error!(file = %self.file.display(), %error, "the state of before can't be read: it begins anew");
            }
            Kept::default()
        })
    }

    /// Writes it, unless a newer one was written. Blocks for as long as the disk takes.
    pub(super) fn write(&self, number: u64, kept: &Kept) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if number <= *written {
            return;
        }
        match write(&self.file, &compose(kept)) {
            Ok(()) => *written = number,
            Err(error) => {
                tracing::warn!(file = %self.file.display(), %error, "the state can't be kept: a restart would not know of it");
            }
        }
    }
}

fn compose(kept: &Kept) -> String {
    let json = serde_json::to_string(kept).expect("what is kept has text as keys");
    format!("{HEADING}{:016x}\n{json}\n", checksum(&json))
}

fn parse(text: &str) -> Option<Kept> {
    let (heading, json) = text.split_once('\n')?;
    let told = u64::from_str_radix(heading.strip_prefix(HEADING)?, 16).ok()?;
    let json = json.strip_suffix('\n')?;
    if told == checksum(json) { serde_json::from_str(json).ok() } else { None }
}

fn checksum(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let mut fresh = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    let done = fresh.write_all(text.as_bytes()).and_then(|()| fresh.sync_all()).and_then(|()| {
        std::fs::rename(&draft, file)?;
        let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    });
    if done.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairing::Rung;

    #[test]
    fn what_was_kept_is_found_and_damage_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        let memory = Memory::new(&file);
        assert_eq!(memory.read(), Kept::default());
        let mut kept = Kept { desired: Some(Desired { revision: 7, ..Desired::default() }), ..Kept::default() };
        kept.rungs.set(None, None, Rung::Refuse, 5);
        memory.write(2, &kept);
        memory.write(1, &Kept::default());
        assert_eq!(memory.read(), kept, "an older one does not take its place");
        let text = std::fs::read_to_string(&file).unwrap();
        for damaged in [&text[..text.len() - 3], &text.replace("\"revision\":7", "\"revision\":8"), "", "\n\n", "{}"] {
            std::fs::write(&file, damaged).unwrap();
            assert_eq!(memory.read(), Kept::default(), "{damaged}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        Memory::new(Path::new("/nonexistent/state")).write(1, &kept);
    }
}
