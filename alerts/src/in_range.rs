//! Whether a patient has come back into range: so many consecutive unflagged readings, by time of measurement. Pure.

use std::sync::Arc;
use vitals::{Concept, Disposition, GlucoseLevel, Kind, Meal, Patient, Reading, Targets};

/// mmHg; the platform's home target where the plan has none (China 2024, home measurement).
const HOME: (f64, f64) = (135.0, 85.0);
/// mmHg; below this no systolic is in range.
const SYSTOLIC_LOW: f64 = 90.0;
/// mmol/L; level 1 low (ADA).
const GLUCOSE_LOW: f64 = 3.9;
/// mmol/L; fasting and after a meal where the plan has none (CDS).
const GLUCOSE_HIGH: (f64, f64) = (7.0, 10.0);

/// Which readings can clear this concept; none where values say nothing about it.
pub(crate) const fn clears(concept: Concept) -> Option<Kind> {
    use Concept as C;
    match concept {
        C::BpCrisis
        | C::BpLow
        | C::BpSustained
        | C::BpOvertreated
        | C::BpMorning
        | C::BpTrendUp
        | C::BpTrendDown
        | C::BpVariability
        | C::PregnancyBp => Some(Kind::BloodPressure),
        C::GlucoseLowSevere
        | C::GlucoseLow
        | C::GlucoseHighCritical
        | C::GlucoseLowPattern
        | C::GlucoseFastingHigh
        | C::GlucosePostmealHigh
        | C::GlucoseTrendUp
        | C::GlucoseVariability => Some(Kind::BloodGlucose),
        C::PulseIrregular | C::DeviceQuality | C::Adherence | C::NoResponse | C::FollowUpDue => None,
    }
}

/// Whether `n` readings in a row, ascending by time of measurement, were in this patient's range. Flagged and
/// excluded ones neither count nor interrupt.
pub(crate) fn is_back(readings: &[Arc<Reading>], patient: &Patient, n: u32) -> bool {
    let mut row = 0;
    for reading in readings.iter().filter(|r| r.disposition == Disposition::Stored && r.flags.is_empty()) {
        row = if in_range(reading, &patient.plan.targets) { row + 1 } else { 0 };
        if row >= n {
            return true;
        }
    }
    false
}

fn in_range(reading: &Reading, targets: &Targets) -> bool {
    if let Some((systolic, diastolic)) = reading.pressure() {
        let high = targets.home_systolic.unwrap_or(HOME.0);
        return (SYSTOLIC_LOW..high).contains(&systolic) && diastolic < targets.home_diastolic.unwrap_or(HOME.1);
    }
    let fasting = matches!(reading.context.meal, Some(Meal::Fasting | Meal::BeforeMeal));
    let high = if fasting {
        targets.fasting_high.unwrap_or(GLUCOSE_HIGH.0)
    } else {
        targets.post_meal_high.unwrap_or(GLUCOSE_HIGH.1)
    };
    match reading.glucose() {
        Some(GlucoseLevel::Mmol(value)) => value >= GLUCOSE_LOW && value <= high,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals::{
        Context, DeviceKey, GlucoseValue, PatientId, Plan, ReadingId, Statuses, TimeQuality, Timestamp, Unit, Values,
    };

    fn patient() -> Patient {
        Patient {
            id: PatientId::new(1),
            name: String::new(),
            birth_date: None,
            sex: None,
            tags: Vec::new(),
            conditions: Vec::new(),
            team: None,
            organisation: None,
            phone: None,
            time_zone: None,
            enrolled_at: Timestamp::from_seconds(0),
            visited_on: None,
            plan: Plan::default(),
        }
    }

    fn reading(values: Values, unit: Unit, disposition: Disposition) -> Arc<Reading> {
        Arc::new(Reading {
            id: ReadingId::new(1),
            device: DeviceKey::new(1),
            epoch: 0,
            seq: 1,
            user_slot: None,
            patient: None,
            measured_at: Timestamp::from_seconds(0),
            received_at: Timestamp::from_seconds(0),
            device_time: None,
            time_quality: TimeQuality::Exact,
            disposition,
            values,
            unit,
            statuses: Statuses::default(),
            flags: Vec::new(),
            historical: false,
            context: Context::default(),
        })
    }

    fn bp(systolic: &str, diastolic: &str, disposition: Disposition) -> Arc<Reading> {
        let (systolic, diastolic) = (systolic.parse().unwrap(), diastolic.parse().unwrap());
        reading(Values::Pressure { systolic, diastolic, map: None, pulse: None }, Unit::MmHg, disposition)
    }

    fn glucose(value: &str) -> Arc<Reading> {
        let values = Values::Glucose(GlucoseValue::Value(value.parse().unwrap()));
        reading(values, Unit::MmolPerL, Disposition::Stored)
    }

    #[test]
    fn three_in_a_row_and_flagged_ones_neither_count_nor_interrupt() {
        use Disposition::{Flagged, Stored};
        let (good, high, moved) = (bp("126", "78", Stored), bp("188", "112", Stored), bp("188", "112", Flagged));
        let back =
            |row: &[&Arc<Reading>]| is_back(&row.iter().map(|r| Arc::clone(r)).collect::<Vec<_>>(), &patient(), 3);
        assert!(back(&[&good, &good, &good]));
        assert!(back(&[&good, &moved, &good, &good]));
        assert!(!back(&[&good, &good, &high, &good, &good]));
        assert!(!back(&[&good, &good, &bp("126", "78", Flagged)]));
        assert!(!back(&[&good, &good, &bp("135", "78", Stored)]), "the target itself is not below it");
        assert!(!back(&[&good, &good, &bp("89", "50", Stored)]));
    }

    #[test]
    fn glucose_has_two_ends() {
        let back = |a: &str| is_back(&[glucose(a), glucose(a), glucose(a)], &patient(), 3);
        assert!(back("3.9") && back("10.0"));
        assert!(!back("3.8") && !back("10.1"));
    }
}
