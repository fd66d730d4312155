//! Days that are being summed, and how days are put together.
//!
//! Goes in: readings in order of measurement. Comes out: what each of their days comes to, in order.

use crate::{
    Point,
    days::{CONSTANT, CONTINUES, FaultDay, GlucoseDay, IRREGULAR, PressureDay, SYMPTOMS, SensorDay, Terms},
    schedule, statistics,
};
use jiff::civil::Date;
use std::time::Duration;
use vitals::{Meal, Timestamp, Zone, glucose};

const DAY: Duration = Duration::from_secs(24 * 3600);

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

/// Days in order, of each kind.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub pressures: Vec<PressureDay>,
    pub glucoses: Vec<GlucoseDay>,
    pub sensors: Vec<SensorDay>,
    pub faults: Vec<FaultDay>,
}

/// Puts `fresh` in the place of the days `first..=last`.
fn replace<D>(days: &mut Vec<D>, (first, last): (Date, Date), fresh: Vec<D>, date: impl Fn(&D) -> Date) {
    let begin = days.partition_point(|d| date(d) < first);
    let end = days.partition_point(|d| date(d) <= last);
    days.splice(begin..end.max(begin), fresh);
}

/// Puts newer days behind those that are there.
fn append<D>(days: &mut Vec<D>, newer: Vec<D>) {
    days.reserve_exact(newer.len());
    days.extend(newer);
}

/// Forgets days before `from`.
fn forget<D>(days: &mut Vec<D>, from: Date, slack: usize, date: impl Fn(&D) -> Date) {
    let old = days.partition_point(|d| date(d) < from);
    days.drain(..old);
    days.shrink_to(days.len() + slack + 1);
}

impl Sums {
    /// Puts `fresh` in the place of the days `first..=last`.
    pub(crate) fn replace(&mut self, days: (Date, Date), fresh: Self) {
        replace(&mut self.pressures, days, fresh.pressures, |d| d.date);
        replace(&mut self.glucoses, days, fresh.glucoses, |d| d.date);
        replace(&mut self.sensors, days, fresh.sensors, |d| d.date);
        replace(&mut self.faults, days, fresh.faults, |d| d.date);
    }

    /// Older days.
    pub(crate) fn put_before(&mut self, older: Self) {
        self.pressures.splice(0..0, older.pressures);
        self.glucoses.splice(0..0, older.glucoses);
        self.sensors.splice(0..0, older.sensors);
        self.faults.splice(0..0, older.faults);
    }

    /// Newer days.
    pub(crate) fn put_after(&mut self, newer: Self) {
        append(&mut self.pressures, newer.pressures);
        append(&mut self.glucoses, newer.glucoses);
        append(&mut self.sensors, newer.sensors);
        append(&mut self.faults, newer.faults);
    }

    /// Forgets days before `from` once they are more than `slack`. Whether it did.
    pub(crate) fn forget(&mut self, from: Date, slack: usize) -> bool {
        let pressures = self.pressures.partition_point(|d| d.date < from);
        let glucoses = self.glucoses.partition_point(|d| d.date < from);
        let sensors = self.sensors.partition_point(|d| d.date < from);
        if pressures.max(glucoses).max(sensors) <= slack {
            return false;
        }
        forget(&mut self.pressures, from, slack, |d| d.date);
        forget(&mut self.glucoses, from, slack, |d| d.date);
        forget(&mut self.sensors, from, slack, |d| d.date);
        forget(&mut self.faults, from, 0, |d| d.date);
        true
    }

