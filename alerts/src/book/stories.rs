//! Given these findings at these times, these people are told these things, and nobody else.

mod again;
mod kept;
mod muted;
mod nobody;

use super::*;
use crate::hours::tests::{at, station};
use std::collections::BTreeMap;
use store::{Action, CommandError};
use vitals::{AlertId, Concept, Finding, FindingDraft, PatientId, ReadingId, Verdict};

const GP: u64 = 1;
const MANAGER: u64 = 2;
const DUTY: u64 = 3;
const SPECIALIST: u64 = 4;
const HEAD: u64 = 5;
const DESK: u64 = 6;

/// One patient, one matter, a clock, and everybody who was told.
struct Story {
    case: Option<Case>,
    now: Timestamp,
    config: Config,
    hours: Hours,
    people: BTreeMap<&'static str, Vec<u64>>,
    /// A critical of the same patient and direction.
    over: Option<AlertId>,
    told: Vec<(u64, u32)>,
    quiet: Vec<(&'static str, u64)>,
    digest: Vec<u64>,
    empty: Vec<u32>,
    events: Vec<&'static str>,
    withdrawn: usize,
    findings: u64,
}

impl Story {
    fn new(start: &str) -> Self {
        Self {
            case: None,
            now: at(start),
            config: Config::default(),
            hours: station(),
            people: BTreeMap::from([
                ("team:gp", vec![GP]),
                ("team:health_manager", vec![MANAGER]),
                ("team:specialist", vec![SPECIALIST]),
                ("station:duty", vec![DUTY]),
                ("station:head", vec![HEAD]),
                ("region:duty", vec![DESK]),
            ]),
            over: None,
            told: Vec::new(),
            quiet: Vec::new(),
            digest: Vec::new(),
            empty: Vec::new(),
            events: Vec::new(),
            withdrawn: 0,
            findings: 0,
        }
    }

