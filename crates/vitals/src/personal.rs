//! Whether a reading looks like its person's own: far from what they measured before, somebody else may have measured.
//! Pure.
//!
//! Goes in: a person's days before the reading, in sums, and the reading. Comes out: a doubt with the numbers it rests
//! on, for a human to see. Must never: keep a reading from a rule, take it out of a mean, or say whose else it could be:
//! a true crisis is as far from a person's own as a guest's reading.

use crate::{Disposition, GlucoseLevel, Reading, summary::Stats, summary::Summary, summary::is_of_sensor};
use jiff::civil::Date;
use std::collections::BTreeMap;

/// The word under which a doubt is shown and asked for.
pub const PERSONAL_OUTLIER: &str = "personal_outlier";
/// Farther from the personal mean than so many personal standard deviations is doubtful.
pub const FAR: f64 = 6.0;
/// Days before the reading's own day that are the baseline. Its own day is none of them: who measures in another's place
/// measures twice.
pub const DAYS: i64 = 90;
/// Fewer readings are no baseline: nothing is said.
pub const LEAST_READINGS: u64 = 20;
/// Least deviation in mmHg: what the measuring alone comes to (clinical reference: reading SD 5 around the session).
const LEAST_SD_PRESSURE: f64 = 5.0;
/// Least deviation in mmol/L: half of what ISO 15197 lets a meter be wrong in 95 of 100 readings (0.83).
const LEAST_SD_GLUCOSE: f64 = 0.415;

/// What is doubted: one number of a reading against the person's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Doubt {
    /// `systolic`, `diastolic` or `glucose`: the number that is farthest off.
    pub quantity: &'static str,
    /// That number, mmHg or mmol/L.
    pub value: f64,
    /// The person's mean before that day.
    pub mean: f64,
    /// The person's standard deviation, never less than that of the measuring.
    pub sd: f64,
    /// How far off in those deviations; above [`FAR`].
    pub distance: f64,
    /// Readings that mean and deviation rest on.
    pub readings: u64,
}

/// What a person's readings come to. Control solution, flagged readings and sensors are in none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    pressure: [Stats; 2],
    glucose: Stats,
}

impl Baseline {
    /// Of the [`DAYS`] before `day`.
    pub fn before(day: Date, days: &BTreeMap<Date, Summary>) -> Self {
        let from = crate::days_after(day, -DAYS);
        let mut this = Self::default();
        for (_, sums) in days.range(from..day) {
            this.pressure.iter_mut().zip(sums.pressure.all()).for_each(|(all, more)| all.join(&more));
            this.glucose.join(&sums.glucose.all());
        }
        this
    }

    /// Whether the reading is far from it. `HI` and `LO` are no numbers, a sensor is worn: of neither anything is said.
    pub fn doubt(&self, reading: &Reading) -> Option<Doubt> {
        if reading.disposition == Disposition::Excluded || is_of_sensor(reading) {
            return None;
        }
        if let Some(GlucoseLevel::Mmol(value)) = reading.glucose() {
            return far("glucose", value, &self.glucose, LEAST_SD_GLUCOSE);
        }
        let (systolic, diastolic) = reading.pressure()?;
        let both = [("systolic", systolic, &self.pressure[0]), ("diastolic", diastolic, &self.pressure[1])];
        both.into_iter()
            .filter_map(|(name, value, own)| far(name, value, own, LEAST_SD_PRESSURE))
            .max_by(|a, b| a.distance.total_cmp(&b.distance))
    }
}

