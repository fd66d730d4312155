//! The catalogue: which rules there are, what each is about, and by which predicate it looks.
//!
//! Closed on purpose: a card for any other id is refused. Must never: hold a number; numbers stand in cards.

use crate::card::{Predicate, Unit};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// The rules that this program can run; a card for any other id is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Rule {
    #[serde(rename = "BP-C1")]
    BpC1,
    #[serde(rename = "BP-C2")]
    BpC2,
    #[serde(rename = "BP-S1")]
    BpS1,
    #[serde(rename = "GLU-C1")]
    GluC1,
    #[serde(rename = "GLU-C2")]
    GluC2,
    #[serde(rename = "GLU-C3")]
    GluC3,
    #[serde(rename = "ADH-1")]
    Adh1,
    #[serde(rename = "DQ-1")]
    Dq1,
    #[serde(rename = "DQ-2")]
    Dq2,
    #[serde(rename = "BP-T1")]
    BpT1,
    #[serde(rename = "BP-T2")]
    BpT2,
    #[serde(rename = "BP-S2")]
    BpS2,
    #[serde(rename = "BP-S3")]
    BpS3,
    #[serde(rename = "BP-V1")]
    BpV1,
    #[serde(rename = "PUL-1")]
    Pul1,
    #[serde(rename = "GLU-H1")]
    GluH1,
    #[serde(rename = "GLU-S1")]
    GluS1,
    #[serde(rename = "GLU-S2")]
    GluS2,
    #[serde(rename = "GLU-T1")]
    GluT1,
    #[serde(rename = "GLU-V1")]
    GluV1,
    #[serde(rename = "ADH-2")]
    Adh2,
    #[serde(rename = "DQ-3")]
    Dq3,
    #[serde(rename = "PREG-1")]
    Preg1,
    #[serde(rename = "FU-1")]
    Fu1,
}

