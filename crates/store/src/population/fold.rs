//! From shares of single people to stretches of many. Pure; both engines end here.
//!
//! Flagged and excluded readings are in no mean; `HI` and `LO` count and are in no mean (as [`vitals::summary`] has it).

use super::{PopulationQuery, Spread, Stretch, first_day};
use jiff::civil::Date;
use std::collections::{BTreeMap, HashMap};
use vitals::{
    Disposition, GlucoseLevel, Kind, PatientId, Reading,
    summary::{GLUCOSE_RANGE, HOME_TARGET},
};

/// Sum, least and greatest of one quantity; how many they are stands beside it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Total {
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Total {
    fn join(&mut self, have: u64, other: &Self) {
        if have == 0 {
            return *self = *other;
        }
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    #[allow(clippy::cast_precision_loss)] // counts are far below 2^52
    fn spread(&self, n: u64) -> Option<Spread> {
        (n > 0).then(|| Spread { mean: self.sum / n as f64, min: self.min, max: self.max })
    }
}

/// What one person's readings of one stretch come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    /// With a number, neither flagged nor excluded.
    pub(crate) counted: u64,
    pub(crate) beyond: u64,
    pub(crate) flagged: u64,
    pub(crate) excluded: u64,
    pub(crate) in_target: u64,
    /// Systolic or glucose, diastolic.
    pub(crate) totals: [Total; 2],
}

impl Share {
    fn one(reading: &Reading) -> Self {
        let mut share = Self::default();
        let numbers = match (reading.glucose(), reading.pressure()) {
            (Some(GlucoseLevel::Mmol(glucose)), _) => Some([glucose, 0.0]),
            (_, Some((systolic, diastolic))) => Some([systolic, diastolic]),
            _ => None,
        };
        match (reading.disposition, numbers) {
            (Disposition::Excluded, _) => share.excluded = 1,
            // `HI` and `LO` are flagged because they are beyond the meter, and count all the same.
            (_, None) => share.beyond = 1,
            (Disposition::Flagged, _) => share.flagged = 1,
            (Disposition::Stored, Some(numbers)) => {
                share.counted = 1;
                share.in_target = u64::from(in_target(reading.kind(), numbers));
                share.totals = numbers.map(|v| Total { sum: v, min: v, max: v });
            }
        }
        share
    }

    fn join(&mut self, other: &Self) {
        if other.counted > 0 {
            for (total, more) in self.totals.iter_mut().zip(&other.totals) {
                total.join(self.counted, more);
            }
        }
        self.counted += other.counted;
        self.beyond += other.beyond;
        self.flagged += other.flagged;
        self.excluded += other.excluded;
        self.in_target += other.in_target;
    }

    /// Whether the mean is in target.
    #[allow(clippy::cast_precision_loss)]
    fn controlled(&self, kind: Kind) -> bool {
        self.counted > 0 && in_target(kind, self.totals.map(|t| t.sum / self.counted as f64))
    }
}

/// The house's target, not the person's own: the same for everybody who is compared.
fn in_target(kind: Kind, [first, second]: [f64; 2]) -> bool {
    match kind {
        Kind::BloodPressure => first < HOME_TARGET.0 && second < HOME_TARGET.1,
        Kind::BloodGlucose => (GLUCOSE_RANGE.0..=GLUCOSE_RANGE.1).contains(&first),
    }
}

/// Stretches in the making. Fed in about ascending order, it holds the people of one or two stretches at a time.
pub(crate) struct Fold<'a> {
    query: &'a PopulationQuery,
    open: BTreeMap<Date, HashMap<PatientId, Share>>,
    done: Vec<Stretch>,
}

impl<'a> Fold<'a> {
    pub(crate) const fn new(query: &'a PopulationQuery) -> Self {
        Self { query, open: BTreeMap::new(), done: Vec::new() }
    }

    /// Somebody's share of the stretch in which `day` lies; what is not asked for is passed over.
    pub(crate) fn add(&mut self, day: Date, patient: PatientId, share: &Share) {
        if self.query.whose.as_ref().is_none_or(|all| all.contains(&patient)) {
            let stretch = self.open.entry(first_day(day, self.query.stride)).or_default();
            stretch.entry(patient).or_default().join(share);
        }
    }

    /// One reading; nobody's, those of another kind or another time are passed over.
    pub(crate) fn reading(&mut self, reading: &Reading) {
        let asked = reading.kind() == self.query.kind
            && reading.measured_at >= self.query.from
            && reading.measured_at < self.query.to;
        if let Some(patient) = reading.patient.filter(|_| asked) {
            self.add(reading.measured_at.day(&self.query.zone), patient, &Share::one(reading));
        }
    }

    /// Nothing comes any more of stretches before the one in which `day` lies.
    pub(crate) fn close_before(&mut self, day: Date) {
        let open = self.open.split_off(&first_day(day, self.query.stride));
        let ended = std::mem::replace(&mut self.open, open);
        self.done.extend(ended.into_iter().map(|(day, people)| stretch(day, self.query.kind, &people)));
    }

    pub(crate) fn end(mut self) -> Vec<Stretch> {
        self.close_before(Date::MAX);
        self.done
    }
}

fn stretch(day: Date, kind: Kind, people: &HashMap<PatientId, Share>) -> Stretch {
    let mut all = Share::default();
    people.values().for_each(|share| all.join(share));
    let measured = |s: &&Share| s.counted + s.beyond > 0;
    Stretch {
        day,
        patients: people.values().filter(measured).count() as u64,
        controlled: people.values().filter(|s| s.controlled(kind)).count() as u64,
        readings: all.counted + all.beyond,
        in_target: all.in_target,
        beyond: all.beyond,
        flagged: all.flagged,
        excluded: all.excluded,
        first: all.totals[0].spread(all.counted),
        second: all.totals[1].spread(if kind == Kind::BloodPressure { all.counted } else { 0 }),
    }
}