fn far(quantity: &'static str, value: f64, own: &Stats, least: f64) -> Option<Doubt> {
    let sd = own.sd().filter(|_| own.n >= LEAST_READINGS)?.max(least);
    let (mean, readings) = (own.mean(), own.n);
    let distance = (value - mean).abs() / sd;
    (distance > FAR).then_some(Doubt { quantity, value, mean, sd, distance, readings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Context, Decimal, DeviceKey, GlucoseValue, PatientId, ReadingId, Statuses, Targets, TimeQuality, Unit, Values,
        Zone,
    };
    use jiff::ToSpan;

    const TODAY: Date = jiff::civil::date(2026, 3, 2);

    fn reading(day: Date, values: Values, unit: Unit) -> Reading {
        let at = Zone::default().start_of(day).plus(std::time::Duration::from_secs(8 * 3600));
        Reading {
            id: ReadingId::new(1),
            device: DeviceKey::new(1),
            epoch: 0,
            seq: 1,
            user_slot: None,
            patient: Some(PatientId::new(1)),
            measured_at: at,
            received_at: at,
            device_time: None,
            time_quality: TimeQuality::Exact,
            disposition: Disposition::Stored,
            values,
            unit,
            statuses: Statuses::default(),
            flags: Vec::new(),
            historical: false,
            context: Context::default(),
        }
    }

    fn pressure(day: Date, systolic: i64, diastolic: i64) -> Reading {
        let (systolic, diastolic) = (Decimal::new(systolic, 0), Decimal::new(diastolic, 0));
        reading(day, Values::Pressure { systolic, diastolic, map: None, pulse: None }, Unit::MmHg)
    }

    fn glucose(day: Date, tenths: i64) -> Reading {
        reading(day, Values::Glucose(GlucoseValue::Value(Decimal::new(tenths, -1))), Unit::MmolPerL)
    }

    fn days(readings: impl IntoIterator<Item = Reading>) -> BTreeMap<Date, Summary> {
        let (mut days, zone) = (BTreeMap::<Date, Summary>::new(), Zone::default());
        for r in readings {
            days.entry(r.measured_at.day(&zone)).or_default().add(&r, &zone, &Targets::default());
        }
        days
    }

    fn ago(n: i64) -> Date {
        TODAY.checked_sub(n.days()).unwrap()
    }

    /// One reading a day, 120 and 132 by turns: mean 126, deviation a little above 6.
    fn steady(n: i64) -> BTreeMap<Date, Summary> {
        days((1..=n).map(|i| pressure(ago(i), if i % 2 == 0 { 120 } else { 132 }, 80)))
    }

    #[test]
    fn more_than_six_of_ones_own_deviations_is_doubtful() {
        let own = Baseline::before(TODAY, &steady(40));
        assert_eq!(own.doubt(&pressure(TODAY, 162, 84)), None, "5.9 of 6.08");
        let far = own.doubt(&pressure(TODAY, 163, 84)).unwrap();
        assert_eq!((far.quantity, far.readings), ("systolic", 40));
        assert!((far.mean - 126.0).abs() < 1e-9 && (far.sd - 6.076_436).abs() < 1e-6 && far.distance > 6.0);
        // Downwards too, and the number that is farther off is named. The diastolic never varied: its deviation is that
        // of the measuring.
        let low = own.doubt(&pressure(TODAY, 89, 45)).unwrap();
        assert_eq!((low.quantity, low.value, low.sd, low.distance), ("diastolic", 45.0, 5.0, 7.0));
    }

    #[test]
    fn who_measured_too_little_or_too_long_ago_has_no_baseline() {
        assert_eq!(Baseline::before(TODAY, &steady(19)).doubt(&pressure(TODAY, 220, 120)), None);
        assert!(Baseline::before(TODAY, &steady(20)).doubt(&pressure(TODAY, 220, 120)).is_some());
        let long_ago = days((91..=140).map(|i| pressure(ago(i), 126, 80)));
        assert_eq!(Baseline::before(TODAY, &long_ago).doubt(&pressure(TODAY, 220, 120)), None);
        assert_eq!(
            Baseline::before(TODAY, &steady(40)).doubt(&glucose(TODAY, 250)),
            None,
            "of glucose nothing is known"
        );
    }

    #[test]
    fn the_readings_own_day_vouches_for_nobody() {
        let mut with_guests = steady(40);
        for (day, sums) in days((0..30).map(|_| pressure(TODAY, 190, 110))) {
            with_guests.insert(day, sums);
        }
        assert!(Baseline::before(TODAY, &with_guests).doubt(&pressure(TODAY, 190, 110)).is_some());
    }

    #[test]
    fn glucose_has_its_own_measure_and_what_is_no_number_is_not_doubted() {
        let own = Baseline::before(TODAY, &days((1..=30).map(|i| glucose(ago(i), 60 + i % 3))));
        assert_eq!(own.doubt(&glucose(TODAY, 84)), None, "2.3 mmol/L off, of 2.49");
        let high = own.doubt(&glucose(TODAY, 87)).unwrap();
        assert_eq!((high.quantity, high.value, high.sd), ("glucose", 8.7, 0.415));
        let beyond = reading(TODAY, Values::Glucose(GlucoseValue::High), Unit::MmolPerL);
        assert_eq!(own.doubt(&beyond), None);
        let worn = Context { specimen: Some("interstitial".into()), ..Context::default() };
        assert_eq!(own.doubt(&Reading { context: worn, ..glucose(TODAY, 200) }), None);
        let solution = Reading { disposition: Disposition::Excluded, ..glucose(TODAY, 200) };
        assert_eq!(own.doubt(&solution), None);
    }
}
