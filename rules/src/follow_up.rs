//! FU-1: somebody must see again, within two weeks, who had a confirmed critical finding; and everybody four times a year
//! (national specification).
//!
//! A contact logged on the day itself answers the alarm; the follow-up is one that is logged on a later day, the alert's
//! outcome, or a visit. Visits are counted from the last one that was written into the patient's record: of whom none was
//! ever written, the centre's own record system keeps them, and nothing is said here.

use crate::{
    Error, Point, Rule,
    conclusion::Concluded,
    daily::{Found, Look},
    person::{Person, World},
    schedule, statistics,
};
use jiff::civil::Date;
use vitals::{Recipient, Severity, Timestamp, Zone};

/// The farthest that a card may set the days (their upper bound).
const FARTHEST: i64 = 30;
/// The bounds of the days between two visits, the days of grace included.
const SHORTEST_QUARTER: i64 = 60;
const LONGEST_QUARTER: i64 = 120 + FARTHEST;

fn none(_: &Point) -> bool {
    false
}

/// Findings after which somebody must be seen again.
fn needs(c: &Concluded) -> bool {
    c.severity == Severity::Critical && !c.is_info() && c.rule != Rule::Fu1
}

/// Nobody has seen the patient again before `until`.
fn unseen(c: &Concluded, contacts: &[Timestamp], until: Timestamp, zone: &Zone) -> bool {
    let next = zone.start_of(schedule::days_after(c.effective_at.day(zone), 1));
    !contacts.iter().any(|at| *at >= next && *at < until)
}

/// A whole number of days, as the card has it.
#[allow(clippy::cast_possible_truncation, reason = "a number of days within the card's bounds")]
fn days(look: &Look<'_>, name: &str) -> i64 {
    look.number(name).round() as i64
}

/// What holds on one morning.
pub(crate) fn due(look: &Look<'_>) -> Option<Found> {
    let (critical, visit) = (after_critical(look), quarterly(look));
    let told = match (critical, visit) {
        (Open::Told(found), _) | (_, Open::Told(found)) => found,
        (Open::Nothing, Open::Nothing) if look.open.is_some() => {
            let mut found = Found::new("recorded", Severity::Info, look.date, none);
            found.closes = true;
            found
        }
        _ => return None,
    };
    Some(told)
}

/// Whether something is due.
enum Open {
    Nothing,
    /// It was told of already.
    Still,
    /// It is told of this morning.
    Told(Found),
}

fn told(look: &Look<'_>, step: &'static str, to: &'static [Recipient], since: i64) -> Found {
    let mut found = Found::new(step, Severity::Routine, look.date, none);
    found.recipients = to;
    found.readings = Some(Vec::new());
    found.numbers = vec![("daysSince", statistics::whole(since))];
    found.limit = format!("{since} days without a recorded follow-up");
    found
}

/// A critical finding after which nobody was seen again.
fn after_critical(look: &Look<'_>) -> Open {
    let morning = look.zone.start_of(look.date);
    let open = |on: &dyn Fn(Date) -> bool| {
        // What was told of stays due until something is recorded, however long ago it was.
        let from = look.open.map_or(look.date, |told| told.min(look.date));
        let from = look.zone.start_of(schedule::days_after(from, -FARTHEST));
        let begin = look.concluded.partition_point(|c| c.effective_at < from);
        let mut late = look.concluded[begin..].iter().take_while(|c| c.effective_at < morning);
        late.find(|c| needs(c) && on(c.effective_at.day(look.zone)) && unseen(c, look.contacts, morning, look.zone))
    };
    let (due, overdue) = (days(look, "due"), days(look, "overdue"));
    let (step, to, since, critical): (_, &[Recipient], _, _) =
        match (open(&|d| d == look.ago(overdue)), open(&|d| d == look.ago(due))) {
            (Some(c), _) => ("overdue", &[Recipient::Gp], overdue, c),
            (None, Some(c)) => ("due", &[Recipient::HealthManager], due, c),
            (None, None) if open(&|d| d <= look.ago(due)).is_some() => return Open::Still,
            (None, None) => return Open::Nothing,
        };
    let mut found = told(look, step, to, since);
    found.readings = Some(critical.readings.clone());
    Open::Told(found)
}

/// The visit of the quarter, counted from the last that was recorded.
fn quarterly(look: &Look<'_>) -> Open {
    let Some(last) = look.patient.visited_on.filter(|d| *d <= look.date) else { return Open::Nothing };
    let (quarter, grace) = (days(look, "quarter"), days(look, "overdue"));
    match schedule::days_after(last, quarter) {
        due if look.date < due => Open::Nothing,
        due if look.date == due => Open::Told(told(look, "visit_due", &[Recipient::HealthManager], quarter)),
        due if look.date == schedule::days_after(due, grace) => {
            Open::Told(told(look, "visit_overdue", &[Recipient::Gp], quarter + grace))
        }
        _ => Open::Still,
    }
}

impl Person {
    /// What was logged since the first critical finding that the mornings from `first` on can ask about.
    pub(crate) fn contacts<W: World>(&self, world: &W, first: Timestamp) -> Result<Vec<Timestamp>, Error> {
        let told = self.concluded.iter().rev().find(|c| c.rule == Rule::Fu1 && c.effective_at < first);
        let told = told.filter(|c| c.severity > Severity::Info).map_or(first, |c| c.effective_at);
        let from = told.minus(std::time::Duration::from_secs((FARTHEST.unsigned_abs() + 2) * 86_400));
        let begin = self.concluded.partition_point(|c| c.effective_at < from);
        let Some(c) = self.concluded[begin..].iter().find(|c| needs(c)) else { return Ok(Vec::new()) };
        let mut all = world.contacts(self.id(), c.effective_at)?;
        all.extend(self.patient.visited_on.map(|day| self.zone.start_of(day)));
        Ok(all)
    }

    /// Whether a morning must be looked at although nothing was measured.
    pub(crate) fn awaits_follow_up(&self, slot: Timestamp) -> bool {
        let from = slot.minus(std::time::Duration::from_secs((FARTHEST.unsigned_abs() + 2) * 86_400));
        let begin = self.concluded.partition_point(|c| c.effective_at < from);
        let today = slot.day(&self.zone);
        let visit = self.patient.visited_on.is_some_and(|d| {
            d >= schedule::days_after(today, -LONGEST_QUARTER) && d <= schedule::days_after(today, -SHORTEST_QUARTER)
        });
        visit || self.concluded[begin..].iter().any(needs) || self.follow_up_is_open()
    }

    fn follow_up_is_open(&self) -> bool {
        let newest = self.concluded.iter().rev().find(|c| c.rule == Rule::Fu1);
        newest.is_some_and(|c| c.severity > Severity::Info)
    }
}
