//! The dispatcher: takes rows that are due, asks once more whether they are wanted, sends, writes down what became of it.
//!
//! At least once: a crash between sending and writing down sends the same bytes under the same key again.
//! Must never: make a message, let anything wait in front of a critical (each lane has its own places), or let anything
//! else leave at night or on a day of rest.

use crate::{
    channel::{Channels, Verdict},
    config::Config,
    desk::Desk,
    hours::Hours,
};
use runtime::{Clock, Drain, crash};
use std::{collections::HashSet, sync::Arc, time::Duration};
use store::{Delivery, Outcome, Outgoing, Store, StoreError};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use vitals::{AlertId, Timestamp};

/// Messages under way at once: criticals, everything else. Full: the rest waits in the outbox.
const LANES: [(bool, usize); 2] = [(true, 32), (false, 16)];
/// After so many failed attempts of a critical page the person's next contact is used too.
const ASK_AFTER: u32 = 3;
/// A provider may ask us to wait so long, not longer.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// A clock that is put back wakes nobody: real time between two looks at system time.
pub(crate) const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);
/// After a fault of the store.
const PAUSE: Duration = Duration::from_millis(500);
/// A stop waits so long for answers; then the row stays, and the same message is sent again at the next start.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What the dispatcher needs.
pub(crate) struct Dispatcher {
    pub(crate) store: Store,
    pub(crate) config: Arc<Config>,
    pub(crate) channels: Arc<Channels>,
    /// Something failed that the book should hear of.
    pub(crate) failed: mpsc::Sender<()>,
    pub(crate) settles: mpsc::Receiver<oneshot::Sender<bool>>,
}

/// What became of a message under way.
struct Sent {
    id: String,
    critical: bool,
    /// What could not be written down.
    owed: Option<Note>,
}

/// What has to be written down of a delivery.
struct Note {
    delivery: Delivery,
    outcome: Outcome,
    word: String,
}

#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<Sent>,
    ids: HashSet<String>,
    critical: usize,
    other: usize,
    /// Sent, and not written down because the disk is full: the note is tried again, never the message.
    owed: Vec<Note>,
    owed_at: Option<tokio::time::Instant>,
    /// The clock at the last look.
    seen: Option<Timestamp>,
}

impl UnderWay {
    fn count(&mut self, critical: bool) -> &mut usize {
        if critical { &mut self.critical } else { &mut self.other }
    }

    /// The place is free again; the id only once everything about it is written down.
    fn back(&mut self, sent: Sent) {
        *self.count(sent.critical) -= 1;
        match sent.owed {
            None => {
                self.ids.remove(&sent.id);
            }
            Some(note) => {
                self.owed.push(note);
                self.owed_at.get_or_insert_with(|| tokio::time::Instant::now() + PAUSE);
            }
        }
    }
}

/// Runs until the drain.
pub(crate) async fn run(mut this: Dispatcher, drain: Drain) {
    let clock = this.store.clock().clone();
    let mut changes = this.store.outbox_changes();
    let mut under_way = UnderWay::default();
    let mut settling: Vec<oneshot::Sender<bool>> = Vec::new();
    let mut done = false;
    loop {
        changes.mark_unchanged();
        let next = match this.take_in_time(&mut under_way, clock.now()).await {
            Ok((started, next)) => {
                done |= started;
                next
            }
            Err(e) => {
                tracing::error!(error = %e, "the outbox cannot be read");
                tokio::time::sleep(PAUSE).await;
                Some(clock.now())
            }
        };
        // What was done counts until somebody asks: a failure just written down is work for the book.
        if !settling.is_empty() && under_way.ids.is_empty() && next.is_none_or(|at| at > clock.now()) {
            for answer in settling.drain(..) {
                let _ = answer.send(done);
            }
            done = false;
        }
        tokio::select! {
            Some(sent) = under_way.tasks.join_next() => {
                if let Ok(sent) = sent { under_way.back(sent) }
            }
            () = tokio::time::sleep_until(under_way.owed_at.unwrap_or_else(tokio::time::Instant::now)), if under_way.owed_at.is_some() => {
                this.write_down(&mut under_way).await;
            }
            _ = changes.changed() => {}
            () = clock.sleep_until_some(next) => {}
            () = tokio::time::sleep(LOOK_AT_CLOCK), if !clock.is_manual() => {}
            Some(answer) = this.settles.recv() => settling.push(answer),
            () = drain.stopping() => break,
        }
    }
    let last = async {
        while let Some(sent) = under_way.tasks.join_next().await {
            if let Ok(sent) = sent {
                under_way.back(sent);
            }
        }
        this.write_down(&mut under_way).await;
    };
    let _ = tokio::time::timeout(LAST_ANSWERS, last).await;
}

