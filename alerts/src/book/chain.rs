//! The chain: who is called first, next, and again; what waits for the morning.

use super::{Case, Context, Effect, Timer, commands::LONGEST_CRITICAL_SNOOZE, event, hours};
use crate::config::{Config, minutes};
use store::AlertState;
use vitals::{Recipient, Severity, Timestamp, UserId};

/// When what is not critical may go on, where it has to wait now. A station that never opens has nothing to wait for.
fn quiet_until(ctx: &Context<'_>) -> Option<Timestamp> {
    let until = ctx.hours.is_quiet(ctx.now).then(|| ctx.hours.next_opening(ctx.now));
    until.filter(|until| *until > ctx.now)
}

impl Case {
    /// The steps that this episode climbs at its present severity.
    fn steps(&self) -> Vec<Vec<String>> {
        let word = |w: &str| vec![w.to_owned()];
        match self.episode.severity {
            Severity::Critical => self.episode.chain.clone(),
            Severity::Urgent => {
                let named = self.memo.to.iter().filter_map(|r| match r {
                    Recipient::HealthManager => Some("team:health_manager"),
                    Recipient::Gp => Some("team:gp"),
                    Recipient::Specialist => Some("team:specialist"),
                    Recipient::Patient => None,
                });
                let mut first: Vec<String> = named.map(str::to_owned).collect();
                if first.is_empty() {
                    first.push("team:health_manager".into());
                }
                vec![first, word("station:duty")]
            }
            Severity::Routine | Severity::Info => vec![word("team:health_manager"), word("team:gp")],
        }
    }

    fn last_level(&self) -> u32 {
        u32::try_from(self.steps().len()).unwrap_or(u32::MAX)
    }

    fn people(&self, level: u32, ctx: &Context<'_>) -> Vec<UserId> {
        let steps = self.steps();
        let step = usize::try_from(level).ok().and_then(|l| steps.get(l.checked_sub(1)?));
        step.map_or_else(Vec::new, |step| (ctx.people)(step, self.critical()))
    }

    /// The first send of a cycle, at once or when it may leave.
    pub(super) fn begin(&mut self, ctx: &Context<'_>, out: &mut Vec<Effect>) {
        self.episode.held_until = None;
        if self.keep_back(ctx, out) {
            return;
        }
        let must_wait = match self.episode.severity {
            Severity::Critical => false,
            Severity::Urgent if self.memo.late => !ctx.hours.is_open(ctx.now),
            Severity::Urgent => ctx.hours.is_quiet(ctx.now),
            Severity::Routine | Severity::Info => {
                self.episode.state = AlertState::Open;
                self.set_timer(Timer::Digest, ctx.hours.next_opening(ctx.now));
                return;
            }
        };
        // A station that never opens is called at once.
        let until = must_wait.then(|| ctx.hours.next_opening(ctx.now)).filter(|until| *until > ctx.now);
        if let Some(until) = until {
            self.episode.state = AlertState::Open;
            self.episode.held_until = Some(until);
            self.set_timer(Timer::Open, until);
            out.push(event("held", None, ""));
        } else {
            self.fire(1, ctx.now, ctx, out);
        }
    }

    /// Calls the first step from `level` on that has somebody; a skipped step takes no time.
    pub(super) fn fire(&mut self, level: u32, at: Timestamp, ctx: &Context<'_>, out: &mut Vec<Effect>) {
        for level in level..=self.last_level() {
            let people = self.people(level, ctx);
            if !people.is_empty() {
                return self.call(level, &people, at, ctx, out);
            }
            out.push(event("step_skipped", None, format!("level {level}: nobody can be reached")));
            out.push(Effect::EmptyStep { step: level });
        }
        self.call_again(at, ctx, out);
    }

    fn call(&mut self, level: u32, people: &[UserId], at: Timestamp, ctx: &Context<'_>, out: &mut Vec<Effect>) {
        self.episode.level = level;
        self.episode.state = AlertState::Notified;
        self.episode.held_until = None;
        self.page(level, people, out);
        let wait = match self.episode.severity {
            Severity::Critical if level == self.last_level() => at.plus(minutes(ctx.config.critical_repeat_minutes)),
            Severity::Critical => at.plus(minutes(ctx.config.critical_step_minutes)),
            _ => ctx.hours.plus_open(at, minutes(ctx.config.urgent_step_opening_minutes)),
        };
        self.set_timer(Timer::Step, wait);
    }

