//! How the other parts speak with the one writer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::control::dnssec::{DnssecStatus, DnssecWish};
use crate::control::error::ControlError;
use crate::control::explain::Question;
use crate::control::forwarders::{self, Forwarders};
use crate::control::journal::{self, JournalError};
use crate::control::message::{
    AmendAnswer, AmendRequest, AuditEntry, ChangeAnswer, CutoverRequest, Explanation, FlipAnswer, FlipRequest,
    Forecast, HealthAnswer, HealthRequest, Origin, OverrideRequest, ReasonRequest, ReloadWish, RestoreRequest,
    SiteRequest, Status,
};
use crate::control::numbers::StoreNumbers;
use crate::control::which::{Which, WhichRrsets};
use crate::control::zones::{FirstZone, ZoneChange, ZoneChanged, ZoneError, ZoneEvent};
use crate::dns::Name;
use crate::probe;
use crate::query::{Readers, Snapshot};
use crate::server::History;
use crate::store::StateStore;
use crate::time::Timestamp;
use crate::webhook::Board;
use crate::zone::Diff;

/// Commands on their way to the writer; more wait with the sender.
const QUEUE: usize = 256;

/// What comes back for a command.
pub(super) type Reply<T> = oneshot::Sender<Result<T, ControlError>>;

/// A command and where its answer goes.
pub(super) enum Command {
    Flip(Origin, FlipRequest, Reply<FlipAnswer>),
    Revert(Origin, u64, ReasonRequest, Reply<FlipAnswer>),
    Restore(Origin, RestoreRequest, Reply<FlipAnswer>),
    Confirm(Origin, u64, ReasonRequest, Reply<ChangeAnswer>),
    Override(Origin, Which, String, OverrideRequest, Reply<ChangeAnswer>),
    Push(Origin, Name, String, HealthRequest, Reply<HealthAnswer>),
    Site(Origin, String, SiteRequest, Reply<ChangeAnswer>),
    Cutover(Origin, Which, CutoverRequest, Reply<ChangeAnswer>),
    PlanRrsets(Origin, WhichRrsets, CutoverRequest, Reply<ChangeAnswer>),
    Reload(Origin, ReloadWish, Reply<ChangeAnswer>),
    Amend(Origin, AmendRequest, Reply<AmendAnswer>),
    Definition(Name, Reply<serde_json::Value>),
    Forwarder(Origin, Option<String>, String, forwarders::Change, Option<String>, Reply<forwarders::Answer>),
    ForwarderAudit(AuditQuery, Reply<Vec<forwarders::AuditEntry>>),
    Forecast(Name, FlipRequest, Reply<Forecast>),
    Status(Reply<Status>),
    Audit(AuditQuery, Reply<Vec<AuditEntry>>),
    Dnssec(Name, Reply<DnssecStatus>),
    ChangeDnssec(Origin, Name, DnssecWish, Option<String>, Reply<DnssecStatus>),
    ChangeZone(ZoneChange, oneshot::Sender<Result<ZoneChanged, ZoneError>>),
    FirstZone(FirstZone, oneshot::Sender<Result<ZoneChanged, ZoneError>>),
    Refreshed(Name, Result<(), String>),
}

/// Which audit entries are wanted, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only generations below this one.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// The way to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    published: Arc<ArcSwap<Snapshot>>,
    readers: Arc<Readers>,
    numbers: Arc<StoreNumbers>,
    forwarders: Arc<Forwarders>,
    probe_numbers: probe::Numbers,
    store: Arc<dyn StateStore>,
    zone_events: broadcast::Sender<ZoneEvent>,
    webhooks: Board,
}

#[async_trait::async_trait]
impl History for Handle {
    async fn steps(&self, apex: &Name, from: u32, to: u32) -> Option<Vec<Diff>> {
        self.journal(apex, from, to).await.unwrap_or_else(|error| {
            tracing::error!(zone = %apex, %error, "the journal can't be read: a whole zone is sent instead of its changes");
            None
        })
    }
}

