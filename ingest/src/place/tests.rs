//! Counters that run on, wrap, begin anew, and readings that come late or twice.

use super::*;
use proptest::prelude::*;

/// A device as the store sees it: its history, and what is stored under each number.
#[derive(Default)]
struct Device {
    history: DeviceHistory,
    stored: Vec<(i64, Known)>,
}

impl Device {
    fn send(&mut self, seq: i64, minute: Option<i64>, values: u64) -> Place {
        let told = minute.map(|m| Timestamp::from_seconds(1_770_000_000 + 60 * m));
        self.sent(seq, told, told.is_some(), values)
    }

    fn sent(&mut self, seq: i64, told: Option<Timestamp>, orders: bool, values: u64) -> Place {
        let known: Vec<Known> = self.stored.iter().filter(|(s, _)| *s == seq).map(|(_, k)| *k).collect();
        let last = self.history.current().and_then(|life| Some((life.number, life.last()?)));
        let last_told = last
            .filter(|(_, span)| !orders && span.last_at.is_none() && seq <= span.last)
            .and_then(|(life, span)| self.stored.iter().find(|(s, k)| *s == span.last && k.epoch == life)?.1.told);
        let numbered = Numbered { seq, told, orders, last_told, fingerprint: Some(values) };
        let place = place(&self.history, &known, numbered);
        if let Place::At { epoch, .. } = place {
            assert!(known.iter().all(|k| k.epoch != epoch), "a number is given twice in one epoch");
            let id = ReadingId::new(self.stored.len() as u64 + 1);
            self.stored.push((seq, Known { id, epoch, told, fingerprint: values }));
            self.history.record(epoch, seq, told.filter(|_| orders));
        }
        place
    }

    fn run(&mut self, from: i64, to: i64, minute: i64) {
        (from..=to).for_each(|s| _ = self.send(s, Some(minute + s), 1));
    }
}

const fn at(epoch: u32, newest: bool) -> Place {
    Place::At { epoch, newest }
}

#[test]
fn the_same_again_is_a_duplicate_and_other_values_are_a_conflict() {
    let mut d = Device::default();
    assert_eq!(d.send(7, Some(7), 1), at(0, true));
    assert_eq!(d.send(7, Some(7), 1), Place::Duplicate(ReadingId::new(1)));
    assert_eq!(d.send(7, Some(7), 2), Place::Conflict { epoch: 0 });
    assert_eq!(d.send(7, Some(3), 2), Place::Conflict { epoch: 0 }, "same number, earlier time");
}

#[test]
fn what_was_erased_does_not_come_back_under_its_number() {
    let mut d = Device::default();
    d.run(1, 9, 0);
    d.stored[6].1.fingerprint = store::ERASED;
    assert_eq!(d.send(7, Some(7), 1), Place::Duplicate(ReadingId::new(7)), "its values are not known any more");
    assert_eq!(d.send(7, Some(30), 1), at(1, true), "the counter began anew");
}

#[test]
fn out_of_order_and_with_gaps_is_simply_stored() {
    let mut d = Device::default();
    for seq in [10, 12, 11, 5, 1, 20, 15] {
        assert!(matches!(d.send(seq, Some(seq), 1), Place::At { epoch: 0, .. }), "{seq}");
    }
    assert_eq!(d.send(13, Some(2), 1), Place::Conflict { epoch: 0 }, "its neighbours say another time");
}

#[test]
fn a_counter_that_begins_anew_is_a_new_epoch_and_the_old_ones_latecomers_find_home() {
    let mut d = Device::default();
    d.run(1, 48, 0);
    d.run(50, 60, 0);
    assert_eq!(d.send(1, Some(100), 1), at(1, true));
    assert_eq!(d.send(2, Some(101), 1), at(1, true));
    assert_eq!(d.send(49, Some(49), 1), at(0, false), "a gap of the old life");
    assert_eq!(d.send(61, Some(61), 1), at(0, false), "the old life's last, in flight at the reset");
    assert_eq!(d.send(60, Some(60), 1), Place::Duplicate(ReadingId::new(59)));
    assert_eq!(d.send(1, Some(50), 1), Place::Conflict { epoch: 1 }, "no epoch covers it");
    assert_eq!(d.send(3, Some(102), 1), at(1, true));
    assert_eq!(d.send(2, Some(200), 1), at(2, true), "same number, later time");
}

#[test]
fn a_wrap_is_a_new_epoch_with_or_without_times() {
    let mut d = Device::default();
    d.run(65_530, 65_535, 0);
    assert_eq!(d.send(0, Some(65_600), 1), at(1, true));
    let mut stepped = Device::default();
    for (seq, minute, epoch) in [(65_534, 500, 0), (65_535, 20, 0), (0, 21, 1), (1, 22, 1)] {
        assert_eq!(stepped.send(seq, Some(minute), 1), at(epoch, true), "the clock was set back before it");
    }
    let mut blind = Device::default();
    assert_eq!(blind.send(65_534, None, 1), at(0, true));
    assert_eq!(blind.send(0, None, 1), at(1, true));
    assert_eq!(blind.send(65_535, None, 1), at(0, false));
    assert_eq!(blind.send(1, None, 1), at(1, true));
}

