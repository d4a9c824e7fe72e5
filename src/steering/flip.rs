//! A flip: how an operator's request becomes weights.
//!
//! Pure: what came in and what the weights are now give the weights to be, or the reason for refusing. Generations, pools
//! by name and what is stored are `control`'s; how points move is `share`'s. A flip changes weights only: an endpoint that
//! reaches weight 0 has the role that is configured for it, which is `never` unless the configuration says `spare`.
//!
//! What always holds:
//! - a percentage above 0 never becomes nothing, one below 100 never leaves `from` with nothing;
//! - endpoints other than the two keep their shares, exactly where whole weights up to 1,000,000 can say it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::steering::pool::Weight;
use crate::steering::select::Candidate;

/// The weights after `to` was given `percent` of what `from` and `to` hold together, and `from` the rest.
///
/// All weights are multiplied by the least power of ten that makes this exact. Where none up to [`Weight::MAX`] does, by
/// the largest that fits, and the share is rounded; where not even the weights as they are fit, by a half. A pair that
/// holds 1 and can't be multiplied becomes 1 and 1.
///
/// # Errors
/// [`FlipError`].
///
/// # Panics
/// If `from` or `to` is no index of `weights`.
pub fn by_percent(weights: &[Weight], from: usize, to: usize, percent: Percent) -> Result<Vec<Weight>, FlipError> {
    if from == to {
        return Err(FlipError::SameEndpoint);
    }
    let held = u64::from(weights[from].get()) + u64::from(weights[to].get());
    if held == 0 {
        return Err(FlipError::NothingHeld);
    }
    let part = u64::from(percent.0);
    let others = (0..weights.len()).filter(|&i| i != from && i != to).map(|i| u64::from(weights[i].get()));
    // In millionths of a weight everything is exact.
    let wanted = held * part;
    let largest = others.map(|w| w * WHOLE).fold(wanted.max(held * WHOLE - wanted), u64::max);
    let fitting = || (0..=6).map(|zeros| 10u64.pow(zeros)).filter(|times| largest * times <= WHOLE * MOST);
    let exact = fitting().find(|times| (wanted * times).is_multiple_of(WHOLE));
    let scale =
        exact.or_else(|| fitting().next_back()).map_or(Scale { times: 1, over: 2 }, |times| Scale { times, over: 1 });

    let mut pair = scale.of(held * WHOLE);
    let mut share = scale.of(wanted);
    if (1..WHOLE).contains(&part) {
        pair = pair.max(2);
        share = share.clamp(1, pair - 1);
    }
    let new = |i: usize, old: Weight| match i {
        _ if i == to => share,
        _ if i == from => pair - share,
        _ if old == Weight::ZERO => 0,
        _ => scale.of(u64::from(old.get()) * WHOLE).max(1),
    };
    Ok(weights.iter().enumerate().map(|(i, &old)| weight(new(i, old))).collect())
}

/// Whether a flip, an override or a removal that leads to these endpoints is refused: none of them is active, that is,
/// has weight above 0 and is not overridden down. Spares don't count: they stand in, they are no plan.
pub fn leaves_nothing(candidates: &[Candidate]) -> bool {
    !candidates.iter().any(Candidate::is_active)
}

/// Why a flip can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlipError {
    /// `from` and `to` are one.
    #[error("a flip needs two sites: `from` and `to` are the same")]
    SameEndpoint,
    /// Both have weight 0.
    #[error("there is nothing to divide: `from` and `to` both have weight 0")]
    NothingHeld,
}

/// 100 % in units of [`Percent`].
const WHOLE: u64 = 1_000_000;
const MOST: u64 = Weight::MAX.get() as u64;

/// By what all weights are multiplied.
#[derive(Clone, Copy)]
struct Scale {
    times: u64,
    over: u64,
}

impl Scale {
    /// The whole weight for an old one in millionths, rounded half up.
    fn of(self, millionths: u64) -> u64 {
        let whole = WHOLE * self.over;
        (millionths * self.times + whole / 2) / whole
    }
}

fn weight(number: u64) -> Weight {
    let weight = u32::try_from(number).ok().and_then(Weight::new);
    weight.expect("the scale keeps the largest within Weight::MAX")
}

/// A decimal 0..=100 with at most four places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(
    /// In units of 0.0001 %.
    u32,
);

