//! BP-T1, BP-T2, GLU-T1: the last two weeks against the six before, four against eight where measurements are sparse.
//!
//! The limit follows how densely was measured, not the plan. Sources: section 3 of the clinical reference.

use crate::{
    Point,
    daily::{Found, Look},
    days::{Days, GlucoseDay, PressureDay},
    statistics::{self, Prior, Shift},
};
use jiff::civil::Date;
use vitals::{Kind, MedicationClass, Recipient, Severity};

/// Days over which the density is counted.
const COUNTED: i64 = 56;
const COUNTED_WEEKS: f64 = 8.0;

/// Days in which a week of measuring that was asked for is waited for.
const WAITS: i64 = 14;

/// The windows that a density asks for: days of the recent one, of both together, and the card's words for its limits.
struct Row {
    recent: i64,
    reach: i64,
    limit: &'static str,
    enough: (&'static str, &'static str),
    long: bool,
}

const DENSE: Row =
    Row { recent: 14, reach: 56, limit: "denseLimit", enough: ("denseRecent", "denseReference"), long: false };
const MEDIUM: Row =
    Row { recent: 14, reach: 56, limit: "mediumLimit", enough: ("mediumRecent", "mediumReference"), long: false };
const SPARSE: Row =
    Row { recent: 28, reach: 84, limit: "sparseLimit", enough: ("sparseRecent", "sparseReference"), long: true };

/// A shift, and what it is measured against.
struct Measured {
    shift: Shift,
    n: (usize, usize),
    limit: f64,
    density: f64,
    from: Date,
    season: f64,
}

fn pressure_row(look: &Look<'_>) -> (&'static Row, f64) {
    let sessions: u32 = look.pressures(COUNTED, 0).iter().map(|d| u32::from(d.sessions)).sum();
    let density = f64::from(sessions) / COUNTED_WEEKS;
    let row = match density {
        d if d >= look.number("denseFrom") => &DENSE,
        d if d >= look.number("mediumFrom") => &MEDIUM,
        _ => &SPARSE,
    };
    (row, density)
}

/// The day after which nothing speaks of the drugs before: the last change and the days that it takes to settle.
fn settled(look: &Look<'_>, matters: fn(MedicationClass) -> bool) -> Option<Date> {
    let mine = look.patient.plan.medications.iter().filter(|m| matters(m.class));
    let changes = mine.flat_map(|m| [m.from, m.to.map(|d| crate::schedule::days_after(d, 1))]).flatten();
    let last = changes.filter(|d| *d <= look.date).max()?;
    #[allow(clippy::cast_possible_truncation, reason = "a number of days within the card's bounds")]
    let wait = look.number("settle").round() as i64;
    Some(crate::schedule::days_after(last, wait))
}

/// `values`: of the days from so many days ago until so many, as far as they are usable.
fn measure(
    look: &Look<'_>,
    (row, density): (&Row, f64),
    settled: Option<Date>,
    season: f64,
    values: impl Fn(i64, i64, Option<Date>) -> Vec<f64>,
) -> Option<Measured> {
    let (recent, reference) = (values(row.recent, 0, settled), values(row.reach, row.recent, settled));
    let enough = |x: &[f64], name| statistics::count(x.len()) >= look.number(name);
    if !enough(&recent, row.enough.0) || !enough(&reference, row.enough.1) {
        return None;
    }
    let prior = Prior { degrees: look.number("priorDays"), variance: look.number("priorVariance") };
    let mut shift = statistics::window_shift(&recent, &reference, prior)?;
    let error = shift.difference / shift.z;
    if season != 0.0 && error.is_finite() {
        shift.difference -= season;
        shift.z = shift.difference / error;
    }
    let (n, limit, from) = ((recent.len(), reference.len()), look.number(row.limit), look.ago(row.reach));
    let from = settled.map_or(from, |d| d.max(from));
    Some(Measured { shift, n, limit, density, from, season })
}

