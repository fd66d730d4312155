//! A virtual patient's days: true levels, sessions, what the meter makes of them, answers to a request to measure again.
//!
//! Goes in: a [`Person`], what the service asks. Comes out: uploads in order of time, and what is true of each reading.
//! The same person asked the same things gives the same uploads, byte for byte. Must never: know what a rule concluded.

use super::{
    draw::{between, normal, skewed},
    line::{Fact, Line},
    meter::Meters,
    person::{Person, RISE_SD},
    request::Request,
    script::{Script, Span},
};
use crate::{dice::Dice, message};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};
use vitals::{Kind, Meal, Timestamp, Zone};

/// What a message holds, and what is true of it.
#[derive(Clone, Debug)]
pub struct Upload {
    /// When it leaves the home.
    pub at: Timestamp,
    /// Which meter.
    pub kind: Kind,
    /// The message.
    pub payload: Vec<u8>,
    /// It leaves a second time.
    pub twice: bool,
    /// A number in it is beyond what the patient was told to wait for: 180/110, 90, 3.9, 16.7.
    pub far_off: bool,
}

/// What a home does next.
#[derive(Clone, Debug)]
pub enum Next {
    /// A meter sends.
    Sends(Upload),
    /// Who did not answer a request is near the meter again when it is made once more.
    Hears(Kind),
}

/// What was really so on one day, mmHg and mmol/L.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DayTruth {
    /// Mean systolic.
    pub systolic: f64,
    /// Mean diastolic.
    pub diastolic: f64,
    /// Fasting glucose; 0 for who has no diabetes.
    pub fasting: f64,
}

/// A measurement that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Session { morning: bool, extra: u8 },
    Fasting,
    AfterMeal(u8),
    Low(u8),
    Control,
    Again { kind: bool, times: u32 },
}

impl Event {
    /// From its first reading to its last, when it is sent.
    fn takes(self) -> Duration {
        let seconds = match self {
            Self::Session { .. } => 60,
            Self::Again { kind: true, times } => 75 * u64::from(times.saturating_sub(1)),
            Self::Again { kind: false, times } => 60 * u64::from(times.saturating_sub(1)),
            _ => 0,
        };
        Duration::from_secs(seconds)
    }
}

/// The true level of the last session, for who measures again.
#[derive(Clone, Copy, Debug)]
struct Recent {
    at: Timestamp,
    systolic: f64,
    diastolic: f64,
}

/// How diastolic follows systolic changes, mmHg for mmHg (set here).
pub(super) const FOLLOWS: f64 = 0.55;
/// Of who is asked to measure again, how many do (clinical reference, section 3).
const ANSWERS: f64 = 0.8;
/// Of who did not, how many do when they are asked once more (set here).
const ANSWERS_THEN: f64 = 0.5;
/// Half of those who stop a drug report it with some of their readings.
const REPORTED: f64 = 0.5;

/// One patient's time at home.
#[derive(Clone, Debug)]
pub struct Home {
    /// Who.
    pub person: Person,
    dice: Dice,
    zone: Zone,
    /// Of each day from enrolment on.
    pub days: Vec<DayTruth>,
    /// Of each reading that was sent, in order of sending.
    pub facts: Vec<Fact>,
    pending: BinaryHeap<Reverse<(Timestamp, Event)>>,
    meters: Meters,
    effect: f64,
    wander: f64,
    fasting_effect: f64,
    recent: Option<Recent>,
    glucose_now: Option<(Timestamp, f64)>,
    /// Requests that were not answered: when each is made once more. Pressure, glucose.
    unanswered: [Option<Timestamp>; 2],
    /// Near which meter since when.
    near: Option<(Timestamp, Kind)>,
}

impl Home {
    /// Nothing measured yet. `dice` is the person's own stream.
    pub fn new(person: Person, dice: &Dice) -> Self {
        let mut start = dice.fork(2);
        let (effect, wander) = (
            normal(&mut start, 0.0, person.spread.0),
            if person.wander > 0.0 { normal(&mut start, 0.0, person.wander) } else { 0.0 },
        );
        Self {
            dice: dice.fork(3),
            zone: Zone::default(),
            days: Vec::new(),
            facts: Vec::new(),
            pending: BinaryHeap::new(),
            meters: Meters::new(&person),
            effect,
            wander,
            fasting_effect: 0.0,
            recent: None,
            glucose_now: None,
            unanswered: [None; 2],
            near: None,
            person,
        }
    }

