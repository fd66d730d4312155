//! Who is called when: override > leave and substitute > rota > duty; and which chains are refused.

use crate::{
    district::{District, at, user},
    sink::Sink,
};
use runtime::Paced;
use store::{Leave, Override, Role, Rota, Shift, StoreError, Team};
use vitals::{Severity, UserId};

async fn open() -> (tempfile::TempDir, Sink, District) {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::open().await;
    let district = District::open(folder.path(), "02T09:05", &sink).await;
    (folder, sink, district)
}

impl District {
    /// Who is on call at a level, as names, with the reasons.
    fn level(&self, level: usize, when: &str) -> Vec<(String, String)> {
        let levels = self.alerts.on_call(self.team, at(when));
        let name = |id: UserId| self.store.directory().user(id).unwrap().username.clone();
        levels[level - 1].people.iter().map(|p| (name(p.user_id), p.why.clone())).collect()
    }

    async fn leave(&self, who: UserId, from: &str, to: &str, substitute: Option<UserId>) -> Result<Leave, StoreError> {
        let (from, to) = (at(from), at(to));
        self.store.create_leave(Leave { id: String::new(), user_id: who, from, to, substitute_id: substitute }).await
    }
}

fn pair(name: &str, why: &str) -> (String, String) {
    (name.into(), why.into())
}

#[tokio::test]
async fn the_order_of_reasons() {
    let (_folder, _sink, d) = open().await;
    let (sub, night) =
        (user(&d.store, "sub", Role::Gp, d.station).await, user(&d.store, "night", Role::Gp, d.station).await);
    assert_eq!(d.level(2, "02T10:00"), [pair("duty", "station:duty")]);
    let shifts = vec![Shift { user_id: night, from: at("02T18:00"), to: at("03T08:00") }];
    let rota = Rota { id: String::new(), organisation_id: d.station, role: "duty".into(), shifts };
    d.store.create_rota(rota).await.unwrap();
    assert_eq!(d.level(2, "02T17:59"), [pair("duty", "station:duty")]);
    assert_eq!(d.level(2, "02T18:00"), [pair("night", "station:duty (rota)")]);
    d.leave(night, "02T20:00", "02T22:00", Some(sub)).await.unwrap();
    assert_eq!(d.level(2, "02T20:00"), [pair("sub", "station:duty (rota) (substitute)")]);
    assert_eq!(d.level(2, "02T22:00"), [pair("night", "station:duty (rota)")]);
    let put = Override {
        id: String::new(),
        organisation_id: d.station,
        role: "duty".into(),
        user_id: d.people["gp"],
        from: at("02T21:00"),
        to: at("02T23:00"),
    };
    d.store.create_override(put).await.unwrap();
    assert_eq!(d.level(2, "02T21:30"), [pair("gp", "station:duty (override)")]);
    assert_eq!(d.level(4, "02T21:30"), [pair("desk", "region:duty")]);
    assert_eq!(d.level(3, "02T21:30"), [pair("specialist", "team:specialist"), pair("head", "station:head")]);
    d.close().await;
}

#[tokio::test]
async fn a_substitutes_substitute_is_followed_and_circles_are_refused() {
    let (_folder, sink, mut d) = open().await;
    let (gp, manager) = (d.people["gp"], d.people["manager"]);
    let (a, b) = (user(&d.store, "a", Role::Gp, d.station).await, user(&d.store, "b", Role::Gp, d.station).await);
    d.leave(gp, "02T00:00", "04T00:00", Some(a)).await.unwrap();
    d.leave(a, "02T00:00", "03T00:00", Some(b)).await.unwrap();
    assert!(matches!(d.leave(b, "02T12:00", "05T00:00", Some(gp)).await, Err(StoreError::Conflict(_))));
    assert!(matches!(d.leave(manager, "02T12:00", "05T00:00", Some(manager)).await, Err(StoreError::Conflict(_))));
    d.raise(Severity::Critical, 1).await;
    assert_eq!(sink.pages(), ["b 1", "manager 1"]);
    assert_eq!(d.level(1, "03T10:00")[0].0, "a");
    // Somebody without a substitute is simply not called; the head hears of steps that become empty.
    d.leave(manager, "05T00:00", "06T00:00", None).await.unwrap();
    d.leave(gp, "05T00:00", "06T00:00", None).await.unwrap();
    assert!(d.level(1, "05T10:00").is_empty());
    d.alerts.settle().await;
    assert_eq!(sink.told("service.warning").len(), 1);
    d.close().await;
}

/// Whom a new `service.warning` told of which step.
async fn warned(d: &District, sink: &Sink) -> Vec<(String, u64)> {
    d.alerts.settle().await;
    let messages = sink.messages();
    sink.pages();
    let told = messages.into_iter().map(|m| m.json).filter(|m| m["type"] == "service.warning");
    told.map(|m| {
        let address = m["data"]["recipient"]["address"].as_str().unwrap().to_owned();
        (address, m["data"]["step"].as_u64().unwrap())
    })
    .collect()
}