impl Dispatcher {
    /// As [`Dispatcher::take`], by a clock that may have been put back, while nothing ran or since the last look.
    async fn take_in_time(
        &self,
        under_way: &mut UnderWay,
        now: Timestamp,
    ) -> Result<(bool, Option<Timestamp>), StoreError> {
        if under_way.seen.is_none_or(|seen| now < seen) {
            self.store.outbox_bring_forward(now, now.plus(LONGEST_RETRY_AFTER)).await?;
        }
        under_way.seen = Some(now);
        self.take(under_way, now).await
    }

    /// Starts what is due and has a place. Returns whether anything was started, and when the next row is due.
    async fn take(&self, under_way: &mut UnderWay, now: Timestamp) -> Result<(bool, Option<Timestamp>), StoreError> {
        let mut started = false;
        for (critical, places) in LANES {
            let free = places.saturating_sub(*under_way.count(critical));
            if free == 0 {
                continue;
            }
            let due = self.store.outbox_due(now, critical, free + under_way.ids.len()).await?;
            for message in
                due.into_iter().filter(|m| !under_way.ids.contains(&m.delivery.id)).take(free).collect::<Vec<_>>()
            {
                started = true;
                under_way.ids.insert(message.delivery.id.clone());
                *under_way.count(critical) += 1;
                let (store, config) = (self.store.clone(), self.config.clone());
                let (channels, failed) = (self.channels.clone(), self.failed.clone());
                under_way.tasks.spawn(async move {
                    let id = message.delivery.id.clone();
                    let owed = match hand_over(&store, &config, &channels, &failed, message).await {
                        Ok(owed) => owed,
                        Err(e) => {
                            tracing::error!(error = %e, delivery = %id, "whether a delivery is wanted cannot be read");
                            tokio::time::sleep(PAUSE).await;
                            None
                        }
                    };
                    Sent { id, critical, owed }
                });
            }
        }
        // What is under way was due by now, and its end wakes us; without a place a due row waits for such an end too.
        let after = if under_way.ids.is_empty() { Timestamp::MIN } else { now };
        let next = self.store.outbox_next(after).await?;
        Ok((started, next))
    }

    /// Writes down what is owed, until it fails again.
    async fn write_down(&self, under_way: &mut UnderWay) {
        while let Some(Note { delivery, outcome, word }) = under_way.owed.pop() {
            if self.store.outbox_mark(&delivery, outcome.clone(), word.clone()).await.is_err() {
                under_way.owed.push(Note { delivery, outcome, word });
                under_way.owed_at = Some(tokio::time::Instant::now() + PAUSE);
                return;
            }
            under_way.ids.remove(&delivery.id);
            tell(&self.failed, &outcome);
        }
        under_way.owed_at = None;
    }
}

