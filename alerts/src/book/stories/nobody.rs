//! Where nobody can be reached, or a station never opens: it is seen as what it is, and does not go round in circles.

use super::*;

impl Story {
    /// Who is there changes; the alerts that reach nobody are looked at.
    fn roster(&mut self, people: &[(&'static str, u64)]) {
        self.people = people.iter().map(|(word, n)| (*word, vec![*n])).collect();
        let effects = self.with(|case, ctx| case.as_mut().unwrap().roster_turned(ctx));
        self.note(effects);
    }
}

#[test]
fn what_nobody_has_any_more_is_not_shown_as_taken_while_nobody_can_be_reached() {
    let unack = |s: &mut Story| s.act(GP, Action::Unack { reason: None }).unwrap();
    let escalate = |s: &mut Story| s.act(GP, Action::Escalate).unwrap();
    let no_contact = |s: &mut Story| s.minutes(60);
    let another = |s: &mut Story| {
        s.contact(GP);
        s.minutes(30);
        s.raise(Severity::Critical);
    };
    let ways: [fn(&mut Story); 4] = [unack, escalate, no_contact, another];
    for (n, way) in ways.into_iter().enumerate() {
        let mut s = Story::new("02T10:00");
        s.raise(Severity::Critical);
        s.act(GP, Action::Ack).unwrap();
        s.told(&[(GP, 1), (MANAGER, 1)]);
        s.people.clear();
        way(&mut s);
        s.told(&[]);
        assert_eq!((s.state(), s.episode().owner, s.episode().cycle), (AlertState::Open, None, 2), "way {n}");
        assert!(s.case.as_ref().unwrap().is_calling(), "way {n}");
        s.act(DESK, Action::Ack).unwrap();
        assert_eq!((s.state(), s.episode().owner), (AlertState::Acknowledged, Some(UserId::new(DESK))), "way {n}");
        s.people.insert("region:duty", vec![DESK]);
        s.minutes(59);
        s.told(&[]);
    }
}

#[test]
fn an_urgent_that_is_given_back_to_nobody_is_open_too() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Urgent);
    s.act(MANAGER, Action::Ack).unwrap();
    s.people.clear();
    s.act(MANAGER, Action::Unack { reason: None }).unwrap();
    assert_eq!((s.state(), s.episode().owner), (AlertState::Open, None));
}

#[test]
fn a_critical_that_reached_nobody_is_told_as_soon_as_somebody_is_there() {
    let mut s = Story::new("02T10:00");
    s.people.clear();
    s.raise(Severity::Critical);
    s.minutes(5);
    s.roster(&[]);
    s.told(&[]);
    let before = s.events.len();
    s.roster(&[]);
    assert_eq!(s.events.len(), before, "nothing is written for nobody");
    s.roster(&[("station:duty", DUTY), ("region:duty", DESK)]);
    s.told(&[(DUTY, 2)]);
    assert_eq!((s.state(), s.episode().next_at), (AlertState::Notified, Some(at("02T10:15"))));
    s.roster(&[("station:duty", DUTY), ("region:duty", DESK)]);
    s.told(&[]);
    s.minutes(20);
    s.told(&[(DESK, 4)]);
}

#[test]
fn a_station_that_never_opens_keeps_nothing_and_goes_round_no_circle() {
    let never = |severity| {
        let mut s = Story::new("02T10:00");
        s.hours.week = [false; 7];
        s.raise(severity);
        s
    };
    let fire = |s: &mut Story| {
        for _ in 0..9 {
            if s.case.as_ref().unwrap().due().is_some_and(|at| at <= s.now) {
                s.fire();
            }
        }
    };
    let mut s = never(Severity::Routine);
    fire(&mut s);
    assert_eq!(s.digest, [MANAGER]);
    let mut s = never(Severity::Urgent);
    s.told(&[(MANAGER, 1)]);
    s.now = at("02T14:00");
    fire(&mut s);
    s.told(&[(DUTY, 2)]);
    let mut s = Story::new("02T10:00");
    s.hours.week = [false; 7];
    s.people.clear();
    s.raise(Severity::Routine);
    fire(&mut s);
    assert_eq!(
        (s.empty.as_slice(), s.episode().next_at),
        ([1].as_slice(), Some(at("03T10:00"))),
        "asked again tomorrow"
    );
}
