//! An acknowledgement covers what was known when it was given: what is worse, or comes anew, calls again; nothing else.

use super::*;

fn acknowledged(start: &str) -> (Story, Finding) {
    let mut s = Story::new(start);
    let first = s.raise(Severity::Critical);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    s.act(GP, Action::Ack).unwrap();
    (s, first)
}

#[test]
fn the_same_again_is_attached_and_what_is_worse_pages_again() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Urgent);
    s.told(&[(MANAGER, 1)]);
    s.act(MANAGER, Action::Ack).unwrap();
    s.raise(Severity::Urgent);
    s.told(&[]);
    s.raise(Severity::Critical);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    assert_eq!((s.episode().cycle, s.episode().count, s.episode().owner), (2, 6, None));
    s.act(GP, Action::Ack).unwrap();
    s.raise(Severity::Urgent);
    s.told(&[]);
    assert_eq!(s.state(), AlertState::Acknowledged);
}

#[test]
fn another_critical_pages_again_whether_or_not_a_contact_was_logged() {
    for contact in [false, true] {
        let (mut s, _) = acknowledged("02T10:00");
        if contact {
            s.contact(GP);
        }
        s.minutes(30);
        let mut second = s.finding(Severity::Critical, Verdict::Page, false);
        second.draft.evidence = "{\"n\": 2}".into();
        s.take(&second);
        s.told(&[(GP, 1), (MANAGER, 1)]);
        assert_eq!((s.state(), s.episode().owner, s.episode().acked_severity), (AlertState::Notified, None, None));
        assert_eq!((s.episode().cycle, s.episode().level, s.episode().count), (2, 1, 4));
        assert_eq!(s.episode().evidence, second.draft.evidence, "what is shown is what decided");
        assert_eq!(s.case.as_ref().unwrap().memo.decided_at, s.now);
        assert!(s.events.contains(&"unacknowledged"));
        s.minutes(10);
        s.told(&[(DUTY, 2)]);
        s.act(DUTY, Action::Ack).unwrap();
        s.contact(DUTY);
        s.minutes(48 * 60);
        s.told(&[]);
    }
}

#[test]
fn nobody_is_paged_twice_for_what_nobody_has_acknowledged_yet() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Critical);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    s.minutes(5);
    s.raise(Severity::Critical);
    s.told(&[]);
    assert_eq!((s.episode().cycle, s.episode().count), (1, 4));
    s.minutes(5);
    s.told(&[(DUTY, 2)]);
}

#[test]
fn a_snooze_covers_no_other_critical() {
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Critical);
    s.act(GP, Action::Snooze { minutes: 60 }).unwrap();
    s.told(&[(GP, 1), (MANAGER, 1)]);
    s.minutes(20);
    s.raise(Severity::Critical);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    assert_eq!((s.episode().cycle, s.episode().snoozed_until), (2, None));
    assert!(s.events.contains(&"woken"));
    s.minutes(9);
    s.told(&[]);
}

#[test]
fn the_same_crisis_told_in_another_order_pages_nobody_again() {
    let (mut s, first) = acknowledged("02T10:00");
    s.contact(GP);
    s.minutes(30);
    // A reading between the two comes late: concluded anew, three minutes earlier, and the old conclusion taken back.
    let mut anew = s.finding(Severity::Critical, Verdict::Page, false);
    anew.draft.readings[0] = first.draft.readings[0];
    anew.draft.effective_at = first.draft.effective_at.minus(Duration::from_secs(180));
    s.take(&anew);
    let effects = s.case.as_mut().unwrap().retracted(&first);
    s.note(effects);
    // And back again: the first under its old id.
    s.take(&first);
    s.told(&[]);
    assert_eq!((s.state(), s.episode().cycle, s.episode().count), (AlertState::FollowUp, 1, 3));
}

#[test]
fn a_crisis_that_begins_with_a_reading_of_the_last_one_and_ends_after_it_pages_again() {
    let (mut s, _) = acknowledged("02T10:00");
    s.contact(GP);
    s.goto(at("02T15:50"));
    let effects = s.case.as_mut().unwrap().joined(&[ReadingId::new(77)]);
    s.note(effects);
    s.goto(at("02T16:02"));
    let mut second = s.finding(Severity::Critical, Verdict::Page, false);
    second.draft.readings[0] = ReadingId::new(77);
    s.take(&second);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    assert_eq!(s.episode().cycle, 2);
}

#[test]
fn a_late_repeat_that_confirms_what_was_unconfirmed_pages_again() {
    let (mut s, _) = acknowledged("02T08:00");
    s.contact(GP);
    s.goto(at("02T15:30"));
    let mut unconfirmed = s.finding(Severity::Urgent, Verdict::Page, false);
    unconfirmed.draft.readings = vec![ReadingId::new(77)];
    s.take(&unconfirmed);
    s.told(&[]);
    s.minutes(15);
    let mut confirmed = s.finding(Severity::Critical, Verdict::Page, false);
    confirmed.draft.readings[0] = ReadingId::new(77);
    confirmed.draft.effective_at = at("02T15:10"); // before the question expired, after the first crisis
    s.take(&confirmed);
    s.told(&[(GP, 1), (MANAGER, 1)]);
}

#[test]
fn what_was_taken_back_before_it_could_be_told_or_came_a_day_late_pages_nobody() {
    let (mut s, _) = acknowledged("02T10:00");
    s.contact(GP);
    s.minutes(60);
    let mut gone = s.finding(Severity::Critical, Verdict::Page, false);
    gone.retracted_at = Some(s.now);
    s.take(&gone);
    let late = s.finding(Severity::Critical, Verdict::Note, false);
    s.take(&late);
    s.told(&[]);
    assert_eq!(s.state(), AlertState::FollowUp);
}

#[test]
fn a_fresh_urgent_does_not_wait_with_one_that_came_late() {
    let mut s = Story::new("06T18:00");
    let late = s.finding(Severity::Critical, Verdict::Note, false);
    s.take(&late);
    s.told(&[]);
    assert_eq!(s.episode().held_until, Some(at("09T08:00")), "what is a day old has time until the station opens");
    s.goto(at("06T19:00"));
    let fresh = s.raise(Severity::Urgent);
    s.told(&[(MANAGER, 1)]);
    assert_eq!((s.state(), s.episode().held_until), (AlertState::Notified, None));
    let memo = &s.case.as_ref().unwrap().memo;
    assert_eq!((memo.late, memo.decided_at), (false, fresh.decided_at), "nor is it called late");
    let mut s = Story::new("06T23:00");
    s.take(&late);
    s.raise(Severity::Urgent);
    s.told(&[]);
    s.goto(at("09T08:00"));
    s.told(&[(MANAGER, 1)]);
}
