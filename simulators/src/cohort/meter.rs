//! What a meter makes of a true value: its own faults, its clock, its unit, its counter.
//!
//! Goes in: what the person's pressure or glucose is. Comes out: the line that is sent and the fact beside it.
//! Must never: change the truth.

use super::{
    draw::{between, normal},
    home::FOLLOWS,
    line::{self, Fact, Line, Worth},
    person::Person,
    script::Script,
};
use crate::dice::{Dice, whole};
use std::time::Duration;
use vitals::{Decimal, Meal, Timestamp, Unit, Zone};

/// mg/dL per mmol/L.
const MG_PER_MMOL: f64 = 18.016;
const HOUR: u64 = 3600;
const BADLY: [&str; 3] = ["body_movement", "cuff_loose", "improper_position"];

/// Both meters of one home.
#[derive(Clone, Debug)]
pub(super) struct Meters {
    zone: Zone,
    midnight: Timestamp,
    next: [u64; 2],
}

/// Whole days of a span.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "days of a study")]
pub(super) fn whole_days(days: f64) -> u64 {
    days.max(0.0) as u64
}

impl Meters {
    pub(super) fn new(person: &Person) -> Self {
        let zone = Zone::default();
        Self { midnight: zone.start_of(person.enrolled), zone, next: [1, 1] }
    }

    /// Days since enrolment.
    #[allow(clippy::cast_precision_loss, reason = "days of a study")]
    pub(super) fn day_of(&self, at: Timestamp) -> f64 {
        (at.since(self.midnight).as_secs() / 86_400) as f64
    }

    fn count(&mut self, pressure: bool) -> u64 {
        let seq = &mut self.next[usize::from(!pressure)];
        *seq += 1;
        *seq - 1
    }

    /// What its clock says, and how it writes it: a clock that is wrong knows no offset.
    fn clock(&self, person: &Person, at: Timestamp, pressure: bool) -> (Timestamp, String) {
        let fast = person.group.script == Script::ClockFast && self.day_of(at) >= person.onset;
        let hours = match (pressure, fast) {
            (true, true) => 8,
            (true, false) => person.clock_hours,
            _ => 0,
        };
        let by = Duration::from_secs(hours.unsigned_abs() * HOUR);
        let told = if hours < 0 { at.minus(by) } else { at.plus(by) };
        let text = told.to_rfc3339(&self.zone);
        let text = if hours == 0 { text } else { text.get(..19).unwrap_or_default().to_owned() };
        (told, text)
    }

    /// A pressure with all that may happen to it. `shown` with and without what the script does to the patient.
    pub(super) fn pressure(
        &mut self,
        person: &Person,
        at: Timestamp,
        truth: (f64, f64),
        (shown, plain): ((f64, f64), (f64, f64)),
        dice: &mut Dice,
        facts: &mut Vec<Fact>,
    ) -> Line {
        let script = person.group.script;
        let since = self.day_of(at) - person.onset;
        let lasts = since >= 0.0 && script.lasts().is_none_or(|d| since < d);
        let (mut shown, mut plain, mut worth, mut status) = (shown, plain, Worth::Clean, Vec::new());
        if dice.chance(person.gross) {
            let by = between(dice, 25.0, 60.0);
            shown = (shown.0 + by, shown.1 + FOLLOWS * by);
            plain = (plain.0 + by, plain.1 + FOLLOWS * by);
            worth = Worth::Gross;
        }
        if dice.chance(0.03) {
            let by = normal(dice, 0.0, 12.0);
            shown = (shown.0 + by, shown.1 + FOLLOWS * by);
            worth = Worth::Flagged;
            status.push(BADLY[usize::try_from(dice.below(3)).unwrap_or(0)]);
        }
        match script {
            Script::SmallCuff if lasts => shown = (shown.0 + 8.0, shown.1 + 8.0 * FOLLOWS),
            Script::Relative if lasts => {
                let s = normal(dice, 118.0, 7.0);
                shown = (s, 74.0 + FOLLOWS * (s - 118.0));
                worth = Worth::Other;
            }
            Script::LooseCuff if lasts && dice.chance(0.5) => {
                let by = normal(dice, 15.0, 15.0);
                shown = (shown.0 + by, shown.1 + FOLLOWS * by);
                worth = Worth::Flagged;
                status = vec!["cuff_loose"];
            }
            Script::Sentinel if lasts && dice.chance(0.33) => {
                shown = (2047.0, 2047.0);
                worth = Worth::Sentinel;
            }
            _ => {}
        }
        self.say(person, at, truth, (shown, plain), (worth, status), facts)
    }

