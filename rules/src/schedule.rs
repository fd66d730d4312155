//! When days and weeks are looked at: 06:00 on the patient's wall, weeks on Mondays. Weeks run Monday to Sunday.

use jiff::civil::{Date, Weekday};
pub(crate) use vitals::days_after;
use vitals::{Timestamp, Zone};

const HOUR: i8 = 6;

/// The Monday on or before `day`.
fn monday(day: Date) -> Date {
    days_after(day, -i64::from(day.weekday().to_monday_zero_offset()))
}

fn weeks_after(monday: Date, weeks: i64) -> Date {
    days_after(monday, 7 * weeks)
}

fn slot(monday: Date, zone: &Zone) -> Timestamp {
    zone.moment(monday.at(HOUR, 0, 0, 0))
}

/// The evaluation at which the day that contains `at` is complete.
pub(crate) fn slot_of_day(at: Timestamp, zone: &Zone) -> Timestamp {
    slot(days_after(at.day(zone), 1), zone)
}

/// The first evaluation after `now`.
pub(crate) fn next_slot(now: Timestamp, zone: &Zone) -> Timestamp {
    let today = now.day(zone);
    let first = slot(today, zone);
    if first > now { first } else { slot(days_after(today, 1), zone) }
}

/// The last evaluation at or before `now`.
pub(crate) fn last_slot(now: Timestamp, zone: &Zone) -> Timestamp {
    let today = now.day(zone);
    let first = slot(today, zone);
    if first <= now { first } else { slot(days_after(today, -1), zone) }
}

/// The evaluation a day after this one.
pub(crate) fn following(slot_at: Timestamp, zone: &Zone) -> Timestamp {
    slot(days_after(slot_at.day(zone), 1), zone)
}

/// Whether this evaluation looks at a week too.
pub(crate) fn is_weekly(slot_at: Timestamp, zone: &Zone) -> bool {
    slot_at.day(zone).weekday() == Weekday::Monday
}

/// The weekly evaluation at or after this one.
pub(crate) fn weekly_from(slot_at: Timestamp, zone: &Zone) -> Timestamp {
    let day = slot_at.day(zone);
    if day.weekday() == Weekday::Monday { slot_at } else { slot(weeks_after(monday(day), 1), zone) }
}

/// The weekly evaluation after this one.
pub(crate) fn week_after(slot_at: Timestamp, zone: &Zone) -> Timestamp {
    slot(weeks_after(slot_at.day(zone), 1), zone)
}

/// Midnights that bound the two weeks judged at `slot`: begin of the first, of the second, end of the second.
pub(crate) fn weeks(slot: Timestamp, zone: &Zone) -> [Timestamp; 3] {
    let end = slot.day(zone);
    [-2, -1, 0].map(|w| zone.start_of(weeks_after(end, w)))
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
        assert_eq!(slot_of_day(at("2025-03-16T23:59:00+08:00"), &zone), monday);
        assert_eq!(slot_of_day(at("2025-03-17T00:00:00+08:00"), &zone), at("2025-03-18T06:00:00+08:00"));
        assert_eq!(next_slot(at("2025-03-17T05:59:00+08:00"), &zone), monday);
        assert_eq!(next_slot(monday, &zone), at("2025-03-18T06:00:00+08:00"));
        assert_eq!(last_slot(monday, &zone), monday);
        assert_eq!(last_slot(at("2025-03-17T05:59:00+08:00"), &zone), at("2025-03-16T06:00:00+08:00"));
        assert_eq!(weeks(monday, &zone)[0], at("2025-03-03T00:00:00+08:00"));
        assert_eq!(weeks(monday, &zone)[2], at("2025-03-17T00:00:00+08:00"));
        assert!(is_weekly(monday, &zone) && !is_weekly(following(monday, &zone), &zone));
        assert_eq!(weekly_from(monday, &zone), monday);
        assert_eq!(weekly_from(following(monday, &zone), &zone), week_after(monday, &zone));
    }
}
