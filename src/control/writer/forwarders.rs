//! Changes of what is wanted of forwarders: decided, made durable, put up, answered.

use crate::control::decide::check_condition;
use crate::control::error::{ControlError, Fault};
use crate::control::forwarders::{self, Answer, AuditEntry, Change, Wanted};
use crate::control::handle::AuditQuery;
use crate::control::message::Origin;
use crate::control::records::{self, RecordError, forwarder_audit_key, forwarder_key};
use crate::control::writer::{SELF, Writer};
use crate::dns::Name;
use crate::pairing::{Hold, RuleWish};
use crate::store::{Scan, StateStore, StoreError, Write};
use crate::time::Timestamp;

/// Changes of forwarders that the audit keeps.
const KEPT: usize = 10_000;

impl Writer {
    /// Makes a change of a forwarder. `token_sha256` is that of a token made for it.
    pub(super) async fn change_forwarder(
        &mut self,
        origin: Origin,
        reason: Option<String>,
        name: &str,
        change: Change,
        token_sha256: Option<String>,
        now: Timestamp,
    ) -> Result<Answer, ControlError> {
        let member = self.forwarders.get(name);
        let before = member.as_ref().and_then(|m| m.wanted());
        check_condition(origin.condition, before.as_ref().map_or(0, |b| b.revision), false)?;
        let draw = getrandom::u64().map_err(|e| ControlError::Store(e.to_string()))?;
        let mut after = forwarders::change(name, before.as_deref(), &change, draw, now)?;
        if let Change::Rule { wish: Some(wish), .. } = &change {
            self.check_pool(wish)?;
        }
        let connected = member.as_ref().is_some_and(|m| m.is_connected());
        if matches!(change, Change::Hold { .. }) && !connected {
            return Err(ControlError::Conflict(format!(
                "the forwarder {name} is not connected: it can't be told to hold"
            )));
        }
        let configured = self.catalog.settings.forwarders.iter().any(|f| f.name == name);
        if after.is_none() && configured {
            let detail = format!("the forwarder {name} is named in the configuration: take it out there first");
            return Err(ControlError::Conflict(detail));
        }
        if let (Some(after), Some(sha256)) = (&mut after, token_sha256) {
            after.token_sha256 = Some(sha256);
        }
        let revision = after.as_ref().map_or_else(|| before.map_or(0, |b| b.revision), |after| after.revision);
        let entry = AuditEntry {
            forwarder: name.to_owned(),
            revision,
            at: now,
            author: origin.author,
            reason,
            change: change.clone(),
        };
        let kept = match &after {
            Some(after) => records::put(forwarder_key(name), after),
            None => Write::Delete { key: forwarder_key(name) },
        };
        self.commit(vec![records::put(forwarder_audit_key(now, name, revision), &entry), kept]).await?;
        tracing::info!(forwarder = name, revision, author = entry.author, change = ?entry.change, "forwarder changed");
        let mut warnings = Vec::new();
        match after {
            None => self.forwarders.remove(name),
            Some(after) => {
                let member = self.forwarders.put(name, after);
                let told = !connected && !matches!(change, Change::Add | Change::Token);
                match change {
                    Change::Hold { rule, terms } => member.hold(Hold { number: revision, rule, terms }),
                    Change::Release { rule } if !member.release(rule.as_deref()) => {
                        warnings.push("nothing was held".to_owned());
                    }
                    _ => {}
                }
                warnings.extend(told.then(|| format!("{name} is not connected: it will know of this when it is")));
            }
        }
        Ok(Answer { forwarder: name.to_owned(), revision, at: now, token: None, connected, warnings })
    }

    /// Past changes of forwarders, newest first.
    pub(super) async fn forwarder_audit(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, ControlError> {
        let scan = Scan::last("forwarder-audit/", query.limit);
        let found = self.store.scan(scan).await.map_err(|e| ControlError::Store(e.to_string()))?;
        let parse = |(key, value): (String, Vec<u8>)| records::parse::<AuditEntry>(&key, &value);
        found.into_iter().map(parse).collect::<Result<_, _>>().map_err(|e| ControlError::Store(e.to_string()))
    }

    /// Puts up those that the configuration names and that were not known: each waits for a token, unless it has one there.
    /// Gives what of it is to be stored.
    pub(super) fn follow_forwarders(&self, now: Timestamp) -> Vec<Write> {
        let mut writes = Vec::new();
        for settings in &self.catalog.settings.forwarders {
            let known = self.forwarders.get(&settings.name).and_then(|member| member.wanted());
            let new = known.is_none();
            let mut wanted = known.map_or_else(
                // Without random octets any other number does: it is only to differ from that of a lost store.
                || Wanted::new(getrandom::u64().unwrap_or(now.0), now),
                |known| (*known).clone(),
            );
            let other = settings.token_sha256.is_some() && settings.token_sha256 != wanted.token_sha256;
            if other {
                wanted.token_sha256.clone_from(&settings.token_sha256);
            }
            if new || other {
                tracing::info!(forwarder = settings.name, author = SELF, "forwarder known from the configuration");
                writes.push(records::put(forwarder_key(&settings.name), &wanted));
                self.forwarders.put(&settings.name, wanted);
            }
        }
        writes
    }

    fn check_pool(&self, wish: &RuleWish) -> Result<(), ControlError> {
        let mut faults = Vec::new();
        let pools = &self.catalog.settings.pools;
        if let Some(written) = &wish.pool {
            let pool = Name::parse(written, None).ok().and_then(|name| pools.iter().find(|p| p.name == name));
            match (pool, &wish.site) {
                (None, _) => faults.push(Fault::new("/pool", format!("there is no pool {written:?}"))),
                (Some(pool), Some(site)) if pool.endpoints.iter().all(|e| e.site != *site) => {
                    faults.push(Fault::new("/site", format!("the pool {written} has no endpoint at {site:?}")));
                }
                _ => {}
            }
        }
        if wish.pool.is_some() != wish.site.is_some() {
            faults.push(Fault::new("", "a rule belongs to a pool and a site: say both"));
        }
        if faults.is_empty() { Ok(()) } else { Err(ControlError::Invalid(faults)) }
    }

    /// What takes away the oldest entries of the audit.
    pub(super) async fn oldest_forwarder_audit(&self) -> Vec<Write> {
        let Ok(found) = self.store.scan(Scan::all("forwarder-audit/")).await else { return Vec::new() };
        let beyond = found.len().saturating_sub(KEPT);
        found.into_iter().take(beyond).map(|(key, _)| Write::Delete { key }).collect()
    }
}

/// What the store knows of forwarders.
pub(super) async fn stored(store: &dyn StateStore) -> Result<Vec<(String, Wanted)>, RecordError> {
    let found = store.scan(Scan::all("forwarder/")).await.map_err(|e: StoreError| RecordError::Store(e))?;
    let parse = |(key, value): (String, Vec<u8>)| {
        let name = key.trim_start_matches("forwarder/").to_owned();
        records::parse(&key, &value).map(|wanted| (name, wanted))
    };
    found.into_iter().map(parse).collect()
}
