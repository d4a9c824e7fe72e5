//! What goes on by itself for forwarders: a point of each curve a minute, kept in a file, and the classes of sources where a
//! rung is set for one.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::stragglers::curve;
use super::{Known, Member};
use crate::control::handle::Handle;
use crate::time::Timestamp;

/// How often classes are told, where they matter.
const CLASSES: Duration = Duration::from_secs(5);
/// Between two points of a curve.
const POINT_SECS: u64 = 60;

/// Goes on until `stop`; keeps the curves in `file`.
pub async fn watch(control: Handle, file: PathBuf, stop: CancellationToken) {
    control.forwarders().stragglers.resume(curve::read(&file, Timestamp::now()));
    let mut told = false;
    let mut ticks = interval(CLASSES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sampled = Timestamp(0);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = Timestamp::now();
        let forwarders = control.forwarders();
        let classed: Vec<_> = forwarders.all().into_iter().filter(|member| wants_classes(member)).collect();
        // A clock that was set back must not stop the curve.
        let due = now.since(sampled) >= POINT_SECS || now < sampled;
        if classed.is_empty() && !due {
            continue;
        }
        let Ok(status) = control.status().await else { return };
        let known = Known::gather(&status, control.readers(), now);
        if due {
            sampled = now;
            let stragglers = &forwarders.stragglers;
            stragglers.tidy(|name| forwarders.get(name).is_some(), now);
            stragglers.sample(&known);
            let (file, curves) = (file.clone(), stragglers.curves());
            if !curves.is_empty() {
                let kept = tokio::task::spawn_blocking(move || curve::write(&file, &curves)).await;
                let failed = kept.ok().and_then(Result::err);
                if let Some(error) = failed.as_ref().filter(|_| !told) {
                    tracing::warn!(%error, "the curve of stragglers can't be kept: a restart would not know of it");
                }
                told = failed.is_some();
            }
        }
        for member in classed {
            member.set_classes(forwarders.stragglers.classes(&member.name, &known));
        }
    }
}

fn wants_classes(member: &Member) -> bool {
    member.is_connected()
        && member.wanted().is_some_and(|wanted| wanted.ladder.iter().any(|(_, set)| set.class.is_some()))
}
