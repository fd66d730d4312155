//! The book: what one episode does when a finding, a timer or a person comes. Pure.
//!
//! Goes in: a [`Case`] (an episode and its notes), an event, and a [`Context`] that knows the hour, the station's
//! hours and who would be reached. Comes out: the changed case, and [`Effect`]s in order.
//! Must never: read a clock, a file or a socket, or know how a message looks.

mod chain;
mod commands;
mod findings;
mod mute;
#[cfg(test)]
mod stories;

pub(crate) use mute::keeps_back;

use crate::{config::Config, hours::Hours};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use store::{AlertState, Episode};
use vitals::{AlertId, FindingId, Recipient, Severity, Timestamp, UserId};

/// Who a step would call at this moment: words of the chain, and whether it must be a channel for criticals.
pub(crate) type Resolve<'a> = dyn Fn(&[String], bool) -> Vec<UserId> + 'a;

/// What the book may know of the world.
pub(crate) struct Context<'a> {
    pub(crate) now: Timestamp,
    pub(crate) config: &'a Config,
    pub(crate) hours: &'a Hours,
    /// Only people who can be reached, each once.
    pub(crate) people: &'a Resolve<'a>,
    /// A critical of the same patient that keeps the case back while it is lower.
    pub(crate) over: Option<AlertId>,
}

/// What happens at `Episode::next_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Timer {
    /// What was held for the night is sent.
    Open,
    /// The next step of the chain, or the last one again.
    Step,
    /// Nobody logged a contact, or made a plan.
    Contact,
    /// A snooze ends.
    Wake,
    /// The daily digest.
    Digest,
    /// A routine that nobody looked at.
    Overdue,
}

/// What the book remembers beside the episode's public members; kept in `Episode::book`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memo {
    pub(crate) timer: Option<Timer>,
    /// Commit of the reading that decided the present severity.
    pub(crate) decided_at: Timestamp,
    /// Readings measured after this may clear it.
    pub(crate) since: Timestamp,
    /// Measurement time at which the newest critical became true.
    pub(crate) critical_at: Timestamp,
    /// Staff that the deciding findings name.
    pub(crate) to: Vec<Recipient>,
    /// Findings of some severity that hold.
    pub(crate) standing: Vec<FindingId>,
    /// Who was called: user, cycle, level; each once.
    pub(crate) called: Vec<(UserId, u32, u32)>,
    /// How often the last step has been called again in this cycle.
    pub(crate) repeat: u32,
    /// It was found late: even an urgent waits for opening hours.
    pub(crate) late: bool,
}

/// An episode under the book's hand.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) episode: Episode,
    pub(crate) memo: Memo,
}

/// What must be done, in order. The shell stores all of it together with the episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A line of the timeline.
    Event { event: &'static str, by: Option<UserId>, detail: Option<String> },
    /// `alert.notification` to this person.
    Page { user: UserId, level: u32, repeat: u32 },
    /// `alert.acknowledged` or `alert.resolved`, quietly.
    Quiet { kind: &'static str, user: UserId },
    /// An item of this person's next `alert.digest`, which is being made now.
    Digest { user: UserId },
    /// `service.warning`: a step called nobody.
    EmptyStep { step: u32 },
    /// Notifications that still wait are not wanted any more.
    Withdraw,
}

impl Case {
    /// From the store.
    pub(crate) fn read(episode: Episode) -> Self {
        // An unreadable note is no reason to stop calling: the timer is taken from the state then.
        let memo = serde_json::from_str(&episode.book).unwrap_or_else(|_| Memo {
            timer: episode.next_at.map(|_| Timer::Step),
            decided_at: episode.raised_at,
            since: episode.raised_at,
            ..Memo::default()
        });
        Self { episode, memo }
    }

    /// As it is stored.
    pub(crate) fn write(&self) -> Episode {
        Episode { book: serde_json::to_string(&self.memo).unwrap_or_default(), ..self.episode.clone() }
    }

    /// When something happens by itself.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.memo.timer.and(self.episode.next_at)
    }

    /// Nobody has it, and it must not wait.
    pub(crate) fn is_calling(&self) -> bool {
        self.episode.severity == Severity::Critical
            && self.episode.state.is_unacknowledged()
            && self.memo.timer == Some(Timer::Step)
    }

    /// It calls, and in this cycle nobody could be reached yet.
    pub(crate) fn is_unheard(&self) -> bool {
        self.is_calling() && self.episode.state == AlertState::Open
    }

    fn critical(&self) -> bool {
        self.episode.severity == Severity::Critical
    }

    fn set_timer(&mut self, timer: Timer, at: Timestamp) {
        self.memo.timer = Some(timer);
        self.episode.next_at = Some(at);
    }

    fn stop_timer(&mut self) {
        self.memo.timer = None;
        self.episode.next_at = None;
    }

    /// Nobody owns it any more, and nothing of the last cycle counts.
    fn next_cycle(&mut self) {
        self.episode.cycle += 1;
        // Told to nobody in this cycle: it must not look as if somebody had it, should nobody be reached.
        self.episode.state = AlertState::Open;
        self.episode.owner = None;
        self.episode.acked_severity = None;
        self.episode.exhausted = false;
        self.episode.snoozed_until = None;
        self.memo.repeat = 0;
    }

    /// The end, by whoever: nobody is called any more, those who were called learn of it.
    fn close(&mut self, state: AlertState, by: Option<UserId>, out: &mut Vec<Effect>) {
        self.episode.state = state;
        self.episode.snoozed_until = None;
        self.episode.held_until = None;
        self.episode.inhibited_by = None;
        self.stop_timer();
        out.push(Effect::Withdraw);
        self.tell_called("alert.resolved", by, None, out);
    }

    /// Those who were called (in this cycle only, where one is given) except `but`, each once.
    fn tell_called(&self, kind: &'static str, but: Option<UserId>, cycle: Option<u32>, out: &mut Vec<Effect>) {
        let mut told: Vec<UserId> = Vec::new();
        for (user, of, _) in &self.memo.called {
            if Some(*user) != but && cycle.is_none_or(|c| c == *of) && !told.contains(user) {
                told.push(*user);
                out.push(Effect::Quiet { kind, user: *user });
            }
        }
    }
}

fn event(event: &'static str, by: Option<UserId>, detail: impl Into<String>) -> Effect {
    let detail = detail.into();
    Effect::Event { event, by, detail: (!detail.is_empty()).then_some(detail) }
}

fn hours(n: u32) -> Duration {
    Duration::from_secs(u64::from(n) * 3600)
}