    fn with<T>(&mut self, step: impl FnOnce(&mut Option<Case>, &Context<'_>) -> T) -> T {
        let people = |words: &[String], _: bool| -> Vec<UserId> {
            let all = words.iter().filter_map(|w| self.people.get(w.as_str())).flatten();
            all.map(|n| UserId::new(*n)).collect()
        };
        let ctx = Context { now: self.now, config: &self.config, hours: &self.hours, people: &people, over: self.over };
        step(&mut self.case, &ctx)
    }

    fn note(&mut self, effects: Vec<Effect>) {
        let number = |u: UserId| u.as_i64().unsigned_abs();
        for effect in effects {
            match effect {
                Effect::Event { event, .. } => self.events.push(event),
                Effect::Page { user, level, .. } => self.told.push((number(user), level)),
                Effect::Quiet { kind, user } => self.quiet.push((kind, number(user))),
                Effect::Digest { user } => self.digest.push(number(user)),
                Effect::EmptyStep { step } => self.empty.push(step),
                Effect::Withdraw => self.withdrawn += 1,
            }
        }
    }

    fn finding(&mut self, severity: Severity, verdict: Verdict, closes: bool) -> Finding {
        self.findings += 1;
        let n = self.findings;
        let draft = FindingDraft {
            patient: PatientId::new(9),
            rule: "BP-C1".into(),
            rule_version: 1,
            concept: Concept::BpCrisis,
            severity,
            verdict,
            at: self.now,
            effective_at: self.now,
            recipients: match severity {
                Severity::Critical => vec![Recipient::Patient, Recipient::Gp, Recipient::HealthManager],
                _ => vec![Recipient::HealthManager],
            },
            closes,
            readings: vec![ReadingId::new(n * 10), ReadingId::new(n * 10 + 1)],
            excluded: Vec::new(),
            evidence: "{}".into(),
        };
        Finding {
            id: FindingId::new(n),
            sequence: i64::try_from(n).unwrap(),
            draft,
            decided_at: self.now,
            retracted_at: None,
            alert: None,
        }
    }

    fn raise(&mut self, severity: Severity) -> Finding {
        let finding = self.finding(severity, Verdict::Page, false);
        self.take(&finding);
        finding
    }

    fn take(&mut self, finding: &Finding) {
        let chain = self.config.chain.clone();
        if self.case.is_none() {
            self.case = Case::open(AlertId::new(finding.id.as_i64().unsigned_abs()), finding, None, chain, None);
        }
        let effects = self.with(|case, ctx| case.as_mut().map(|c| c.raised(finding, ctx)).unwrap_or_default());
        self.note(effects);
    }

    /// The clock goes on; what falls due on the way is done in its time.
    fn goto(&mut self, to: Timestamp) {
        while let Some(next) = self.case.as_ref().and_then(Case::due).filter(|d| *d <= to) {
            self.now = self.now.max(next);
            self.fire();
        }
        self.now = to;
    }

    fn fire(&mut self) {
        let effects = self.with(|case, ctx| case.as_mut().unwrap().due_now(ctx));
        self.note(effects);
    }

    fn minutes(&mut self, n: u64) {
        self.goto(self.now.plus(Duration::from_secs(n * 60)));
    }

    fn act(&mut self, by: u64, action: Action) -> Result<(), CommandError> {
        let effects = self.with(|case, ctx| case.as_mut().unwrap().command(&action, UserId::new(by), ctx))?;
        self.note(effects);
        Ok(())
    }

    fn contact(&mut self, by: u64) {
        let contact = Action::FollowUp { contacted_at: self.now, how: "phone".into(), note: None, due_at: None };
        self.act(by, contact).unwrap();
    }

    /// Since the last look exactly these were told, in this order.
    #[track_caller]
    fn told(&mut self, expected: &[(u64, u32)]) {
        assert_eq!(std::mem::take(&mut self.told), expected, "at {:?}", self.now);
    }

    fn episode(&self) -> &Episode {
        &self.case.as_ref().unwrap().episode
    }

    fn state(&self) -> AlertState {
        self.episode().state
    }
}

#[test]
fn a_critical_climbs_its_chain_in_its_time_and_the_last_step_never_ends() {
    let mut s = Story::new("02T09:05");
    s.raise(Severity::Critical);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    assert_eq!((s.state(), s.episode().level, s.episode().count), (AlertState::Notified, 1, 2));
    s.minutes(9);
    s.told(&[]);
    s.minutes(1);
    s.told(&[(DUTY, 2)]);
    s.minutes(10);
    s.told(&[(SPECIALIST, 3), (HEAD, 3)]);
    s.minutes(10);
    s.told(&[(DESK, 4)]);
    assert!(!s.episode().exhausted);
    s.minutes(14);
    s.told(&[]);
    s.minutes(1);
    s.told(&[(DESK, 4)]);
    assert!(s.episode().exhausted);
    s.minutes(24 * 60);
    s.told(&[(DESK, 4); 96]);
    s.act(DESK, Action::Ack).unwrap();
    s.contact(DESK);
    s.minutes(48 * 60);
    s.told(&[]);
    assert_eq!(s.state(), AlertState::FollowUp);
}

#[test]
fn an_acknowledgement_stops_the_chain_and_the_others_learn_of_it_once() {
    let mut s = Story::new("02T09:05");
    s.raise(Severity::Critical);
    s.minutes(10);
    s.told(&[(GP, 1), (MANAGER, 1), (DUTY, 2)]);
    s.act(DUTY, Action::Ack).unwrap();
    s.act(GP, Action::Ack).unwrap();
    assert_eq!(s.episode().owner, Some(UserId::new(DUTY)), "the first owner stays");
    assert_eq!(s.quiet, [("alert.acknowledged", GP), ("alert.acknowledged", MANAGER)]);
    assert_eq!(s.events.iter().filter(|e| **e == "acknowledged").count(), 1);
    s.minutes(59);
    s.told(&[]);
}

#[test]
fn without_a_logged_contact_it_begins_again() {
    let mut s = Story::new("02T09:05");
    s.raise(Severity::Critical);
    s.act(GP, Action::Ack).unwrap();
    s.told(&[(GP, 1), (MANAGER, 1)]);
    s.minutes(60);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    assert_eq!((s.episode().cycle, s.episode().owner, s.state()), (2, None, AlertState::Notified));
    assert!(s.events.contains(&"unacknowledged"));
    s.act(MANAGER, Action::Ack).unwrap();
    s.contact(MANAGER);
    s.minutes(180);
    s.told(&[]);
}

#[test]
fn an_urgent_waits_for_the_morning_and_a_critical_does_not() {
    let mut s = Story::new("02T23:31");
    s.raise(Severity::Urgent);
    s.told(&[]);
    assert_eq!(s.episode().held_until, Some(at("03T08:00")));
    s.goto(at("02T23:45"));
    s.raise(Severity::Critical);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    assert_eq!((s.withdrawn, s.episode().held_until), (1, None));
    assert_eq!((s.episode().cycle, s.episode().severity), (1, Severity::Critical));
    s.act(GP, Action::Ack).unwrap();
    s.contact(GP);
    s.goto(at("03T12:00"));
    s.told(&[]);
}

#[test]
fn an_urgent_asks_its_recipients_and_then_the_stations_duty_once() {
    let mut s = Story::new("02T16:30");
    s.raise(Severity::Urgent);
    s.told(&[(MANAGER, 1)]);
    s.goto(at("03T10:59"));
    s.told(&[]);
    s.goto(at("03T11:00"));
    s.told(&[(DUTY, 2)]);
    s.goto(at("06T12:00"));
    s.told(&[]);
    assert!(s.episode().exhausted && s.episode().next_at.is_none());
}

#[test]
fn an_urgent_without_a_plan_comes_back_after_two_days() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Urgent);
    s.act(MANAGER, Action::Ack).unwrap();
    s.told(&[(MANAGER, 1)]);
    s.goto(at("04T10:00"));
    s.told(&[(MANAGER, 1)]);
    assert_eq!(s.episode().cycle, 2);
}

