//! Readings by day or by week: counts, means, least and greatest. Pure.
//!
//! Excluded readings do not count; flagged ones are counted apart and left out of means, `HI` and `LO` beside them.

use crate::problem::{Answer, Problem};
use jiff::civil::Date;
use serde::Serialize;
use std::collections::BTreeMap;
use vitals::{
    Kind,
    summary::{DayPart, Stats, Summary},
};

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

/// Mean, deviation (of a sample; none below two), least and greatest.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    mean: f64,
    sd: Option<f64>,
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
    /// Systolic and diastolic from 04:00, before 12:00.
    #[serde(skip_serializing_if = "Option::is_none")]
    morning: Option<[Spread; 2]>,
    /// Systolic and diastolic from 16:00.
    #[serde(skip_serializing_if = "Option::is_none")]
    evening: Option<[Spread; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    glucose: Option<Spread>,
    /// Of `glucose`, what a continuous sensor measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    sensor: Option<Spread>,
}

impl Bucket {
    /// Its place in the list.
    pub(crate) fn key(&self) -> String {
        format!("{} {}", self.day, self.kind)
    }
}

/// The Monday of a day's week.
pub(crate) fn monday(day: Date) -> Date {
    let past = i64::from(day.weekday().to_monday_zero_offset());
    day.checked_sub(jiff::Span::new().days(past)).unwrap_or(day)
}

/// Weeks of days, ascending, by their Mondays.
pub(crate) fn weeks(days: &BTreeMap<Date, Summary>) -> BTreeMap<Date, Summary> {
    let mut all: BTreeMap<Date, Summary> = BTreeMap::new();
    days.iter().for_each(|(day, sums)| all.entry(monday(*day)).or_default().join(sums));
    all
}

/// Ascending by day, then kind; of one kind only where it is said.
pub(crate) fn buckets(days: &BTreeMap<Date, Summary>, resolution: Resolution, kind: Option<Kind>) -> Vec<Bucket> {
    let joined = (resolution == Resolution::Week).then(|| weeks(days));
    let both = joined.as_ref().unwrap_or(days).iter().flat_map(|(day, s)| [glucose(*day, s), pressure(*day, s)]);
    both.flatten().filter(|b| kind.is_none_or(|k| k.as_str() == b.kind)).collect()
}

fn pressure(day: Date, s: &Summary) -> Option<Bucket> {
    let (s, count) = (&s.pressure, usize::try_from(s.pressure.count()).unwrap_or(usize::MAX));
    let all = s.all();
    let part = |part| spread(&s.part(part)[0]).zip(spread(&s.part(part)[1])).map(<[Spread; 2]>::from);
    (count as u64 + s.flagged > 0).then(|| Bucket {
        day: day.to_string(),
        kind: Kind::BloodPressure.as_str(),
        unit: "mmHg",
        count,
        flagged: usize::try_from(s.flagged).unwrap_or(usize::MAX),
        above_range: 0,
        below_range: 0,
        systolic: spread(&all[0]),
        diastolic: spread(&all[1]),
        morning: part(DayPart::Morning),
        evening: part(DayPart::Evening),
        glucose: None,
        sensor: None,
    })
}

fn glucose(day: Date, s: &Summary) -> Option<Bucket> {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let mut both = s.glucose;
    both.join(&s.sensor);
    let all = both.all();
    (both.count() + both.flagged > 0).then(|| Bucket {
        day: day.to_string(),
        kind: Kind::BloodGlucose.as_str(),
        unit: "mmol/L",
        count: number(all.n),
        flagged: number(both.flagged),
        above_range: number(both.above_range),
        below_range: number(both.below_range),
        systolic: None,
        diastolic: None,
        morning: None,
        evening: None,
        glucose: spread(&all),
        sensor: spread(&s.sensor.all()),
    })
}

