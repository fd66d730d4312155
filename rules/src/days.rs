//! What each of a patient's days comes to: the sums that the rules on weeks and months look at.
//!
//! Goes in: readings in order of measurement. Comes out: one [`PressureDay`] and one [`GlucoseDay`] for each day that has
//! any valid reading of that kind. A cache of the store: a late reading has its own day summed again, and no other.

use crate::{Error, Point, cards::Cards, catalogue::Rule, schedule, statistics};
use jiff::civil::Date;
use std::time::Duration;
use vitals::{Meal, Patient, Timestamp, Zone};

/// The farthest look back: four weeks against the eight before.
pub(crate) const REACH: i64 = 84;
/// Days that are kept beyond it, so that forgetting is seldom.
const SLACK: usize = 7;

/// One day of blood pressure. Not a number where nothing of the kind was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PressureDay {
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
    last: (u16, u16),
    /// Readings up to the last that show the same.
    same: u16,
    /// At most 30 minutes apart; a session ends with its day.
    pub sessions: u8,
    /// Readings that say that a dose was missed.
    pub missed: u8,
    flags: u8,
}

/// All of the day's readings show the same.
const CONSTANT: u8 = 1;
/// Enough irregular pulses in one session.
const IRREGULAR: u8 = 2;
/// Symptoms with an irregular, fast or slow pulse.
const SYMPTOMS: u8 = 4;
/// The first session goes on from the day before.
const CONTINUES: u8 = 8;

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

/// One day of glucose. Not a number where nothing of the kind was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GlucoseDay {
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

/// The numbers of cards and plans on which sums rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Terms {
    /// Readings at most this far apart are one session.
    pub gap: Duration,
    /// As `gap`, for DQ-2.
    pub cuff_gap: Duration,
    irregular: f64,
    fast: f64,
    slow: f64,
    post_meal_high: f64,
}

