//! The predicate `k_of_n`: one reading over a limit asks, a second confirms, repeats below it clear, silence expires.
//!
//! Goes in: a patient's valid readings of one kind in order of measurement, what was held and asked before them. Comes out: the steps that hold. Must never: look at a clock or know a rule's name.

use std::time::Duration;
use vitals::{ReadingId, Severity, Timestamp};

use crate::Point;

/// What makes this question.
pub(crate) struct Spec<'a> {
    /// Over (or below) the limit.
    pub over: &'a dyn Fn(&Point) -> bool,
    /// Counts as over because of what was said with the first one.
    pub over_after: &'a dyn Fn(&Point, &Point) -> bool,
    /// Decides without a second reading, and how urgent it is then. Only asked of readings that are over.
    pub alone: &'a dyn Fn(&Point) -> Option<Severity>,
    /// Another rule's matter: an open question ends without a word.
    pub absorbed: &'a dyn Fn(&Point) -> bool,
    /// Two over within `window`: how urgent these two are.
    pub confirmed: &'a dyn Fn(&Point, &Point) -> Severity,
    /// One of a confirmed pair that may yet be half of a worse one: it asks on, quietly.
    pub again: &'a dyn Fn(&Point) -> bool,
    /// A second confirmed one within [`SECOND`] of the first.
    pub second: Severity,
    /// Nobody measured again within `window`; `None` says nothing.
    pub expired: &'a dyn Fn(&Point) -> Option<Severity>,
    /// Further readings of a conclusion this severe are evidence only.
    pub top: Severity,
    /// How long a question stays open.
    pub window: Duration,
    /// Repeats below the limit that clear it.
    pub normals: usize,
    /// How long a conclusion silences others that are no worse.
    pub hold: Duration,
    /// When people closed alerts of the rule: what comes later has no alert to join.
    pub closed: &'a [Timestamp],
    /// By how many mmHg a reading must exceed the held worst to count as worse; `None`: never worse.
    pub worse: Option<f64>,
}

/// How a step came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Still open at the end.
    Asked,
    /// One reading was enough.
    Alone,
    /// A second reading over the limit.
    Confirmed,
    /// The repeats were normal.
    Cleared,
    /// No answer in time.
    Expired,
    /// Two over the limit while as much is held: it is not told again, but a next one is a second.
    Again,
}

impl Kind {
    /// The word in the evidence.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Alone => "alone",
            Self::Confirmed => "confirmed",
            Self::Cleared => "cleared",
            Self::Expired => "expired",
            Self::Again => "again",
        }
    }
}

/// One conclusion.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub kind: Kind,
    pub at: Timestamp,
    pub severity: Severity,
    /// Readings used; for a cleared one the first and its repeats.
    pub readings: Vec<Point>,
    /// Readings over the limit that came while it was held.
    pub joined: Vec<ReadingId>,
    /// It ends the matter: cleared, and nothing else was held.
    pub closes: bool,
}

/// A conclusion that may silence others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub at: Timestamp,
    /// Until when it silences.
    pub until: Timestamp,
    pub severity: Severity,
    /// Highest systolic and diastolic that it used.
    pub worst: (f64, f64),
}

/// Within how long a second confirmed conclusion is more than a first (rules contract, GLU-C3).
const SECOND: Duration = Duration::from_secs(24 * 3600);

/// What was concluded and asked before.
#[derive(Debug, Default)]
pub(crate) struct Prior {
    pub held: Option<Held>,
    pub asking: Option<Asking>,
    /// When two over the limit came last.
    pub confirmed: Option<Timestamp>,
}

/// A question that waits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asking {
    pub first: Point,
    pub deadline: Timestamp,
    normals: Vec<Point>,
    /// Asked while something severe is held: nobody is told unless it is confirmed.
    quiet: bool,
    /// The request was told of.
    told: bool,
    /// And told of again, or too late for that.
    reminded: bool,
}

/// When a request is made once more: two thirds of the time are over and a third is left to answer.
pub(crate) fn remind_at(asked: Timestamp, deadline: Timestamp) -> Timestamp {
    deadline.minus(deadline.since(asked) / 3)
}

impl Asking {
    /// Asked for nobody to hear: `first` may be half of a pair whose other half is yet to come.
    pub(crate) fn quietly(first: Point, window: Duration) -> Self {
        let deadline = first.at.plus(window);
        Self { first, deadline, normals: Vec::new(), quiet: true, told: false, reminded: false }
    }

