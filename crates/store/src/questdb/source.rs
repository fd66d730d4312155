//! Where the projector takes its rows: the journal in order, or the whole series in one snapshot.

use super::Row;
use crate::{Store, StoreError};
use tokio::sync::watch;
use vitals::{DeviceId, DeviceKey, Entry, Reading, Timestamp};

/// Readings in journal order.
#[derive(Debug, Default)]
pub struct Page {
    /// Readings, ascending by position.
    pub rows: Vec<Row>,
    /// The last position looked at; what is held back counts, though it gives no row. The asked one when nothing comes
    /// after it.
    pub position: u64,
}

impl Page {
    /// Up to where everything was looked at, where `asked` was asked for after `head` was read. Nothing after `asked`
    /// means that nothing is left up to `head`: its last rows may have been erased or dropped.
    pub(super) const fn looked_at(&self, asked: u64, head: u64) -> u64 {
        if self.position > asked {
            self.position
        } else if head > asked {
            head
        } else {
            asked
        }
    }
}

type After = dyn FnMut(u64, usize) -> Result<Page, StoreError> + Send;
type Visit<'a> = dyn FnMut(&Reading) -> Result<(), StoreError> + 'a;
/// Stretches of moments of measurement, `[from, to)`.
type Stretches<'a> = Option<&'a [(Timestamp, Timestamp)]>;
type Everything = dyn FnMut(Stretches<'_>, &mut Visit<'_>) -> Result<(), StoreError> + Send;
type Name = dyn Fn(DeviceKey) -> DeviceId + Send;

/// What the projector reads. Closures, so that tests and benches project what they like.
pub struct Source {
    /// Highest committed position, with a wake-up.
    pub committed: watch::Receiver<u64>,
    /// About so many entries after a position.
    pub after: Box<After>,
    /// Every stored reading, in one consistent snapshot, in no order; where stretches are given, at least every reading
    /// that was measured in one of them.
    pub everything: Box<Everything>,
    /// A device's public name.
    pub name: Box<Name>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

impl Source {
    /// The readings of an installation.
    pub fn of(store: &Store) -> Self {
        let (journal, series) = (store.readings().clone(), store.readings().clone());
        let (first, second) = (store.directory().clone(), store.directory().clone());
        let name = move |key: DeviceKey, directory: &crate::Directory| match directory.device_by_key(key) {
            Some(device) => device.id.clone(),
            // A device that is gone from the directory keeps its key as its name: a row is never dropped for it.
            None => key.to_string().parse().unwrap_or_else(|_| nobody()),
        };
        Self {
            committed: store.readings().committed(),
            after: Box::new(move |position, limit| {
                let entries = journal.entries_after(position, limit)?;
                let last = entries.last().map_or(position, |e| e.position);
                let rows = entries.iter().filter_map(|e| match &e.entry {
                    Entry::Reading(r) => {
                        Some(Row { position: e.position, device: name(r.device, &first), reading: r.clone() })
                    }
                    Entry::Held(_) => None,
                });
                Ok(Page { rows: rows.collect(), position: last })
            }),
            everything: Box::new(move |within, visit| match within {
                Some(stretches) => series.snapshot()?.readings_around(stretches, visit),
                None => series.export_readings(visit),
            }),
            name: Box::new(move |key| name(key, &second)),
        }
    }
}

fn nobody() -> DeviceId {
    // A key's text is letters, digits and `_`, which is always a device id; this is never reached.
    #[allow(clippy::expect_used)]
    "unknown".parse().expect("a plain word")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_that_was_erased_is_passed_over() {
        let page = |position| Page { rows: Vec::new(), position };
        assert_eq!(page(7).looked_at(7, 9), 9, "8 and 9 are gone: asking on would never end");
        assert_eq!(page(8).looked_at(7, 9), 8, "held");
        assert_eq!(page(9).looked_at(9, 9), 9);
        assert_eq!(page(12).looked_at(9, 9), 12, "came meanwhile");
        assert_eq!(page(0).looked_at(5, 3), 5, "never back");
    }
}