    /// When the record begins.
    pub fn begins(&self) -> Timestamp {
        self.zone.moment(self.person.enrolled.at(12, 0, 0, 0))
    }

    /// When the study of this patient ends.
    pub fn ends(&self) -> Timestamp {
        self.zone.start_of(self.person.day(f64::from(self.person.group.days)))
    }

    /// When something happens next; nothing does after the end.
    pub fn next_at(&mut self) -> Option<Timestamp> {
        let end = self.ends();
        let hears = self.unanswered.into_iter().flatten().filter(|at| *at < end).min();
        self.sends_at().into_iter().chain(hears).min()
    }

    fn sends_at(&mut self) -> Option<Timestamp> {
        loop {
            let next = self.pending.peek().map(|Reverse((at, _))| *at);
            let planned = u32::try_from(self.days.len()).unwrap_or(u32::MAX);
            if planned < self.person.group.days {
                let begins = self.zone.start_of(self.person.day(f64::from(planned)));
                if next.is_none_or(|at| at >= begins) {
                    self.plan_day(planned);
                    continue;
                }
            }
            return next.filter(|at| *at < self.ends());
        }
    }

    /// What happens next. Who hears is told what is asked before the next call.
    pub fn go_on(&mut self) -> Option<Next> {
        let next = self.next_at()?;
        let kinds = [Kind::BloodPressure, Kind::BloodGlucose];
        if let Some(kind) = kinds.into_iter().find(|kind| self.unanswered[place(*kind)] == Some(next)) {
            self.unanswered[place(kind)] = None;
            self.near = Some((next, kind));
            return Some(Next::Hears(kind));
        }
        self.send().map(Next::Sends)
    }

    fn send(&mut self) -> Option<Upload> {
        let Reverse((at, event)) = self.pending.pop()?;
        let mut dice = self.dice.fork(at.as_micros().unsigned_abs() ^ 0x9d5);
        let (kind, lines): (Kind, Vec<Line>) = match event {
            Event::Session { extra: 1, .. } => (Kind::BloodPressure, self.crisis(at.minus(event.takes()), &mut dice)),
            Event::Session { morning, .. } => {
                (Kind::BloodPressure, self.session(at.minus(event.takes()), morning, &mut dice))
            }
            Event::Again { kind: true, times } => {
                (Kind::BloodPressure, self.again(at.minus(event.takes()), times, &mut dice))
            }
            Event::Again { kind: false, times } => {
                (Kind::BloodGlucose, self.glucose_again(at.minus(event.takes()), times, &mut dice))
            }
            Event::Control => {
                (Kind::BloodGlucose, vec![self.meters.control(at, self.day_of(at), &mut dice, &mut self.facts)])
            }
            Event::Fasting => (Kind::BloodGlucose, vec![self.fasting(at, &mut dice)]),
            Event::AfterMeal(meal) => (Kind::BloodGlucose, vec![self.after_meal(at, meal, &mut dice)]),
            Event::Low(_) => {
                let value = between(&mut dice, 2.2, 3.4);
                (Kind::BloodGlucose, vec![self.glucose(at, value, Meal::Casual, &mut dice)])
            }
        };
        let twice = dice.chance(0.02);
        let payload = message::message(&lines, None, false);
        let far_off = self.facts.iter().rev().take(lines.len()).any(is_far_off);
        Some(Upload { at, kind, payload, twice, far_off })
    }