async fn hand_over(
    store: &Store,
    config: &Config,
    channels: &Channels,
    failed: &mpsc::Sender<()>,
    message: Outgoing,
) -> Result<Option<Note>, StoreError> {
    let clock: &Clock = store.clock();
    let delivery = &message.delivery;
    if clock.now() > message.expires_at {
        count(&message, "expired");
        store.outbox_mark(delivery, Outcome::Expired, "too late to send".into()).await?;
        return Ok(None);
    }
    if !store.outbox_wanted(delivery.id.clone()).await? {
        return Ok(None);
    }
    let hours = hours_that_hold(store, config, &message).await?;
    let now = clock.now();
    let at = leaves(hours.as_ref(), now);
    if at > now {
        let expires_at = message.expires_at.plus(at.since(now));
        store.outbox_mark(delivery, Outcome::Held { at, expires_at }, String::new()).await?;
        return Ok(None);
    }
    let (outcome, word) = if let Some(why) = has_left(store, delivery) {
        (Outcome::Refused { disable: false }, why.to_owned())
    } else {
        crash::point("outbox.before_send");
        let verdict = channels.send(&message).await;
        crash::point("outbox.after_send");
        judge(config, hours.as_ref(), &message, verdict, clock.now())
    };
    if matches!(outcome, Outcome::Accepted) {
        let waited = clock.now().since(delivery.created_at);
        metrics::histogram!("hearthbeat_alerts_handover_seconds").record(waited.as_secs_f64());
        count(&message, "accepted");
    } else {
        count(&message, "failed");
        tracing::warn!(delivery = %delivery.id, channel = %delivery.channel, attempt = delivery.attempts + 1, word, "not delivered");
    }
    if let Err(e) = store.outbox_mark(delivery, outcome.clone(), word.clone()).await {
        tracing::error!(error = %e, delivery = %delivery.id, "a delivery's outcome was not written down yet");
        return Ok(Some(Note { delivery: delivery.clone(), outcome, word }));
    }
    crash::point("outbox.after_mark");
    tell(failed, &outcome);
    Ok(None)
}

/// Why nothing is to be sent there any more: who left the house hears of no patient, and a page goes to no address that was
/// replaced since; the book calls the person, or the step, otherwise.
fn has_left(store: &Store, delivery: &Delivery) -> Option<&'static str> {
    let user = store.directory().user(delivery.user?)?;
    if user.disabled {
        return Some("the user is disabled");
    }
    let replaced = delivery.kind == "alert.notification" && !delivery.is_at_contact_of(&user);
    replaced.then_some("the address is not the user's any more")
}

/// Wakes the book, where what was written down is something for it.
fn tell(failed: &mpsc::Sender<()>, outcome: &Outcome) {
    if matches!(outcome, Outcome::Refused { .. } | Outcome::Again { ask: true, .. }) {
        // Full: the book has been woken already.
        let _ = failed.try_send(());
    }
}

fn count(message: &Outgoing, outcome: &'static str) {
    let kind = match message.delivery.kind.as_str() {
        "alert.notification" => "notification",
        "alert.digest" => "digest",
        "service.warning" => "warning",
        _ => "quiet",
    };
    metrics::counter!("hearthbeat_alerts_deliveries_total", "kind" => kind, "outcome" => outcome).increment(1);
}

/// The station's hours for what waits for them: pages and digests that are not critical. None: it may leave at any hour,
/// as criticals do, and the quiet echoes and warnings that follow from what somebody does or from a fault.
async fn hours_that_hold(store: &Store, config: &Config, message: &Outgoing) -> Result<Option<Hours>, StoreError> {
    let delivery = &message.delivery;
    if message.critical || !matches!(delivery.kind.as_str(), "alert.notification" | "alert.digest") {
        return Ok(None);
    }
    let episode = match delivery.alert.or_else(|| first_item(&message.body)) {
        Some(alert) => store.episode(alert).await?,
        None => None,
    };
    let desk = Desk::new(store, config);
    let station = match episode {
        Some(episode) => desk.place_of(&episode).organisation,
        None => delivery.user.and_then(|u| desk.directory.user(u)).and_then(|u| u.organisation),
    };
    Ok(Some(desk.hours(station, store.zone())))
}

/// A digest's row names no alert; its items are of stations that opened at the same moment.
fn first_item(body: &str) -> Option<AlertId> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    serde_json::from_value(body["data"]["items"][0]["alertId"].clone()).ok()
}

/// When what is due at `at` may leave: at the next opening, where it falls in the night or on a day of rest.
fn leaves(hours: Option<&Hours>, at: Timestamp) -> Timestamp {
    hours.filter(|h| h.is_quiet(at)).map_or(at, |h| h.next_opening(at))
}

