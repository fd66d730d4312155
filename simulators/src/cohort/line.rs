//! One measurement as a cohort's meter sends it, and what is true of it.
//!
//! Goes in: numbers. Comes out: members of a reading message (contract: device protocol, section 3) and a [`Fact`].
//! Must never: let the fact depend on what the service makes of the measurement.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use vitals::{Decimal, Kind, Meal, Timestamp, Unit};

/// A reading on its way out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    /// The meter's counter.
    pub seq: u64,
    /// What kind.
    pub kind: &'static str,
    /// As the meter's clock has it.
    pub time: String,
    /// mmHg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub systolic: Option<Digits>,
    /// mmHg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diastolic: Option<Digits>,
    /// Glucose in `unit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glucose: Option<Digits>,
    /// Always told.
    pub unit: &'static str,
    /// In relation to meals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meal: Option<&'static str>,
    /// What the meter says of itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<&'static str>,
    /// Told only where a dose was missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medication_taken: Option<bool>,
}

/// A number with the digits that are sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digits(pub(super) Decimal);

impl Serialize for Digits {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.to_string()).map_err(serde::ser::Error::custom)?.serialize(s)
    }
}

/// What a measurement is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Worth {
    /// Measured as it should be.
    Clean,
    /// Far too high, and the meter does not know.
    Gross,
    /// The meter says that it was measured badly.
    Flagged,
    /// Not the patient.
    Other,
    /// Control solution.
    Control,
    /// A failed cuff's number, which is no pressure.
    Sentinel,
}

/// What is true of a measurement. mmHg and mmol/L.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Under which number it was sent.
    pub seq: u64,
    /// Blood pressure, else glucose.
    pub pressure: bool,
    /// When it really was measured.
    pub at: Timestamp,
    /// When its meter says that it was.
    pub told: Timestamp,
    /// The person's own systolic or glucose at that moment.
    pub truth: f64,
    /// The person's own diastolic; 0 for glucose.
    pub truth_low: f64,
    /// What the meter showed, mmHg or mmol/L.
    pub shown: f64,
    /// What it showed below; 0 for glucose.
    pub shown_low: f64,
    /// What it would have shown, had the script not had its hand in it: both numbers.
    pub plain: (f64, f64),
    /// What it is worth.
    pub worth: Worth,
    /// Fasting, where glucose.
    pub fasting: bool,
}

/// A blood pressure.
pub(super) fn pressure(seq: u64, time: String, shown: (i64, i64), status: Vec<&'static str>) -> Line {
    Line {
        seq,
        kind: Kind::BloodPressure.as_str(),
        time,
        systolic: Some(Digits(Decimal::new(shown.0, 0))),
        diastolic: Some(Digits(Decimal::new(shown.1, 0))),
        glucose: None,
        unit: Unit::MmHg.as_str(),
        meal: None,
        status,
        medication_taken: None,
    }
}

/// A glucose, in mmol/L with one decimal or in whole mg/dL.
pub(super) fn glucose(seq: u64, time: String, shown: Decimal, unit: Unit, meal: Option<Meal>) -> Line {
    Line {
        seq,
        kind: Kind::BloodGlucose.as_str(),
        time,
        systolic: None,
        diastolic: None,
        glucose: Some(Digits(shown)),
        unit: unit.as_str(),
        meal: meal.map(Meal::as_str),
        status: Vec::new(),
        medication_taken: None,
    }
}
