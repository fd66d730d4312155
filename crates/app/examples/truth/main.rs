//! Measured truth through the pure middle of the service: `cargo run --release -p app --example truth -- cohort`.
//!
//! `cohort` judges the rules on virtual patients of many seeds and holds them against the bars of the contract;
//! `burden` counts alerts on recorded readings of real people. Exit codes: 0 every bar held, 1 a bar was missed, 2 bad
//! arguments or the run failed.

mod burden;
mod cohort;
mod house;

use clap::{Parser, Subcommand};
use simulators::cohort::{bars, panel::Scenario, table};
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
    let (scenario, seeds, enough, findings, seed) = match command {
        Command::Cohort { scenario, seeds, enough, findings, seed } => (scenario, seeds, enough, findings, seed),
        Command::Burden { folder } => {
            match burden::report(&folder)? {
                Some(text) => print!("{text}"),
                None => eprintln!("truth: skipped: the folder {} is not there", folder.display()),
            }
            return Ok(true);
        }
    };
    let scenario = Scenario::read(&scenario)?;
    let seeds: Vec<u64> = seed.map_or_else(|| (1..=seeds).collect(), |seed| vec![seed]);
    let (tally, told) = cohort::run(&scenario, &seeds)?;
    if let Some(path) = findings {
        let lines: Vec<String> = told.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        std::fs::write(path, lines.join("\n") + "\n")?;
    }
    let (text, missed) = table(&tally, enough);
    println!("cohort {}, seeds {seeds:?}\n{text}", scenario.name);
    Ok(missed == 0)
}
