//! A small district in a folder of its own, with a manual clock and a sink.

use crate::sink::Sink;
use alerts::{Channel, Config, Handle, Kind, Secret};
use runtime::{Clock, Drain, DrainHandle, Paced};
use std::{collections::BTreeMap, path::Path, time::Duration};
use store::{
    Action, Command, CommandError, Contact, Episode, FindingBatch, Member, OnceKey, Organisation, OrganisationKind,
    Role, Store, Team, User,
};
use vitals::{
    Concept, FindingDraft, OrganisationId, Patient, PatientId, Plan, ReadingId, Recipient, Severity, TeamId, Timestamp,
    UserId, Verdict,
};

pub(crate) struct District {
    pub(crate) store: Store,
    pub(crate) alerts: Handle,
    pub(crate) drain: DrainHandle,
    pub(crate) people: BTreeMap<String, UserId>,
    pub(crate) station: OrganisationId,
    pub(crate) region: OrganisationId,
    pub(crate) team: TeamId,
    pub(crate) patient: PatientId,
    position: u64,
}

pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(&format!("2026-03-{text}:00+08:00")).unwrap()
}

pub(crate) fn config(sink: &Sink) -> Config {
    let mut config = Config::default();
    let channel = Channel {
        kind: Kind::Webhook,
        url: sink.url.clone(),
        secret: Some(Secret(crate::sink::SECRET.into())),
        ..Channel::default()
    };
    config.channels.insert("sink".into(), channel);
    config
}

async fn organisation(store: &Store, kind: OrganisationKind, parent: Option<OrganisationId>) -> Organisation {
    let new = Organisation {
        id: OrganisationId::new(0),
        name: "x".into(),
        kind,
        parent,
        duty: Vec::new(),
        opening: None,
        version: 0,
    };
    store.create_organisation(new).await.unwrap()
}

pub(crate) async fn user(store: &Store, name: &str, role: Role, organisation: OrganisationId) -> UserId {
    let new = User {
        id: UserId::new(0),
        username: name.into(),
        name: name.into(),
        roles: vec![role],
        organisation: Some(organisation),
        password_hash: None,
        must_change_password: false,
        disabled: false,
        contacts: vec![Contact { channel: "sink".into(), address: name.into(), critical: true }],
        locale: None,
        patient: None,
        version: 0,
    };
    store.create_user(new).await.unwrap().id
}

/// What starts the same installation again.
pub(crate) async fn start(folder: &Path, now: Timestamp, config: Config) -> (Store, Handle, DrainHandle) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (handle, root) = Drain::new();
    let store = Store::open(folder, Clock::manual(now), &root).unwrap();
    let alerts = alerts::start(config, "https://clinic.example".into(), store.clone(), &root).await.unwrap();
    (store, alerts, handle)
}

impl District {
    pub(crate) async fn open(folder: &Path, now: &str, sink: &Sink) -> Self {
        let (store, alerts, drain) = start(folder, at(now), config(sink)).await;
        let region = organisation(&store, OrganisationKind::Region, None).await;
        let mut station = organisation(&store, OrganisationKind::Station, Some(region.id)).await;
        let mut people = BTreeMap::new();
        for (name, role, place) in [
            ("gp", Role::Gp, station.id),
            ("manager", Role::HealthManager, station.id),
            ("specialist", Role::Specialist, station.id),
            ("duty", Role::Gp, station.id),
            ("head", Role::StationAdmin, station.id),
            ("desk", Role::RegionAdmin, region.id),
        ] {
            people.insert(name.to_owned(), user(&store, name, role, place).await);
        }
        station.duty = vec![people["duty"]];
        let station = store.update_organisation(station).await.unwrap();
        let region = store.update_organisation(Organisation { duty: vec![people["desk"]], ..region }).await.unwrap();
        let member = |name: &str, role| Member { user_id: people[name], role };
        let members = vec![
            member("gp", Role::Gp),
            member("manager", Role::HealthManager),
            member("specialist", Role::Specialist),
        ];
        let team =
            Team { id: TeamId::new(0), name: "x".into(), organisation: station.id, members, chain: None, version: 0 };
        let team = store.create_team(team).await.unwrap().id;
        let patient = patient(&store, team, station.id).await;
        let (station, region) = (station.id, region.id);
        Self { store, alerts, drain, people, station, region, team, patient, position: 0 }
    }

