//! The rules that are looked at every morning: over days that are complete, with a hold and an order of their own.
//!
//! Goes in: the days before one morning, what was concluded before. Comes out: what holds then. The rules themselves are in
//! `trend`, `levels` and `care`; here stands what they share. Must never: look at the day that has only begun.

use crate::{
    Error, Point, Rule, care,
    conclusion::{Concluded, Conclusion},
    days::{self, Days, GlucoseDay, PressureDay},
    follow_up,
    kept_days::{self, Row},
    levels,
    numbers::Numbers,
    person::{Person, Scene, World},
    schedule, trend,
};
use jiff::civil::Date;
use std::{borrow::Cow, time::Duration};
use vitals::{Excluded, MedicationClass, Patient, ReadingId, Recipient, Severity, Timestamp, Zone};

/// In the order in which they look: a later one may ask what an earlier one said that morning.
const RULES: [Rule; 13] = [
    Rule::BpS2,
    Rule::BpS3,
    Rule::BpT1,
    Rule::BpT2,
    Rule::BpV1,
    Rule::Pul1,
    Rule::GluS1,
    Rule::GluS2,
    Rule::GluT1,
    Rule::GluV1,
    Rule::Adh2,
    Rule::Dq3,
    Rule::Fu1,
];

/// What one rule sees on one morning.
pub(crate) struct Look<'a> {
    /// The day that has begun.
    pub date: Date,
    pub weekly: bool,
    pub zone: &'a Zone,
    pub patient: &'a Patient,
    pub numbers: Numbers<'a>,
    /// Days before `date`.
    pub days: &'a Days,
    /// What the whole station shifted, in the short and the long windows, mmHg.
    pub season: [f64; 2],
    /// A BP-S1 is open.
    pub sustained: bool,
    /// A GLU-S1 is open.
    pub fasting_high: bool,
    /// A trend was told of this morning.
    pub rising: bool,
    /// What stands concluded of other rules.
    pub concluded: &'a [Concluded],
    /// When somebody wrote down that they followed the patient up.
    pub contacts: &'a [Timestamp],
    /// The day of the rule's newest conclusion, where that was no all-clear.
    pub open: Option<Date>,
    /// The day on which the rule last asked the patient for something, while that silences it.
    pub asked: Option<Date>,
}

/// What a single reading must reach to be over the limit of a mean.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Over {
    /// Either, mmHg.
    Pressure(f64, f64),
    /// Below it, mmHg.
    Systolic(f64),
    /// Above it, mmol/L.
    Glucose(f64),
}

impl Over {
    fn holds(self, p: &Point) -> bool {
        match (self, p.pressure(), p.glucose()) {
            (Self::Pressure(systolic, diastolic), Some((s, d)), _) => s >= systolic || d >= diastolic,
            (Self::Systolic(limit), Some((s, _)), _) => s < limit,
            (Self::Glucose(limit), _, Some(g)) => g > limit,
            _ => false,
        }
    }
}

/// The readings that something stands on.
pub(crate) struct Evidence {
    pub readings: Vec<ReadingId>,
    pub excluded: Vec<Excluded>,
    pub over: Option<Vec<ReadingId>>,
}

/// What a rule said, before it says more.
struct Before {
    at: Timestamp,
    severity: Severity,
    said: Said,
    step: Cow<'static, str>,
}

impl Before {
    fn of(c: &Concluded) -> Self {
        let step = Cow::Owned(c.step.to_string());
        Self { at: c.effective_at, severity: c.severity, said: Said::of(&c.step), step }
    }
}

/// Which kind of conclusion.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Told,
    /// Of a visit: another matter than a critical finding, under the same rule.
    Visit,
    Asked,
    Cleared,
}

impl Said {
    fn of(step: &str) -> Self {
        match step {
            "asked" => Self::Asked,
            "visit_due" | "visit_overdue" => Self::Visit,
            "cleared" | "recorded" => Self::Cleared,
            _ => Self::Told,
        }
    }
}

/// Whether what was said before still speaks for it.
fn is_silenced(found: &Found, slot: Timestamp, before: &[Before], hold: Duration) -> bool {
    let visit = Said::of(found.step) == Said::Visit;
    let silences =
        |b: &&Before| b.said != Said::Cleared && (b.said == Said::Visit) == visit && b.severity >= found.severity;
    let newest = before.iter().rev().find(silences);
    let same = found.rests.zip(before.iter().rev().find(|b| b.step == found.step));
    let rests = same.is_some_and(|(rests, b)| slot < b.at.plus(days_of(rests)));
    rests || newest.is_some_and(|b| slot < b.at.plus(hold))
}

