//! A card that says too little, too much or something else is refused, naming file, line and remedy.

use crate::story;
use rules::{Card, Cards, Rule};

const GOOD: &str = include_str!("../../../config/rules/glu-c1.toml");

fn refused(text: &str) -> String {
    Card::parse("my.toml", text).unwrap_err().to_string()
}

#[test]
fn the_built_in_cards_are_whole_and_every_number_has_bounds_and_a_source() {
    let cards = Cards::built_in().unwrap();
    assert_eq!(cards.iter().count(), Rule::ALL.len());
    for p in cards.iter().flat_map(|c| &c.parameters) {
        assert!(p.min < p.max && !p.source.is_empty(), "{}", p.name);
    }
    let record = &cards.records()[0];
    assert!(record.body.contains("\"zh-CN\""));
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let cases = [
        (GOOD.replace("id = \"GLU-C1\"", "id = \"GLU-C9\""), "my.toml, line 2: no rule \"GLU-C9\"."),
        (GOOD.replace("\"any\"", "\"if glucose < 3\""), "my.toml, line 6: unknown variant `if glucose < 3`"),
        (GOOD.replace("\"any\"", "\"cv\""), "my.toml, line 6: GLU-C1 cannot be judged with this predicate."),
        (GOOD.replacen("unit = \"mmol/L\"\n", "", 1), "my.toml, line 21: missing field `unit`."),
        (GOOD.replacen("\"mmol/L\"", "\"mmol\"", 1), "my.toml, line 23: unknown variant `mmol`"),
        (GOOD.replacen("default = 3.0", "default = 9.0", 1), "the default of \"limit\" is not within min and max."),
        (GOOD.replace("\"recovered\"", "\"better\""), "parameter \"recovered\" in mmol/L is missing."),
        (GOOD.replace("{limit}", "{limits}"), "the text names {limits}, which is no parameter of this card."),
        (format!("wheb = 3\n{GOOD}"), "my.toml, line 1: unknown field `wheb`"),
    ];
    for (text, expected) in cases {
        let said = refused(&text);
        assert!(said.contains(expected), "{said:?} should say {expected:?}");
        assert!(said.split(". ").count() > 1, "{said:?} names no remedy");
    }
}

#[test]
fn a_folder_replaces_a_card_or_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("low.toml"), GOOD.replace("version = 1", "version = 4")).unwrap();
    let cards = Cards::load(Some(folder.path())).unwrap();
    assert_eq!(cards.get(Rule::GluC1).unwrap().version, 4);
    assert_eq!(cards.get(Rule::BpC1).unwrap().version, 1);
    std::fs::write(folder.path().join("x.toml"), "id = 3").unwrap();
    assert!(Cards::load(Some(folder.path())).unwrap_err().to_string().contains("x.toml, line 1"));
    assert!(Cards::load(Some(&folder.path().join("nowhere"))).unwrap_err().to_string().contains("nowhere"));
}

/// What a folder with these files comes to.
fn folder(files: &[(&str, &str)]) -> Result<Cards, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    Cards::load(Some(folder.path())).map_err(|e| e.to_string())
}

#[test]
fn numbers_of_stations_have_no_file() {
    let said = folder(&[("numbers.toml", "[[number]]")]).unwrap_err();
    assert!(said.contains("numbers.toml, line 1") && said.contains("PUT /api/v1/rules/{id}"), "{said}");
}

#[test]
fn severities_that_overlap_are_refused_with_file_and_line() {
    let card =
        include_str!("../../../config/rules/glu-c3.toml").replacen("default = 22.2", "default = 22.2\n# moved", 1);
    let low = card.replacen("default = 16.7", "default = 22.2", 1).replacen("max = 20", "max = 25", 1);
    let said = folder(&[("c3.toml", &low)]);
    let said = said.unwrap_err();
    assert!(said.contains("c3.toml, line "), "{said}");
    assert!(
        said.contains("GLU-C3 limit = 22.2 is not below GLU-C3 critical = 22.2: severities or steps overlap."),
        "{said}"
    );
}

