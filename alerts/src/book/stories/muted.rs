//! Beside a critical of the same direction, what is lower and was told to nobody waits for its end, and is never lost.

use super::*;

const CRITICAL: AlertId = AlertId::new(99);

impl Story {
    /// The critical comes or goes.
    fn over(&mut self, critical: Option<AlertId>) {
        self.over = critical;
        let effects = self.with(|case, ctx| case.as_mut().unwrap().judge_again(ctx));
        self.note(effects);
    }

    fn beside_a_critical(start: &str, severity: Severity) -> Self {
        let mut s = Self::new(start);
        s.over = Some(CRITICAL);
        s.raise(severity);
        s
    }
}

#[test]
fn an_urgent_beside_a_critical_waits_for_its_end_and_is_told_then() {
    let mut s = Story::beside_a_critical("02T10:00", Severity::Urgent);
    assert_eq!((s.state(), s.episode().inhibited_by, s.episode().next_at), (AlertState::Open, Some(CRITICAL), None));
    assert_eq!(s.events, ["raised", "held"]);
    s.goto(at("20T10:00"));
    s.told(&[]);
    assert_eq!(s.state(), AlertState::Open, "however long that takes");
    s.over(None);
    s.told(&[(MANAGER, 1)]);
    assert_eq!((s.state(), s.episode().inhibited_by), (AlertState::Notified, None));
    s.goto(at("20T14:00"));
    s.told(&[(DUTY, 2)]);
}

#[test]
fn what_is_let_go_at_night_waits_for_the_morning_and_a_routine_for_the_digest() {
    let mut s = Story::beside_a_critical("02T10:00", Severity::Urgent);
    s.goto(at("02T23:00"));
    s.over(None);
    s.told(&[]);
    assert_eq!(s.episode().held_until, Some(at("03T08:00")));
    s.goto(at("03T08:00"));
    s.told(&[(MANAGER, 1)]);
    let mut s = Story::beside_a_critical("02T10:00", Severity::Routine);
    s.goto(at("04T12:00"));
    assert!(s.digest.is_empty());
    s.over(None);
    s.goto(at("05T08:00"));
    assert_eq!(s.digest, [MANAGER]);
}

#[test]
fn a_critical_holds_what_waits_and_leaves_who_was_told() {
    for (severity, start) in [(Severity::Routine, "02T10:00"), (Severity::Urgent, "02T23:00")] {
        let mut s = Story::new(start);
        s.raise(severity);
        s.over(Some(CRITICAL));
        assert_eq!((s.episode().inhibited_by, s.episode().held_until), (Some(CRITICAL), None));
        s.goto(at("04T12:00"));
        s.told(&[]);
        assert!(s.digest.is_empty(), "the pending digest does not come");
    }
    let mut s = Story::new("02T10:00");
    s.raise(Severity::Urgent);
    s.told(&[(MANAGER, 1)]);
    s.over(Some(CRITICAL));
    assert_eq!((s.state(), s.episode().inhibited_by), (AlertState::Notified, None));
    s.goto(at("02T14:00"));
    s.told(&[(DUTY, 2)]);
}

#[test]
fn a_critical_is_never_held_and_what_turns_critical_goes_at_once() {
    let mut s = Story::beside_a_critical("02T10:00", Severity::Critical);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    assert_eq!(s.episode().inhibited_by, None);
    let mut s = Story::beside_a_critical("02T10:00", Severity::Routine);
    s.raise(Severity::Urgent);
    s.told(&[]);
    assert_eq!((s.episode().severity, s.episode().inhibited_by), (Severity::Urgent, Some(CRITICAL)));
    s.raise(Severity::Critical);
    s.told(&[(GP, 1), (MANAGER, 1)]);
    assert_eq!(s.episode().inhibited_by, None);
    s.over(None);
    s.told(&[]);
}

#[test]
fn a_person_may_take_send_or_end_what_is_held() {
    let resolve = Action::Resolve { outcome: "treated".into(), note: None };
    for (action, state) in [(Action::Ack, AlertState::Acknowledged), (resolve, AlertState::Resolved)] {
        let mut s = Story::beside_a_critical("02T10:00", Severity::Urgent);
        s.act(MANAGER, action).unwrap();
        assert_eq!((s.state(), s.episode().inhibited_by), (state, None));
        s.over(None);
        s.told(&[]);
    }
    let mut s = Story::beside_a_critical("02T10:00", Severity::Urgent);
    s.act(MANAGER, Action::Escalate).unwrap();
    s.told(&[(MANAGER, 1)]);
    assert_eq!((s.state(), s.episode().inhibited_by), (AlertState::Notified, None));
}

#[test]
fn a_snooze_or_a_missing_plan_wakes_into_the_same_silence_and_is_let_go_with_it() {
    let mut s = Story::beside_a_critical("02T10:00", Severity::Urgent);
    s.act(MANAGER, Action::Snooze { minutes: 30 }).unwrap();
    s.over(Some(CRITICAL));
    assert_eq!(s.episode().inhibited_by, None, "a person put it to sleep");
    s.minutes(30);
    assert_eq!((s.state(), s.episode().inhibited_by), (AlertState::Open, Some(CRITICAL)));
    s.act(MANAGER, Action::Ack).unwrap();
    s.minutes(48 * 60);
    s.told(&[]);
    assert_eq!((s.state(), s.episode().inhibited_by), (AlertState::Open, Some(CRITICAL)));
    s.over(None);
    s.told(&[(MANAGER, 1)]);
}

#[test]
fn what_is_held_ends_by_itself_only_as_any_other_and_says_so() {
    let mut s = Story::beside_a_critical("02T10:00", Severity::Urgent);
    let effects = s.case.as_mut().unwrap().back_in_range();
    s.note(effects);
    assert_eq!((s.state(), s.episode().inhibited_by), (AlertState::AutoResolved, None));
    assert_eq!(s.events, ["raised", "held", "auto_resolved"]);
}

#[test]
fn one_critical_after_another_holds_it_until_the_last_is_over() {
    let mut s = Story::beside_a_critical("02T10:00", Severity::Urgent);
    s.over(Some(AlertId::new(98)));
    s.told(&[]);
    assert_eq!(s.episode().inhibited_by, Some(AlertId::new(98)));
    s.over(None);
    s.told(&[(MANAGER, 1)]);
}

#[test]
fn neither_the_opposite_end_nor_silence_nor_devices_are_held_by_anything() {
    let kept: Vec<Concept> = Concept::ALL.iter().flat_map(|c| keeps_back(*c).iter().copied()).collect();
    use Concept as C;
    for concept in [
        C::DeviceQuality,
        C::Adherence,
        C::NoResponse,
        C::FollowUpDue,
        C::PulseIrregular,
        C::BpVariability,
        C::GlucoseVariability,
        C::PregnancyBp,
    ] {
        assert!(!kept.contains(&concept), "{concept:?}");
    }
    let word = |c: &C| c.as_str();
    let (low, high) = (keeps_back(C::GlucoseLowSevere), keeps_back(C::GlucoseHighCritical));
    assert!(low.iter().all(|c| word(c).contains("_low")) && !high.iter().any(|c| word(c).contains("_low")));
    let (low, high) = (keeps_back(C::BpLow), keeps_back(C::BpCrisis));
    assert!(!low.iter().any(|c| high.contains(c)));
    assert!(Concept::ALL.iter().all(|c| !keeps_back(*c).contains(c)), "of the same concept there is one alert");
}
