//! What waits for the commit thread, and how much of it is committed together.
//!
//! Goes in: messages to judge, and what is to happen between commits, in their order. Comes out: batches.
//! Must never: change the order, keep a message waiting while few come. How many wait is bounded by who sends them: the
//! gate reads no more of a connection, or of all, that has too much unanswered; and who stops waiting takes the message
//! out of the queue.

use super::{Desk, writer::Writer};
use crate::StoreError;
use jiff::civil::Date;
use parking_lot::Mutex;
use std::{
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Readings in one transaction; bounds how long the first waits for the last. As long as messages are few, the fsync is the
/// only timer.
pub(super) const GROUP: usize = 2000;
/// Messages in a commit from which on the next one waits for more: what a commit costs whatever is in it is then needed to
/// read sockets, and who waits for a processor waits longer than for a full commit.
const MANY: usize = 16;
/// From the beginning of a commit of many messages to the next one, at least; unless as many are there again, or nothing
/// comes any more: who sends the next message after the answer to the last one waits for nobody else.
const APART: Duration = Duration::from_micros(2500);
/// Messages in a commit from which on the next one is twice as far away, however many are there: so many connections are
/// served more cheaply in one go than in two.
const VERY_MANY: usize = 64;
/// How often it is looked whether something comes.
const LOOK: Duration = Duration::from_micros(500);

/// A message on its way through a commit: from the queue to the answer.
pub(super) trait Work: Send {
    /// Judges it, unless nobody waits for it any more; what it keeps lies at the desk.
    fn judge(&mut self, desk: &mut Desk<'_>);
    /// Tells who waits, after the commit, with its outcome.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

/// What judges a message, as long as it is neither judged nor given up.
type Unjudged<F> = Arc<Mutex<Option<F>>>;

/// A message in the queue, then what was found; and who is told.
pub(super) struct Judgement<F, R> {
    work: Unjudged<F>,
    found: Result<R, StoreError>,
    answer: oneshot::Sender<Result<R, StoreError>>,
}

/// Who waits for a message. Dropped before it is judged, the message is let go: what lies in the queue is then only its
/// place, so a journal that stands still holds no more messages than there are people who wait.
pub(super) struct Waiting<F, R> {
    work: Unjudged<F>,
    answered: oneshot::Receiver<Result<R, StoreError>>,
}

impl<F, R> Waiting<F, R> {
    /// What was found, after the commit.
    pub(super) async fn answer(mut self) -> Result<R, StoreError> {
        (&mut self.answered).await.unwrap_or(Err(StoreError::Closed))
    }
}

impl<F, R> Drop for Waiting<F, R> {
    fn drop(&mut self) {
        let unjudged = self.work.lock().take();
        drop(unjudged); // when the lock is free again
    }
}

impl<F, R> Judgement<F, R> {
    pub(super) fn new(work: F) -> (Box<Self>, Waiting<F, R>) {
        let (answer, answered) = oneshot::channel();
        let work = Arc::new(Mutex::new(Some(work)));
        let waiting = Waiting { work: work.clone(), answered };
        (Box::new(Self { work, found: Err(StoreError::Closed), answer }), waiting)
    }
}

impl<F, R> Work for Judgement<F, R>
where
    R: Send,
    F: FnOnce(&mut Desk<'_>) -> Result<R, StoreError> + Send,
{
    fn judge(&mut self, desk: &mut Desk<'_>) {
        let unjudged = self.work.lock().take();
        let Some(work) = unjudged else { return };
        self.found = work(desk);
        if let Err(e) = &self.found {
            desk.failed = Some(e.clone());
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { found, answer, .. } = *self;
        let _ = answer.send(committed.and(found));
    }
}

type Control = Box<dyn FnOnce(&mut Writer) + Send>;

/// What the commit thread is asked to do.
pub(super) enum Job {
    /// Judge a message.
    Judge { day: Date, size: usize, work: Box<dyn Work> },
    /// Something else that must happen in order and between commits.
    Control(Control),
}

/// What is committed together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    /// Readings in them.
    pub(super) size: usize,
    /// What is to happen after it.
    pub(super) control: Option<Control>,
}

/// The last commit, where it was of so many messages that the next one waits for more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy {
    since: Instant,
    messages: usize,
}

impl Busy {
    /// How long the next commit waits for more, when it has so many messages.
    fn left(self, messages: usize) -> Duration {
        let apart = match self.messages {
            VERY_MANY.. => 2 * APART,
            last if messages < last => APART,
            _ => Duration::ZERO,
        };
        apart.saturating_sub(self.since.elapsed())
    }
}

impl Batch {
    /// As it begins to be committed.
    pub(super) fn busy(&self) -> Option<Busy> {
        let messages = self.messages.len();
        (messages >= MANY).then(|| Busy { since: Instant::now(), messages })
    }
}

/// A message's day, and its judgement.
pub(super) type Message = (Date, Box<dyn Work>);

/// What is queued, up to `group` readings or what is to happen between commits.
pub(super) fn gather(jobs: &Receiver<Job>, first: Job, group: usize, busy: Option<Busy>) -> Batch {
    let mut batch = Batch::default();
    let mut next = Some(first);
    loop {
        let before = batch.messages.len();
        while let Some(job) = next {
            match job {
                Job::Judge { day, size, work } => {
                    batch.size += size;
                    batch.messages.push((day, work));
                }
                Job::Control(work) => {
                    batch.control = Some(work);
                    return batch;
                }
            }
            next = if batch.size < group { jobs.try_recv().ok() } else { return batch };
        }
        let more_comes = batch.messages.len() > before;
        let left = busy.map_or(Duration::ZERO, |last| last.left(batch.messages.len()));
        if left.is_zero() || !more_comes {
            return batch;
        }
        std::thread::sleep(left.min(LOOK));
        next = jobs.try_recv().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{
        Readings,
        tests::{DAY, keep, open},
    };
    use std::sync::mpsc::{Sender, channel};

    fn message(size: usize) -> Job {
        let (work, _) = Judgement::new(|_: &mut Desk<'_>| Ok(()));
        Job::Judge { day: DAY, size, work }
    }

    fn send(jobs: &Sender<Job>, sizes: &[usize]) {
        sizes.iter().for_each(|size| jobs.send(message(*size)).unwrap());
    }

    #[test]
    fn what_is_queued_is_taken_up_to_the_bound_and_up_to_what_must_happen_in_between() {
        let (jobs, queue) = channel();
        send(&jobs, &[3, 4, 5, 6]);
        jobs.send(Job::Control(Box::new(|_| {}))).unwrap();
        send(&jobs, &[7]);
        let taken = |group, busy| {
            let batch = gather(&queue, queue.recv().unwrap(), group, busy);
            (batch.messages.len(), batch.size, batch.control.is_some())
        };
        assert_eq!(taken(7, None), (2, 7, false));
        let now = Some(Busy { since: Instant::now(), messages: 1000 });
        assert_eq!(taken(1000, now), (2, 11, true), "however many come, what must happen in between does not wait");
        assert_eq!(taken(1000, now), (1, 7, false), "when nothing comes, nothing is waited for");
    }

    #[test]
    fn after_a_commit_of_many_the_next_one_waits_for_as_many_and_after_very_many_for_its_time() {
        let left = |last, now| Busy { since: Instant::now() + Duration::from_secs(60), messages: last }.left(now);
        assert_eq!(left(MANY, MANY - 1), APART);
        assert_eq!(left(MANY, MANY), Duration::ZERO);
        assert_eq!(left(VERY_MANY, 10 * VERY_MANY), 2 * APART);
        let long_ago = Busy { since: Instant::now().checked_sub(Duration::from_secs(1)).unwrap(), messages: 1000 };
        assert_eq!(long_ago.left(1), Duration::ZERO);
    }

    #[test]
    fn a_commit_of_many_is_joined_by_what_comes_while_it_waits() {
        let (jobs, queue) = channel();
        send(&jobs, &[1]);
        let first = queue.recv().unwrap();
        // As long as something comes.
        let busy = Busy { since: Instant::now() + Duration::from_secs(3600), messages: 1000 };
        let sender = std::thread::spawn(move || send(&jobs, &[1; 1000]));
        let batch = gather(&queue, first, 50, Some(busy));
        sender.join().unwrap();
        assert!(batch.messages.len() <= 50 && Batch::default().busy().is_none());
        let left = queue.try_iter().count();
        assert_eq!(batch.messages.len() + left, 1001, "none is left out");
    }

    /// The commit thread stands still until it is told to go on; then it does this first.
    fn at_next_word(readings: &Readings, work: impl FnOnce(&mut Writer) + Send + 'static) -> Sender<()> {
        let (go, held) = channel();
        let wait = Box::new(move |writer: &mut Writer| {
            held.recv().unwrap();
            work(writer);
        });
        assert!(readings.jobs.send(Job::Control(wait)).is_ok());
        go
    }

    /// A connection looks only at its oldest message: those behind it are judged in their order all the same.
    #[tokio::test]
    async fn however_many_wait_they_are_judged_in_the_order_of_the_calls() {
        const SENT: i64 = 20_000;
        let folder = tempfile::tempdir().unwrap();
        let bench = open(folder.path(), 50_000);
        let readings = bench.store.readings();
        let go = at_next_word(readings, |_| {});
        let judged = Arc::new(Mutex::new(Vec::new()));
        let mut answers = Vec::new();
        for seq in 0..SENT {
            let judged = judged.clone();
            answers.push(readings.submit(DAY, 1, move |desk| {
                judged.lock().push(seq);
                keep(desk, 1, seq)
            }));
        }
        assert_eq!(readings.health().queued, 20_000);
        go.send(()).unwrap();
        let mut backwards = answers.into_iter().rev();
        assert!(backwards.next().unwrap().await.unwrap(), "the last is not kept waiting by those that nobody asks");
        assert!(futures_util::future::join_all(backwards).await.into_iter().all(|kept| kept.unwrap()));
        assert!(judged.lock().iter().copied().eq(0..SENT));
        assert_eq!(readings.health().queued, 0);
    }

    /// A connection that is closed unanswered lets its messages go, however long the journal stands still.
    #[tokio::test]
    async fn who_stops_waiting_takes_the_message_out_of_the_queue() {
        let folder = tempfile::tempdir().unwrap();
        let bench = open(folder.path(), 20);
        let readings = bench.store.readings();
        let go = at_next_word(readings, |_| {});
        let bytes = Arc::new([7; 1000]);
        let send = |seq| {
            let bytes = bytes.clone();
            readings.submit(DAY, 1, move |desk| keep(desk, 1, seq + i64::from(bytes[0])))
        };
        let (first, second, third) = (send(1), send(2), send(3));
        assert_eq!(Arc::strong_count(&bytes), 4);
        drop(second);
        assert_eq!(Arc::strong_count(&bytes), 3);
        go.send(()).unwrap();
        assert!(third.await.unwrap() && first.await.unwrap());
        assert_eq!((Arc::strong_count(&bytes), readings.health().queued), (1, 0));
        assert_eq!(bench.exported().iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), [8, 10]);
    }

    /// The process is ending then; whoever still waits, or comes, is not left waiting.
    #[tokio::test]
    async fn a_commit_thread_that_is_gone_answers_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let bench = open(folder.path(), 20);
        let readings = bench.store.readings();
        let go = at_next_word(readings, |_| panic!("as the test asked"));
        let before = readings.submit(DAY, 1, |desk| keep(desk, 1, 1));
        go.send(()).unwrap();
        assert!(matches!(before.await, Err(StoreError::Closed)));
        assert!(matches!(readings.submit(DAY, 1, |desk| keep(desk, 1, 2)).await, Err(StoreError::Closed)));
    }
}