/// What an answer means for the row. What waits for an opening expires later by as much.
fn judge(
    config: &Config,
    hours: Option<&Hours>,
    message: &Outgoing,
    verdict: Verdict,
    now: Timestamp,
) -> (Outcome, String) {
    match verdict {
        Verdict::Accepted(word) => (Outcome::Accepted, word),
        Verdict::Gone(word) => (Outcome::Refused { disable: true }, word),
        Verdict::NoChannel => (Outcome::Refused { disable: false }, "the channel is not configured".into()),
        Verdict::Temporary(word, wait) => {
            let attempts = message.delivery.attempts + 1;
            let first = u64::from(config.retry_first_seconds);
            let longest = u64::from(config.retry_longest_seconds);
            let growing = first.saturating_mul(1 << (attempts - 1).min(20)).min(longest);
            let wait = wait.unwrap_or_default().min(LONGEST_RETRY_AFTER).max(Duration::from_secs(growing));
            let ask = message.critical && attempts == ASK_AFTER;
            let due = now.plus(wait);
            let at = leaves(hours, due);
            (Outcome::Again { at, ask, expires_at: message.expires_at.plus(at.since(due)) }, word)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hours::tests::{at, station};

    #[test]
    fn what_waits_for_hours_leaves_at_the_next_opening_and_anything_else_at_once() {
        let hours = station();
        for (due, then) in [
            ("02T21:59", "02T21:59"),
            ("02T22:00", "03T08:00"),
            ("03T07:00", "03T07:00"), // no night any more, and what is under way need not wait for the door
            ("06T22:05", "09T08:00"),
            ("07T12:00", "09T08:00"),
        ] {
            assert_eq!((leaves(Some(&hours), at(due)), leaves(None, at(due))), (at(then), at(due)), "{due}");
        }
        let never = Hours { week: [false; 7], ..station() };
        assert_eq!(leaves(Some(&never), at("02T09:00")), at("02T09:00"), "silence is worse than a wrong hour");
    }

    #[test]
    fn a_digest_is_of_the_station_of_its_items() {
        let alert = AlertId::new(7);
        let body = serde_json::json!({ "data": { "items": [{ "alertId": alert }] } }).to_string();
        assert_eq!((first_item(&body), first_item("{}"), first_item("")), (Some(alert), None, None));
    }

    #[tokio::test]
    async fn a_failure_that_was_written_down_late_is_told_to_the_book_then() {
        let (folder, (_handle, root)) = (tempfile::tempdir().unwrap(), Drain::new());
        let store = Store::open(folder.path(), Clock::manual(at("02T10:00")), &root).unwrap();
        let message = store::NewMessage {
            id: "one".into(),
            alert: None,
            kind: "alert.notification",
            channel: "sms".into(),
            user: None,
            address: "gone".into(),
            level: 1,
            cycle: 1,
            critical: true,
            created_at: at("02T10:00"),
            expires_at: at("02T11:00"),
            body: "{}".into(),
        };
        store.commit_alerts(store::AlertBatch { messages: vec![message], ..Default::default() }).await.unwrap();
        let delivery = store.outbox_due(at("02T10:00"), true, 1).await.unwrap().pop().unwrap().delivery;
        let (config, (failed, mut failures), (_, settles)) = (Config::default(), mpsc::channel(1), mpsc::channel(1));
        let channels = Arc::new(Channels::open(&config).unwrap());
        let dispatcher = Dispatcher { store: store.clone(), config: Arc::new(config), channels, failed, settles };
        let note = |outcome| Note { delivery: delivery.clone(), outcome, word: String::new() };
        for (outcome, told) in [(Outcome::Accepted, false), (Outcome::Refused { disable: true }, true)] {
            let mut under_way = UnderWay { owed: vec![note(outcome)], ..UnderWay::default() };
            dispatcher.write_down(&mut under_way).await;
            assert_eq!((under_way.owed.len(), failures.try_recv().is_ok()), (0, told));
        }
    }
}
