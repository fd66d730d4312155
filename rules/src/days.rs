//! What each of a patient's days comes to: the sums that the rules on weeks and months look at.
//!
//! Goes in: valid readings in order of measurement. Comes out: one [`Day`] for each day that has any. A cache of the store:
//! a late reading has its day, and the days after it, summed again.

use crate::{Point, schedule, statistics};
use jiff::civil::Date;
use std::time::Duration;
use vitals::{Meal, Timestamp, Zone};

/// Readings at most this far apart are one session (rules contract).
pub(crate) const SESSION: Duration = Duration::from_secs(30 * 60);
/// The farthest look back: four weeks against the eight before.
pub(crate) const REACH: i64 = 84;

/// One day. Not a number where nothing of the kind was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Day {
    pub date: Date,
    /// Sessions of blood pressure.
    pub sessions: u16,
    /// Glucose values, LO and HI not counted.
    pub glucoses: u16,
    /// Fasting glucose values.
    pub fastings: u16,
    /// Mean of the sessions, mmHg.
    pub systolic: f32,
    /// Mean of the sessions before noon, mmHg.
    pub morning: f32,
    /// Mean of the sessions from 16:00, mmHg.
    pub evening: f32,
    /// Mean of the fasting values, mmol/L.
    pub fasting: f32,
    /// Sum of the risk of low glucose.
    pub low_risk: f32,
}

/// Days that are known, complete from one moment to another.
#[derive(Debug)]
pub(crate) struct Days {
    days: Vec<Day>,
    from: Timestamp,
    to: Timestamp,
}

impl Default for Days {
    fn default() -> Self {
        Self { days: Vec::new(), from: Timestamp::MAX, to: Timestamp::MIN }
    }
}

impl Days {
    /// A reading came in: its day is summed again when it is next asked for.
    pub(crate) fn touch(&mut self, at: Timestamp) {
        self.to = self.to.min(at);
    }

    /// From where readings must be looked at so that the days `from..to` are known; none where they are.
    pub(crate) fn missing(&mut self, from: Timestamp, to: Timestamp, zone: &Zone) -> Option<Timestamp> {
        if from < self.from || self.to < self.from {
            self.days.clear();
            (self.from, self.to) = (from, from);
        }
        if self.to >= to {
            return None;
        }
        let day = self.to.day(zone);
        let known = self.days.partition_point(|d| d.date < day);
        self.days.truncate(known);
        Some(zone.start_of(day))
    }

    /// Takes in the readings from what [`Days::missing`] said up to the midnight `to`.
    pub(crate) fn extend(&mut self, points: &[Point], to: Timestamp, zone: &Zone) {
        let mut rest = points;
        while let Some(first) = rest.first() {
            let date = first.at.day(zone);
            let end = zone.start_of(schedule::days_after(date, 1));
            let (mine, later) = rest.split_at(rest.partition_point(|p| p.at < end).max(1));
            self.days.extend(sum(date, mine, zone));
            rest = later;
        }
        self.to = to;
    }

    /// The days `from..to` that have something.
    pub(crate) fn between(&self, from: Date, to: Date) -> &[Day] {
        between(&self.days, from, to)
    }

    /// Forgets what no rule can reach from `today`.
    pub(crate) fn trim(&mut self, today: Date, zone: &Zone) {
        let from = schedule::days_after(today, -REACH - 14);
        let gone = self.days.partition_point(|d| d.date < from);
        if gone > 14 {
            self.days.drain(..gone);
            self.from = self.from.max(zone.start_of(from));
        }
    }
}

/// The days `from..to` of some.
pub(crate) fn between(days: &[Day], from: Date, to: Date) -> &[Day] {
    let begin = days.partition_point(|d| d.date < from);
    let end = days.partition_point(|d| d.date < to);
    &days[begin..end.max(begin)]
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

    #[allow(clippy::cast_possible_truncation, reason = "a mean of vital signs needs no more")]
    fn get(&self) -> f32 {
        (self.sum / f64::from(self.n)) as f32
    }
}

/// One day's readings in order; none where none is valid.
#[allow(clippy::cast_possible_truncation, reason = "sums of vital signs need no more")]
fn sum(date: Date, points: &[Point], zone: &Zone) -> Option<Day> {
    let noon = zone.start_of(date).plus(Duration::from_secs(12 * 3600));
    let four = noon.plus(Duration::from_secs(4 * 3600));
    let (mut all, mut morning, mut evening) = (Mean::default(), Mean::default(), Mean::default());
    for session in sessions(points) {
        let mut mean = Mean::default();
        session.iter().filter_map(|p| p.pressure()).for_each(|(s, _)| mean.add(s));
        let value = mean.sum / f64::from(mean.n);
        all.add(value);
        match session[0].at {
            at if at < noon => morning.add(value),
            at if at >= four => evening.add(value),
            _ => {}
        }
    }
    let (mut fasting, mut glucoses, mut low_risk) = (Mean::default(), 0_u16, 0.0);
    for p in points.iter().filter(|p| p.valid) {
        let Some(value) = p.glucose().filter(|g| g.is_finite()) else { continue };
        glucoses = glucoses.saturating_add(1);
        low_risk += statistics::low_risk(value);
        if p.meal == Some(Meal::Fasting) {
            fasting.add(value);
        }
    }
    (all.n > 0 || glucoses > 0).then(|| Day {
        date,
        sessions: all.n,
        glucoses,
        fastings: fasting.n,
        systolic: all.get(),
        morning: morning.get(),
        evening: evening.get(),
        fasting: fasting.get(),
        low_risk: low_risk as f32,
    })
}

/// The sessions in `points`: valid blood pressures, each at most 30 minutes after the one before.
pub(crate) fn sessions(points: &[Point]) -> Vec<Vec<Point>> {
    let mut out: Vec<Vec<Point>> = Vec::new();
    for p in points.iter().filter(|p| p.valid && p.pressure().is_some()) {
        match out.last_mut() {
            Some(open) if open.last().is_some_and(|last| p.at.since(last.at) <= SESSION) => open.push(*p),
            _ => out.push(vec![*p]),
        }
    }
    out
}
