//! What a zone's files were when they were read: whether they must be read again, without reading them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::dns::Name;
use crate::time::Timestamp;

/// What was written longer ago than that was read as it is: no file system tells times less exactly than by two seconds.
const SETTLED_SECS: u64 = 2;

/// What tells one content of a file from another: device, inode, octets, and when contents and inode changed, in seconds and
/// nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    octets: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of what is at `path`; `None`: nothing that can be seen.
    pub fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().as_ref().map(Self::new)
    }

    fn new(of: &Metadata) -> Self {
        Self {
            device: of.dev(),
            inode: of.ino(),
            octets: of.size(),
            modified: (of.mtime(), of.mtime_nsec()),
            changed: (of.ctime(), of.ctime_nsec()),
        }
    }
}

/// The files that a zone was read from, the master file first, each stamped before it was read; among them places where an
/// included one was looked for in vain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    files: Vec<(PathBuf, Option<Stamp>)>,
}

impl Stamps {
    /// Takes note of what is at `path`, which is looked for or read next.
    pub fn note(&mut self, path: &Path) {
        if self.files.iter().all(|(known, _)| known != path) {
            self.files.push((path.to_owned(), Stamp::of(path)));
        }
    }

    /// The first of them: the master file.
    pub fn first(&self) -> Option<&Path> {
        self.files.first().map(|(path, _)| path.as_path())
    }

    /// The same files as they are now.
    pub fn again(&self) -> Self {
        Self { files: self.files.iter().map(|(path, _)| (path.clone(), Stamp::of(path))).collect() }
    }

    /// Whether nothing has changed since they were read, at `read_at`. What had just been written then may have been written
    /// once more at the same instant: that is not known to be unchanged.
    pub fn are_current(&self, read_at: Timestamp) -> bool {
        self.were_settled(read_at) && self.again() == *self
    }

    /// Whether none of them had just been written at `read_at`.
    pub fn were_settled(&self, read_at: Timestamp) -> bool {
        let is_settled = |stamp: Stamp| {
            let latest = stamp.changed.0.max(stamp.modified.0);
            u64::try_from(latest).unwrap_or(0).saturating_add(SETTLED_SECS) <= read_at.0
        };
        !self.files.is_empty() && self.files.iter().filter_map(|(_, stamp)| *stamp).all(is_settled)
    }
}

/// A zone whose files are watched, as they were when they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its apex.
    pub zone: Name,
    /// Of its files.
    pub stamps: Stamps,
    /// When they were read.
    pub read_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_changes_is_seen_and_what_was_just_written_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "b"] {
            fs::write(path(name), "one").unwrap();
        }
        let mut stamps = Stamps::default();
        for name in ["a", "b", "absent", "a"] {
            stamps.note(&path(name));
        }
        let now = Timestamp::now();
        let later = now.after(SETTLED_SECS + 1);
        assert!(stamps.are_current(later));
        assert!(!stamps.are_current(now), "they were written a moment ago");
        assert!(!Stamps::default().are_current(later), "nothing was read at all");
        // As many octets at the same time of modification: only the inode tells.
        let modified = fs::metadata(path("b")).unwrap().modified().unwrap();
        fs::write(path("b.new"), "two").unwrap();
        fs::File::options().write(true).open(path("b.new")).unwrap().set_modified(modified).unwrap();
        fs::rename(path("b.new"), path("b")).unwrap();
        assert!(!stamps.are_current(later));
        let again = stamps.again();
        assert!(again.are_current(later));
        fs::write(path("absent"), "").unwrap();
        assert!(!again.are_current(later), "what was looked for in vain is there");
        fs::remove_file(path("absent")).unwrap();
        fs::remove_file(path("a")).unwrap();
        assert!(!again.are_current(later));
    }
}
