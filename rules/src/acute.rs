//! The rules on single readings and their repeats: BP-C1, BP-C2, PREG-1, GLU-C1, GLU-C2, GLU-C3.
//!
//! Each is a [`Spec`] of one question; here stand the limits, the recipients and the words, not the mechanism.

use crate::{
    Point, Rule,
    conclusion::Conclusion,
    numbers::Numbers,
    question::{self, Kind as Step, Outcome, Prior, Spec},
    regimen::{self, Stretches},
};
use std::time::Duration;
use vitals::{Excluded, Kind, Patient, Recipient, Severity, Timestamp, Zone};

use Recipient::{Gp, HealthManager, Patient as ThePatient, Specialist};

/// The rules of this family.
pub(crate) const RULES: [Rule; 6] = [Rule::BpC1, Rule::BpC2, Rule::Preg1, Rule::GluC1, Rule::GluC2, Rule::GluC3];

/// What the hot path must know to pass a normal reading by.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    systolic: f64,
    diastolic: f64,
    low_systolic: f64,
    /// The same for who is dizzy while `several` drugs are taken.
    dizzy_systolic: f64,
    several: Stretches,
    severe_low: f64,
    low: f64,
    high: f64,
    very_high: f64,
    pattern: f64,
    /// A glucose at which a severe low counts as recovered.
    pub recovered: f64,
    /// When a low that nobody measured again is told.
    fragile: Stretches,
    /// Has PREG-1 in the place of BP-C1.
    pub pregnant: bool,
    /// PREG-1: systolic and diastolic, urgent and critical.
    pregnancy: [(f64, f64); 2],
    /// How long after the first a second critical one counts.
    severe_window: Duration,
}

/// The kind of reading that a rule of this family looks at.
pub(crate) const fn kind(rule: Rule) -> Kind {
    match rule {
        Rule::BpC1 | Rule::BpC2 | Rule::Preg1 => Kind::BloodPressure,
        _ => Kind::BloodGlucose,
    }
}

impl Limits {
    /// From the numbers that hold for one patient.
    pub(crate) fn of(cards: &crate::Cards, patient: &Patient, zone: &Zone) -> Self {
        let number = |rule, name| cards.numbers(rule, patient).map_or(f64::NAN, |n| n.value(name));
        let low_systolic = number(Rule::BpC2, "systolic");
        Self {
            systolic: number(Rule::BpC1, "systolic"),
            diastolic: number(Rule::BpC1, "diastolic"),
            low_systolic,
            dizzy_systolic: number(Rule::BpC2, "dizzy").max(low_systolic),
            several: regimen::several_for_pressure(patient, zone),
            severe_low: number(Rule::GluC1, "limit"),
            low: number(Rule::GluC2, "limit"),
            high: number(Rule::GluC3, "limit"),
            very_high: number(Rule::GluC3, "critical"),
            pattern: number(Rule::GluH1, "limit"),
            recovered: number(Rule::GluC1, "recovered"),
            pregnant: is_pregnant(patient),
            pregnancy: [("systolic", "diastolic"), ("severeSystolic", "severeDiastolic")]
                .map(|(s, d)| (number(Rule::Preg1, s), number(Rule::Preg1, d))),
            severe_window: Duration::try_from_secs_f64(number(Rule::Preg1, "severeWindow") * 60.0).unwrap_or_default(),
            fragile: regimen::fragile(patient, zone, number(Rule::GluC2, "age")),
        }
    }

    /// Whether a valid reading is over the rule's limit.
    pub(crate) fn over(&self, rule: Rule, p: &Point) -> bool {
        match (rule, p.pressure(), p.glucose()) {
            (Rule::BpC1, Some((s, d)), _) => !self.pregnant && (s >= self.systolic || d >= self.diastolic),
            (Rule::Preg1, Some(_), _) => self.pregnant && self.high_in_pregnancy(0, p),
            (Rule::BpC2, Some((s, _)), _) => s < self.low_systolic || (p.dizzy && s < self.dizzy_limit(p)),
            (Rule::GluC1, _, Some(g)) => g < self.severe_low,
            (Rule::GluC2, _, Some(g)) => g <= self.low && g >= self.severe_low,
            (Rule::GluC3, _, Some(g)) => g >= self.high,
            (Rule::GluH1, _, Some(g)) => g < self.pattern,
            _ => false,
        }
    }