impl Terms {
    /// As they hold for one patient.
    pub(crate) fn of(cards: &Cards, patient: &Patient) -> Self {
        let number = |rule, name| cards.numbers(rule, patient).map_or(f64::NAN, |n| n.value(name));
        let minutes = |rule| Duration::try_from_secs_f64(number(rule, "gap") * 60.0).unwrap_or_default();
        Self {
            gap: minutes(Rule::BpS1),
            cuff_gap: minutes(Rule::Dq2),
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
    pressures: Vec<PressureDay>,
    glucoses: Vec<GlucoseDay>,
    from: Timestamp,
    to: Timestamp,
    /// To be summed again.
    touched: Vec<Date>,
}

impl Default for Days {
    fn default() -> Self {
        let (pressures, glucoses) = (Vec::new(), Vec::new());
        Self { pressures, glucoses, from: Timestamp::MAX, to: Timestamp::MIN, touched: Vec::new() }
    }
}

impl Days {
    /// A reading came in: its day is summed again when it is next asked for.
    pub(crate) fn touch(&mut self, at: Timestamp, gap: Duration, zone: &Zone) {
        if at >= self.to || at.plus(gap) < self.from {
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
            *self = Self { from, to: from, ..Self::default() };
        }
        for days in std::mem::take(&mut self.touched).chunk_by(|a, b| schedule::days_after(*a, 1) == *b) {
            let (Some(first), Some(last)) = (days.first(), days.last()) else { continue };
            let (begin, end) = (zone.start_of(*first), zone.start_of(schedule::days_after(*last, 1)));
            let fresh = sums(begin.max(self.from), end.min(self.to))?;
            replace(&mut self.pressures, (*first, *last), fresh.pressures, |d| d.date);
            replace(&mut self.glucoses, (*first, *last), fresh.glucoses, |d| d.date);
        }
        if from < self.from {
            let older = sums(from, self.from)?;
            self.pressures.splice(0..0, older.pressures);
            self.glucoses.splice(0..0, older.glucoses);
            self.from = from;
        }
        if to > self.to {
            let newer = sums(self.to, to)?;
            self.pressures.reserve_exact(newer.pressures.len());
            self.glucoses.reserve_exact(newer.glucoses.len());
            self.pressures.extend(newer.pressures);
            self.glucoses.extend(newer.glucoses);
            self.to = to;
        }
        Ok(())
    }

    /// The days `from..to` that have blood pressures.
    pub(crate) fn pressures(&self, from: Date, to: Date) -> &[PressureDay] {
        between(&self.pressures, (from, to), |d| d.date)
    }

    /// The days `from..to` that have glucose values.
    pub(crate) fn glucoses(&self, from: Date, to: Date) -> &[GlucoseDay] {
        between(&self.glucoses, (from, to), |d| d.date)
    }

    /// Forgets what no rule can reach from `today`.
    pub(crate) fn trim(&mut self, today: Date, zone: &Zone) {
        let from = schedule::days_after(today, -REACH);
        let old_pressures = self.pressures.partition_point(|d| d.date < from);
        let old_glucoses = self.glucoses.partition_point(|d| d.date < from);
        if old_pressures.max(old_glucoses) > SLACK {
            self.pressures.drain(..old_pressures);
            self.glucoses.drain(..old_glucoses);
            self.pressures.shrink_to(self.pressures.len() + SLACK + 1);
            self.glucoses.shrink_to(self.glucoses.len() + SLACK + 1);
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

/// Puts `fresh` in the place of the days `first..=last`.
fn replace<D>(days: &mut Vec<D>, (first, last): (Date, Date), fresh: Vec<D>, date: impl Fn(&D) -> Date) {
    let begin = days.partition_point(|d| date(d) < first);
    let end = days.partition_point(|d| date(d) <= last);
    days.splice(begin..end.max(begin), fresh);
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

#[derive(Default)]
struct Mean {
    sum: f64,
    n: u16,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.n = self.n.saturating_add(1);
    }

    fn value(&self) -> f64 {
        self.sum / f64::from(self.n)
    }

    #[allow(clippy::cast_possible_truncation, reason = "a mean of vital signs needs no more")]
    fn get(&self) -> f32 {
        self.value() as f32
    }
}

/// Days that are being summed.
#[derive(Default)]
struct Sums {
    pressures: Vec<PressureDay>,
    glucoses: Vec<GlucoseDay>,
}

impl Sums {
    /// Takes in whole days from `from` on; `points` may begin a little earlier, so that a session that goes on is seen.
    fn take(&mut self, points: &[Point], from: Timestamp, terms: &Terms, zone: &Zone) {
        let begin = points.partition_point(|p| p.at < from);
        let pressure = |p: &&Point| p.valid && p.pressure().is_some();
        let mut before = points[..begin].iter().rev().find(pressure).map(|p| p.at);
        let mut rest = &points[begin..];
        while let Some(first) = rest.first() {
            let date = first.at.day(zone);
            let end = zone.start_of(schedule::days_after(date, 1));
            let (mine, later) = rest.split_at(rest.partition_point(|p| p.at < end).max(1));
            let pressures = || mine.iter().filter(pressure);
            if pressures().next().is_some() {
                self.pressures.push(pressure_day(date, pressures(), before, terms, zone));
                before = pressures().next_back().map(|p| p.at);
            }
            if mine.iter().any(|p| p.valid && p.pressure().is_none()) {
                self.glucoses.push(glucose_day(date, mine, terms));
            }
            rest = later;
        }
    }
}

/// A session that is being read.
#[derive(Default)]
struct Session {
    systolic: Mean,
    diastolic: Mean,
    irregular: u16,
}

/// One day's valid pressures, in order.
fn pressure_day<'p>(
    date: Date,
    points: impl Iterator<Item = &'p Point>,
    before: Option<Timestamp>,
    terms: &Terms,
    zone: &Zone,
) -> PressureDay {
    let noon = zone.start_of(date).plus(Duration::from_secs(12 * 3600));
    let four = noon.plus(Duration::from_secs(4 * 3600));
    let (mut systolic, mut diastolic, mut pulse) = (Mean::default(), Mean::default(), Mean::default());
    let (mut morning, mut evening) = (Mean::default(), Mean::default());
    let (mut last, mut same, mut missed, mut flags) = ((0, 0), 0_u16, 0_u8, CONSTANT);
    let mut session = (Timestamp::MIN, Session::default());
    let mut newest = None;
    let mut close = |(begun, s): &(Timestamp, Session), flags: &mut u8| {
        if s.systolic.n == 0 {
            return;
        }
        systolic.add(s.systolic.value());
        diastolic.add(s.diastolic.value());
        match *begun {
            at if at < noon => morning.add(s.systolic.value()),
            at if at >= four => evening.add(s.systolic.value()),
            _ => {}
        }
        if f64::from(s.irregular) >= terms.irregular {
            *flags |= IRREGULAR;
        }
    };
    for p in points {
        let Some((s, d)) = p.pressure() else { continue };
        if newest.is_none_or(|l| p.at.since(l) > terms.gap) {
            close(&session, &mut flags);
            session = (p.at, Session::default());
        }
        if newest.is_none() && before.is_some_and(|b| p.at.since(b) <= terms.gap) {
            flags |= CONTINUES;
        }
        session.1.systolic.add(s);
        session.1.diastolic.add(d);
        session.1.irregular += u16::from(p.irregular);
        let shown = (tenths(s), tenths(d));
        if newest.is_some() && shown != last {
            (same, flags) = (0, flags & !CONSTANT);
        }
        (last, same) = (shown, same.saturating_add(1));
        missed = missed.saturating_add(u8::from(p.missed_dose));
        let beats = f64::from(p.pulse);
        if p.pulse > 0 {
            pulse.add(beats);
        }
        if p.symptoms && (p.irregular || (p.pulse > 0 && !(terms.slow..=terms.fast).contains(&beats))) {
            flags |= SYMPTOMS;
        }
        newest = Some(p.at);
    }
    close(&session, &mut flags);
    PressureDay {
        date,
        systolic: systolic.get(),
        diastolic: diastolic.get(),
        morning: morning.get(),
        evening: evening.get(),
        pulse: pulse.get(),
        last,
        same,
        sessions: u8::try_from(systolic.n).unwrap_or(u8::MAX),
        missed,
        flags,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a pressure within 0..=300")]
fn tenths(mmhg: f64) -> u16 {
    (mmhg * 10.0).round().clamp(0.0, 6500.0) as u16
}

/// One day's glucose values among its readings.
#[allow(clippy::cast_possible_truncation, reason = "sums of vital signs need no more")]
fn glucose_day(date: Date, points: &[Point], terms: &Terms) -> GlucoseDay {
    let mut fasting = Mean::default();
    let (mut after_sum, mut low_risk) = (0.0, 0.0);
    let mut day = GlucoseDay {
        date,
        fasting: f32::NAN,
        after_sum: 0.0,
        low_risk: 0.0,
        values: 0,
        fastings: 0,
        after: 0,
        after_finite: 0,
        after_over: 0,
        missed: 0,
    };
    for p in points.iter().filter(|p| p.valid) {
        let Some(value) = p.glucose() else { continue };
        let one = u16::from(value.is_finite());
        day.missed = day.missed.saturating_add(u8::from(p.missed_dose));
        if p.meal == Some(Meal::AfterMeal) {
            day.after = day.after.saturating_add(1);
            day.after_finite = day.after_finite.saturating_add(one);
            day.after_over = day.after_over.saturating_add(u16::from(value > terms.post_meal_high));
            after_sum += if value.is_finite() { value } else { 0.0 };
        }
        if !value.is_finite() {
            continue;
        }
        day.values = day.values.saturating_add(1);
        low_risk += statistics::low_risk(value);
        if p.meal == Some(Meal::Fasting) {
            fasting.add(value);
        }
    }
    (day.fastings, day.fasting) = (fasting.n, fasting.get());
    (day.after_sum, day.low_risk) = (after_sum as f32, low_risk as f32);
    day
}