/// What holds of one rule on one morning.
pub(crate) struct Found {
    pub step: &'static str,
    pub severity: Severity,
    pub recipients: &'static [Recipient],
    pub closes: bool,
    pub note: bool,
    pub numbers: Vec<(&'static str, f64)>,
    pub limit: String,
    /// Which readings are over it by themselves; none where it is no limit of readings.
    pub over: Option<Over>,
    /// Readings from this day on that it stands on.
    pub from: Date,
    pub uses: fn(&Point) -> bool,
    /// Just these, whatever lies since `from`.
    pub readings: Option<Vec<ReadingId>>,
    /// Days in which the same is not said again, where that is longer than the rule's hold.
    pub rests: Option<f64>,
}

impl Found {
    /// Told, to nobody yet.
    pub(crate) fn new(step: &'static str, severity: Severity, from: Date, uses: fn(&Point) -> bool) -> Self {
        let (numbers, limit) = (Vec::new(), String::new());
        Self {
            step,
            severity,
            recipients: &[],
            closes: false,
            note: false,
            numbers,
            limit,
            over: None,
            from,
            uses,
            readings: None,
            rests: None,
        }
    }
}

impl Look<'_> {
    pub(crate) fn number(&self, name: &str) -> f64 {
        self.numbers.value(name)
    }

    /// The day `n` days before the one that has begun.
    pub(crate) fn ago(&self, n: i64) -> Date {
        schedule::days_after(self.date, -n)
    }

    /// Blood pressures from `from` days ago until `to` days ago. Of (1, 0), yesterday: without anything new from
    /// yesterday nothing new is said.
    pub(crate) fn pressures(&self, from: i64, to: i64) -> &[PressureDay] {
        self.days.pressures(self.ago(from), self.ago(to))
    }

    /// Glucose values from `from` days ago until `to` days ago.
    pub(crate) fn glucoses(&self, from: i64, to: i64) -> &[GlucoseDay] {
        self.days.glucoses(self.ago(from), self.ago(to))
    }

    /// Drugs taken on the day that has begun.
    pub(crate) fn drugs(&self) -> impl Iterator<Item = MedicationClass> {
        self.patient.plan.medications.iter().filter(|m| m.is_taken_on(self.date)).map(|m| m.class)
    }

    /// Completed years of age; none without a date of birth.
    pub(crate) fn age(&self) -> Option<i16> {
        let born = self.patient.birth_date?;
        let before = (self.date.month(), self.date.day()) < (born.month(), born.day());
        Some(self.date.year() - born.year() - i16::from(before))
    }
}

fn look_at(rule: Rule, look: &Look<'_>) -> Option<Found> {
    match rule {
        Rule::BpS2 => levels::overtreated(look),
        Rule::BpS3 => levels::morning(look),
        Rule::BpT1 => trend::rising(look),
        Rule::BpT2 => trend::falling(look),
        Rule::BpV1 => levels::variable(look),
        Rule::Pul1 => levels::pulse(look),
        Rule::GluS1 => levels::fasting(look),
        Rule::GluS2 => levels::after_meals(look),
        Rule::GluT1 => trend::glucose_rising(look),
        Rule::GluV1 => levels::risk(look),
        Rule::Adh2 => care::missed(look),
        Rule::Dq3 => care::quality(look),
        Rule::Fu1 => follow_up::due(look),
        _ => None,
    }
}

impl Person {
    /// Takes over what was written down of the days before the start.
    pub(crate) fn learn_days<W: World>(&mut self, world: &W) -> Result<(), Error> {
        if self.days.row != Row::Unread {
            return Ok(());
        }
        let written = world.days(self.id())?;
        self.days.row = if written.is_some() { Row::Wrong } else { Row::Missing };
        if let Some((sums, span)) = written.and_then(|bytes| kept_days::decode(&bytes, &self.terms, &self.zone)) {
            self.days.restore(sums, span);
            self.days.row = Row::Right(span.1);
        }
        Ok(())
    }

