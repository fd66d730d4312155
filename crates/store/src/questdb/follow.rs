//! Readings that got another patient or time, or were taken out, are sent again: their weeks are told to the projector.

use super::{Fault, Handle};
use crate::{Moved, Readings};
use std::time::Duration;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Passes on what `moved` tells until the store closes. Whoever missed a change has every week sent again: slower, and as
/// right.
pub async fn follow(mut moved: Receiver<Moved>, projector: Handle) {
    loop {
        let noted = match moved.recv().await {
            Ok(moved) => projector.rewrite_moved(moved).await,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "many readings changed hands at once: all of QuestDB's weeks are sent again");
                projector.rewrite_all().await
            }
            Err(RecvError::Closed) => return,
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