    /// When the request is made once more.
    pub(crate) fn remind_at(&self) -> Timestamp {
        remind_at(self.first.at, self.deadline)
    }

    /// Nobody is told of it unless it is confirmed, and nobody is asked once more who was not asked.
    pub(crate) fn hush(&mut self) {
        (self.quiet, self.reminded) = (true, true);
    }

    /// When there is something to do about it.
    pub(crate) fn due(&self) -> Timestamp {
        if self.told && !self.reminded { self.remind_at() } else { self.deadline }
    }

    /// Whether the request must be made once more at `now`; it is not asked for again.
    pub(crate) fn take_reminder(&mut self, now: Timestamp) -> bool {
        let due = self.told && !self.reminded && now >= self.remind_at();
        self.reminded |= due;
        due && now < self.deadline
    }
}

/// Everything that holds.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub steps: Vec<Step>,
    /// Readings that joined what was held at the start.
    pub joined_prior: Vec<ReadingId>,
    /// What is held at the end, and by which of `steps`; by none of them what was held at the start.
    pub held: Option<(Held, Option<usize>)>,
    /// What is still being asked at the end.
    pub asking: Option<Asking>,
    /// When each question began that the patient heard, whatever became of it.
    pub questions: Vec<Timestamp>,
    /// Until when the last question was open that only time ended: what was measured before it may answer it yet.
    pub expired: Option<Timestamp>,
}

struct Run<'a> {
    spec: &'a Spec<'a>,
    out: Outcome,
    held: Option<(Held, Option<usize>)>,
    asking: Option<Asking>,
    confirmed: Option<Timestamp>,
}

/// The steps that hold at `now`. A run that is given where the last one ended goes on from there.
pub(crate) fn run<'p>(
    spec: &Spec<'_>,
    points: impl Iterator<Item = &'p Point>,
    prior: Prior,
    now: Timestamp,
) -> Outcome {
    let Prior { held, asking, confirmed } = prior;
    let mut run = Run { spec, out: Outcome::default(), held: held.map(|h| (h, None)), asking, confirmed };
    run.out.questions.extend(run.asking.iter().filter(|a| !a.quiet).map(|a| a.first.at));
    for point in points {
        run.expire_before(point.at);
        run.take(point);
    }
    match run.asking.take() {
        Some(asking) if now >= asking.deadline => {
            run.out.expired = Some(asking.deadline);
            run.expire(&asking);
        }
        Some(mut asking) => {
            if !asking.quiet && !asking.told {
                asking.told = true;
                asking.reminded = now >= asking.remind_at();
                run.push(Kind::Asked, asking.first.at, Severity::Info, vec![asking.first], false);
            }
            run.out.asking = Some(asking);
        }
        None => {}
    }
    run.out.held = run.held;
    run.out
}

/// Until when a conclusion silences: for its hold, or until a person closes its alert.
pub(crate) fn held_until(at: Timestamp, hold: Duration, closed: &[Timestamp]) -> Timestamp {
    closed.iter().copied().filter(|closed| *closed >= at).fold(at.plus(hold), Timestamp::min)
}

/// The worse of the readings, for [`Held::worst`].
pub(crate) fn worst(points: &[Point]) -> (f64, f64) {
    let pressures = points.iter().filter_map(Point::pressure);
    pressures.fold((f64::MIN, f64::MIN), |(s, d), (ps, pd)| (s.max(ps), d.max(pd)))
}

/// Whether a reading is worse than what is held by the margin.
pub(crate) fn is_worse(margin: Option<f64>, point: &Point, held: &Held) -> bool {
    match (margin, point.pressure()) {
        (Some(by), Some((s, d))) => s >= held.worst.0 + by || d >= held.worst.1 + by,
        _ => false,
    }
}

