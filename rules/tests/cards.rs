//! A card that says too little, too much or something else is refused, naming file, line and remedy.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may break a test")]

use rules::{Card, Cards, Rule};

const GOOD: &str = include_str!("../../config/rules/glu-c1.toml");

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
