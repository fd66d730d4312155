//! Reading messages as a meter writes them (contract: device protocol, section 3).
//!
//! Goes in: domain values. Comes out: JSON bytes. The simulator's own encoder, so that the service's decoder is tested
//! against a second reading of the contract. Must never: change a digit.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use vitals::{Decimal, Kind, Meal, MealName, Unit};

/// One measurement as it leaves the meter.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The meter's counter.
    pub seq: u64,
    /// RFC 3339, or a clock on the wall without an offset.
    pub time: String,
    /// The numbers.
    pub values: Values,
}

/// Numbers with the digits to send.
#[derive(Clone, Debug)]
pub enum Values {
    /// mmHg and beats a minute.
    Pressure {
        /// Systolic.
        systolic: Decimal,
        /// Diastolic.
        diastolic: Decimal,
        /// Pulse.
        pulse: Option<Decimal>,
    },
    /// Glucose.
    Glucose {
        /// The number.
        glucose: Decimal,
        /// mmol/L or mg/dL.
        unit: Unit,
        /// In relation to meals.
        meal: Option<Meal>,
        /// Which meal.
        meal_name: Option<MealName>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    seq: u64,
    kind: &'static str,
    time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    systolic: Option<Digits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diastolic: Option<Digits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pulse: Option<Digits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    glucose: Option<Digits>,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    meal: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meal_name: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    specimen: Option<&'static str>,
}

/// A number that keeps its digits on the way into JSON.
struct Digits(Decimal);

impl Serialize for Digits {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        // A whole number is the same in JSON; as raw text it would be parsed once more.
        match self.0.as_integer() {
            Some(whole) => s.serialize_i64(whole),
            None => RawValue::from_string(self.0.to_string()).map_err(serde::ser::Error::custom)?.serialize(s),
        }
    }
}

impl Serialize for Reading {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let empty = Line {
            seq: self.seq,
            kind: Kind::BloodPressure.as_str(),
            time: &self.time,
            systolic: None,
            diastolic: None,
            pulse: None,
            glucose: None,
            unit: Unit::MmHg.as_str(),
            meal: None,
            meal_name: None,
            specimen: None,
        };
        match self.values {
            Values::Pressure { systolic, diastolic, pulse } => Line {
                systolic: Some(Digits(systolic)),
                diastolic: Some(Digits(diastolic)),
                pulse: pulse.map(Digits),
                ..empty
            },
            Values::Glucose { glucose, unit, meal, meal_name } => Line {
                kind: Kind::BloodGlucose.as_str(),
                glucose: Some(Digits(glucose)),
                unit: unit.as_str(),
                meal: meal.map(Meal::as_str),
                meal_name: meal_name.map(MealName::as_str),
                specimen: Some("capillary"),
                ..empty
            },
        }
        .serialize(s)
    }
}

/// The most readings that one message may carry.
pub const MOST_READINGS: usize = 200;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a, R> {
    v: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_id: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    historical: bool,
    readings: &'a [R],
}

/// One message of at most [`MOST_READINGS`] readings, oldest first (the caller's order is kept).
pub fn message<R: Serialize>(readings: &[R], msg_id: Option<&str>, historical: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + 192 * readings.len());
    // Serialising plain structs into memory cannot fail; an empty message would be quarantined and noticed.
    match serde_json::to_writer(&mut out, &Message { v: 1, msg_id, historical, readings }) {
        Ok(()) => out,
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_example() {
        let readings = [
            Reading {
                seq: 4711,
                time: "2026-03-01T07:11:40+08:00".into(),
                values: Values::Pressure {
                    systolic: Decimal::new(138, 0),
                    diastolic: Decimal::new(88, 0),
                    pulse: Some(Decimal::new(62, 0)),
                },
            },
            Reading {
                seq: 4712,
                time: "2026-03-01T07:12:00".into(),
                values: Values::Glucose {
                    glucose: Decimal::new(620, -2),
                    unit: Unit::MmolPerL,
                    meal: Some(Meal::Fasting),
                    meal_name: None,
                },
            },
        ];
        let text = String::from_utf8(message(&readings, Some("m-1"), true)).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"v":1,"msgId":"m-1","historical":true,"readings":[{"seq":4711,"kind":"blood_pressure","#,
                r#""time":"2026-03-01T07:11:40+08:00","systolic":138,"diastolic":88,"pulse":62,"unit":"mmHg"},"#,
                r#"{"seq":4712,"kind":"blood_glucose","time":"2026-03-01T07:12:00","glucose":6.20,"unit":"mmol/L","#,
                r#""meal":"fasting","specimen":"capillary"}]}"#
            )
        );
    }
}
