//! Zones that are transferred from primaries: when those are asked ([`timers`]), how ([`exchange`]), and what is made of what
//! comes. What comes is given to `control` as the first contents of a zone or as a change of it: it is made durable and
//! published there, as any change, and so transferred on.
//!
//! Nothing here is needed to answer: with all primaries gone, what was stored is served until it expires.

pub mod exchange;
pub mod timers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::control::zones::{FirstZone, Served, ZoneEdit};
use crate::control::{Handle, ZoneChange, ZoneError};
use crate::dns::Name;
use crate::dns::wire::Rcode;
use crate::query::Snapshot;
use crate::server::notified::Notified;
use crate::time::Timestamp;
use crate::zone::compiled::Overlay;
use crate::zone::incoming::{Ask, Incoming, Wrong};
use crate::zone::serial::is_newer;
use crate::zone::transfer::{leads, soa};
use crate::zone::{self, Contents, Diff, Drift, Edit, Zone, master};
use exchange::{Conversation, Failed, Primary};
use timers::{Pace, Timers};

/// Notifications that wait to be looked into; more are passed over.
const WAITING: usize = 1024;
/// How often the timers are looked at.
const TICK: Duration = Duration::from_millis(200);
/// Zones that are asked for at a time; more wait.
const AT_A_TIME: usize = 16;

/// Why a zone is not known to be the newest.
#[derive(Debug, thiserror::Error)]
enum Unrefreshed {
    #[error(transparent)]
    Failed(#[from] Failed),
    #[error("its serial {theirs} is older than {ours}, which is held")]
    Older { theirs: u32, ours: u32 },
    #[error("it gave serial {given}, after it had said {said}")]
    Another { given: u32, said: u32 },
    #[error("the zone it gave can't be kept: {0}")]
    Unkept(String),
    #[error(transparent)]
    Zone(#[from] ZoneError),
}

/// Both ends of the way on which notifications come.
pub fn notifications() -> (mpsc::Sender<Notified>, mpsc::Receiver<Notified>) {
    mpsc::channel(WAITING)
}

/// Keeps all zones that have primaries as those have them, until `stop`.
pub async fn follow(control: Handle, mut notifications: mpsc::Receiver<Notified>, stop: CancellationToken) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let slots = Arc::new(Semaphore::new(AT_A_TIME));
    let mut zones: HashMap<Name, Timers> = HashMap::new();
    let mut asking: JoinSet<(Name, bool)> = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => look(&control, &mut zones, &mut asking, &slots),
            Some(Notified { apex, serial }) = notifications.recv() => {
                let snapshot = control.published();
                let entry = snapshot.zones.get(apex.to_lowercase().wire()).filter(|entry| !entry.expired);
                let held = entry.and_then(|entry| Some(entry.zone.as_ref()?.serial()));
                if let Some(timers) = zones.get_mut(&apex) {
                    timers.notified(serial, held, Instant::now());
                }
                look(&control, &mut zones, &mut asking, &slots);
            }
            Some(Ok((apex, good))) = asking.join_next() => {
                let pace = held(&control.published(), &apex).and_then(|zone| Pace::of(zone.soa()));
                if let Some(timers) = zones.get_mut(&apex) {
                    timers.done(good, pace, Instant::now(), getrandom::u32().unwrap_or(0));
                }
            }
        }
    }
}

/// Begins to ask for those zones whose time has come.
fn look(
    control: &Handle,
    zones: &mut HashMap<Name, Timers>,
    asking: &mut JoinSet<(Name, bool)>,
    slots: &Arc<Semaphore>,
) {
    let (snapshot, now) = (control.published(), Instant::now());
    let followed = || snapshot.zone_settings.iter().filter(|zone| zone.file.is_none());
    if !zones.is_empty() {
        zones.retain(|apex, _| followed().any(|zone| zone.name == *apex));
    }
    for settings in followed() {
        let timers = zones.entry(settings.name.clone()).or_insert_with(|| Timers::new(now));
        if !timers.begin(now) {
            continue;
        }
        let primary = |primary: &zone::Primary| {
            let key = primary.at.key.as_ref().map(|name| snapshot.keys.get(name).cloned());
            // Without its key it is not asked at all: the configuration makes sure that there is none like that.
            let key = key.map_or(Some(None), |key| key.map(Some))?;
            Some(Primary { address: primary.at.address, key, tls: primary.tls.clone() })
        };
        let primaries: Vec<Primary> = settings.primaries.iter().filter_map(primary).collect();
        let (control, apex, slots) = (control.clone(), settings.name.clone(), slots.clone());
        asking.spawn(async move {
            let _slot = slots.acquire_owned().await; // it is never closed
            let good = refresh(&control, &apex, &primaries).await;
            (apex, good)
        });
    }
}

/// What is held of a zone, be it expired.
fn held(snapshot: &Snapshot, apex: &Name) -> Option<Arc<Zone>> {
    snapshot.zones.get(apex.to_lowercase().wire())?.zone.clone()
}

