//! What a person does with an episode.

use super::{Case, Context, Effect, Timer, event};
use crate::config::minutes;
use std::time::Duration;
use store::{Action, AlertState, CommandError};
use vitals::{Timestamp, UserId};

/// How an episode may end by a person.
const OUTCOMES: [&str; 5] = ["treated", "referred", "false_reading", "unreachable", "other"];
/// A critical may sleep so long.
pub(super) const LONGEST_CRITICAL_SNOOZE: u32 = 60;
/// Anything else: a week.
const LONGEST_SNOOZE: i64 = 7 * 24 * 60;
/// A phone's clock may be ahead of ours by so much.
const CLOCK_SLACK: Duration = Duration::from_secs(300);

fn invalid(field: &'static str, remedy: impl Into<String>) -> CommandError {
    CommandError::Invalid { field, remedy: remedy.into() }
}

fn words<'a>(field: &'static str, text: &'a str) -> Result<&'a str, CommandError> {
    let text = text.trim();
    if text.is_empty() { Err(invalid(field, "write something")) } else { Ok(text) }
}

impl Case {
    /// Does what `by` asks. On an error nothing has changed.
    pub(crate) fn command(
        &mut self,
        action: &Action,
        by: UserId,
        ctx: &Context<'_>,
    ) -> Result<Vec<Effect>, CommandError> {
        let mut out = Vec::new();
        let words_only = matches!(action, Action::Comment { .. } | Action::Feedback { .. });
        if !words_only && !self.episode.state.is_active() {
            // What is wrong with the request is said before what is wrong with the state.
            self.check(action, ctx.now)?;
            return Err(CommandError::State(self.episode.state));
        }
        self.check(action, ctx.now)?;
        match action {
            Action::Ack => self.acknowledge(by, ctx, &mut out),
            Action::Unack { reason } => {
                if self.episode.state.is_unacknowledged() {
                    return Err(CommandError::State(self.episode.state));
                }
                self.next_cycle();
                out.push(event("unacknowledged", Some(by), reason.clone().unwrap_or_default()));
                self.begin(ctx, &mut out);
            }
            Action::Assign { user } => {
                self.episode.owner = Some(*user);
                out.push(event("assigned", Some(by), user.to_string()));
            }
            Action::Snooze { minutes: n } => {
                let until = ctx.now.plus(minutes(u32::try_from(*n).unwrap_or(1)));
                self.episode.snoozed_until = Some(until);
                self.episode.held_until = None;
                self.episode.inhibited_by = None;
                self.set_timer(Timer::Wake, until);
                out.push(Effect::Withdraw);
                out.push(event("snoozed", Some(by), format!("{n} min")));
            }
            Action::Escalate => self.climb(by, ctx, &mut out),
            Action::FollowUp { how, note, due_at, .. } => {
                self.acknowledge(by, ctx, &mut out);
                self.episode.state = AlertState::FollowUp;
                self.episode.snoozed_until = None;
                self.stop_timer();
                // Without a timer: the next contact pages nobody, it is shown as due until something is recorded.
                self.episode.next_at = *due_at;
                let due = due_at.map(|at| format!("due {}", at.to_rfc3339(&ctx.hours.zone)));
                let more: Vec<String> = note.clone().into_iter().chain(due).collect();
                let more = if more.is_empty() { String::new() } else { format!(": {}", more.join("; ")) };
                out.push(event("follow_up", Some(by), format!("{how}{more}")));
            }
            Action::Resolve { outcome, note } => {
                if self.critical() && self.episode.state.is_unacknowledged() {
                    return Err(CommandError::State(self.episode.state));
                }
                let note = note.as_deref().map_or_else(String::new, |n| format!(": {n}"));
                out.push(event("resolved", Some(by), format!("{outcome}{note}")));
                self.close(AlertState::Resolved, Some(by), &mut out);
            }
            Action::Comment { text } => out.push(event("comment", Some(by), text.trim())),
            Action::Feedback { text } => out.push(event("comment", Some(by), format!("feedback: {}", text.trim()))),
        }
        Ok(out)
    }

    fn check(&self, action: &Action, now: Timestamp) -> Result<(), CommandError> {
        match action {
            Action::Snooze { minutes } => {
                let longest = if self.critical() { i64::from(LONGEST_CRITICAL_SNOOZE) } else { LONGEST_SNOOZE };
                if !(1..=longest).contains(minutes) {
                    return Err(invalid("minutes", format!("from 1 to {longest} for this severity")));
                }
            }
            Action::FollowUp { contacted_at, how, due_at, .. } => {
                words("how", how)?;
                if *contacted_at > now.plus(CLOCK_SLACK) {
                    return Err(invalid("contactedAt", "a time that is not in the future"));
                }
                if due_at.is_some_and(|at| at <= now) {
                    return Err(invalid("dueAt", "a time that is still to come"));
                }
            }
            Action::Resolve { outcome, .. } if !OUTCOMES.contains(&outcome.as_str()) => {
                return Err(invalid("outcome", format!("one of {}", OUTCOMES.join(", "))));
            }
            Action::Comment { text } | Action::Feedback { text } => {
                words("text", text)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The first acknowledgement counts; a second changes nothing.
    fn acknowledge(&mut self, by: UserId, ctx: &Context<'_>, out: &mut Vec<Effect>) {
        if !self.episode.state.is_unacknowledged() {
            return;
        }
        self.episode.state = AlertState::Acknowledged;
        self.episode.owner = Some(by);
        self.episode.acked_severity = Some(self.episode.severity);
        self.episode.snoozed_until = None;
        self.episode.held_until = None;
        self.episode.inhibited_by = None;
        self.await_contact(ctx);
        out.push(Effect::Withdraw);
        out.push(event("acknowledged", Some(by), ""));
        self.tell_called("alert.acknowledged", Some(by), Some(self.episode.cycle), out);
    }
}
