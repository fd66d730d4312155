//! What the API asks of the rules, answered: the cards in force, whether an edit may be, and rehearsals one at a time on
//! a thread that gives way to everybody else.

use dashboard_api::{Ask, CheckedRule, RehearsalOrder, RuleContent, RuleFault, RuleLinks, RuleReturn};
use rules::{Bounds, Cards, Content, Error, Force, Rehearsal, Rule};
use runtime::Drain;
use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use store::Store;
use tokio::sync::{Semaphore, oneshot};
use vitals::{Patient, Timestamp};

/// How much a rehearsal gives way: it is about the past, and can wait.
const NICENESS: i32 = 15;

/// Fills in the API's questions.
pub(crate) fn links(store: &Store, rules: &rules::Handle, drain: &Drain) -> RuleLinks {
    let book = Book { store: store.clone(), rules: rules.clone() };
    let (cards, check, back) = (book.clone(), book.clone(), book.clone());
    let (plan, past) = (book.clone(), book);
    let (one, drain) = (Arc::new(Semaphore::new(1)), drain.clone());
    RuleLinks {
        cards: Arc::new(move |()| {
            let book = cards.clone();
            Box::pin(async move {
                let listed = book.ask(|force, now| Ok(force.at(now).records())).await;
                listed.map_err(|e| match e {
                    RuleFault::Store(e) => e,
                    _ => store::StoreError::Closed,
                })
            })
        }),
        check: ask(move |content| {
            let book = check.clone();
            async move { book.ask(move |force, now| checked(force, now, content)).await }
        }),
        check_return: ask(move |RuleReturn { rule, scope, body }| {
            let book = back.clone();
            async move { book.ask(move |force, now| force.check_return(now, &rule, &scope, body.as_deref())).await }
        }),
        check_plan: ask(move |patient: Arc<Patient>| {
            let book = plan.clone();
            async move { book.ask(move |force, now| force.at(now).check_plan(&patient)).await }
        }),
        rehearse: ask(move |order| {
            let (book, one, drain) = (past.clone(), one.clone(), drain.clone());
            async move {
                let Ok(_alone) = one.try_acquire() else { return Err(RuleFault::Busy) };
                book.rehearse(order, drain).await
            }
        }),
    }
}

fn ask<In, Out, F>(answer: impl Fn(In) -> F + Send + Sync + 'static) -> Ask<In, Out>
where
    F: Future<Output = Out> + Send + 'static,
{
    Arc::new(move |asked| Box::pin(answer(asked)))
}

#[derive(Clone)]
struct Book {
    store: Store,
    rules: rules::Handle,
}

/// Ends a rehearsal when nobody waits for it any more.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl Book {
    /// Asks the cards and edits as they stand now.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Force, Timestamp) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, RuleFault> {
        let this = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let now = this.store.clock().now();
            question(&this.rules.force(&this.store)?, now)
        });
        asked.await.unwrap_or(Err(Error::Ended)).map_err(fault)
    }

    async fn rehearse(&self, order: RehearsalOrder, drain: Drain) -> Result<String, RuleFault> {
        let stop = Stop(Arc::default());
        let (ended, this) = (stop.0.clone(), self.clone());
        let (answer, answered) = oneshot::channel();
        let work = move || {
            // Only this thread: on Linux the priority is a thread's own.
            if let Err(e) = rustix::process::setpriority_process(None, NICENESS) {
                tracing::debug!(error = %e, "a rehearsal runs at ordinary priority");
            }
            let _ = answer.send(this.run(order, &ended, &drain)); // who asked may have gone
        };
        let spawned = std::thread::Builder::new().name("rehearsal".into()).spawn(work);
        if let Err(e) = spawned {
            tracing::error!(error = %e, "no thread for a rehearsal");
            return Err(RuleFault::Busy);
        }
        let report = answered.await.unwrap_or(Err(Error::Cancelled));
        drop(stop);
        report.map_err(fault)
    }

    fn run(&self, order: RehearsalOrder, ended: &AtomicBool, drain: &Drain) -> Result<String, Error> {
        let force = self.rules.force(&self.store)?;
        let mut cards = force.at(self.store.clock().now());
        let mut proposed = Vec::new();
        for edit in &order.edits {
            proposed.push(rule(&edit.rule)?);
            if !edit.content.is_empty() {
                cards = force.with(&cards, &edit.rule, &edit.scope, Content::parse(&edit.content)?)?;
            }
        }
        let RehearsalOrder { from, to, patients, progress, .. } = order;
        let asked = Rehearsal { cards, proposed, from, to, patients, bounds: Bounds::default() };
        let mut told = |done, of| {
            progress.send_replace((done, of));
            let over = ended.load(Relaxed) || drain.is_stopping();
            if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let report = rules::rehearse(&self.store, &asked, &mut told)?;
        Ok(serde_json::to_string(&report).unwrap_or_default())
    }
}

/// The rule of this id.
fn rule(id: &str) -> Result<Rule, Error> {
    Rule::parse(id).ok_or_else(|| Error::Edit {
        field: "parameters".into(),
        what: format!("there is no rule {id:?}"),
        remedy: "Use an id that GET /rules lists",
    })
}

fn checked(force: &Force, now: Timestamp, asked: RuleContent) -> Result<CheckedRule, Error> {
    let content = Content::parse(&asked.content)?;
    let done = force.check(now, &asked.rule, &asked.scope, content)?;
    Ok(CheckedRule { body: done.body, shown: done.shown, base: done.base })
}

fn fault(e: Error) -> RuleFault {
    match e {
        Error::Edit { field, what, remedy } => RuleFault::Refused { field, remedy: format!("{what}. {remedy}") },
        Error::Store(e) => RuleFault::Store(e),
        Error::Cancelled | Error::Ended => RuleFault::Store(store::StoreError::Closed),
        e @ (Error::Card { .. } | Error::Folder { .. }) => {
            RuleFault::Refused { field: "card".into(), remedy: e.to_string() }
        }
    }
}

/// Cards in force at `now`, for who has no running stage.
pub(crate) fn in_force(store: &Store, installed: Cards, now: Timestamp) -> Result<Cards, Error> {
    Ok(Force::new(installed, store.rule_edits_blocking()?).at(now))
}
