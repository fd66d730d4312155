//! What an episode remembers: through the store and back, and which readings it counts.

use super::*;

#[test]
fn a_case_is_the_same_after_it_was_stored() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Critical);
    let case = s.case.take().unwrap();
    let again = Case::read(case.write());
    assert_eq!(again.memo, case.memo);
    assert_eq!(again.due(), case.due());
}

#[test]
fn an_alert_of_a_mean_counts_the_readings_over_the_limit_not_all_that_were_used() {
    let mut s = Story::new("02T10:00");
    let mut finding = s.finding(Severity::Routine, Verdict::Page, false);
    finding.draft.evidence = serde_json::json!({ "over": [finding.draft.readings[1]] }).to_string();
    s.take(&finding);
    assert_eq!((s.episode().count, s.episode().readings.len()), (1, 2));
    s.take(&finding);
    assert_eq!(s.episode().count, 1, "each counts once");
}