fn spread(s: &Stats) -> Option<Spread> {
    (s.n > 0).then_some(Spread { mean: s.mean(), sd: s.sd(), min: s.min(), max: s.max() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use vitals::{
        Context, Decimal, DeviceKey, Disposition, GlucoseLevel, GlucoseValue, PatientId, Reading, ReadingId, Statuses,
        Targets, TimeQuality, Timestamp, Unit, Values, Zone,
    };

    fn reading(minute: i64, disposition: usize, kind: u8, value: i64) -> Arc<Reading> {
        let at = Timestamp::from_seconds(1_770_000_000 + minute * 60);
        let (values, unit) = match kind {
            0 => (Values::Glucose(GlucoseValue::High), Unit::MmolPerL),
            1 => (Values::Glucose(GlucoseValue::Low), Unit::MmolPerL),
            2..6 => (Values::Glucose(GlucoseValue::Value(Decimal::new(value, -1))), Unit::MmolPerL),
            _ => {
                let (systolic, diastolic) = (Decimal::new(value, 0), Decimal::new(value - 40, 0));
                (Values::Pressure { systolic, diastolic, map: None, pulse: None }, Unit::MmHg)
            }
        };
        Arc::new(Reading {
            id: ReadingId::new(0),
            device: DeviceKey::new(1),
            epoch: 0,
            seq: minute,
            user_slot: None,
            patient: Some(PatientId::new(1)),
            measured_at: at,
            received_at: at,
            device_time: None,
            time_quality: TimeQuality::Exact,
            disposition: [Disposition::Stored, Disposition::Stored, Disposition::Flagged, Disposition::Excluded]
                [disposition],
            values,
            unit,
            statuses: Statuses::default(),
            flags: Vec::new(),
            historical: false,
            context: Context::default(),
        })
    }

    /// Mean and sample deviation, in two passes over the values themselves.
    #[allow(clippy::cast_precision_loss)]
    fn recount(values: &[f64]) -> (u64, f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n.max(1.0);
        let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
        (values.len() as u64, mean, sd)
    }

    proptest! {
        /// Days joined, weeks joined and a recount of every value say the same, over changes of summer time too.
        #[test]
        fn summaries_equal_a_recount(
            raw in prop::collection::vec((0_i64..400_000, 0_usize..4, 0_u8..12, 50_i64..260), 0..120),
            zone in prop::sample::select(vec!["Asia/Shanghai", "America/New_York", "Australia/Lord_Howe"]),
        ) {
            let zone = Zone::named(zone).unwrap();
            let mut readings: Vec<Arc<Reading>> = raw.into_iter().map(|(m, d, k, v)| reading(m, d, k, v)).collect();
            readings.sort_by_key(|r| r.measured_at);
            let joined = |resolution| {
                let mut all = Summary::default();
                let mut days: BTreeMap<Date, Summary> = BTreeMap::new();
                for r in &readings {
                    days.entry(r.measured_at.day(&zone)).or_default().add(r, &zone, &Targets::default());
                }
                let parts = if resolution == Resolution::Week { weeks(&days) } else { days };
                parts.values().for_each(|part| all.join(part));
                all
            };
            let counts = |r: &&Arc<Reading>| r.disposition == Disposition::Stored;
            let systolic: Vec<f64> = readings.iter().filter(counts).filter_map(|r| Some(r.pressure()?.0)).collect();
            let steps: Vec<f64> = systolic.windows(2).map(|w| (w[1] - w[0]).abs()).collect();
            let levels = readings.iter().filter(|r| r.disposition != Disposition::Excluded).filter_map(|r| r.glucose());
            let high = levels.filter(|l| *l == GlucoseLevel::AboveRange).count() as u64;
            for all in [joined(Resolution::Day), joined(Resolution::Week)] {
                let (n, mean, sd) = recount(&systolic);
                let stats = all.pressure.all()[0];
                prop_assert_eq!(stats.n, n);
                prop_assert!((stats.mean() - mean).abs() < 1e-9 && (stats.sd().unwrap_or(0.0) - sd).abs() < 1e-6);
                prop_assert!((all.pressure.variability().unwrap_or(0.0) - recount(&steps).1).abs() < 1e-9);
                prop_assert_eq!(all.glucose.above_range, high);
                let left_out = all.pressure.flagged + all.pressure.excluded + all.glucose.flagged + all.glucose.excluded;
                let used = all.pressure.count() + all.glucose.count();
                prop_assert_eq!(left_out + used, readings.len() as u64);
                prop_assert_eq!(all.glucose.low + all.glucose.in_range() + all.glucose.high, all.glucose.all().n);
            }
        }
    }
}