impl Handle {
    /// A handle, and the end that the writer reads.
    #[allow(clippy::too_many_arguments, reason = "each is a part that is made beside it, once")]
    pub(super) fn new(
        published: Arc<ArcSwap<Snapshot>>,
        readers: Arc<Readers>,
        numbers: Arc<StoreNumbers>,
        forwarders: Arc<Forwarders>,
        probe_numbers: probe::Numbers,
        store: Arc<dyn StateStore>,
        zone_events: broadcast::Sender<ZoneEvent>,
        webhooks: Board,
    ) -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(QUEUE);
        let handle =
            Self { commands, published, readers, numbers, forwarders, probe_numbers, store, zone_events, webhooks };
        (handle, receiver)
    }

    /// Changes weights.
    pub async fn flip(&self, origin: Origin, request: FlipRequest) -> Result<FlipAnswer, ControlError> {
        self.ask(|reply| Command::Flip(origin, request, reply)).await
    }

    /// What demand lets expect of `pool`, now and after a flip; of one that says nothing, now.
    pub async fn forecast(&self, pool: Name, request: FlipRequest) -> Result<Forecast, ControlError> {
        self.ask(|reply| Command::Forecast(pool, request, reply)).await
    }

    /// Undoes the flip that made `generation`.
    pub async fn revert(&self, origin: Origin, generation: u64, r: ReasonRequest) -> Result<FlipAnswer, ControlError> {
        self.ask(|reply| Command::Revert(origin, generation, r, reply)).await
    }

    /// Brings the weights back to those of a generation.
    pub async fn restore(&self, origin: Origin, request: RestoreRequest) -> Result<FlipAnswer, ControlError> {
        self.ask(|reply| Command::Restore(origin, request, reply)).await
    }

    /// Confirms the flip that made `generation`, so that it stays.
    pub async fn confirm(
        &self,
        origin: Origin,
        generation: u64,
        r: ReasonRequest,
    ) -> Result<ChangeAnswer, ControlError> {
        self.ask(|reply| Command::Confirm(origin, generation, r, reply)).await
    }

    /// Says an operator's word over the health of the endpoints of these pools at `site`.
    pub async fn set_override(
        &self,
        origin: Origin,
        which: Which,
        site: String,
        request: OverrideRequest,
    ) -> Result<ChangeAnswer, ControlError> {
        self.ask(|reply| Command::Override(origin, which, site, request, reply)).await
    }

    /// Pushes a value for the health of the endpoint of `pool` at `site`.
    pub async fn push(
        &self,
        origin: Origin,
        pool: Name,
        site: String,
        request: HealthRequest,
    ) -> Result<HealthAnswer, ControlError> {
        self.ask(|reply| Command::Push(origin, pool, site, request, reply)).await
    }

    /// Says an operator's word over `site`.
    pub async fn set_site(&self, origin: Origin, site: String, r: SiteRequest) -> Result<ChangeAnswer, ControlError> {
        self.ask(|reply| Command::Site(origin, site, r, reply)).await
    }

    /// Sets, moves or clears the cutover of these pools.
    pub async fn set_cutover(
        &self,
        origin: Origin,
        which: Which,
        r: CutoverRequest,
    ) -> Result<ChangeAnswer, ControlError> {
        self.ask(|reply| Command::Cutover(origin, which, r, reply)).await
    }

    /// Sets, moves or clears the cutover of these RRsets.
    pub async fn plan_rrsets(
        &self,
        origin: Origin,
        which: WhichRrsets,
        r: CutoverRequest,
    ) -> Result<ChangeAnswer, ControlError> {
        self.ask(|reply| Command::PlanRrsets(origin, which, r, reply)).await
    }

    /// How a zone is signed.
    pub async fn dnssec(&self, zone: Name) -> Result<DnssecStatus, ControlError> {
        self.ask(|reply| Command::Dnssec(zone, reply)).await
    }

    /// An operator's word on the keys of a zone.
    pub async fn change_dnssec(
        &self,
        origin: Origin,
        zone: Name,
        wish: DnssecWish,
        reason: Option<String>,
    ) -> Result<DnssecStatus, ControlError> {
        self.ask(|reply| Command::ChangeDnssec(origin, zone, wish, reason, reply)).await
    }

    /// Reads configuration and zones again: all or nothing.
    pub async fn reload(&self, origin: Origin, request: ReloadWish) -> Result<ChangeAnswer, ControlError> {
        self.ask(|reply| Command::Reload(origin, request, reply)).await
    }

    /// Adds, changes and removes endpoints and pools: all of it in one generation, or nothing.
    pub async fn amend(&self, origin: Origin, request: AmendRequest) -> Result<AmendAnswer, ControlError> {
        self.ask(|reply| Command::Amend(origin, request, reply)).await
    }

    /// A pool in the words of the configuration file, with what was changed at run time.
    pub async fn definition(&self, pool: Name) -> Result<serde_json::Value, ControlError> {
        self.ask(|reply| Command::Definition(pool, reply)).await
    }

    /// Changes a zone; answered once that is durable and published.
    pub async fn change_zone(&self, change: ZoneChange) -> Result<ZoneChanged, ZoneError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::ChangeZone(change, reply);
        self.commands.send(command).await.map_err(|_| ZoneError::Stopping)?;
        answer.await.map_err(|_| ZoneError::Stopping)?
    }

    /// Serves a zone of which nothing was served yet; answered once that is durable and published.
    pub async fn first_zone(&self, first: FirstZone) -> Result<ZoneChanged, ZoneError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::FirstZone(first, reply)).await.map_err(|_| ZoneError::Stopping)?;
        answer.await.map_err(|_| ZoneError::Stopping)?
    }

    /// Tells the outcome of asking the primaries of `apex`: what is served is the newest version, or why that is not known.
    pub async fn refreshed(&self, apex: Name, outcome: Result<(), String>) {
        _ = self.commands.send(Command::Refreshed(apex, outcome)).await; // it is stopping, or knows
    }

    /// Tells from now on which zones have a new serial. Who is too slow is told that it missed some.
    pub fn zone_events(&self) -> broadcast::Receiver<ZoneEvent> {
        self.zone_events.subscribe()
    }

    /// What led the zone `apex` from serial `from` to serial `to`, step by step, for IXFR; `None` when that is not known any
    /// more. Asks the store, not the writer.
    pub async fn journal(&self, apex: &Name, from: u32, to: u32) -> Result<Option<Vec<Diff>>, JournalError> {
        journal::steps(&*self.store, apex, from, to).await
    }

    /// All that there is to show.
    pub async fn status(&self) -> Result<Status, ControlError> {
        self.ask(Command::Status).await
    }

    /// Past changes, newest first.
    pub async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, ControlError> {
        self.ask(|reply| Command::Audit(query, reply)).await
    }

    /// Changes what is wanted of the forwarder `name`. `token_sha256` is that of a token made for it.
    pub async fn change_forwarder(
        &self,
        origin: Origin,
        reason: Option<String>,
        name: String,
        change: forwarders::Change,
        token_sha256: Option<String>,
    ) -> Result<forwarders::Answer, ControlError> {
        self.ask(|reply| Command::Forwarder(origin, reason, name, change, token_sha256, reply)).await
    }

    /// Past changes of forwarders, newest first.
    pub async fn forwarder_audit(&self, query: AuditQuery) -> Result<Vec<forwarders::AuditEntry>, ControlError> {
        self.ask(|reply| Command::ForwarderAudit(query, reply)).await
    }

    /// The forwarders that are led from here. Asks nobody.
    pub fn forwarders(&self) -> &Arc<Forwarders> {
        &self.forwarders
    }

    /// How the published state answers `question` at `now`. Asks nobody: it reads what queries read.
    pub fn explain(&self, question: &Question, now: Timestamp) -> Explanation {
        super::explain::explain(&self.published.load(), question, now)
    }

    /// What queries read now.
    pub fn published(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// The workers' counters.
    pub fn readers(&self) -> &Readers {
        &self.readers
    }

    /// How the store does.
    pub fn store_numbers(&self) -> &StoreNumbers {
        &self.numbers
    }

    /// How the checks do.
    pub fn probe_numbers(&self) -> &probe::Numbers {
        &self.probe_numbers
    }

    /// How webhooks do.
    pub fn webhooks(&self) -> &Board {
        &self.webhooks
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| ControlError::Stopping)?;
        answer.await.map_err(|_| ControlError::Stopping)?
    }
}