    /// Makes the days before the mornings `first` to `last` known, back to what any rule can reach.
    pub(crate) fn know_days<W: World>(&mut self, world: &W, first: Timestamp, last: Timestamp) -> Result<(), Error> {
        self.learn_days(world)?;
        let begin = self.zone.start_of(schedule::days_after(first.day(&self.zone), -days::REACH));
        let end = self.zone.start_of(last.day(&self.zone));
        let mut days = std::mem::take(&mut self.days);
        let known = days
            .know((begin, end), &self.terms, &self.zone, |from, to| self.points(world, from, to).map(Cow::into_owned));
        self.days = days;
        known
    }

    /// Looks at one morning, as the schedule asks.
    pub(crate) fn daily<W: World>(&mut self, scene: &mut Scene<'_, W>, slot: Timestamp) -> Result<(), Error> {
        let today = self.zone.start_of(slot.day(&self.zone));
        self.open_day = today;
        self.forget_tracks(scene.cards);
        self.freshen(scene.world, scene.cards, scene.now)?;
        if schedule::is_weekly(slot, &self.zone) {
            self.forget(scene.now);
            self.weekly(scene, slot)?;
        } else {
            let yesterday = self.zone.start_of(schedule::days_after(slot.day(&self.zone), -1));
            let spoke = |c: &&Concluded| c.effective_at >= yesterday && matches!(c.rule, Rule::Dq1 | Rule::Dq2);
            let measured = self.newest.iter().any(|at| *at >= yesterday);
            if !measured && !self.awaits_follow_up(slot) && !self.concluded.iter().rev().any(|c| spoke(&c)) {
                return Ok(());
            }
        }
        self.judge_days(scene, slot, slot)?;
        self.days.trim(slot.day(&self.zone), &self.zone);
        self.window.trim();
        Ok(())
    }

