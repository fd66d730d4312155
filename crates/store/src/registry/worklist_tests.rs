//! The worklist by its promise: however alerts rise, change and end, pages by cursor give everybody who is wanted, once,
//! in the order that sorting everybody would give.

use super::{
    episodes::{AlertBatch, AlertState, Episode},
    order::{Among, Home},
    worklist::{Place, Sort},
};
use crate::Store;
use proptest::prelude::*;
use runtime::{Clock, Drain};
use std::collections::{BTreeMap, HashMap};
use vitals::{AlertId, Concept, OrganisationId, Patient, PatientId, Plan, Severity, TeamId, Timestamp};

fn patient(n: u64, team: Option<u64>) -> Patient {
    Patient {
        id: PatientId::new(0),
        name: format!("name {}", n * 7919 % 11),
        birth_date: None,
        sex: None,
        tags: vec![],
        conditions: vec![],
        team: team.map(TeamId::new),
        organisation: team.map(|team| OrganisationId::new(team % 2)),
        phone: None,
        time_zone: None,
        enrolled_at: Timestamp::from_seconds(1_770_000_000),
        visited_on: None,
        plan: Plan::default(),
    }
}

fn episode(n: u64, patient: PatientId, severity: Severity, state: AlertState, raised: i64) -> Episode {
    Episode {
        id: AlertId::new(n),
        patient,
        team: None,
        concept: Concept::ALL[usize::try_from(n).unwrap() % Concept::ALL.len()],
        severity,
        acked_severity: None,
        state,
        rule: "BP-S1".into(),
        raised_at: Timestamp::from_seconds(1_770_000_000 + raised),
        level: 1,
        cycle: 1,
        next_at: None,
        count: 1,
        owner: None,
        exhausted: false,
        snoozed_until: None,
        held_until: None,
        inhibited_by: None,
        previous: None,
        readings: vec![],
        findings: vec![],
        evidence: "{}".into(),
        chain: vec![],
        book: String::new(),
        version: 0,
    }
}

/// Everybody, two at a time.
async fn all(
    store: &Store,
    sort: Sort,
    among: &Among,
    wanted: &(dyn Fn(&Patient) -> bool + Sync),
) -> Vec<(PatientId, usize, Option<AlertId>)> {
    let mut found = Vec::new();
    let mut after: Option<Place> = None;
    loop {
        let page = store.worklist(sort, among, after.as_ref(), 2, wanted).await.unwrap();
        let Some(last) = page.last() else { return found };
        after = Some(last.place.clone());
        found.extend(page.iter().map(|s| (s.patient.id, s.open, s.top.as_ref().map(|e| e.id))));
    }
}

/// The same by reading and sorting everything.
fn sorted(
    patients: &[Patient],
    episodes: &HashMap<u64, Episode>,
    sort: Sort,
) -> Vec<(PatientId, usize, Option<AlertId>)> {
    let severity = |s: Severity| {
        [Severity::Critical, Severity::Urgent, Severity::Routine, Severity::Info].iter().position(|x| *x == s).unwrap()
    };
    let mut rows: Vec<_> = patients
        .iter()
        .map(|p| {
            let mut open: Vec<&Episode> =
                episodes.values().filter(|e| e.patient == p.id && e.state.is_active()).collect();
            open.sort_by_key(|e| {
                (severity(e.severity), !e.state.is_unacknowledged(), -e.raised_at.as_micros(), e.id.as_i64())
            });
            let top = open.first();
            let risk = top.map_or((9, false, 0), |e| {
                (severity(e.severity), !e.state.is_unacknowledged(), -e.raised_at.as_micros())
            });
            let name = if sort == Sort::Name { p.name.clone() } else { String::new() };
            let risk = if sort == Sort::Name { (0, false, 0) } else { risk };
            ((name, risk, p.id.as_i64()), (p.id, open.len(), top.map(|e| e.id)))
        })
        .collect();
    rows.sort();
    rows.into_iter().map(|(_, row)| row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn pages_are_what_sorting_everybody_gives(
        teams in proptest::collection::vec(proptest::option::of(0_u64..4), 1..14),
        story in proptest::collection::vec((0_u64..9, 0_usize..14, 0_usize..4, 0_usize..7, 0_i64..50, 0_u8..8), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let (_handle, drain) = Drain::new();
            let store = Store::open(folder.path(), Clock::manual(Timestamp::from_seconds(1_770_000_000)), &drain).unwrap();
            let mut patients = Vec::new();
            for (n, team) in (0..).zip(&teams) {
                patients.push(store.create_patient(patient(n, *team)).await.unwrap());
            }
            let mut episodes: HashMap<u64, Episode> = HashMap::new();
            let mut open: BTreeMap<(PatientId, Concept), u64> = BTreeMap::new();
            for (n, who, severity, state, raised, what) in story {
                let i = who % patients.len();
                if what == 0 {
                    let mut moved = patients[i].clone();
                    moved.team = Some(TeamId::new(n % 4));
                    moved.name = format!("name {n}");
                    store.update_patient(moved.clone(), None).await.unwrap();
                    patients[i] = moved;
                } else {
                    // Whose an alert is and when it was raised never changes.
                    let (whose, raised) = episodes.get(&n).map_or((patients[i].id, raised), |e| {
                        (e.patient, e.raised_at.as_micros() / 1_000_000 - 1_770_000_000)
                    });
                    let e = episode(n, whose, Severity::ALL[severity], AlertState::ALL[state], raised);
                    let other = open.get(&(whose, e.concept)).copied().filter(|other| *other != n);
                    if other.is_some_and(|other| episodes[&other].state.is_active()) {
                        continue; // at most one open per patient and concept
                    }
                    open.insert((whose, e.concept), n);
                    store.commit_alerts(AlertBatch { episodes: vec![e.clone()], ..AlertBatch::default() }).await.unwrap();
                    episodes.insert(n, e);
                }
                for sort in [Sort::Risk, Sort::Name] {
                    let everybody = sorted(&patients, &episodes, sort);
                    assert_eq!(all(&store, sort, &Among::All, &|_| true).await, everybody);
                    let homes = Among::Homes(vec![Home::Team(TeamId::new(1)), Home::Organisation(OrganisationId::new(1))]);
                    let theirs = |p: &Patient| p.team == Some(TeamId::new(1)) || p.organisation == Some(OrganisationId::new(1));
                    let ids: Vec<PatientId> = patients.iter().filter(|p| theirs(p)).map(|p| p.id).collect();
                    let some: Vec<_> = everybody.into_iter().filter(|row| ids.contains(&row.0)).collect();
                    assert_eq!(all(&store, sort, &homes, &theirs).await, some);
                }
            }
        });
    }
}