/// A number of a card, by rule and name.
pub(crate) type CardNumber = (Rule, &'static str);

impl Rule {
    /// Every rule, in the order in which their findings of one moment are written.
    pub const ALL: [Self; 24] = [
        Self::BpC1,
        Self::BpC2,
        Self::GluC1,
        Self::GluC2,
        Self::GluC3,
        Self::BpS1,
        Self::Adh1,
        Self::Dq1,
        Self::Dq2,
        Self::BpT1,
        Self::BpT2,
        Self::BpS2,
        Self::BpS3,
        Self::BpV1,
        Self::Pul1,
        Self::GluH1,
        Self::GluS1,
        Self::GluS2,
        Self::GluT1,
        Self::GluV1,
        Self::Adh2,
        Self::Dq3,
        Self::Preg1,
        Self::Fu1,
    ];

    /// Numbers of which the first must lie below the second, or severities or steps overlap.
    const ORDER: [[CardNumber; 2]; 23] = [
        [(Self::BpC1, "diastolic"), (Self::BpC1, "systolic")],
        [(Self::BpC2, "systolic"), (Self::BpC2, "dizzy")],
        [(Self::BpS1, "homeDiastolic"), (Self::BpS1, "homeSystolic")],
        [(Self::BpS1, "homeSystolic"), (Self::BpC1, "systolic")],
        [(Self::BpS1, "homeDiastolic"), (Self::BpC1, "diastolic")],
        [(Self::BpC2, "systolic"), (Self::BpS1, "homeSystolic")],
        [(Self::BpS2, "low"), (Self::BpS2, "oldLow")],
        [(Self::Pul1, "slow"), (Self::Pul1, "fast")],
        [(Self::Preg1, "systolic"), (Self::Preg1, "severeSystolic")],
        [(Self::Preg1, "diastolic"), (Self::Preg1, "severeDiastolic")],
        [(Self::GluC1, "limit"), (Self::GluC1, "recovered")],
        [(Self::GluC1, "limit"), (Self::GluC2, "limit")],
        [(Self::GluC2, "limit"), (Self::GluC3, "limit")],
        [(Self::GluC3, "limit"), (Self::GluC3, "critical")],
        [(Self::GluH1, "severe"), (Self::GluH1, "limit")],
        [(Self::GluV1, "limit"), (Self::GluV1, "urgent")],
        [(Self::BpT1, "gate"), (Self::BpT1, "urgent")],
        [(Self::BpT1, "mediumFrom"), (Self::BpT1, "denseFrom")],
        [(Self::BpT2, "gate"), (Self::BpT2, "urgent")],
        [(Self::BpT2, "mediumFrom"), (Self::BpT2, "denseFrom")],
        [(Self::Adh1, "remind"), (Self::Adh1, "call")],
        [(Self::Adh1, "call"), (Self::Adh1, "inform")],
        [(Self::Fu1, "due"), (Self::Fu1, "overdue")],
    ];

    /// The pairs of numbers that are the wrong way round, each number with what `value` says of it.
    pub(crate) fn crossed(value: impl Fn(CardNumber) -> Option<f64>) -> impl Iterator<Item = [(CardNumber, f64); 2]> {
        Self::ORDER.into_iter().filter_map(move |[near, far]| {
            let (low, high) = (value(near)?, value(far)?);
            (low.partial_cmp(&high) != Some(Ordering::Less)).then_some([(near, low), (far, high)])
        })
    }

    /// The catalogue's id.
    pub const fn id(self) -> &'static str {
        match self {
            Self::BpC1 => "BP-C1",
            Self::BpC2 => "BP-C2",
            Self::BpS1 => "BP-S1",
            Self::GluC1 => "GLU-C1",
            Self::GluC2 => "GLU-C2",
            Self::GluC3 => "GLU-C3",
            Self::Adh1 => "ADH-1",
            Self::Dq1 => "DQ-1",
            Self::Dq2 => "DQ-2",
            Self::BpT1 => "BP-T1",
            Self::BpT2 => "BP-T2",
            Self::BpS2 => "BP-S2",
            Self::BpS3 => "BP-S3",
            Self::BpV1 => "BP-V1",
            Self::Pul1 => "PUL-1",
            Self::GluH1 => "GLU-H1",
            Self::GluS1 => "GLU-S1",
            Self::GluS2 => "GLU-S2",
            Self::GluT1 => "GLU-T1",
            Self::GluV1 => "GLU-V1",
            Self::Adh2 => "ADH-2",
            Self::Dq3 => "DQ-3",
            Self::Preg1 => "PREG-1",
            Self::Fu1 => "FU-1",
        }
    }

    /// From the catalogue's id.
    pub fn parse(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.id() == id)
    }

    /// What the program computes for it; a card may not say otherwise.
    pub(crate) const fn predicate(self) -> Predicate {
        match self {
            Self::BpC1 | Self::BpC2 | Self::GluC2 | Self::GluC3 | Self::Preg1 => Predicate::KOfN,
            Self::Fu1 => Predicate::Unacked,
            Self::GluC1 => Predicate::Any,
            Self::BpS1 | Self::GluS1 => Predicate::Consecutive,
            Self::Adh1 => Predicate::Absence,
            Self::Dq1 | Self::Dq2 | Self::Dq3 => Predicate::Flag,
            Self::BpT1 | Self::BpT2 | Self::GluT1 => Predicate::WindowShift,
            Self::BpS2 | Self::BpS3 | Self::GluS2 => Predicate::WindowMean,
            Self::BpV1 => Predicate::Cv,
            Self::Pul1 | Self::GluH1 => Predicate::CountDays,
            Self::GluV1 => Predicate::RiskIndex,
            Self::Adh2 => Predicate::Symptom,
        }
    }

    /// Whether the profile of a pregnancy takes its place: pressure falls and rises in it for other reasons, and PREG-1
    /// speaks at lower limits.
    pub(crate) const fn rests_in_pregnancy(self) -> bool {
        use Rule::{BpC1, BpS1, BpS2, BpS3, BpT1, BpT2, BpV1};
        matches!(self, BpC1 | BpS1 | BpS2 | BpS3 | BpT1 | BpT2 | BpV1)
    }

    /// The numbers that the program needs from its card, with their units.
    pub(crate) const fn parameters(self) -> &'static [(&'static str, Unit)] {
        use Unit::{Count, Days, Hours, Minutes, MmHg, MmolPerL, PerWeek, Percent, Ratio, Years};
        match self {
            Self::BpC1 => &[
                ("systolic", MmHg),
                ("diastolic", MmHg),
                ("window", Minutes),
                ("normals", Count),
                ("hold", Hours),
                ("worse", MmHg),
            ],
            Self::BpC2 => {
                &[("systolic", MmHg), ("dizzy", MmHg), ("window", Minutes), ("normals", Count), ("hold", Hours)]
            }
            Self::GluC1 => &[("limit", MmolPerL), ("recovered", MmolPerL), ("hold", Hours)],
            Self::GluC2 => {
                &[("limit", MmolPerL), ("window", Minutes), ("normals", Count), ("age", Years), ("hold", Hours)]
            }
            Self::GluC3 => {
                &[("limit", MmolPerL), ("critical", MmolPerL), ("window", Minutes), ("normals", Count), ("hold", Hours)]
            }
            Self::BpS1 => &[
                ("homeSystolic", MmHg),
                ("homeDiastolic", MmHg),
                ("share", Ratio),
                ("days", Days),
                ("seldom", PerWeek),
                ("gap", Minutes),
                ("urgentSystolic", MmHg),
                ("urgentDiastolic", MmHg),
                ("margin", MmHg),
                ("hold", Days),
            ],
            Self::Adh1 => &[
                ("remind", Hours),
                ("call", Hours),
                ("inform", Hours),
                ("perWeek", PerWeek),
                ("battery", Percent),
                ("outage", Ratio),
            ],
            Self::Dq1 => &[],
            Self::Dq2 => &[("gap", Minutes)],
            _ => self.parameters_of_days(),
        }
    }
}

