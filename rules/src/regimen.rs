//! When a patient takes what, and is how old, as far as rules on single readings ask: as stretches of time.
//!
//! Goes in: a plan's medications, a date of birth. Comes out: from when until when something holds. A reading is judged by
//! the day on which it was measured, whenever it comes.

use crate::schedule;
use jiff::civil::Date;
use std::sync::Arc;
use vitals::{MedicationClass, Patient, Timestamp, Zone};

use MedicationClass::{AceInhibitor, BetaBlocker, CalciumChannelBlocker, Diuretic, Insulin, Sulfonylurea};

/// From one moment to another, the second not included; few, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stretches(Option<Arc<[(Timestamp, Timestamp)]>>);

impl Stretches {
    fn new(all: Vec<(Timestamp, Timestamp)>) -> Self {
        Self((!all.is_empty()).then(|| all.into()))
    }

    /// Whether it holds at this moment.
    pub(crate) fn hold(&self, at: Timestamp) -> bool {
        self.0.iter().flat_map(|all| all.iter()).any(|(from, to)| (*from..*to).contains(&at))
    }
}

/// The midnights between which each drug of some classes is taken.
fn taken(patient: &Patient, zone: &Zone, of: impl Fn(MedicationClass) -> bool) -> Vec<(Timestamp, Timestamp)> {
    let mine = patient.plan.medications.iter().filter(|m| of(m.class));
    let begin = |d: Option<Date>| d.map_or(Timestamp::MIN, |d| zone.start_of(d));
    let end = |d: Option<Date>| d.map_or(Timestamp::MAX, |d| zone.start_of(schedule::days_after(d, 1)));
    mine.map(|m| (begin(m.from), end(m.to))).filter(|(from, to)| from < to).collect()
}

/// Two drugs or more that lower the pressure.
pub(crate) fn several_for_pressure(patient: &Patient, zone: &Zone) -> Stretches {
    let pressure = |c| matches!(c, AceInhibitor | BetaBlocker | CalciumChannelBlocker | Diuretic);
    let all = taken(patient, zone, pressure);
    let shared = |(a, b): (&(Timestamp, Timestamp), &(Timestamp, Timestamp))| (a.0.max(b.0), a.1.min(b.1));
    let pairs = all.iter().enumerate().flat_map(|(i, a)| all[i + 1..].iter().map(move |b| (a, b)));
    Stretches::new(pairs.map(shared).filter(|(from, to)| from < to).collect())
}

/// Insulin, a sulfonylurea, or `age` years and more: a low that nobody measured again is told.
pub(crate) fn fragile(patient: &Patient, zone: &Zone, age: f64) -> Stretches {
    let mut all = taken(patient, zone, |c| matches!(c, Insulin | Sulfonylurea));
    let birthday = patient.birth_date.and_then(|born| birthday(born, age));
    all.extend(birthday.map(|day| (zone.start_of(day), Timestamp::MAX)));
    Stretches::new(all)
}

/// The first day at which so many years are completed; of a leap day the first of March.
fn birthday(born: Date, age: f64) -> Option<Date> {
    #[allow(clippy::cast_possible_truncation, reason = "a card bounds it to an age")]
    let year = born.year().checked_add((age.is_finite()).then(|| age.ceil().clamp(0.0, 200.0) as i16)?)?;
    Date::new(year, born.month(), born.day()).or_else(|_| Date::new(year, 3, 1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use vitals::{Medication, PatientId, Plan};

    fn patient(drugs: &[(MedicationClass, Option<Date>, Option<Date>)], born: Option<Date>) -> Patient {
        let medications = drugs
            .iter()
            .map(|(class, from, to)| Medication { name: String::new(), class: *class, from: *from, to: *to })
            .collect();
        Patient {
            id: PatientId::new(1),
            name: String::new(),
            birth_date: born,
            sex: None,
            tags: Vec::new(),
            conditions: Vec::new(),
            team: None,
            organisation: None,
            phone: None,
            time_zone: None,
            enrolled_at: Timestamp::MIN,
            visited_on: None,
            plan: Plan { medications, ..Plan::default() },
        }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn a_drug_counts_from_its_first_day_to_the_end_of_its_last() {
        let zone = Zone::default();
        let one = patient(&[(Insulin, Some(date(2025, 3, 5)), Some(date(2025, 3, 6)))], None);
        let days = fragile(&one, &zone, 65.0);
        let held = [
            "2025-03-04T23:59:59+08:00",
            "2025-03-05T00:00:00+08:00",
            "2025-03-06T23:59:59+08:00",
            "2025-03-07T00:00:00+08:00",
        ];
        assert_eq!(held.map(|t| days.hold(at(t))), [false, true, true, false]);
        assert!(!fragile(&patient(&[(Diuretic, None, None)], None), &zone, 65.0).hold(at("2025-03-05T00:00:00+08:00")));
    }

    #[test]
    fn two_drugs_count_while_both_are_taken() {
        let zone = Zone::default();
        let both = [(Diuretic, None, Some(date(2025, 3, 6))), (AceInhibitor, Some(date(2025, 3, 5)), None)];
        let days = several_for_pressure(&patient(&both, None), &zone);
        let held = ["2025-03-04T12:00:00+08:00", "2025-03-06T12:00:00+08:00", "2025-03-07T12:00:00+08:00"];
        assert_eq!(held.map(|t| days.hold(at(t))), [false, true, false]);
    }

    #[test]
    fn an_age_is_reached_on_the_birthday_and_of_a_leap_day_in_march() {
        let zone = Zone::default();
        let born = |d| fragile(&patient(&[], Some(d)), &zone, 65.0);
        assert!(!born(date(1960, 3, 5)).hold(at("2025-03-04T23:59:59+08:00")));
        assert!(born(date(1960, 3, 5)).hold(at("2025-03-05T00:00:00+08:00")));
        assert!(!born(date(1960, 2, 29)).hold(at("2025-02-28T12:00:00+08:00")));
        assert!(born(date(1960, 2, 29)).hold(at("2025-03-01T00:00:00+08:00")));
    }
}
