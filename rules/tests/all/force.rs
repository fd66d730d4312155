//! What two persons sign: numbers of the platform, of stations and groups, beside each other and over time.

use crate::story;
use crate::story::at;
use rules::{Cards, Content, Force, Rule};
use std::{sync::Arc, time::Duration};
use store::{RuleEdit, RuleScope};
use vitals::{OrganisationId, Patient, Plan, Timestamp, UserId};

const START: &str = "2026-03-02T08:00:00+08:00";

#[test]
fn an_edit_that_may_not_be_names_field_and_remedy() {
    let force = Force::new(Cards::built_in().unwrap(), Vec::new());
    let station = RuleScope { organisation: Some(OrganisationId::new(1)), tag: None };
    let now = at(START);
    let say = |rule: &str, scope: &RuleScope, text: &str| {
        Content::parse(text).and_then(|c| force.check(now, rule, scope, c)).unwrap_err().to_string()
    };
    let all = RuleScope::default();
    let card = |from: &str, to: &str| {
        let record = Cards::built_in().unwrap().records().into_iter().find(|r| r.id == "GLU-C1").unwrap();
        let shown: serde_json::Value = serde_json::from_str(&record.body).unwrap();
        format!("{{\"card\":{}}}", shown["card"].to_string().replacen(from, to, 1))
    };
    for (said, expected) in [
        (say("BP-C9", &all, r#"{"parameters":{}}"#), "id: there is no rule \"BP-C9\"."),
        (
            say("BP-C1", &all, r#"{"parameters":{"systolic":250}}"#),
            "parameters.systolic: outside the hard bounds 160 to 220 mmHg.",
        ),
        (
            say("BP-C1", &all, r#"{"parameters":{"sys":170}}"#),
            "parameters.sys: BP-C1 has no parameter \"sys\"; it has systolic, ",
        ),
        (
            say("BP-C1", &station, r#"{"parameters":{"window":20}}"#),
            "parameters.window: it is the platform's to change.",
        ),
        (say("BP-C1", &station, r#"{"parameters":{"hold":99}}"#), "parameters.hold: outside the bounds 1 to 24 h."),
        (
            say("ADH-1", &station, r#"{"parameters":{"remind":200}}"#),
            "parameters.call: ADH-1 remind = 200 is not below ADH-1 call = 168: severities or steps overlap.",
        ),
        (say("ADH-1", &all, r#"{"parameters":{"remind":200}}"#), "parameters.call: ADH-1 remind = 200 is not below"),
        (say("GLU-C1", &station, &card("x", "x")), "card: a card is the platform's."),
        (say("GLU-C1", &all, &card("GLU-C1", "GLU-C2")), "id: it is another rule's card."),
        (say("GLU-C1", &all, &card("\"mmol/L\"", "\"mmol\"")), "card.parameter[0].unit: unknown variant `mmol`"),
        (
            say("GLU-C1", &all, &card("\"max\":3.9", "\"max\":5.0")),
            "parameters.limit: outside the hard bounds 2.5 to 3.9 mmol/L.",
        ),
        (say("GLU-C1", &all, r#"{"wish":{}}"#), "unknown variant `wish`"),
    ] {
        assert!(said.contains(expected), "{said:?} should say {expected:?}");
        assert!(said.split(". ").count() > 1, "{said:?} names no remedy");
    }
    // A card on trial is held to the same order.
    let folder = tempfile::tempdir().unwrap();
    let text = include_str!("../../../config/rules/adh-1.toml").replacen("default = 72", "default = 168", 1);
    std::fs::write(folder.path().join("my.toml"), text).unwrap();
    let said = Cards::built_in().unwrap().with_files(folder.path()).unwrap_err().to_string();
    assert!(said.contains("ADH-1 remind = 168 is not below") && said.contains("my.toml, line"), "{said}");
}

/// What two persons signed of a rule's number, from `START` on.
fn signed(rule: &str, scope: RuleScope, name: &str, value: f64) -> RuleEdit {
    RuleEdit {
        id: 1,
        rule: rule.into(),
        scope,
        version: Some(2),
        state: store::EditState::Approved,
        body: Some(format!("{{\"parameters\":{{\"{name}\":{value}}}}}")),
        note: String::new(),
        author: UserId::new(1),
        drafted_at: at(START),
        proposed_from: None,
        approver: Some(UserId::new(2)),
        approved_at: Some(at(START)),
        effective_from: Some(at(START)),
        returns_to: None,
    }
}

#[test]
fn severities_of_two_rules_may_not_overlap_now_or_later_whoever_signed_the_other() {
    let say = |edits: Vec<RuleEdit>, now: Timestamp, rule: &str, name: &str, value: f64| {
        let force = Force::new(Cards::built_in().unwrap(), edits);
        let content = Content::parse(&format!("{{\"parameters\":{{\"{name}\":{value}}}}}")).unwrap();
        force.check(now, rule, &RuleScope::default(), content).map_or_else(|e| e.to_string(), |_| "fine".to_owned())
    };
    let (before, now) = (at("2026-03-02T07:00:00+08:00"), at(START));
    // The critical low (3.0) lies below the other low (3.9), as installed.
    assert_eq!(say(vec![], now, "GLU-C1", "limit", 3.8), "fine");
    let low = "parameters.limit: GLU-C1 limit = 3.9 is not below GLU-C2 limit = 3.9: severities or steps overlap.";
    assert!(say(vec![], now, "GLU-C1", "limit", 3.9).contains(low));
    // Beside what was signed of the other rule, also when its moment has yet to come.
    let other = || vec![signed("GLU-C2", RuleScope::default(), "limit", 3.6)];
    for moment in [before, now] {
        assert_eq!(say(other(), moment, "GLU-C1", "limit", 3.5), "fine");
        assert!(
            say(other(), moment, "GLU-C1", "limit", 3.7).contains("GLU-C1 limit = 3.7 is not below GLU-C2 limit = 3.6")
        );
    }
    // A station's own number counts where the platform's moves.
    let station = RuleScope { organisation: Some(OrganisationId::new(1)), tag: None };
    let own = || vec![signed("ADH-1", station.clone(), "remind", 160.0)];
    assert!(say(own(), now, "ADH-1", "call", 150.0).contains("ADH-1 remind = 160 is not below ADH-1 call = 150"));
    assert_eq!(say(own(), now, "ADH-1", "call", 165.0), "fine");
}

fn station(id: u64) -> RuleScope {
    RuleScope { organisation: Some(OrganisationId::new(id)), tag: None }
}

fn group(tag: &str) -> RuleScope {
    RuleScope { organisation: None, tag: Some(tag.into()) }
}

#[test]
fn a_number_is_the_patients_then_the_groups_then_the_stations_then_the_cards() {
    let both = RuleScope { tag: Some("frail".into()), ..station(3) };
    let own = |scope, value| signed("BP-S1", scope, "homeSystolic", value);
    let cards = Force::new(
        Cards::built_in().unwrap(),
        vec![own(group("frail"), 140.0), own(station(3), 130.0), own(both, 145.0)],
    )
    .at(at(START));
    let of = |station: Option<u64>, tags: &[&str], own: Option<f64>| {
        let mut plan = Plan::default();
        plan.targets.home_systolic = own;
        let tags = tags.iter().map(|t| (*t).to_owned()).collect();
        let organisation = station.map(OrganisationId::new);
        let patient = Arc::new(Patient { organisation, tags, ..story::patient(plan, at(START)) });
        let (value, from) = cards.numbers(Rule::BpS1, &patient).unwrap().get("homeSystolic");
        (value, from.as_str())
    };
    assert_eq!(of(None, &[], None), (135.0, "card"));
    assert_eq!(of(Some(3), &[], None), (130.0, "station"));
    assert_eq!(of(None, &["frail"], None), (140.0, "group"));
    assert_eq!(of(Some(3), &["frail"], None), (145.0, "group"));
    assert_eq!(of(Some(3), &["frail"], Some(128.0)), (128.0, "patient"));
}

#[test]
fn a_station_and_a_group_may_not_cross_for_who_is_in_both_nor_two_groups() {
    let say = |others: Vec<RuleEdit>, scope: &RuleScope, name: &str, value: f64| {
        let content = Content::parse(&format!("{{\"parameters\":{{\"{name}\":{value}}}}}")).unwrap();
        let checked = Force::new(Cards::built_in().unwrap(), others).check(at(START), "ADH-1", scope, content);
        checked.map_or_else(|e| e.to_string(), |_| "fine".to_owned())
    };
    let late = |scope| vec![signed("ADH-1", scope, "remind", 160.0)];
    let crossed = "ADH-1 remind = 160 is not below ADH-1 call = 150";
    assert!(say(late(group("frail")), &station(3), "call", 150.0).contains(crossed));
    assert!(say(late(group("frail")), &group("alone"), "call", 150.0).contains(crossed));
    assert_eq!(say(late(station(4)), &station(3), "call", 150.0), "fine", "nobody is of two stations");
    assert_eq!(say(late(group("frail")), &station(3), "call", 170.0), "fine");
}

#[test]
fn what_a_rollback_brings_back_is_held_against_what_was_signed_since() {
    let all = RuleScope::default();
    let first = signed("GLU-C1", all.clone(), "limit", 3.7);
    let second = RuleEdit { id: 2, ..signed("GLU-C1", all.clone(), "limit", 3.0) };
    let other = RuleEdit { id: 3, ..signed("GLU-C2", all.clone(), "limit", 3.6) };
    let body = first.body.clone();
    let back = |edits: Vec<RuleEdit>, body: Option<&str>| {
        let force = Force::new(Cards::built_in().unwrap(), edits);
        force
            .check_return(at(START), "GLU-C1", &RuleScope::default(), body)
            .map_or_else(|e| e.to_string(), |_| "fine".into())
    };
    assert_eq!(back(vec![first.clone(), second.clone()], body.as_deref()), "fine");
    let said = back(vec![first.clone(), second.clone(), other.clone()], body.as_deref());
    assert!(
        said.contains("GLU-C1 limit = 3.7 is not below GLU-C2 limit = 3.6: severities or steps overlap."),
        "{said}"
    );
    assert_eq!(back(vec![first.clone(), second.clone(), other.clone()], None), "fine", "the card as it was installed");
    // Also beside what is signed for later.
    let soon = Some(at(START).plus(Duration::from_secs(3600)));
    let later = RuleEdit { effective_from: soon, ..other };
    assert!(back(vec![first, second, later], body.as_deref()).contains("3.7 is not below"));
}

#[test]
fn a_signed_number_that_a_newly_installed_card_leaves_no_room_for_gives_way_and_the_rest_holds() {
    let folder = tempfile::tempdir().unwrap();
    let edits = || {
        vec![
            signed("ADH-1", station(3), "remind", 100.0),
            RuleEdit { id: 2, ..signed("ADH-1", group("frail"), "remind", 160.0) },
        ]
    };
    let text = include_str!("../../../config/rules/adh-1.toml").replacen("default = 168", "default = 120", 1);
    std::fs::write(folder.path().join("adh-1.toml"), text).unwrap();
    let remind = |installed: Cards, organisation: Option<u64>, tags: &[&str]| {
        let cards = Force::new(installed, edits()).at(at(START));
        let tags = tags.iter().map(|t| (*t).to_owned()).collect();
        let organisation = organisation.map(OrganisationId::new);
        let patient = Patient { organisation, tags, ..story::patient(Plan::default(), at(START)) };
        cards.numbers(Rule::Adh1, &patient).unwrap().value("remind")
    };
    let (before, after) = (Cards::built_in().unwrap(), Cards::load(Some(folder.path())).unwrap());
    assert!((remind(before.clone(), None, &["frail"]) - 160.0).abs() < 1e-9);
    assert!((remind(after.clone(), None, &["frail"]) - 72.0).abs() < 1e-9, "160 is not below the new 120");
    assert!((remind(after, Some(3), &[]) - 100.0).abs() < 1e-9);
}