    /// Takes in whole days from `from` on; `points` may begin a little earlier, so that a session that goes on is seen.
    pub(crate) fn take(&mut self, points: &[Point], from: Timestamp, terms: &Terms, zone: &Zone) {
        let mut rest = &points[points.partition_point(|p| p.at < from)..];
        let pressure = |p: &&Point| p.valid && p.pressure().is_some();
        while let Some(first) = rest.first() {
            let date = first.at.day(zone);
            let end = zone.start_of(schedule::days_after(date, 1));
            let (mine, later) = rest.split_at(rest.partition_point(|p| p.at < end).max(1));
            let pressures = || mine.iter().filter(pressure);
            if let Some(first) = pressures().next() {
                let earlier = points[..points.len() - rest.len()].iter().filter(pressure);
                let going_on = going_on(earlier, first, zone.start_of(date), terms);
                self.pressures.push(pressure_day(date, pressures(), going_on, terms, zone));
            }
            let single = |p: &Point| p.valid && p.pressure().is_none() && !p.of_sensor;
            if mine.iter().any(single) {
                self.glucoses.push(glucose_day(date, mine.iter().filter(|p| single(p)), terms));
            }
            self.sensors.extend(sensor_day(date, mine));
            self.faults.extend(fault_day(date, mine, terms));
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

/// How many irregular pulses the session of a day's `first` pressure had before its `midnight`; none where it begins with it.
/// Only what lies within the gap is looked at, so that a day comes to the same whether or not the one before is read.
fn going_on<'p>(
    earlier: impl DoubleEndedIterator<Item = &'p Point>,
    first: &Point,
    midnight: Timestamp,
    terms: &Terms,
) -> Option<u16> {
    let mut near = earlier.rev().take_while(|p| p.at.plus(terms.gap) >= midnight).peekable();
    near.peek().filter(|last| first.at.since(last.at) <= terms.gap)?;
    Some(u16::try_from(near.filter(|p| p.irregular).count()).unwrap_or(u16::MAX))
}

/// One day's valid pressures, in order. `going_on`: the first session goes on from the day before, where it had so many
/// irregular pulses; none where it begins on this day.
fn pressure_day<'p>(
    date: Date,
    points: impl Iterator<Item = &'p Point>,
    going_on: Option<u16>,
    terms: &Terms,
    zone: &Zone,
) -> PressureDay {
    let noon = zone.start_of(date).plus(Duration::from_secs(12 * 3600));
    let four = noon.plus(Duration::from_secs(4 * 3600));
    let (mut systolic, mut diastolic, mut pulse) = (Mean::default(), Mean::default(), Mean::default());
    let (mut morning, mut evening) = (Mean::default(), Mean::default());
    let (mut last, mut same, mut missed, mut buttons, mut flags) = ((0, 0), 0_u16, 0_u8, 0_u8, CONSTANT);
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
        if let Some(irregular) = going_on.filter(|_| newest.is_none()) {
            flags |= CONTINUES;
            session.1.irregular = irregular;
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
        buttons |= p.button.map_or(0, |n| 1 << n.min(7));
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
        buttons,
        flags,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a pressure within 0..=300")]
fn tenths(mmhg: f64) -> u16 {
    (mmhg * 10.0).round().clamp(0.0, 6500.0) as u16
}

/// What a sensor's values of one day come to; none without any.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 1440 minutes")]
fn sensor_day(date: Date, points: &[Point]) -> Option<SensorDay> {
    let mine = || points.iter().filter(|p| p.valid && p.of_sensor);
    mine().next()?;
    let (mut sum, mut squares, mut values) = (0.0, 0.0, 0_u16);
    for value in mine().filter_map(Point::glucose).filter(|v| v.is_finite()) {
        (sum, squares, values) = (sum + value, squares + value * value, values.saturating_add(1));
    }
    let times: Vec<Timestamp> = mine().map(|p| p.at).collect();
    let minutes = (glucose::coverage(&times, DAY) * 1440.0).round() as u16;
    Some(SensorDay { date, values, minutes, sum, squares })
}

/// What was wrong with the meters of one day; none where nothing was.
fn fault_day(date: Date, points: &[Point], terms: &Terms) -> Option<FaultDay> {
    let of =
        |wrong: &dyn Fn(&Point) -> bool| u8::try_from(points.iter().filter(|p| wrong(p)).count()).unwrap_or(u8::MAX);
    let (clock, battery) = (of(&|p| f64::from(p.clock_off) > terms.clock), of(&|p| p.low_battery));
    (clock > 0 || battery > 0).then_some(FaultDay { date, clock, battery })
}

/// One day's single glucose values.
#[allow(clippy::cast_possible_truncation, reason = "sums of vital signs need no more")]
fn glucose_day<'p>(date: Date, points: impl Iterator<Item = &'p Point>, terms: &Terms) -> GlucoseDay {
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
    for p in points {
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