#[test]
fn a_plans_targets_are_within_the_bounds_of_the_cards_that_use_them() {
    let cards = Cards::built_in().unwrap();
    let with = |targets: vitals::Targets| {
        let plan = vitals::Plan { targets, ..vitals::Plan::default() };
        let checked = cards.check_plan(&story::patient(plan, story::at("2026-03-02T08:00:00+08:00")));
        checked.map_or_else(|e| e.to_string(), |()| "fine".to_owned())
    };
    let systolic = |value| vitals::Targets { home_systolic: Some(value), ..vitals::Targets::default() };
    let after = |value| vitals::Targets { post_meal_high: Some(value), ..vitals::Targets::default() };
    for (targets, expected) in [
        (systolic(110.0), "fine"),
        (systolic(160.0), "fine"),
        (systolic(109.0), "targets.homeSystolic: outside the bounds 110 to 160 mmHg of BP-S1. Stay within them"),
        (systolic(161.0), "targets.homeSystolic: outside the bounds 110 to 160 mmHg of BP-S1. Stay within them"),
        (after(15.0), "targets.postMealHigh: outside the bounds 7.8 to 14 mmol/L of GLU-S2. Stay within them"),
    ] {
        assert!(with(targets).contains(expected), "{:?} should say {expected:?}", with(targets));
    }
}

#[test]
fn a_plans_numbers_are_the_cards_and_the_patients_and_within_its_bounds() {
    let cards = Cards::built_in().unwrap();
    let with = |rule: &str, name: &str, value: f64| {
        let parameters = [(rule.to_owned(), [(name.to_owned(), value)].into())].into();
        let plan = vitals::Plan { parameters, ..vitals::Plan::default() };
        let checked = cards.check_plan(&story::patient(plan, story::at("2026-03-02T08:00:00+08:00")));
        checked.map_or_else(|e| e.to_string(), |()| "fine".to_owned())
    };
    assert_eq!(with("BP-C1", "systolic", 170.0), "fine");
    for (said, expected) in [
        (with("BP-C1", "systolic", 120.0), "parameters.BP-C1.systolic: outside the bounds 160 to 220 mmHg."),
        (with("BP-C1", "systolic", f64::NAN), "parameters.BP-C1.systolic: outside the bounds"),
        (with("BP-C1", "worse", 20.0), "parameters.BP-C1.worse: it is the station's to change."),
        (with("BP-C1", "window", 20.0), "parameters.BP-C1.window: it is the platform's to change."),
        (with("BP-C1", "sys", 170.0), "parameters.BP-C1.sys: BP-C1 has no parameter \"sys\"; it has systolic, "),
        (with("BP-C9", "systolic", 170.0), "parameters.BP-C9: there is no such rule."),
        (
            with("BP-C2", "systolic", 110.0),
            "parameters.BP-C2.systolic: BP-C2 systolic = 110 is not below BP-C2 dizzy = 100: severities or steps overlap.",
        ),
    ] {
        assert!(said.contains(expected), "{said:?} should say {expected:?}");
    }
}

#[test]
fn the_doctors_text_comes_from_the_card_in_both_languages_with_the_patients_numbers() {
    let patient = story::patient(
        vitals::Plan {
            parameters: [("BP-C1".to_owned(), [("systolic".to_owned(), 170.0)].into())].into(),
            ..vitals::Plan::default()
        },
        story::at("2026-03-02T08:00:00+08:00"),
    );
    let cards = Cards::built_in().unwrap();
    for card in cards.iter() {
        let numbers = cards.numbers(Rule::parse(&card.id).unwrap(), &patient).unwrap();
        for text in [&card.text.zh_cn, &card.text.en, &card.clears.zh_cn, &card.clears.en] {
            let filled = numbers.fill(text);
            assert!(!filled.contains(['{', '}']) && !filled.contains("NaN"), "{}: {filled}", card.id);
        }
    }
    let crisis = cards.numbers(Rule::BpC1, &patient).unwrap();
    assert!(crisis.fill(&crisis.card.text.zh_cn).contains("收缩压 >= 170"));
    assert!(crisis.fill(&crisis.card.text.en).contains("at or over 170 systolic"));
}
