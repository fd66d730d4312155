//! Readings that got another patient or time, or were taken out, are sent again: their weeks are told to the projector.

use super::{Fault, Handle, row::week_of};
use crate::{Moved, Readings};
use std::{collections::BTreeSet, pin::pin, time::Duration};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Changes of which the projector was not yet told.
#[derive(Default)]
struct Untold {
    weeks: BTreeSet<i64>,
    /// Some were missed: it may be any week.
    all: bool,
    /// Of the newest.
    number: u64,
}

impl Untold {
    /// Whether more may come.
    fn take(&mut self, told: Result<Moved, RecvError>) -> bool {
        match told {
            Ok(Moved { number, times: (first, last) }) => {
                self.number = number;
                self.weeks.extend(week_of(first)..=week_of(last));
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "many readings changed hands at once: all of QuestDB's weeks are sent again");
                self.all = true;
            }
            Err(RecvError::Closed) => return false,
        }
        true
    }

    async fn tell(self, projector: &Handle) -> Result<(), Fault> {
        if self.all {
            projector.rewrite_all().await?;
        }
        projector.rewrite_weeks(self.weeks, self.number).await
    }
}

/// Passes on what `moved` tells until the store closes. While the projector is busy changes are gathered, and told
/// together: each telling costs it a week, and a projector that hears of one change at a time is behind for ever. Whoever
/// missed a change has every week sent again: slower, and as right.
pub async fn follow(mut moved: Receiver<Moved>, projector: Handle) {
    let mut untold = Untold::default();
    let mut open = true;
    while open || untold.all || !untold.weeks.is_empty() {
        if !untold.all && untold.weeks.is_empty() {
            open = untold.take(moved.recv().await);
            continue;
        }
        let mut noted = pin!(std::mem::take(&mut untold).tell(&projector));
        let noted = loop {
            tokio::select! {
                noted = &mut noted => break noted,
                more = moved.recv(), if open => open = untold.take(more),
            }
        };
        match noted {
            Ok(()) => {}
            Err(Fault::Stopping) => return,
            Err(reason) => tracing::error!(
                %reason,
                "QuestDB may show readings under a former patient until this can be noted, or until the next start"
            ),
        }
    }
}

/// Tells the projector of weeks in which readings were erased or dropped while nobody projected, or changed before a
/// process ended that had not yet told it; what is told, or was followed since, is noted in the journal as told.
///
/// # Errors
/// When it cannot be noted: then it is to be told again.
pub async fn tell_stale(readings: &Readings, projector: &Handle) -> Result<(), Fault> {
    if let Some((first, last)) = readings.projection_stale().await? {
        projector.rewrite(first, last.plus(Duration::from_micros(1))).await?;
        readings.projection_mended((first, last)).await?;
    }
    readings.projection_followed(projector.health().followed).await?;
    Ok(())
}
