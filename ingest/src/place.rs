//! Which life of a device's counter a reading belongs to, and whether it is known (contract: device protocol, section
//! 3, "`seq` and `time` together"). Pure. Times are compared as sent, never as corrected.

use store::{DeviceHistory, ERASED, Epoch, Known, Span};
use vitals::{ReadingId, Timestamp};

/// Times that go back by less, while numbers go up, are the same clock.
const SLACK_MICROS: i64 = 2 * 60 * 1_000_000;
/// Where 16-bit counters end.
const WRAP: i64 = 65_535;
/// How near to the end, and to the beginning, a counter without times must be to have wrapped.
const WRAP_WITHIN: i64 = 100;

/// One reading as its device numbered it.
#[derive(Clone, Copy, Debug)]
pub struct Numbered {
    /// The number.
    pub seq: i64,
    /// The device's own time, as sent: identity.
    pub told: Option<Timestamp>,
    /// Whether `told` is sane enough to say what came before what.
    pub orders: bool,
    /// What the highest number of the present life told, where neither its clock nor this one's is sane.
    pub last_told: Option<Timestamp>,
    /// [`store::fingerprint`] of its values; none when they could not be read.
    pub fingerprint: Option<u64>,
}

/// Where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is stored already.
    Duplicate(ReadingId),
    /// The number is taken by another reading.
    Conflict {
        /// Of this epoch.
        epoch: u32,
    },
    /// It is new.
    At {
        /// Its epoch.
        epoch: u32,
        /// Its number is the highest so far of the newest epoch.
        newest: bool,
    },
}

/// Places a reading. `known` are the stored readings with its number, one an epoch.
pub fn place(history: &DeviceHistory, known: &[Known], n: Numbered) -> Place {
    let Some(current) = history.current() else { return Place::At { epoch: 0, newest: true } };
    if let Some(same) = known.iter().find(|k| k.told == n.told) {
        return match n.fingerprint {
            // What was erased does not come back: its number is known, its values are not.
            _ if same.fingerprint == ERASED => Place::Duplicate(same.id),
            Some(mark) if mark == same.fingerprint => Place::Duplicate(same.id),
            _ => Place::Conflict { epoch: same.epoch },
        };
    }
    let lives = history.epochs();
    let free = |i: usize| known.iter().all(|k| k.epoch != lives[i].number);
    let late = |i: usize| Place::At { epoch: lives[i].number, newest: false };
    let now = lives.len() - 1;
    let newest = Place::At { epoch: current.number, newest: true };
    let anew = Place::At { epoch: current.number + 1, newest: true };
    let conflict = Place::Conflict { epoch: current.number };
    let top = current.max_seq().unwrap_or(-1);

    let Some(told) = n.told.filter(|_| n.orders) else {
        // Without a time that can be believed only the number speaks, and how two such times follow each other.
        if n.seq > top {
            let before_wrap = now > 0 && top < WRAP_WITHIN && (WRAP - WRAP_WITHIN..=WRAP).contains(&n.seq);
            let last_life = before_wrap && near_the_end(&lives[now - 1]) && free(now - 1);
            return if last_life { late(now - 1) } else { newest };
        }
        let later = n.told.zip(n.last_told).is_some_and(|(told, last)| told > last);
        let wrapped = n.told.is_none() && near_the_end(current) && n.seq < WRAP_WITHIN;
        return match free(now) {
            _ if later || wrapped => anew,
            true => late(now),
            false => conflict,
        };
    };
    let covering = || (0..now).rev().find(|i| free(*i) && covers(lives, *i, n.seq, told, SLACK_MICROS));
    if n.seq > top {
        let before_this_life = first_at(current).is_some_and(|first| told < first);
        return covering().filter(|_| before_this_life).map_or(newest, late);
    }
    let later = last_at(current).is_none_or(|last| told > last);
    if later && near_the_end(current) && n.seq < WRAP_WITHIN {
        return anew; // also where the clock was set back before, and so leaves room below this life's first
    }
    // Exactly between its neighbours it is theirs. Later than everything, it is not, by however little: only what is
    // neither has the benefit of a clock that went back a bit.
    if free(now) && covers(lives, now, n.seq, told, 0) {
        return late(now);
    }
    if later {
        return anew;
    }
    if free(now) && covers(lives, now, n.seq, told, SLACK_MICROS) {
        return late(now);
    }
    covering().map_or(conflict, late)
}

fn near_the_end(epoch: &Epoch) -> bool {
    epoch.max_seq().is_some_and(|max| (WRAP - WRAP_WITHIN..=WRAP).contains(&max))
}

fn first_at(epoch: &Epoch) -> Option<Timestamp> {
    epoch.first().and_then(|s| s.first_at)
}

fn last_at(epoch: &Epoch) -> Option<Timestamp> {
    epoch.last().and_then(|s| s.last_at)
}

/// Whether a reading's number and time lie between those of its neighbours in epoch `i`, give or take `slack`: the
/// neighbouring epochs where its number is beyond all known of this one.
fn covers(lives: &[Epoch], i: usize, seq: i64, told: Timestamp, slack: i64) -> bool {
    let spans: &[Span] = &lives[i].spans;
    let at = spans.partition_point(|s| s.last < seq);
    let (low, high) = match spans.get(at) {
        Some(s) if s.first <= seq => (s.first_at, s.last_at),
        above => {
            let low = if at > 0 { spans[at - 1].last_at } else { i.checked_sub(1).and_then(|i| last_at(&lives[i])) };
            (low, above.map_or_else(|| lives.get(i + 1).and_then(first_at), |s| s.first_at))
        }
    };
    let after = |low: Timestamp| low.micros_since(told) <= slack;
    let before = |high: Timestamp| told.micros_since(high) <= slack;
    match (low, high) {
        // The clock was set back between the neighbours: either side of the step will do.
        (Some(low), Some(high)) if low > high => before(low),
        (low, high) => low.is_none_or(after) && high.is_none_or(before),
    }
}

#[cfg(test)]
mod tests;
