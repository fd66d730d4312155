//! What the API asks of the stages beside it, answered: the only place where the two meet.

use crate::{
    authority::{self, Issued, SignError},
    pace::Pace,
    upkeep::Books,
};
use dashboard_api::{Certificate, CertifyError, Check, Links, Replayed, ReplayedReading, StageFigures, TestClockError};
use metrics_exporter_prometheus::PrometheusHandle;
use runtime::{Clock, ClockError, Drain};
use std::sync::Arc;
use store::{Store, Team, User};
use tokio::task::JoinError;
use vitals::Zone;

/// The stages that answer.
#[derive(Clone)]
pub(crate) struct Stages {
    pub(crate) store: Store,
    pub(crate) broker: broker::Handle,
    pub(crate) ingest: ingest::Handle,
    pub(crate) rules: rules::Handle,
    pub(crate) alerts: alerts::Handle,
    pub(crate) questdb: Option<store::questdb::Handle>,
    pub(crate) books: Books,
    pub(crate) metrics: PrometheusHandle,
    /// For how long a device's certificate is good.
    pub(crate) certificate_days: u32,
}

/// Fills in the API's questions.
pub(crate) fn links(stages: &Stages, zone: Zone, pace: Option<Pace>, drain: &Drain) -> Links {
    let (act, on_call, check, link) =
        (stages.alerts.clone(), stages.alerts.clone(), stages.alerts.clone(), stages.alerts.clone());
    let empties = stages.alerts.clone();
    let replay = stages.ingest.clone();
    let (ready, figures, metrics) = (stages.clone(), stages.clone(), stages.metrics.clone());
    Links {
        zone,
        act: Arc::new(move |command| {
            let alerts = act.clone();
            Box::pin(async move { alerts.act(command).await })
        }),
        on_call: Arc::new(move |(team, at)| {
            let alerts = on_call.clone();
            Box::pin(async move { Ok(alerts.on_call(team, at)) })
        }),
        check_team: Arc::new(move |team| {
            let alerts = check.clone();
            Box::pin(async move { alerts.check_team(&team) })
        }),
        emptied_by: Arc::new(move |leave| {
            let alerts = empties.clone();
            Box::pin(async move { alerts.emptied_by(&leave) })
        }),
        read_link: Arc::new(move |token| {
            let alerts = link.clone();
            Box::pin(async move { alerts.read_link(&token).await })
        }),
        replay: Arc::new(move |id| {
            let ingest = replay.clone();
            Box::pin(async move { ingest.replay(id).await.map(replayed) })
        }),
        certify: {
            let (folder, days) = (stages.store.folder().to_owned(), stages.certificate_days);
            Arc::new(move |(device, request)| {
                let folder = folder.clone();
                let signed = tokio::task::spawn_blocking(move || {
                    authority::sign(&folder, &device, &request, days, Clock::wall())
                });
                Box::pin(async move { certified(signed.await) })
            })
        },
        rules: crate::rulebook::links(&stages.store, &stages.rules, drain),
        pipeline: Arc::new(move || pipeline(&figures)),
        checks: Arc::new(move |()| {
            let stages = ready.clone();
            Box::pin(async move { checks(&stages).await })
        }),
        metrics: Arc::new(move || metrics.render()),
        test_clock: pace.map(|pace| -> dashboard_api::Ask<_, _> {
            Arc::new(move |to| {
                let pace = pace.clone();
                Box::pin(async move { pace.move_to(to).await.map(drop).map_err(refused) })
            })
        }),
    }
}

fn certified(signed: Result<Result<Issued, SignError>, JoinError>) -> Result<Certificate, CertifyError> {
    match signed {
        Ok(Ok(Issued { certificate, chain, serial, not_after })) => {
            Ok(Certificate { certificate, chain, serial, not_after })
        }
        Ok(Err(SignError::Request(what))) => Err(CertifyError::Request(what.into())),
        Ok(Err(SignError::Authority(what))) => Err(CertifyError::Authority(what)),
        Err(e) => Err(CertifyError::Authority(e.to_string())),
    }
}

fn replayed(done: ingest::Replayed) -> Replayed {
    let reading = |o: wire::receipt::Outcome| ReplayedReading {
        seq: o.seq,
        result: o.verdict.as_str(),
        id: o.id,
        reasons: o.reasons,
    };
    Replayed { released: done.released, results: done.results.into_iter().map(reading).collect() }
}

fn refused(e: ClockError) -> TestClockError {
    match e {
        ClockError::Backwards => TestClockError::Backwards,
        ClockError::NotManual => TestClockError::Stuck(e.to_string()),
    }
}

async fn checks(stages: &Stages) -> Vec<Check> {
    let journal = stages.store.readings().health();
    let journal_reason = match (journal.disk_full, journal.dead) {
        (true, _) => Some("disk_full".to_owned()),
        (_, true) => Some("commit_failed".to_owned()),
        _ => None,
    };
    let registry = stages.store.ping().await.err().map(|e| match e {
        store::StoreError::DiskFull(_) => "disk_full".to_owned(),
        _ => "not_writable".to_owned(),
    });
    let router = (!stages.broker.router_alive()).then(|| "no_heartbeat".to_owned());
    [("journal", journal_reason), ("registry", registry), ("router", router)]
        .into_iter()
        .map(|(name, reason)| Check { name, ok: reason.is_none(), reason })
        .chain(upstream(stages))
        .chain(projection(stages))
        .chain([chains(stages)])
        // A mismatch is an alarm, and no reason to turn meters away: what comes in is stored and judged as ever.
        .chain([Check { name: "books", ok: true, reason: stages.books.alarm() }])
        .collect()
}

