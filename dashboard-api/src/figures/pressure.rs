//! Blood pressure of a stretch: means by part of the day and by week, the guideline's week, how much it goes up and down.

use super::{Numbers, numbers, share};
use jiff::civil::Date;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use vitals::{
    Targets,
    summary::{DayPart, Pressures, Stats, Summary, home_target},
    week::{self, ENOUGH, Session},
};

/// Systolic and diastolic, mmHg; none without readings.
#[derive(Serialize, ToSchema)]
pub(crate) struct Pair {
    systolic: Option<Numbers>,
    diastolic: Option<Numbers>,
}

/// How much blood pressure goes up and down. Percent and mmHg.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Variability {
    /// Standard deviation in percent of the mean, systolic, over readings.
    systolic_cv: Option<f64>,
    /// The same of the means of mornings: from day to day. None below two mornings.
    morning_systolic_cv: Option<f64>,
    /// The same, diastolic.
    morning_diastolic_cv: Option<f64>,
    /// Mornings that these rest on.
    mornings: u64,
    /// Mean step from one systolic to the next (average real variability).
    systolic_arv: Option<f64>,
    /// Mean of the morning less mean of the evening, systolic.
    morning_minus_evening: Option<f64>,
}

/// Blood pressure of the stretch.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PressureSummary {
    unit: &'static str,
    /// Readings that the numbers rest on.
    used: u64,
    /// Left out: flagged by meter or clock.
    flagged: u64,
    /// Left out: not the patient's.
    excluded: u64,
    target: TargetPair,
    /// Share of readings with both numbers below the target, 0 to 1.
    in_target: Option<f64>,
    all: Pair,
    /// From 04:00, before 12:00.
    morning: Pair,
    /// From 16:00.
    evening: Pair,
    variability: Variability,
    /// Of the last seven days on which anything was measured.
    guideline_week: Option<GuidelineWeek>,
    by_week: Vec<PressureWeek>,
}

/// Home target, mmHg.
#[derive(Serialize, ToSchema)]
pub(crate) struct TargetPair {
    systolic: f64,
    diastolic: f64,
}

/// Means, mmHg.
#[derive(Serialize, ToSchema)]
pub(crate) struct Means {
    systolic: f64,
    diastolic: f64,
}

/// The guideline's measuring week: mornings and evenings of seven days up to the last one measured, the first day
/// dropped, the mean of the means of sessions.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GuidelineWeek {
    /// The first day that counts.
    from: String,
    /// The last day.
    to: String,
    readings: usize,
    days: usize,
    sessions: usize,
    /// At least 12 readings on 3 days: enough for a decision.
    enough: bool,
    mean: Option<Means>,
    morning: Option<Means>,
    evening: Option<Means>,
    /// Systolic.
    morning_minus_evening: Option<f64>,
}

/// One week, by its Monday.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PressureWeek {
    week: String,
    used: u64,
    in_target: Option<f64>,
    systolic: Option<Numbers>,
    diastolic: Option<Numbers>,
    morning: Pair,
    evening: Pair,
}

/// None where no blood pressure was measured.
pub(crate) fn of(
    days: &BTreeMap<Date, Summary>,
    weeks: &BTreeMap<Date, Summary>,
    targets: &Targets,
) -> Option<PressureSummary> {
    let mut sums = Summary::default();
    days.values().for_each(|day| sums.join(day));
    let s = &sums.pressure;
    let (used, all) = (s.count(), s.all());
    if used + s.flagged + s.excluded == 0 {
        return None;
    }
    let (systolic, diastolic) = home_target(targets);
    Some(PressureSummary {
        unit: "mmHg",
        used,
        flagged: s.flagged,
        excluded: s.excluded,
        target: TargetPair { systolic, diastolic },
        in_target: share(s.in_target, used),
        all: pair(&all),
        morning: pair(s.part(DayPart::Morning)),
        evening: pair(s.part(DayPart::Evening)),
        variability: variability(days, s),
        guideline_week: guideline(days),
        by_week: weeks.iter().filter_map(|(monday, s)| week_of(*monday, &s.pressure)).collect(),
    })
}

fn week_of(monday: Date, s: &Pressures) -> Option<PressureWeek> {
    (s.count() > 0).then(|| PressureWeek {
        week: monday.to_string(),
        used: s.count(),
        in_target: share(s.in_target, s.count()),
        systolic: numbers(&s.all()[0]),
        diastolic: numbers(&s.all()[1]),
        morning: pair(s.part(DayPart::Morning)),
        evening: pair(s.part(DayPart::Evening)),
    })
}

fn variability(days: &BTreeMap<Date, Summary>, s: &Pressures) -> Variability {
    let mut mornings = [Stats::default(); 2];
    for morning in days.values().map(|day| day.pressure.part(DayPart::Morning)).filter(|m| m[0].n > 0) {
        mornings.iter_mut().zip(morning).for_each(|(all, one)| all.add(one.mean()));
    }
    let (morning, evening) = (s.part(DayPart::Morning)[0], s.part(DayPart::Evening)[0]);
    Variability {
        systolic_cv: s.all()[0].cv(),
        morning_systolic_cv: mornings[0].cv(),
        morning_diastolic_cv: mornings[1].cv(),
        mornings: mornings[0].n,
        systolic_arv: s.variability(),
        morning_minus_evening: (morning.n > 0 && evening.n > 0).then(|| morning.mean() - evening.mean()),
    }
}

/// Days that the guideline's week has.
const WEEK: i64 = 7;

fn guideline(days: &BTreeMap<Date, Summary>) -> Option<GuidelineWeek> {
    let parts = [(DayPart::Morning, false), (DayPart::Evening, true)];
    let measured = |s: &Summary| parts.iter().any(|(part, _)| s.pressure.part(*part)[0].n > 0);
    let last = *days.iter().rev().find(|(_, s)| measured(s))?.0;
    let begin = last.checked_sub(jiff::Span::new().days(WEEK - 1)).ok()?;
    let week: Vec<(Date, &Summary)> =
        days.range(begin..=last).filter(|(_, s)| measured(s)).map(|(day, s)| (*day, s)).collect();
    let numbered = (0_u16..).zip(&week);
    let sessions: Vec<Session> = numbered
        .flat_map(|(day, (_, s))| {
            parts.iter().filter_map(move |(part, evening)| {
                let [systolic, diastolic] = s.pressure.part(*part);
                (systolic.n > 0).then(|| Session {
                    day,
                    evening: *evening,
                    systolic: systolic.mean(),
                    diastolic: diastolic.mean(),
                    readings: usize::try_from(systolic.n).unwrap_or(usize::MAX),
                })
            })
        })
        .collect();
    let found = week::guideline(&sessions, true, ENOUGH);
    let means = |m: Option<(f64, f64)>| m.map(|(systolic, diastolic)| Means { systolic, diastolic });
    // With one day only nothing is left; it is said all the same.
    let from = week.get(1).or(week.first())?.0;
    Some(GuidelineWeek {
        from: from.to_string(),
        to: last.to_string(),
        readings: found.readings,
        days: found.days,
        sessions: found.sessions,
        enough: found.valid,
        mean: means(found.mean),
        morning: means(found.morning),
        evening: means(found.evening),
        morning_minus_evening: found.difference,
    })
}

fn pair(s: &[Stats; 2]) -> Pair {
    Pair { systolic: numbers(&s[0]), diastolic: numbers(&s[1]) }
}