fn pressure_drug(class: MedicationClass) -> bool {
    !matches!(class, MedicationClass::Insulin | MedicationClass::Sulfonylurea | MedicationClass::Biguanide)
}

fn glucose_drug(class: MedicationClass) -> bool {
    matches!(
        class,
        MedicationClass::Insulin | MedicationClass::Sulfonylurea | MedicationClass::Biguanide | MedicationClass::Other
    )
}

fn is_pressure(p: &Point) -> bool {
    p.kind() == Kind::BloodPressure
}

fn told(step: &'static str, severity: Severity, m: &Measured, uses: fn(&Point) -> bool) -> Found {
    let s = &m.shift;
    let mut found = Found::new(step, severity, m.from, uses);
    found.recipients = if severity > Severity::Info { &[Recipient::Gp] } else { &[] };
    found.numbers = vec![
        ("recentMean", s.recent),
        ("referenceMean", s.reference),
        ("difference", s.difference),
        ("sd", s.deviation),
        ("z", s.z),
        ("zLimit", m.limit),
        ("recentDays", statistics::count(m.n.0)),
        ("referenceDays", statistics::count(m.n.1)),
        ("sessionsPerWeek", m.density),
        ("season", m.season),
    ];
    found
}

fn pressure(look: &Look<'_>) -> Option<Measured> {
    look.pressures(1, 0).first()?;
    let row = pressure_row(look);
    let season = look.season[usize::from(row.0.long)];
    measure(look, row, settled(look, pressure_drug), season, |from, to, settled| {
        let usable = |d: &&PressureDay| settled.is_none_or(|from| d.date >= from);
        look.pressures(from, to).iter().filter(usable).map(|d| f64::from(d.systolic)).collect()
    })
}

/// Whether the recent mean is near the target or over it: far below it a rise is only information.
fn is_near(look: &Look<'_>, m: &Measured) -> bool {
    m.shift.recent >= look.number("homeSystolic") - look.number("near")
}

/// BP-T1.
pub(crate) fn rising(look: &Look<'_>) -> Option<Found> {
    let m = pressure(look)?;
    if look.number("stages") < 2.0 {
        return shifted(look, &m);
    }
    let grave = shifted(look, &m).filter(|found| found.severity >= Severity::Urgent);
    grave.or_else(|| in_two_stages(look, &m))
}

/// A suspicion asks for a week of measuring; the week confirms it, or it was none. Who does not measure is judged by the
/// table after all.
fn in_two_stages(look: &Look<'_>, m: &Measured) -> Option<Found> {
    if look.sustained {
        return None; // the same doctor was told already
    }
    let Some(asked) = look.asked else {
        let suspicion = m.shift.z >= look.number("screen") && m.shift.difference > 0.0 && is_near(look, m);
        return suspicion.then(|| {
            let mut found = told("asked", Severity::Info, m, is_pressure);
            found.recipients = &[Recipient::Patient];
            found.limit = format!("z >= {}: a week of measuring", look.number("screen"));
            found
        });
    };
    let week: Vec<f64> = look.pressures(7, 0).iter().map(|d| f64::from(d.systolic)).collect();
    let measured = statistics::count(week.len()) >= look.number("weekDays");
    if !measured || asked > look.ago(7) {
        // Not yet, or not at all.
        return if asked > look.ago(WAITS) { None } else { shifted(look, m) };
    }
    let risen = statistics::mean(&week) - m.shift.reference - m.season;
    (risen >= look.number("confirm")).then(|| {
        let mut found = told("shift", Severity::Routine, m, is_pressure);
        found.numbers.push(("weekDifference", risen));
        found.limit = format!("z >= {}, then a week >= {} mmHg over", look.number("screen"), look.number("confirm"));
        found
    })
}

