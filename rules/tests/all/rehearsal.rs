//! A rehearsal of today's own cards says exactly what live said; with other cards it says what they would have said;
//! and nothing of it stays.

use crate::story::{
    at, bg, bp, minutes,
    service::{START, Service},
};
use rules::{Bounds, Cards, Content, Error, Rehearsal, Report, Rule, rehearse};
use runtime::Paced;
use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};
use store::{NewRuleEdit, RuleScope};
use vitals::{DeviceKey, OrganisationId, PatientId, Reading, Statuses, Timestamp, UserId};

const DAYS: u64 = 75;

/// Numbers that look like chance and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn around(&mut self, middle: i64, width: u64) -> i64 {
        middle + i64::try_from(self.below(2 * width + 1)).unwrap() - i64::try_from(width).unwrap()
    }
}

/// One who measures: what the meter holds back, and its number.
struct Home {
    person: (PatientId, DeviceKey),
    base: i64,
    seq: i64,
    kept: Vec<Reading>,
}

impl Home {
    fn measure(&mut self, dice: &mut Dice, at: Timestamp, drift: i64) {
        self.seq += 1;
        let chance = dice.below(100);
        let level = self.base + drift;
        let systolic = match chance {
            0..3 => dice.around(188, 6),
            3..5 => dice.around(84, 4),
            _ => dice.around(level, 14),
        };
        let mut reading = match chance % 4 {
            3 => bg(self.seq, at, if chance < 12 { dice.around(32, 6) } else { dice.around(92, 40) }),
            _ => bp(self.seq, at, systolic, systolic * 6 / 10),
        };
        if chance > 95 {
            reading.disposition = vitals::Disposition::Excluded;
            reading.statuses = Statuses::default();
        }
        self.kept.push(reading);
    }
}

/// Six homes over eleven weeks: crises, lows, drifts, holidays, meters that were offline for days.
async fn lived(service: &Service) -> Vec<PatientId> {
    let mut dice = Dice(7);
    let mut homes = Vec::new();
    for n in 0..6 {
        let person = service.person().await;
        homes.push(Home { person, base: 118 + 8 * n, seq: 0, kept: Vec::new() });
    }
    let begin = at(START);
    for hour in (0..DAYS * 24).step_by(6) {
        let now = begin.plus(Duration::from_secs(3600 * hour)).plus(minutes(dice.below(50)));
        service.goto(now).await;
        for (n, home) in homes.iter_mut().enumerate() {
            let away = n == 4 && (20 * 24..38 * 24).contains(&hour);
            if away || dice.below(10) < 4 {
                continue;
            }
            let drift = if n == 2 && hour > 30 * 24 { 18 } else { 0 };
            home.measure(&mut dice, now, drift);
            if dice.below(3) == 0 {
                home.measure(&mut dice, now.minus(minutes(2)), drift);
            }
            // Some meters are offline for days, then send everything at once.
            let offline = n % 2 == 1 && (hour / 24) % 9 < 5;
            if !offline {
                service.message(home.person, std::mem::take(&mut home.kept)).await;
            }
        }
        service.rules.settle().await;
    }
    service.goto(begin.plus(Duration::from_secs(86_400 * DAYS))).await;
    homes.iter().map(|h| h.person.0).collect()
}

fn asked(service: &Service, cards: Cards, from: Timestamp, to: Timestamp) -> Rehearsal {
    let patients = service.store.directory().patients();
    Rehearsal { cards, proposed: Rule::ALL.to_vec(), from, to, patients, bounds: Bounds::default() }
}