/// Asks one primary after the other until one makes sure that the newest is held; gives whether one did.
async fn refresh(control: &Handle, apex: &Name, primaries: &[Primary]) -> bool {
    let mut problems = Vec::new();
    for primary in primaries {
        match from(control, apex, primary).await {
            Ok(()) => {
                control.refreshed(apex.clone(), Ok(())).await;
                return true;
            }
            Err(error) => {
                tracing::warn!(zone = %apex, primary = %primary.address, %error, "the zone can't be had from a primary");
                problems.push(format!("{}: {error}", primary.address));
            }
        }
    }
    control.refreshed(apex.clone(), Err(problems.join("\n"))).await;
    false
}

/// Makes sure that what is held is what `primary` has.
async fn from(control: &Handle, apex: &Name, primary: &Primary) -> Result<(), Unrefreshed> {
    let held = held(&control.published(), apex);
    let mut conversation = Conversation::with(primary);
    let Some(zone) = held else {
        return match conversation.ask(apex, Ask::Whole).await? {
            Incoming::Whole(contents) => first(control, apex, primary, contents).await,
            _ => Err(Failed::from(Wrong::NotOurs).into()),
        };
    };
    let ours = zone.serial();
    let Incoming::Serial(theirs) = conversation.ask(apex, Ask::Serial).await? else { return Ok(()) };
    if theirs == ours {
        return Ok(());
    }
    if !is_newer(theirs, ours) {
        return Err(Unrefreshed::Older { theirs, ours });
    }
    if let Some(soa) = soa(&zone) {
        match conversation.ask(apex, Ask::Since(soa)).await {
            Ok(Incoming::Serial(_)) => return Ok(()), // somebody has brought it meanwhile, or the primary went back
            Ok(Incoming::Whole(contents)) => return whole(control, zone, primary, contents, theirs).await,
            Ok(Incoming::Changes(steps)) => {
                let newest = steps.last().and_then(Diff::serials).map_or(ours, |(_, to)| to);
                if leads(&steps, ours, newest) {
                    let edit = move |edit: &mut Edit<'_>| {
                        steps.iter().try_for_each(|step| edit.apply(step)).map_err(|_| Rcode::NxRrset)
                    };
                    match change(control, apex, ours, primary, "IXFR", Box::new(edit)).await {
                        Err(Unrefreshed::Zone(ZoneError::Refused(_) | ZoneError::NoLongerAZone { .. })) => {}
                        done => return done,
                    }
                }
                tracing::warn!(zone = %apex, primary = %primary.address, "its changes do not fit what is held: all is asked for");
            }
            Err(error) if error.is_of_the_form() => {
                tracing::debug!(zone = %apex, primary = %primary.address, %error, "no IXFR: all is asked for");
            }
            Err(error) => return Err(error.into()),
        }
    }
    match conversation.ask(apex, Ask::Whole).await? {
        Incoming::Whole(contents) => whole(control, zone, primary, contents, theirs).await,
        _ => Err(Failed::from(Wrong::NotOurs).into()),
    }
}

/// What was transferred, as it is served, given that it can be read again at the next start.
async fn made(apex: &Name, contents: Contents) -> Result<Served, Unrefreshed> {
    let name = apex.clone();
    let made = spawn_blocking(move || {
        let text = master::print(&contents);
        drop(contents);
        match master::read_text(text.into_bytes(), "the transfer".as_ref(), &name) {
            Ok(read) => Ok(Served::of(read, Overlay::default(), Timestamp::now())),
            Err(mistakes) => Err(mistakes.first().map(ToString::to_string).unwrap_or_default()),
        }
    });
    made.await.unwrap_or_else(|error| Err(error.to_string())).map_err(Unrefreshed::Unkept)
}

/// Serves the first contents of a zone.
async fn first(control: &Handle, apex: &Name, primary: &Primary, contents: Contents) -> Result<(), Unrefreshed> {
    let served = made(apex, contents).await?;
    control.first_zone(FirstZone { apex: apex.clone(), served, author: author(primary) }).await?;
    Ok(())
}

/// Brings the zone from what is held to `contents`, all that the primary has.
async fn whole(
    control: &Handle,
    held: Arc<Zone>,
    primary: &Primary,
    contents: Contents,
    said: u32,
) -> Result<(), Unrefreshed> {
    let (apex, ours) = (held.apex().clone(), held.serial());
    let given = contents.serial().unwrap_or(ours);
    if given != said && !is_newer(given, said) {
        return Err(Unrefreshed::Another { given, said });
    }
    let new = made(&apex, contents).await?.zone;
    let compared = spawn_blocking(move || Drift::default().changed(&held, &new)).await;
    let changed = compared.map_err(|error| Unrefreshed::Unkept(error.to_string()))?;
    let edit = move |edit: &mut Edit<'_>| {
        for set in changed {
            edit.set(&set.owner, set.rtype, set.after);
        }
        Ok(())
    };
    change(control, &apex, ours, primary, "AXFR", Box::new(edit)).await
}

async fn change(
    control: &Handle,
    apex: &Name,
    ours: u32,
    primary: &Primary,
    how: &str,
    edit: ZoneEdit,
) -> Result<(), Unrefreshed> {
    let (author, reason) = (author(primary), format!("transferred by {how}"));
    control.change_zone(ZoneChange { apex: apex.clone(), expected: Some(ours), author, reason, edit }).await?;
    Ok(())
}

fn author(primary: &Primary) -> String {
    match &primary.key {
        Some(key) => format!("primary {} ({})", primary.address, key.name()),
        None => format!("primary {}", primary.address),
    }
}
