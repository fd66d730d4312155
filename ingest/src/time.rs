//! When a reading was measured, and how sure that is (contract: device protocol, section 5). Pure.

use jiff::civil::Date;
use std::time::Duration;
use store::Between;
use vitals::{TimeQuality, Timestamp, Zone};
use wire::reading_v1::{ClockPair, Item, SentTime};

/// Further ahead of the server's clock than this is the future.
const FUTURE: Duration = Duration::from_secs(5 * 60);
/// A smaller shift by a clock pair leaves the quality `exact`.
const SMALL_SHIFT_MICROS: i64 = 60 * 1_000_000;
/// How far from a whole number of hours a difference still looks like a wrong zone.
const ZONE_SLACK_MICROS: i64 = 10 * 60 * 1_000_000;
const HOUR_MICROS: i64 = 3600 * 1_000_000;
/// Hours between a zone and another that its clock may be set to.
const FARTHEST_ZONE: i64 = 14;
/// `seq` up while time goes back by more: the clock was set in between.
const STEP_MICROS: i64 = 2 * 60 * 1_000_000;
/// A clock that shows an earlier year was never set.
const FIRST_YEAR: i16 = 2010;
/// Its beginning, for a moment whose offset is not known any more: 2010-01-01T00:00:00Z.
const UNSET_BEFORE: i64 = 1_262_304_000;

/// What a usable clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// When.
    pub at: Timestamp,
    /// How sure.
    pub quality: TimeQuality,
    /// Off by whole hours: stored as sent, flagged, never shifted.
    pub zone_suspect: bool,
}

impl Measured {
    /// The same, if it lies where the neighbours of its number leave room; none where they do not bound it on both
    /// sides, or where it is not sure of its hour.
    pub fn within(self, between: Between) -> Option<Self> {
        let confirmed = between.after? <= self.at && self.at <= between.before?;
        (confirmed && !self.zone_suspect).then_some(self)
    }
}

/// What a reading's time is judged by.
#[derive(Clone, Copy, Debug)]
pub struct TimeSense<'a> {
    /// The site's zone.
    pub zone: &'a Zone,
    /// When the server had it.
    pub received_at: Timestamp,
    /// The day at which this model's clock begins after a reset, where that is known.
    pub reset_day: Option<Date>,
}

impl TimeSense<'_> {
    /// When it was measured; none for a clock that is unset or in the future.
    pub fn judge(&self, sent: Option<SentTime>, pair: Option<ClockPair>) -> Option<Measured> {
        let sent = sent?;
        let told = sent.moment(self.zone);
        let Some(pair) = pair else {
            let quality = if matches!(sent, SentTime::Moment(_)) { TimeQuality::Exact } else { TimeQuality::Assumed };
            if self.is_unset(sent) {
                return None;
            }
            if !self.is_future(told) {
                return Some(Measured { at: told, quality, zone_suspect: false });
            }
            return whole_hours(told.micros_since(self.received_at)).then_some(as_sent(told));
        };
        let shift = pair.reference.micros_since(pair.device.moment(self.zone));
        if whole_hours(shift) {
            // With its zone in doubt it may seem to be ahead, but by no more than a zone.
            let ahead = told.micros_since(self.received_at);
            let possible = !self.is_unset(sent) && ahead <= FARTHEST_ZONE * HOUR_MICROS + ZONE_SLACK_MICROS;
            return possible.then_some(as_sent(told));
        }
        let at = Timestamp::from_micros(told.as_micros().saturating_add(shift));
        let quality = if shift.abs() > SMALL_SHIFT_MICROS { TimeQuality::Corrected } else { TimeQuality::Exact };
        (!self.is_unset(SentTime::Moment(at)) && !self.is_future(at)).then_some(Measured {
            at,
            quality,
            zone_suspect: false,
        })
    }

    /// Whether the device's own time may order its readings: set, and not further ahead than any zone.
    pub fn orders(&self, sent: SentTime, measured: Option<Measured>) -> bool {
        !self.is_unset(sent) && (measured.is_some() || !self.is_future(sent.moment(self.zone)))
    }

    fn is_unset(&self, sent: SentTime) -> bool {
        let early = match sent {
            // What the device's wall shows, whatever the hour is in UTC.
            SentTime::Wall(wall) => wall.year() < FIRST_YEAR,
            SentTime::Moment(at) => at < Timestamp::from_seconds(UNSET_BEFORE),
        };
        early || self.reset_day.is_some_and(|day| sent.moment(self.zone).day(self.zone) == day)
    }

    fn is_future(&self, at: Timestamp) -> bool {
        at > self.received_at.plus(FUTURE)
    }
}

