//! The stage alone, cycle by cycle, with a dispatcher that is played by hand: moments that come once in a thousand nights.

use super::*;
use runtime::{Clock, Drain, DrainHandle};
use store::{
    Contact, Delivery, DeliveryState, FindingBatch, Member, Organisation, OrganisationKind, Outcome, Override, Role,
    Team, User, finding_id,
};
use vitals::{FindingDraft, OrganisationId, Patient, Plan, ReadingId, Recipient, TeamId, UserId, Verdict};

struct Night {
    _folder: tempfile::TempDir,
    _drain: DrainHandle,
    stage: Stage,
    store: Store,
    station: OrganisationId,
    patient: PatientId,
    gp: UserId,
    duty: UserId,
    position: u64,
}

fn contact(address: &str, critical: bool) -> Contact {
    Contact { channel: "log".into(), address: address.into(), critical }
}

async fn user(store: &Store, name: &str, role: Role, place: OrganisationId, contacts: Vec<Contact>) -> UserId {
    let new = User {
        id: UserId::new(0),
        username: name.into(),
        name: name.into(),
        roles: vec![role],
        organisation: Some(place),
        password_hash: None,
        must_change_password: false,
        disabled: false,
        contacts,
        locale: None,
        patient: None,
        version: 0,
    };
    store.create_user(new).await.unwrap().id
}

async fn load(store: &Store) -> Stage {
    let shared = Shared {
        store: store.clone(),
        config: Arc::new(Config::default()),
        public_url: "http://x".into(),
        link_key: [7; 32],
        zone: store.zone().clone(),
    };
    Stage::load(Arc::new(shared)).await.unwrap()
}

impl Night {
    /// A team of one, the station's duty, and the GP's addresses.
    async fn with(gp: Vec<Contact>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (drain, root) = Drain::new();
        let start = Timestamp::parse_rfc3339("2026-03-02T10:00:00+08:00").unwrap();
        let store = Store::open(folder.path(), Clock::manual(start), &root).unwrap();
        let new = Organisation {
            id: OrganisationId::new(0),
            name: "x".into(),
            kind: OrganisationKind::Station,
            parent: None,
            duty: Vec::new(),
            opening: None,
            version: 0,
        };
        let mut station = store.create_organisation(new).await.unwrap();
        let gp = user(&store, "gp", Role::Gp, station.id, gp).await;
        let duty = user(&store, "duty", Role::Gp, station.id, vec![contact("duty", true)]).await;
        station.duty = vec![duty];
        let station = store.update_organisation(station).await.unwrap().id;
        let members = vec![Member { user_id: gp, role: Role::Gp }];
        let team =
            Team { id: TeamId::new(0), name: "x".into(), organisation: station, members, chain: None, version: 0 };
        let team = store.create_team(team).await.unwrap().id;
        let new = Patient {
            id: PatientId::new(0),
            name: "Li Guifang".into(),
            birth_date: None,
            sex: None,
            tags: Vec::new(),
            conditions: Vec::new(),
            team: Some(team),
            organisation: Some(station),
            phone: None,
            time_zone: None,
            enrolled_at: Timestamp::from_seconds(0),
            visited_on: None,
            plan: Plan::default(),
        };
        let patient = store.create_patient(new).await.unwrap().id;
        let stage = load(&store).await;
        Self { _folder: folder, _drain: drain, stage, store, station, patient, gp, duty, position: 0 }
    }

    fn draft(&self, severity: Severity, reading: u64) -> FindingDraft {
        let now = self.store.clock().now();
        FindingDraft {
            patient: self.patient,
            rule: "BP-C1".into(),
            rule_version: 1,
            concept: Concept::BpCrisis,
            severity,
            verdict: Verdict::Page,
            at: now,
            effective_at: now,
            recipients: vec![Recipient::Gp],
            closes: false,
            readings: vec![ReadingId::new(reading), ReadingId::new(reading + 1)],
            excluded: Vec::new(),
            evidence: "{}".into(),
        }
    }

