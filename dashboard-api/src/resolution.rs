//! Readings by day or by week: counts, means, least and greatest. Pure.
//!
//! Excluded readings do not count; flagged ones are counted apart and left out of means.

use crate::problem::{Answer, Problem};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};
use vitals::{Disposition, GlucoseLevel, Kind, Reading, Zone};

/// How finely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    Raw,
    Day,
    Week,
}

impl Resolution {
    pub(crate) fn parse(text: Option<&str>) -> Answer<Self> {
        match text {
            None | Some("raw") => Ok(Self::Raw),
            Some("day") => Ok(Self::Day),
            Some("week") => Ok(Self::Week),
            Some(_) => Err(Problem::bad("resolution: raw, day or week")),
        }
    }
}

/// Mean, least and greatest.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    mean: f64,
    min: f64,
    max: f64,
}

/// One day or week of one kind, in mmHg or mmol/L.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bucket {
    /// The first day.
    day: String,
    kind: &'static str,
    unit: &'static str,
    /// Readings that the means rest on.
    count: usize,
    flagged: usize,
    /// Beyond the meter's range: counted, not in the mean.
    above_range: usize,
    below_range: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    systolic: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diastolic: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    glucose: Option<Spread>,
}

impl Bucket {
    /// Its place in the list.
    pub(crate) fn key(&self) -> String {
        format!("{} {}", self.day, self.kind)
    }
}

#[derive(Default)]
struct Sums {
    first: Vec<f64>,
    second: Vec<f64>,
    flagged: usize,
    above: usize,
    below: usize,
}

/// Ascending by day, then kind. A week begins on Monday.
pub(crate) fn buckets(readings: &[Arc<Reading>], resolution: Resolution, zone: &Zone) -> Vec<Bucket> {
    let mut sums: BTreeMap<(String, &'static str), Sums> = BTreeMap::new();
    for r in readings.iter().filter(|r| r.disposition != Disposition::Excluded) {
        let day = r.measured_at.day(zone);
        let first = match resolution {
            Resolution::Week => (0..day.weekday().to_monday_zero_offset()).fold(day, |d, _| d.yesterday().unwrap_or(d)),
            _ => day,
        };
        add(sums.entry((first.to_string(), r.kind().as_str())).or_default(), r);
    }
    sums.into_iter().map(|((day, kind), s)| bucket(day, kind, &s)).collect()
}

fn add(sums: &mut Sums, r: &Reading) {
    if r.disposition == Disposition::Flagged {
        sums.flagged += 1;
        return;
    }
    if let Some((systolic, diastolic)) = r.pressure() {
        sums.first.push(systolic);
        sums.second.push(diastolic);
    }
    match r.glucose() {
        Some(GlucoseLevel::Mmol(value)) => sums.first.push(value),
        Some(GlucoseLevel::AboveRange) => sums.above += 1,
        Some(GlucoseLevel::BelowRange) => sums.below += 1,
        None => {}
    }
}

fn bucket(day: String, kind: &'static str, s: &Sums) -> Bucket {
    let pressure = kind == Kind::BloodPressure.as_str();
    Bucket {
        day,
        kind,
        unit: if pressure { "mmHg" } else { "mmol/L" },
        count: s.first.len(),
        flagged: s.flagged,
        above_range: s.above,
        below_range: s.below,
        systolic: if pressure { spread(&s.first) } else { None },
        diastolic: if pressure { spread(&s.second) } else { None },
        glucose: if pressure { None } else { spread(&s.first) },
    }
}

#[allow(clippy::cast_precision_loss)] // counts are far below 2^52
fn spread(values: &[f64]) -> Option<Spread> {
    let min = values.iter().copied().reduce(f64::min)?;
    let max = values.iter().copied().reduce(f64::max)?;
    Some(Spread { mean: values.iter().sum::<f64>() / values.len() as f64, min, max })
}
