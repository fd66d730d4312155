//! What a critical keeps back, in the store and over a restart.

use crate::{
    district::{District, at, config, patient, start},
    open,
};
use runtime::Paced;
use store::{Action, AlertState, Command, Episode, EpisodeQuery, StateFilter, Store};
use vitals::{Concept, PatientId, Severity};

async fn alert(store: &Store, patient: PatientId, concept: Concept) -> Episode {
    let query = EpisodeQuery { patient: Some(patient), state: StateFilter::All, ..EpisodeQuery::default() };
    store.episodes(query).await.unwrap().into_iter().find(|e| e.concept == concept).unwrap()
}

async fn raise(d: &mut District, of: PatientId, severity: Severity, concept: Concept, reading: u64) {
    let mut draft = d.draft(severity, concept, reading);
    draft.patient = of;
    d.commit(vec![draft]).await;
}

#[tokio::test]
async fn lower_alerts_of_one_direction_wait_for_the_end_of_the_critical_also_over_a_restart() {
    use Concept::{GlucoseFastingHigh, GlucoseLow, GlucoseLowPattern, GlucoseLowSevere};
    let (folder, sink, mut d) = open("02T09:05").await;
    let (li, chen) = (d.patient, patient(&d.store, d.team, d.station).await);
    let all = [
        d.draft(Severity::Critical, GlucoseLowSevere, 1),
        d.draft(Severity::Urgent, GlucoseLow, 11), // in the same transaction
    ];
    d.commit(all.into()).await;
    assert_eq!(sink.pages(), ["gp 1", "manager 1"], "the critical and nothing else");
    let critical = alert(&d.store, li, GlucoseLowSevere).await.id;
    raise(&mut d, li, Severity::Routine, GlucoseLowPattern, 21).await;
    for concept in [GlucoseLow, GlucoseLowPattern] {
        let held = alert(&d.store, li, concept).await;
        assert_eq!((held.state, held.inhibited_by, held.next_at), (AlertState::Open, Some(critical), None));
    }
    raise(&mut d, li, Severity::Urgent, GlucoseFastingHigh, 31).await;
    assert_eq!(sink.pages(), ["manager 1"], "the other end of the scale is another matter");
    raise(&mut d, chen, Severity::Urgent, GlucoseLow, 41).await;
    assert_eq!(sink.pages(), ["manager 1"], "and so is another patient");
    let gp = d.people["gp"];
    d.close().await;

    let (store, alerts, drain) = start(folder.path(), at("02T09:06"), config(&sink)).await;
    let act = async |action| alerts.act(Command { alert: critical, action, by: gp, once: None }).await.unwrap();
    act(Action::Ack).await;
    alerts.settle().await;
    assert!(sink.pages().is_empty(), "an acknowledgement ends nothing");
    act(Action::Resolve { outcome: "treated".into(), note: None }).await;
    // In the very transaction of the end: whatever happens next, it cannot be forgotten.
    let low = alert(&store, li, GlucoseLow).await;
    assert_eq!((low.state, low.inhibited_by), (AlertState::Notified, None));
    let pattern = alert(&store, li, GlucoseLowPattern).await;
    assert_eq!((pattern.inhibited_by, pattern.next_at), (None, Some(at("03T08:00"))));
    alerts.settle().await;
    assert_eq!(sink.pages(), ["manager 1"]);
    let words: Vec<String> = store.timeline(low.id).await.unwrap().into_iter().map(|t| t.event).collect();
    assert_eq!(words, ["raised", "held", "woken", "notified"]);
    drain.stop();
}

#[tokio::test]
async fn what_waits_for_the_digest_is_kept_back_by_a_critical_that_comes_first() {
    let (_folder, sink, mut d) = open("02T18:00").await;
    let li = d.patient;
    raise(&mut d, li, Severity::Routine, Concept::BpSustained, 1).await;
    raise(&mut d, li, Severity::Routine, Concept::Adherence, 11).await;
    d.minutes(60).await;
    raise(&mut d, li, Severity::Critical, Concept::BpCrisis, 21).await;
    let critical = alert(&d.store, li, Concept::BpCrisis).await.id;
    assert_eq!(alert(&d.store, li, Concept::BpSustained).await.inhibited_by, Some(critical));
    assert_eq!(alert(&d.store, li, Concept::Adherence).await.inhibited_by, None);
    let command = |action| Command { alert: critical, action, by: d.people["gp"], once: None };
    d.alerts.act(command(Action::Ack)).await.unwrap();
    assert_eq!(alert(&d.store, li, Concept::BpSustained).await.inhibited_by, Some(critical));
    let (contacted_at, how) = (d.store.clock().now(), "phone".into());
    d.alerts.act(command(Action::FollowUp { contacted_at, how, note: None, due_at: None })).await.unwrap();
    assert_eq!(alert(&d.store, li, Concept::BpSustained).await.inhibited_by, None, "somebody has seen to the critical");
    d.minutes(14 * 60).await;
    let digests = |sink: &crate::sink::Sink| -> Vec<String> {
        let all = sink.messages().into_iter().filter(|m| m.json["type"] == "alert.digest");
        let items = all.flat_map(|m| m.json["data"]["items"].as_array().unwrap().clone());
        items.map(|i| i["concept"].as_str().unwrap().to_owned()).collect()
    };
    let mut told = digests(&sink);
    told.sort_unstable();
    assert_eq!(told, ["adherence", "bp_sustained"]);
    d.close().await;
}
