//! The TCP forwarder: rules, access, relay, stragglers. It stands alone: nothing else of the crate is imported here.