    fn page(&mut self, level: u32, people: &[UserId], out: &mut Vec<Effect>) {
        let who: Vec<String> = people.iter().map(ToString::to_string).collect();
        out.push(event("notified", None, format!("level {level}: {}", who.join(", "))));
        for user in people {
            let call = (*user, self.episode.cycle, level);
            if !self.memo.called.contains(&call) {
                self.memo.called.push(call);
            }
            out.push(Effect::Page { user: *user, level, repeat: self.memo.repeat });
        }
    }

    /// The chain has run out. A critical calls its last step again, for ever; where that is empty, the highest that is not.
    fn call_again(&mut self, at: Timestamp, ctx: &Context<'_>, out: &mut Vec<Effect>) {
        self.episode.exhausted = true;
        let last = self.last_level();
        if !self.critical() {
            self.stop_timer();
            return;
        }
        self.memo.repeat += 1;
        let people = (1..=last).rev().map(|level| self.people(level, ctx)).find(|p| !p.is_empty());
        if let Some(people) = people {
            self.call(last, &people, at, ctx, out);
        } else {
            self.episode.level = last;
            self.set_timer(Timer::Step, at.plus(minutes(ctx.config.critical_repeat_minutes)));
            out.push(event("step_skipped", None, "nobody of the whole chain can be reached"));
        }
    }

    /// When a critical goes on, where its timer lies further away than it ever may: then the clock was put back.
    pub(crate) fn brought_forward(&self, now: Timestamp, config: &Config) -> Option<Timestamp> {
        let longest = match self.memo.timer.filter(|_| self.critical())? {
            Timer::Step => minutes(config.critical_step_minutes.max(config.critical_repeat_minutes)),
            Timer::Contact => minutes(config.contact_minutes),
            Timer::Wake => minutes(LONGEST_CRITICAL_SNOOZE),
            Timer::Open | Timer::Digest | Timer::Overdue => return None,
        };
        let latest = now.plus(longest);
        self.episode.next_at.filter(|at| *at > latest).map(|_| latest)
    }

    /// What is due now. After a downtime several steps may be: one message at the level that it is by now.
    pub(crate) fn due_now(&mut self, ctx: &Context<'_>) -> Vec<Effect> {
        let mut out = Vec::new();
        if let Some(latest) = self.brought_forward(ctx.now, ctx.config) {
            self.episode.next_at = Some(latest);
            self.episode.snoozed_until = self.episode.snoozed_until.map(|_| latest);
            return out;
        }
        let (Some(timer), Some(at)) = (self.memo.timer, self.episode.next_at.filter(|at| *at <= ctx.now)) else {
            return out;
        };
        match timer {
            Timer::Open => self.begin(ctx, &mut out),
            Timer::Step => self.step_due(at, ctx, &mut out),
            Timer::Contact => {
                self.next_cycle();
                out.push(event("unacknowledged", None, "no contact was logged in time"));
                self.begin(ctx, &mut out);
            }
            Timer::Wake => {
                self.next_cycle();
                out.push(event("woken", None, ""));
                self.begin(ctx, &mut out);
            }
            Timer::Digest => self.digest_due(ctx, &mut out),
            Timer::Overdue => {
                self.episode.exhausted = true;
                self.stop_timer();
                out.push(event("escalated", None, "overdue"));
            }
        }
        out
    }

    fn step_due(&mut self, at: Timestamp, ctx: &Context<'_>, out: &mut Vec<Effect>) {
        let (mut at, mut level, last) = (at, self.episode.level + 1, self.last_level());
        if let Some(until) = quiet_until(ctx).filter(|_| !self.critical()) {
            // Only after a downtime: it was due by day.
            return self.set_timer(Timer::Step, until);
        }
        if self.critical() {
            let (step, again) =
                (minutes(ctx.config.critical_step_minutes), minutes(ctx.config.critical_repeat_minutes));
            let mut missed = false;
            loop {
                let next = at.plus(if level < last { step } else { again });
                if next > ctx.now {
                    break;
                }
                (at, level, missed) = (next, level + 1, true);
            }
            if missed {
                out.push(Effect::Withdraw);
            }
        }
        if level > last && self.episode.level < last && self.critical() {
            // Missed so long that the last step has been due more than once: it is called now, as a repeat.
            out.push(event("escalated", None, format!("level {last}")));
        } else if level <= last {
            out.push(event("escalated", None, format!("level {level}")));
        }
        if level > last { self.call_again(at, ctx, out) } else { self.fire(level, at, ctx, out) }
    }

