//! Patients with their plans, devices, and who wore which device when.

use crate::{BindingId, DeviceId, DeviceKey, OrganisationId, PatientId, TeamId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A person who measures. Debug shows the id only.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Patient {
    /// Identity.
    pub id: PatientId,
    /// Full name.
    pub name: String,
    /// Day of birth, `1958-05-02`.
    pub birth_date: Option<jiff::civil::Date>,
    /// `female`, `male`, `other` or absent.
    pub sex: Option<String>,
    /// Free words for grouping.
    pub tags: Vec<String>,
    /// `hypertension diabetes chronic_kidney_disease pregnancy` and any other word.
    pub conditions: Vec<String>,
    /// Which family-doctor team answers for them.
    pub team: Option<TeamId>,
    /// The station that owns the record: the team's organisation.
    pub organisation: Option<OrganisationId>,
    /// To call them.
    pub phone: Option<String>,
    /// IANA name; the site's zone where absent.
    pub time_zone: Option<String>,
    /// When the record was made.
    pub enrolled_at: Timestamp,
    /// The day of the last visit face to face that somebody recorded.
    #[serde(default)]
    pub visited_on: Option<jiff::civil::Date>,
    /// Targets, measuring plan, medication, rule parameters.
    pub plan: Plan,
}

impl std::fmt::Debug for Patient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Patient({})", self.id)
    }
}

/// A patient's plan (contract: rules), mmHg and mmol/L. Members that are absent take the card's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Plan {
    /// Targets at home.
    pub targets: Targets,
    /// How often to measure.
    pub measuring: MeasuringPlan,
    /// What they take.
    pub medications: Vec<Medication>,
    /// Rule id → parameter → value, for parameters that a patient may own.
    pub parameters: BTreeMap<String, BTreeMap<String, f64>>,
}

/// Targets at home, in mmHg and mmol/L.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Targets {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_systolic: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_diastolic: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fasting_low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fasting_high: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_meal_high: Option<f64>,
}

/// How often to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeasuringPlan {
    /// Sessions a week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blood_pressure_per_week: Option<f64>,
    /// Readings a week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glucose_per_week: Option<f64>,
}

/// One drug.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Medication {
    /// As prescribed.
    pub name: String,
    /// What rules need to know of it.
    pub class: MedicationClass,
    /// First day.
    #[serde(default)]
    pub from: Option<jiff::civil::Date>,
    /// Last day.
    #[serde(default)]
    pub to: Option<jiff::civil::Date>,
}

impl Medication {
    /// Whether it is taken on this day; both ends count.
    pub fn is_taken_on(&self, day: jiff::civil::Date) -> bool {
        self.from.is_none_or(|from| from <= day) && self.to.is_none_or(|to| to >= day)
    }
}

/// Class of a drug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum MedicationClass {
    Insulin,
    Sulfonylurea,
    Biguanide,
    CalciumChannelBlocker,
    AceInhibitor,
    Diuretic,
    BetaBlocker,
    Other,
}

/// What a device is; it does not limit what it may send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// A meter, or its phone.
    Meter,
    /// Speaks for other devices on its allow list.
    Gateway,
    /// Shared; a session token stands for the binding.
    Kiosk,
    /// Publishes nothing, subscribes to live copies.
    Service,
}

/// A device as the edge and ingest see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The store's short key.
    pub key: DeviceKey,
    /// Public name.
    pub id: DeviceId,
    /// What it is.
    pub kind: DeviceKind,
    /// The owner's word for it (`blood_pressure`, `blood_glucose`, a model family), as given.
    pub label: Option<String>,
    /// Model name.
    pub model: Option<String>,
    /// The owning station.
    pub organisation: Option<OrganisationId>,
    /// SHA-256 of the secret; none when revoked or certificate-only.
    pub secret_hash: Option<[u8; 32]>,
    /// Credential withdrawn: nothing lets it in.
    pub revoked: bool,
}

/// Which of a meter's users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Everybody who presses no button.
    Any,
    /// One button.
    User(u8),
}

impl Slot {
    /// "any" overlaps every slot.
    pub fn overlaps(self, other: Self) -> bool {
        self == Self::Any || other == Self::Any || self == other
    }
}

/// Who wore a device from when to when: `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Identity.
    pub id: BindingId,
    /// Which device.
    pub device: DeviceKey,
    /// Which slot.
    pub slot: Slot,
    /// First moment.
    pub from: Timestamp,
    /// First moment no longer; none while it lasts.
    pub to: Option<Timestamp>,
    /// Who.
    pub patient: PatientId,
    /// When the binding was recorded.
    pub recorded_at: Timestamp,
}

impl Binding {
    /// Whether a reading of `slot` measured at `at` is this patient's.
    pub fn covers(&self, slot: Option<u8>, at: Timestamp) -> bool {
        let fits = match self.slot {
            Slot::Any => true,
            Slot::User(n) => slot == Some(n),
        };
        fits && at >= self.from && self.to.is_none_or(|to| at < to)
    }

    /// Whether two bindings of one device claim a common moment of a common slot.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.device == other.device
            && self.slot.overlaps(other.slot)
            && other.to.is_none_or(|to| self.from < to)
            && self.to.is_none_or(|to| other.from < to)
    }
}