#[test]
fn a_later_time_under_a_lower_number_is_a_new_epoch_by_however_little() {
    for numbers in [&[65_534, 65_535, 0, 1][..], &[500, 501, 1, 2], &[7, 8, 8, 9]] {
        let mut d = Device::default();
        for (i, seq) in numbers.iter().enumerate() {
            let told = Timestamp::from_seconds(1_770_000_000 + 30 * i64::try_from(i).unwrap());
            assert_eq!(d.sent(*seq, Some(told), true, 1), at(u32::from(i > 1), true), "{numbers:?} {seq}");
        }
        assert!(d.history.epochs().iter().all(|e| e.gaps().count() == 0), "nothing to ask for");
    }
}

#[test]
fn clocks_that_were_never_set_are_compared_as_sent() {
    for begin in [0, 1_000_000_000, 1_930_000_000] {
        for (seq, next) in [(65_535, 0), (40, 1), (5, 5)] {
            let told = |minute: i64| Some(Timestamp::from_seconds(begin + 60 * minute));
            let mut d = Device::default();
            assert_eq!(d.sent(seq, told(3), false, 1), at(0, true));
            assert_eq!(d.sent(next, told(9), false, 1), at(1, true), "{begin} {seq}");
            assert_eq!(d.sent(next, told(9), false, 1), Place::Duplicate(ReadingId::new(2)));
            assert_eq!(d.sent(seq, told(3), false, 1), Place::Duplicate(ReadingId::new(1)));
        }
    }
}

#[test]
fn an_unset_clock_is_compared_with_its_like_and_no_other() {
    let mut d = Device::default();
    d.run(48, 50, 0);
    let (unset, future) = (Some(Timestamp::from_seconds(60)), Some(Timestamp::from_seconds(1_930_000_000)));
    assert_eq!(d.sent(47, future, false, 1), at(0, false), "a glitch is no new life");
    assert_eq!(d.sent(54, unset, false, 1), at(0, true));
    assert_eq!(d.sent(53, unset, false, 1), at(0, false), "not later than the last");
    assert_eq!(d.send(55, Some(90), 1), at(0, true));
    assert_eq!(d.sent(51, unset, false, 1), at(0, false));
    assert_eq!(d.send(52, Some(60), 1), at(0, false));
}

#[test]
fn a_step_of_the_clock_begins_nothing() {
    let mut d = Device::default();
    d.run(1, 10, 1_000);
    assert_eq!(d.send(11, Some(500), 1), at(0, true));
    assert_eq!(d.send(13, Some(502), 1), at(0, true));
    assert_eq!(d.send(12, Some(501), 1), at(0, false));
    assert_eq!(d.send(1, Some(600), 1), at(1, true), "a reset after it is still seen");
}

proptest! {
    /// Invariant: the same messages in any order, with any repeats, end in the same stored set.
    #[test]
    fn any_order_of_one_life_ends_alike(
        order in Just((1..40_i64).filter(|s| s % 7 != 0).collect::<Vec<_>>()).prop_shuffle(),
        repeats in proptest::collection::vec(0..30_usize, 0..20),
    ) {
        let mut d = Device::default();
        for seq in &order {
            d.send(*seq, Some(seq * 3), 1);
        }
        for i in repeats {
            let seq = order[i % order.len()];
            prop_assert!(matches!(d.send(seq, Some(seq * 3), 1), Place::Duplicate(_)));
        }
        prop_assert_eq!(d.stored.len(), order.len());
        prop_assert!(d.stored.iter().all(|(_, k)| k.epoch == 0));
        prop_assert_eq!(d.history.current().and_then(Epoch::stored_through), Some(6));
    }

    /// The same with seconds between readings, where every time lies within the slack of every other.
    #[test]
    fn any_order_of_seconds_ends_alike(
        order in Just((1..40_i64).filter(|s| s % 7 != 0).collect::<Vec<_>>()).prop_shuffle(),
        step in 0..5_i64,
    ) {
        let mut d = Device::default();
        for seq in &order {
            let told = Some(Timestamp::from_seconds(1_770_000_000 + seq * step));
            let placed = d.sent(*seq, told, true, 1);
            prop_assert!(matches!(placed, Place::At { epoch: 0, .. }), "{} {:?}", seq, placed);
            prop_assert!(matches!(d.sent(*seq, told, true, 1), Place::Duplicate(_)));
        }
    }

    /// Lives of a counter in the order sent, seconds apart: each number is the newest of its life, and a repeat is none.
    #[test]
    fn lives_that_begin_anew_within_seconds_are_told_apart(
        lives in proptest::collection::vec((0..2_i64, 3..20_i64), 1..6),
        step in 1..40_i64,
    ) {
        let (mut d, mut at) = (Device::default(), 1_770_000_000);
        for (life, (first, length)) in (0..).zip(lives) {
            for seq in first..first + length {
                at += step;
                let told = Some(Timestamp::from_seconds(at));
                prop_assert_eq!(d.sent(seq, told, true, 1), Place::At { epoch: life, newest: true });
                prop_assert!(matches!(d.sent(seq, told, true, 1), Place::Duplicate(_)));
            }
        }
    }

    /// Whatever a device sends, each number is given once an epoch.
    #[test]
    fn no_number_is_given_twice(sent in proptest::collection::vec((0..6_i64, proptest::option::of(0..200_i64), 0..3_u64), 0..80)) {
        let mut d = Device::default();
        for (seq, minute, values) in sent {
            d.send(seq, minute, values);
        }
    }
}
