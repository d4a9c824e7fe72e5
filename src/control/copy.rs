//! What the store keeps of a zone's file as it was read last: a whole copy, and the steps that lead from it to the file since,
//! so that a large file that changes a little is not written anew.
//!
//! | key | value |
//! |---|---|
//! | `zone/APEX` | a whole copy: when it was read, and the zone as a master file |
//! | `zone-step/APEX NUMBER` | from one reading to the next, and when that was; numbers begin with 0 behind each whole copy and have leading zeros |
//! | `zone-digest/APEX` | the digest of the file, and how many steps count: what else there is belonged to an older copy |

use crate::control::journal::{FORMAT, Octets, put_diff};
use crate::control::records::{zone_digest_key, zone_key};
use crate::control::zones::Served;
use crate::dns::Name;
use crate::store::{Scan, StateStore, StoreError, Value, Write};
use crate::time::Timestamp;
use crate::zone::compiled::Overlay;
use crate::zone::{Diff, Edit, Zone, master};

/// A file that would have more steps than this is kept whole again.
const MOST_STEPS: u64 = 256;
/// The same where all steps would have more octets than one in so many of those that the zone takes in memory, and more than
/// [`FEW_OCTETS`].
const MOST_PART: usize = 8;
const FEW_OCTETS: usize = 1024;

/// How many steps the store has behind the whole copy of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Their number.
    pub count: u64,
    /// Octets of all.
    pub octets: usize,
}

/// How a file as it is now is to be kept.
#[derive(Clone)]
pub enum Keep {
    /// Whole; the copy, where it is made already.
    Whole(Option<Value>),
    /// As one step more.
    Step(Vec<u8>),
}

impl Steps {
    /// How the file that `zone` was read from at `at` is to be kept, to which `step` leads; and the steps there are then.
    pub fn keep(self, zone: &Zone, step: &Diff, at: Timestamp) -> (Keep, Self) {
        let value = encode(at, step);
        let more = Self { count: self.count + 1, octets: self.octets + value.len() };
        if more.count > MOST_STEPS || more.octets > FEW_OCTETS.max(zone.memory_octets() / MOST_PART) {
            return (Keep::Whole(None), Self::default());
        }
        (Keep::Step(value), more)
    }
}

/// What the store is to keep of the file of `zone` as a whole, in place of a copy with so many steps.
pub fn write_whole(zone: &Name, copy: Value, digest: u128, before: Steps) -> Vec<Write> {
    let mut writes = vec![Write::Put { key: zone_key(zone), value: copy }, write_digest(zone, digest, 0)];
    writes.extend((0..before.count).map(|number| Write::Delete { key: step_key(zone, number) }));
    writes
}

/// The same for one step behind those that there are.
pub fn write_step(zone: &Name, step: Vec<u8>, digest: u128, before: Steps) -> Vec<Write> {
    let step = Write::Put { key: step_key(zone, before.count), value: step.into() };
    vec![step, write_digest(zone, digest, before.count + 1)]
}

fn write_digest(zone: &Name, digest: u128, steps: u64) -> Write {
    Write::Put { key: zone_digest_key(zone), value: format!("{digest:032x} {steps}").into_bytes().into() }
}

/// A whole copy of a zone's file, which was read at `at`.
pub fn copy_of(file: &Zone, at: Timestamp) -> Vec<u8> {
    format!("{at}\n{}", master::print_zone(file)).into_bytes()
}

/// What the store knows of the file of `zone`, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Of the file as it was read last.
    pub digest: u128,
    /// How it is kept.
    pub steps: Steps,
}

/// What the store knows of the file of `zone`; `None`: it never kept it.
///
/// # Errors
/// What the store says.
pub async fn known(store: &dyn StateStore, zone: &Name) -> Result<Option<Known>, StoreError> {
    Ok(known_with_steps(store, zone).await?.map(|(known, _)| known))
}

/// The same with the steps that count.
async fn known_with_steps(
    store: &dyn StateStore,
    zone: &Name,
) -> Result<Option<(Known, Vec<(String, Vec<u8>)>)>, StoreError> {
    let Some(value) = store.read(&zone_digest_key(zone)).await? else { return Ok(None) };
    let text = String::from_utf8_lossy(&value);
    let (digest, count) = text.split_once(' ').unwrap_or((&text, "0")); // older versions knew no steps
    let digest = u128::from_str_radix(digest, 16).unwrap_or(0);
    let steps = store.scan(Scan { limit: count.parse().unwrap_or(0), ..Scan::all(&prefix(zone)) }).await?;
    let octets = steps.iter().map(|(_, value)| value.len()).sum();
    Ok(Some((Known { digest, steps: Steps { count: steps.len() as u64, octets } }, steps)))
}

/// The file of `zone` as it was read last; `None`: the store has no copy, or one that can't be read.
///
/// # Errors
/// What the store says.
pub async fn read(store: &dyn StateStore, zone: &Name, overlay: Overlay) -> Result<Option<Served>, StoreError> {
    let Some(value) = store.read(&zone_key(zone)).await? else { return Ok(None) };
    let Some(served) = read_whole(zone, &value, overlay) else { return Ok(None) };
    let Some((Known { steps: kept, .. }, steps)) = known_with_steps(store, zone).await? else { return Ok(None) };
    let Some(steps) = steps.iter().map(|(_, value)| decode(value)).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let Some(&(at, _)) = steps.last() else { return Ok(Some(served)) };
    let mut edit = Edit::new(&served.zone);
    for (_, step) in &steps {
        if edit.apply(step).is_err() {
            return Ok(None);
        }
    }
    let Ok(next) = served.zone.with(&edit.diff(), &served.overlay) else { return Ok(None) };
    Ok(Some(Served { zone: next.into(), loaded_at: at, steps: kept, ..served }))
}

