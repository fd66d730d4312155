//! What a human body and a working meter cannot have measured (reference: clinical, section 1), and what a meter's own
//! words do to its reading (contract: device protocol, section 3). Pure.

use vitals::{Disposition, GlucoseValue, Reason, Status, Statuses, Unit, Values};

/// mmHg.
const SYSTOLIC: (f64, f64) = (50.0, 280.0);
/// mmHg.
const DIASTOLIC: (f64, f64) = (25.0, 180.0);
/// mmHg between systolic and diastolic.
const LEAST_DIFFERENCE: f64 = 10.0;
/// Mean arterial pressure, mmHg: between the lowest diastolic and the highest systolic.
const MEAN: (f64, f64) = (25.0, 280.0);
/// Beats a minute.
const PULSE: (f64, f64) = (25.0, 220.0);
/// mmol/L.
const GLUCOSE: (f64, f64) = (0.6, 50.0);
/// Rounding of unit conversion.
const SLACK: f64 = 1e-9;

/// Whether the numbers can be true.
pub fn is_plausible(values: &Values, unit: Unit) -> bool {
    let within = |x: f64, (low, high): (f64, f64)| x >= low - SLACK && x <= high + SLACK;
    match values {
        Values::Pressure { systolic, diastolic, map, pulse } => {
            let (sys, dia) = (unit.canonical(systolic.value()), unit.canonical(diastolic.value()));
            within(sys, SYSTOLIC)
                && within(dia, DIASTOLIC)
                && sys - dia >= LEAST_DIFFERENCE - SLACK
                && map.is_none_or(|m| within(unit.canonical(m.value()), MEAN))
                && pulse.is_none_or(|p| within(p.value(), PULSE))
        }
        Values::Glucose(GlucoseValue::Value(v)) => within(unit.canonical(v.value()), GLUCOSE),
        // Beyond the meter's range: the most important readings of all, never nonsense.
        Values::Glucose(GlucoseValue::High | GlucoseValue::Low) => true,
    }
}

/// What the meter's words do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Not to be kept, because of these.
    pub held: Vec<Reason>,
    /// Never clinical.
    pub excluded: bool,
    /// Kept out of means, because of these.
    pub flagged: Vec<Status>,
}

/// The effect of a set of words.
pub fn effect(statuses: Statuses) -> Effect {
    let mut effect = Effect::default();
    for status in statuses.iter() {
        match status {
            Status::BodyMovement | Status::CuffLoose | Status::ImproperPosition | Status::TimeFault => {
                effect.flagged.push(status);
            }
            Status::SensorMalfunction
            | Status::SampleInsufficient
            | Status::StripError
            | Status::TemperatureHigh
            | Status::TemperatureLow
            | Status::ReadInterrupted
            | Status::GeneralFault => effect.held.push(Reason::Status(status)),
            Status::ControlSolution => effect.excluded = true,
            Status::IrregularPulse | Status::PulseTooHigh | Status::PulseTooLow | Status::LowBattery => {}
        }
    }
    effect
}

/// Stored, flagged or excluded, of a reading that is kept.
pub fn disposition(effect: &Effect, values: &Values, zone_suspect: bool) -> Disposition {
    let beyond_range = matches!(values, Values::Glucose(GlucoseValue::High | GlucoseValue::Low));
    if effect.excluded {
        Disposition::Excluded
    } else if !effect.flagged.is_empty() || beyond_range || zone_suspect {
        Disposition::Flagged
    } else {
        Disposition::Stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressure(sys: &str, dia: &str, pulse: Option<&str>, unit: Unit) -> bool {
        let number = |t: &str| t.parse().unwrap();
        let values =
            Values::Pressure { systolic: number(sys), diastolic: number(dia), map: None, pulse: pulse.map(number) };
        is_plausible(&values, unit)
    }

    fn glucose(text: &str, unit: Unit) -> bool {
        is_plausible(&Values::Glucose(GlucoseValue::Value(text.parse().unwrap())), unit)
    }

    #[test]
    fn the_edges_belong_to_the_living() {
        assert!(pressure("280", "180", Some("25"), Unit::MmHg) && pressure("50", "25", Some("220"), Unit::MmHg));
        assert!(pressure("138.1", "128.1", None, Unit::MmHg) && pressure("18.4", "11.7", None, Unit::KPa));
        assert!(!pressure("281", "180", None, Unit::MmHg) && !pressure("49", "26", None, Unit::MmHg));
        assert!(!pressure("70", "140", None, Unit::MmHg) && !pressure("99", "90", None, Unit::MmHg));
        assert!(!pressure("2047", "2047", None, Unit::MmHg) && !pressure("120", "80", Some("0"), Unit::MmHg));
        assert!(!pressure("18.4", "11.7", None, Unit::MmHg), "kPa sent as mmHg");
        assert!(glucose("0.6", Unit::MmolPerL) && glucose("50", Unit::MmolPerL) && glucose("900", Unit::MgPerDl));
        assert!(
            !glucose("0.59", Unit::MmolPerL) && !glucose("113.5", Unit::MmolPerL) && !glucose("6.2", Unit::MgPerDl)
        );
    }

    #[test]
    fn every_word_has_the_effect_that_the_contract_gives_it() {
        let words = |text: &str| effect(text.split(' ').map(|w| Status::parse(w).unwrap()).collect());
        for flagged in ["body_movement", "cuff_loose", "improper_position", "time_fault"] {
            assert_eq!(words(flagged).flagged.len(), 1, "{flagged}");
        }
        let held = "sensor_malfunction sample_insufficient strip_error temperature_high temperature_low \
                    read_interrupted general_fault";
        assert_eq!(words(held).held.len(), 7);
        assert!(words("control_solution").excluded);
        assert_eq!(words("irregular_pulse pulse_too_high pulse_too_low low_battery"), Effect::default());
        let high = Values::Glucose(GlucoseValue::High);
        assert_eq!(disposition(&Effect::default(), &high, false), Disposition::Flagged);
        assert_eq!(disposition(&words("control_solution cuff_loose"), &high, true), Disposition::Excluded);
    }
}