impl Percent {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(WHOLE as u32);

    /// In units of 0.0001 %; `None` above 1,000,000.
    pub const fn from_units(units: u32) -> Option<Self> {
        if units as u64 <= WHOLE { Some(Self(units)) } else { None }
    }

    /// In units of 0.0001 %, 0..=1,000,000.
    pub const fn units(self) -> u32 {
        self.0
    }
}

impl FromStr for Percent {
    type Err = PercentError;

    /// Reads digits, and after a point one to four more.
    fn from_str(text: &str) -> Result<Self, PercentError> {
        let quoted = || text.chars().take(40).collect::<String>();
        let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
        if [whole, places].iter().any(|part| part.is_empty() || !part.bytes().all(|c| c.is_ascii_digit())) {
            return Err(PercentError::NoDecimal { text: quoted() });
        }
        if places.len() > 4 {
            return Err(PercentError::TooManyPlaces { text: quoted() });
        }
        let units = format!("{whole}{places:0<4}").parse().ok().and_then(Self::from_units);
        units.ok_or_else(|| PercentError::TooMuch { text: quoted() })
    }
}

impl fmt::Display for Percent {
    /// With as many places as it needs, no sign.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, places) = (self.0 / 10_000, self.0 % 10_000);
        if places == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{places:04}").trim_end_matches('0'))
    }
}

impl Serialize for Percent {
    /// A number.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(10_000) {
            s.serialize_u32(self.0 / 10_000)
        } else {
            s.serialize_f64(f64::from(self.0) / 10_000.0)
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    /// A number, or a text as [`Percent::from_str`] reads it.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Percent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a percentage, 0 to 100 with at most 4 decimal places")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Percent, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Percent, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Percent, E> {
                self.visit_str(&number.to_string())
            }

            /// The shortest decimal that reads as this number is what was written, unless it had more than 15 digits.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Percent, E> {
                self.visit_str(&number.to_string())
            }
        }
        d.deserialize_any(Visitor)
    }
}

