//! GLU-H1: a pattern of low glucose. Judged with each low reading, for it cannot wait until the morning.

use crate::{
    Error, Point, Rule,
    conclusion::Conclusion,
    numbers::Numbers,
    person::{Person, Scene, World},
    statistics::count,
};
use jiff::civil::Date;
use std::time::Duration;
use vitals::{Recipient, Severity, Timestamp, Zone};

/// What must be known of a patient's last lows to see whether a new one makes a pattern, however many they were.
#[derive(Debug, Default)]
pub(crate) struct Lows {
    /// Days that had any, each with its last.
    days: Vec<(Date, Timestamp)>,
    /// The last two severe ones.
    severe: [Option<Timestamp>; 2],
}

impl Lows {
    fn take(&mut self, at: Timestamp, severe: bool, window: Duration, zone: &Zone) {
        self.days.retain(|(_, last)| last.plus(window) > at);
        let day = at.day(zone);
        match self.days.last_mut() {
            Some((date, last)) if *date == day => *last = at,
            _ => self.days.push((day, at)),
        }
        if severe {
            self.severe = [self.severe[1], Some(at)];
        }
    }
}

impl Person {
    /// GLU-H1 of lows that are newer than every other.
    pub(crate) fn judge_lows<W: World>(&mut self, scene: &mut Scene<'_, W>, points: &[Point]) -> Result<(), Error> {
        let (patient, limits) = (self.patient.clone(), self.limits.clone());
        for p in points.iter().filter(|p| p.valid && limits.over(Rule::GluH1, p)) {
            let Some(numbers) = scene.cards.numbers(Rule::GluH1, &patient) else { return Ok(()) };
            let (window, hold) = spans(&numbers);
            let is_severe = |p: &Point| p.glucose().is_some_and(|g| g < numbers.value("severe"));
            if let Some(lows) = &mut self.lows {
                lows.take(p.at, is_severe(p), window, &self.zone);
            }
            if self.held_before(Rule::GluH1, p.at).is_some_and(|c| p.at < c.effective_at.plus(hold)) {
                continue;
            }
            if self.lows.is_none() {
                let mut lows = Lows::default();
                let recent = self.points(scene.world, p.at.minus(window), p.at)?;
                for low in recent.iter().filter(|p| p.valid && self.limits.over(Rule::GluH1, p)) {
                    lows.take(low.at, is_severe(low), window, &self.zone);
                }
                drop(recent);
                self.lows = Some(Box::new(lows));
            }
            let Some(lows) = &self.lows else { continue };
            let twice = lows.severe[0].is_some_and(|at| at.plus(window) > p.at) && is_severe(p);
            let speaks =
                count(lows.days.len()) >= numbers.value("days") || twice || at_night(p.at, &numbers, &self.zone);
            if speaks {
                self.judge_pattern(scene, (p.at, p.at))?;
            }
        }
        Ok(())
    }
}

fn at_night(at: Timestamp, numbers: &Numbers<'_>, zone: &Zone) -> bool {
    at.since(zone.start_of(at.day(zone))).as_secs_f64() < numbers.value("night") * 3600.0
}

/// How far back a low counts, and how long a conclusion silences.
pub(crate) fn spans(numbers: &Numbers<'_>) -> (Duration, Duration) {
    let days = |name| Duration::try_from_secs_f64(numbers.value(name) * 86_400.0).unwrap_or_default();
    (days("window"), days("hold"))
}

/// What holds of the lows measured from `from` on. `points`: from `window` before it. `held`: the newest conclusion before.
pub(crate) fn judge(
    points: &[Point],
    numbers: &Numbers<'_>,
    from: Timestamp,
    held: Option<Timestamp>,
    insulin: impl Fn(Timestamp) -> bool,
    zone: &Zone,
) -> Vec<Conclusion> {
    let (limit, severe) = (numbers.value("limit"), numbers.value("severe"));
    let (window, hold) = spans(numbers);
    let glucose = |p: &Point| p.glucose().unwrap_or(f64::NAN);
    let lows: Vec<&Point> = points.iter().filter(|p| p.valid && glucose(p) < limit).collect();
    let mut held = held;
    let mut out = Vec::new();
    for (i, low) in lows.iter().enumerate().filter(|(_, p)| p.at >= from) {
        if held.is_some_and(|at| low.at < at.plus(hold)) {
            continue;
        }
        // Whole days on the patient's wall: the last of them is the low's own.
        let first = lows[..=i].partition_point(|p| p.at.plus(window) <= low.at);
        let within = &lows[first..=i];
        let mut days: Vec<_> = within.iter().map(|p| p.at.day(zone)).collect();
        days.dedup();
        let twice = within.iter().filter(|p| glucose(p) < severe).count();
        let night = at_night(low.at, numbers, zone);
        let step = match () {
            () if count(days.len()) >= numbers.value("days") => "days",
            () if twice >= 2 && glucose(low) < severe => "severe",
            () if night => "night",
            () => continue,
        };
        let recipients: &[Recipient] = if insulin(low.at) {
            &[Recipient::Gp, Recipient::HealthManager, Recipient::Specialist]
        } else {
            &[Recipient::Gp, Recipient::HealthManager]
        };
        held = Some(low.at);
        out.push(Conclusion {
            rule: Rule::GluH1,
            step,
            severity: Severity::Urgent,
            effective_at: low.at,
            recipients,
            closes: false,
            readings: within.iter().map(|p| p.id).collect(),
            excluded: Vec::new(),
            numbers: vec![("days", count(days.len())), ("lows", count(within.len())), ("severe", count(twice))],
            limit: format!("< {limit} mmol/L"),
            over: None,
            joined: Vec::new(),
            since: within[0].at,
            note: false,
            cause: None,
        });
    }
    out
}
