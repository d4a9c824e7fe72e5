//! One forwarder's stream: what is wanted at once, then each change, and a sign of life in between.
//!
//! A hold is told only on streams that were open when it began: a forwarder that was away is not made to hold late.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::board::{Board, Member};
use crate::pairing::{ALIVE, ALIVE_HELD, Classes, Hold, Said};
use crate::time::Timestamp;

/// A stream being told; dropping it is its end.
pub struct Listening {
    member: Arc<Member>,
    board: watch::Receiver<Board>,
    /// Holds with this number or a lower one began before.
    began: u64,
    /// What was told: lineage and revision, holds, classes.
    revision: Option<(u64, u64)>,
    holds: Vec<Hold>,
    classes: Arc<Classes>,
}

impl Listening {
    pub(super) fn new(member: Arc<Member>) -> Self {
        let mut board = member.board.subscribe();
        let began = board.borrow_and_update().wanted.as_ref().map_or(0, |wanted| wanted.revision);
        board.mark_changed();
        Self { member, board, began, revision: None, holds: Vec::new(), classes: Arc::default() }
    }

    /// What is to be said next; waits until there is something. `None`: the forwarder is led no longer.
    pub async fn next(&mut self) -> Option<Vec<Said>> {
        let alive = Instant::now() + if self.holds.is_empty() { ALIVE } else { ALIVE_HELD };
        loop {
            tokio::select! {
                changed = self.board.changed() => changed.ok()?,
                () = sleep_until(alive) => {
                    // A hold may be over by now.
                    let said = self.news()?;
                    return Some(if said.is_empty() { vec![Said::Alive] } else { said });
                }
            }
            let said = self.news()?;
            if !said.is_empty() {
                return Some(said);
            }
        }
    }

    fn news(&mut self) -> Option<Vec<Said>> {
        let board = self.board.borrow_and_update().clone();
        let wanted = board.wanted?;
        let mut said = Vec::new();
        if *board.classes != *self.classes {
            said.push(Said::Classes((*board.classes).clone()));
            self.classes = board.classes;
        }
        let revision = Some((wanted.lineage, wanted.revision));
        if revision != self.revision {
            said.push(Said::State(wanted.desired(Timestamp::now())));
            self.revision = revision;
        }
        let now = Instant::now();
        let in_force = board.holds.iter().filter(|held| held.until > now && held.hold.number > self.began);
        let holds: Vec<Hold> = in_force.map(|held| held.hold.clone()).collect();
        if holds != self.holds {
            said.push(Said::Holds(holds.clone()));
            self.holds = holds;
        }
        Some(said)
    }

    /// For how long a line may wait for a forwarder that does not read.
    pub const SLOW: Duration = Duration::from_secs(10);
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.member.stream_ended();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Forwarders, Wanted};
    use super::*;
    use crate::pairing::{Class, Terms};

    const NOW: Timestamp = Timestamp(1_800_000_000);

    #[tokio::test(start_paused = true)]
    async fn the_state_comes_first_then_changes_then_signs_of_life() {
        let forwarders = Forwarders::default();
        let member = forwarders.put("old", Wanted::new(1, NOW));
        member.hold(Hold { number: 1, rule: None, terms: Terms::default() });
        let mut stream = member.listen();
        assert!(member.is_connected());
        let said = stream.next().await.unwrap();
        assert!(matches!(&said[..], [Said::State(state)] if state.revision == 1), "no hold from before: {said:?}");
        let before = Instant::now();
        assert_eq!(stream.next().await.unwrap(), [Said::Alive]);
        assert_eq!(before.elapsed(), ALIVE);

        forwarders.put("old", Wanted { revision: 2, ..Wanted::new(1, NOW) });
        let hold = Hold { number: 2, rule: None, terms: Terms::default() };
        member.hold(hold.clone());
        let said = stream.next().await.unwrap();
        assert_eq!(said[1..], [Said::Holds(vec![hold])]);
        let before = Instant::now();
        assert_eq!(stream.next().await.unwrap(), [Said::Alive]);
        assert_eq!(before.elapsed(), ALIVE_HELD);
        assert!(member.release(None) && !member.release(None));
        assert_eq!(stream.next().await.unwrap(), [Said::Holds(Vec::new())]);

        member.set_classes(Classes { default: Some(Class::Stays), ..Classes::default() });
        assert!(matches!(stream.next().await.unwrap()[..], [Said::Classes(_)]));
        member.set_classes(Classes { default: Some(Class::Stays), ..Classes::default() });
        assert_eq!(stream.next().await.unwrap(), [Said::Alive], "the same is not told twice");
        forwarders.remove("old");
        assert_eq!(stream.next().await, None);
        drop(stream);
        assert!(!member.is_connected());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_that_is_over_is_gone() {
        let member = Forwarders::default().put("old", Wanted::new(1, NOW));
        member.hold(Hold { number: 2, rule: Some("web".to_owned()), terms: Terms::default() });
        member.hold(Hold { number: 3, rule: Some("app".to_owned()), terms: Terms { secs: 30, ..Terms::default() } });
        assert_eq!(member.condition(NOW).unwrap().holds.len(), 2);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(member.condition(NOW).unwrap().holds.len(), 1);
        member.hold(Hold { number: 4, rule: None, terms: Terms::default() });
        assert_eq!(member.condition(NOW).unwrap().holds.len(), 1, "one for all takes the place of the others");
        assert!(!member.is_connected());
    }
}