async fn report(service: &Service, asked: Rehearsal) -> Report {
    let store = service.store.clone();
    let run = move || rehearse(&store, &asked, &mut |_, _| ControlFlow::Continue(())).unwrap();
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn differences(report: &Report) -> Vec<String> {
    let differ = report.rules.iter().filter(|r| r.new + r.gone + r.changed > 0 || r.did != r.would);
    differ.map(|r| format!("{r:?}")).chain(report.examples.iter().map(|e| format!("{e:?}"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn todays_own_cards_say_exactly_what_live_said_from_wherever_one_begins() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), at(START)).await;
    lived(&service).await;
    let cards = Cards::built_in().unwrap();
    let (before, end) = (*service.store.finding_changes().borrow(), service.clock.now());
    let mut rules: BTreeMap<String, usize> = BTreeMap::new();
    for (day, hour) in [(0, 0), (9, 3), (23, 22), (24, 0), (40, 13), (61, 7)] {
        let from = at(START).plus(Duration::from_secs(86_400 * day + 3600 * hour));
        for to in [end, end.minus(Duration::from_secs(86_400 * 11 + 1800))] {
            let report = report(&service, asked(&service, cards.clone(), from, to)).await;
            assert_eq!(differences(&report), Vec::<String>::new(), "from day {day} {hour} h");
            report.rules.iter().for_each(|r| *rules.entry(r.rule_id.clone()).or_default() += r.did.findings);
        }
    }
    let spoke = rules.values().filter(|n| **n > 0).count();
    assert!(spoke >= 8, "the story is too quiet to prove anything: {rules:?}");
    assert_eq!(*service.store.finding_changes().borrow(), before, "nothing was written");
    assert!(!service.rules.settle().await, "nothing is left to do");
    service.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_limit_says_more_or_less_and_examples_say_what() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), at(START)).await;
    lived(&service).await;
    let force = service.rules.force(&service.store).unwrap();
    let now = service.clock.now();
    let with =
        |text: &str, scope: &RuleScope| force.with(&force.at(now), "BP-C1", scope, Content::parse(text).unwrap());
    let everybody = RuleScope::default();
    let lower = with(r#"{"parameters":{"systolic":165,"diastolic":95}}"#, &everybody).unwrap();
    let mut trial = asked(&service, lower, at(START), now);
    trial.proposed = vec![Rule::BpC1];
    trial.bounds.examples = 5;
    let said = report(&service, trial.clone()).await;
    let row = &said.rules[0];
    assert_eq!((row.rule_id.as_str(), row.proposed), ("BP-C1", true));
    assert!(row.would.findings > row.did.findings && row.new > 0, "{row:?}");
    assert_eq!(row.did.findings, row.same + row.changed + row.gone);
    assert_eq!(row.would.findings, row.same + row.changed + row.new);
    assert!(!said.examples.is_empty() && said.examples.len() <= 6, "{}", said.examples.len());
    let weeks: usize = said.weeks.iter().map(|w| w.would).sum();
    assert_eq!(weeks, row.would.told);
    assert!(said.says.en.contains(&format!("told {} times about", row.would.told)), "{}", said.says.en);
    // Numbers of a station that none of them belongs to change nothing.
    let elsewhere = RuleScope { organisation: Some(OrganisationId::new(9)), tag: None };
    let other = with(r#"{"parameters":{"systolic":165}}"#, &elsewhere).unwrap();
    assert_eq!(differences(&report(&service, asked(&service, other, at(START), now)).await), Vec::<String>::new());
    // A bound on patients is kept and said.
    trial.bounds.patients = 2;
    let some = report(&service, trial.clone()).await;
    assert_eq!((some.patients.judged, some.patients.in_scope, some.patients.complete), (2, 6, false));
    trial.bounds.time = Duration::ZERO;
    assert!(!report(&service, trial.clone()).await.patients.complete);
    let ended = rehearse(&service.store, &trial, &mut |_, _| ControlFlow::Break(()));
    assert!(matches!(ended, Err(Error::Cancelled)));
    service.close().await;
}

async fn sign(service: &Service, scope: &RuleScope, body: &str, from: Timestamp) {
    let now = service.clock.now();
    let known = service.store.rule_revision("BP-C1".into()).await.unwrap();
    let force = service.rules.force(&service.store).unwrap();
    let body = force.check(now, "BP-C1", scope, Content::parse(body).unwrap()).unwrap();
    let draft = NewRuleEdit {
        rule: "BP-C1".into(),
        scope: scope.clone(),
        body: body.body,
        note: String::new(),
        author: UserId::new(1),
        proposed_from: Some(from),
    };
    service.store.draft_rule(draft, known, now).await.unwrap();
    let (rule, by) = ("BP-C1".to_owned(), UserId::new(2));
    service.store.approve_rule(rule, scope.clone(), by, None, body.base, None, now).await.unwrap();
}

#[tokio::test]
async fn a_signed_number_holds_from_its_moment_on_names_its_version_and_goes_back_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), at(START)).await;
    let person = service.person().await;
    let everybody = RuleScope::default();
    let noon = at("2026-03-02T12:00:00+08:00");
    sign(&service, &everybody, r#"{"parameters":{"systolic":170}}"#, noon).await;
    service.message(person, vec![bp(1, service.clock.now(), 172, 90)]).await;
    service.goto(at("2026-03-02T11:59:00+08:00")).await;
    assert_eq!(service.severities(person.0).await, [""; 0], "not yet");
    assert_eq!(service.rules.next_due().await, Some(noon), "the clock stops there");
    service.close().await;

    // A restart before the moment loses nothing.
    let service = Service::open(folder.path(), at("2026-03-02T11:59:30+08:00")).await;
    service.goto(noon).await;
    service.message(person, vec![bp(2, service.clock.now(), 172, 90)]).await;
    service.rules.settle().await;
    assert_eq!(service.severities(person.0).await, ["info"]);
    let of = |all: Vec<vitals::Finding>| all.last().map(|f| (f.draft.rule_version, f.draft.evidence.clone())).unwrap();
    let (version, evidence) = of(service.store.findings_of(person.0, None, None, None, None, 9).await.unwrap());
    assert_eq!(version, 2);
    assert!(evidence.contains(r#""from":"platform""#) && evidence.contains(r#""version":2"#), "{evidence}");
    assert!(evidence.contains("170"), "the text says the number: {evidence}");

    // A group's own number is stronger; the version is the rule's newest for that patient.
    let group = RuleScope { organisation: None, tag: Some("frail".into()) };
    sign(&service, &group, r#"{"parameters":{"systolic":160}}"#, service.clock.now()).await;
    let mut patient = vitals::Patient::clone(&service.store.directory().patient(person.0).unwrap());
    patient.tags.push("frail".into());
    service.store.update_patient(patient, None).await.unwrap();
    service.goto(noon.plus(minutes(300))).await;
    service.message(person, vec![bp(3, service.clock.now(), 162, 90)]).await;
    service.rules.settle().await;
    let (version, evidence) = of(service.store.findings_of(person.0, None, None, None, None, 9).await.unwrap());
    assert_eq!(version, 3);
    assert!(evidence.contains(r#""from":"group""#), "{evidence}");

    // One step back: the station's card is the installed one again, at once; the group keeps its own.
    let by = (UserId::new(2), "too many".to_owned());
    let (rule, now) = ("BP-C1".to_owned(), service.clock.now());
    service.store.roll_back_rule(rule, everybody, by, 1, None, now).await.unwrap();
    service.rules.settle().await;
    let card = service.store.cards().await.unwrap().into_iter().find(|c| c.id == "BP-C1").unwrap();
    assert_eq!(card.version, 1);
    service.close().await;
}
