//! What the server says of itself: suspension, lag, room. An acknowledgement says none of it.

use super::{Config, Fault, TABLE, sql::Sql};
use std::time::{Duration, Instant};

/// Where the table stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wal {
    /// The flag, not the error tag: that stays empty after a full disk.
    pub(super) suspended: bool,
    /// Transactions taken and not applied.
    pub(super) behind: u64,
}

pub(super) fn wal(sql: &Sql) -> Result<Wal, Fault> {
    let rows =
        sql.rows(&format!("SELECT suspended, writerTxn, sequencerTxn FROM wal_tables() WHERE name = '{TABLE}'"))?;
    let row = rows.first().ok_or(Fault::Replaced)?;
    let number = |i: usize| row.get(i).cloned().flatten().and_then(|t| t.parse::<u64>().ok()).unwrap_or_default();
    let suspended = row.first().cloned().flatten().is_some_and(|t| t == "t" || t == "true");
    Ok(Wal { suspended, behind: number(2).saturating_sub(number(1)) })
}

/// Bytes free where QuestDB keeps its data; none where that is not on this machine.
pub(super) fn free_bytes(config: &Config) -> Option<u64> {
    let stat = rustix::fs::statvfs(config.data_dir.as_ref()?).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// # Errors
/// [`Fault::DiskLow`] below the limit.
pub(super) fn room(config: &Config, free: Option<u64>) -> Result<(), Fault> {
    match free {
        Some(free) if free < config.min_free_bytes => Err(Fault::DiskLow { free, limit: config.min_free_bytes }),
        _ => Ok(()),
    }
}

/// Notices a lag that does not shrink. Pure: it is told what was seen when.
#[derive(Debug, Default)]
pub(super) struct LagWatch {
    /// The smallest lag of this trouble, and when it was reached.
    best: Option<(u64, Instant)>,
}

impl LagWatch {
    /// How long the lag has been above `limit` without becoming smaller; none while it is fine or shrinking.
    pub(super) fn look(&mut self, behind: u64, limit: u64, at: Instant) -> Option<Duration> {
        if behind < limit {
            self.best = None;
            return None;
        }
        match self.best {
            Some((best, since)) if behind >= best => Some(at.duration_since(since)),
            _ => {
                self.best = Some((behind, at));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lag_that_does_not_shrink_counts() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut watch = LagWatch::default();
        assert_eq!(watch.look(99, 100, at(0)), None);
        assert_eq!(watch.look(500, 100, at(1)), None);
        assert_eq!(watch.look(400, 100, at(2)), None, "it shrinks");
        assert_eq!(watch.look(400, 100, at(12)), Some(Duration::from_secs(10)));
        assert_eq!(watch.look(900, 100, at(32)), Some(Duration::from_secs(30)));
        assert_eq!(watch.look(10, 100, at(33)), None);
        assert_eq!(watch.look(200, 100, at(99)), None, "a new trouble");
    }

    #[test]
    fn without_room_nothing_is_sent() {
        let config = Config { min_free_bytes: 10, ..Config::default() };
        assert!(room(&config, Some(9)).is_err());
        assert!(room(&config, Some(10)).is_ok());
        assert!(room(&config, None).is_ok());
    }
}
