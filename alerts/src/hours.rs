//! When a station is open, when it rests, and what "four opening hours later" is. Pure.
//!
//! Goes in: hours of a week, days that differ from it. Comes out: moments. Must never: read a clock.

use jiff::{
    ToSpan,
    civil::{Date, Time},
};
use std::{collections::BTreeMap, time::Duration};
use store::DayKind;
use vitals::{Timestamp, Zone};

/// A year and a bit: a station that does not open for longer has wrong data.
const HORIZON_DAYS: usize = 400;

/// One station's hours.
#[derive(Clone, Debug)]
pub struct Hours {
    /// The site's zone.
    pub zone: Zone,
    /// Opens.
    pub opens: Time,
    /// Closes; later than `opens`.
    pub closes: Time,
    /// Monday to Sunday.
    pub week: [bool; 7],
    /// Days that differ from the week.
    pub days: BTreeMap<Date, DayKind>,
    /// From here only criticals leave the queue.
    pub quiet_from: Time,
    /// Until here.
    pub quiet_to: Time,
}

impl Hours {
    /// Whether the station works on this day at all.
    pub fn works(&self, day: Date) -> bool {
        match self.days.get(&day) {
            Some(kind) => *kind == DayKind::Work,
            None => usize::try_from(day.weekday().to_monday_zero_offset()).is_ok_and(|i| self.week[i]),
        }
    }

    /// Only criticals may leave the queue: at night and on a day of rest.
    pub fn is_quiet(&self, at: Timestamp) -> bool {
        let local = at.in_zone(&self.zone);
        self.is_night(local.time()) || !self.works(local.date())
    }

    fn is_night(&self, time: Time) -> bool {
        if self.quiet_from <= self.quiet_to {
            time >= self.quiet_from && time < self.quiet_to
        } else {
            time >= self.quiet_from || time < self.quiet_to
        }
    }

    /// Within opening hours.
    pub fn is_open(&self, at: Timestamp) -> bool {
        let local = at.in_zone(&self.zone);
        self.works(local.date()) && local.time() >= self.opens && local.time() < self.closes
    }

    /// The first opening at or after `at`; `at` itself where the station never opens. Who opens before the night is over
    /// is open for this when it is.
    pub fn next_opening(&self, at: Timestamp) -> Timestamp {
        let from = at.in_zone(&self.zone).date();
        self.working_days_from(from).map(|d| self.opening(d)).find(|t| *t >= at).unwrap_or(at)
    }

    /// The moment at which `by` of opening time has passed since `at`.
    pub fn plus_open(&self, at: Timestamp, by: Duration) -> Timestamp {
        let mut left = by;
        let from = at.in_zone(&self.zone).date();
        for day in self.working_days_from(from) {
            let (opens, closes) = (self.opening(day).max(at), self.zone.moment(day.to_datetime(self.closes)));
            let today = closes.since(opens);
            if left <= today {
                return opens.plus(left);
            }
            left -= today;
        }
        at.plus(by)
    }

    /// The opening of the `n`-th working day after the day of `at`.
    pub fn plus_working_days(&self, at: Timestamp, n: u32) -> Timestamp {
        let from = at.in_zone(&self.zone).date();
        let after = self.working_days_from(from).filter(|d| *d > from);
        after.take(usize::try_from(n).unwrap_or(1)).last().map_or(at, |d| self.opening(d))
    }

    fn opening(&self, day: Date) -> Timestamp {
        let opens = if self.is_night(self.opens) { self.quiet_to } else { self.opens };
        self.zone.moment(day.to_datetime(opens))
    }

    fn working_days_from(&self, day: Date) -> impl Iterator<Item = Date> + '_ {
        let days = std::iter::successors(Some(day), |d| d.checked_add(1.day()).ok());
        days.take(HORIZON_DAYS).filter(|d| self.works(*d))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use jiff::civil::{date, time};

    pub(crate) fn station() -> Hours {
        Hours {
            zone: Zone::default(),
            opens: time(8, 0, 0, 0),
            closes: time(17, 30, 0, 0),
            week: [true, true, true, true, true, false, false],
            days: BTreeMap::new(),
            quiet_from: time(22, 0, 0, 0),
            quiet_to: time(7, 0, 0, 0),
        }
    }

    pub(crate) fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(&format!("2026-03-{text}:00+08:00")).unwrap()
    }

    #[test]
    fn who_opens_before_the_night_is_over_or_never_makes_nobody_wait_in_circles() {
        let early = Hours { opens: time(6, 30, 0, 0), ..station() };
        for asked in ["03T05:00", "03T06:30", "03T06:45"] {
            assert_eq!(early.next_opening(at(asked)), at("03T07:00"), "{asked}");
        }
        let never = Hours { week: [false; 7], ..station() };
        assert_eq!(never.next_opening(at("03T09:00")), at("03T09:00"));
    }

    #[test]
    fn nights_and_days_of_rest_are_quiet() {
        let mut hours = station();
        hours.days.extend([(date(2026, 3, 7), DayKind::Work), (date(2026, 3, 9), DayKind::Rest)]);
        for (when, quiet, open) in [
            ("02T21:59", false, false),
            ("02T22:00", true, false),
            ("03T06:59", true, false),
            ("03T07:00", false, false),
            ("03T08:00", false, true),
            ("03T17:29", false, true),
            ("03T17:30", false, false),
            ("07T10:00", false, true), // a Saturday on which the station works
            ("08T10:00", true, false), // Sunday
            ("09T10:00", true, false), // a holiday on Monday
        ] {
            assert_eq!((hours.is_quiet(at(when)), hours.is_open(at(when))), (quiet, open), "{when}");
        }
    }

    #[test]
    fn the_next_opening_skips_days_of_rest() {
        let mut hours = station();
        hours.days.insert(date(2026, 3, 9), DayKind::Rest);
        for (when, then) in [
            ("02T23:31", "03T08:00"),
            ("03T08:00", "03T08:00"),
            ("03T08:01", "04T08:00"),
            ("06T23:40", "10T08:00"), // Friday night, weekend, a holiday
        ] {
            assert_eq!(hours.next_opening(at(when)), at(then), "{when}");
        }
    }

    #[test]
    fn opening_time_and_working_days_are_counted_over_closed_ones() {
        let hours = station();
        let four = Duration::from_secs(4 * 3600);
        for (when, then) in [
            ("02T09:30", "02T13:30"),
            ("02T16:30", "03T11:00"),
            ("02T19:00", "03T12:00"),
            ("06T17:00", "09T11:30"), // over the weekend
        ] {
            assert_eq!(hours.plus_open(at(when), four), at(then), "{when}");
        }
        assert_eq!(hours.plus_working_days(at("05T09:00"), 3), at("10T08:00"));
    }

    #[test]
    fn a_station_that_never_opens_does_not_hang() {
        let hours = Hours { week: [false; 7], ..station() };
        assert_eq!(hours.next_opening(at("02T09:00")), at("02T09:00"));
        assert_eq!(hours.plus_open(at("02T09:00"), Duration::from_secs(60)), at("02T09:01"));
    }
}
