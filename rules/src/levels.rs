//! Rules on the level of weeks and months: BP-S2, BP-S3, BP-V1, PUL-1, GLU-S1, GLU-S2, GLU-V1.

use crate::{
    Point,
    daily::{Found, Look, Over},
    days::{GlucoseDay, PressureDay, SensorDay},
    statistics::{self, count},
};
use vitals::{Kind, Meal, MedicationClass, Recipient, Severity};

/// Means are sums of few decimals, kept with seven digits: a mean at its limit is not over it.
const ROUNDING: f64 = 1e-4;

fn is_pressure(p: &Point) -> bool {
    p.kind() == Kind::BloodPressure
}

fn is_glucose(p: &Point) -> bool {
    p.kind() == Kind::BloodGlucose
}

fn at_least(n: usize, wanted: f64) -> bool {
    count(n) + ROUNDING >= wanted
}

/// BP-S2: a weekly mean far below the limit, on treatment.
pub(crate) fn overtreated(look: &Look<'_>) -> Option<Found> {
    use MedicationClass::{AceInhibitor, BetaBlocker, CalciumChannelBlocker, Diuretic};
    let lowers = |c| matches!(c, AceInhibitor | BetaBlocker | CalciumChannelBlocker | Diuretic);
    if !look.weekly || !look.drugs().any(lowers) {
        return None;
    }
    let week = look.pressures(7, 0);
    let sessions: f64 = week.iter().map(|d| f64::from(d.sessions)).sum();
    let planned = look.patient.plan.measuring.blood_pressure_per_week.filter(|n| *n > 0.0).unwrap_or(2.0);
    if sessions + ROUNDING < planned * look.number("share") || !at_least(week.len(), look.number("days")) {
        return None;
    }
    let mean = week.iter().map(|d| f64::from(d.systolic) * f64::from(d.sessions)).sum::<f64>() / sessions;
    let old = look.age().is_some_and(|age| f64::from(age) >= look.number("age"));
    let limit = look.number(if old { "oldLow" } else { "low" });
    (mean + ROUNDING < limit).then(|| {
        let mut found = Found::new("overtreated", Severity::Routine, look.ago(7), is_pressure);
        found.recipients = &[Recipient::Gp];
        found.numbers = vec![("weekSystolic", mean), ("sessions", sessions), ("days", count(week.len()))];
        found.limit = format!("< {limit} mmHg");
        found.over = Some(Over::Systolic(limit));
        found
    })
}

/// The mean of the values that are there, and how many.
fn mean_of(values: impl Iterator<Item = f32>) -> (f64, usize) {
    let values: Vec<f64> = values.filter(|v| v.is_finite()).map(f64::from).collect();
    (statistics::mean(&values), values.len())
}

/// BP-S3: high in the morning only.
pub(crate) fn morning(look: &Look<'_>) -> Option<Found> {
    if !look.weekly {
        return None;
    }
    let days = look.pressures(14, 0);
    let (morning, mornings) = mean_of(days.iter().map(|d| d.morning));
    let (evening, evenings) = mean_of(days.iter().map(|d| d.evening));
    let (target, difference) = (look.number("homeSystolic"), look.number("difference"));
    let enough = at_least(mornings, look.number("days")) && at_least(evenings, look.number("days"));
    let high = morning + ROUNDING >= target && evening + ROUNDING < target;
    (enough && high && morning - evening + ROUNDING >= difference).then(|| {
        let mut found = Found::new("morning", Severity::Routine, look.ago(14), is_pressure);
        found.recipients = &[Recipient::Gp];
        found.note = true; // a digest: it never notifies a doctor (cross-rules of the catalogue)
        found.numbers = vec![
            ("morningSystolic", morning),
            ("eveningSystolic", evening),
            ("mornings", count(mornings)),
            ("evenings", count(evenings)),
        ];
        found.limit = format!(">= {target} mmHg in the morning, below it in the evening, {difference} mmHg apart");
        found.over = Some(Over::Pressure(target, f64::INFINITY));
        found
    })
}