/// While the broker above is away nothing comes in: after a while that is not ready.
fn upstream(stages: &Stages) -> Option<Check> {
    let health = stages.broker.upstream()?;
    Some(Check { name: "upstream", ok: !health.alarming, reason: health.reason.map(str::to_owned) })
}

/// A crisis is called at addresses that said they are gone when a chain has no others; but until one of them takes a message
/// or somebody writes better ones, that chain reaches nobody whom we know of. Only teams near such an address are looked at.
fn chains(stages: &Stages) -> Check {
    let (directory, now) = (stages.store.directory(), stages.store.clock().now());
    let dead = stages.store.dead_addresses();
    let users = dead.iter().filter_map(|(id, .., version)| directory.user(*id).filter(|u| u.version == *version));
    let users: Vec<_> = users.collect();
    let near = |team: &Team| {
        let line = directory.ancestry(team.organisation);
        let member = |user: &User| team.members.iter().any(|m| m.user_id == user.id);
        users.iter().any(|u| member(u) || line.iter().any(|o| u.organisation == Some(o.id)))
    };
    let silent = |team: &Team| stages.alerts.on_call(team.id, now).iter().all(|level| level.people.is_empty());
    let found = !users.is_empty() && directory.teams().iter().any(|team| near(team) && silent(team));
    Check { name: "alerts", ok: !found, reason: found.then(|| "every_address_gone".to_owned()) }
}

/// QuestDB is said, never waited for: devices must not notice its absence.
fn projection(stages: &Stages) -> Option<Check> {
    let health = stages.questdb.as_ref()?.health();
    let words = health.reason.clone().unwrap_or_else(|| format!("{:?}", health.state).to_lowercase());
    Some(Check { name: "questdb", ok: true, reason: health.is_alarming().then_some(words) })
}

/// Each stage's own counters, as `/metrics` shows them: one source of figures.
fn pipeline(stages: &Stages) -> Vec<StageFigures> {
    let text = stages.metrics.render();
    let total = |name: &str| total(&text, name);
    let journal = stages.store.readings().health();
    let queued = u64::try_from(journal.queued).unwrap_or(u64::MAX);
    let figures = |stage, taken, given, lag, errors| StageFigures { stage, taken, given, lag, errors };
    let (publishes, acknowledged) =
        (total("hearthbeat_broker_publishes_total"), total("hearthbeat_broker_pubacks_total"));
    let refused = total("hearthbeat_broker_refused_total") + total("hearthbeat_broker_forbidden_total");
    let rules_lag = journal.position.saturating_sub(journal.consumed);
    let mut all = vec![
        figures("broker", publishes, acknowledged, total("hearthbeat_broker_in_flight"), refused),
        figures(
            "ingest",
            total("hearthbeat_ingest_messages_total"),
            total("hearthbeat_ingest_readings_total"),
            queued,
            total("hearthbeat_ingest_unavailable_total"),
        ),
        figures("journal", journal.position, journal.position, 0, total("hearthbeat_journal_errors_total")),
        figures(
            "rules",
            journal.consumed,
            total("hearthbeat_rules_findings_total"),
            rules_lag,
            total("hearthbeat_rules_errors_total"),
        ),
        figures(
            "alerts",
            total("hearthbeat_alerts_findings_total"),
            total("hearthbeat_alerts_deliveries_total"),
            total("hearthbeat_alerts_unacknowledged_criticals"),
            total("hearthbeat_alerts_errors_total"),
        ),
    ];
    if stages.broker.upstream().is_some() {
        all.push(figures(
            "upstream",
            total("hearthbeat_upstream_received_total"),
            total("hearthbeat_upstream_acknowledged_total"),
            total("hearthbeat_upstream_in_flight"),
            total("hearthbeat_upstream_lost_total"),
        ));
    }
    if let Some(health) = stages.questdb.as_ref().map(store::questdb::Handle::health) {
        let behind = health.committed.saturating_sub(health.checked);
        all.push(figures("questdb", health.sent, health.checked, behind, health.quarantined));
    }
    let books = stages.books.outcome();
    all.push(figures("books", books.rows, books.rows, 0, books.wrong));
    all
}

/// The sum of a metric over its labels.
fn total(text: &str, name: &str) -> u64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let number = if rest.starts_with('{') { rest.rsplit(' ').next()? } else { rest.strip_prefix(' ')? };
        number.trim().split('.').next()?.parse::<u64>().ok()
    };
    text.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text = "# TYPE a_total counter\na_total{reason=\"x y\"} 3\na_total{reason=\"z\"} 4\na_total_more 9\nb 5\n";
        assert_eq!((total(text, "a_total"), total(text, "b"), total(text, "c")), (7, 5, 0));
    }
}
