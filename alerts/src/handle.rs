//! The shell: starts the two tasks, and what other stages may ask of this one.

use crate::{
    Config, Error,
    channel::Channels,
    dispatch::{self, Dispatcher, LOOK_AT_CLOCK},
    link,
    message::Warning,
    stage::{Shared, Stage},
    vigil::Vigil,
    work::Work,
};
use runtime::{BoxFuture, Drain, Paced};
use std::{sync::Arc, time::Duration};
use store::{
    ChainFault, ChainWarning, Command, CommandError, Episode, Leave, Link, LinkError, OnCallLevel, Role, Store,
    StoreError, Team,
};
use tokio::sync::{mpsc, oneshot, watch};
use vitals::{TeamId, Timestamp};

/// Commands waiting for the book. Full: the HTTP request waits.
const COMMANDS: usize = 64;
/// Settle requests; only the test clock asks, one at a time.
const SETTLES: usize = 4;
/// After a fault of the store.
const PAUSE: Duration = Duration::from_millis(500);

type Asked = (Command, oneshot::Sender<Result<Episode, CommandError>>);
type Settle = oneshot::Sender<bool>;

/// What others may ask. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Asked>,
    book: mpsc::Sender<Settle>,
    dispatcher: mpsc::Sender<Settle>,
    due: watch::Receiver<Option<Timestamp>>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("alerts::Handle")
    }
}

/// Starts the stage: what fell due while nothing ran is done first, then messages leave.
///
/// # Errors
/// [`Error::Config`] naming every fault, [`Error::Store`].
pub async fn start(config: Config, public_url: String, store: Store, drain: &Drain) -> Result<Handle, Error> {
    let faults = config.check();
    if !faults.is_empty() {
        return Err(Error::Config(faults));
    }
    let channels = Channels::open(&config).map_err(|fault| Error::Config(vec![fault]))?;
    let link_key = store.link_key().await?;
    let public_url = public_url.trim_end_matches('/').to_owned();
    let zone = store.zone().clone();
    let config = Arc::new(config);
    let shared = Arc::new(Shared { store: store.clone(), config: config.clone(), public_url, link_key, zone });
    let mut stage = Stage::load(shared.clone()).await?;
    while stage.cycle().await? {}
    let (commands, asked) = mpsc::channel(COMMANDS);
    let (book, book_settles) = mpsc::channel(SETTLES);
    let (dispatcher, settles) = mpsc::channel(SETTLES);
    let (failed, failures) = mpsc::channel(1);
    let (due_now, due) = watch::channel(stage.next_due());
    let book_task = Book { stage, asked, settles: book_settles, failures, due: due_now };
    tokio::spawn(book_task.run(drain.named("alerts")));
    let sender = Dispatcher { store, config, channels: Arc::new(channels), failed, settles };
    tokio::spawn(dispatch::run(sender, drain.named("alerts dispatcher")));
    Ok(Handle { shared, commands, book, dispatcher, due })
}

struct Book {
    stage: Stage,
    asked: mpsc::Receiver<Asked>,
    settles: mpsc::Receiver<Settle>,
    failures: mpsc::Receiver<()>,
    due: watch::Sender<Option<Timestamp>>,
}

impl Book {
    async fn run(mut self, drain: Drain) {
        let store = self.stage.shared.store.clone();
        let clock = store.clock().clone();
        let mut findings = store.finding_changes();
        let (mut staff, mut roster) = (store.directory().staff_changes(), store.roster_changes());
        let mut settling: Vec<Settle> = Vec::new();
        let mut done = false;
        loop {
            findings.mark_unchanged();
            let more = match self.stage.cycle().await {
                Ok(did) => did,
                Err(e) => {
                    tracing::error!(error = %e, "alerts could not be stored; trying again");
                    metrics::counter!("hearthbeat_alerts_errors_total").increment(1);
                    tokio::time::sleep(PAUSE).await;
                    !drain.is_stopping()
                }
            };
            done |= more;
            while let Ok(asked) = self.asked.try_recv() {
                done |= self.answer(asked).await;
            }
            if drain.is_stopping() {
                return;
            }
            if more {
                continue;
            }
            let next = self.stage.next_due();
            self.due.send_replace(next);
            // What was done counts until somebody asks: they may ask right after it was, and must look around once more.
            if !settling.is_empty() && next.is_none_or(|at| at > clock.now()) {
                for answer in settling.drain(..) {
                    let _ = answer.send(done);
                }
                done = false;
            }
            let wake = [next, self.stage.next_look()].into_iter().flatten().min();
            tokio::select! {
                _ = findings.changed() => {}
                () = Vigil::changed(&mut staff, &mut roster) => {}
                Some(asked) = self.asked.recv() => { done |= self.answer(asked).await; }
                Some(()) = self.failures.recv() => {}
                Some(answer) = self.settles.recv() => settling.push(answer),
                () = clock.sleep_until_some(wake) => {}
                () = tokio::time::sleep(LOOK_AT_CLOCK), if !clock.is_manual() => {}
                () = drain.stopping() => {}
            }
        }
    }

