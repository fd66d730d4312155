//! A stored reading, and the journal's entries.

use crate::{Decimal, DeviceKey, GlucoseLevel, GlucoseValue, Held, Kind, PatientId, ReadingId, Timestamp, Unit};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The measured numbers, in the unit and with the digits that were sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Values {
    /// Blood pressure; pulse in beats a minute.
    Pressure {
        /// Systolic.
        systolic: Decimal,
        /// Diastolic.
        diastolic: Decimal,
        /// Mean arterial pressure.
        map: Option<Decimal>,
        /// Beats a minute.
        pulse: Option<Decimal>,
    },
    /// Blood glucose.
    Glucose(GlucoseValue),
}

/// How sure the measurement time is (contract: device protocol, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeQuality {
    /// The device gave an offset.
    Exact,
    /// A clock pair shifted it by more than 60 s.
    Corrected,
    /// No offset: the site's zone.
    Assumed,
    /// No usable clock: the moment of receipt.
    Received,
}

impl TimeQuality {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Corrected => "corrected",
            Self::Assumed => "assumed",
            Self::Received => "received",
        }
    }
}

/// What became of a reading that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// Stored and used.
    Stored,
    /// Stored, excluded from means.
    Flagged,
    /// Kept, never clinical (control solution).
    Excluded,
}

impl Disposition {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Flagged => "flagged",
            Self::Excluded => "excluded",
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[allow(missing_docs)]
        pub enum $name { $($variant),* }

        impl $name {
            /// Every value, in the contract's order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
            /// The contract's word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
            /// From the contract's word.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words!(/// What the meter said of itself or of the measurement (contract: device protocol, section 3).
    Status {
    BodyMovement = "body_movement", CuffLoose = "cuff_loose", IrregularPulse = "irregular_pulse",
    PulseTooHigh = "pulse_too_high", PulseTooLow = "pulse_too_low", ImproperPosition = "improper_position",
    LowBattery = "low_battery", SensorMalfunction = "sensor_malfunction", SampleInsufficient = "sample_insufficient",
    StripError = "strip_error", TemperatureHigh = "temperature_high", TemperatureLow = "temperature_low",
    ReadInterrupted = "read_interrupted", GeneralFault = "general_fault", TimeFault = "time_fault",
    ControlSolution = "control_solution",
});

words!(/// When glucose was measured, in relation to meals.
    Meal {
    Fasting = "fasting", BeforeMeal = "before_meal", AfterMeal = "after_meal",
    Bedtime = "bedtime", Casual = "casual", Night = "night",
});

words!(/// Which meal.
    MealName { Breakfast = "breakfast", Lunch = "lunch", Dinner = "dinner", Snack = "snack" });

/// A set of [`Status`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Statuses(u32);

impl Statuses {
    /// Adds one.
    pub fn insert(&mut self, status: Status) {
        self.0 |= 1 << (status as u32);
    }
    /// Whether it is in the set.
    pub const fn contains(self, status: Status) -> bool {
        self.0 & (1 << (status as u32)) != 0
    }
    /// In the contract's order.
    pub fn iter(self) -> impl Iterator<Item = Status> {
        Status::ALL.iter().copied().filter(move |s| self.contains(*s))
    }
    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Status> for Statuses {
    fn from_iter<I: IntoIterator<Item = Status>>(all: I) -> Self {
        let mut set = Self::default();
        all.into_iter().for_each(|s| set.insert(s));
        set
    }
}

/// The device's own time, exactly as sent.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeviceTime(pub Box<str>);

impl std::fmt::Debug for DeviceTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What came with the numbers. Debug prints nothing that a patient wrote.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Relation to meals.
    pub meal: Option<Meal>,
    /// Which meal.
    pub meal_name: Option<MealName>,
    /// `capillary`, `venous`, …, as sent.
    pub specimen: Option<Box<str>>,
    /// Codes that the patient chose.
    pub symptoms: Vec<Box<str>>,
    /// Whether the medication was taken.
    pub medication_taken: Option<bool>,
    /// Up to 500 characters that the patient wrote.
    pub note: Option<Box<str>>,
    /// Members that nobody here knows: a JSON object's text, kept as sent.
    pub extra: Option<Box<str>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context(…)")
    }
}

/// A reading that is kept. Written once by the journal; only an audited replay or re-attribution makes a new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Position in the journal.
    pub id: ReadingId,
    /// Which meter.
    pub device: DeviceKey,
    /// Counts how often the meter's `seq` began anew, from 0.
    pub epoch: u32,
    /// The meter's own counter; negative and stable where it has none (slot, minute and values hashed).
    pub seq: i64,
    /// Which person's button on the meter.
    pub user_slot: Option<u8>,
    /// Whose reading; none while unassigned.
    pub patient: Option<PatientId>,
    /// When it was measured; never changes once stored.
    pub measured_at: Timestamp,
    /// When the server had it.
    pub received_at: Timestamp,
    /// As sent.
    pub device_time: Option<DeviceTime>,
    /// How sure `measured_at` is.
    pub time_quality: TimeQuality,
    /// Stored, flagged or excluded.
    pub disposition: Disposition,
    /// Its numbers.
    pub values: Values,
    /// Their unit.
    pub unit: Unit,
    /// The meter's words.
    pub statuses: Statuses,
    /// Why it is flagged, beyond its statuses (`zone_suspect`). What depends on other readings is not kept here: see
    /// [`crate::personal`].
    pub flags: Vec<Box<str>>,
    /// Sent as backfill.
    pub historical: bool,
    /// Meal, symptoms, note.
    pub context: Context,
}

impl Reading {
    /// Blood pressure or glucose.
    pub const fn kind(&self) -> Kind {
        self.unit.kind()
    }

    /// Systolic and diastolic in mmHg.
    pub fn pressure(&self) -> Option<(f64, f64)> {
        match &self.values {
            Values::Pressure { systolic, diastolic, .. } => {
                Some((self.unit.canonical(systolic.value()), self.unit.canonical(diastolic.value())))
            }
            Values::Glucose(_) => None,
        }
    }

    /// Glucose in mmol/L, or beyond the meter's range.
    pub fn glucose(&self) -> Option<GlucoseLevel> {
        match &self.values {
            Values::Pressure { .. } => None,
            Values::Glucose(GlucoseValue::High) => Some(GlucoseLevel::AboveRange),
            Values::Glucose(GlucoseValue::Low) => Some(GlucoseLevel::BelowRange),
            Values::Glucose(GlucoseValue::Value(v)) => Some(GlucoseLevel::Mmol(self.unit.canonical(v.value()))),
        }
    }
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A reading that is kept.
    Reading(Arc<Reading>),
    /// Something held back.
    Held(Arc<Held>),
}