#[test]
fn a_routine_is_one_item_of_the_mornings_digest() {
    let mut s = Story::new("06T09:00");
    s.raise(Severity::Routine);
    s.goto(at("09T07:59"));
    assert!(s.digest.is_empty() && s.state() == AlertState::Open);
    s.goto(at("09T08:00"));
    assert_eq!((&s.digest, s.state()), (&vec![MANAGER], AlertState::Notified));
    s.goto(at("12T08:00"));
    assert!(s.episode().exhausted, "nobody looked for three working days");
    s.told(&[]);
    let mut s = Story::new("06T09:00");
    s.people.remove("team:health_manager");
    s.raise(Severity::Routine);
    s.goto(at("09T08:00"));
    assert_eq!(s.digest, [GP], "where there is no health manager");
}

#[test]
fn info_opens_nothing_and_a_repeat_that_is_normal_closes_an_urgent() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Info);
    assert!(s.case.is_none());
    s.raise(Severity::Urgent);
    s.told(&[(MANAGER, 1)]);
    let cleared = s.finding(Severity::Info, Verdict::Page, true);
    s.take(&cleared);
    assert_eq!(s.state(), AlertState::AutoResolved);
    assert_eq!(s.quiet, [("alert.resolved", MANAGER)]);
    s.goto(at("03T18:00"));
    s.told(&[]);
}

#[test]
fn what_was_over_before_it_began_does_not_end_it() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Urgent);
    s.told(&[(MANAGER, 1)]);
    s.goto(at("02T10:20"));
    // Three days ago there was one too, and it was cleared: only now does anybody know.
    let mut cleared = s.finding(Severity::Info, Verdict::Note, true);
    cleared.draft.effective_at = at("01T09:00");
    s.take(&cleared);
    assert_eq!((s.state(), s.quiet.len()), (AlertState::Notified, 0), "what is true now stays open");
    let cleared = s.finding(Severity::Info, Verdict::Page, true);
    s.take(&cleared);
    assert_eq!(s.state(), AlertState::AutoResolved);
}

#[test]
fn only_a_person_ends_a_critical() {
    let mut s = Story::new("02T10:00");
    let finding = s.raise(Severity::Critical);
    let cleared = s.finding(Severity::Info, Verdict::Page, true);
    s.take(&cleared);
    let effects = s.case.as_mut().unwrap().retracted(&finding);
    s.note(effects);
    let effects = s.case.as_mut().unwrap().back_in_range();
    assert!(effects.is_empty());
    assert_eq!(s.state(), AlertState::Notified);
    let resolve = |outcome: &str| Action::Resolve { outcome: outcome.into(), note: None };
    assert!(matches!(s.act(GP, resolve("treated")), Err(CommandError::State(AlertState::Notified))));
    s.act(GP, Action::Ack).unwrap();
    assert!(matches!(s.act(GP, resolve("fine")), Err(CommandError::Invalid { field: "outcome", .. })));
    s.act(GP, resolve("treated")).unwrap();
    assert_eq!(s.state(), AlertState::Resolved);
    assert!(matches!(s.act(GP, resolve("treated")), Err(CommandError::State(AlertState::Resolved))));
    assert!(s.quiet.contains(&("alert.resolved", MANAGER)));
    s.act(MANAGER, Action::Comment { text: "well again".into() }).unwrap();
}

#[test]
fn an_urgent_ends_when_its_finding_is_retracted() {
    let mut s = Story::new("02T10:00");
    let finding = s.raise(Severity::Urgent);
    let effects = s.case.as_mut().unwrap().retracted(&finding);
    s.note(effects);
    assert_eq!(s.state(), AlertState::AutoResolved);
}

#[test]
fn an_empty_step_takes_no_time_and_is_said() {
    let mut s = Story::new("02T10:00");
    s.people.remove("team:gp");
    s.people.remove("team:health_manager");
    s.raise(Severity::Critical);
    s.told(&[(DUTY, 2)]);
    assert_eq!((&s.empty, s.episode().level), (&vec![1], 2));
    assert!(s.events.contains(&"step_skipped"));
    s.minutes(10);
    s.told(&[(SPECIALIST, 3), (HEAD, 3)]);
}