    /// A pressure that the script wants to be shown just so, give or take 2 mmHg.
    pub(super) fn exact(&mut self, at: Timestamp, truth: (f64, f64), dice: &mut Dice, facts: &mut Vec<Fact>) -> Line {
        let shown = (truth.0 + normal(dice, 0.0, 2.0), truth.1 + normal(dice, 0.0, 1.5));
        let (told, text) = (at, at.to_rfc3339(&self.zone));
        self.note(at, told, text, truth, (shown, shown), (Worth::Clean, Vec::new()), facts)
    }

    fn say(
        &mut self,
        person: &Person,
        at: Timestamp,
        truth: (f64, f64),
        shown: ((f64, f64), (f64, f64)),
        how: (Worth, Vec<&'static str>),
        facts: &mut Vec<Fact>,
    ) -> Line {
        let (told, text) = self.clock(person, at, true);
        self.note(at, told, text, truth, shown, how, facts)
    }

    #[allow(clippy::too_many_arguments, reason = "everything that a line and its fact are made of")]
    fn note(
        &mut self,
        at: Timestamp,
        told: Timestamp,
        text: String,
        truth: (f64, f64),
        (shown, plain): ((f64, f64), (f64, f64)),
        (worth, status): (Worth, Vec<&'static str>),
        facts: &mut Vec<Fact>,
    ) -> Line {
        let seq = self.count(true);
        let systolic = whole(shown.0);
        let diastolic =
            if worth == Worth::Sentinel { systolic } else { whole(shown.1).clamp(30, (systolic - 12).max(30)) };
        #[allow(clippy::cast_precision_loss, reason = "a pressure")]
        facts.push(Fact {
            seq,
            pressure: true,
            at,
            told,
            truth: truth.0,
            truth_low: truth.1,
            shown: systolic as f64,
            shown_low: diastolic as f64,
            plain,
            worth,
            fasting: false,
        });
        line::pressure(seq, text, (systolic, diastolic), status)
    }

    /// A glucose; the meter's own coefficient of variation is 4 %.
    pub(super) fn glucose(
        &mut self,
        person: &Person,
        at: Timestamp,
        truth: f64,
        meal: Meal,
        dice: &mut Dice,
        facts: &mut Vec<Fact>,
    ) -> Line {
        let seq = self.count(false);
        let value = (truth * normal(dice, 1.0, 0.04)).clamp(1.2, 33.0);
        let switched = person.group.script == Script::UnitSwitch && self.day_of(at) >= person.onset;
        let (digits, unit, shown) = if switched {
            let mg = whole(value * MG_PER_MMOL);
            (Decimal::new(mg, 0), Unit::MgPerDl, Decimal::new(mg, 0).value() / MG_PER_MMOL)
        } else {
            let tenths = Decimal::new(whole(value * 10.0), -1);
            (tenths, Unit::MmolPerL, tenths.value())
        };
        let (told, text) = self.clock(person, at, false);
        let (truth_low, shown_low) = (0.0, 0.0);
        let fasting = meal == Meal::Fasting;
        let worth = Worth::Clean;
        let plain = (shown, 0.0);
        facts.push(Fact { seq, pressure: false, at, told, truth, truth_low, shown, shown_low, plain, worth, fasting });
        line::glucose(seq, text, digits, unit, Some(meal))
    }

    /// Control solution, marked so: one level normal, the next high.
    pub(super) fn control(&mut self, at: Timestamp, day: f64, dice: &mut Dice, facts: &mut Vec<Fact>) -> Line {
        let seq = self.count(false);
        let tenths = Decimal::new(whole(if dice.chance(0.5) { 2.6 } else { 17.4 } * 10.0), -1);
        debug_assert!(day >= 0.0, "nothing is measured before enrolment");
        let fact = Fact {
            seq,
            pressure: false,
            at,
            told: at,
            truth: 6.0,
            truth_low: 0.0,
            shown: tenths.value(),
            shown_low: 0.0,
            plain: (6.0, 0.0),
            worth: Worth::Control,
            fasting: false,
        };
        facts.push(fact);
        let mut line = line::glucose(seq, at.to_rfc3339(&self.zone), tenths, Unit::MmolPerL, None);
        line.status.push("control_solution");
        line
    }
}