/// BP-V1: the morning pressure varies much from day to day, in two windows.
pub(crate) fn variable(look: &Look<'_>) -> Option<Found> {
    if !look.weekly {
        return None;
    }
    let cv = |from, to| {
        let values: Vec<f64> =
            look.pressures(from, to).iter().map(|d| f64::from(d.morning)).filter(|v| v.is_finite()).collect();
        at_least(values.len(), look.number("days")).then(|| statistics::deviation(&values) / statistics::mean(&values))
    };
    let (newer, older) = (cv(14, 0)?, cv(28, 14)?);
    let limit = look.number("limit");
    (newer > limit && older > limit).then(|| {
        let mut found = Found::new("variable", Severity::Info, look.ago(28), is_pressure);
        found.recipients = &[Recipient::Gp];
        found.note = true;
        found.numbers = vec![("cvRecent", newer), ("cvBefore", older)];
        found.limit = format!("> {limit}");
        found
    })
}

/// PUL-1: flags of an irregular pulse in sessions of several days, or a resting pulse that is too fast or too slow.
pub(crate) fn pulse(look: &Look<'_>) -> Option<Found> {
    look.pressures(1, 0).first()?;
    let (fast, slow) = (look.number("fast"), look.number("slow"));
    let days = look.pressures(14, 0);
    let irregular = days.iter().filter(|d| d.irregular()).count();
    let outside = days.iter().filter(|d| d.pulse.is_finite() && !(slow..=fast).contains(&f64::from(d.pulse))).count();
    if !at_least(irregular, look.number("sessions")) && !at_least(outside, look.number("days")) {
        return None;
    }
    let symptoms = days.iter().any(PressureDay::symptoms);
    let severity = if symptoms { Severity::Urgent } else { Severity::Routine };
    let mut found = Found::new("pulse", severity, look.ago(14), is_pressure);
    found.recipients = &[Recipient::Gp];
    found.numbers = vec![("irregularDays", count(irregular)), ("fastOrSlowDays", count(outside))];
    found.limit = format!("irregular on {} days, or not within {slow}-{fast} /min", look.number("sessions"));
    Some(found)
}

/// GLU-S1: the fasting mean over target in two consecutive windows of 14 days; it clears as it came, at target in both:
/// one good fortnight of somebody near the target says little.
pub(crate) fn fasting(look: &Look<'_>) -> Option<Found> {
    look.glucoses(1, 0).first().filter(|d| d.fastings > 0)?;
    let window = |from, to| {
        let days = look.glucoses(from, to).iter().filter(|d| d.fastings > 0);
        let (sum, n) = days.fold((0.0, 0.0), |(sum, n), d| {
            let of_day = f64::from(d.fastings);
            (sum + f64::from(d.fasting) * of_day, n + of_day)
        });
        (n + ROUNDING >= look.number("values")).then(|| (sum / n, n))
    };
    let target = look.number("fastingHigh");
    let ((newer, values), (older, before)) = (window(14, 0)?, window(28, 14)?);
    let fasting = |p: &Point| p.meal == Some(Meal::Fasting) && is_glucose(p);
    let numbers =
        vec![("fastingMean", newer), ("values", values), ("fastingMeanBefore", older), ("valuesBefore", before)];
    let over = [newer, older].map(|mean| mean > target + ROUNDING);
    if over == [false, false] {
        return look.open.map(|_| {
            let mut found = Found::new("cleared", Severity::Info, look.ago(28), fasting);
            (found.closes, found.numbers) = (true, numbers);
            found.limit = format!("<= {target} mmol/L");
            found
        });
    }
    (over == [true, true]).then(|| {
        let mut found = Found::new("sustained", Severity::Routine, look.ago(28), fasting);
        found.recipients = &[Recipient::Gp];
        found.numbers = numbers;
        found.limit = format!("> {target} mmol/L");
        found.over = Some(Over::Glucose(target));
        found
    })
}

