//! The rules that are looked at every morning: over days that are complete, with a hold and an order of their own.
//!
//! Goes in: the days before one morning, what was concluded before. Comes out: what holds then. The rules themselves are in
//! `trend`, `levels` and `care`; here stands what they share. Must never: look at the day that has only begun.

use crate::{
    Error, Point, Rule,
    cards::Numbers,
    care,
    conclusion::{Concluded, Conclusion},
    days::{self, Day},
    levels,
    person::{Person, Scene, World},
    schedule, trend,
};
use jiff::civil::Date;
use std::time::Duration;
use vitals::{Excluded, MedicationClass, Patient, Recipient, Severity, Timestamp, Zone};

/// In the order in which they look: a later one may ask what an earlier one said that morning.
const RULES: [Rule; 12] = [
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
];

/// How far back single readings are looked at.
const SINGLE_DAYS: i64 = 14;
/// A BP-S1 is open for so long, unless it was cleared.
const SUSTAINED_OPEN: Duration = Duration::from_secs(28 * 24 * 3600);

/// What one rule sees on one morning.
pub(crate) struct Look<'a> {
    /// The day that has begun.
    pub date: Date,
    pub weekly: bool,
    pub zone: &'a Zone,
    pub patient: &'a Patient,
    pub numbers: Numbers<'a>,
    /// Days before `date`.
    pub days: &'a [Day],
    /// Readings of the last 14 days.
    pub points: &'a [Point],
    /// What the whole station shifted, in the short and the long windows, mmHg.
    pub season: [f64; 2],
    /// A BP-S1 is open.
    pub sustained: bool,
    /// A trend was told of this morning.
    pub rising: bool,
    /// What stands concluded of other rules.
    pub concluded: &'a [Concluded],
    /// The rule's newest conclusion was no all-clear.
    pub open: bool,
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
    /// Readings from this day on that it stands on.
    pub from: Date,
    pub uses: fn(&Point) -> bool,
}

impl Found {
    /// Told, to nobody yet.
    pub(crate) fn new(step: &'static str, severity: Severity, from: Date, uses: fn(&Point) -> bool) -> Self {
        let (numbers, limit) = (Vec::new(), String::new());
        Self { step, severity, recipients: &[], closes: false, note: false, numbers, limit, from, uses }
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

    /// Days from `from` days ago until `to` days ago.
    pub(crate) fn span(&self, from: i64, to: i64) -> &[Day] {
        days::between(self.days, self.ago(from), self.ago(to))
    }

    /// What yesterday came to. Without anything new from yesterday nothing new is said.
    pub(crate) fn yesterday(&self) -> Option<&Day> {
        self.span(1, 0).first()
    }

    /// Drugs taken on the day that has begun.
    pub(crate) fn drugs(&self) -> impl Iterator<Item = MedicationClass> {
        let taken =
            |m: &&vitals::Medication| m.from.is_none_or(|d| d <= self.date) && m.to.is_none_or(|d| d >= self.date);
        self.patient.plan.medications.iter().filter(taken).map(|m| m.class)
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
        Rule::GluV1 => levels::low_index(look),
        Rule::Adh2 => care::missed(look),
        Rule::Dq3 => care::quality(look),
        _ => None,
    }
}

impl Person {
    /// Makes the days before the morning `slot` known, back to what any rule can reach.
    pub(crate) fn know_days<W: World>(&mut self, world: &W, first: Timestamp, last: Timestamp) -> Result<(), Error> {
        let zone = self.zone.clone();
        let begin = zone.start_of(schedule::days_after(first.day(&zone), -days::REACH));
        let end = zone.start_of(last.day(&zone));
        let Some(from) = self.days.missing(begin, end, &zone) else { return Ok(()) };
        let points = self.points(world, from, just_before(end))?.into_owned();
        self.days.extend(&points, end, &zone);
        Ok(())
    }

