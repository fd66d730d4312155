//! The guideline's week of home pressures: the first day dropped, the mean of the means of sessions.
//!
//! Numbers in, numbers out. Must never: know a patient or a clock.

use std::collections::BTreeMap;

/// Enough for a diagnosis: readings and days (ESH, China 2024).
pub const ENOUGH: (usize, usize) = (12, 3);

/// One reading of a measuring week, or the mean of some of one session.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Session {
    /// Day of the week's plan, from 0.
    pub day: u16,
    pub evening: bool,
    pub systolic: f64,
    pub diastolic: f64,
    /// How many readings it stands for.
    pub readings: usize,
}

/// What the week comes to; means are none where there is no session.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Week {
    pub readings: usize,
    pub days: usize,
    pub sessions: usize,
    /// Enough readings on enough days.
    pub valid: bool,
    pub mean: Option<(f64, f64)>,
    pub morning: Option<(f64, f64)>,
    pub evening: Option<(f64, f64)>,
    /// Systolic, morning minus evening.
    pub difference: Option<f64>,
}

/// Means of a week. `enough`: readings and days.
pub fn guideline(sessions: &[Session], drop_first_day: bool, enough: (usize, usize)) -> Week {
    let mut all: BTreeMap<(u16, bool), (usize, f64, f64)> = BTreeMap::new();
    for s in sessions.iter().filter(|s| !drop_first_day || s.day > 0) {
        let sum = all.entry((s.day, s.evening)).or_default();
        let n = count(s.readings);
        *sum = (sum.0 + s.readings, sum.1 + n * s.systolic, sum.2 + n * s.diastolic);
    }
    let of = |wanted: Option<bool>| {
        let chosen = all.iter().filter(|((_, evening), _)| wanted.is_none_or(|w| w == *evening));
        let (mut n, mut sums) = (0, (0.0, 0.0));
        for (_, (readings, systolic, diastolic)) in chosen {
            n += 1;
            sums = (sums.0 + systolic / count(*readings), sums.1 + diastolic / count(*readings));
        }
        (n > 0).then(|| (sums.0 / count(n), sums.1 / count(n)))
    };
    let mut days: Vec<u16> = all.keys().map(|(day, _)| *day).collect();
    days.dedup();
    let readings = all.values().map(|(n, ..)| n).sum();
    let (morning, evening) = (of(Some(false)), of(Some(true)));
    Week {
        readings,
        days: days.len(),
        sessions: all.len(),
        valid: readings >= enough.0 && days.len() >= enough.1,
        mean: of(None),
        morning,
        evening,
        difference: morning.zip(evening).map(|(m, e)| m.0 - e.0),
    }
}

/// A count as a number.
#[allow(clippy::cast_precision_loss)] // counts of readings
const fn count(n: usize) -> f64 {
    n as f64
}