/// GLU-S2: too high after meals.
pub(crate) fn after_meals(look: &Look<'_>) -> Option<Found> {
    look.glucoses(1, 0).first()?;
    let after = |p: &Point| p.meal == Some(Meal::AfterMeal) && is_glucose(p);
    let days = look.glucoses(14, 0);
    let sum = |of: fn(&GlucoseDay) -> u16| -> f64 { days.iter().map(|d| f64::from(of(d))).sum() };
    let (values, over) = (sum(|d| d.after), sum(|d| d.after_over));
    let mean = days.iter().map(|d| f64::from(d.after_sum)).sum::<f64>() / sum(|d| d.after_finite);
    let limit = look.number("postMealHigh");
    let enough = values + ROUNDING >= look.number("values") && over + ROUNDING >= values * look.number("share");
    (enough && mean > limit + ROUNDING).then(|| {
        let mut found = Found::new("after_meals", Severity::Routine, look.ago(14), after);
        found.note = true; // a digest, as above
        found.recipients = &[Recipient::Gp];
        found.numbers = vec![("mean", mean), ("values", values), ("over", over)];
        found.limit = format!("> {limit} mmol/L");
        found.over = Some(Over::Glucose(limit));
        found
    })
}

/// GLU-V1: the low blood glucose index of single measurements, or how much a sensor's glucose varies.
pub(crate) fn risk(look: &Look<'_>) -> Option<Found> {
    low_index(look).or_else(|| sensor_varies(look))
}

fn low_index(look: &Look<'_>) -> Option<Found> {
    look.glucoses(1, 0).first().filter(|d| d.values > 0)?;
    let month = look.glucoses(30, 0);
    let n: f64 = month.iter().map(|d| f64::from(d.values)).sum();
    let index = month.iter().map(|d| f64::from(d.low_risk)).sum::<f64>() / n;
    let limit = look.number("limit");
    (n + ROUNDING >= look.number("values") && index > limit).then(|| {
        let urgent = index > look.number("urgent");
        let severity = if urgent { Severity::Urgent } else { Severity::Routine };
        let mut found = Found::new("low_index", severity, look.ago(30), |p| is_glucose(p) && !p.of_sensor);
        found.recipients = if urgent { &[Recipient::Gp, Recipient::Specialist] } else { &[Recipient::Gp] };
        found.numbers = vec![("lbgi", index), ("values", n)];
        found.limit = format!("> {limit}");
        found
    })
}

/// A sensor's fortnight, where it was worn for most of it.
const FORTNIGHT: f64 = 14.0 * 24.0 * 60.0;

fn sensor_varies(look: &Look<'_>) -> Option<Found> {
    look.days.sensors(look.ago(1), look.date).first()?;
    let days = look.days.sensors(look.ago(14), look.date);
    let sum = |of: fn(&SensorDay) -> f64| days.iter().map(of).sum::<f64>();
    let coverage = 100.0 * sum(|d| f64::from(d.minutes)) / FORTNIGHT;
    let (n, mean) = (sum(|d| f64::from(d.values)), sum(|d| d.sum) / sum(|d| f64::from(d.values)));
    let variance = (sum(|d| d.squares) - n * mean * mean) / (n - 1.0);
    let variation = 100.0 * variance.max(0.0).sqrt() / mean;
    let limit = look.number("variation");
    let worn = coverage + ROUNDING >= look.number("coverage");
    (worn && variation > limit + ROUNDING).then(|| {
        let mut found = Found::new("variation", Severity::Routine, look.ago(14), |p| p.of_sensor);
        found.recipients = &[Recipient::Gp];
        found.readings = Some(Vec::new()); // thousands; their numbers say it all
        found.numbers = vec![("variation", variation), ("mean", mean), ("values", n), ("coverage", coverage)];
        found.limit = format!("> {limit} %");
        found
    })
}
