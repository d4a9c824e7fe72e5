//! What kind of straggler a source is, and how sure that is. Pure.
//!
//! A client is not its resolver: what is known of a source is whether its own network was heard asking (its resolver is near
//! it, or sends client subnets). So of a client behind a resolver elsewhere nothing is known, and no word here is certain.

use serde::{Deserialize, Serialize};

use crate::pairing::Class;
use crate::time::Timestamp;

/// So many networks heard show that resolvers near their clients ask here at all.
const MANY: usize = 10;

/// What is known of a source, and of the site that it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The clock.
    pub now: Timestamp,
    /// When it opened its newest connection.
    pub opened: Timestamp,
    /// Whether a connection of it is open.
    pub is_open: bool,
    /// Whether its client key was heard asking for what is steered here, of late.
    pub heard: bool,
    /// What DNS did with the site.
    pub site: SiteEvidence,
}

/// What DNS did with the site whose clients come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteEvidence {
    /// The pool's cache horizon for it; `None`: not known.
    pub horizon: Option<Timestamp>,
    /// Whether it is still answered to somebody.
    pub answered: bool,
    /// How many client keys were heard of late.
    pub keys_heard: usize,
    /// Since when who asks is recorded.
    pub recorded_since: Timestamp,
    /// The longest time in which a cache that obeys TTLs asks again.
    pub ttl_secs: u64,
}

/// How sure a class is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// A guess.
    Low,
    /// Likely.
    Medium,
    /// All that can be known says so.
    High,
}

/// A class, how sure it is, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The class.
    pub class: Class,
    /// How sure.
    pub confidence: Confidence,
    /// Why, in words.
    pub why: &'static str,
}

/// Classes a source.
pub fn classify(source: &Evidence) -> Verdict {
    use Class::{Cached, NeverAsked, Stays};
    use Confidence::{High, Low, Medium};
    let verdict = |class, confidence, why| Verdict { class, confidence, why };
    let site = &source.site;
    let by_heard = if source.heard { High } else { Medium };
    if site.answered {
        return verdict(Cached, by_heard, "the site is still answered");
    }
    let Some(horizon) = site.horizon else {
        return verdict(Cached, Low, "it is not known what caches may hold");
    };
    // An answer lives until the horizon, that second with it.
    if source.now <= horizon {
        return verdict(Cached, by_heard, "a cache may hold the site until the horizon");
    }
    if source.heard {
        let confidence = if source.opened > horizon { High } else { Medium };
        return verdict(Stays, confidence, "its network asks here and is told another site");
    }
    if source.is_open && source.opened <= horizon {
        return verdict(Stays, Medium, "it keeps a connection from before the horizon");
    }
    if source.now.since(site.recorded_since) < site.ttl_secs {
        return verdict(NeverAsked, Low, "its network was not heard, but listening has only begun");
    }
    let confidence = if site.keys_heard >= MANY { High } else { Medium };
    verdict(NeverAsked, confidence, "its network was never heard: a written address, or a resolver elsewhere")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HORIZON: Timestamp = Timestamp(1_800_000_000);

    fn evidence() -> Evidence {
        let site = SiteEvidence {
            horizon: Some(HORIZON),
            answered: false,
            keys_heard: 50,
            recorded_since: HORIZON.before(86_400),
            ttl_secs: 3600,
        };
        Evidence { now: HORIZON.after(60), opened: HORIZON.after(30), is_open: false, heard: false, site }
    }

    fn class(evidence: Evidence) -> (Class, Confidence) {
        let verdict = classify(&evidence);
        (verdict.class, verdict.confidence)
    }

    #[test]
    fn until_the_horizon_a_cache_may_be_the_reason() {
        use Confidence::{High, Low, Medium};
        let before = Evidence { now: HORIZON, ..evidence() };
        assert_eq!(class(before), (Class::Cached, Medium));
        assert_eq!(class(Evidence { heard: true, ..before }), (Class::Cached, High));
        assert_eq!(class(Evidence { now: HORIZON.after(1), ..before }).0, Class::NeverAsked);
        let answered = SiteEvidence { answered: true, ..evidence().site };
        assert_eq!(class(Evidence { site: answered, ..evidence() }).0, Class::Cached);
        let unknown = SiteEvidence { horizon: None, ..evidence().site };
        assert_eq!(class(Evidence { site: unknown, ..evidence() }), (Class::Cached, Low));
    }

    #[test]
    fn after_it_who_was_told_stays_and_the_rest_never_asked() {
        use Confidence::{High, Low, Medium};
        assert_eq!(class(Evidence { heard: true, ..evidence() }), (Class::Stays, High));
        let kept = Evidence { opened: HORIZON.before(9), is_open: true, ..evidence() };
        assert_eq!(class(kept), (Class::Stays, Medium));
        assert_eq!(class(Evidence { is_open: false, ..kept }).0, Class::NeverAsked);
        assert_eq!(class(evidence()), (Class::NeverAsked, High));
        let few = SiteEvidence { keys_heard: 1, ..evidence().site };
        assert_eq!(class(Evidence { site: few, ..evidence() }), (Class::NeverAsked, Medium));
        let fresh = SiteEvidence { recorded_since: HORIZON, ..evidence().site };
        assert_eq!(class(Evidence { site: fresh, ..evidence() }), (Class::NeverAsked, Low));
    }
}
