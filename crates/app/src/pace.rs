//! The test clock: moves time from one due moment to the next and waits at each until everybody is done.

use crate::folder;
use runtime::{Clock, ClockError, Paced};
use std::{path::PathBuf, sync::Arc};
use tokio::sync::Mutex;
use vitals::Timestamp;

/// Rounds of settling at one moment, before it is called a loop.
const ROUNDS: usize = 10_000;

/// Moves a manual clock for the whole process. Stages are listed from uphill to downhill.
#[derive(Clone)]
pub(crate) struct Pace {
    clock: Clock,
    stages: Arc<[Arc<dyn Paced>]>,
    folder: Arc<PathBuf>,
    /// One move at a time.
    moving: Arc<Mutex<()>>,
}

impl Pace {
    pub(crate) fn new(clock: Clock, stages: Vec<Arc<dyn Paced>>, folder: PathBuf) -> Self {
        Self { clock, stages: stages.into(), folder: Arc::new(folder), moving: Arc::default() }
    }

    /// Everything acknowledged before is evaluated, then what is due up to `to` is run in order of time.
    pub(crate) async fn move_to(&self, to: Timestamp) -> Result<Timestamp, ClockError> {
        let _one = self.moving.lock().await;
        if to < self.clock.now() {
            return Err(ClockError::Backwards);
        }
        self.settle().await;
        loop {
            let next = self.next_due().await.filter(|next| *next <= to);
            // A stage that names a moment already past has settled it: time still goes on.
            let step = next.map_or(to, |next| next.max(self.clock.now()));
            let stuck = next.is_some() && step == self.clock.now();
            let step = if stuck { to } else { step };
            self.clock.move_to(step)?;
            self.settle().await;
            if step == to {
                break;
            }
        }
        if let Err(e) = folder::keep_test_time(&self.folder, to) {
            tracing::warn!(error = %e, "the test clock's time was not kept");
        }
        Ok(to)
    }

    async fn settle(&self) {
        for _ in 0..ROUNDS {
            let mut busy = false;
            for stage in self.stages.iter() {
                busy |= stage.settle().await;
            }
            if !busy {
                return;
            }
        }
        tracing::error!("the stages do not come to rest at one moment of the test clock");
    }

    async fn next_due(&self) -> Option<Timestamp> {
        let mut earliest = None;
        for stage in self.stages.iter() {
            earliest = match (earliest, stage.next_due().await) {
                (Some(a), Some(b)) => Some(std::cmp::min::<Timestamp>(a, b)),
                (a, b) => a.or(b),
            };
        }
        earliest
    }
}
