//! Questions over many people: how a population measures and where its means lie, by day or week.
//!
//! Asked by whoever plans for many, not by whoever treats one: so the answer may come from the analysts' database and
//! may be a little old, and says both. It is asked there while that is known to be right ([`route`]), else here.
//! What is asked of one person is never asked there: the embedded series answers it at once, with what was committed a
//! moment ago, and never shows a reading under somebody to whom it no longer belongs.
//! Goes in: a [`PopulationQuery`]. Comes out: a [`Population`]. Must never: hold up a commit, or give a value of one
//! person.

mod embedded;
mod fold;
mod route;

pub(crate) use fold::{Fold, Share, Total};
pub(crate) use route::Projection;

use jiff::civil::Date;
use std::{collections::HashSet, sync::Arc};
use vitals::{Kind, PatientId, Timestamp, Zone};

/// How long one stretch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stride {
    /// A day of the zone.
    Day,
    /// A week of the zone, from Monday.
    Week,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct PopulationQuery {
    /// Of what.
    pub kind: Kind,
    /// First moment of measurement.
    pub from: Timestamp,
    /// First moment no longer.
    pub to: Timestamp,
    /// By day or by week.
    pub stride: Stride,
    /// Whose midnights.
    pub zone: Zone,
    /// Whose readings; none: everybody's.
    pub whose: Option<Arc<HashSet<PatientId>>>,
}

/// Mean, least and greatest of all that count, in mmHg or mmol/L. Debug shows no values.
#[derive(Clone, Copy, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
}

impl std::fmt::Debug for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spread(…)")
    }
}

/// A day or week in which somebody measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// Its first day.
    pub day: Date,
    /// People who measured.
    pub patients: u64,
    /// People whose mean of the stretch is in target: below 135/85 mmHg, or within 3.9 to 10.0 mmol/L. Of `patients`
    /// those with `HI` or `LO` only are in none.
    pub controlled: u64,
    /// Readings that count: what the means rest on, and [`Stretch::beyond`].
    pub readings: u64,
    /// Of these, those in target.
    pub in_target: u64,
    /// Of these, `HI` and `LO`: in no mean.
    pub beyond: u64,
    /// Left out: flagged by meter or clock.
    pub flagged: u64,
    /// Left out: not the patient's.
    pub excluded: u64,
    /// Systolic, or glucose.
    pub first: Option<Spread>,
    /// Diastolic; none for glucose.
    pub second: Option<Spread>,
}

/// Where an answer comes from, for whoever reads it; nothing is decided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// `embedded` or `questdb`.
    pub series: &'static str,
    /// Everything received before this moment is in the answer, so far as it was asked for.
    pub through: Timestamp,
    /// Why it was not the analysts' database, where there is one.
    pub instead: Option<&'static str>,
}

/// The answer: ascending, without days or weeks in which nobody measured.
#[derive(Clone, Debug)]
pub struct Population {
    /// By day or week.
    pub stretches: Vec<Stretch>,
    /// Where from.
    pub source: Provenance,
}

/// The first day of the stretch in which `day` lies.
pub(crate) fn first_day(day: Date, stride: Stride) -> Date {
    match stride {
        Stride::Day => day,
        Stride::Week => {
            let past = i64::from(day.weekday().to_monday_zero_offset());
            day.checked_sub(jiff::Span::new().days(past)).unwrap_or(day)
        }
    }
}
