//! What a device has sent so far: epochs of its counter, which numbers were answered, when they were measured.
//!
//! Pure. Recording is idempotent: the same reading recorded twice, or in another order, gives the same history.

use super::row;
use crate::StoreError;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use vitals::{PatientId, Timestamp};

/// Spans kept an epoch: more than a meter's memory, sent in any order, falls into. Beyond it the lowest gap's upper side
/// is forgotten: `stored_through` is then lower than it could be, which is always safe, until what was forgotten comes
/// again and is noted as answered once more.
const SPANS: usize = 1024;
/// Epochs kept a device; late arrivals of older ones are conflicts, and what comes again of them is known by its number.
const EPOCHS: usize = 32;

/// Consecutive numbers that were answered, with the device's own time of the first and the last, where it was sane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First number.
    pub first: i64,
    /// Last number.
    pub last: i64,
    /// Time of the first, as sent.
    pub first_at: Option<Timestamp>,
    /// Time of the last, as sent.
    pub last_at: Option<Timestamp>,
}

/// One life of a device's counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 0.
    pub number: u32,
    /// Ascending, never touching, never empty once recorded.
    #[serde(with = "few")]
    pub spans: SmallVec<[Span; 1]>,
}

impl Epoch {
    /// Lowest number known.
    pub fn first(&self) -> Option<Span> {
        self.spans.first().copied()
    }

    /// The span with the highest number known.
    pub fn last(&self) -> Option<Span> {
        self.spans.last().copied()
    }

    /// Highest number known.
    pub fn max_seq(&self) -> Option<i64> {
        self.last().map(|s| s.last)
    }

    /// Highest number S such that every one from the first known up to S was answered.
    pub fn stored_through(&self) -> Option<i64> {
        self.first().map(|s| s.last)
    }

    /// Stretches of numbers that were never answered, lowest first.
    pub fn gaps(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        // While the list is full its lowest gap may hold numbers that were answered and forgotten.
        let forgotten = usize::from(self.spans.len() >= SPANS);
        self.spans.windows(2).skip(forgotten).map(|pair| (pair[0].last + 1, pair[1].first - 1))
    }

    /// Whether `seq` is known to have been answered.
    pub fn answered(&self, seq: i64) -> bool {
        let i = self.spans.partition_point(|s| s.last < seq);
        self.spans.get(i).is_some_and(|s| s.first <= seq)
    }

    fn record(&mut self, seq: i64, at: Option<Timestamp>) {
        let i = self.spans.partition_point(|s| s.last < seq);
        if let Some(s) = self.spans.get_mut(i).filter(|s| s.first <= seq) {
            if seq == s.first {
                s.first_at = s.first_at.or(at);
            }
            if seq == s.last {
                s.last_at = s.last_at.or(at);
            }
            return;
        }
        let joins_below = i > 0 && self.spans[i - 1].last + 1 == seq;
        let joins_above = self.spans.get(i).is_some_and(|s| s.first == seq + 1);
        match (joins_below, joins_above) {
            (true, true) => {
                let above = self.spans.remove(i);
                self.spans[i - 1].last = above.last;
                self.spans[i - 1].last_at = above.last_at;
            }
            (true, false) => {
                self.spans[i - 1].last = seq;
                self.spans[i - 1].last_at = at;
            }
            (false, true) => {
                self.spans[i].first = seq;
                self.spans[i].first_at = at;
            }
            (false, false) => self.spans.insert(i, Span { first: seq, last: seq, first_at: at, last_at: at }),
        }
        if self.spans.len() > SPANS {
            self.spans.remove(1);
        }
    }
}

/// Everything that placing a reading needs to know of its device. One life, one span and one owner, as most have, lie in
/// the value itself: a commit copies the history of every device that speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceHistory {
    #[serde(with = "few")]
    epochs: SmallVec<[Epoch; 1]>,
    #[serde(with = "few")]
    owners: SmallVec<[PatientId; 1]>,
    /// Highest number of the epochs that are not kept any more.
    forgotten: Option<i64>,
}

