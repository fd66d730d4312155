//! What each of a patient's days comes to: the sums that the rules on weeks and months look at.
//!
//! Goes in: readings in order of measurement. Comes out: one [`PressureDay`], [`GlucoseDay`], [`SensorDay`] for each day that
//! has any valid reading of that kind, made by `sums`. A cache of the store: a late reading has its own day summed again, and no other.

use crate::{
    Error, Point,
    cards::Cards,
    catalogue::Rule,
    kept_days::{self, Row},
    schedule,
    sums::Sums,
};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use vitals::{Patient, Timestamp, Zone};

/// The farthest look back: four weeks against the eight before.
pub(crate) const REACH: i64 = 84;
/// Days that are kept beyond it, so that forgetting is seldom.
const SLACK: usize = 7;

/// One day of blood pressure. Not a number where nothing of the kind was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PressureDay {
    #[serde(with = "kept_days::date")]
    pub date: Date,
    /// Mean of the sessions, mmHg.
    pub systolic: f32,
    /// Mean of the sessions, mmHg.
    pub diastolic: f32,
    /// Mean of the sessions before noon, mmHg.
    pub morning: f32,
    /// Mean of the sessions from 16:00, mmHg.
    pub evening: f32,
    /// Mean of the pulses, per minute.
    pub pulse: f32,
    /// Tenths of mmHg of the day's last reading.
    pub last: (u16, u16),
    /// Readings up to the last that show the same.
    pub same: u16,
    /// At most 30 minutes apart; a session ends with its day.
    pub sessions: u8,
    /// Readings that say that a dose was missed.
    pub missed: u8,
    /// Which of the meter's user buttons were pressed, a bit for each.
    pub buttons: u8,
    pub flags: u8,
}

/// All of the day's readings show the same.
pub(crate) const CONSTANT: u8 = 1;
/// Enough irregular pulses in one session.
pub(crate) const IRREGULAR: u8 = 2;
/// Symptoms with an irregular, fast or slow pulse.
pub(crate) const SYMPTOMS: u8 = 4;
/// The first session goes on from the day before.
pub(crate) const CONTINUES: u8 = 8;

impl PressureDay {
    /// Enough irregular pulses in one session.
    pub(crate) const fn irregular(&self) -> bool {
        self.flags & IRREGULAR != 0
    }

    /// Symptoms with an irregular, fast or slow pulse.
    pub(crate) const fn symptoms(&self) -> bool {
        self.flags & SYMPTOMS != 0
    }

    /// Sessions that began on this day.
    pub(crate) fn begun(&self) -> f64 {
        f64::from(self.sessions) - if self.flags & CONTINUES != 0 { 1.0 } else { 0.0 }
    }
}

/// One day of glucose, single measurements only. Not a number where nothing of the kind was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GlucoseDay {
    #[serde(with = "kept_days::date")]
    pub date: Date,
    /// Mean of the fasting values, mmol/L.
    pub fasting: f32,
    /// Sum of the finite values after meals, mmol/L.
    pub after_sum: f32,
    /// Sum of the risk of low glucose.
    pub low_risk: f32,
    /// Values, LO and HI not counted.
    pub values: u16,
    /// Fasting values.
    pub fastings: u16,
    /// Values after meals, LO and HI counted.
    pub after: u16,
    /// Those of them that are finite.
    pub after_finite: u16,
    /// Those of them that are over the limit.
    pub after_over: u16,
    /// Readings that say that a dose was missed.
    pub missed: u8,
}

/// One day of a sensor's glucose: never averaged with single measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SensorDay {
    #[serde(with = "kept_days::date")]
    pub date: Date,
    /// Values, LO and HI not counted.
    pub values: u16,
    /// Minutes that they stand for.
    pub minutes: u16,
    /// mmol/L.
    pub sum: f64,
    pub squares: f64,
}

/// One day on which meters had something wrong that spoils no single reading. Most days have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FaultDay {
    #[serde(with = "kept_days::date")]
    pub date: Date,
    /// Readings whose clock was wrong.
    pub clock: u8,
    /// Readings with a low battery.
    pub battery: u8,
}

/// The numbers of cards and plans on which sums rest.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// Readings at most this far apart are one session.
    pub gap: Duration,
    /// As `gap`, for DQ-2.
    pub cuff_gap: Duration,
    pub irregular: f64,
    pub fast: f64,
    pub slow: f64,
    pub post_meal_high: f64,
    /// A clock that was wrong by more minutes than this is a fault.
    pub clock: f64,
}

/// A number that no card gives is the same as none before.
impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        let bits = |t: &Self| [t.irregular, t.fast, t.slow, t.post_meal_high, t.clock].map(f64::to_bits);
        (self.gap, self.cuff_gap, bits(self)) == (other.gap, other.cuff_gap, bits(other))
    }
}

impl Terms {
    /// As they hold for one patient.
    pub(crate) fn of(cards: &Cards, patient: &Patient) -> Self {
        let number = |rule, name| cards.numbers(rule, patient).map_or(f64::NAN, |n| n.value(name));
        let minutes = |rule, name| Duration::try_from_secs_f64(number(rule, name) * 60.0).unwrap_or_default();
        Self {
            gap: minutes(Rule::BpS1, "gap"),
            cuff_gap: minutes(Rule::Dq2, "gap"),
            clock: number(Rule::Dq3, "skew"),
            irregular: number(Rule::Pul1, "readings"),
            fast: number(Rule::Pul1, "fast"),
            slow: number(Rule::Pul1, "slow"),
            post_meal_high: number(Rule::GluS2, "postMealHigh"),
        }
    }
}

