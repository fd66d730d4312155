//! One cycle's work: cases under change, and everything that will be stored with them in one transaction.
//!
//! Nothing here is visible before the commit; when that fails the work is dropped and the cases are as they were.

use crate::{
    book::{Case, Effect},
    desk::Desk,
    message::{Item, Press, Warning},
};
use std::collections::{BTreeMap, BTreeSet};
use store::{AlertBatch, NewMessage, TimelineEvent, User};
use vitals::{AlertId, TeamId, UserId};

/// Work of one transaction.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) cases: BTreeMap<AlertId, Case>,
    pub(crate) batch: AlertBatch,
    digests: BTreeMap<UserId, BTreeSet<Item>>,
}

impl Work {
    pub(crate) fn is_empty(&self) -> bool {
        self.cases.is_empty() && self.batch.position.is_none() && self.batch.settled.is_empty()
    }

    /// Takes a changed case and turns its effects into rows.
    pub(crate) fn put(&mut self, case: Case, effects: Vec<Effect>, desk: &Desk<'_>, press: &Press<'_>) {
        let alert = case.episode.id;
        for effect in effects {
            match effect {
                Effect::Event { event, by, detail } => {
                    let line = TimelineEvent { at: press.now, event: event.to_owned(), by, detail };
                    self.batch.events.push((alert, line));
                }
                Effect::Page { user, level, repeat } => {
                    self.batch.called.push((alert, user));
                    self.page(&case, user, level, repeat, desk, press);
                }
                Effect::Quiet { kind, user } => {
                    if self.is_news_to(&case, user) {
                        continue;
                    }
                    if let Some(user) = desk.directory.user(user)
                        && let Some(contact) = desk.contacts(&user, false).first()
                    {
                        self.batch.messages.push(press.quiet(&case, kind, &user, contact));
                    }
                }
                Effect::Digest { user } => {
                    self.batch.called.push((alert, user));
                    let e = &case.episode;
                    let item = Item {
                        alert,
                        patient: e.patient,
                        concept: e.concept,
                        severity: e.severity,
                        rule: e.rule.clone(),
                    };
                    self.digests.entry(user).or_default().insert(item);
                }
                Effect::EmptyStep { step } => {
                    let e = &case.episode;
                    let matter = format!("{alert} {} {step}", e.cycle);
                    self.warn_step(e.team, step, Some(alert), matter, desk, press);
                }
                Effect::Withdraw => {
                    // Rows made by this very work for an earlier state are not wanted either.
                    self.batch.messages.retain(|m| m.alert != Some(alert) || m.kind != "alert.notification");
                    self.batch.withdraw.push(alert);
                }
            }
        }
        self.cases.insert(alert, case);
    }

    /// The episode is made by this very work, and so far nothing in it tells this person: its end is no news to them.
    fn is_news_to(&self, case: &Case, user: UserId) -> bool {
        let page = |m: &NewMessage| m.alert == Some(case.episode.id) && m.user == Some(user);
        case.episode.version == 0 && !self.batch.messages.iter().any(page)
    }

    fn page(&mut self, case: &Case, user: UserId, level: u32, repeat: u32, desk: &Desk<'_>, press: &Press<'_>) {
        let Some(user) = desk.directory.user(user) else { return };
        let critical = case.episode.severity == vitals::Severity::Critical;
        let patient = desk.directory.patient(case.episode.patient);
        if let Some(contact) = desk.contacts(&user, critical).first() {
            let row = press.page(case, patient.as_deref(), &user, contact, level, repeat);
            self.batch.messages.push(row);
        }
    }

    /// Tells the station's head, or else the region's desk, that a step calls nobody.
    pub(crate) fn warn_step(
        &mut self,
        team: Option<TeamId>,
        step: u32,
        alert: Option<AlertId>,
        matter: String,
        desk: &Desk<'_>,
        press: &Press<'_>,
    ) {
        let about = Warning { matter, reason: "empty_step", team, step: Some(step), channel: None, alert };
        self.warn(team, &about, desk, press);
    }

    /// A `service.warning` to whoever looks after the roster of this team.
    pub(crate) fn warn(&mut self, team: Option<TeamId>, about: &Warning<'_>, desk: &Desk<'_>, press: &Press<'_>) {
        let place = desk.place(team, None);
        let words = ["station:head", "region:duty"];
        let people = words.iter().map(|w| desk.people(&place, &[(*w).to_owned()], false, press.now));
        let Some(people) = people.into_iter().find(|p| !p.is_empty()) else {
            tracing::error!(reason = about.reason, "a warning reaches nobody: no station head and no regional desk");
            metrics::counter!("hearthbeat_alerts_unheard_warnings_total").increment(1);
            return;
        };
        for person in people {
            if let Some(user) = desk.directory.user(person.user_id) {
                self.warn_person(&user, about, desk, press);
            }
        }
    }

    /// Whether this person can be told.
    pub(crate) fn warn_person(&mut self, user: &User, about: &Warning<'_>, desk: &Desk<'_>, press: &Press<'_>) -> bool {
        let row = desk.contacts(user, false).first().map(|contact| press.warning(user, contact, about));
        let told = row.is_some();
        self.batch.messages.extend(row);
        told
    }

    /// What goes to the store: episodes as they are now, digests as one message each.
    pub(crate) fn finish(&mut self, desk: &Desk<'_>, press: &Press<'_>) -> AlertBatch {
        for (user, items) in std::mem::take(&mut self.digests) {
            let Some(user) = desk.directory.user(user) else { continue };
            if let Some(contact) = desk.contacts(&user, false).first() {
                let items: Vec<Item> = items.into_iter().collect();
                self.batch.messages.push(press.digest(&user, contact, &items));
            }
        }
        self.batch.episodes = self.cases.values().map(Case::write).collect();
        // What closes goes first: there is at most one active episode of a key at any moment.
        self.batch.episodes.sort_by_key(|e| e.state.is_active());
        self.batch.clone()
    }
}