    /// Looks at one morning, as the schedule asks.
    pub(crate) fn daily<W: World>(&mut self, scene: &mut Scene<'_, W>, slot: Timestamp) -> Result<(), Error> {
        let today = self.zone.start_of(slot.day(&self.zone));
        self.open_day = today;
        if schedule::is_weekly(slot, &self.zone) {
            self.weekly(scene, slot)?;
        } else {
            self.freshen(scene.world, scene.now)?;
            let yesterday = self.zone.start_of(schedule::days_after(slot.day(&self.zone), -1));
            let spoke = |c: &&Concluded| c.effective_at >= yesterday && matches!(c.rule, Rule::Dq1 | Rule::Dq2);
            if self.last_valid.is_none_or(|(at, _)| at < yesterday) && !self.concluded.iter().rev().any(|c| spoke(&c)) {
                return Ok(());
            }
        }
        self.judge_days(scene, slot, slot)?;
        self.days.trim(slot.day(&self.zone), &self.zone);
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
        let patient = self.patient.clone();
        let zone = self.zone.clone();
        let midnight = |slot: Timestamp, days| zone.start_of(schedule::days_after(slot.day(&zone), days));
        let all = self.points(scene.world, midnight(first, -SINGLE_DAYS), just_before(midnight(last, 0)))?.into_owned();
        let mut raised: Vec<Timestamp> = Vec::new();
        for rule in RULES {
            let Some(numbers) = scene.cards.numbers(rule, &patient) else { continue };
            let hold = Duration::try_from_secs_f64(numbers.value("hold") * 86_400.0).unwrap_or_default();
            let mine = self.concluded.iter().filter(|c| c.rule == rule && c.effective_at < first);
            let mut before: Vec<(Timestamp, Severity, bool)> =
                mine.map(|c| (c.effective_at, c.severity, &*c.step == "cleared")).collect();
            let mut expected = Vec::new();
            let mut slot = first;
            while slot <= last {
                let date = slot.day(&zone);
                let begin = all.partition_point(|p| p.at < midnight(slot, -SINGLE_DAYS));
                let end = all.partition_point(|p| p.at < midnight(slot, 0));
                let look = Look {
                    date,
                    weekly: schedule::is_weekly(slot, &zone),
                    zone: &zone,
                    patient: &patient,
                    numbers,
                    days: self.days.between(schedule::days_after(date, -days::REACH), date),
                    points: &all[begin..end],
                    season: scene.seasons.shift(&patient, date),
                    sustained: self.sustained_open(slot),
                    rising: raised.contains(&slot),
                    concluded: &self.concluded,
                    open: before.last().is_some_and(|b| !b.2 && b.1 > Severity::Info),
                };
                if let Some(found) = look_at(rule, &look) {
                    let newest = before.iter().rev().find(|b| !b.2 && b.1 >= found.severity);
                    if found.closes || newest.is_none_or(|(at, ..)| slot >= at.plus(hold)) {
                        before.push((slot, found.severity, found.closes));
                        if matches!(rule, Rule::BpT1 | Rule::GluT1) && found.severity > Severity::Info {
                            raised.push(slot);
                        }
                        expected.push(self.told(scene.world, rule, slot, found)?);
                    }
                }
                slot = schedule::following(slot, &zone);
            }
            self.settle(scene, rule, (first, last), &expected, |_| true);
        }
        Ok(())
    }

    /// The newest BP-S1 before or at `slot` is neither cleared nor old.
    fn sustained_open(&self, slot: Timestamp) -> bool {
        let newest = self.concluded.iter().rev().find(|c| c.rule == Rule::BpS1 && c.effective_at <= slot);
        newest.is_some_and(|c| !c.is_info() && slot < c.effective_at.plus(SUSTAINED_OPEN))
    }

    /// A finding with the readings that it stands on; they are looked up only now.
    fn told<W: World>(&self, world: &W, rule: Rule, slot: Timestamp, found: Found) -> Result<Conclusion, Error> {
        let (from, to) = (self.zone.start_of(found.from), self.zone.start_of(slot.day(&self.zone)));
        let points = self.points(world, from, just_before(to))?;
        let used = points.iter().filter(|p| p.valid && (found.uses)(p));
        let flagged = points.iter().filter(|p| !p.valid && (found.uses)(p));
        let mut readings: Vec<_> = used.map(|p| p.id).collect();
        readings.sort_unstable();
        let reason = |p: &Point| p.reason.unwrap_or("flagged").to_owned();
        let mut excluded: Vec<Excluded> = flagged.map(|p| Excluded { reading_id: p.id, reason: reason(p) }).collect();
        excluded.sort_unstable_by_key(|e| e.reading_id);
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
            joined: Vec::new(),
            since: slot,
            note: found.note,
        })
    }
}

fn just_before(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros() - 1)
}