    /// The service asks at `now` to measure again; most do. A request that is made once more is heard by who waited for it.
    pub fn asked(&mut self, now: Timestamp, request: &Request) {
        let pressure = request.kind == Kind::BloodPressure;
        let mut dice = self.dice.fork(now.as_micros().unsigned_abs() ^ if pressure { 0xa5c } else { 0x6bc });
        if request.repeats && self.near != Some((now, request.kind)) {
            return;
        }
        let unanswered = &mut self.unanswered[place(request.kind)];
        if !dice.chance(if request.repeats { ANSWERS_THEN } else { ANSWERS }) {
            *unanswered = unanswered.or(request.once_more);
            return;
        }
        *unanswered = None;
        // Whoever is about to measure again and is asked for more measures as often as the larger request says.
        let mut times = request.times.clamp(1, 5);
        self.pending.retain(|Reverse((_, event))| match event {
            Event::Again { kind, times: planned } if *kind == pressure => {
                times = times.max(*planned);
                false
            }
            _ => true,
        });
        let again = Event::Again { kind: pressure, times };
        let at = now.plus(request.after.max(Duration::from_secs(60)));
        self.pending.push(Reverse((at.plus(again.takes()), again)));
    }

    /// What is true from when to when, by script.
    pub fn spans(&self) -> Vec<Span> {
        let script = self.person.group.script;
        let concepts: Vec<String> = script.concepts().iter().map(|c| (*c).to_owned()).collect();
        if concepts.is_empty() {
            return Vec::new();
        }
        let from = self.onset();
        // A shift is over when both windows of eight weeks have taken it in.
        let days = match script {
            Script::Drift1 => 84 + 56,
            Script::Drift2 => 42 + 56,
            Script::OverTreated => 21 + 56,
            Script::Step10 | Script::Step15 | Script::Titrated | Script::Metformin20 | Script::Metformin30 => 56,
            _ => script.lasts().map_or(400, super::meter::whole_days),
        };
        vec![Span { concepts, from, to: from.plus(Duration::from_secs(days * 86_400)).min(self.ends()) }]
    }

    /// When the script begins.
    pub fn onset(&self) -> Timestamp {
        self.zone.start_of(self.person.day(self.person.onset))
    }

    fn since_onset(&self, day: f64) -> f64 {
        day - self.person.onset
    }

    fn day_of(&self, at: Timestamp) -> f64 {
        self.meters.day_of(at)
    }

    /// Draws the day's effects and what is to be measured on it.
    fn plan_day(&mut self, day: u32) {
        let number = f64::from(day);
        let mut dice = self.dice.fork(u64::from(day) << 8);
        let p = &self.person;
        let date = p.day(number);
        if day > 0 {
            let rho = p.autocorrelation;
            self.effect = rho * self.effect + normal(&mut dice, 0.0, p.spread.0 * (1.0 - rho * rho).sqrt());
            let keep = (-1.0_f64 / 45.0).exp();
            self.wander = keep * self.wander + normal(&mut dice, 0.0, p.wander.max(1e-9) * (1.0 - keep * keep).sqrt());
            self.fasting_effect = 0.26 * self.fasting_effect + normal(&mut dice, 0.0, (1.0_f64 - 0.26 * 0.26).sqrt());
        }
        let weekend = if date.weekday().to_monday_zero_offset() >= 5 { -1.0 } else { 0.0 };
        let moved = p.group.script.systolic(self.since_onset(number));
        let systolic = p.mean.0 + p.season_on(date) + self.wander + weekend + moved + self.effect;
        let diastolic = p.mean.1 + FOLLOWS * (systolic - p.mean.0);
        let fasting = p.glucose.map_or(0.0, |s| {
            let spread = (1.0 + s.variation * s.variation).ln().sqrt();
            let value =
                s.fasting * p.group.script.glucose(self.since_onset(number)) * (spread * self.fasting_effect).exp();
            s.held_up(value)
        });
        self.days.push(DayTruth { systolic, diastolic, fasting });
        if day > 0 && !self.silent(number) {
            self.plan_measurements(number, date, &mut dice);
        }
        self.plan_script(number, date, &mut dice);
    }

    fn silent(&self, day: f64) -> bool {
        let p = &self.person;
        let within = |from: f64, days: f64| day >= from && day < from + days;
        p.pause.is_some_and(|(from, days)| within(from, days)) || within(p.onset, p.group.script.silence())
    }

