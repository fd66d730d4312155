//! What the service does by itself so that its promises stay true: counts the books again every hour, drops what is
//! older than it shall keep once a day, finishes erasures that a crash cut short, keeps the sums of past days.
//!
//! Goes in: the store, `[store.retention]`. Comes out: figures, log lines and a check for operations.
//! Must never: hold up a reading, end the process, keep it from ending.

use crate::config::Retention;
use runtime::Drain;
use std::{path::PathBuf, sync::Arc, time::Duration};
use store::{Dropped, Keep, Recount, Snapshot, Store, StoreError, questdb};
use tokio::sync::watch;
use vitals::{Timestamp, Zone};

/// On the service's clock.
const EVERY: Duration = Duration::from_secs(3600);
/// How long a message may lie unpacked, if there is enough for a block.
const PACK_EVERY: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(86_400);
/// A recount takes at most one part of so many of the time: that of many millions of rows comes less often.
const SELDOM: u32 = 100;
/// Mismatches that are logged one by one.
const LOGGED: usize = 10;
/// The recount gives way to everything else on this machine.
const NICE: i32 = 10;

/// What the last recount said. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Books(Arc<watch::Sender<Outcome>>);

/// Of the last recount.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Rows counted.
    pub(crate) rows: u64,
    /// What did not agree.
    pub(crate) wrong: u64,
    /// Why it could not be done.
    pub(crate) failed: bool,
}

impl Books {
    pub(crate) fn outcome(&self) -> Outcome {
        self.0.borrow().clone()
    }

    /// For operations, where something is to be said.
    pub(crate) fn alarm(&self) -> Option<String> {
        let outcome = self.0.borrow();
        match (outcome.wrong, outcome.failed) {
            (0, false) => None,
            (0, true) => Some("the recount could not be done: see the log".into()),
            (n, _) => Some(format!("{n} mismatches: run hearthbeat audit books")),
        }
    }
}

/// Begins at once; ends with the drain.
pub(crate) fn start(
    store: Store,
    alerts: alerts::Handle,
    retention: Retention,
    questdb: Option<questdb::Handle>,
    drain: &Drain,
) -> Books {
    let books = Books(Arc::new(watch::Sender::new(Outcome::default())));
    let (packs, ends) = (store.clone(), drain.named("originals"));
    tokio::spawn(async move {
        tokio::select! {
            () = pack_originals(&packs) => {}
            () = ends.stopping() => {}
        }
    });
    let (said, drain) = (books.clone(), drain.named("upkeep"));
    tokio::spawn(async move {
        tokio::select! {
            () = keep_up(&store, &alerts, retention, questdb.as_ref(), &said) => {}
            () = drain.stopping() => {}
        }
    });
    books
}

async fn keep_up(
    store: &Store,
    alerts: &alerts::Handle,
    retention: Retention,
    questdb: Option<&questdb::Handle>,
    books: &Books,
) {
    let mut done = None;
    loop {
        // First: what bindings say is about those who are left.
        finish_erasures(store).await;
        settle_bindings(store).await;
        let now = store.clock().now();
        let today = now.day(store.zone());
        if done != Some(today) {
            match drop_old(store, retention, now).await {
                Ok(()) => done = Some(today),
                Err(e) => tracing::error!(error = %e, "retention: not everything that is too old could be dropped"),
            }
        }
        fold_days(store).await;
        mend_projection(store, questdb).await;
        let begun = std::time::Instant::now();
        recount(store, books).await;
        if books.outcome().wrong > 0
            && let Err(e) = alerts.warn_of_books().await
        {
            tracing::error!(error = %e, "operations could not be told that the books do not balance");
        }
        let took = begun.elapsed();
        metrics::histogram!("hearthbeat_books_recount_seconds").record(took.as_secs_f64());
        store.clock().sleep_until(now.plus(EVERY.max(took * SELDOM))).await;
    }
}

/// Messages are kept as they came with each commit, and packed together a little later.
async fn pack_originals(store: &Store) {
    loop {
        store.clock().sleep_until(store.clock().now().plus(PACK_EVERY)).await;
        match store.readings().pack_originals().await {
            Ok(messages) => metrics::counter!("hearthbeat_originals_packed_total").increment(messages),
            Err(e) => {
                tracing::warn!(error = %e, "originals could not be packed; they stay as they are until the next time")
            }
        }
    }
}

/// Readings of devices whose bindings were changed when the process ended, or the disk was full, are given away now.
async fn settle_bindings(store: &Store) {
    let unsettled = store.unsettled_devices().await.unwrap_or_else(|e| {
        tracing::warn!(error = %e, "it is not known whether readings wait to be given to their patients");
        Vec::new()
    });
    for device in unsettled {
        match store.settle_bindings(device).await {
            Ok(moved) => tracing::info!(%device, moved, "a change of bindings that was cut short is finished"),
            Err(e) => tracing::error!(%device, error = %e, "readings are not yet given to their patients; tried again"),
        }
    }
}