    /// Whether a valid reading may stand in a conclusion of the rule: who said once that they are dizzy need not say it
    /// again with each repeat, and who was asked what they feel answers with the repeat, whatever that shows.
    pub(crate) fn supports(&self, rule: Rule, p: &Point) -> bool {
        let answers = |(s, _): (f64, f64)| match rule {
            Rule::BpC1 | Rule::Preg1 => p.symptoms,
            Rule::BpC2 => s < self.dizzy_limit(p),
            _ => false,
        };
        self.over(rule, p) || p.pressure().is_some_and(answers)
    }

    /// The limit of BP-C2 for who is dizzy.
    fn dizzy_limit(&self, p: &Point) -> f64 {
        if self.several.hold(p.at) { self.dizzy_systolic } else { self.low_systolic }
    }

    /// At or over the limit of one level of PREG-1.
    fn high_in_pregnancy(&self, level: usize, p: &Point) -> bool {
        let (systolic, diastolic) = self.pregnancy[level];
        p.pressure().is_some_and(|(s, d)| s >= systolic || d >= diastolic)
    }

    fn alone(&self, rule: Rule, p: &Point) -> Option<Severity> {
        let at_once = match rule {
            Rule::BpC1 | Rule::Preg1 => p.symptoms,
            Rule::BpC2 => p.fainted,
            Rule::GluC1 => true,
            Rule::GluC3 => p.symptoms || p.glucose().is_some_and(|g| g >= self.very_high),
            _ => false,
        };
        at_once.then_some(Severity::Critical)
    }

    fn absorbed(&self, rule: Rule, p: &Point) -> bool {
        rule == Rule::GluC2 && self.over(Rule::GluC1, p)
    }

    fn words(&self, rule: Rule) -> String {
        match rule {
            Rule::BpC1 => format!(">= {}/{} mmHg", self.systolic, self.diastolic),
            Rule::BpC2 => format!("< {} mmHg", self.low_systolic),
            Rule::Preg1 => {
                let [(s, d), (severe_s, severe_d)] = self.pregnancy;
                format!(">= {s}/{d} mmHg, critical >= {severe_s}/{severe_d} mmHg")
            }
            Rule::GluC1 => format!("< {} mmol/L", self.severe_low),
            Rule::GluC2 => format!("<= {} mmol/L", self.low),
            _ => format!(">= {} mmol/L", self.high),
        }
    }
}

/// Whether the default rules on pressure give way to the profile of a pregnancy.
pub(crate) fn is_pregnant(patient: &Patient) -> bool {
    patient.conditions.iter().any(|c| c == "pregnancy")
}

/// A conclusion this severe silences the rule; further readings are evidence.
pub(crate) const fn top(rule: Rule) -> Severity {
    if matches!(rule, Rule::BpC2 | Rule::GluC2) { Severity::Urgent } else { Severity::Critical }
}

/// How long a question of this rule stays open, and how long its conclusion silences.
pub(crate) fn spans(rule: Rule, numbers: &Numbers<'_>) -> (Duration, Duration) {
    let seconds = |value: f64| Duration::try_from_secs_f64(value).unwrap_or(Duration::ZERO);
    let window = if rule == Rule::GluC1 { Duration::ZERO } else { seconds(numbers.value("window") * 60.0) };
    (window, seconds(numbers.value("hold") * 3600.0))
}

