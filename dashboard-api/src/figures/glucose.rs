//! Single measurements of glucose in a stretch: means, shares, the risk of lows and highs, the grid of meals, the clock.

use super::{Extremes, Numbers, Range, Shares, extremes, numbers, shares};
use jiff::civil::Date;
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;
use vitals::{
    Disposition, GlucoseLevel, Reading, Zone,
    summary::{Glucoses, MealSlot, Stats, Summary, is_of_sensor},
};

/// Hours of one piece of the clock: a few measurements a day bear no finer one.
const PIECE: i8 = 3;

/// Glucose of the stretch.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GlucoseSummary {
    unit: &'static str,
    /// Readings that the shares rest on; `aboveRange` and `belowRange` of them are in no mean.
    used: u64,
    flagged: u64,
    excluded: u64,
    /// `HI`.
    above_range: u64,
    /// `LO`.
    below_range: u64,
    range: Range,
    /// Shares of `used`, 0 to 1.
    time_in_range: Option<Shares>,
    extremes: Option<Extremes>,
    all: Option<Numbers>,
    fasting: Option<Numbers>,
    after_meal: Option<Numbers>,
    /// Percent of the mean.
    cv: Option<f64>,
    /// Low and high blood glucose index over single measurements; 30 a month are needed to say much.
    lbgi: Option<f64>,
    hbgi: Option<f64>,
    /// By place in the day's meals, in the order of the day; only where something was measured.
    meals: Vec<MealCell>,
    /// By the clock, in pieces of three hours, over the readings of the stretch's last 90 days; of its last 14 where a
    /// sensor was worn too.
    by_clock: Vec<ClockCell>,
    by_week: Vec<GlucoseWeek>,
}

/// One cell of the grid of meals.
#[derive(Serialize, ToSchema)]
pub(crate) struct MealCell {
    /// `fasting after_breakfast before_lunch after_lunch before_dinner after_dinner bedtime night`, or where the meal was
    /// not named `before_meal after_meal`, or `unsaid`.
    meal: &'static str,
    glucose: Numbers,
}

/// One piece of the day.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClockCell {
    /// First hour, 0 to 21.
    from_hour: i8,
    glucose: Numbers,
}

/// One week, by its Monday.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GlucoseWeek {
    week: String,
    used: u64,
    time_in_range: Option<Shares>,
    glucose: Option<Numbers>,
}

/// None where no single measurement was made. `recent`: readings for the clock.
pub(crate) fn of(
    s: &Glucoses,
    weeks: &BTreeMap<Date, Summary>,
    recent: &[Arc<Reading>],
    zone: &Zone,
) -> Option<GlucoseSummary> {
    if s.count() + s.flagged + s.excluded == 0 {
        return None;
    }
    let risk = s.risk_indices();
    let meal = |slot: &MealSlot| numbers(s.slot(*slot)).map(|glucose| MealCell { meal: slot.as_str(), glucose });
    let week = |(monday, s): (&Date, &Summary)| {
        let s = &s.glucose;
        (s.count() > 0).then(|| GlucoseWeek {
            week: monday.to_string(),
            used: s.count(),
            time_in_range: shares(s),
            glucose: numbers(&s.all()),
        })
    };
    Some(GlucoseSummary {
        unit: "mmol/L",
        used: s.count(),
        flagged: s.flagged,
        excluded: s.excluded,
        above_range: s.above_range,
        below_range: s.below_range,
        range: Range::USUAL,
        time_in_range: shares(s),
        extremes: extremes(s),
        all: numbers(&s.all()),
        fasting: numbers(s.slot(MealSlot::Fasting)),
        after_meal: numbers(&s.after_meal()),
        cv: s.all().cv(),
        lbgi: risk.map(|r| r.0),
        hbgi: risk.map(|r| r.1),
        meals: MealSlot::ALL.iter().filter_map(meal).collect(),
        by_clock: by_clock(recent, zone),
        by_week: weeks.iter().filter_map(week).collect(),
    })
}

fn by_clock(readings: &[Arc<Reading>], zone: &Zone) -> Vec<ClockCell> {
    let mut pieces: BTreeMap<i8, Stats> = BTreeMap::new();
    for r in readings.iter().filter(|r| r.disposition == Disposition::Stored && !is_of_sensor(r)) {
        if let Some(GlucoseLevel::Mmol(value)) = r.glucose() {
            pieces.entry(r.measured_at.hour(zone) / PIECE * PIECE).or_default().add(value);
        }
    }
    let cell = |(from_hour, s): (i8, Stats)| numbers(&s).map(|glucose| ClockCell { from_hour, glucose });
    pieces.into_iter().filter_map(cell).collect()
}
