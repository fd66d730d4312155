//! Named points at which a test may kill the release binary (`HEARTHBEAT_CRASH_AT=name[:n]`), only with a test clock.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

struct Armed {
    name: String,
    left: AtomicU64,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Arms one point: `journal.before_commit` dies there the first time, `journal.before_commit:7` the seventh time.
pub fn arm(what: &str) {
    let (name, count) = what.split_once(':').unwrap_or((what, "1"));
    let left = AtomicU64::new(count.parse().unwrap_or(1).max(1));
    let _ = ARMED.set(Armed { name: name.to_owned(), left });
}

/// Dies here, without a word to anybody, when armed for `name`.
pub fn point(name: &str) {
    if let Some(armed) = ARMED.get()
        && armed.name == name
        && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}