/// What holds at `now` of `points`: a patient's valid readings of the rule's kind, after what was held and asked before.
/// `closed`: when people closed alerts of the rule.
pub(crate) fn judge<'p>(
    rule: Rule,
    limits: &Limits,
    numbers: &Numbers<'_>,
    points: impl Iterator<Item = &'p Point>,
    prior: Prior,
    (closed, now): (&[Timestamp], Timestamp),
) -> Outcome {
    let (window, hold) = spans(rule, numbers);
    let (confirmed, second, expired) = match rule {
        Rule::BpC1 => (Severity::Critical, Severity::Critical, Some(Severity::Urgent)),
        Rule::BpC2 => (Severity::Urgent, Severity::Urgent, None),
        Rule::GluC1 => (Severity::Critical, Severity::Critical, None),
        Rule::GluC2 => (Severity::Urgent, Severity::Urgent, None),
        Rule::Preg1 => (Severity::Urgent, Severity::Urgent, Some(Severity::Routine)),
        _ => (Severity::Urgent, Severity::Critical, Some(Severity::Urgent)),
    };
    let severe = |p: &Point| rule == Rule::Preg1 && limits.high_in_pregnancy(1, p);
    let fragile = |p: &Point| rule == Rule::GluC2 && limits.fragile.hold(p.at);
    let both = |a: &Point, b: &Point| severe(a) && severe(b) && b.at.since(a.at) <= limits.severe_window;
    let spec = Spec {
        over: &|p| limits.over(rule, p),
        over_after: &|first, p| (rule != Rule::BpC2 || first.dizzy) && limits.supports(rule, p),
        alone: &|p| limits.alone(rule, p),
        absorbed: &|p| limits.absorbed(rule, p),
        confirmed: &|a, b| if both(a, b) { Severity::Critical } else { confirmed },
        again: &severe,
        second,
        expired: &|p| if severe(p) || fragile(p) { Some(Severity::Urgent) } else { expired },
        top: top(rule),
        window,
        normals: if numbers.value("normals") < 2.0 || rule == Rule::GluC1 { 1 } else { 2 },
        hold,
        closed,
        worse: (rule == Rule::BpC1).then(|| numbers.value("worse")),
    };
    question::run(&spec, points, prior, now)
}

/// A step in the words of its rule. `flagged`: readings of that time that did not count.
pub(crate) fn conclusion(
    rule: Rule,
    limits: &Limits,
    step: &question::Step,
    flagged: impl Iterator<Item = Excluded>,
) -> Conclusion {
    let values = step.readings.iter();
    let numbers = if kind(rule) == Kind::BloodPressure {
        let (systolic, diastolic) = question::worst(&step.readings);
        vec![("systolic", systolic), ("diastolic", diastolic), ("n", count(step.readings.len()))]
    } else {
        let finite = values.filter_map(Point::glucose).filter(|g| g.is_finite());
        let extreme = if rule == Rule::GluC3 { finite.reduce(f64::max) } else { finite.reduce(f64::min) };
        extreme.map(|g| ("glucose", g)).into_iter().chain([("n", count(step.readings.len()))]).collect()
    };
    Conclusion {
        rule,
        step: step.kind.as_str(),
        severity: step.severity,
        effective_at: step.at,
        recipients: recipients(rule, step),
        closes: step.closes,
        readings: step.readings.iter().map(|p| p.id).collect(),
        excluded: flagged.collect(),
        numbers,
        limit: limits.words(rule),
        over: None,
        joined: step.joined.clone(),
        since: step.readings.first().map_or(step.at, |p| p.at),
        note: false,
        cause: None,
    }
}

/// A severe low that came back: told to the patient; the alert stays a person's matter.
pub(crate) fn recovery(limits: &Limits, point: &Point) -> Conclusion {
    Conclusion {
        rule: Rule::GluC1,
        step: "recovered",
        severity: Severity::Info,
        effective_at: point.at,
        recipients: &[ThePatient],
        closes: false,
        readings: vec![point.id],
        excluded: Vec::new(),
        numbers: point.glucose().filter(|g| g.is_finite()).map(|g| ("glucose", g)).into_iter().collect(),
        limit: format!(">= {} mmol/L", limits.recovered),
        over: None,
        joined: Vec::new(),
        since: point.at,
        note: false,
        cause: None,
    }
}

#[allow(clippy::cast_precision_loss)]
fn count(n: usize) -> f64 {
    n as f64
}

fn recipients(rule: Rule, step: &question::Step) -> &'static [Recipient] {
    match (rule, step.kind) {
        (_, Step::Asked | Step::Cleared) => &[ThePatient],
        (_, Step::Again) => &[],
        (Rule::BpC1 | Rule::GluC2 | Rule::Preg1, Step::Expired) => &[HealthManager],
        (Rule::Preg1, _) if step.severity < Severity::Critical => &[Gp, Specialist],
        (Rule::Preg1, _) => &[ThePatient, HealthManager, Gp, Specialist],
        (Rule::GluC2, _) => &[HealthManager],
        (Rule::BpC2, _) => &[Gp, HealthManager],
        _ => &[ThePatient, HealthManager, Gp],
    }
}
