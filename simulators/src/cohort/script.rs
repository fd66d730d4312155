//! What is scripted to happen to a patient (clinical reference, section 5), and what it does to pressure and glucose.
//!
//! Goes in: a script and days since its onset. Comes out: how far it moves the true level. Must never: know a rule.

use serde::{Deserialize, Serialize};
use vitals::Timestamp;

/// One scripted story. The letters are those of the clinical reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Script {
    /// (k) Nothing happens.
    Null,
    /// (a) A drug is stopped: +10 mmHg, reached with a time constant of 5 days.
    Step10,
    /// (a) The same, +15 mmHg.
    Step15,
    /// (b) +1 mmHg a week for 12 weeks.
    Drift1,
    /// (b) +2 mmHg a week for 6 weeks.
    Drift2,
    /// (c) 145/92 mmHg at home from enrolment on, whatever the clinic sees (masked hypertension is no other at home).
    Sustained,
    /// Between 100 and 130 systolic, at most 80 diastolic: who must be left alone.
    Controlled,
    /// (d) Over-treatment: -15 mmHg over 3 weeks.
    OverTreated,
    /// (e) One session of 195/115, measured twice.
    Crisis,
    /// (f) One to three episodes of 2.2 to 3.4 mmol/L, a third of them at night.
    Hypo,
    /// (g) Metformin is stopped: fasting glucose +20 %.
    Metformin20,
    /// (g) The same, +30 %.
    Metformin30,
    /// (h) For a week the first reading of a session is 15 mmHg higher; nothing is wrong.
    WhiteCoat,
    /// (i) The cuff is too small: every reading shows 8 mmHg more.
    SmallCuff,
    /// (i) The glucose meter is switched to mg/dL, and says so.
    UnitSwitch,
    /// (i) A healthy relative measures for 3 days.
    Relative,
    /// (i) The meter's clock is 8 hours fast from one day on.
    ClockFast,
    /// (i) A loose cuff, told by the meter: wrong values, flagged.
    LooseCuff,
    /// (i) Control solution is measured, and marked so.
    ControlSolution,
    /// (i) The cuff fails and sends 2047 mmHg.
    Sentinel,
    /// (j) No measurement for 3 days.
    Silent3,
    /// (j) For 7 days.
    Silent7,
    /// (j) For 14 days.
    Silent14,
    /// A dose is raised: -10 mmHg, recorded in the plan on that day.
    Titrated,
}

impl Script {
    /// The scripts of a device that misleads.
    pub const DEVICES: [Self; 7] = [
        Self::SmallCuff,
        Self::UnitSwitch,
        Self::Relative,
        Self::ClockFast,
        Self::LooseCuff,
        Self::ControlSolution,
        Self::Sentinel,
    ];

    /// Needs somebody who measures glucose.
    pub const fn needs_glucose(self) -> bool {
        matches!(self, Self::Hypo | Self::Metformin20 | Self::Metformin30 | Self::UnitSwitch | Self::ControlSolution)
    }

    /// A meter that misleads: no critical may come of it.
    pub fn is_device(self) -> bool {
        Self::DEVICES.contains(&self)
    }

    /// Days of silence.
    pub const fn silence(self) -> f64 {
        match self {
            Self::Silent3 => 3.0,
            Self::Silent7 => 7.0,
            Self::Silent14 => 14.0,
            _ => 0.0,
        }
    }

    /// Days from onset until the script itself is over; none where it lasts to the end.
    pub const fn lasts(self) -> Option<f64> {
        match self {
            Self::Crisis => Some(1.0),
            Self::WhiteCoat | Self::LooseCuff | Self::Sentinel => Some(7.0),
            Self::Relative => Some(3.0),
            Self::Hypo => Some(40.0),
            Self::ControlSolution => Some(1.0),
            Self::Silent3 | Self::Silent7 | Self::Silent14 => Some(self.silence()),
            _ => None,
        }
    }

    /// How far the true systolic level has moved `day` days after onset, mmHg.
    pub fn systolic(self, day: f64) -> f64 {
        if day < 0.0 {
            return 0.0;
        }
        let settling = |by: f64| by * (1.0 - (-day / 5.0).exp());
        match self {
            Self::Step10 => settling(10.0),
            Self::Step15 => settling(15.0),
            Self::Titrated => settling(-10.0),
            Self::Drift1 => (day / 7.0).min(12.0),
            Self::Drift2 => 2.0 * (day / 7.0).min(6.0),
            Self::OverTreated => -15.0 * (day / 21.0).min(1.0),
            _ => 0.0,
        }
    }

    /// By which factor fasting glucose has moved.
    pub fn glucose(self, day: f64) -> f64 {
        let by = match self {
            Self::Metformin20 => 0.2,
            Self::Metformin30 => 0.3,
            _ => 0.0,
        };
        if day < 0.0 { 1.0 } else { 1.0 + by * (1.0 - (-day / 5.0).exp()) }
    }

    /// The concepts that are true while it lasts, as the contract names them.
    pub const fn concepts(self) -> &'static [&'static str] {
        match self {
            Self::Step10 | Self::Step15 => &["bp_trend_up", "adherence"],
            Self::Drift1 | Self::Drift2 => &["bp_trend_up"],
            Self::OverTreated => &["bp_trend_down", "bp_overtreated", "bp_low"],
            Self::Titrated => &["bp_trend_down"],
            Self::Metformin20 | Self::Metformin30 => &["glucose_trend_up", "glucose_fasting_high", "adherence"],
            Self::LooseCuff | Self::Sentinel | Self::ClockFast | Self::Relative | Self::SmallCuff => {
                &["device_quality"]
            }
            _ => &[],
        }
    }
}

/// Something that is true of a patient from one moment to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Concepts of findings that are right meanwhile.
    pub concepts: Vec<String>,
    /// From.
    pub from: Timestamp,
    /// Until the effect ends.
    pub to: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_settles_with_five_days_and_a_drift_stops() {
        assert!((Script::Step10.systolic(5.0) - 10.0 * (1.0 - (-1.0_f64).exp())).abs() < 1e-12);
        assert!((Script::Drift2.systolic(100.0) - 12.0).abs() < 1e-12);
        assert!((Script::Drift1.systolic(100.0) - 12.0).abs() < 1e-12);
        assert!((Script::OverTreated.systolic(30.0) + 15.0).abs() < 1e-12);
        assert!(Script::Step10.systolic(-1.0).abs() < 1e-12);
        assert!((Script::Metformin20.glucose(365.0) - 1.2).abs() < 1e-6);
    }
}
