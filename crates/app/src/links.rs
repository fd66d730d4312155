//! What the API asks of the stages beside it, answered: the only place where the two meet.

use crate::pace::Pace;
use dashboard_api::{Check, Links, StageFigures, TestClockError};
use metrics_exporter_prometheus::PrometheusHandle;
use runtime::ClockError;
use std::sync::Arc;
use store::Store;
use vitals::Zone;

/// The stages that answer.
#[derive(Clone)]
pub(crate) struct Stages {
    pub(crate) store: Store,
    pub(crate) broker: broker::Handle,
    pub(crate) rules: rules::Handle,
    pub(crate) alerts: alerts::Handle,
    pub(crate) metrics: PrometheusHandle,
}

/// Fills in the API's questions.
pub(crate) fn links(stages: &Stages, zone: Zone, pace: Option<Pace>) -> Links {
    let (act, on_call, check, link) =
        (stages.alerts.clone(), stages.alerts.clone(), stages.alerts.clone(), stages.alerts.clone());
    let (ready, figures, metrics) = (stages.clone(), stages.clone(), stages.metrics.clone());
    Links {
        zone,
        act: Arc::new(move |command| {
            let alerts = act.clone();
            Box::pin(async move { alerts.act(command).await })
        }),
        on_call: Arc::new(move |(team, at)| {
            let alerts = on_call.clone();
            Box::pin(async move { alerts.on_call(team, at).await })
        }),
        check_team: Arc::new(move |team| {
            let alerts = check.clone();
            Box::pin(async move { alerts.check_team(&team).await })
        }),
        read_link: Arc::new(move |token| {
            let alerts = link.clone();
            Box::pin(async move { alerts.read_link(&token).await })
        }),
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
        .collect()
}

fn pipeline(stages: &Stages) -> Vec<StageFigures> {
    let journal = stages.store.readings().health();
    let queued = u64::try_from(journal.queued).unwrap_or(u64::MAX);
    let edge = stages.broker.figures();
    let alerts = stages.alerts.figures();
    vec![
        StageFigures { stage: "broker", taken: edge.publishes, given: edge.acknowledged, lag: queued, errors: edge.refused },
        StageFigures { stage: "journal", taken: journal.position, given: journal.position, lag: 0, errors: u64::from(journal.disk_full) },
        StageFigures {
            stage: "rules",
            taken: journal.consumed,
            given: stages.rules.findings(),
            lag: journal.position.saturating_sub(journal.consumed),
            errors: 0,
        },
        StageFigures { stage: "alerts", taken: alerts.findings, given: alerts.sent, lag: alerts.waiting, errors: alerts.failed },
    ]
}
