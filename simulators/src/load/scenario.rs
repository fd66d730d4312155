//! What a load run is: devices, phases, messages, faults and the limits it must keep. TOML; unknown keys are errors.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A scenario file. Defaults in brackets.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name in the report.
    pub name: String,
    /// One sentence for whoever reads the report.
    #[serde(default)]
    pub purpose: String,
    /// Connections.
    pub devices: u32,
    /// Phase of connecting.
    #[serde(default)]
    pub connect: Connect,
    /// One after the other.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
    /// What is sent.
    #[serde(default)]
    pub message: Message,
    /// What goes wrong on purpose.
    #[serde(default)]
    pub faults: Faults,
    /// What decides the exit code.
    #[serde(default)]
    pub thresholds: Thresholds,
    /// Seconds after the last phase in which what is still unacknowledged may come in [15].
    #[serde(default = "fifteen")]
    pub drain_seconds: u32,
}

const fn fifteen() -> u32 {
    15
}

/// The connects come at an even rate; the phases begin a second after the last one was due.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connect {
    /// Connects a second [500].
    pub rate: f64,
}

impl Default for Connect {
    fn default() -> Self {
        Self { rate: 500.0 }
    }
}

/// A stretch of constant rate.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Name in the report.
    pub name: String,
    /// How long.
    pub seconds: f64,
    /// Readings a second, over all devices.
    pub rate: f64,
    /// Whether the thresholds judge it [yes]; a warm-up says no.
    #[serde(default = "yes")]
    pub judged: bool,
    /// How the arrivals lie [poisson].
    #[serde(default)]
    pub arrivals: Arrivals,
}

const fn yes() -> bool {
    true
}

/// How arrivals lie in a phase; their number is rate times seconds either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Independent of each other, as people are.
    #[default]
    Poisson,
    /// Evenly spaced, devices in turn.
    Even,
}

/// What a device sends.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Message {
    /// Readings a message, 1 to 200 [1].
    pub readings: u32,
    /// Share of messages that hold glucose, 0 to 1 [0.3]; the rest hold blood pressure.
    pub glucose_share: f64,
    /// Share of messages that repeat the device's previous one, 0 to 1 [0].
    pub duplicate_share: f64,
    /// Publishes unacknowledged at once by one device, 1 to 1,000 [64].
    pub window: u32,
}

impl Default for Message {
    fn default() -> Self {
        Self { readings: 1, glucose_share: 0.3, duplicate_share: 0.0, window: 64 }
    }
}

/// Faults on purpose.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Share of messages right after which the device's connection is cut, 0 to 1 [0].
    pub disconnect_share: f64,
}

/// Limits over the judged phases. A limit that is not given is not judged, except that nothing may be lost.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// Readings acknowledged a second, at least.
    pub min_rate: Option<f64>,
    /// 99th percentile from the planned moment to the PUBACK, milliseconds, at most.
    pub puback_p99_ms: Option<f64>,
    /// Readings without a PUBACK at the end, at most [0].
    pub max_lost: u64,
    /// 99th percentile of the generator's own lateness, milliseconds; above it the run is invalid [20].
    pub max_lag_p99_ms: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { min_rate: None, puback_p99_ms: None, max_lost: 0, max_lag_p99_ms: 20.0 }
    }
}

impl Scenario {
    /// Reads and checks a scenario file.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Input`], naming file, line and what is out of range.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path.display().to_string()))?;
        Self::parse(&text).map_err(|why| Error::Input(format!("{}: {why}", path.display())))
    }

    /// From TOML text.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let above_zero = |x: f64| x.is_finite() && x > 0.0;
        let faults = [
            (scenario.devices == 0 || scenario.devices > 28_000, "devices must be 1 to 28000 (ports of one address)"),
            (scenario.phases.is_empty(), "at least one [[phase]] is needed"),
            (!scenario.phases.iter().any(|p| p.judged), "at least one phase must be judged"),
            (!above_zero(scenario.connect.rate), "connect.rate must be above 0"),
            (
                scenario
                    .phases
                    .iter()
                    .any(|p| !(p.seconds > 0.0 && p.seconds <= 86_400.0 && p.rate > 0.0 && p.rate <= 1e6)),
                "a phase needs seconds above 0 to 86400 and a rate above 0 to 1000000",
            ),
            (scenario.phases.iter().map(|p| p.seconds * p.rate).sum::<f64>() > 5e7, "more than 50 million readings"),
            (!(1..=200).contains(&scenario.message.readings), "message.readings must be 1 to 200"),
            (!(1..=1000).contains(&scenario.message.window), "message.window must be 1 to 1000"),
            (
                !(share(scenario.message.glucose_share)
                    && share(scenario.message.duplicate_share)
                    && share(scenario.faults.disconnect_share)),
                "a share must be 0 to 1",
            ),
        ];
        match faults.iter().find(|(bad, _)| *bad) {
            Some((_, why)) => Err((*why).into()),
            None => Ok(scenario),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named() {
        let good = "name = 'x'\ndevices = 10\n[[phase]]\nname = 'hold'\nseconds = 1\nrate = 10\n";
        assert!(Scenario::parse(good).is_ok());
        for (bad, word) in [
            (good.replace("devices = 10", "devices = 0"), "devices"),
            (good.replace("rate = 10", "rate = 0"), "rate"),
            (good.replace("rate = 10", "rates = 10"), "rates"),
            (format!("{good}[message]\nreadings = 201\n"), "readings"),
            (format!("{good}[faults]\ndisconnect_share = 2.0\n"), "share"),
            (good.replace("rate = 10", "rate = 10\njudged = false"), "judged"),
        ] {
            let why = Scenario::parse(&bad).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }
}