/// One stage: beyond chance by the table.
fn shifted(look: &Look<'_>, m: &Measured) -> Option<Found> {
    let gate = look.number("gate");
    if m.shift.z < m.limit || m.shift.difference < gate {
        return None;
    }
    let urgent = m.shift.difference >= look.number("urgent");
    let near = is_near(look, m);
    let (step, severity) = match (near, urgent) {
        (false, _) => ("noted", Severity::Info),
        (true, true) => ("shift", Severity::Urgent),
        (true, false) => ("shift", Severity::Routine),
    };
    // An open BP-S1 has told the same doctor already.
    if look.sustained && severity < Severity::Urgent {
        return None;
    }
    let mut found = told(step, severity, m, is_pressure);
    found.limit = format!("z >= {} and >= {gate} mmHg", m.limit);
    Some(found)
}

/// BP-T2.
pub(crate) fn falling(look: &Look<'_>) -> Option<Found> {
    let m = pressure(look)?;
    let (gate, below) = (look.number("gate"), look.number("below"));
    let fell = -m.shift.z >= m.limit && -m.shift.difference >= gate && m.shift.recent < below;
    #[allow(clippy::cast_possible_truncation, reason = "a number of days within the card's bounds")]
    let since = look.ago(look.number("doses").round() as i64);
    let added = |m: &vitals::Medication| pressure_drug(m.class) && m.from.is_some_and(|d| d > since && d <= look.date);
    if !fell || look.patient.plan.medications.iter().any(added) {
        return None;
    }
    let urgent = -m.shift.difference >= look.number("urgent");
    let mut found = told("shift", if urgent { Severity::Urgent } else { Severity::Routine }, &m, is_pressure);
    found.limit = format!("z <= -{}, <= -{gate} mmHg and a mean < {below} mmHg", m.limit);
    Some(found)
}

/// GLU-T1: fasting values on the logarithmic scale.
pub(crate) fn glucose_rising(look: &Look<'_>) -> Option<Found> {
    look.glucoses(1, 0).first().filter(|d| d.fastings > 0)?;
    let values: u32 = look.glucoses(COUNTED, 0).iter().map(|d| u32::from(d.fastings)).sum();
    let density = f64::from(values) / COUNTED_WEEKS;
    let row = if density >= look.number("denseFrom") { &DENSE } else { &SPARSE };
    let m = measure(look, (row, density), settled(look, glucose_drug), 0.0, |from, to, settled| {
        let usable = |d: &&GlucoseDay| d.fasting > 0.0 && settled.is_none_or(|from| d.date >= from);
        look.glucoses(from, to).iter().filter(usable).map(|d| f64::from(d.fasting).ln()).collect()
    })?;
    let gate = look.number("gate");
    if m.shift.z < m.limit || m.shift.difference < gate.ln_1p() {
        return None;
    }
    // An open GLU-S1 has told the same doctor already, but for a rise of another order.
    if look.fasting_high && m.shift.difference < look.number("grave").ln_1p() {
        return None;
    }
    let mut found =
        told("shift", Severity::Routine, &m, |p| p.meal == Some(vitals::Meal::Fasting) && p.glucose().is_some());
    found.numbers[0].1 = m.shift.recent.exp();
    found.numbers[1].1 = m.shift.reference.exp();
    found.numbers[2] = ("ratio", m.shift.difference.exp());
    found.limit = format!("z >= {} and >= +{} %", m.limit, gate * 100.0);
    Some(found)
}

/// The shift of the systolic day means in the short and in the long windows, whatever it means: for the station's median.
pub(crate) fn raw(days: &Days, today: Date) -> [Option<f64>; 2] {
    let mean = |from: i64, to: i64, enough: usize| {
        let begin = crate::schedule::days_after(today, -from);
        let span = days.pressures(begin, crate::schedule::days_after(today, -to));
        let sum: f64 = span.iter().map(|d| f64::from(d.systolic)).sum();
        (span.len() >= enough).then(|| sum / statistics::count(span.len()))
    };
    [(&MEDIUM, 4, 10), (&SPARSE, 3, 6)]
        .map(|(row, recent, reference)| Some(mean(row.recent, 0, recent)? - mean(row.reach, row.recent, reference)?))
}
