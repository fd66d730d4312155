//! Every arrival of a run, decided before its start. Pure: scenario and seed in, list out.

use super::scenario::{Arrivals, Phase, Scenario};
use crate::dice::{Dice, whole};
use sha2::{Digest as _, Sha256};
use std::{fmt, io::Write};

/// What happens at an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A new message of blood pressure.
    Pressure,
    /// A new message of glucose.
    Glucose,
    /// The device's previous message once more.
    Again,
    /// The device's connection is cut.
    Cut,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pressure => "blood_pressure",
            Self::Glucose => "blood_glucose",
            Self::Again => "duplicate",
            Self::Cut => "disconnect",
        })
    }
}

/// One planned moment of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Microseconds after the start of the run.
    pub at: u64,
    /// Index of the device.
    pub device: u32,
    /// Index of the phase.
    pub phase: u16,
    /// What it does.
    pub what: What,
}

/// A run's arrivals in order of time.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed it was made from.
    pub seed: u64,
    /// In order of time.
    pub arrivals: Vec<Arrival>,
    /// When each phase begins, and after the last one its end; microseconds.
    pub starts: Vec<u64>,
}

/// When device `index` is to connect, microseconds after the start.
pub fn connect_at(scenario: &Scenario, index: u32) -> u64 {
    micros(f64::from(index) / scenario.connect.rate)
}

fn micros(seconds: f64) -> u64 {
    u64::try_from(whole(seconds * 1e6)).unwrap_or(0)
}

impl Plan {
    /// Makes the plan; the same scenario and seed give the same plan everywhere.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut arrivals = Vec::new();
        let mut begin = connect_at(scenario, scenario.devices) + 1_000_000;
        let mut starts = vec![begin];
        for (index, phase) in (0_u16..).zip(&scenario.phases) {
            let mut dice = Dice::new(seed).fork(u64::from(index) + 1);
            fill(&mut arrivals, scenario, phase, (index, begin), &mut dice);
            begin += micros(phase.seconds);
            starts.push(begin);
        }
        Self { seed, arrivals, starts }
    }

    /// SHA-256 over every arrival and the start of every phase, in hex.
    pub fn hash(&self) -> String {
        let mut sha = Sha256::new();
        for start in &self.starts {
            sha.update(start.to_le_bytes());
        }
        for a in &self.arrivals {
            sha.update(a.at.to_le_bytes());
            sha.update(a.device.to_le_bytes());
            sha.update([match a.what {
                What::Pressure => 0,
                What::Glucose => 1,
                What::Again => 2,
                What::Cut => 3,
            }]);
        }
        hex::encode(sha.finalize())
    }

    /// The name of the phase in which a second of the run lies.
    pub fn phase_at<'a>(&self, scenario: &'a Scenario, second: u64) -> &'a str {
        let at = second * 1_000_000;
        let begun = self.starts.iter().filter(|start| **start <= at).count();
        match begun.checked_sub(1) {
            None => "connect",
            Some(index) => scenario.phases.get(index).map_or("drain", |p| p.name.as_str()),
        }
    }

    /// Prints every arrival as `seconds device what`, unless only the sum is wanted, and the hash.
    ///
    /// # Errors
    /// What the writer says.
    pub fn print(&self, out: &mut impl Write, summary: bool) -> std::io::Result<()> {
        if !summary {
            for a in &self.arrivals {
                writeln!(out, "{}.{:06} {} {}", a.at / 1_000_000, a.at % 1_000_000, a.device, a.what)?;
            }
        }
        writeln!(out, "seed {} arrivals {} sha256 {}", self.seed, self.arrivals.len(), self.hash())
    }
}

fn fill(out: &mut Vec<Arrival>, scenario: &Scenario, phase: &Phase, (index, begin): (u16, u64), dice: &mut Dice) {
    let readings = f64::from(scenario.message.readings);
    let count = u64::try_from(whole(phase.rate * phase.seconds / readings)).unwrap_or(0);
    let length = micros(phase.seconds);
    let first = out.len();
    for n in 0..count {
        let (offset, device) = match phase.arrivals {
            // A Poisson process with its number given: independent moments, evenly distributed.
            Arrivals::Poisson => (dice.below(length), dice.below(u64::from(scenario.devices))),
            Arrivals::Even => (length * n / count, n % u64::from(scenario.devices)),
        };
        let device = u32::try_from(device).unwrap_or(0);
        let what = if dice.chance(scenario.message.duplicate_share) {
            What::Again
        } else if dice.chance(scenario.message.glucose_share) {
            What::Glucose
        } else {
            What::Pressure
        };
        out.push(Arrival { at: begin + offset, device, phase: index, what });
        if dice.chance(scenario.faults.disconnect_share) {
            out.push(Arrival { at: begin + offset, device, phase: index, what: What::Cut });
        }
    }
    // Stable, so that a cut stays behind the message it belongs to.
    out[first..].sort_by_key(|a| a.at);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = 'x'\ndevices = 50\n[[phase]]\nname = 'a'\nseconds = 2\nrate = 500\n[[phase]]\nname = 'b'\n\
                        seconds = 3\nrate = 100\narrivals = 'even'\n[message]\nduplicate_share = 0.1\n[faults]\n\
                        disconnect_share = 0.05\n";

    #[test]
    fn a_seed_gives_one_plan() {
        let scenario = Scenario::parse(TEXT).unwrap();
        let plan = Plan::new(&scenario, 7);
        assert_eq!(plan.hash(), Plan::new(&scenario, 7).hash());
        assert_ne!(plan.hash(), Plan::new(&scenario, 8).hash());
        let (mut one, mut two) = (Vec::new(), Vec::new());
        plan.print(&mut one, false).unwrap();
        Plan::new(&scenario, 7).print(&mut two, false).unwrap();
        assert_eq!(one, two);
    }

    #[test]
    fn the_plan_keeps_the_scenario() {
        let scenario = Scenario::parse(TEXT).unwrap();
        let plan = Plan::new(&scenario, 7);
        assert!(plan.arrivals.windows(2).all(|w| w[0].at <= w[1].at));
        let count = |phase: u16| plan.arrivals.iter().filter(|a| a.phase == phase && a.what != What::Cut).count();
        assert_eq!((count(0), count(1)), (1000, 300));
        let cuts = plan.arrivals.iter().filter(|a| a.what == What::Cut).count();
        assert!((30..100).contains(&cuts), "{cuts}");
        assert!(plan.arrivals.iter().all(|a| a.device < 50 && a.at >= 1_100_000));
        assert_eq!(plan.phase_at(&scenario, 0), "connect");
        assert_eq!(plan.phase_at(&scenario, 5), "b");
        assert_eq!(plan.phase_at(&scenario, 9), "drain");
    }
}
