//! Kinds and units. A unit is sent, never guessed.

use crate::Decimal;
use serde::{Deserialize, Serialize};

/// mmHg in one kPa (formats reference; 1 mmHg = 133.322 Pa).
pub(crate) const MMHG_PER_KPA: f64 = 7.500_62;
/// mg/dL of glucose in one mmol/L (18.016, as the clinical vectors have it).
pub(crate) const MG_DL_PER_MMOL_L: f64 = 18.016;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Systolic and diastolic pressure.
    BloodPressure,
    /// Glucose in blood.
    BloodGlucose,
}

impl Kind {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BloodPressure => "blood_pressure",
            Self::BloodGlucose => "blood_glucose",
        }
    }
    /// From the contract's word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::BloodPressure, Self::BloodGlucose].into_iter().find(|k| k.as_str() == text)
    }
}

/// The unit in which values were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unit {
    /// Millimetres of mercury.
    #[serde(rename = "mmHg")]
    MmHg,
    /// Kilopascal.
    #[serde(rename = "kPa")]
    KPa,
    /// Millimoles a litre.
    #[serde(rename = "mmol/L")]
    MmolPerL,
    /// Milligrams a decilitre.
    #[serde(rename = "mg/dL")]
    MgPerDl,
}

impl Unit {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MmHg => "mmHg",
            Self::KPa => "kPa",
            Self::MmolPerL => "mmol/L",
            Self::MgPerDl => "mg/dL",
        }
    }
    /// From the contract's word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::MmHg, Self::KPa, Self::MmolPerL, Self::MgPerDl].into_iter().find(|u| u.as_str() == text)
    }
    /// What is measured in this unit.
    pub const fn kind(self) -> Kind {
        match self {
            Self::MmHg | Self::KPa => Kind::BloodPressure,
            Self::MmolPerL | Self::MgPerDl => Kind::BloodGlucose,
        }
    }
    /// `value` in mmHg or mmol/L, the units in which rules think.
    pub fn canonical(self, value: f64) -> f64 {
        match self {
            Self::MmHg | Self::MmolPerL => value,
            Self::KPa => value * MMHG_PER_KPA,
            Self::MgPerDl => value / MG_DL_PER_MMOL_L,
        }
    }
}

/// Glucose as the meter showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GlucoseValue {
    /// A number.
    Value(Decimal),
    /// `HI`: above what the meter can show.
    High,
    /// `LO`: below what the meter can show.
    Low,
}

/// Glucose as rules see it.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum GlucoseLevel {
    /// Below the meter's range (about 1.1 mmol/L).
    BelowRange,
    /// In mmol/L.
    Mmol(f64),
    /// Above the meter's range (about 33.3 mmol/L).
    AboveRange,
}
