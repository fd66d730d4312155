//! `backup` and `restore`: a consistent copy of the folder, taken while the service runs.

use crate::{Done, Failure, arguments::CopyOptions, folder};
use std::{fs, path::Path};

/// Files beside the two databases that an installation needs again.
const SMALL: &[&str] = &["device-ca.pem", "device-ca.key"];

/// Copies the folder to a new one.
pub(crate) fn backup(options: &CopyOptions) -> Done {
    let from = &options.data.data_dir;
    folder::require_initialised(from)?;
    folder::claim_new(&options.folder)?;
    // The registry first: the position it knows may then only lie behind the journal's end, never beyond it.
    store::backup::backup_registry(from, &options.folder)?;
    store::backup::backup_journal(from, &options.folder)?;
    copy_small(from, &options.folder)?;
    println!("backed up {} to {}", from.display(), options.folder.display());
    Ok(())
}

/// Makes a data folder from a backup; refuses one that holds anything.
pub(crate) fn restore(options: &CopyOptions) -> Done {
    let to = &options.data.data_dir;
    folder::require_initialised(&options.folder)?;
    folder::claim_new(to)?;
    store::backup::backup_registry(&options.folder, to)?;
    store::backup::backup_journal(&options.folder, to)?;
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