impl Rule {
    /// As [`Rule::parameters`], for the rules that look at days.
    #[allow(clippy::too_many_lines, reason = "a table")]
    pub(crate) const fn parameters_of_days(self) -> &'static [(&'static str, Unit)] {
        use Unit::{
            Count, Days, Hours, Minutes, MmHg, MmHgSquared, MmolPerL, PerMinute, PerWeek, Percent, Ratio, Years,
        };
        match self {
            Self::BpT1 => &[
                ("gate", MmHg),
                ("urgent", MmHg),
                ("near", MmHg),
                ("homeSystolic", MmHg),
                ("denseFrom", PerWeek),
                ("mediumFrom", PerWeek),
                ("denseLimit", Ratio),
                ("mediumLimit", Ratio),
                ("sparseLimit", Ratio),
                ("denseRecent", Days),
                ("denseReference", Days),
                ("mediumRecent", Days),
                ("mediumReference", Days),
                ("sparseRecent", Days),
                ("sparseReference", Days),
                ("priorDays", Count),
                ("priorVariance", MmHgSquared),
                ("settle", Days),
                ("stages", Count),
                ("screen", Ratio),
                ("weekDays", Days),
                ("confirm", MmHg),
                ("hold", Days),
            ],
            Self::BpT2 => &[
                ("gate", MmHg),
                ("urgent", MmHg),
                ("below", MmHg),
                ("doses", Days),
                ("denseFrom", PerWeek),
                ("mediumFrom", PerWeek),
                ("denseLimit", Ratio),
                ("mediumLimit", Ratio),
                ("sparseLimit", Ratio),
                ("denseRecent", Days),
                ("denseReference", Days),
                ("mediumRecent", Days),
                ("mediumReference", Days),
                ("sparseRecent", Days),
                ("sparseReference", Days),
                ("priorDays", Count),
                ("priorVariance", MmHgSquared),
                ("settle", Days),
                ("hold", Days),
            ],
            Self::BpS2 => {
                &[("low", MmHg), ("oldLow", MmHg), ("age", Years), ("share", Ratio), ("days", Days), ("hold", Days)]
            }
            Self::BpS3 => &[("homeSystolic", MmHg), ("difference", MmHg), ("days", Days), ("hold", Days)],
            Self::BpV1 => &[("limit", Ratio), ("days", Days), ("hold", Days)],
            Self::Pul1 => &[
                ("readings", Count),
                ("sessions", Days),
                ("days", Days),
                ("fast", PerMinute),
                ("slow", PerMinute),
                ("hold", Days),
            ],
            Self::GluH1 => &[
                ("limit", MmolPerL),
                ("severe", MmolPerL),
                ("days", Days),
                ("window", Days),
                ("night", Hours),
                ("hold", Days),
            ],
            Self::GluS1 => &[("fastingHigh", MmolPerL), ("values", Count), ("hold", Days)],
            Self::GluS2 => &[("postMealHigh", MmolPerL), ("values", Count), ("share", Ratio), ("hold", Days)],
            Self::GluT1 => &[
                ("gate", Ratio),
                ("grave", Ratio),
                ("denseFrom", PerWeek),
                ("denseLimit", Ratio),
                ("sparseLimit", Ratio),
                ("denseRecent", Days),
                ("denseReference", Days),
                ("sparseRecent", Days),
                ("sparseReference", Days),
                ("priorDays", Count),
                ("priorVariance", Ratio),
                ("settle", Days),
                ("hold", Days),
            ],
            Self::GluV1 => &[
                ("limit", Ratio),
                ("urgent", Ratio),
                ("values", Count),
                ("variation", Percent),
                ("coverage", Percent),
                ("hold", Days),
            ],
            Self::Adh2 => &[("missed", Count), ("hold", Days)],
            Self::Dq3 => &[
                ("times", Count),
                ("constant", Count),
                ("skew", Minutes),
                ("clock", Count),
                ("battery", Count),
                ("users", Count),
                ("hold", Days),
                ("persists", Days),
            ],
            Self::Preg1 => &[
                ("systolic", MmHg),
                ("diastolic", MmHg),
                ("severeSystolic", MmHg),
                ("severeDiastolic", MmHg),
                ("window", Minutes),
                ("severeWindow", Minutes),
                ("normals", Count),
                ("hold", Hours),
            ],
            Self::Fu1 => &[("due", Days), ("overdue", Days), ("quarter", Days), ("hold", Days)],
            _ => &[],
        }
    }
}
