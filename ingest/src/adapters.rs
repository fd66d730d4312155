//! The adapters in force: the built-in ones, each replaced by a file of the same profile where a folder is given.
//!
//! Must never: leave the previous set half replaced; a profile that is in no file is not guessed at.

use crate::Error;
use bytes::Bytes;
use parking_lot::RwLock;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};
use wire::vendor::Adapter;

const BUILT_IN: [(&str, &str); 3] = [
    ("thingsboard.toml", include_str!("../../config/adapters/thingsboard.toml")),
    ("ble-gateway.toml", include_str!("../../config/adapters/ble-gateway.toml")),
    ("cn-push.toml", include_str!("../../config/adapters/cn-push.toml")),
];

type Set = BTreeMap<String, Arc<Adapter>>;

/// Every adapter, by profile. Cheap to clone; all clones see a reload.
#[derive(Clone, Debug)]
pub(crate) struct Adapters(Arc<RwLock<Arc<Set>>>);

impl Adapters {
    pub(crate) fn load(folder: Option<&Path>) -> Result<Self, Error> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(read(folder)?)))))
    }

    /// Reads the files again; what is decoded from now on is decoded by them.
    pub(crate) fn reload(&self, folder: Option<&Path>) -> Result<(), Error> {
        let fresh = Arc::new(read(folder)?);
        *self.0.write() = fresh;
        Ok(())
    }

    pub(crate) fn get(&self, profile: &str) -> Option<Arc<Adapter>> {
        self.0.read().get(profile).cloned()
    }

    /// Of what came on a topic with this tail: all of it, or what is left without the persons in it, where an adapter
    /// knows them.
    pub(crate) fn bytes_to_keep(&self, tail: &str, payload: Bytes) -> Bytes {
        match tail.strip_prefix("vendor/").and_then(|profile| self.get(profile)) {
            Some(adapter) => adapter.without_persons(&payload),
            None => payload,
        }
    }
}

/// Whether the adapters can be loaded.
///
/// # Errors
/// Every file's first fault, with file and line.
pub fn check(folder: Option<&Path>) -> Result<(), Vec<Error>> {
    let (faults, _) = read_all(folder).map_err(|e| vec![e])?;
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn read(folder: Option<&Path>) -> Result<Set, Error> {
    let (faults, set) = read_all(folder)?;
    faults.into_iter().next().map_or(Ok(set), Err)
}

fn read_all(folder: Option<&Path>) -> Result<(Vec<Error>, Set), Error> {
    let mut set = Set::new();
    let mut faults = Vec::new();
    for (file, text) in BUILT_IN {
        match Adapter::parse(&format!("config/adapters/{file}"), text) {
            Ok(adapter) => _ = set.insert(adapter.profile().to_owned(), Arc::new(adapter)),
            Err(fault) => faults.push(Error::Adapter(fault)),
        }
    }
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in folder.map(files).transpose()?.unwrap_or_default() {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|e| folder_fault(&path, &e))?;
        match Adapter::parse(&name, &text) {
            Err(fault) => faults.push(Error::Adapter(fault)),
            Ok(adapter) => {
                let profile = adapter.profile().to_owned();
                if let Some(other) = found.insert(profile.clone(), path) {
                    faults.push(Error::Twice { profile, file: name, other: other.display().to_string() });
                    continue;
                }
                set.insert(profile, Arc::new(adapter));
            }
        }
    }
    Ok((faults, set))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|e| folder_fault(folder, &e))?;
    let mut files: Vec<PathBuf> =
        entries.into_iter().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    Ok(files)
}

fn folder_fault(path: &Path, reason: &std::io::Error) -> Error {
    Error::Folder { folder: path.display().to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_replaces_its_profile_and_a_bad_one_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let adapters = Adapters::load(None).unwrap();
        assert!(adapters.get("acme").is_none() && adapters.get("thingsboard").is_some());
        let own =
            "profile = \"acme\"\nversion = 3\ntitle = \"A\"\n[[blood_glucose]]\nunit = \"mmol/L\"\nglucose = [\"g\"]\n";
        std::fs::write(folder.path().join("a.toml"), own).unwrap();
        adapters.reload(Some(folder.path())).unwrap();
        assert_eq!(adapters.get("acme").unwrap().version(), 3);
        for (text, word) in [("profile = 7\n", "b.toml:1:"), (own, "acme"), ("profile = \"b\"\nunits = 1", "b.toml:2:")]
        {
            std::fs::write(folder.path().join("b.toml"), text).unwrap();
            let faults = check(Some(folder.path())).unwrap_err();
            assert!(faults.len() == 1 && faults[0].to_string().contains(word), "{faults:?}");
            assert!(adapters.reload(Some(folder.path())).is_err());
            assert_eq!(adapters.get("acme").unwrap().version(), 3, "the previous set stays whole");
        }
        assert!(check(Some(&folder.path().join("nowhere"))).unwrap_err()[0].to_string().contains("nowhere"));
    }
}
