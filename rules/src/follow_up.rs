//! FU-1: somebody must see again, within two weeks, who had a confirmed critical finding (national specification).
//!
//! A contact logged on the day itself answers the alarm; the follow-up is one that is logged on a later day, or the alert's
//! outcome. Visits of every quarter are kept by the centre's own record system: nothing here knows of them.

use crate::{
    Error, Point, Rule,
    conclusion::Concluded,
    daily::{Found, Look},
    person::{Person, World},
    schedule,
};
use jiff::civil::Date;
use vitals::{Recipient, Severity, Timestamp, Zone};

/// The farthest that a card may set the days (their upper bound).
const FARTHEST: i64 = 30;

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

/// What holds on one morning.
pub(crate) fn due(look: &Look<'_>) -> Option<Found> {
    let morning = look.zone.start_of(look.date);
    #[allow(clippy::cast_possible_truncation, reason = "a number of days within the card's bounds")]
    let days = |name| look.number(name).round() as i64;
    let open = |on: &dyn Fn(Date) -> bool| {
        let from = look.zone.start_of(look.ago(FARTHEST));
        let begin = look.concluded.partition_point(|c| c.effective_at < from);
        let mut late = look.concluded[begin..].iter().take_while(|c| c.effective_at < morning);
        late.find(|c| needs(c) && on(c.effective_at.day(look.zone)) && unseen(c, look.contacts, morning, look.zone))
    };
    let (overdue, soon) = (look.ago(days("overdue")), look.ago(days("due")));
    let (step, to, critical): (_, &[Recipient], _) = match (open(&|d| d == overdue), open(&|d| d == soon)) {
        (Some(c), _) => ("overdue", &[Recipient::Gp], c),
        (None, Some(c)) => ("due", &[Recipient::HealthManager], c),
        (None, None) if look.open && open(&|d| d <= soon).is_none() => {
            let mut found = Found::new("recorded", Severity::Info, look.date, none);
            found.closes = true;
            return Some(found);
        }
        (None, None) => return None,
    };
    let mut found = Found::new(step, Severity::Routine, look.date, none);
    found.recipients = to;
    found.readings = Some(critical.readings.clone());
    found.numbers = vec![("daysSince", look.number(step))];
    found.limit = format!("{} days without a recorded follow-up", look.number(step));
    Some(found)
}

impl Person {
    /// What was logged since the first critical finding that the mornings from `first` on can ask about.
    pub(crate) fn contacts<W: World>(&self, world: &W, first: Timestamp) -> Result<Vec<Timestamp>, Error> {
        let from = first.minus(std::time::Duration::from_secs((FARTHEST.unsigned_abs() + 2) * 86_400));
        let begin = self.concluded.partition_point(|c| c.effective_at < from);
        match self.concluded[begin..].iter().find(|c| needs(c)) {
            Some(c) => world.contacts(self.id(), c.effective_at),
            None => Ok(Vec::new()),
        }
    }

    /// Whether a morning must be looked at although nothing was measured.
    pub(crate) fn awaits_follow_up(&self, slot: Timestamp) -> bool {
        let from = slot.minus(std::time::Duration::from_secs((FARTHEST.unsigned_abs() + 2) * 86_400));
        let begin = self.concluded.partition_point(|c| c.effective_at < from);
        self.concluded[begin..].iter().any(needs)
    }
}
