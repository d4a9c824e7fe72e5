//! Which rules make a TTL what it is: each with what it alone would allow, for `explain`, status and answers to changes. By the
//! same functions that answers use.

use crate::control::message::why::{NORMAL, TtlPart};
use crate::dns::Ttl;
use crate::steering::ttl::{Change, Cutover, TtlPolicy, largest_ttl, served_ttl};
use crate::time::Timestamp;

/// What a TTL depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground {
    pub(super) policy: TtlPolicy,
    pub(super) cutover: Option<Cutover>,
    pub(super) change: Option<Change>,
    /// The time in which health could change the answer, where the TTL goes by that.
    pub(super) until_flip: Option<Ttl>,
}

impl Ground {
    /// What each rule allows a client that falls on `point`, or any client; the normal one first.
    pub(super) fn parts(&self, point: Option<u64>, now: Timestamp) -> Vec<TtlPart> {
        let Self { policy, cutover, change, until_flip } = self;
        let of = |policy: &TtlPolicy, cutover: Option<&Cutover>, change: Option<&Change>| match point {
            Some(point) => served_ttl(policy, cutover, change, point, now),
            None => largest_ttl(policy, cutover, change, now),
        };
        let mut parts = vec![TtlPart { ttl: policy.normal, rule: NORMAL.to_owned() }];
        if let Some(most) = until_flip {
            let rule = "in that time health could change what is answered".to_owned();
            parts.push(TtlPart { ttl: (*most).max(policy.low), rule });
        }
        if let Some(change) = change {
            let ttl = of(policy, None, Some(change));
            let rule = match change.confirmed {
                None => format!("the change of {} is not confirmed yet", change.at),
                Some(_) if ttl == policy.normal => format!("it has grown back since the change of {}", change.at),
                Some(_) => format!("it grows back since the change of {}", change.at),
            };
            parts.push(TtlPart { ttl, rule });
        }
        if let Some(cutover) = cutover {
            if let Some(most) = policy.max_wait {
                let rule = format!("nobody shall wait longer while the cutover at {} is planned", cutover.at);
                parts.push(TtlPart { ttl: most.max(policy.low).min(policy.normal), rule });
            }
            let ttl = of(&TtlPolicy { max_wait: None, ..*policy }, Some(cutover), None);
            let rule = if cutover.at <= now {
                format!("the cutover of {} has come", cutover.at)
            } else if ttl == policy.normal {
                format!("the cutover at {} is far off", cutover.at)
            } else {
                format!("it counts down to the cutover at {}", cutover.at)
            };
            parts.push(TtlPart { ttl, rule });
        }
        parts
    }

    /// The rule that makes it what it is for any client: the least of all.
    pub(super) fn largest(&self, now: Timestamp) -> TtlPart {
        least(&self.parts(None, now)).clone()
    }
}

/// The part that counts: the least, of equal ones the first.
pub(super) fn least(parts: &[TtlPart]) -> &TtlPart {
    parts.iter().min_by_key(|part| part.ttl).expect("the normal one is always there")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::steering::ttl::Approach;

    const T: Timestamp = Timestamp(1_800_000_000);

    fn ground(max_wait: Option<u64>, cutover: Option<u64>, change: Option<(u64, bool)>, flip: Option<u64>) -> Ground {
        let secs = Ttl::from_secs;
        Ground {
            policy: TtlPolicy {
                normal: secs(3600),
                low: secs(60),
                spread_secs: 120,
                mode: Approach::Countdown,
                max_wait: max_wait.map(secs),
                by_health: flip.is_some(),
            },
            cutover: cutover.map(|ahead| Cutover { at: T.after(ahead) }),
            change: change
                .map(|(ago, confirmed)| Change { at: T.before(ago), confirmed: confirmed.then(|| T.before(ago)) }),
            until_flip: flip.map(secs),
        }
    }

    #[test]
    fn each_rule_is_told_with_its_seconds() {
        let told = |ground: Ground| ground.parts(None, T).iter().map(ToString::to_string).collect::<Vec<_>>();
        let all = told(ground(Some(600), Some(300), Some((100, false)), Some(13)));
        assert_eq!(
            all,
            [
                "3600 s, the normal one",
                "60 s, in that time health could change what is answered",
                "60 s, the change of 2027-01-15T07:58:20Z is not confirmed yet",
                "600 s, nobody shall wait longer while the cutover at 2027-01-15T08:05:00Z is planned",
                "300 s, it counts down to the cutover at 2027-01-15T08:05:00Z",
            ]
        );
        assert_eq!(told(ground(None, None, None, None)), ["3600 s, the normal one"]);
        let grown = ground(None, Some(90_000), Some((90_000, true)), None);
        assert_eq!(least(&grown.parts(None, T)).rule, "the normal one");
    }

    proptest! {
        #[test]
        fn the_least_of_the_parts_is_what_is_served(
            max_wait in prop::option::of(0u64..5000), cutover in prop::option::of(0u64..5000),
            change in prop::option::of((0u64..9000, any::<bool>())), flip in prop::option::of(0u64..5000), point: u64
        ) {
            let ground = ground(max_wait, cutover, change, flip);
            let (policy, cutover, change) = (&ground.policy, ground.cutover.as_ref(), ground.change.as_ref());
            let by_health = |ttl: Ttl| ground.until_flip.map_or(ttl, |most| ttl.min(most.max(policy.low)));
            let served = by_health(served_ttl(policy, cutover, change, point, T));
            prop_assert_eq!(least(&ground.parts(Some(point), T)).ttl, served);
            prop_assert_eq!(ground.largest(T).ttl, by_health(largest_ttl(policy, cutover, change, T)));
        }
    }
}
