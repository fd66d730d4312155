//! The guideline's week of home pressures: sessions of the first day dropped, the mean of session means.

use super::{count, mean};
use std::collections::BTreeMap;

/// One reading of a measuring week.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Session {
    /// Day of the week's plan, from 0.
    pub day: u16,
    pub evening: bool,
    pub systolic: f64,
    pub diastolic: f64,
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
pub fn guideline_week(readings: &[Session], drop_first_day: bool, enough: (usize, usize)) -> Week {
    let used: Vec<&Session> = readings.iter().filter(|r| !drop_first_day || r.day > 0).collect();
    let mut sessions: BTreeMap<(u16, bool), Vec<&Session>> = BTreeMap::new();
    for r in &used {
        sessions.entry((r.day, r.evening)).or_default().push(r);
    }
    let value = |of: &[&Session]| {
        let n = count(of.len());
        (of.iter().map(|r| r.systolic).sum::<f64>() / n, of.iter().map(|r| r.diastolic).sum::<f64>() / n)
    };
    let of = |wanted: Option<bool>| {
        let chosen = sessions.iter().filter(|((_, evening), _)| wanted.is_none_or(|w| w == *evening));
        let (s, d): (Vec<f64>, Vec<f64>) = chosen.map(|(_, of)| value(of)).unzip();
        (!s.is_empty()).then(|| (mean(&s), mean(&d)))
    };
    let mut days: Vec<u16> = sessions.keys().map(|(day, _)| *day).collect();
    days.dedup();
    let (morning, evening) = (of(Some(false)), of(Some(true)));
    Week {
        readings: used.len(),
        days: days.len(),
        sessions: sessions.len(),
        valid: used.len() >= enough.0 && days.len() >= enough.1,
        mean: of(None),
        morning,
        evening,
        difference: morning.zip(evening).map(|(m, e)| m.0 - e.0),
    }
}
