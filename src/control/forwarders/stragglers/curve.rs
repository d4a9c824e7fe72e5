//! How many come, a point a minute for a day. It is kept in a file, so that it outlives this server.
//!
//! What always holds: the file is there whole, old or new; one that can't be read is told and passed over.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::pairing::Class;
use crate::time::Timestamp;

/// Points of a curve.
const POINTS: usize = 1440;
const DAY_SECS: u64 = 86_400;

/// A curve for each pool.
pub type Curves = BTreeMap<String, VecDeque<Point>>;

/// One moment of the curve: sources that were there, by class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// Sources that came within two minutes, or had a connection open.
    pub sources: BTreeMap<Class, u64>,
    /// Connections open.
    pub open: u64,
}

/// Adds a point to the curve of a pool.
pub fn add(curves: &mut Curves, pool: String, point: Point) {
    let curve = curves.entry(pool).or_default();
    if curve.len() == POINTS {
        curve.pop_front();
    }
    curve.push_back(point);
}

/// What was kept, but for points of another day: of before, or (where the clock was set back) to come.
pub fn read(file: &Path, now: Timestamp) -> Curves {
    let read = fs::read(file).and_then(|text| Ok(serde_json::from_slice::<Curves>(&text)?));
    let mut curves = read.unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(file = %file.display(), %error, "the curve of stragglers can't be read, and begins anew");
        }
        Curves::new()
    });
    for curve in curves.values_mut() {
        curve.retain(|point| point.at <= now && now.since(point.at) < DAY_SECS);
        curve.truncate(POINTS);
    }
    curves.retain(|_, curve| !curve.is_empty());
    curves
}

/// Keeps them.
///
/// # Errors
/// Those of the file system; what was kept before is still there then.
pub fn write(file: &Path, curves: &Curves) -> io::Result<()> {
    let draft = file.with_extension("draft");
    fs::write(&draft, serde_json::to_vec(curves)?)?;
    fs::rename(&draft, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: u64) -> Point {
        Point { at: Timestamp(at), sources: [(Class::Stays, 2)].into(), open: 3 }
    }

    #[test]
    fn a_curve_is_a_day_long_and_outlives_a_restart() {
        let mut curves = Curves::new();
        for minute in 0..2000 {
            add(&mut curves, "www.example.org".to_owned(), point(1_000_000 + minute * 60));
        }
        let last = Timestamp(1_000_000 + 1999 * 60);
        assert_eq!((curves["www.example.org"].len(), curves["www.example.org"][1439].at), (1440, last));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stragglers.json");
        assert_eq!(read(&file, last), Curves::new(), "there was none");
        write(&file, &curves).unwrap();
        assert_eq!(read(&file, last), curves);
        let hours = read(&file, last.after(20 * 3600));
        assert_eq!(hours["www.example.org"].len(), 240, "the rest is of another day");
        assert_eq!(read(&file, Timestamp(1)), Curves::new(), "a clock that was set back");
        fs::write(&file, "{\"www").unwrap();
        assert_eq!(read(&file, last), Curves::new(), "a damaged one begins anew");
    }

    #[test]
    fn a_disk_that_is_full_leaves_what_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stragglers.json");
        let curves: Curves = [("www.example.org".to_owned(), [point(60)].into())].into();
        write(&file, &curves).unwrap();
        std::os::unix::fs::symlink("/dev/full", file.with_extension("draft")).unwrap();
        assert!(write(&file, &Curves::new()).is_err());
        assert_eq!(read(&file, Timestamp(60)), curves);
    }
}