async fn finish_erasures(store: &Store) {
    let unfinished = store.unfinished_erasures().await.unwrap_or_default();
    for patient in unfinished {
        match store.erase_patient(patient).await {
            Ok(_) => tracing::info!(%patient, "an erasure that was cut short is finished"),
            Err(e) => tracing::error!(%patient, error = %e, "an erasure could not be finished; it is tried again"),
        }
    }
}

async fn drop_old(store: &Store, retention: Retention, now: Timestamp) -> Result<(), StoreError> {
    let Retention { readings_years, quarantine_days, message_days, originals_days } = retention;
    let before = |days: u64| (days > 0).then(|| now.minus(DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX))));
    // A Gregorian year, rounded up: rather a day too long.
    let readings_from = before(u64::from(readings_years) * 366);
    let keep = Keep {
        readings_from,
        held_from: before(u64::from(quarantine_days)),
        // A message does not outlive the readings that were in it.
        originals_from: before(u64::from(originals_days)).max(readings_from),
    };
    let dropped = store.readings().drop_old(keep, store.zone().clone()).await?;
    let messages = match before(u64::from(message_days)) {
        Some(from) => store.drop_old_messages(from).await?,
        None => 0,
    };
    let Dropped { weeks, readings, held, originals } = dropped;
    metrics::counter!("hearthbeat_retention_rows_total", "kind" => "readings").increment(readings);
    metrics::counter!("hearthbeat_retention_rows_total", "kind" => "quarantine").increment(held);
    metrics::counter!("hearthbeat_retention_rows_total", "kind" => "messages").increment(messages);
    metrics::counter!("hearthbeat_retention_rows_total", "kind" => "originals").increment(originals);
    if readings + held + messages + originals > 0 {
        tracing::info!(weeks, readings, held, messages, originals, "retention dropped what is too old");
    }
    Ok(())
}

/// A chart of a year then asks for weeks, not for readings. What is not folded is counted when it is asked.
async fn fold_days(store: &Store) {
    match store.fold_days().await {
        Ok(store::Folded { weeks, rows }) => {
            metrics::counter!("hearthbeat_days_folded_total").increment(rows);
            tracing::debug!(weeks, rows, "sums of past days are made");
        }
        Err(e) => tracing::warn!(error = %e, "sums of past days could not be made; it is tried again within the hour"),
    }
}

/// Weeks in which readings were erased or dropped while nobody projected are sent anew.
async fn mend_projection(store: &Store, questdb: Option<&questdb::Handle>) {
    let Some(questdb) = questdb else { return };
    if let Err(reason) = store::questdb::tell_stale(store.readings(), questdb).await {
        tracing::error!(%reason, "QuestDB still shows what was erased or dropped; it is told again within the hour");
    }
}

/// On a thread of its own, on the file alone: neither the commit thread nor the end of the process waits for it.
async fn recount(store: &Store, books: &Books) {
    let (folder, zone): (PathBuf, Zone) = (store.folder().to_owned(), store.zone().clone());
    let (answer, answered) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("recount".into()).spawn(move || {
        // Linux counts niceness by thread; where it is refused the recount is only less polite.
        let _ = rustix::process::setpriority_process(None, NICE);
        let _ = answer.send(Snapshot::open(&folder).and_then(|snapshot| snapshot.recount(&zone, None)));
    });
    let outcome = match thread {
        Ok(_) => answered.await.unwrap_or(Err(StoreError::Closed)),
        Err(e) => Err(StoreError::Database { what: "recount", reason: e.to_string() }),
    };
    match outcome {
        Ok(report) => tell(store, &report, books),
        Err(e) => {
            metrics::counter!("hearthbeat_books_errors_total").increment(1);
            tracing::error!(error = %e, "the books could not be counted again");
            books.0.send_modify(|outcome| outcome.failed = true);
        }
    }
}

fn tell(store: &Store, report: &Recount, books: &Books) {
    let wrong = report.wrong();
    let rows = report.days.iter().map(|(_, day)| day.stored + day.quarantined).sum();
    metrics::counter!("hearthbeat_books_recounts_total").increment(1);
    metrics::gauge!("hearthbeat_books_mismatches").set(f64::from(u32::try_from(wrong).unwrap_or(u32::MAX)));
    books.0.send_replace(Outcome { rows, wrong, failed: false });
    if wrong == 0 {
        tracing::debug!(rows, "the books agree with every row");
        return;
    }
    let name = |key| store.directory().device_by_key(key).map_or_else(|| format!("device {key}"), |d| d.id.to_string());
    tracing::error!(wrong, "the books do not balance: run `hearthbeat audit books`");
    for mismatch in report.mismatches.iter().take(LOGGED) {
        tracing::error!(mismatch = mismatch.words(name), "books");
    }
}