    fn push(&mut self, date: Date, minute: f64, event: Event) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a day")]
        let seconds = (minute.clamp(0.0, 1438.0) * 60.0) as u64;
        let at = self.zone.start_of(date).plus(Duration::from_secs(seconds));
        self.pending.push(Reverse((at.plus(event.takes()), event)));
    }

    fn plan_measurements(&mut self, day: f64, date: Date, dice: &mut Dice) {
        use super::person::Pace;
        let p = self.person.clone();
        let since = (date.weekday().to_monday_zero_offset() - p.weekday).rem_euclid(7);
        let slots: &[bool] = match (p.group.pace, since, p.one_day) {
            (Pace::Fourteen, ..) | (Pace::Six, 0 | 2 | 4, _) | (Pace::Two, 0, true) => &[true, false],
            (Pace::Two, 0, false) => &[true],
            (Pace::Two, 3, false) => &[false],
            _ => &[],
        };
        let share = p.adherence(day);
        for morning in slots {
            let minute = if *morning { p.habits.0 } else { p.habits.1 } + between(dice, -15.0, 15.0);
            if dice.chance(share) {
                self.push(date, minute, Event::Session { morning: *morning, extra: 0 });
            }
        }
        let Some(sugar) = p.glucose else { return };
        let often = sugar.fasting_per_week >= 7;
        if (often || matches!(since, 0 | 2 | 4)) && dice.chance(share) {
            self.push(date, p.habits.0 - 22.0 + between(dice, -5.0, 5.0), Event::Fasting);
        }
        let meals: u8 = if often { 3 } else { 2 };
        if since < i8::try_from(2 * meals).unwrap_or(0) && since % 2 == 1 && dice.chance(share) {
            let meal = u8::try_from(dice.below(3)).unwrap_or(0);
            let minute = [580.0, 850.0, 1260.0][usize::from(meal)] + between(dice, -20.0, 20.0);
            self.push(date, minute, Event::AfterMeal(meal));
        }
    }

    /// What only the script brings.
    fn plan_script(&mut self, day: f64, date: Date, dice: &mut Dice) {
        let since = self.since_onset(day);
        match self.person.group.script {
            Script::Crisis if since == 0.0 => self.push(date, 600.0, Event::Session { morning: true, extra: 1 }),
            Script::ControlSolution if since == 0.0 => {
                self.push(date, 660.0, Event::Control);
                self.push(date, 662.0, Event::Control);
            }
            Script::Hypo => {
                let mut episodes = self.dice.fork(0x10e);
                let count = 1 + episodes.below(3);
                for n in 0..count {
                    let on = if n == 0 { 0.0 } else { between(&mut episodes, 3.0, 35.0).floor() };
                    let night = episodes.below(3) == 0;
                    if since == on {
                        let minute = if night { between(dice, 30.0, 340.0) } else { between(dice, 940.0, 1040.0) };
                        self.push(date, minute, Event::Low(u8::try_from(n).unwrap_or(0)));
                    }
                }
            }
            _ => {}
        }
    }

    fn session(&mut self, at: Timestamp, morning: bool, dice: &mut Dice) -> Vec<Line> {
        let day = self.day_of(at);
        let p = &self.person;
        let truth = self.truth_on(day);
        let first_day = if day < 2.0 { 2.8 } else { 0.0 };
        let half = p.morning_over_evening / 2.0;
        let session = normal(dice, 0.0, p.spread.1) + if morning { half } else { -half } + first_day;
        let recent = Recent { at, systolic: truth.systolic + session, diastolic: truth.diastolic + FOLLOWS * session };
        self.recent = Some(recent);
        let script = p.group.script;
        let since = self.since_onset(day);
        let anxious = script == Script::WhiteCoat && (0.0..7.0).contains(&since);
        let step = matches!(script, Script::Step10 | Script::Step15) && p.reports_missed;
        let missed = step && (0.0..21.0).contains(&since) && dice.chance(REPORTED);
        let gap = p.first_over_second / 2.0;
        let anxiety = if anxious { 15.0 } else { 0.0 };
        let mut lines = vec![self.read(at, &recent, (gap, anxiety), dice)];
        lines.push(self.read(at.plus(Duration::from_secs(60)), &recent, (-gap, 0.0), dice));
        if missed {
            lines.iter_mut().for_each(|l| l.medication_taken = Some(false));
        }
        lines
    }

    fn crisis(&mut self, at: Timestamp, dice: &mut Dice) -> Vec<Line> {
        let recent = Recent { at, systolic: 195.0, diastolic: 115.0 };
        self.recent = Some(recent);
        let lines =
            [0, 60].map(|s| self.meters.exact(at.plus(Duration::from_secs(s)), (195.0, 115.0), dice, &mut self.facts));
        lines.into()
    }

    fn again(&mut self, at: Timestamp, times: u32, dice: &mut Dice) -> Vec<Line> {
        let near = self.recent.filter(|r| at.since(r.at) < Duration::from_secs(3600));
        let recent = near.unwrap_or_else(|| {
            let truth = self.truth_on(self.day_of(at));
            Recent { at, systolic: truth.systolic, diastolic: truth.diastolic }
        });
        (0..times)
            .map(|n| self.read(at.plus(Duration::from_secs(75 * u64::from(n))), &recent, (0.0, 0.0), dice))
            .collect()
    }

    /// `habit`: how far this reading of a session is from its mean; `anxiety`: what the script adds.
    fn read(&mut self, at: Timestamp, recent: &Recent, (habit, anxiety): (f64, f64), dice: &mut Dice) -> Line {
        let truth = (recent.systolic, recent.diastolic);
        let p = &self.person;
        let error = normal(dice, 0.0, p.spread.2) + habit;
        let own = normal(dice, 0.0, 2.5);
        let with = |error: f64| (truth.0 + error, truth.1 + FOLLOWS * error + own);
        self.meters.pressure(p, at, truth, (with(error + anxiety), with(error)), dice, &mut self.facts)
    }

    fn fasting(&mut self, at: Timestamp, dice: &mut Dice) -> Line {
        let value = self.truth_on(self.day_of(at)).fasting;
        self.glucose(at, value, Meal::Fasting, dice)
    }

    /// 2 h after a meal: +1.9, +1.1, +0.9 mmol/L over the day's fasting value, SD 2.9 in all; skewed, and never far below it.
    fn after_meal(&mut self, at: Timestamp, meal: u8, dice: &mut Dice) -> Line {
        let own = self.person.glucose.map_or(0.0, |s| s.rise);
        let rise = [1.9, 1.1, 0.9][usize::from(meal.min(2))] + own;
        let value = self.truth_on(self.day_of(at)).fasting - 2.5 + skewed(dice, (rise + 2.5).max(0.6), RISE_SD);
        let value = self.person.glucose.map_or(value, |s| s.held_up(value));
        self.glucose(at, value.max(2.0), Meal::AfterMeal, dice)
    }

    /// Who was low has eaten sugar; who was high has not changed.
    fn glucose_again(&mut self, at: Timestamp, times: u32, dice: &mut Dice) -> Vec<Line> {
        let near = self.glucose_now.filter(|(when, _)| at.since(*when) < Duration::from_secs(5400));
        let before = near.map_or_else(|| self.truth_on(self.day_of(at)).fasting, |(_, v)| v);
        let value = if before < 3.95 { before + between(dice, 0.8, 2.5) } else { before * between(dice, 0.95, 1.02) };
        (0..times)
            .map(|n| self.glucose(at.plus(Duration::from_secs(60 * u64::from(n))), value, Meal::Casual, dice))
            .collect()
    }

    fn glucose(&mut self, at: Timestamp, value: f64, meal: Meal, dice: &mut Dice) -> Line {
        self.glucose_now = Some((at, value));
        self.meters.glucose(&self.person, at, value, meal, dice, &mut self.facts)
    }

    fn truth_on(&self, day: f64) -> DayTruth {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a day of the study")]
        let index = (day.max(0.0) as usize).min(self.days.len().saturating_sub(1));
        self.days.get(index).copied().unwrap_or_default()
    }
}

/// The place of a kind's meter.
const fn place(kind: Kind) -> usize {
    match kind {
        Kind::BloodPressure => 0,
        Kind::BloodGlucose => 1,
    }
}

fn is_far_off(f: &Fact) -> bool {
    let (high, low) = if f.pressure { (180.0, 89.9) } else { (16.7, 3.9) };
    f.shown >= high || f.shown <= low || (f.pressure && f.shown_low >= 110.0)
}