impl Run<'_> {
    fn holding(&self, at: Timestamp) -> Option<(Held, Option<usize>)> {
        self.held.filter(|(h, _)| at < h.until)
    }

    fn take(&mut self, p: &Point) {
        if (self.spec.absorbed)(p) {
            self.asking = None;
            return;
        }
        let over = (self.spec.over)(p) || self.asking.as_ref().is_some_and(|a| (self.spec.over_after)(&a.first, p));
        let silenced = self.holding(p.at).filter(|(h, _)| h.severity >= self.spec.top);
        let alone = if over { (self.spec.alone)(p) } else { None };
        let speaks = |h: Held| is_worse(self.spec.worse, p, &h) || alone.is_some_and(|severity| severity > h.severity);
        let counts = over && silenced.is_none_or(|(h, _)| speaks(h));
        if counts {
            match (self.asking.take(), alone) {
                (Some(asking), alone) => {
                    let again = self.confirmed.is_some_and(|at| p.at < at.plus(SECOND));
                    let usual = (self.spec.confirmed)(&asking.first, p);
                    let usual = if again { self.spec.second.max(usual) } else { usual };
                    let severity = alone.map_or(usual, |a| a.max(usual));
                    self.raise(Kind::Confirmed, severity, vec![asking.first, *p]);
                    if severity < self.spec.top {
                        let half = [*p, asking.first].into_iter().find(|p| (self.spec.again)(p));
                        self.asking = half.map(|p| Asking::quietly(p, self.spec.window));
                    }
                }
                (None, Some(severity)) => self.raise(Kind::Alone, severity, vec![*p]),
                (None, None) => {
                    let quiet = silenced.is_some();
                    if !quiet {
                        self.out.questions.push(p.at);
                    }
                    self.asking = Some(Asking { quiet, ..Asking::quietly(*p, self.spec.window) });
                }
            }
            return;
        }
        if over {
            self.join(&[*p]);
            // It may yet be the first of a pair whose second comes when nothing is held any more.
            if silenced.is_some_and(|(h, _)| p.at.plus(self.spec.window) >= h.until) {
                self.asking = Some(Asking::quietly(*p, self.spec.window));
                return;
            }
        }
        let Some(asking) = &mut self.asking else { return };
        asking.normals.push(*p);
        if asking.normals.len() >= self.spec.normals
            && let Some(asking) = self.asking.take()
        {
            if asking.quiet {
                self.join(&[asking.first]);
            } else {
                let closes = self.holding(p.at).is_none();
                let readings = std::iter::once(asking.first).chain(asking.normals).collect();
                self.push(Kind::Cleared, p.at, Severity::Info, readings, closes);
            }
        }
    }

    fn expire_before(&mut self, at: Timestamp) {
        if let Some(asking) = self.asking.take_if(|a| at > a.deadline) {
            self.expire(&asking);
        }
    }

    fn expire(&mut self, asking: &Asking) {
        match (self.spec.expired)(&asking.first) {
            Some(severity) if !asking.quiet => {
                self.raise_at(Kind::Expired, asking.deadline, severity, vec![asking.first]);
            }
            _ => self.join(&[asking.first]),
        }
    }

    fn raise(&mut self, kind: Kind, severity: Severity, readings: Vec<Point>) {
        let at = readings.last().map_or(Timestamp::MIN, |p| p.at);
        self.raise_at(kind, at, severity, readings);
    }

    /// Joins what is held unless it is more severe, or worse by the margin.
    fn raise_at(&mut self, kind: Kind, at: Timestamp, severity: Severity, readings: Vec<Point>) {
        if kind == Kind::Confirmed {
            self.confirmed = Some(at);
        }
        if let Some((held, _)) = self.holding(at)
            && held.severity >= severity
            && !readings.iter().all(|p| is_worse(self.spec.worse, p, &held))
        {
            self.join(&readings);
            if kind == Kind::Confirmed && self.spec.second > severity {
                self.push(Kind::Again, at, Severity::Info, readings, false);
            }
            return;
        }
        let until = held_until(at, self.spec.hold, self.spec.closed);
        let held = Held { at, until, severity, worst: worst(&readings) };
        self.push(kind, at, severity, readings, false);
        self.held = Some((held, Some(self.out.steps.len() - 1)));
    }

    fn push(&mut self, kind: Kind, at: Timestamp, severity: Severity, readings: Vec<Point>, closes: bool) {
        self.out.steps.push(Step { kind, at, severity, readings, joined: Vec::new(), closes });
    }

    fn join(&mut self, points: &[Point]) {
        let Some(first) = points.first() else { return };
        let to = match self.holding(first.at) {
            Some((_, Some(index))) => self.out.steps.get_mut(index).map(|s| &mut s.joined),
            Some((_, None)) => Some(&mut self.out.joined_prior),
            None => None,
        };
        if let Some(to) = to {
            to.extend(points.iter().map(|p| p.id));
        }
    }
}
