//! What becomes of a call that failed: the person's next contact, or where nobody of the step is left, the next step.

use super::{BATCH, Stage};
use crate::{book::Case, desk::Desk, message::Warning, work::Work};
use store::{Contact, Delivery, DeliveryState, StoreError, User};
use vitals::{Severity, Timestamp};

impl Stage {
    /// Deliveries that failed and have not had their turn.
    pub(super) async fn take_failures(&mut self) -> Result<bool, StoreError> {
        let failed = self.shared.store.outbox_unsettled(BATCH).await?;
        if failed.is_empty() {
            return Ok(false);
        }
        let now = self.now();
        let mut work = Work::default();
        for delivery in &failed {
            work.batch.settled.push((delivery.id.clone(), delivery.attempts));
            self.take_failure(&mut work, delivery, now).await?;
        }
        self.commit(work, now).await?;
        Ok(true)
    }

    async fn take_failure(&self, work: &mut Work, failed: &Delivery, now: Timestamp) -> Result<(), StoreError> {
        let desk = self.shared.desk();
        let press = self.shared.press(now);
        let for_good = failed.state == DeliveryState::Failed;
        let (Some(alert), Some(user)) = (failed.alert, failed.user.and_then(|u| desk.directory.user(u))) else {
            return Ok(());
        };
        let case = work.cases.get(&alert).or_else(|| self.cases.get(&alert)).cloned();
        let Some(mut case) = case else { return Ok(()) };
        if for_good && !user.disabled && failed.is_at_contact_of(&user) {
            // The day: what came back and went again is told again.
            let day = now.in_zone(&self.shared.zone).date();
            let matter = format!("dead {} {} {} {} {day}", user.id, user.version, failed.channel, failed.address);
            let about = Warning {
                matter,
                reason: "dead_channel",
                team: case.episode.team,
                channel: Some(&failed.channel),
                ..Warning::default()
            };
            work.warn(case.episode.team, &about, &desk, &press);
        }
        if !is_wanted(&case, failed) {
            return Ok(());
        }
        let others = self.shared.store.deliveries_of(alert).await?;
        // What failed and has not had its turn may have another contact: the last one whose turn comes is the end.
        let alive = |d: &Delivery| {
            use DeliveryState as S;
            let waits = matches!(d.state, S::Pending | S::FailedTemp | S::Accepted | S::Delivered | S::Read);
            d.kind == failed.kind
                && (d.cycle, d.level, d.critical) == (failed.cycle, failed.level, failed.critical)
                && (waits || d.unsettled && !work.batch.settled.contains(&(d.id.clone(), d.attempts)))
        };
        let patient = desk.directory.patient(case.episode.patient);
        for contact in contacts_after(&desk, &user, failed) {
            let row = press.page(&case, patient.as_deref(), &user, contact, failed.level, case.memo.repeat);
            match others.iter().find(|d| d.id == row.id) {
                // The person was called there already: that goes on, or it failed too.
                Some(known) if alive(known) => return Ok(()),
                Some(_) => {}
                None => {
                    work.batch.messages.push(row);
                    return Ok(());
                }
            }
        }
        let replaced = work.batch.messages.iter().any(|m| m.alert == Some(alert) && m.level == failed.level);
        if for_good && !replaced && !others.iter().any(alive) {
            let (cycle, level) = (failed.cycle, failed.level);
            let effects = self.with(work, &mut case, now, |case, ctx| case.unreachable(cycle, level, ctx));
            self.put(work, case, effects, now);
        }
        Ok(())
    }
}

/// Whether somebody must still be reached for what this message was about.
fn is_wanted(case: &Case, failed: &Delivery) -> bool {
    let episode = &case.episode;
    failed.kind == "alert.notification"
        && failed.critical == (episode.severity == Severity::Critical)
        && episode.state.is_unacknowledged()
        && episode.snoozed_until.is_none()
        && episode.cycle == failed.cycle
}

/// Where the person can be reached after this contact; anywhere, where it is not theirs any more.
fn contacts_after<'u>(desk: &Desk<'_>, user: &'u User, failed: &Delivery) -> Vec<&'u Contact> {
    let is_it = |c: &Contact| c.channel == failed.channel && c.address == failed.address;
    let from = user.contacts.iter().position(is_it).map_or(0, |place| place + 1);
    let mut usable = desk.contacts(user, failed.critical);
    usable.retain(|c| user.contacts.iter().skip(from).any(|after| after == *c));
    usable
}