    fn digest_due(&mut self, ctx: &Context<'_>, out: &mut Vec<Effect>) {
        if let Some(until) = quiet_until(ctx) {
            return self.set_timer(Timer::Digest, until);
        }
        for level in 1..=self.last_level() {
            let people = self.people(level, ctx);
            if people.is_empty() {
                continue;
            }
            self.episode.state = AlertState::Notified;
            self.episode.level = level;
            out.push(event("notified", None, "digest"));
            out.extend(people.into_iter().map(|user| Effect::Digest { user }));
            let overdue = ctx.hours.plus_working_days(ctx.now, ctx.config.routine_working_days);
            return self.set_timer(Timer::Overdue, overdue);
        }
        out.push(event("step_skipped", None, "nobody can be reached for the digest"));
        out.push(Effect::EmptyStep { step: 1 });
        let later = ctx.now.plus(std::time::Duration::from_micros(1));
        let tomorrow = Some(ctx.hours.next_opening(later)).filter(|at| *at > later);
        self.set_timer(Timer::Digest, tomorrow.unwrap_or_else(|| ctx.now.plus(hours(24))));
    }

    /// Somebody came on duty: an un-acknowledged critical also goes to them, at the same level. One that reached nobody at
    /// all begins with whoever is there now.
    pub(crate) fn roster_turned(&mut self, ctx: &Context<'_>) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.is_unheard() {
            if (1..=self.last_level()).any(|level| !self.people(level, ctx).is_empty()) {
                self.fire(1, ctx.now, ctx, &mut out);
            }
        } else if self.is_calling() && self.episode.snoozed_until.is_none() {
            let (cycle, level) = (self.episode.cycle, self.episode.level);
            let mut fresh = self.people(level, ctx);
            fresh.retain(|user| !self.memo.called.contains(&(*user, cycle, level)));
            if !fresh.is_empty() {
                self.page(level, &fresh, &mut out);
            }
        }
        out
    }

    /// Every channel of everybody at this level has failed for good: the next step at once.
    pub(crate) fn unreachable(&mut self, cycle: u32, level: u32, ctx: &Context<'_>) -> Vec<Effect> {
        let mut out = Vec::new();
        let here = self.episode.cycle == cycle && self.episode.level == level;
        if here && self.memo.timer == Some(Timer::Step) && self.episode.severity >= Severity::Urgent {
            out.push(event("step_skipped", None, format!("level {level}: every channel has failed")));
            out.push(Effect::EmptyStep { step: level });
            if level < self.last_level() {
                self.fire(level + 1, ctx.now, ctx, &mut out);
            }
        }
        out
    }

    /// A person asks for the next step now.
    pub(super) fn climb(&mut self, by: UserId, ctx: &Context<'_>, out: &mut Vec<Effect>) {
        let next = self.episode.level + 1;
        if !self.episode.state.is_unacknowledged() {
            self.next_cycle();
        }
        self.episode.snoozed_until = None;
        self.episode.inhibited_by = None;
        out.push(event("escalated", Some(by), format!("level {}", next.min(self.last_level()))));
        if next <= self.last_level() {
            return self.fire(next, ctx.now, ctx, out);
        }
        if self.critical() {
            return self.call_again(ctx.now, ctx, out);
        }
        self.memo.repeat += 1;
        self.fire(self.last_level(), ctx.now, ctx, out);
    }

    /// The wait after an acknowledgement: a contact for a critical, a plan for an urgent.
    pub(super) fn await_contact(&mut self, ctx: &Context<'_>) {
        match self.episode.severity {
            Severity::Critical => self.set_timer(Timer::Contact, ctx.now.plus(minutes(ctx.config.contact_minutes))),
            Severity::Urgent => self.set_timer(Timer::Contact, ctx.now.plus(hours(ctx.config.urgent_plan_hours))),
            Severity::Routine | Severity::Info => self.stop_timer(),
        }
    }
}
