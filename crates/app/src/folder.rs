//! The data folder: whose it is, who holds it, where the service listens.

use crate::{Done, Failure};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};
use vitals::{Timestamp, Zone};

const LOCK: &str = "owner.lock";
const ADDRESSES: &str = "addresses.json";
const CLOCK: &str = "test-clock";
/// Present in every folder that `init` made.
pub(crate) const REGISTRY: &str = "registry.db";

/// Exclusive ownership of a folder; ends with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Owned {
    folder: PathBuf,
    _lock: File,
}

/// Makes the folder ready for `init`: missing or empty, anything else is refused and left as it is.
pub(crate) fn claim_new(folder: &Path) -> Done {
    let refused = |why: &str| Failure::failed(format!("{} is left as it is", folder.display()), why);
    match fs::read_dir(folder).map(Iterator::count) {
        Ok(0) => {}
        Ok(_) if folder.join(REGISTRY).exists() => return Err(refused("it is initialised already")),
        Ok(_) => return Err(refused("something else is in it; name a missing or an empty folder")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            create_for_good(folder).map_err(|e| Failure::failed(folder.display(), e))?;
        }
        Err(e) => return Err(Failure::failed(folder.display(), e)),
    }
    private(folder)
}

/// Makes a folder and those above it that are missing, with names that a power cut does not take away.
fn create_for_good(folder: &Path) -> std::io::Result<()> {
    let folder = std::path::absolute(folder)?;
    let missing: Vec<_> = folder.ancestors().take_while(|f| !f.exists()).map(Path::to_owned).collect();
    fs::create_dir_all(&folder)?;
    missing.iter().filter_map(|f| f.parent()).try_for_each(|above| File::open(above)?.sync_all())
}

/// The names in a folder outlive a power cut from here on.
pub(crate) fn keep_names(folder: &Path) -> Done {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Failure::failed(folder.display(), e))
}

/// Nobody else on the machine may look inside.
fn private(path: &Path) -> Done {
    use std::os::unix::fs::PermissionsExt;
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| Failure::failed(path.display(), e))
}

/// A file that only its owner reads, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Done {
    let temporary = path.with_extension("new");
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    })();
    written.map_err(|e| Failure::failed(temporary.display(), e))?;
    private(&temporary)?;
    fs::rename(&temporary, path).map_err(|e| Failure::failed(path.display(), e))
}

/// The folder must be one that `init` made.
pub(crate) fn require_initialised(folder: &Path) -> Done {
    if folder.join(REGISTRY).exists() {
        return Ok(());
    }
    Err(Failure::failed(folder.display(), "not initialised; run `hearthbeat init --data-dir` with it first"))
}

impl Owned {
    /// Takes the folder for this process. `instead` tells an offline command's user what to do while the service runs.
    pub(crate) fn take(folder: &Path, instead: &str) -> Result<Self, Failure> {
        require_initialised(folder)?;
        Self::lock(folder, instead)
    }

    /// As [`Owned::take`], for a folder that [`claim_new`] has just prepared.
    pub(crate) fn take_new(folder: &Path) -> Result<Self, Failure> {
        Self::lock(folder, "")
    }

    fn lock(folder: &Path, instead: &str) -> Result<Self, Failure> {
        let path = folder.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| Failure::failed(path.display(), e))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            let holder = holder.trim();
            return Err(Failure::failed(
                folder.display(),
                format!("held by process {holder}{}{instead}", if instead.is_empty() { "" } else { "; " }),
            ));
        }
        let written =
            lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(lock, "{}", std::process::id()));
        written.map_err(|e| Failure::failed(path.display(), e))?;
        private(folder)?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// Tells the outside where to knock. Written when everything accepts; a clean stop removes it.
    pub(crate) fn publish_addresses(&self, edge: broker::Addresses, http: SocketAddr) -> Done {
        let text = |a: Option<SocketAddr>| a.map(|a| a.to_string());
        let body = serde_json::json!({
            "pid": std::process::id(), "mqtt": text(edge.mqtt), "mqtts": text(edge.mqtts),
            "ws": text(edge.ws), "wss": text(edge.wss), "http": http.to_string(),
        });
        write_private(&self.folder.join(ADDRESSES), body.to_string().as_bytes())
    }

    /// A start, or a clean stop: nobody is listening there now.
    pub(crate) fn withdraw_addresses(&self) {
        let _ = fs::remove_file(self.folder.join(ADDRESSES));
    }
}

/// Tells the process that holds the folder to read its files again; its id, where there is one.
pub(crate) fn tell_holder(folder: &Path) -> Option<i32> {
    let mut lock = File::open(folder.join(LOCK)).ok()?;
    if flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
        return None; // nobody holds it, so the number in it may be anybody's
    }
    let mut holder = String::new();
    lock.read_to_string(&mut holder).ok()?;
    let number = holder.trim().parse().ok()?;
    rustix::process::kill_process(rustix::process::Pid::from_raw(number)?, rustix::process::Signal::HUP).ok()?;
    Some(number)
}

/// Where a manual clock stood last; it never goes back, not even over a restart.
pub(crate) fn last_test_time(folder: &Path) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(fs::read_to_string(folder.join(CLOCK)).ok()?.trim()).ok()
}

/// Remembers where a manual clock stands.
pub(crate) fn keep_test_time(folder: &Path, at: Timestamp) -> Done {
    write_private(&folder.join(CLOCK), at.to_rfc3339(&Zone::utc()).as_bytes())
}
