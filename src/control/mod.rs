//! The one writer: commands, observations and ticks in; a new snapshot out.