fn read_whole(zone: &Name, value: &[u8], overlay: Overlay) -> Option<Served> {
    let end = value.iter().position(|b| *b == b'\n').unwrap_or(value.len());
    let at = std::str::from_utf8(&value[..end]).ok().and_then(|at| Timestamp::parse(at).ok());
    let text = value.get(end + 1..).unwrap_or_default();
    let read = master::read_text(text.to_vec(), zone_key(zone).as_ref(), zone).ok()?;
    Some(Served::of(read, overlay, at?))
}

fn prefix(zone: &Name) -> String {
    format!("zone-step/{} ", zone.to_lowercase()) // a name as text has no blank in it
}

fn step_key(zone: &Name, number: u64) -> String {
    format!("{}{number:020}", prefix(zone))
}

fn encode(at: Timestamp, step: &Diff) -> Vec<u8> {
    let mut out = vec![FORMAT];
    out.extend(at.0.to_be_bytes());
    put_diff(step, &mut out);
    out
}

fn decode(value: &[u8]) -> Option<(Timestamp, Diff)> {
    let mut octets = Octets(value);
    octets.format()?;
    let read = (Timestamp(octets.u64()?), octets.diff()?);
    octets.is_end().then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Rtype, Ttl};
    use crate::store::Embedded;
    use crate::zone::Record;
    use crate::zone::compiled::compile;
    use proptest::prelude::*;
    use std::sync::Arc;

    const AT: Timestamp = Timestamp(1_800_000_000);

    fn apex() -> Name {
        "Example".parse().unwrap()
    }

    fn zone() -> Zone {
        let text = "@ 60 SOA ns mail 7 1 1 1 60\n@ 60 NS ns\nns 60 A 192.0.2.53\nWww 60 A 192.0.2.1\n";
        let loaded = master::parse(text.as_bytes(), "zone".as_ref(), &apex()).unwrap();
        compile(Arc::new(loaded.contents), &Overlay::default())
    }

    fn host(number: u8) -> Record {
        let owner = format!("h{number}.example").parse().unwrap();
        Record { owner, rtype: Rtype::A, ttl: Ttl::from_secs(60), rdata: [192, 0, 2, number].into() }
    }

    async fn commit(store: &Embedded, writes: Vec<Write>) {
        let revision = store.revision().await.unwrap();
        store.commit(revision, writes).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_is_read_back_step_by_step_until_it_is_kept_whole_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        assert!(read(&store, &apex(), Overlay::default()).await.unwrap().is_none());
        let (mut zone, mut steps, mut wholes) = (zone(), Steps::default(), 0);
        commit(&store, write_whole(&apex(), copy_of(&zone, AT).into(), 0, steps)).await;
        for number in 1..100 {
            let step = Diff { removed: Vec::new(), added: vec![host(number)] };
            zone = zone.with(&step, &Overlay::default()).unwrap();
            let (keep, next) = steps.keep(&zone, &step, AT.after(number.into()));
            let writes = match keep {
                Keep::Whole(_) => {
                    write_whole(&apex(), copy_of(&zone, AT.after(number.into())).into(), number.into(), steps)
                }
                Keep::Step(step) => write_step(&apex(), step, number.into(), steps),
            };
            wholes += u32::from(next == Steps::default());
            commit(&store, writes).await;
            steps = next;
            let served = read(&store, &apex(), Overlay::default()).await.unwrap().unwrap();
            let known = known(&store, &apex()).await.unwrap().unwrap();
            assert_eq!(known, Known { digest: number.into(), steps });
            assert_eq!((served.steps, served.loaded_at), (steps, AT.after(number.into())));
            assert_eq!(served.zone.name_count(), zone.name_count());
            assert!(served.zone.has(&host(number).owner, Rtype::A) && served.zone.has(&host(1).owner, Rtype::A));
        }
        assert!((2..50).contains(&wholes), "{wholes}");
    }

    #[tokio::test]
    async fn steps_of_an_older_copy_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        let whole = |digest| write_whole(&apex(), copy_of(&zone(), AT).into(), digest, Steps::default());
        commit(&store, whole(1)).await;
        let step = Diff { removed: Vec::new(), added: vec![host(1)] };
        commit(&store, write_step(&apex(), encode(AT, &step), 2, Steps::default())).await;
        commit(&store, whole(3)).await; // by one that does not know of the step
        let served = read(&store, &apex(), Overlay::default()).await.unwrap().unwrap();
        assert!(!served.zone.has(&host(1).owner, Rtype::A));
        assert_eq!(known(&store, &apex()).await.unwrap(), Some(Known { digest: 3, steps: Steps::default() }));
    }

    #[tokio::test]
    async fn steps_that_do_not_fit_are_not_guessed_over() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        commit(&store, write_whole(&apex(), copy_of(&zone(), AT).into(), 0, Steps::default())).await;
        let step = Diff { removed: vec![host(1)], added: Vec::new() };
        commit(&store, write_step(&apex(), encode(AT, &step), 1, Steps::default())).await;
        assert!(read(&store, &apex(), Overlay::default()).await.unwrap().is_none());
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&octets);
            let _ = decode(&[&[FORMAT], &octets[..]].concat());
        }
    }
}
