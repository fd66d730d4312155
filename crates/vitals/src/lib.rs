//! The domain: what a reading is, when it was taken, whose it is, what a rule concluded.
//!
//! Goes in: nothing but values. Comes out: types that are valid by construction.
//! Must never: know tokio, files, sockets, SQL or JSON; read a clock; log.

mod decimal;
mod finding;
pub mod glucose;
mod id;
mod people;
pub mod personal;
mod quantity;
mod quarantine;
mod reading;
pub mod summary;
mod time;
pub mod week;

pub use decimal::{Decimal, DecimalError};
pub use finding::{Concept, Excluded, Finding, FindingDraft, Recipient, RuleId, Severity, Verdict};
pub use id::{
    AlertId, BindingId, DeviceId, DeviceKey, FindingId, IdError, OrganisationId, PatientId, ReadingId, TeamId, UserId,
};
pub use people::{
    Binding, Device, DeviceKind, MeasuringPlan, Medication, MedicationClass, Patient, Plan, Slot, Targets,
};
pub use quantity::{GlucoseLevel, GlucoseValue, Kind, Unit};
pub use quarantine::{Held, Reason};
pub use reading::{
    Context, DeviceTime, Disposition, Entry, Meal, MealName, Reading, Status, Statuses, TimeQuality, Values,
};
pub use time::{TimeError, Timestamp, Zone, days_after};
