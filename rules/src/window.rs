//! The last few of one patient's readings, in order of measurement: a cache of the store, complete from `from` on.
//!
//! Small on purpose: what an ordinary day comes to. Whoever must see more asks the store.

use crate::Point;
use std::time::Duration;
use vitals::Timestamp;

/// Yesterday, for the morning's evaluation, and today.
pub(crate) const RETENTION: Duration = Duration::from_secs(2 * 24 * 3600);
/// Readings kept for one patient; twice as many before it lets go, so that the room is made once.
const CAP: usize = 4;

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
        this.points.shrink_to(2 * CAP);
        this
    }

    /// Takes a reading in; known ones and those before the window change nothing.
    pub(crate) fn insert(&mut self, point: Point) {
        if point.at < self.from {
            return;
        }
        if self.points.len() >= 2 * CAP {
            self.trim();
        }
        if self.points.last().is_none_or(|last| last.before(&point).is_lt()) {
            self.points.push(point);
        } else if let Err(at) = self.points.binary_search_by(|p| p.before(&point)) {
            self.points.insert(at, point);
        }
    }

    /// The newest reading, where it is not too old.
    pub(crate) fn newest(&self) -> Option<&Point> {
        self.points.last()
    }

    /// Takes a known reading of which more is said; unknown ones change nothing.
    pub(crate) fn replace(&mut self, point: Point) {
        if let Some(known) = self.points.iter_mut().find(|p| p.id == point.id) {
            *known = point;
        }
    }

    /// Lets go of all but the newest [`CAP`], and of what is older than [`RETENTION`].
    pub(crate) fn trim(&mut self) {
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
}
