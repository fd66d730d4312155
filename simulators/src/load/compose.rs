//! What a device writes at an arrival. Pure: seed, device and sequence numbers in, a message out.

use super::plan::{Arrival, What};
use crate::{
    dice::Dice,
    message::{Reading, Values, message},
};
use vitals::{Decimal, Meal, Timestamp, Unit, Zone};

/// The message of one arrival; a function of seed, device and sequence numbers, but for its times.
pub(super) fn compose(
    seed: u64,
    arrival: &Arrival,
    what: What,
    seqs: std::ops::Range<u64>,
    wall: &mut WallText,
) -> Vec<u8> {
    let device = Dice::new(seed).fork(u64::from(arrival.device));
    let number = |x: u64| Decimal::new(i64::try_from(x).unwrap_or(0), 0);
    let count = seqs.end - seqs.start;
    let readings: Vec<Reading> = (0..count)
        .zip(seqs)
        .map(|(n, seq)| {
            let mut dice = device.fork(seq);
            let values = if what == What::Glucose {
                let tenths = i64::try_from(48 + dice.below(50)).unwrap_or(60);
                let meal = Some(dice.one_of(&[Some(Meal::Fasting), Some(Meal::AfterMeal)])).flatten();
                Values::Glucose { glucose: Decimal::new(tenths, -1), unit: Unit::MmolPerL, meal, meal_name: None }
            } else {
                let systolic = 112 + dice.below(36);
                Values::Pressure {
                    systolic: number(systolic),
                    diastolic: number(systolic / 2 + 8 + dice.below(12)),
                    pulse: Some(number(58 + dice.below(30))),
                }
            };
            // A buffer of several readings holds the last milliseconds, oldest first.
            Reading { seq, time: wall.at(arrival.at.saturating_sub((count - 1 - n) * 1000)), values }
        })
        .collect();
    message(&readings, None, false)
}

/// Times as text; the calendar is worked out once a second.
pub(super) struct WallText {
    start: i64,
    second: i64,
    prefix: String,
    zone: Zone,
}

impl WallText {
    pub(super) fn new(start: i64) -> Self {
        Self { start, second: i64::MIN, prefix: String::new(), zone: Zone::default() }
    }

    /// `at` microseconds after the start, to the millisecond, with an offset.
    fn at(&mut self, at: u64) -> String {
        let micros = self.start.saturating_add(i64::try_from(at).unwrap_or(0));
        let second = micros.div_euclid(1_000_000);
        if second != self.second {
            self.second = second;
            self.prefix = Timestamp::from_seconds(second).to_rfc3339(&self.zone);
        }
        let (date, offset) = self.prefix.split_at_checked(19).unwrap_or((&self.prefix, ""));
        format!("{date}.{:03}{offset}", micros.rem_euclid(1_000_000) / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_from_the_seed_and_times_from_the_plan() {
        let arrival = Arrival { at: 1_500_000, device: 3, phase: 0, what: What::Pressure };
        let text = |seed| {
            let mut wall = WallText::new(1_772_409_600_000_000);
            String::from_utf8(compose(seed, &arrival, What::Pressure, 5..7, &mut wall)).unwrap()
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        assert!(text(1).contains("2026-03-02T08:00:01.499+08:00") && text(1).contains("2026-03-02T08:00:01.500+08:00"));
    }
}
