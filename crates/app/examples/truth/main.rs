//! Measured truth through the pure middle of the service: `cargo run --release -p app --example truth -- cohort`.
//!
//! `cohort` judges the rules on virtual patients of many seeds and holds them against the bars of the contract;
//! `burden` counts alerts on recorded readings of real people. Exit codes: 0 every bar held, 1 a bar was missed, 2 bad
//! arguments or the run failed.

mod burden;
mod cohort;
mod house;

use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};
use simulators::cohort::{Tally, bars, panel::Scenario, table};
use std::{error::Error, path::PathBuf, process::ExitCode};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bars, rules, scripts and naive thresholds, pooled over seeds
    Cohort {
        /// Scenario file
        #[arg(default_value = "simulators/scenarios/cohort.toml")]
        scenario: PathBuf,
        /// Seeds, from 1 on
        #[arg(long, default_value_t = 5)]
        seeds: u64,
        /// Patients that a cell must have for a verdict
        #[arg(long, default_value_t = bars::ENOUGH)]
        enough: u64,
        /// Write every patient's findings here, JSON Lines
        #[arg(long)]
        findings: Option<PathBuf>,
        /// Only this seed, instead of several
        #[arg(long)]
        seed: Option<u64>,
        /// Write every alert of the panel and its judgement here, JSON Lines
        #[arg(long)]
        alerts: Option<PathBuf>,
        /// Write the counts here, to be pooled with those of other seeds
        #[arg(long)]
        counts: Option<PathBuf>,
    },
    /// Bars, rules, scripts and naive thresholds over the counts of several runs
    Pool {
        /// Files that `cohort --counts` wrote
        #[arg(required = true)]
        counts: Vec<PathBuf>,
        /// Patients that a cell must have for a verdict
        #[arg(long, default_value_t = bars::ENOUGH)]
        enough: u64,
    },
    /// Alerts on the recorded readings of real people, as Markdown
    Burden {
        /// Folder of the files
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("truth: {e}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<bool, Box<dyn Error + Send + Sync>> {
    match command {
        Command::Cohort { scenario, seeds, enough, findings, seed, alerts, counts } => {
            let scenario = Scenario::read(&scenario)?;
            let seeds: Vec<u64> = seed.map_or_else(|| (1..=seeds).collect(), |seed| vec![seed]);
            let cohort::Outcome { tally, told, alerts: judged } = cohort::run(&scenario, &seeds)?;
            if let Some(path) = findings {
                let lines: Vec<String> = told.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
                std::fs::write(path, lines.join("\n") + "\n")?;
            }
            if let Some(path) = alerts {
                std::fs::write(path, judged.join("\n") + "\n")?;
            }
            let counted = Counted { scenario: scenario.name, seeds, tally };
            if let Some(path) = counts {
                std::fs::write(path, serde_json::to_vec(&counted)?)?;
            }
            Ok(counted.print(enough))
        }
        Command::Pool { counts, enough } => {
            let mut all = Counted::default();
            for path in counts {
                let one: Counted = serde_json::from_slice(&std::fs::read(&path)?)
                    .map_err(|e| format!("{}: {e}; expected what `cohort --counts` wrote", path.display()))?;
                all.add(one)?;
            }
            Ok(all.print(enough))
        }
        Command::Burden { folder } => {
            match burden::report(&folder)? {
                Some(text) => print!("{text}"),
                None => eprintln!("truth: skipped: the folder {} is not there", folder.display()),
            }
            Ok(true)
        }
    }
}

/// What some seeds of one scenario came to.
#[derive(Default, Serialize, Deserialize)]
struct Counted {
    scenario: String,
    seeds: Vec<u64>,
    tally: Tally,
}

impl Counted {
    /// The same seed twice would be counted as two cohorts.
    fn add(&mut self, other: Self) -> Result<(), Box<dyn Error + Send + Sync>> {
        if !self.scenario.is_empty() && self.scenario != other.scenario {
            return Err(format!("cohorts {} and {} are not of one kind", self.scenario, other.scenario).into());
        }
        if let Some(seed) = other.seeds.iter().find(|seed| self.seeds.contains(seed)) {
            return Err(format!("seed {seed} is there twice").into());
        }
        self.scenario = other.scenario;
        self.seeds.extend(other.seeds);
        self.tally.merge(other.tally);
        Ok(())
    }

    /// Whether every bar held.
    fn print(&self, enough: u64) -> bool {
        let (text, missed) = table(&self.tally, enough);
        println!("cohort {}, seeds {:?}\n{text}", self.scenario, self.seeds);
        missed == 0
    }
}