    async fn commit(&mut self, new: Vec<FindingDraft>, retract: Vec<FindingId>) {
        self.position += 1;
        let now = self.store.clock().now();
        let new = new.into_iter().map(|d| (d, now)).collect();
        let retract = retract.into_iter().map(|id| (id, now)).collect();
        let batch = FindingBatch { position: self.position, new, retract, ..FindingBatch::default() };
        self.store.commit_findings(batch).await.unwrap();
    }

    async fn raise(&mut self, severity: Severity, reading: u64) {
        let draft = self.draft(severity, reading);
        self.commit(vec![draft], Vec::new()).await;
        self.settle().await;
    }

    async fn settle(&mut self) {
        while self.stage.cycle().await.unwrap() {}
    }

    fn seconds(&self, n: u64) {
        let clock = self.store.clock();
        clock.move_to(clock.now().plus(Duration::from_secs(n))).unwrap();
    }

    /// What the provider says of the waiting page to this address.
    async fn answer(&self, address: &str, outcome: Outcome) {
        let due = self.store.outbox_due(Timestamp::MAX, true, 99).await.unwrap();
        let other = self.store.outbox_due(Timestamp::MAX, false, 99).await.unwrap();
        let mut all = due.into_iter().chain(other).map(|m| m.delivery);
        let row = all.find(|d| d.kind == "alert.notification" && d.address == address).expect("it waits");
        self.store.outbox_mark(&row, outcome, String::new()).await.unwrap();
    }

    /// The third failure in a row: the same bytes again later, and the person's next contact too.
    async fn ask(&self, address: &str) {
        let now = self.store.clock().now();
        let expires_at = now.plus(Duration::from_secs(3600));
        self.answer(address, Outcome::Again { at: now.plus(Duration::from_secs(20)), ask: true, expires_at }).await;
    }

    async fn gone(&self, address: &str) {
        self.answer(address, Outcome::Refused { disable: true }).await;
    }

    /// Pages that wait or arrived: address and level, oldest first.
    async fn pages(&self) -> Vec<String> {
        let alert = self.alert().await.id;
        let all = self.store.deliveries_of(alert).await.unwrap();
        let page = |d: &&Delivery| d.kind == "alert.notification" && d.state != DeliveryState::Cancelled;
        all.iter().filter(page).map(|d| format!("{} {}", d.address, d.level)).collect()
    }

    async fn alert(&self) -> Episode {
        let query = store::EpisodeQuery { state: store::StateFilter::All, limit: 10, ..Default::default() };
        self.store.episodes(query).await.unwrap().remove(0)
    }

    /// This person has the station's duty, for an hour.
    async fn put(&self, user_id: UserId, from: Timestamp) {
        let (organisation_id, to) = (self.station, from.plus(Duration::from_secs(3600)));
        let put = Override { id: String::new(), organisation_id, role: "duty".into(), user_id, from, to };
        self.store.create_override(put).await.unwrap();
    }

    async fn act(&mut self, action: Action) {
        let alert = self.alert().await.id;
        self.stage.command(Command { alert, action, by: self.gp, once: None }).await.unwrap();
    }
}

#[tokio::test]
async fn a_step_is_over_when_its_last_address_is_gone_in_whatever_order_they_went() {
    let mut n = Night::with(vec![contact("a", true), contact("b", true)]).await;
    n.raise(Severity::Critical, 1).await;
    n.ask("a").await;
    n.settle().await;
    assert_eq!(n.pages().await, ["a 1", "b 1"]);
    n.gone("b").await;
    n.settle().await;
    assert_eq!(n.pages().await, ["a 1", "b 1"], "the first is still tried");
    n.gone("a").await;
    n.settle().await;
    assert_eq!(n.pages().await, ["a 1", "b 1", "duty 2"]);
}

#[tokio::test]
async fn who_is_under_way_on_the_next_contact_is_not_called_on_a_third() {
    let mut n = Night::with(vec![contact("a", true), contact("b", true), contact("c", true)]).await;
    n.raise(Severity::Critical, 1).await;
    n.ask("a").await;
    n.settle().await;
    n.gone("a").await;
    n.settle().await;
    assert_eq!(n.pages().await, ["a 1", "b 1"]);
    n.gone("b").await;
    n.settle().await;
    assert_eq!(n.pages().await, ["a 1", "b 1", "c 1"]);
}

