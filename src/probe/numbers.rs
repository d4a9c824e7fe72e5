//! How the checks do: numbers for metrics.

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use crate::steering::health::Observation;

/// Counts of checks, by probe. Clones count together.
#[derive(Clone, Debug)]
pub struct Numbers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    observations: IntCounterVec,
    seconds: HistogramVec,
    late: IntCounterVec,
    in_flight: IntGaugeVec,
    targets: IntGauge,
}

impl Default for Numbers {
    fn default() -> Self {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).expect("name and labels are well-formed")
        };
        let seconds = HistogramOpts::new("waypost_probe_duration_seconds", "How long checks took, by probe.")
            .buckets(vec![0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let in_flight = Opts::new("waypost_probe_in_flight", "Checks that are being carried out now, by probe.");
        let targets = "waypost_probe_targets";
        let targets_help =
            "Different checks that are repeated; pools that ask the same thing at the same address share one.";
        Self(Arc::new(Inner {
            observations: counters(
                "waypost_probe_observations_total",
                "Checks by probe and result: up, down, or none (nothing was learnt of the endpoint).",
                &["probe", "result"],
            ),
            seconds: HistogramVec::new(seconds, &["probe"]).expect("name and labels are well-formed"),
            late: counters(
                "waypost_probe_late_total",
                "Checks that began later than they should by more than a tenth of their interval, by probe: too many at once.",
                &["probe"],
            ),
            in_flight: IntGaugeVec::new(in_flight, &["probe"]).expect("name and labels are well-formed"),
            targets: IntGauge::new(targets, targets_help).expect("the name is well-formed"),
        }))
    }
}

impl Numbers {
    /// A check of `probe` begins, so much later than it should; it is in flight until what is given back is dropped.
    pub(super) fn begin(&self, probe: &str, late: bool) -> InFlight {
        if late {
            self.0.late.with_label_values(&[probe]).inc();
        }
        let gauge = self.0.in_flight.with_label_values(&[probe]);
        gauge.inc();
        InFlight(gauge)
    }

    /// A check of `probe` has ended.
    pub(super) fn end(&self, probe: &str, seen: Option<Observation>, took: Duration) {
        let result = match seen {
            Some(Observation::Up) => "up",
            Some(Observation::Down) => "down",
            None => "none",
        };
        self.0.observations.with_label_values(&[probe, result]).inc();
        self.0.seconds.with_label_values(&[probe]).observe(took.as_secs_f64());
    }

    /// A value for an endpoint of `probe` was pushed.
    pub fn pushed(&self, probe: &str, up: bool) {
        self.0.observations.with_label_values(&[probe, if up { "up" } else { "down" }]).inc();
    }

    /// So many different checks are repeated.
    pub(super) fn follow(&self, targets: usize) {
        self.0.targets.set(i64::try_from(targets).unwrap_or(i64::MAX));
    }

    /// With a sample of each.
    #[cfg(test)]
    pub fn sample() -> Self {
        let numbers = Self::default();
        drop(numbers.begin("web", true));
        numbers.end("web", Some(Observation::Up), Duration::from_millis(3));
        numbers
    }

    /// As metrics.
    pub fn collect(&self) -> Vec<MetricFamily> {
        let Inner { observations, seconds, late, in_flight, targets } = &*self.0;
        [observations.collect(), seconds.collect(), late.collect(), in_flight.collect(), targets.collect()].concat()
    }
}

/// A check on its way.
pub(super) struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
