//! What became of a connection.

use std::fmt;

use super::access::Verdict;

/// How a connection ended, or why it never began. Prints itself as metrics and traces show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client ended first, both directions were passed on whole.
    ClientClosed,
    /// The target ended first, both directions were passed on whole.
    TargetClosed,
    /// The connection to the client broke; the target's was reset.
    ClientReset,
    /// The connection to the target broke; the client's was reset.
    TargetReset,
    /// No allow pattern matched.
    NotAllowed,
    /// A deny pattern matched.
    Denied,
    /// The target's name could not be looked up.
    NotResolved,
    /// The source address could not be taken.
    BindFailed,
    /// No address of the target accepted.
    ConnectFailed,
    /// No byte passed for too long.
    Idle,
    /// It reached the age at which connections end.
    TooOld,
    /// A trusted peer sent no PROXY header that can be read.
    NoProxyHeader,
    /// The nudge ladder turned it away.
    TurnedAway,
    /// The rule had as many open as it may have.
    TooMany,
    /// Too many connections were held.
    HoldFull,
    /// The client went away while it was held.
    GaveUp,
    /// It was still open when the time to drain was over.
    Cut,
}

impl Outcome {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Self; 17] = [
        Self::ClientClosed,
        Self::TargetClosed,
        Self::ClientReset,
        Self::TargetReset,
        Self::NotAllowed,
        Self::Denied,
        Self::NotResolved,
        Self::BindFailed,
        Self::ConnectFailed,
        Self::Idle,
        Self::TooOld,
        Self::NoProxyHeader,
        Self::TurnedAway,
        Self::TooMany,
        Self::HoldFull,
        Self::GaveUp,
        Self::Cut,
    ];

    /// The refusal that a verdict asks for.
    pub fn of_refusal(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::Allowed => None,
            Verdict::NotAllowed => Some(Self::NotAllowed),
            Verdict::Denied => Some(Self::Denied),
        }
    }

    /// rinetd's word for it in its log ("remote" is the client there), or ours where it has none.
    pub fn in_log(self) -> &'static str {
        match self {
            Self::ClientClosed | Self::ClientReset => "done-remote-closed",
            Self::TargetClosed | Self::TargetReset => "done-local-closed",
            Self::NotAllowed => "not-allowed",
            Self::Denied => "denied",
            Self::BindFailed => "local-bind-failed -",
            Self::NotResolved | Self::ConnectFailed => "local-connect-failed -",
            Self::Idle => "done-idle",
            Self::TooOld => "done-too-old",
            Self::NoProxyHeader => "no-proxy-header -",
            Self::TurnedAway => "turned-away",
            Self::TooMany => "too-many",
            Self::HoldFull => "hold-full",
            Self::GaveUp => "gave-up -",
            Self::Cut => "done-cut",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientClosed => "client-closed",
            Self::TargetClosed => "target-closed",
            Self::ClientReset => "client-reset",
            Self::TargetReset => "target-reset",
            Self::NotAllowed => "not-allowed",
            Self::Denied => "denied",
            Self::NotResolved => "not-resolved",
            Self::BindFailed => "bind-failed",
            Self::ConnectFailed => "connect-failed",
            Self::Idle => "idle",
            Self::TooOld => "too-old",
            Self::NoProxyHeader => "no-proxy-header",
            Self::TurnedAway => "turned-away",
            Self::TooMany => "too-many",
            Self::HoldFull => "hold-full",
            Self::GaveUp => "gave-up",
            Self::Cut => "cut",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_holds_each_at_its_place() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
        assert_eq!(Outcome::ALL.len(), Outcome::Cut as usize + 1);
    }
}
