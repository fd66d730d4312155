//! DQ-1: a value that could not be believed was held aside. DQ-2: a pressure was measured badly and should be repeated.

use crate::{
    Point, Rule,
    asks::Repeat,
    conclusion::Conclusion,
    person::{Person, Scene, World},
};
use std::time::Duration;
use vitals::{Excluded, Held, Kind, Reason, Recipient, Severity, Timestamp};

fn base(rule: Rule, step: &'static str, at: vitals::Timestamp, excluded: Excluded) -> Conclusion {
    Conclusion {
        rule,
        step,
        severity: Severity::Info,
        effective_at: at,
        recipients: &[],
        closes: false,
        readings: Vec::new(),
        excluded: vec![excluded],
        numbers: Vec::new(),
        limit: String::new(),
        over: None,
        joined: Vec::new(),
        since: at,
        note: false,
        cause: None,
    }
}

/// DQ-1 of a held entry; none where something else was wrong with it (its time, its form).
pub(crate) fn held(held: &Held) -> Option<Conclusion> {
    let failed = |r: &&Reason| matches!(r, Reason::Implausible | Reason::NoValue | Reason::Status(_));
    let reason = held.reasons.iter().find(failed)?;
    let at = held.measured_at.unwrap_or(held.received_at);
    let excluded = Excluded { reading_id: held.id, reason: reason.as_str().to_owned() };
    Some(base(Rule::Dq1, "implausible", at, excluded))
}

/// A repeat of a pressure that was measured badly: one, a minute later.
pub(crate) fn repeat(until: Timestamp) -> Repeat {
    Repeat { times: 1, after_seconds: 60, until, once_more: None }
}

/// No session of pressures is longer: a badly measured one this far away is another's.
pub(crate) const SESSION: Duration = Duration::from_secs(24 * 3600);

/// The session of pressures that is being measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cuff {
    last: Option<Timestamp>,
    /// Of which pressure DQ-2 was said in it.
    said: Option<Timestamp>,
    /// A good pressure followed it.
    answered: bool,
}

impl Cuff {
    /// A session in which nothing was measured badly up to `last`.
    pub(crate) const fn well(last: Timestamp) -> Self {
        Self { last: Some(last), said: None, answered: false }
    }

    /// Takes the next pressure; whether it is the first of its session that was measured badly.
    pub(crate) fn is_first_bad(&mut self, p: &Point, gap: Duration) -> bool {
        if p.kind() != Kind::BloodPressure {
            return false;
        }
        if self.last.is_none_or(|l| p.at.since(l) > gap) {
            (self.said, self.answered) = (None, false);
        }
        self.last = Some(p.at);
        let first = p.badly_measured && self.said.is_none();
        if first {
            self.said = Some(p.at);
        }
        first
    }

    /// Whether a pressure that was just taken is the good one that its session was asked for: of which DQ-2.
    pub(crate) fn answers(&mut self, p: &Point) -> Option<Timestamp> {
        let good = p.valid && p.kind() == Kind::BloodPressure && !self.answered;
        let said = self.said.filter(|_| good);
        self.answered |= said.is_some();
        said
    }
}

/// DQ-2 of the first badly measured pressure of a session.
pub(crate) fn badly(p: &Point) -> Conclusion {
    let reason = p.reason.unwrap_or("flagged").to_owned();
    let mut c = base(Rule::Dq2, "flagged", p.at, Excluded { reading_id: p.id, reason });
    c.recipients = &[Recipient::Patient];
    c.readings = vec![p.id];
    c
}

impl Person {
    /// DQ-2 of pressures that are newer than every other; `before`: the newest before them.
    pub(crate) fn judge_cuff<W: World>(&mut self, scene: &mut Scene<'_, W>, points: &[Point], before: Timestamp) {
        let gap = self.terms.cuff_gap;
        let Some(first) = points.iter().find(|p| p.kind() == Kind::BloodPressure) else { return };
        let mut cuff = match self.cuff {
            Some(cuff) => cuff,
            None if first.at.since(before) > gap => Cuff::default(),
            None if !self.stands(Rule::Dq2, before.minus(SESSION), Timestamp::MAX) => Cuff::well(before),
            None => {
                // What was said in this session must be read again.
                let last = points.iter().rev().find(|p| p.kind() == Kind::BloodPressure).map_or(first.at, |p| p.at);
                self.late.get_or_insert_default().add(Kind::BloodPressure, (first.at, last), scene.decided);
                return;
            }
        };
        for p in points {
            if !cuff.is_first_bad(p, gap) {
                if let Some(at) = cuff.answers(p) {
                    self.answer(scene, at, p);
                }
                continue;
            }
            let conclusion = badly(p);
            if self.standing(&conclusion).is_none() {
                self.raise(scene, &conclusion);
            }
            self.ask_again(scene, &conclusion, p, repeat(p.at.plus(gap)));
        }
        self.cuff = Some(cuff);
    }

    /// The repeat joins the DQ-2 that asked for it: it is a matter of the meter no more.
    fn answer<W: World>(&mut self, scene: &mut Scene<'_, W>, at: Timestamp, p: &Point) {
        let begin = self.concluded.partition_point(|c| c.effective_at < at);
        let asked = self.concluded[begin..].iter().take_while(|c| c.effective_at == at).find(|c| c.rule == Rule::Dq2);
        if let Some(id) = asked.map(|c| c.id) {
            self.attach(scene, id, &[p.id]);
        }
    }
}
