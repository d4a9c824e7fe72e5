//! One response, stage by stage, from one immutable snapshot.
