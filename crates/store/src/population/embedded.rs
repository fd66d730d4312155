//! The embedded answer: one consistent view of the file, a week of the series after the other. It reads what it counts,
//! so it takes about a second a million readings of the asked time; one at a time, on a thread that may wait.

use super::{Fold, PopulationQuery, Stretch};
use crate::{Readings, StoreError, journal::Measured};

/// Blocks for as long as it takes.
pub(super) fn population(readings: &Readings, query: &PopulationQuery) -> Result<Vec<Stretch>, StoreError> {
    let mut fold = Fold::new(query);
    readings.snapshot()?.measured((query.from, query.to), &mut |what| match what {
        // Whatever comes now was measured later: what ended before is complete.
        Measured::From(at) => fold.close_before(at.day(&query.zone)),
        Measured::Reading(reading) => fold.reading(reading),
    })?;
    Ok(fold.end())
}
