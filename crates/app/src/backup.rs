//! `backup` and `restore`: a consistent copy of the folder, taken while the service runs.

use crate::{
    Done, Failure,
    arguments::{BackupOptions, CopyOptions},
    folder,
};
use runtime::Clock;
use std::{fs, path::Path, time::Duration};
use store::{Archive, BackupRecord, Snapshot};

/// Files beside the two databases that an installation needs again.
const SMALL: &[&str] = &["device-ca.pem", "device-ca.key"];

/// Copies the folder to a new one, and writes down where it went and when it is to be deleted.
pub(crate) fn backup(options: &BackupOptions) -> Done {
    let BackupOptions { to: options, keep_days } = options;
    let from = &options.data.data_dir;
    folder::require_initialised(from)?;
    folder::claim_new(&options.folder)?;
    // The registry first: the position it knows may then only lie behind the journal's end, never beyond it.
    store::backup::backup_registry(from, &options.folder)?;
    store::backup::backup_journal(from, &options.folder)?;
    copy_small(from, &options.folder)?;
    println!("backed up {} to {}", from.display(), options.folder.display());
    write_down(from, &options.folder, *keep_days)
        .map_err(|e| Failure::failed("the backup is whole, but it was not written down", e))
}

/// Erasures name the backups that are written down; those that are due are named here.
fn write_down(from: &Path, to: &Path, keep_days: u32) -> Done {
    let to = fs::canonicalize(to).map_err(|e| Failure::failed(to.display(), e))?;
    let made_at = Clock::wall();
    let expires_at = made_at.plus(Duration::from_secs(u64::from(keep_days) * 86_400));
    let made = BackupRecord { path: to.display().to_string(), made_at, expires_at };
    for old in store::record_backup(from, &made)? {
        if old.expires_at <= made_at && Path::new(&old.path).exists() {
            println!("{} was to be deleted by now", old.path);
        }
    }
    Ok(())
}

/// Makes a data folder from a backup; refuses one that holds anything.
pub(crate) fn restore(options: &CopyOptions) -> Done {
    let to = &options.data.data_dir;
    folder::require_initialised(&options.folder)?;
    // A copy that a newer program made is refused before anything is written.
    drop((Snapshot::open(&options.folder)?, Archive::open(&options.folder)?));
    folder::claim_new(to)?;
    store::backup::restore_files(&options.folder, to)?;
    copy_small(&options.folder, to)?;
    println!("restored {} from {}", to.display(), options.folder.display());
    Ok(())
}

fn copy_small(from: &Path, to: &Path) -> Done {
    for name in SMALL {
        match fs::read(from.join(name)) {
            Ok(bytes) => folder::write_private(&to.join(name), &bytes)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Failure::failed(name, e)),
        }
    }
    Ok(())
}