    async fn answer(&mut self, (command, answer): Asked) -> bool {
        let outcome = self.stage.command(command).await;
        let did = outcome.is_ok();
        let _ = answer.send(outcome);
        did
    }
}

impl Handle {
    /// Does what a person asks of an alert; durable when it returns.
    ///
    /// # Errors
    /// [`CommandError`] says why it had no effect.
    pub async fn act(&self, command: Command) -> Result<Episode, CommandError> {
        let (answer, answered) = oneshot::channel();
        let closed = || CommandError::Store(StoreError::Closed);
        self.commands.send((command, answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// Who would be paged for a critical of this team at `at`, and why.
    pub fn on_call(&self, team: TeamId, at: Timestamp) -> Vec<OnCallLevel> {
        self.shared.desk().on_call(team, at)
    }

    /// Whether a critical of this team reaches somebody throughout the next 14 days; other empty steps are warnings.
    ///
    /// # Errors
    /// [`ChainFault`] naming the step.
    pub fn check_team(&self, team: &Team) -> Result<Vec<ChainWarning>, ChainFault> {
        self.shared.desk().check_team(team, self.shared.store.clock().now())
    }

    /// Steps, of any team, that this stored leave empties; the heads are told by the stage itself.
    pub fn emptied_by(&self, leave: &Leave) -> Vec<(TeamId, ChainWarning)> {
        self.shared.desk().emptied_by(leave, self.shared.store.clock().now())
    }

    /// Tells operations that the books and the rows disagree; each of them once a day, whoever has a contact.
    ///
    /// # Errors
    /// As every write.
    pub async fn warn_of_books(&self) -> Result<(), StoreError> {
        let now = self.shared.store.clock().now();
        let matter = format!("books {}", now.in_zone(&self.shared.zone).date());
        let about = Warning { matter, reason: "books_mismatch", ..Warning::default() };
        let mut work = Work::default();
        {
            let (desk, press) = (self.shared.desk(), self.shared.press(now));
            let users = self.shared.store.directory().users();
            let operations = users.iter().filter(|user| user.roles.contains(&Role::Ops));
            let told = operations.filter(|user| work.warn_person(user, &about, &desk, &press)).count();
            if told == 0 {
                tracing::error!(reason = about.reason, "a warning reaches nobody: nobody of operations has a contact");
                metrics::counter!("hearthbeat_alerts_unheard_warnings_total").increment(1);
                return Ok(());
            }
        }
        self.shared.store.commit_alerts(work.batch).await
    }

    /// What an acknowledge link stands for, if it may still be used. Changes nothing.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn read_link(&self, token: &str) -> Result<Link, LinkError> {
        let store = &self.shared.store;
        let link = link::read(&self.shared.link_key, token, store.clock().now())?;
        let episode = store.episode(link.alert).await.map_err(|e| {
            tracing::error!(error = %e, "a link cannot be checked");
            LinkError::Unavailable
        })?;
        let episode = episode.ok_or(LinkError::Tampered)?;
        if store.directory().user(link.user).is_none_or(|u| u.disabled) {
            return Err(LinkError::Disabled);
        }
        if episode.cycle != link.cycle { Err(LinkError::OldCycle) } else { Ok(link) }
    }
}

async fn ask(settles: &mpsc::Sender<Settle>) -> bool {
    let (answer, answered) = oneshot::channel();
    // A stage that has ended has nothing left to do.
    settles.send(answer).await.is_ok() && answered.await.unwrap_or(false)
}

impl Paced for Handle {
    fn name(&self) -> &'static str {
        "alerts"
    }

    fn next_due(&self) -> BoxFuture<'_, Option<Timestamp>> {
        Box::pin(async {
            let now = self.shared.store.clock().now();
            let outbox = self.shared.store.outbox_next(Timestamp::MIN).await.ok().flatten();
            [*self.due.borrow(), outbox].into_iter().flatten().filter(|at| *at > now).min()
        })
    }

    fn settle(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let mut any = false;
            loop {
                let book = ask(&self.book).await;
                let sent = ask(&self.dispatcher).await;
                any |= book || sent;
                if !book && !sent {
                    return any;
                }
            }
        })
    }
}
