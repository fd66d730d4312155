//! A reading as the rules see it: small, in mmHg and mmol/L, with what decides whether it counts.

use vitals::{
    DeviceKey, Disposition, GlucoseLevel, Kind, Meal, Reading, ReadingId, Status, TimeQuality, Timestamp, Values, Zone,
    summary::is_of_sensor,
};

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Systolic and diastolic, mmHg.
    Pressure(f64, f64),
    /// Glucose, mmol/L or beyond the meter.
    Glucose(GlucoseLevel),
}

/// One reading of one patient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When it was measured.
    pub at: Timestamp,
    /// Which reading.
    pub id: ReadingId,
    /// By which meter.
    pub device: DeviceKey,
    /// What.
    pub value: Value,
    /// Relation to a meal.
    pub meal: Option<Meal>,
    /// Counts in means and confirmations: neither flagged nor excluded; HI and LO count although flagged.
    pub valid: bool,
    /// Why it does not count, where it does not.
    pub reason: Option<&'static str>,
    /// Movement, cuff or position: measured badly, to be repeated.
    pub badly_measured: bool,
    /// The patient reported any symptom with it.
    pub symptoms: bool,
    /// Dizziness among them.
    pub dizzy: bool,
    /// Fainting among them.
    pub fainted: bool,
    /// The cuff marked an irregular pulse. The pressure counts all the same.
    pub irregular: bool,
    /// The patient said that a dose was missed.
    pub missed_dose: bool,
    /// The meter said that its battery is low.
    pub low_battery: bool,
    /// A continuous sensor measured it.
    pub of_sensor: bool,
    /// Which of the meter's user buttons was pressed.
    pub button: Option<u8>,
    /// By how many minutes the meter's clock was wrong, as far as that is known.
    pub clock_off: u16,
    /// Beats a minute; 0 where the meter told none.
    pub pulse: u16,
}

/// By how many minutes the meter's clock was wrong; 0 where it was not, or nobody can tell. Whole hours are a matter of
/// zones, which ingest marks by itself.
fn clock_off(reading: &Reading, zone: &Zone) -> u16 {
    if reading.flags.iter().any(|f| &**f == "zone_suspect") || reading.time_quality == TimeQuality::Received {
        return 60;
    }
    if reading.time_quality != TimeQuality::Corrected {
        return 0;
    }
    let Some(sent) = &reading.device_time else { return 0 };
    let moment = match Zone::plain_wall(&sent.0) {
        Some(wall) => Some(zone.moment(wall)),
        None => Timestamp::parse_rfc3339(&sent.0).ok(),
    };
    let Some(told) = moment else { return 0 };
    let off = reading.measured_at.since(told).max(told.since(reading.measured_at));
    let beyond = (off.as_secs() / 60) % 60;
    u16::try_from(beyond.min(60 - beyond)).unwrap_or(0)
}

const BADLY: [Status; 3] = [Status::BodyMovement, Status::CuffLoose, Status::ImproperPosition];

impl Point {
    /// Takes over what the rules need of a stored reading. `zone`: in which the meter's wall clock is read.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a pulse within 0..=999")]
    pub fn of(reading: &Reading, zone: &Zone) -> Self {
        let value = match reading.pressure() {
            Some((systolic, diastolic)) => Value::Pressure(systolic, diastolic),
            None => Value::Glucose(reading.glucose().unwrap_or(GlucoseLevel::Mmol(f64::NAN))),
        };
        let beyond = matches!(value, Value::Glucose(GlucoseLevel::AboveRange | GlucoseLevel::BelowRange));
        let valid = match reading.disposition {
            Disposition::Stored => true,
            Disposition::Flagged => beyond,
            Disposition::Excluded => false,
        };
        let badly = BADLY.into_iter().find(|s| reading.statuses.contains(*s));
        let said = |word: &str| reading.context.symptoms.iter().any(|s| s.contains(word));
        Self {
            at: reading.measured_at,
            id: reading.id,
            device: reading.device,
            value,
            meal: reading.context.meal,
            valid,
            reason: (!valid).then(|| match (badly, reading.disposition) {
                (Some(status), _) => status.as_str(),
                (None, Disposition::Excluded) => "control_solution",
                (None, _) => "flagged",
            }),
            badly_measured: !valid && badly.is_some(),
            symptoms: reading.context.symptoms.iter().any(|s| &**s != "none"),
            dizzy: said("dizz"),
            fainted: said("faint") || said("syncope"),
            irregular: reading.statuses.contains(Status::IrregularPulse),
            missed_dose: reading.context.medication_taken == Some(false),
            low_battery: reading.statuses.contains(Status::LowBattery),
            of_sensor: is_of_sensor(reading),
            button: reading.user_slot,
            clock_off: clock_off(reading, zone),
            pulse: match &reading.values {
                Values::Pressure { pulse: Some(beats), .. } => beats.value().clamp(0.0, 999.0).round() as u16,
                _ => 0,
            },
        }
    }

    /// Blood pressure or glucose.
    pub const fn kind(&self) -> Kind {
        match self.value {
            Value::Pressure(..) => Kind::BloodPressure,
            Value::Glucose(_) => Kind::BloodGlucose,
        }
    }

    /// Systolic and diastolic, mmHg.
    pub const fn pressure(&self) -> Option<(f64, f64)> {
        match self.value {
            Value::Pressure(systolic, diastolic) => Some((systolic, diastolic)),
            Value::Glucose(_) => None,
        }
    }

    /// Glucose in mmol/L; beyond the meter's range an infinity of that side.
    pub const fn glucose(&self) -> Option<f64> {
        match self.value {
            Value::Glucose(GlucoseLevel::BelowRange) => Some(f64::NEG_INFINITY),
            Value::Glucose(GlucoseLevel::Mmol(v)) => Some(v),
            Value::Glucose(GlucoseLevel::AboveRange) => Some(f64::INFINITY),
            Value::Pressure(..) => None,
        }
    }

    /// Order of measurement. Two readings of one moment are ordered by value, so that the order in which they came
    /// in (their ids) decides nothing that it need not.
    pub(crate) fn before(&self, other: &Self) -> std::cmp::Ordering {
        let key = |p: &Self| match p.value {
            Value::Pressure(s, d) => (s, d),
            Value::Glucose(_) => (p.glucose().unwrap_or(f64::NAN), 0.0),
        };
        let ((a, b), (c, d)) = (key(self), key(other));
        self.at.cmp(&other.at).then(a.total_cmp(&c)).then(b.total_cmp(&d)).then(self.id.cmp(&other.id))
    }
}