/// As it was written before it knew of numbers that are forgotten.
#[derive(Deserialize)]
struct OlderHistory {
    #[serde(with = "few")]
    epochs: SmallVec<[Epoch; 1]>,
    #[serde(with = "few")]
    owners: SmallVec<[PatientId; 1]>,
}

/// First byte of a stored history since it knows which numbers are forgotten.
const FORMAT: u8 = 2;

impl DeviceHistory {
    /// Ascending by number.
    pub fn epochs(&self) -> &[Epoch] {
        &self.epochs
    }

    /// The newest epoch.
    pub fn current(&self) -> Option<&Epoch> {
        self.epochs.last()
    }

    /// Everybody to whom readings of this device were ever given.
    pub fn owners(&self) -> &[PatientId] {
        &self.owners
    }

    /// Highest number ever, also of epochs that are not kept any more: nothing above it was ever answered.
    pub fn max_seq(&self) -> Option<i64> {
        self.epochs.iter().filter_map(Epoch::max_seq).max().max(self.forgotten)
    }

    /// Whether number `seq` of `epoch` is known to have been answered; also where the epoch itself is not kept any more,
    /// for there is nothing to note of it.
    pub fn answered(&self, epoch: u32, seq: i64) -> bool {
        self.epochs.iter().find(|e| e.number == epoch).is_none_or(|e| e.answered(seq))
    }

    /// Notes that number `seq` of `epoch` was answered; `at` is the device's own time where it was sane.
    pub fn record(&mut self, epoch: u32, seq: i64, at: Option<Timestamp>) {
        let i = self.epochs.partition_point(|e| e.number < epoch);
        if self.epochs.get(i).is_none_or(|e| e.number != epoch) {
            self.epochs.insert(i, Epoch { number: epoch, spans: SmallVec::new() });
        }
        self.epochs[i].record(seq, at);
        if self.epochs.len() > EPOCHS {
            let oldest = self.epochs.remove(0);
            self.forgotten = self.forgotten.max(oldest.max_seq());
        }
    }

    /// As it is stored.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        row::encode_as(FORMAT, self)
    }

    /// From the file; `highest` is asked for the highest number that is stored, where an older program has dropped
    /// epochs without a note of it.
    pub(super) fn from_bytes(
        bytes: &[u8],
        highest: impl FnOnce() -> Result<Option<i64>, StoreError>,
    ) -> Result<Self, StoreError> {
        if bytes.first() != Some(&row::FORMAT) {
            return row::decode_as(FORMAT, bytes);
        }
        let OlderHistory { epochs, owners } = row::decode(bytes)?;
        let dropped = epochs.first().is_some_and(|e| e.number > 0);
        let forgotten = if dropped { highest()? } else { None };
        Ok(Self { epochs, owners, forgotten })
    }

    /// Notes that a reading was given to `patient`.
    pub fn owned_by(&mut self, patient: PatientId) {
        if let Err(i) = self.owners.binary_search(&patient) {
            self.owners.insert(i, patient);
        }
    }

    /// Forgets that a reading was ever given to `patient`.
    pub fn disowned_by(&mut self, patient: PatientId) {
        self.owners.retain(|owner| *owner != patient);
    }
}

/// Written and read as any list.
mod few {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use smallvec::SmallVec;