fn as_sent(told: Timestamp) -> Measured {
    Measured { at: told, quality: TimeQuality::Assumed, zone_suspect: true }
}

/// Off by 1 to 14 whole hours, give or take 10 minutes.
fn whole_hours(micros: i64) -> bool {
    let off = micros.saturating_abs();
    let hours = (off + HOUR_MICROS / 2) / HOUR_MICROS;
    (1..=FARTHEST_ZONE).contains(&hours) && (off - hours * HOUR_MICROS).abs() <= ZONE_SLACK_MICROS
}

/// The first reading of a message for which its clock pair holds: what lies before the last step of the clock was
/// measured by another clock than the pair shows.
pub fn first_after_last_step<'a>(items: impl IntoIterator<Item = &'a Item>, zone: &Zone) -> usize {
    let mut last: Option<(i64, Timestamp)> = None;
    let mut first = 0;
    for (i, item) in items.into_iter().enumerate() {
        let (Some(seq), Some((_, sent))) = (item.seq, &item.time) else { continue };
        let told = sent.moment(zone);
        if last.is_some_and(|(before, at)| seq > before && at.micros_since(told) > STEP_MICROS) {
            first = i;
        }
        last = Some((seq, told));
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-03-02T08:00:00+08:00";

    fn moment(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn judge(time: &str, pair: Option<&str>) -> Option<(String, &'static str, bool)> {
        let zone = Zone::default();
        let sense = TimeSense { zone: &zone, received_at: moment(NOW), reset_day: None };
        let pair = pair.map(|d| ClockPair { device: SentTime::parse(d).unwrap(), reference: moment(NOW) });
        let sent = (!time.is_empty()).then(|| SentTime::parse(time).unwrap());
        sense.judge(sent, pair).map(|m| (m.at.to_rfc3339(&zone), m.quality.as_str(), m.zone_suspect))
    }

    fn is(at: &str, quality: &'static str) -> Option<(String, &'static str, bool)> {
        Some((format!("2026-03-{at}+08:00"), quality, false))
    }

    #[test]
    fn every_row_of_the_contracts_table() {
        assert_eq!(judge("2026-03-02T07:53:00+08:00", None), is("02T07:53:00", "exact"));
        assert_eq!(judge("2026-03-01T23:53:00Z", None), is("02T07:53:00", "exact"));
        assert_eq!(judge("2026-03-02T07:53:00", None), is("02T07:53:00", "assumed"));
        // 127 s fast, 3 days slow, and a small shift that stays exact
        assert_eq!(judge("2026-03-02T07:55:00", Some("2026-03-02T08:02:07")), is("02T07:52:53", "corrected"));
        assert_eq!(judge("2026-02-27T07:23:00", Some("2026-02-27T07:30:00")), is("02T07:53:00", "corrected"));
        assert_eq!(judge("2026-03-02T07:53:00", Some("2026-03-02T08:00:30")), is("02T07:52:30", "exact"));
        // a pair wins over an offset
        assert_eq!(judge("2026-03-02T07:55:00+08:00", Some("2026-03-02T08:02:07")), is("02T07:52:53", "corrected"));
        // an unset clock is none, unless a pair says what it meant
        for unset in
            ["", "1970-01-01T00:03:00", "1970-01-01T00:03:00+08:00", "2009-12-31T00:00:00Z", "2009-12-31T23:59:59"]
        {
            assert_eq!(judge(unset, None), None, "{unset}");
        }
        assert!(judge("2010-01-01T00:00:00", None).is_some(), "on the device's wall, not in UTC");
        assert_eq!(judge("1970-01-01T00:03:00", Some("1970-01-01T00:10:00")), is("02T07:53:00", "corrected"));
        assert_eq!(judge("1970-01-01T00:03:00", Some("2026-03-02T08:00:00")), None);
        // the future: five minutes are none, fifty hours are
        assert_eq!(judge("2026-03-02T08:05:00+08:00", None), is("02T08:05:00", "exact"));
        assert_eq!(judge("2026-03-04T10:30:00+08:00", None), None);
        assert_eq!(judge("2026-03-02T08:05:01+08:00", None), None);
    }

    #[test]
    fn whole_hours_are_flagged_and_never_applied() {
        let suspect = |at: &str| Some((format!("2026-03-{at}+08:00"), "assumed", true));
        assert_eq!(judge("2026-03-01T23:55:00", Some("2026-03-02T00:00:00")), suspect("01T23:55:00"));
        assert_eq!(judge("2026-03-02T15:55:00", Some("2026-03-02T16:00:00")), suspect("02T15:55:00"));
        assert_eq!(judge("2026-03-02T15:55:00+08:00", None), suspect("02T15:55:00"));
        assert_eq!(
            judge("2026-03-02T15:30:00", Some("2026-03-02T16:00:00")),
            suspect("02T15:30:00"),
            "half an hour ago"
        );
        assert_eq!(judge("2026-03-03T01:00:00", Some("2026-03-02T16:00:00")), None, "ahead by more than any zone");
        assert_eq!(judge("2099-01-01T00:00:00+08:00", Some("2026-03-02T16:00:00")), None);
        assert_eq!(judge("2026-03-02T22:10:00+08:00", None), suspect("02T22:10:00"));
        // the age of a reading is no such difference, and 15 hours or 30 minutes off an hour are not either
        assert_eq!(judge("2026-03-02T00:00:00+08:00", None), is("02T00:00:00", "exact"));
        assert_eq!(judge("2026-03-02T23:00:00+08:00", None), None);
        assert_eq!(judge("2026-03-02T09:30:00+08:00", None), None);
        assert_eq!(judge("2026-03-02T07:23:00", Some("2026-03-02T07:30:00")), is("02T07:53:00", "corrected"));
    }

    #[test]
    fn a_known_reset_day_is_an_unset_clock() {
        let zone = Zone::default();
        let day = jiff::civil::date(2020, 1, 1);
        let sense = TimeSense { zone: &zone, received_at: moment(NOW), reset_day: Some(day) };
        assert_eq!(sense.judge(SentTime::parse("2020-01-01T00:07:00"), None), None);
        assert!(sense.judge(SentTime::parse("2020-01-02T00:07:00"), None).is_some());
    }

    #[test]
    fn a_pair_does_not_reach_behind_a_step_of_the_clock() {
        let zone = Zone::default();
        let item = |seq, time: &str| Item {
            seq: Some(seq),
            time: Some((vitals::DeviceTime(time.into()), SentTime::parse(time).unwrap())),
            ..Item::default()
        };
        let stepped = [item(1, "2026-03-01T10:00:00"), item(2, "2026-03-01T08:00:00"), item(3, "2026-03-01T08:01:00")];
        assert_eq!(first_after_last_step(&stepped, &zone), 1);
        let steady = [item(1, "2026-03-01T10:00:00"), item(2, "2026-03-01T09:59:00"), item(1, "2026-03-01T08:00:00")];
        assert_eq!(first_after_last_step(&steady, &zone), 0);
    }
}
