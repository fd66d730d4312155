//! Counting: histograms and totals of one thread, mergeable. Pure.

use crate::Error;
use hdrhistogram::Histogram;

/// Microseconds up to ten minutes, three digits; what is longer counts as ten minutes.
///
/// # Errors
/// Never with these constants; the library's own word if it should.
pub(super) fn histogram() -> Result<Histogram<u64>, Error> {
    Histogram::new_with_bounds(1, 600_000_000, 3).map_err(|e| Error::Input(format!("histogram: {e}")))
}

/// What one phase gave, in readings.
#[derive(Clone, Debug)]
pub(super) struct PhaseTally {
    pub planned: u64,
    pub acked: u64,
    pub acked_in_time: u64,
    pub duplicates: u64,
    pub latency: Histogram<u64>,
}

/// What one thread gave.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub phases: Vec<PhaseTally>,
    pub lag: Histogram<u64>,
    pub connect: Histogram<u64>,
    pub connects: u64,
    pub failed_connects: u64,
    pub refused_connects: u64,
    pub lost_connections: u64,
    pub cuts: u64,
    pub refused: u64,
    pub resent: u64,
    pub lost: u64,
}

impl Tally {
    pub(super) fn new(phases: usize) -> Result<Self, Error> {
        let blank = histogram()?;
        let phase = PhaseTally { planned: 0, acked: 0, acked_in_time: 0, duplicates: 0, latency: blank.clone() };
        Ok(Self {
            phases: vec![phase; phases],
            lag: blank.clone(),
            connect: blank,
            connects: 0,
            failed_connects: 0,
            refused_connects: 0,
            lost_connections: 0,
            cuts: 0,
            refused: 0,
            resent: 0,
            lost: 0,
        })
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.phases.iter_mut().zip(&other.phases) {
            mine.planned += theirs.planned;
            mine.acked += theirs.acked;
            mine.acked_in_time += theirs.acked_in_time;
            mine.duplicates += theirs.duplicates;
            let _ = mine.latency.add(&theirs.latency);
        }
        let _ = self.lag.add(&other.lag);
        let _ = self.connect.add(&other.connect);
        self.connects += other.connects;
        self.failed_connects += other.failed_connects;
        self.refused_connects += other.refused_connects;
        self.lost_connections += other.lost_connections;
        self.cuts += other.cuts;
        self.refused += other.refused;
        self.resent += other.resent;
        self.lost += other.lost;
    }
}

/// One second of one thread.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// Since the start of the run.
    pub second: u64,
    /// Readings that were due in it.
    pub planned: u64,
    /// Readings acknowledged in it.
    pub acked: u64,
    /// Readings unacknowledged at its end.
    pub waiting: u64,
    /// Devices connected at its end.
    pub connected: u64,
    /// Of the acknowledgements in it.
    pub latency: Histogram<u64>,
    /// The generator's worst lateness in it, microseconds.
    pub lag: u64,
}

impl Snapshot {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self { second: 0, planned: 0, acked: 0, waiting: 0, connected: 0, latency: histogram()?, lag: 0 })
    }

    /// This second, complete; what remains is the next one, empty.
    pub(super) fn turn(&mut self) -> Self {
        let done = self.clone();
        self.second += 1;
        (self.planned, self.acked, self.lag) = (0, 0, 0);
        self.latency.reset();
        done
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.planned += other.planned;
        self.acked += other.acked;
        self.waiting += other.waiting;
        self.connected += other.connected;
        let _ = self.latency.add(&other.latency);
        self.lag = self.lag.max(other.lag);
    }

    pub(super) fn line(&self, phase: &str) -> String {
        format!(
            "{:>4} s {phase:<10} due {:>6}/s acked {:>6}/s p50 {:>7.2} p99 {:>7.2} max {:>7.2} ms waiting {:>6} connected {:>5} lag {:.1} ms",
            self.second,
            self.planned,
            self.acked,
            ms(self.latency.value_at_quantile(0.5)),
            ms(self.latency.value_at_quantile(0.99)),
            ms(self.latency.max()),
            self.waiting,
            self.connected,
            ms(self.lag),
        )
    }
}

/// Microseconds as milliseconds.
#[allow(clippy::cast_precision_loss, reason = "microseconds of a run are far below 2^53")]
pub(super) fn ms(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
