//! Copies of the two files while the service runs: each is one consistent view, synced before this returns.
//!
//! Order matters, because no transaction spans both files: the registry first, then the journal. Then everything that
//! the registry has concluded lies in the copied journal; what the journal has beyond it is evaluated after a restore.

use crate::StoreError;
use rusqlite::{Connection, OpenFlags, backup::Backup};
use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

/// Both files of `folder` into `to`, which is made where it is missing. Safe beside a running service.
///
/// # Errors
/// When a file cannot be read or written, or is already there.
pub fn backup(folder: &Path, to: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(to).map_err(|e| fault(to, &e))?;
    backup_registry(folder, to)?;
    backup_journal(folder, to)
}

/// `registry.db` of one folder into another. Before [`backup_journal`].
///
/// # Errors
/// As [`backup`].
pub fn backup_registry(from: &Path, to: &Path) -> Result<(), StoreError> {
    copy(&from.join("registry.db"), &to.join("registry.db"))
}

/// `journal.db` of one folder into another. After [`backup_registry`].
///
/// # Errors
/// As [`backup`].
pub fn backup_journal(from: &Path, to: &Path) -> Result<(), StoreError> {
    copy(&from.join("journal.db"), &to.join("journal.db"))
}

/// Both files of a backup into an empty data folder. The service must not run there.
///
/// # Errors
/// When a file cannot be read or written, or is already there.
pub fn restore(backup: &Path, folder: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(folder).map_err(|e| fault(folder, &e))?;
    for file in ["registry.db", "journal.db"] {
        if folder.join(file).exists() {
            return Err(taken(&folder.join(file)));
        }
        if !backup.join(file).exists() {
            return Err(fault(&backup.join(file), &std::io::ErrorKind::NotFound.into()));
        }
    }
    restore_files(backup, folder)
}

/// Both files of a backup into a folder that has neither.
///
/// # Errors
/// As [`restore`].
pub fn restore_files(backup: &Path, folder: &Path) -> Result<(), StoreError> {
    backup_registry(backup, folder)?;
    crate::registry::unsettled::note_all(&folder.join("registry.db"))?;
    backup_journal(backup, folder)
}

fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(taken(to));
    }
    let part: PathBuf = to.with_extension("db.part");
    let _ = std::fs::remove_file(&part); // of a backup that did not end
    copy_pages(from, &part).map_err(|e| match StoreError::from(e) {
        StoreError::Database { reason, .. } => StoreError::Database { what: "backup", reason },
        StoreError::DiskFull(_) => StoreError::DiskFull(to.display().to_string()),
        other => other,
    })?;
    File::open(&part).and_then(|f| f.sync_all()).map_err(|e| fault(&part, &e))?;
    std::fs::rename(&part, to).map_err(|e| fault(to, &e))?;
    let folder = to.parent().unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| fault(folder, &e))
}

fn copy_pages(from: &Path, to: &Path) -> Result<(), rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags)?;
    source.execute_batch("PRAGMA query_only=ON; PRAGMA busy_timeout=5000;")?;
    let mut target = Connection::open(to)?;
    // One step, so one view: a copy in pieces would begin anew at every commit of the service.
    Backup::new(&source, &mut target)?.run_to_completion(i32::MAX, Duration::ZERO, None)
}

fn fault(path: &Path, e: &std::io::Error) -> StoreError {
    StoreError::Database { what: "backup", reason: format!("{}: {e}", path.display()) }
}

fn taken(path: &Path) -> StoreError {
    StoreError::Conflict(format!("{} is there already: choose an empty folder", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewHeld, Store};
    use runtime::{Clock, Drain, DrainHandle};
    use vitals::{Device, DeviceKey, DeviceKind, Held, ReadingId, Reason, Timestamp, Zone};

    fn open(folder: &Path) -> (Store, DrainHandle) {
        let (handle, drain) = Drain::new();
        (Store::open(folder, Clock::manual(Timestamp::from_seconds(9)), &drain).unwrap(), handle)
    }

    async fn meter(store: &Store, id: &str) -> DeviceKey {
        let device = Device {
            key: DeviceKey::new(0),
            id: id.parse().unwrap(),
            kind: DeviceKind::Meter,
            label: None,
            model: None,
            organisation: None,
            secret_hash: None,
            revoked: false,
        };
        store.create_device(device).await.unwrap().key
    }

    async fn sends(store: &Store, device: DeviceKey) {
        let held = Held {
            id: ReadingId::new(0),
            device,
            epoch: 0,
            seq: None,
            patient: None,
            measured_at: None,
            received_at: Timestamp::from_seconds(9),
            reasons: vec![Reason::BrokenMessage],
            bytes: b"?".to_vec(),
            route: "readings".into(),
        };
        let work = move |desk: &mut crate::Desk<'_>| desk.hold(NewHeld { held, told: None, trusted: false });
        store.readings().submit(Timestamp::from_seconds(9).day(&Zone::default()), 1, work).await.unwrap();
    }

    #[tokio::test]
    async fn a_meter_that_began_while_the_copy_was_made_gives_its_key_to_no_other_after_a_restore() {
        let (folder, copy, back) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (store, _end) = open(folder.path());
        meter(&store, "bp-1").await;
        backup_registry(folder.path(), copy.path()).unwrap();
        let begun = meter(&store, "bp-2").await;
        sends(&store, begun).await;
        backup_journal(folder.path(), copy.path()).unwrap();
        restore(copy.path(), back.path()).unwrap();
        for id in ["bp-3", "bp-4"] {
            let (store, _end) = open(back.path());
            let next = meter(&store, id).await;
            assert!(next > begun, "{id}: {next} has what {begun} sent");
        }
    }

    #[tokio::test]
    async fn after_a_restore_the_journal_follows_the_bindings_that_the_older_registry_has() {
        let (folder, copy, back) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (store, _end) = open(folder.path());
        let device = meter(&store, "bp-1").await;
        backup(folder.path(), copy.path()).unwrap();
        assert_eq!(store.unsettled_devices().await.unwrap(), []);
        restore(copy.path(), back.path()).unwrap();
        let (store, _end) = open(back.path());
        assert_eq!(store.unsettled_devices().await.unwrap(), [device]);
    }
}