/// Days that are known, complete from one midnight to another.
#[derive(Debug)]
pub(crate) struct Days {
    sums: Sums,
    from: Timestamp,
    to: Timestamp,
    /// To be summed again.
    touched: Vec<Date>,
    /// What is written of them.
    pub(crate) row: Row,
}

impl Default for Days {
    fn default() -> Self {
        let (sums, touched, row) = (Sums::default(), Vec::new(), Row::default());
        Self { sums, from: Timestamp::MAX, to: Timestamp::MIN, touched, row }
    }
}

impl Days {
    /// A reading came in: its day is summed again when it is next asked for.
    pub(crate) fn touch(&mut self, at: Timestamp, gap: Duration, zone: &Zone) {
        if at >= self.to && self.row != Row::Unread {
            return;
        }
        // What is written may reach back farther than memory.
        self.row.spoil();
        if at.plus(gap) < self.from {
            return;
        }
        for day in [at.day(zone), at.plus(gap).day(zone)] {
            if let Err(place) = self.touched.binary_search(&day) {
                self.touched.insert(place, day);
            }
        }
    }

    /// Makes the days between the midnights `from` and `to` known. `read`: the readings of some stretch.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn know(
        &mut self,
        (from, to): (Timestamp, Timestamp),
        terms: &Terms,
        zone: &Zone,
        read: impl Fn(Timestamp, Timestamp) -> Result<Vec<Point>, Error>,
    ) -> Result<(), Error> {
        let sums = |from: Timestamp, to: Timestamp| -> Result<Sums, Error> {
            let mut sums = Sums::default();
            if from < to {
                sums.take(&read(from.minus(terms.gap), just_before(to))?, from, terms, zone);
            }
            Ok(sums)
        };
        if self.to < self.from || to < self.from {
            // From here on memory does not see what comes to the days that are written.
            self.row.spoil();
            *self = Self { from, to: from, row: self.row, ..Self::default() };
        }
        for days in std::mem::take(&mut self.touched).chunk_by(|a, b| schedule::days_after(*a, 1) == *b) {
            let (Some(first), Some(last)) = (days.first(), days.last()) else { continue };
            let (begin, end) = (zone.start_of(*first), zone.start_of(schedule::days_after(*last, 1)));
            self.sums.replace((*first, *last), sums(begin.max(self.from), end.min(self.to))?);
        }
        if from < self.from {
            self.sums.put_before(sums(from, self.from)?);
            self.from = from;
        }
        if to > self.to {
            self.sums.put_after(sums(self.to, to)?);
            self.to = to;
        }
        Ok(())
    }

    /// Forgets everything: other readings or other numbers count now.
    pub(crate) fn forget(&mut self) {
        self.row.spoil();
        *self = Self { row: self.row, ..Self::default() };
    }

    /// Takes over what was written down; before anything else is known.
    pub(crate) fn restore(&mut self, sums: Sums, (from, to): (Timestamp, Timestamp)) {
        (self.sums, self.from, self.to) = (sums, from, to);
    }

    /// All days that are known.
    pub(crate) const fn sums(&self) -> &Sums {
        &self.sums
    }

    /// The midnights between which the days are complete.
    pub(crate) const fn span(&self) -> (Timestamp, Timestamp) {
        (self.from, self.to)
    }

    /// Whether more is known than is written down; what waits to be summed again is not known.
    pub(crate) fn is_ahead_of_row(&self) -> bool {
        self.from < self.to && self.touched.is_empty() && self.row != Row::Right(self.to)
    }

    /// The days `from..to` that have blood pressures.
    pub(crate) fn pressures(&self, from: Date, to: Date) -> &[PressureDay] {
        between(&self.sums.pressures, (from, to), |d| d.date)
    }

    /// The days `from..to` that have glucose values.
    pub(crate) fn glucoses(&self, from: Date, to: Date) -> &[GlucoseDay] {
        between(&self.sums.glucoses, (from, to), |d| d.date)
    }

    /// The days `from..to` on which a sensor measured.
    pub(crate) fn sensors(&self, from: Date, to: Date) -> &[SensorDay] {
        between(&self.sums.sensors, (from, to), |d| d.date)
    }

    /// The days `from..to` on which meters had something wrong.
    pub(crate) fn faults(&self, from: Date, to: Date) -> &[FaultDay] {
        between(&self.sums.faults, (from, to), |d| d.date)
    }

    /// Forgets what no rule can reach from `today`.
    pub(crate) fn trim(&mut self, today: Date, zone: &Zone) {
        let from = schedule::days_after(today, -REACH);
        if self.sums.forget(from, SLACK) {
            self.from = self.from.max(zone.start_of(from));
        }
    }
}

fn just_before(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros() - 1)
}

fn between<D>(days: &[D], (from, to): (Date, Date), date: impl Fn(&D) -> Date) -> &[D] {
    let begin = days.partition_point(|d| date(d) < from);
    let end = days.partition_point(|d| date(d) < to);
    &days[begin..end.max(begin)]
}

/// How many readings up to the last show the same, over some days in order; at most as many as they hold.
pub(crate) fn constant(days: &[PressureDay]) -> f64 {
    let mut same = 0.0;
    let last = days.last().map(|d| d.last);
    for day in days.iter().rev().take_while(|d| Some(d.last) == last) {
        same += f64::from(day.same);
        if day.flags & CONSTANT == 0 {
            break;
        }
    }
    same
}
