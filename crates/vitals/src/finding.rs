//! What a rule concluded. An *alert* is what a human must handle; a finding is why.

use crate::{AlertId, FindingId, PatientId, ReadingId, Timestamp};
use serde::{Deserialize, Serialize};

/// A rule's id, `BP-C1` … `PREG-1`.
pub type RuleId = Box<str>;

macro_rules! closed {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[allow(missing_docs)]
        pub enum $name { $(#[serde(rename = $word)] $variant),* }

        impl $name {
            /// Every value.
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

closed!(/// How urgent; ordered, so that severity can only rise.
    Severity { Info = "info", Routine = "routine", Urgent = "urgent", Critical = "critical" });

closed!(/// Whether a finding is told now or only written down.
    Verdict { Page = "page", Note = "note" });

closed!(/// Whom a finding concerns.
    Recipient { Patient = "patient", HealthManager = "health_manager", Gp = "gp", Specialist = "specialist" });

closed!(/// What an episode is about: at most one open alert per patient and concept.
    Concept {
    BpCrisis = "bp_crisis", BpLow = "bp_low", BpSustained = "bp_sustained", BpOvertreated = "bp_overtreated",
    BpMorning = "bp_morning", BpTrendUp = "bp_trend_up", BpTrendDown = "bp_trend_down",
    BpVariability = "bp_variability", PulseIrregular = "pulse_irregular", GlucoseLowSevere = "glucose_low_severe",
    GlucoseLow = "glucose_low", GlucoseHighCritical = "glucose_high_critical",
    GlucoseLowPattern = "glucose_low_pattern", GlucoseFastingHigh = "glucose_fasting_high",
    GlucosePostmealHigh = "glucose_postmeal_high", GlucoseTrendUp = "glucose_trend_up",
    GlucoseVariability = "glucose_variability", DeviceQuality = "device_quality", Adherence = "adherence",
    NoResponse = "no_response", FollowUpDue = "follow_up_due", PregnancyBp = "pregnancy_bp",
});

/// A reading that a rule looked at and left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Excluded {
    /// Which.
    pub reading_id: ReadingId,
    /// Why.
    pub reason: String,
}

/// A conclusion before it has an identity. Two drafts with the same rule, patient, severity, `effective_at` and readings are one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingDraft {
    /// Of whom.
    pub patient: PatientId,
    /// By which card.
    pub rule: RuleId,
    /// In which version.
    pub rule_version: u32,
    /// About what.
    pub concept: Concept,
    /// How urgent.
    pub severity: Severity,
    /// Told or written down.
    pub verdict: Verdict,
    /// When it was concluded.
    pub at: Timestamp,
    /// Measurement time at which it became true.
    pub effective_at: Timestamp,
    /// Whom it concerns.
    pub recipients: Vec<Recipient>,
    /// It ends the matter (a repeat came out normal).
    pub closes: bool,
    /// Readings used.
    pub readings: Vec<ReadingId>,
    /// Readings left out.
    pub excluded: Vec<Excluded>,
    /// Numbers, limits and where each came from, guideline, what would clear it: a JSON object's text.
    pub evidence: String,
}

/// A conclusion as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Identity.
    pub id: FindingId,
    /// Order of storage, from 1, without gaps visible to a reader of the store.
    pub sequence: i64,
    /// The conclusion.
    pub draft: FindingDraft,
    /// Commit time of the reading that decided (the journal's `received_at`), or the schedule's time.
    pub decided_at: Timestamp,
    /// It no longer holds since.
    pub retracted_at: Option<Timestamp>,
    /// The alert it was attached to.
    pub alert: Option<AlertId>,
}