    /// Judges every morning from `first` to `last` anew.
    pub(crate) fn judge_days<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        first: Timestamp,
        last: Timestamp,
    ) -> Result<(), Error> {
        self.remember(scene, first.minus(crate::person::HOLD))?;
        self.know_days(scene.world, first, last)?;
        let contacts = self.contacts(scene.world, first)?;
        let patient = self.patient.clone();
        let zone = self.zone.clone();
        let mut raised: Vec<Timestamp> = Vec::new();
        for rule in RULES {
            if self.limits.pregnant && rule.rests_in_pregnancy() {
                continue;
            }
            let Some(numbers) = scene.cards.numbers(rule, &patient) else { continue };
            let hold = days_of(numbers.value("hold"));
            let mine = self.concluded.iter().filter(|c| c.rule == rule && c.effective_at < first);
            let mut before: Vec<Before> = mine.map(Before::of).collect();
            let mut expected = Vec::new();
            let kept = self.kept(scene.world, &numbers, (rule, first, last))?;
            let rises = |severity| matches!(rule, Rule::BpT1 | Rule::GluT1) && severity > Severity::Info;
            let mut slot = first;
            while slot <= last {
                self.look(1);
                if let Some(old) = kept.iter().find(|c| c.effective_at == slot) {
                    before.push(Before::of(old));
                    raised.extend(rises(old.severity).then_some(slot));
                    slot = schedule::following(slot, &zone);
                    continue;
                }
                let date = slot.day(&zone);
                let look = Look {
                    date,
                    weekly: schedule::is_weekly(slot, &zone),
                    zone: &zone,
                    patient: &patient,
                    numbers,
                    days: &self.days,
                    season: scene.seasons.shift(&patient, date),
                    sustained: self.is_open(Rule::BpS1, slot),
                    fasting_high: self.is_open(Rule::GluS1, slot),
                    rising: raised.contains(&slot),
                    concluded: &self.concluded,
                    contacts: &contacts,
                    open: before
                        .last()
                        .filter(|b| matches!(b.said, Said::Told | Said::Visit) && b.severity > Severity::Info)
                        .map(|b| b.at.day(&zone)),
                    asked: before
                        .last()
                        .filter(|b| b.said == Said::Asked && slot < b.at.plus(hold))
                        .map(|b| b.at.day(&zone)),
                };
                let speaks = |f: &Found| f.closes || !is_silenced(f, slot, &before, hold);
                if let Some(mut found) = look_at(rule, &look).filter(speaks) {
                    let (severity, said, step) = (found.severity, Said::of(found.step), Cow::Borrowed(found.step));
                    before.push(Before { at: slot, severity, said, step });
                    raised.extend(rises(found.severity).then_some(slot));
                    let readings = found.readings.take();
                    let mut told = self.told(scene.world, rule, slot, found)?;
                    told.readings = readings.unwrap_or(told.readings);
                    expected.push(told);
                }
                slot = schedule::following(slot, &zone);
            }
            // A week of measuring that was asked for was asked for.
            let stays = |c: &Concluded| &*c.step == "asked" || kept.iter().any(|k| k.id == c.id);
            self.settle(scene, rule, (first, last), &expected, |c| !stays(c));
            if let Some(asks) = expected.last().filter(|c| c.step == "asked") {
                self.ask_for_a_week(scene, asks);
            }
        }
        Ok(())
    }

    /// What was concluded by other numbers than today's in `first..=last`: it stands, unless one of its readings does not
    /// count any more. A plan or a card that changes speaks of what comes.
    pub(crate) fn kept<W: World>(
        &self,
        world: &W,
        numbers: &Numbers<'_>,
        (rule, first, last): (Rule, Timestamp, Timestamp),
    ) -> Result<Vec<Concluded>, Error> {
        let begin = self.concluded.partition_point(|c| c.effective_at < first);
        let within = self.concluded[begin..].iter().take_while(|c| c.effective_at <= last).filter(|c| c.rule == rule);
        let mut kept = Vec::new();
        let mut mark = None;
        for c in within {
            if c.mark == *mark.get_or_insert_with(|| numbers.mark()) {
                continue;
            }
            let from = self.zone.start_of(schedule::days_after(c.effective_at.day(&self.zone), -days::REACH));
            let points = self.points(world, from, c.effective_at)?;
            if c.readings.iter().all(|id| points.iter().any(|p| p.id == *id && p.valid)) {
                kept.push(c.clone());
            }
        }
        Ok(kept)
    }

    /// The newest of `rule` before or at `slot` is not cleared; one that nothing repeats is forgotten with the longest hold.
    fn is_open(&self, rule: Rule, slot: Timestamp) -> bool {
        let newest = self.concluded.iter().rev().find(|c| c.rule == rule && c.effective_at <= slot);
        newest.is_some_and(|c| !c.is_info() && slot < c.effective_at.plus(crate::person::HOLD))
    }

    /// A finding with the readings that it stands on; they are looked up only now.
    fn told<W: World>(&self, world: &W, rule: Rule, slot: Timestamp, found: Found) -> Result<Conclusion, Error> {
        let (from, to) = (self.zone.start_of(found.from), self.zone.start_of(slot.day(&self.zone)));
        let Evidence { readings, excluded, over } = self.evidence(world, (from, to), found.uses, found.over)?;
        Ok(Conclusion {
            rule,
            step: found.step,
            severity: found.severity,
            effective_at: slot,
            recipients: found.recipients,
            closes: found.closes,
            readings,
            excluded,
            numbers: found.numbers,
            limit: found.limit,
            over,
            joined: Vec::new(),
            since: slot,
            note: found.note,
            cause: None,
        })
    }

    /// The readings measured in `from..to` that something stands on, those of them that are over its limit, and those that
    /// did not count.
    pub(crate) fn evidence<W: World>(
        &self,
        world: &W,
        (from, to): (Timestamp, Timestamp),
        uses: fn(&Point) -> bool,
        over: Option<Over>,
    ) -> Result<Evidence, Error> {
        let points = self.points(world, from, just_before(to))?;
        let used = points.iter().filter(|p| p.valid && uses(p));
        let flagged = points.iter().filter(|p| !p.valid && uses(p));
        let ids = |all: &mut dyn Iterator<Item = &Point>| {
            let mut ids: Vec<ReadingId> = all.map(|p| p.id).collect();
            ids.sort_unstable();
            ids
        };
        let readings = ids(&mut used.clone());
        let over = over.map(|over| ids(&mut used.filter(|p| over.holds(p))));
        let reason = |p: &Point| p.reason.unwrap_or("flagged").to_owned();
        let mut excluded: Vec<Excluded> = flagged.map(|p| Excluded { reading_id: p.id, reason: reason(p) }).collect();
        excluded.sort_unstable_by_key(|e| e.reading_id);
        Ok(Evidence { readings, excluded, over })
    }
}

fn days_of(days: f64) -> Duration {
    Duration::try_from_secs_f64(days * 86_400.0).unwrap_or_default()
}

fn just_before(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros() - 1)
}
