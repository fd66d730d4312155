//! How many fsyncs a second the disk under a folder takes: the bound that every durable figure is read against.
//!
//! Goes in: a folder and a time. Comes out: a rate and percentiles. Must never: leave its file behind.

use crate::Error;
use hdrhistogram::Histogram;
use std::{fs, io::Write as _, path::Path, time::Duration, time::Instant};

/// What one measurement found; latencies in microseconds.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Fsync {
    /// Completed a second.
    pub per_second: f64,
    /// Median.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Longest.
    pub max_us: u64,
}

/// Appends 4 KiB and waits for the disk, over and over, for `time`; the file is removed at the end.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be written.
pub fn measure(folder: &Path, time: Duration) -> Result<Fsync, Error> {
    let path = folder.join(format!(".fsync-{}", std::process::id()));
    let result = run(&path, time).map_err(Error::io(format!("fsync in {}", folder.display())));
    let _ = fs::remove_file(&path);
    result
}

#[allow(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn run(path: &Path, time: Duration) -> std::io::Result<Fsync> {
    let mut file = fs::File::create(path)?;
    let mut taken = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).map_err(std::io::Error::other)?;
    let begun = Instant::now();
    while begun.elapsed() < time {
        let before = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        taken.saturating_record(u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(Fsync {
        per_second: taken.len() as f64 / begun.elapsed().as_secs_f64(),
        p50_us: taken.value_at_quantile(0.5),
        p99_us: taken.value_at_quantile(0.99),
        max_us: taken.max(),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_measures_and_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        let found = super::measure(folder.path(), std::time::Duration::from_millis(30)).unwrap();
        assert!(found.per_second > 0.0 && found.max_us >= found.p50_us);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
