//! Open-loop load: a plan made before the start, many devices, latency counted from the planned moment.
//!
//! ```text
//! scenario ─▶ plan ─▶ shard (one thread: pacer + its devices' sockets) ─▶ tally ─▶ report ─▶ page, compare
//! ```
//! Goes in: a scenario, a seed, credentials, a broker. Comes out: a report with a verdict. Must never: wait for an
//! answer before the next planned message is due (that would hide the server's pauses), or call a run valid in which
//! the generator itself was late.

pub mod compare;
mod compose;
mod device;
pub mod page;
pub mod plan;
pub mod report;
pub mod scenario;
mod shard;
mod tally;

use crate::{Error, codec::Version, credentials::Credential, meter::Target};
use plan::Plan;
use report::Report;
use scenario::Scenario;
use std::{
    path::PathBuf,
    sync::mpsc,
    time::{Duration, Instant},
};
use tally::{Snapshot, Tally};

/// How to run a scenario.
#[derive(Debug, Clone)]
pub struct Run {
    /// Where to.
    pub target: Target,
    /// Who; at least as many as the scenario has devices.
    pub devices: Vec<Credential>,
    /// Protocol level.
    pub version: Version,
    /// Threads of the generator.
    pub threads: u32,
    /// First sequence number of every device.
    pub first_seq: u64,
    /// Where every acknowledged (device, seq) is appended.
    pub ack_log: Option<PathBuf>,
}

/// Runs the plan to its end and judges it. `progress` gets a line a second.
///
/// # Errors
/// [`Error::Input`] when there are too few devices, [`Error::Io`] when the acknowledgement log cannot be written.
pub fn run(scenario: &Scenario, plan: &Plan, run: &Run, mut progress: impl FnMut(&str)) -> Result<Report, Error> {
    let wanted = usize::try_from(scenario.devices).unwrap_or(usize::MAX);
    let Some(devices) = run.devices.get(..wanted) else {
        let found = run.devices.len();
        return Err(Error::Input(format!(
            "the scenario wants {wanted} devices and the file has {found}: provision more"
        )));
    };
    raise_file_limit(u64::from(scenario.devices) + 200);
    let threads = run.threads.clamp(1, 16);
    let (say, heard) = mpsc::channel();
    // Everybody counts from one moment, a little ahead, so that all threads stand ready.
    let start = Instant::now() + Duration::from_millis(300);
    let wall = jiff::Timestamp::now().as_microsecond() + 300_000;
    let mut workers = Vec::new();
    for number in 0..threads {
        let job = shard::Job::new(scenario, plan, run, devices, (number, threads), (start, wall))?;
        let say = say.clone();
        let worker = std::thread::Builder::new().name(format!("load-{number}")).spawn(move || shard::work(job, &say));
        workers.push(worker.map_err(Error::io("start a thread"))?);
    }
    drop(say);
    let timeline = watch(scenario, plan, threads, &heard, &mut progress);
    let mut total = Tally::new(scenario.phases.len())?;
    for worker in workers {
        let tally = worker.join().map_err(|_| Error::Input("a thread of the generator ended by itself".into()))??;
        total.add(&tally);
    }
    Ok(Report::new(scenario, plan, run, &total, timeline))
}

/// Merges the shards' seconds as they come in, and says each aloud once it is complete.
fn watch(
    scenario: &Scenario,
    plan: &Plan,
    threads: u32,
    heard: &mpsc::Receiver<Snapshot>,
    progress: &mut impl FnMut(&str),
) -> Vec<Snapshot> {
    let mut timeline: Vec<Snapshot> = Vec::new();
    let mut parts = std::collections::BTreeMap::<u64, u32>::new();
    for snapshot in heard {
        let count = parts.entry(snapshot.second).or_default();
        *count += 1;
        let complete = *count == threads;
        let second = snapshot.second;
        match timeline.iter_mut().find(|s| s.second == second) {
            Some(known) => known.add(&snapshot),
            None => timeline.push(snapshot),
        }
        if let Some(whole) = timeline.iter().find(|s| complete && s.second == second) {
            progress(&whole.line(plan.phase_at(scenario, second)));
        }
    }
    timeline.sort_by_key(|s| s.second);
    timeline
}

/// One socket a device: asks the system for as many files as it grants.
fn raise_file_limit(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    if now.current.is_some_and(|have| have < wanted) {
        let current = now.maximum.map_or(wanted, |most| most.min(wanted.max(65_536)));
        // When it is refused, the connects beyond the limit fail and are counted.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: now.maximum });
    }
}

#[cfg(test)]
mod tests;