#[test]
fn an_empty_last_step_falls_back_to_the_highest_that_is_not() {
    let mut s = Story::new("02T10:00");
    s.people.remove("region:duty");
    s.raise(Severity::Critical);
    s.minutes(30);
    s.told(&[(GP, 1), (MANAGER, 1), (DUTY, 2), (SPECIALIST, 3), (HEAD, 3), (SPECIALIST, 4), (HEAD, 4)]);
    s.minutes(15);
    s.told(&[(SPECIALIST, 4), (HEAD, 4)]);
    s.people.clear();
    s.minutes(15);
    s.told(&[]);
    s.people.insert("region:duty", vec![DESK]);
    s.minutes(15);
    s.told(&[(DESK, 4)]);
}

#[test]
fn after_a_downtime_one_message_at_the_present_level() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Critical);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    s.now = at("02T10:25"); // nothing ran for 25 minutes
    s.fire();
    s.told(&[(SPECIALIST, 3), (HEAD, 3)]);
    assert_eq!((s.episode().next_at, s.withdrawn), (Some(at("02T10:30")), 1));
    s.now = at("02T14:00");
    s.fire();
    s.told(&[(DESK, 4)]);
    s.fire();
    s.told(&[]);
}

#[test]
fn an_urgent_that_fell_due_in_a_downtime_is_not_sent_at_night() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Urgent);
    s.told(&[(MANAGER, 1)]);
    s.now = at("02T23:00");
    s.fire();
    s.told(&[]);
    s.goto(at("03T08:00"));
    s.told(&[(DUTY, 2)]);
}

#[test]
fn a_snooze_ends_and_wakes_unacknowledged() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Critical);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    for minutes in [0, 61] {
        let refused = s.act(GP, Action::Snooze { minutes });
        assert!(matches!(refused, Err(CommandError::Invalid { field: "minutes", .. })));
    }
    s.act(GP, Action::Snooze { minutes: 30 }).unwrap();
    s.minutes(29);
    s.told(&[]);
    s.people.insert("team:gp", vec![7]); // whoever is there by then
    s.minutes(1);
    s.told(&[(7, 1), (MANAGER, 1)]);
    assert_eq!((s.episode().cycle, s.state(), s.episode().snoozed_until), (2, AlertState::Notified, None));
    s.act(GP, Action::Ack).unwrap();
    s.act(GP, Action::Snooze { minutes: 30 }).unwrap();
    s.minutes(30);
    s.told(&[(7, 1), (MANAGER, 1)]);
}

#[test]
fn who_comes_on_duty_is_told_at_the_same_level() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Critical);
    s.minutes(10);
    s.told(&[(GP, 1), (MANAGER, 1), (DUTY, 2)]);
    s.people.insert("station:duty", vec![8]);
    let effects = s.with(|case, ctx| case.as_mut().unwrap().roster_turned(ctx));
    s.note(effects);
    s.told(&[(8, 2)]);
    let effects = s.with(|case, ctx| case.as_mut().unwrap().roster_turned(ctx));
    s.note(effects);
    s.told(&[]);
}

#[test]
fn a_person_may_climb_at_once_or_give_it_back() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Critical);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    s.act(GP, Action::Escalate).unwrap();
    s.told(&[(DUTY, 2)]);
    s.act(DUTY, Action::Ack).unwrap();
    s.act(DUTY, Action::Unack { reason: Some("off duty".into()) }).unwrap();
    s.told(&[(GP, 1), (MANAGER, 1)]);
    assert!(matches!(s.act(DUTY, Action::Unack { reason: None }), Err(CommandError::State(_))));
}

#[test]
fn when_every_channel_of_a_step_is_dead_the_next_is_called_at_once() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Critical);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    let effects = s.with(|case, ctx| case.as_mut().unwrap().unreachable(1, 1, ctx));
    s.note(effects);
    s.told(&[(DUTY, 2)]);
    let effects = s.with(|case, ctx| case.as_mut().unwrap().unreachable(1, 1, ctx));
    s.note(effects);
    s.told(&[]);
}

#[test]
fn a_crisis_found_late_is_an_urgent_in_opening_hours_and_other_late_news_is_for_the_digest() {
    let mut s = Story::new("02T19:00"); // not night, but closed
    let late = s.finding(Severity::Critical, Verdict::Note, false);
    s.take(&late);
    s.told(&[]);
    assert_eq!((s.episode().severity, s.episode().held_until), (Severity::Urgent, Some(at("03T08:00"))));
    s.goto(at("03T08:00"));
    s.told(&[(MANAGER, 1)]);
    let mut s = Story::new("02T10:00");
    let mut unconfirmed = s.finding(Severity::Urgent, Verdict::Note, false);
    unconfirmed.draft.readings.truncate(1);
    s.take(&unconfirmed);
    assert_eq!(s.episode().severity, Severity::Routine);
}
