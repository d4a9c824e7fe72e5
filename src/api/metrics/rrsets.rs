//! What is told of planned RRsets.

use super::{Page, is};
use crate::control::message::RrsetStatus;

impl Page {
    pub(super) fn rrsets(&mut self, rrsets: &[RrsetStatus]) {
        let labels = |status: &RrsetStatus| {
            vec![("name", status.rrset.name.to_string()), ("type", status.rrset.rtype.to_string())]
        };
        self.gauge(
            "waypost_rrset_ttl_seconds",
            "TTL of a planned RRset: normal and low as they are in force, and served, the largest that is given now.",
            rrsets.iter().flat_map(|status| {
                let ttl = status.ttl;
                [("normal", ttl.normal), ("low", ttl.low), ("served", ttl.served)].map(|(kind, ttl)| {
                    let mut labels = labels(status);
                    labels.push(("kind", kind.to_owned()));
                    (labels, f64::from(ttl.secs()))
                })
            }),
        );
        self.gauge(
            "waypost_rrset_cutover_timestamp_seconds",
            "The planned instant of a change of the RRset, in seconds since 1970; missing when there is none.",
            rrsets.iter().filter_map(|status| Some((labels(status), status.cutover?.0 as f64))),
        );
        self.gauge(
            "waypost_rrset_horizon_timestamp_seconds",
            "After it no cache that obeys TTLs holds the RRset as it was before its last change, in seconds since 1970; missing \
             when there was none.",
            rrsets.iter().filter_map(|status| Some((labels(status), status.horizon.as_ref()?.at?.0 as f64))),
        );
        self.gauge(
            "waypost_rrset_horizon_final",
            "1 when the horizon of the RRset can't grow any more.",
            rrsets.iter().filter_map(|status| Some((labels(status), is(!status.horizon.as_ref()?.at_least)))),
        );
    }
}