#[tokio::test]
async fn an_urgent_that_arrived_is_no_reason_to_wait_with_a_critical_that_did_not() {
    let mut n = Night::with(vec![contact("quiet", false), contact("loud", true)]).await;
    n.raise(Severity::Urgent, 1).await;
    n.answer("quiet", Outcome::Accepted).await;
    n.raise(Severity::Critical, 5).await;
    assert_eq!(n.pages().await, ["quiet 1", "loud 1"]);
    n.gone("loud").await;
    n.settle().await;
    assert_eq!(n.pages().await, ["quiet 1", "loud 1", "duty 2"]);
}

#[tokio::test]
async fn the_failure_of_an_urgent_says_nothing_of_the_critical_that_followed() {
    let mut n = Night::with(vec![contact("quiet", false), contact("loud", true)]).await;
    n.raise(Severity::Urgent, 1).await;
    n.gone("quiet").await;
    n.raise(Severity::Critical, 5).await;
    assert_eq!(n.pages().await, ["quiet 1", "loud 1"]);
}

#[tokio::test]
async fn whose_address_was_replaced_is_called_at_the_new_one() {
    let mut n = Night::with(vec![contact("old", true)]).await;
    n.raise(Severity::Critical, 1).await;
    let mut gp = User::clone(&n.store.directory().user(n.gp).unwrap());
    gp.contacts = vec![contact("new", true)];
    n.store.update_user(gp).await.unwrap();
    n.gone("old").await;
    n.settle().await;
    assert_eq!(n.pages().await, ["old 1", "new 1"]);
}

#[tokio::test]
async fn what_was_put_to_sleep_in_the_moment_of_a_failure_sleeps() {
    let mut n = Night::with(vec![contact("a", true), contact("b", true)]).await;
    n.raise(Severity::Critical, 1).await;
    n.gone("a").await;
    n.act(Action::Snooze { minutes: 30 }).await;
    n.settle().await;
    assert_eq!(n.pages().await, ["a 1"]);
    n.seconds(30 * 60);
    n.settle().await;
    assert_eq!(n.pages().await, ["a 1", "b 1"]);
}

#[tokio::test]
async fn what_was_taken_back_before_it_was_heard_makes_no_urgent_a_crisis() {
    let mut n = Night::with(vec![contact("a", true)]).await;
    n.raise(Severity::Urgent, 1).await;
    let crisis = n.draft(Severity::Critical, 5);
    let id = finding_id(&crisis);
    n.commit(vec![crisis.clone()], Vec::new()).await;
    n.commit(Vec::new(), vec![id]).await;
    n.settle().await;
    assert_eq!((n.alert().await.severity, n.pages().await), (Severity::Urgent, vec!["a 1".to_owned()]));
    n.commit(vec![crisis], Vec::new()).await;
    n.settle().await;
    assert_eq!(n.alert().await.severity, Severity::Critical, "concluded once more it counts");
}

#[tokio::test]
async fn who_came_on_duty_while_nothing_ran_is_told_at_the_start() {
    let mut n = Night::with(vec![contact("a", true)]).await;
    n.raise(Severity::Critical, 1).await;
    n.act(Action::Escalate).await;
    assert_eq!(n.pages().await, ["a 1", "duty 2"]);
    let fresh = user(&n.store, "fresh", Role::Gp, n.station, vec![contact("fresh", true)]).await;
    let from = n.store.clock().now().plus(Duration::from_secs(60));
    n.put(fresh, from).await;
    n.settle().await;
    n.seconds(90);
    n.stage = load(&n.store).await;
    n.settle().await;
    assert_eq!(n.pages().await, ["a 1", "duty 2", "fresh 2"]);
    n.stage = load(&n.store).await;
    n.settle().await;
    assert_eq!(n.pages().await.len(), 3, "once");
}

#[tokio::test]
async fn who_comes_on_duty_after_a_clock_was_put_back_is_told_too() {
    let mut n = Night::with(vec![contact("a", true)]).await;
    n.raise(Severity::Critical, 1).await;
    n.act(Action::Escalate).await;
    let fresh = user(&n.store, "fresh", Role::Gp, n.station, vec![contact("fresh", true)]).await;
    let now = n.store.clock().now();
    n.put(fresh, now.plus(Duration::from_secs(60))).await;
    n.settle().await;
    // As if the clock had been a day ahead for a moment.
    n.stage.seen.turns = now.plus(Duration::from_secs(86_400));
    n.settle().await;
    n.seconds(90);
    n.settle().await;
    assert_eq!(n.pages().await, ["a 1", "duty 2", "fresh 2"]);
}