    pub(super) fn serialize<T: Serialize, S: Serializer>(list: &SmallVec<[T; 1]>, s: S) -> Result<S::Ok, S::Error> {
        list.as_slice().serialize(s)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        d: D,
    ) -> Result<SmallVec<[T; 1]>, D::Error> {
        Vec::deserialize(d).map(|list| list.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Option<Timestamp> {
        Some(Timestamp::from_seconds(s))
    }

    #[test]
    fn gaps_close_in_any_order() {
        let mut orders = vec![vec![1, 2, 3, 4, 5], vec![5, 4, 3, 2, 1], vec![3, 1, 5, 2, 4, 4, 3]];
        let ends: Vec<DeviceHistory> = orders
            .drain(..)
            .map(|order| {
                let mut h = DeviceHistory::default();
                order.into_iter().for_each(|s| h.record(0, s, at(s)));
                h
            })
            .collect();
        assert!(ends.windows(2).all(|w| w[0] == w[1]));
        assert_eq!(ends[0].current().unwrap().spans.len(), 1);
        assert_eq!(ends[0].current().unwrap().stored_through(), Some(5));
    }

    /// A number of a life that is not kept any more can come again: it must still be looked for.
    #[test]
    fn the_highest_number_outlives_its_life_and_older_rows_are_read() {
        let mut h = DeviceHistory::default();
        h.record(0, 900, at(0));
        (1..=40).for_each(|life| h.record(life, 1, at(i64::from(life))));
        assert_eq!((h.epochs().len(), h.epochs()[0].number, h.max_seq()), (EPOCHS, 9, Some(900)));
        let ask = |n| move || Ok::<_, StoreError>(n);
        let never = || panic!("asked in vain");
        assert_eq!(DeviceHistory::from_bytes(&h.to_bytes().unwrap(), never).unwrap(), h);
        let older = row::encode(&(h.epochs(), h.owners())).unwrap();
        assert_eq!(DeviceHistory::from_bytes(&older, ask(Some(900))).unwrap(), h);
        let mut young = DeviceHistory::default();
        young.record(0, 5, at(5));
        young.owned_by(PatientId::new(3));
        let older = row::encode(&(young.epochs(), young.owners())).unwrap();
        assert_eq!(DeviceHistory::from_bytes(&older, never).unwrap(), young, "nothing was dropped");
    }

    #[test]
    fn through_stops_at_the_first_gap() {
        let mut h = DeviceHistory::default();
        [10, 11, 13, 20].into_iter().for_each(|s| h.record(0, s, at(s)));
        assert_eq!(h.current().unwrap().stored_through(), Some(11));
        h.record(0, 12, at(12));
        assert_eq!(h.current().unwrap().stored_through(), Some(13));
        h.record(0, 5, at(5));
        assert_eq!(h.current().unwrap().stored_through(), Some(5));
    }

    #[test]
    fn a_device_with_holes_everywhere_stays_small() {
        let mut h = DeviceHistory::default();
        (0..10_000).for_each(|n| h.record(0, n * 10, at(n)));
        let epoch = h.current().unwrap();
        assert!(epoch.spans.len() <= SPANS);
        assert_eq!((epoch.stored_through(), epoch.max_seq()), (Some(0), Some(99_990)));
        assert_eq!(epoch.gaps().next().unwrap().1 + 1, epoch.spans[2].first, "what was forgotten is not asked for");
    }

    #[test]
    fn a_full_memory_in_any_order_ends_at_its_top_and_what_was_forgotten_heals() {
        let mut h = DeviceHistory::default();
        // 7 and 1000 have no common factor: every number once, as far apart as can be.
        (0..1000).for_each(|n| h.record(0, (n * 7) % 1000, at(n)));
        assert_eq!(h.current().unwrap().stored_through(), Some(999));
        let mut h = DeviceHistory::default();
        let end = 3 * i64::try_from(SPANS).unwrap();
        (0..end).step_by(2).chain((1..end).step_by(2)).for_each(|n| h.record(0, n, at(n)));
        assert!(h.current().unwrap().stored_through() < Some(end - 1), "some were forgotten");
        for n in (0..end).filter(|n| !h.answered(0, *n)).collect::<Vec<_>>() {
            h.record(0, n, at(n));
        }
        assert_eq!(h.current().unwrap().stored_through(), Some(end - 1));
        assert_eq!(h.current().unwrap().gaps().count(), 0);
    }
}
