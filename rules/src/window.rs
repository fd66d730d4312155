//! The last days of one patient's readings, in order of measurement: a cache of the store, complete from `from` on.

use crate::Point;
use std::time::Duration;
use vitals::Timestamp;

/// Two weeks and the Monday morning after them.
pub(crate) const RETENTION: Duration = Duration::from_secs(16 * 24 * 3600);
/// Readings kept for one patient. More (a meter gone mad, a load test): the oldest are asked of the store when needed.
const CAP: usize = 512;

/// Sorted readings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    points: Vec<Point>,
    from: Timestamp,
}

impl Window {
    /// `points` in any order; nothing measured from `from` on is missing.
    pub(crate) fn new(mut points: Vec<Point>, from: Timestamp) -> Self {
        points.sort_unstable_by(Point::before);
        let mut this = Self { points, from };
        this.trim();
        this
    }

    /// Takes a reading in; known ones and those before the window change nothing.
    pub(crate) fn insert(&mut self, point: Point) {
        if point.at < self.from {
            return;
        }
        if self.points.last().is_none_or(|last| last.before(&point).is_lt()) {
            self.points.push(point);
        } else if let Err(at) = self.points.binary_search_by(|p| p.before(&point)) {
            self.points.insert(at, point);
        }
        if self.points.len() >= 2 * CAP
            || self.points.first().is_some_and(|first| point.at.since(first.at) > RETENTION * 2)
        {
            self.trim();
        }
    }

    fn trim(&mut self) {
        let Some(newest) = self.points.last().map(|p| p.at) else { return };
        let mut from = self.from.max(newest.minus(RETENTION));
        if self.points.len() > CAP {
            // The readings of the cut's own microsecond go too, so that what is left is complete.
            let cut = self.points[self.points.len() - CAP - 1].at;
            from = from.max(Timestamp::from_micros(cut.as_micros() + 1));
        }
        let gone = self.points.partition_point(|p| p.at < from);
        self.points.drain(..gone);
        self.from = from;
    }

    /// Readings measured in `from..=to`, or `None` where the window does not reach back so far.
    pub(crate) fn get(&self, from: Timestamp, to: Timestamp) -> Option<&[Point]> {
        if from < self.from {
            return None;
        }
        let begin = self.points.partition_point(|p| p.at < from);
        let end = self.points.partition_point(|p| p.at <= to);
        Some(&self.points[begin..end.max(begin)])
    }

    /// From when on nothing is missing.
    pub(crate) const fn from(&self) -> Timestamp {
        self.from
    }

    /// Whether this reading is there.
    pub(crate) fn holds(&self, id: vitals::ReadingId) -> bool {
        self.points.iter().any(|p| p.id == id)
    }

    /// The newest measurement time.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.points.last().map(|p| p.at)
    }

    /// The newest reading that is `wanted`.
    pub(crate) fn newest_that(&self, wanted: impl Fn(&Point) -> bool) -> Option<&Point> {
        self.points.iter().rev().find(|p| wanted(p))
    }
}