#[tokio::test]
async fn the_head_hears_once_of_every_step_that_becomes_empty_however_it_did() {
    let (folder, sink, d) = open().await;
    assert_eq!(warned(&d, &sink).await, []);
    // A leave in three weeks: whoever wrote it is told at once, the head when it comes within two weeks.
    let leave = d.leave(d.people["duty"], "23T00:00", "24T00:00", None).await.unwrap();
    assert_eq!(d.alerts.emptied_by(&leave).iter().map(|(_, w)| w.step).collect::<Vec<_>>(), [2]);
    assert_eq!(warned(&d, &sink).await, []);
    d.minutes(7 * 24 * 60).await;
    assert_eq!(warned(&d, &sink).await, [("head".to_owned(), 2)]);
    // Something else changes: nothing new.
    let stand_in = user(&d.store, "sub", Role::Gp, d.station).await;
    let leave = d.leave(d.people["duty"], "25T00:00", "26T00:00", Some(stand_in)).await.unwrap();
    assert_eq!(d.alerts.emptied_by(&leave), []);
    assert_eq!(warned(&d, &sink).await, []);
    // Nobody of level one is left.
    for name in ["gp", "manager"] {
        assert_eq!(warned(&d, &sink).await, []);
        let user = store::User::clone(&d.store.directory().user(d.people[name]).unwrap());
        d.store.update_user(store::User { disabled: true, ..user }).await.unwrap();
    }
    assert_eq!(warned(&d, &sink).await, [("head".to_owned(), 1)]);
    // The region's desk is taken away, and the last step with it.
    let region = store::Organisation::clone(&d.store.directory().organisation(d.region).unwrap());
    d.store.update_organisation(store::Organisation { duty: Vec::new(), ..region }).await.unwrap();
    assert_eq!(warned(&d, &sink).await, [("head".to_owned(), 4)]);
    // A restart on the same day says nothing again.
    let now = d.store.clock().now();
    d.close().await;
    let (store, alerts, drain) = crate::district::start(folder.path(), now, crate::district::config(&sink)).await;
    alerts.settle().await;
    assert_eq!(sink.told("service.warning"), []);
    drop((store, alerts));
    drain.stop();
}

#[tokio::test]
async fn a_chain_that_reaches_nobody_at_its_end_is_refused() {
    let (_folder, _sink, d) = open().await;
    let team = Team::clone(&d.store.directory().team(d.team).unwrap());
    let with = |steps: &[&[&str]]| {
        let chain = steps.iter().map(|s| s.iter().map(|w| (*w).to_owned()).collect()).collect();
        d.alerts.check_team(&Team { chain: Some(chain), ..team.clone() })
    };
    assert_eq!(d.alerts.check_team(&team), Ok(Vec::new()));
    assert_eq!(with(&[&["team:specialist"], &["team:assistant"]]).unwrap_err().step, 2);
    assert_eq!(with(&[&["team:gp"], &["team:boss"]]).unwrap_err().step, 2);
    assert_eq!(with(&[]).unwrap_err().step, 1);
    let warnings = with(&[&["team:assistant"], &["station:duty"]]).unwrap();
    assert_eq!(warnings.iter().map(|w| w.step).collect::<Vec<_>>(), [1]);
    // A week from now the duty is away for a day.
    d.leave(d.people["duty"], "09T00:00", "10T00:00", None).await.unwrap();
    assert_eq!(with(&[&["team:gp"], &["station:duty"]]).unwrap_err().step, 2);
    assert_eq!(d.alerts.check_team(&team).unwrap().iter().map(|w| w.step).collect::<Vec<_>>(), [2]);
    d.close().await;
}

#[tokio::test]
async fn whoever_comes_on_duty_gets_what_nobody_has_taken() {
    let (_folder, sink, mut d) = open().await;
    let night = user(&d.store, "night", Role::Gp, d.station).await;
    let shifts = vec![Shift { user_id: night, from: at("02T09:20"), to: at("03T08:00") }];
    let rota = Rota { id: String::new(), organisation_id: d.station, role: "duty".into(), shifts };
    d.store.create_rota(rota).await.unwrap();
    d.raise(Severity::Critical, 1).await;
    d.minutes(10).await;
    assert_eq!(sink.pages(), ["gp 1", "manager 1", "duty 2"]);
    d.minutes(5).await;
    assert_eq!(sink.pages(), ["night 2"]);
    d.minutes(5).await;
    assert_eq!(sink.pages(), ["head 3", "specialist 3"]);
    assert_ne!(d.region, d.station);
    d.close().await;
}