#[tokio::test]
async fn a_critical_that_reaches_nobody_goes_to_the_first_contact_that_is_written_down() {
    let mut n = Night::with(Vec::new()).await;
    let mut duty = User::clone(&n.store.directory().user(n.duty).unwrap());
    duty.contacts.clear();
    n.store.update_user(duty.clone()).await.unwrap();
    n.raise(Severity::Critical, 1).await;
    assert_eq!(n.pages().await, Vec::<String>::new());
    n.seconds(60);
    n.settle().await;
    duty.contacts = vec![contact("duty", true)];
    duty.version = n.store.directory().user(n.duty).unwrap().version;
    n.store.update_user(duty).await.unwrap();
    n.settle().await;
    assert_eq!(n.pages().await, ["duty 2"]);
}

#[tokio::test]
async fn who_is_put_on_duty_from_a_moment_that_is_over_is_told_too() {
    let mut n = Night::with(vec![contact("a", true)]).await;
    let begun = n.store.clock().now();
    let second = user(&n.store, "second", Role::Gp, n.station, vec![contact("second", true)]).await;
    n.put(second, begun.plus(Duration::from_secs(60))).await;
    n.seconds(120);
    n.settle().await;
    n.raise(Severity::Critical, 1).await;
    n.act(Action::Escalate).await;
    assert_eq!(n.pages().await, ["a 1", "second 2"]);
    n.put(n.duty, begun).await;
    n.settle().await;
    assert_eq!(n.pages().await, ["a 1", "second 2", "duty 2"]);
}

#[tokio::test]
async fn what_began_and_ended_before_anybody_heard_of_it_has_no_echo() {
    let mut n = Night::with(vec![contact("a", true)]).await;
    let (urgent, mut cleared) = (n.draft(Severity::Urgent, 1), n.draft(Severity::Info, 5));
    cleared.closes = true;
    n.commit(vec![urgent, cleared], Vec::new()).await;
    n.settle().await;
    let alert = n.alert().await;
    assert_eq!(alert.state, AlertState::AutoResolved);
    assert_eq!(n.store.deliveries_of(alert.id).await.unwrap(), Vec::new());
    n.raise(Severity::Urgent, 11).await;
    let mut cleared = n.draft(Severity::Info, 15);
    cleared.closes = true;
    n.commit(vec![cleared], Vec::new()).await;
    n.settle().await;
    let query = store::EpisodeQuery { state: store::StateFilter::All, limit: 10, ..Default::default() };
    let all = n.store.episodes(query).await.unwrap();
    let told = n.store.deliveries_of(all.iter().find(|e| e.id != alert.id).unwrap().id).await.unwrap();
    assert_eq!(told.iter().map(|d| d.kind.as_str()).collect::<Vec<_>>(), ["alert.notification", "alert.resolved"]);
}

#[tokio::test]
async fn a_finding_that_cannot_be_stored_holds_up_no_chain() {
    let mut n = Night::with(vec![contact("a", true), contact("b", true)]).await;
    n.raise(Severity::Critical, 1).await;
    // An alert of which the stage knows nothing: a second one of the same key is refused by the file.
    let stranger = Episode {
        id: vitals::AlertId::new(1),
        concept: Concept::GlucoseLow,
        severity: Severity::Routine,
        version: 0,
        ..n.alert().await
    };
    n.store.commit_alerts(store::AlertBatch { episodes: vec![stranger], ..Default::default() }).await.unwrap();
    n.gone("a").await;
    n.seconds(600);
    let low = FindingDraft { concept: Concept::GlucoseLow, ..n.draft(Severity::Urgent, 5) };
    n.commit(vec![low], Vec::new()).await;
    assert!(n.stage.cycle().await.is_err() && n.stage.cycle().await.is_err(), "it is said as long as it is so");
    assert_eq!(n.pages().await, ["a 1", "duty 2", "b 1"]);
}
