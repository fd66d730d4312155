//! When the week is looked at: Monday 06:00 on the patient's wall. Weeks run Monday to Sunday.

use jiff::{ToSpan, civil::Date};
use vitals::{Timestamp, Zone};

const HOUR: i8 = 6;

/// The Monday on or before `day`.
fn monday(day: Date) -> Date {
    day.checked_sub(i64::from(day.weekday().to_monday_zero_offset()).days()).unwrap_or(day)
}

fn weeks_after(monday: Date, weeks: i64) -> Date {
    monday.checked_add((7 * weeks).days()).unwrap_or(monday)
}

fn slot(monday: Date, zone: &Zone) -> Timestamp {
    zone.moment(monday.at(HOUR, 0, 0, 0))
}

/// The evaluation at which the week that contains `at` is complete.
pub(crate) fn slot_of_week(at: Timestamp, zone: &Zone) -> Timestamp {
    slot(weeks_after(monday(at.day(zone)), 1), zone)
}

/// The first evaluation after `now`.
pub(crate) fn next_slot(now: Timestamp, zone: &Zone) -> Timestamp {
    let this = monday(now.day(zone));
    let first = slot(this, zone);
    if first > now { first } else { slot(weeks_after(this, 1), zone) }
}

/// The last evaluation at or before `now`.
pub(crate) fn last_slot(now: Timestamp, zone: &Zone) -> Timestamp {
    let this = monday(now.day(zone));
    let first = slot(this, zone);
    if first <= now { first } else { slot(weeks_after(this, -1), zone) }
}

/// Midnights that bound the two weeks judged at `slot`: begin of the first, of the second, end of the second.
pub(crate) fn weeks(slot: Timestamp, zone: &Zone) -> [Timestamp; 3] {
    let end = slot.day(zone);
    [-2, -1, 0].map(|w| zone.start_of(weeks_after(end, w)))
}

/// The evaluation a week after this one.
pub(crate) fn following(slot_at: Timestamp, zone: &Zone) -> Timestamp {
    slot(weeks_after(slot_at.day(zone), 1), zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn a_week_ends_on_sunday_and_is_judged_on_monday_at_six() {
        let zone = Zone::default();
        let monday = at("2025-03-17T06:00:00+08:00");
        assert_eq!(slot_of_week(at("2025-03-16T23:59:00+08:00"), &zone), monday);
        assert_eq!(slot_of_week(at("2025-03-17T00:00:00+08:00"), &zone), at("2025-03-24T06:00:00+08:00"));
        assert_eq!(next_slot(at("2025-03-17T05:59:00+08:00"), &zone), monday);
        assert_eq!(next_slot(monday, &zone), at("2025-03-24T06:00:00+08:00"));
        assert_eq!(last_slot(monday, &zone), monday);
        assert_eq!(last_slot(at("2025-03-17T05:59:00+08:00"), &zone), at("2025-03-10T06:00:00+08:00"));
        assert_eq!(weeks(monday, &zone)[0], at("2025-03-03T00:00:00+08:00"));
        assert_eq!(weeks(monday, &zone)[2], at("2025-03-17T00:00:00+08:00"));
        assert_eq!(following(monday, &zone), at("2025-03-24T06:00:00+08:00"));
    }
}
