//! Demand cap: what share of the load a nominal 5 % is, when a few groups ask for most users.

use waypost::steering::cap::capped;
use waypost::steering::demand::Load;

use crate::keys::{table, weights};
use crate::{Draws, size};

const GROUPS: u32 = 5000;
const SEEDS: u64 = 200;
/// Without the cap the 95th percentile lies where the distribution jumps: the largest group has 11.0 % of the load, and goes
/// along in just 5 % of cases. Over 200 seeds it is anything from 9 to 15.
const MANY_SEEDS: u64 = size(20_000, 2_000) as u64;

/// The 5th and the 95th percentile of what a step from 100/0 to 95/5 gives the second site, in percent of the true load.
fn percentiles(cap: bool, seeds: u64) -> (f64, f64) {
    let harmonic: f64 = (1..=GROUPS).map(|rank| 1.0 / f64::from(rank)).sum();
    let (before, after) = (weights(&[100, 0]), weights(&[95, 5]));
    let mut shares: Vec<f64> = (0..seeds)
        .map(|seed| {
            let mut draws = Draws::new(seed);
            // Zipf(1.0), and what is known of it: off by 30 %, as a standard deviation.
            let groups: Vec<(u64, f64)> =
                (1..=GROUPS).map(|rank| (draws.draw(), 1.0 / f64::from(rank) / harmonic)).collect();
            let start = table(&[100, 0]);
            let next = if cap {
                let mut off = |part: f64| part * (0.3 * normal(&mut draws)).exp();
                let estimates: Vec<f64> = groups.iter().map(|(_, part)| off(*part)).collect();
                let all: f64 = estimates.iter().sum();
                let known = Load::of_parts(groups.iter().zip(&estimates).map(|((point, _), e)| (*point, e / all)));
                capped(&start, &before, &after, &known)
            } else {
                start.step(&before, &after) // which no estimate has a part in
            };
            Load::of_parts(groups).shares(&next, 2)[1] * 100.0
        })
        .collect();
    shares.sort_by(f64::total_cmp);
    (shares[seeds as usize * 5 / 100], shares[seeds as usize * 95 / 100 - 1])
}

/// Normally distributed (Box and Muller).
fn normal(draws: &mut Draws) -> f64 {
    (-2.0 * (1.0 - draws.part()).ln()).sqrt() * (std::f64::consts::TAU * draws.part()).cos()
}

#[test]
fn demand_cap() {
    let (low, high) = percentiles(true, SEEDS);
    println!(
        "Demand cap: nominal 5 % over {GROUPS} groups is {low:.2}..{high:.2} % of the load (5th..95th percentile)"
    );
    let (plain_low, plain_high) = percentiles(false, MANY_SEEDS);
    println!("Demand cap: without it {plain_low:.2}..{plain_high:.2} %, over {MANY_SEEDS} seeds");
    assert!(low >= 4.5 && high <= 5.7, "{low}..{high}");
    assert!((2.3..2.6).contains(&plain_low) && (12.0..14.0).contains(&plain_high), "{plain_low}..{plain_high}");
}