    pub(crate) fn draft(&self, severity: Severity, concept: Concept, reading: u64) -> FindingDraft {
        let now = self.store.clock().now();
        let recipients = match severity {
            Severity::Critical => vec![Recipient::Patient, Recipient::Gp, Recipient::HealthManager],
            _ => vec![Recipient::HealthManager],
        };
        FindingDraft {
            patient: self.patient,
            rule: "BP-C1".into(),
            rule_version: 1,
            concept,
            severity,
            verdict: Verdict::Page,
            at: now,
            effective_at: now,
            recipients,
            closes: false,
            readings: vec![ReadingId::new(reading), ReadingId::new(reading + 1)],
            excluded: Vec::new(),
            evidence: r#"{"n": 2}"#.into(),
        }
    }

    pub(crate) async fn commit(&mut self, drafts: Vec<FindingDraft>) {
        self.position += 1;
        let now = self.store.clock().now();
        let new = drafts.into_iter().map(|d| (d, now)).collect();
        let batch = FindingBatch { position: self.position, new, ..FindingBatch::default() };
        self.store.commit_findings(batch).await.unwrap();
        self.alerts.settle().await;
    }

    pub(crate) async fn raise(&mut self, severity: Severity, reading: u64) {
        let draft = self.draft(severity, Concept::BpCrisis, reading);
        self.commit(vec![draft]).await;
    }

    /// As the test clock does it: from one due moment to the next.
    pub(crate) async fn minutes(&self, n: u64) {
        let clock = self.store.clock();
        let to = clock.now().plus(Duration::from_secs(n * 60));
        while let Some(next) = self.alerts.next_due().await.filter(|at| *at <= to) {
            clock.move_to(next).unwrap();
            self.alerts.settle().await;
        }
        clock.move_to(to).unwrap();
        self.alerts.settle().await;
    }

    pub(crate) async fn alert(&self) -> Episode {
        let query = store::EpisodeQuery { state: store::StateFilter::All, limit: 10, ..Default::default() };
        self.store.episodes(query).await.unwrap().remove(0)
    }

    pub(crate) async fn act(&self, who: &str, action: Action, key: &str) -> Result<Episode, CommandError> {
        let alert = self.alert().await.id;
        let once = Some(OnceKey { key: key.into(), digest: format!("{action:?}") });
        let command = Command { alert, action, by: self.people[who], once };
        self.alerts.act(command).await
    }

    pub(crate) async fn contact(&self, who: &str, key: &str) {
        let contacted_at = self.store.clock().now();
        let action = Action::FollowUp { contacted_at, how: "phone".into(), note: None, due_at: None };
        self.act(who, action, key).await.unwrap();
    }

    /// Ends the stage in order; the folder can be opened again.
    pub(crate) async fn close(self) {
        self.drain.stop();
        drop((self.alerts, self.store));
        assert_eq!(self.drain.drained(Duration::from_secs(8)).await, Vec::<&str>::new());
    }
}

pub(crate) async fn patient(store: &Store, team: TeamId, station: OrganisationId) -> PatientId {
    let new = Patient {
        id: PatientId::new(0),
        name: "Li Guifang".into(),
        birth_date: None,
        sex: None,
        tags: Vec::new(),
        conditions: Vec::new(),
        team: Some(team),
        organisation: Some(station),
        phone: Some("13900001234".into()),
        time_zone: None,
        enrolled_at: Timestamp::from_seconds(0),
        visited_on: None,
        plan: Plan::default(),
    };
    store.create_patient(new).await.unwrap().id
}