/// A text that is no [`Percent`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PercentError {
    /// Not of the form `5` or `0.25`.
    #[error("{text:?} is no percentage: write 5 or 0.25, from 0 to 100")]
    NoDecimal {
        /// What was written, at most 40 characters of it.
        text: String,
    },
    /// Finer than 0.0001.
    #[error("{text:?} has more than 4 decimal places")]
    TooManyPlaces {
        /// What was written, at most 40 characters of it.
        text: String,
    },
    /// Above 100.
    #[error("{text:?} is more than 100 percent")]
    TooMuch {
        /// What was written, at most 40 characters of it.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::pool::{Override, Role};
    use proptest::prelude::*;

    fn weights(of: &[u32]) -> Vec<Weight> {
        of.iter().map(|&w| Weight::new(w).unwrap()).collect()
    }

    fn flip(of: &[u32], from: usize, to: usize, percent: &str) -> Vec<u32> {
        let new = by_percent(&weights(of), from, to, percent.parse().unwrap()).unwrap();
        new.into_iter().map(Weight::get).collect()
    }

    #[test]
    fn percent_is_of_what_the_pair_holds() {
        assert_eq!(flip(&[100, 0], 0, 1, "5"), [95, 5]);
        assert_eq!(flip(&[95, 5], 0, 1, "100"), [0, 100]);
        assert_eq!(flip(&[95, 5], 0, 1, "0"), [100, 0]);
        assert_eq!(flip(&[0, 100], 0, 1, "5"), [95, 5]);
        assert_eq!(flip(&[60, 20, 20], 2, 1, "75"), [60, 30, 10]);
        assert_eq!(flip(&[100, 0, 7], 0, 1, "0.25"), [9975, 25, 700]);
        assert_eq!(flip(&[1, 0, 1], 0, 1, "0.0001"), [999_999, 1, 1_000_000]);
    }

    #[test]
    fn what_cannot_be_said_exactly_is_rounded_but_never_to_nothing() {
        assert_eq!(flip(&[1, 0, 3], 0, 1, "33.3333"), [66_667, 33_333, 300_000]);
        assert_eq!(flip(&[3, 0, 1_000_000], 0, 1, "0.0001"), [2, 1, 1_000_000]);
        assert_eq!(flip(&[3, 0, 1_000_000], 0, 1, "99.9999"), [1, 2, 1_000_000]);
        assert_eq!(flip(&[1, 0, 1_000_000], 0, 1, "50"), [1, 1, 1_000_000]);
        assert_eq!(flip(&[1_000_000, 1_000_000, 3, 0], 0, 1, "100"), [0, 1_000_000, 2, 0]);
        assert_eq!(flip(&[1_000_000, 999_999], 0, 1, "0"), [1_000_000, 0]);
    }

    #[test]
    fn a_flip_of_nothing_is_refused() {
        let five = "5".parse().unwrap();
        assert_eq!(by_percent(&weights(&[1, 1]), 1, 1, five), Err(FlipError::SameEndpoint));
        assert_eq!(by_percent(&weights(&[0, 0, 9]), 0, 1, five), Err(FlipError::NothingHeld));
    }

    #[test]
    fn spares_and_the_forced_down_are_nothing_to_answer() {
        let one =
            |weight, role, forced| Candidate { id: 0, weight: weights(&[weight])[0], role, healthy: true, forced };
        assert!(leaves_nothing(&[]));
        assert!(leaves_nothing(&[one(0, Role::Spare, Override::Up), one(9, Role::Never, Override::Down)]));
        assert!(!leaves_nothing(&[Candidate { healthy: false, ..one(1, Role::Never, Override::Obey) }]));
    }

    #[test]
    fn a_percentage_is_read_as_written() {
        for (text, units) in [("0", 0), ("5", 50_000), ("0.0001", 1), ("33.3", 333_000), ("100.0000", 1_000_000)] {
            assert_eq!(text.parse::<Percent>().unwrap().units(), units);
            assert_eq!(serde_json::from_str::<Percent>(text).unwrap().units(), units);
            assert_eq!(serde_json::from_str::<Percent>(&format!("{text:?}")).unwrap().units(), units);
        }
        for bad in
            ["", ".", "5.", ".5", "-1", "+1", "1e1", "5%", "5,5", "100.0001", "101", "0.00001", "99999999999999999999"]
        {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
        for bad in ["-1", "-0.5", "1e300", "0.00001", "100.5", "18446744073709551615", "null", "true", "\"five\""] {
            assert!(serde_json::from_str::<Percent>(bad).is_err(), "{bad}");
        }
        assert_eq!("0.00001".parse::<Percent>().unwrap_err().to_string(), "\"0.00001\" has more than 4 decimal places");
    }

    proptest! {
        #[test]
        fn a_percentage_reads_what_it_writes(units in 0u32..=1_000_000) {
            let percent = Percent::from_units(units).unwrap();
            prop_assert_eq!(percent.to_string().parse(), Ok(percent));
            let json = serde_json::to_string(&percent).unwrap();
            prop_assert_eq!(serde_json::from_str::<Percent>(&json).unwrap(), percent);
            prop_assert_eq!(json, percent.to_string());
        }

        #[test]
        fn shares_are_as_asked_and_others_keep_theirs(
            mut of in prop::collection::vec(prop_oneof![Just(0), 1..=100u32, 1..=1_000_000u32, Just(1_000_000)], 2..6),
            units in prop_oneof![0u32..=1_000_000, Just(0), Just(1), Just(999_999), Just(1_000_000)],
        ) {
            let percent = Percent::from_units(units).unwrap();
            of[0] += u32::from(of[0] + of[1] == 0);
            let new = flip(&of, 0, 1, &percent.to_string());
            prop_assert_eq!(units > 0, new[1] > 0);
            prop_assert_eq!(units < 1_000_000, new[0] > 0);
            // In whole weights up to a million, each is off by 1 at most; at most half of it where all are halved.
            let (old_all, new_all) = (of.iter().sum::<u32>() as f64, new.iter().sum::<u32>() as f64);
            let slack = 4.0 / new_all.min(100_000.0);
            let pair = f64::from(of[0] + of[1]);
            prop_assert!((new[1] as f64 / new_all - pair * f64::from(units) / 1e6 / old_all).abs() <= slack);
            for (old, new) in of.iter().zip(&new).skip(2) {
                prop_assert_eq!(*old == 0, *new == 0);
                prop_assert!((*new as f64 / new_all - *old as f64 / old_all).abs() <= slack);
            }
        }
    }
}
