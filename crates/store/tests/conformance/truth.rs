//! The truth: a plain list of readings, and the answers that follow from it, counted in the slowest and plainest way.

use crate::questdb_server::{self, TextRow, columns_of};
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};
use vitals::{
    Decimal, DeviceKey, Disposition, GlucoseLevel, Kind, PatientId, Reading, ReadingId, Timestamp, Values, Zone,
};

/// 2026-01-05, a Monday.
pub const START: i64 = questdb_server::START;
pub const DAY: i64 = 86_400;

/// Reading `n` of a cohort of 19 people with 37 meters over ten weeks: kinds, units, `HI`, `LO`, flagged, excluded, late,
/// without a number of its own, nobody's. The same for the same number.
pub fn reading(n: u64) -> Reading {
    let mixed = questdb_server::reading(n);
    let step = i64::try_from(n).unwrap();
    let late = if n.is_multiple_of(20) { 3 * DAY } else { 0 };
    let measured_at = Timestamp::from_micros((START + step % 3_000 * 2_000 - late) * 1_000_000 + step);
    let seq = if mixed.seq < 0 {
        store::number_without_counter(None, measured_at, &mixed.values, mixed.unit)
    } else {
        mixed.seq
    };
    Reading {
        id: ReadingId::new(0),
        device: DeviceKey::new(1 + n % 37),
        epoch: 0,
        seq,
        patient: mixed.patient.map(|_| PatientId::new(1 + n % 19)),
        measured_at,
        received_at: Timestamp::from_seconds(START + step % 3_000 * 2_000 + 5),
        disposition: if n.is_multiple_of(23) { Disposition::Excluded } else { mixed.disposition },
        ..mixed
    }
}

/// Somebody measures at a given moment, well and without remarks.
pub fn plain(n: u64, patient: u64, measured: i64, systolic: i64) -> Reading {
    Reading {
        device: DeviceKey::new(100 + patient),
        seq: i64::try_from(n).unwrap(),
        patient: Some(PatientId::new(patient)),
        measured_at: Timestamp::from_seconds(measured),
        values: Values::Pressure {
            systolic: Decimal::new(systolic, 0),
            diastolic: Decimal::new(80, 0),
            map: None,
            pulse: None,
        },
        unit: vitals::Unit::MmHg,
        disposition: Disposition::Stored,
        ..reading(1)
    }
}

/// A day or week of one kind: how many count, the mean systolic or glucose.
pub type Means = BTreeMap<Date, (u64, f64)>;

/// Every reading that must be there.
#[derive(Default)]
pub struct Truth(pub Vec<Reading>);

impl Truth {
    pub fn people(&self) -> BTreeSet<PatientId> {
        self.0.iter().filter_map(|r| r.patient).collect()
    }

    pub fn rows(&self) -> Vec<TextRow> {
        let mut rows: Vec<_> = self.0.iter().map(row).collect();
        rows.sort();
        rows
    }

    /// Ascending by measurement.
    pub fn range(&self, patient: PatientId, kind: Kind, (from, to): (Timestamp, Timestamp)) -> Vec<TextRow> {
        self.of(patient).filter(|r| r.kind() == kind && (from..to).contains(&r.measured_at)).map(row).collect()
    }

    /// Descending.
    pub fn last(&self, patient: PatientId, n: usize) -> Vec<TextRow> {
        let mut all: Vec<_> = self.of(patient).collect();
        all.reverse();
        all.truncate(n);
        all.into_iter().map(row).collect()
    }

    pub fn latest(&self) -> BTreeMap<PatientId, Timestamp> {
        self.people().into_iter().filter_map(|p| Some((p, self.of(p).last()?.measured_at))).collect()
    }

    pub fn means(&self, patient: PatientId, kind: Kind, weeks: bool, zone: &Zone) -> Means {
        means(self.of(patient).filter(|r| r.kind() == kind), weeks, zone)
    }

    fn of(&self, patient: PatientId) -> impl Iterator<Item = &Reading> {
        let mut all: Vec<_> = self.0.iter().filter(|r| r.patient == Some(patient)).collect();
        all.sort_by_key(|r| r.measured_at);
        all.into_iter()
    }
}

pub fn row(r: &Reading) -> TextRow {
    columns_of(r, &r.device.to_string())
}

/// Monday where `weeks`, else the day itself.
pub fn first_day(day: Date, weeks: bool) -> Date {
    let past = i64::from(day.weekday().to_monday_zero_offset());
    if weeks { day.checked_sub(jiff::Span::new().days(past)).unwrap() } else { day }
}

pub fn means<'a>(readings: impl Iterator<Item = &'a Reading>, weeks: bool, zone: &Zone) -> Means {
    let mut all = Means::new();
    for r in readings.filter(|r| r.disposition == Disposition::Stored) {
        let number = match (r.pressure(), r.glucose()) {
            (Some((systolic, _)), _) => systolic,
            (_, Some(GlucoseLevel::Mmol(glucose))) => glucose,
            _ => continue,
        };
        let (n, sum) = all.entry(first_day(r.measured_at.day(zone), weeks)).or_default();
        (*n, *sum) = (*n + 1, *sum + number);
    }
    #[allow(clippy::cast_precision_loss)]
    all.values_mut().for_each(|(n, sum)| *sum /= *n as f64);
    all
}

/// Equal but for the last digits of a sum in another order.
pub fn alike(a: &Means, b: &Means) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((i, x), (j, y))| i == j && x.0 == y.0 && (x.1 - y.1).abs() < 1e-9)
}
