//! How far the projection got, on disk: the last position up to which the rows were counted on the server and agreed.
//!
//! A file of its own beside `journal.db`, replaced whole: the registry has one writer that pages doctors and must not
//! wait for analysts, and the journal must not know who reads it.

use super::Fault;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

const VERSION: u32 = 1;

/// Rows that must be in the table, by week.
pub(super) type Tally = BTreeMap<i64, u64>;

/// What survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    version: u32,
    /// Everything up to here was counted and agreed.
    pub(super) checked: u64,
    /// How many rows that were, by week.
    pub(super) weeks: Tally,
    /// Weeks that must be sent again from the series: a reading in them got another patient or time.
    pub(super) rewrite: BTreeSet<i64>,
}

impl Position {
    /// From the folder; none where nothing was ever projected, or where the file cannot be understood.
    pub(super) fn load(folder: &Path) -> Result<Option<Self>, Fault> {
        let text = match fs::read(path(folder)) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Fault::Position(e.to_string())),
        };
        let read = serde_json::from_slice::<Self>(&text).ok().filter(|p| p.version == VERSION);
        if read.is_none() {
            tracing::warn!("projector.json is not readable here: the projection is filled again from the series");
        }
        Ok(read)
    }

    /// Replaces the file whole, durably.
    pub(super) fn save(&mut self, folder: &Path) -> Result<(), Fault> {
        self.version = VERSION;
        let write = || -> std::io::Result<()> {
            let new = folder.join("projector.json.new");
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            fs::rename(&new, path(folder))?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|e| Fault::Position(e.to_string()))
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("projector.json")
}

#[derive(Serialize, Deserialize)]
struct Line {
    reading: vitals::ReadingId,
    why: String,
}

/// Readings that QuestDB refuses, listed in a file for whoever asks why the table has fewer. They stay in the journal.
#[derive(Debug)]
pub(super) struct Quarantine {
    path: PathBuf,
    known: HashSet<u64>,
}

impl Quarantine {
    pub(super) fn load(folder: &Path) -> Result<Self, Fault> {
        let path = folder.join("projector-refused.jsonl");
        let mut known = HashSet::new();
        if let Ok(file) = File::open(&path) {
            for line in BufReader::new(file).lines() {
                let line = line.map_err(|e| Fault::Position(e.to_string()))?;
                // A torn last line is of a row that is refused again.
                if let Ok(line) = serde_json::from_str::<Line>(&line) {
                    known.insert(line.reading.as_i64().cast_unsigned());
                }
            }
        }
        Ok(Self { path, known })
    }

    pub(super) fn contains(&self, position: u64) -> bool {
        self.known.contains(&position)
    }

    pub(super) fn len(&self) -> u64 {
        self.known.len() as u64
    }

    pub(super) fn add(&mut self, position: u64, why: &str) -> Result<(), Fault> {
        if !self.known.insert(position) {
            return Ok(());
        }
        let line = Line { reading: vitals::ReadingId::new(position), why: why.to_owned() };
        let write = || -> std::io::Result<()> {
            let mut file = File::options().create(true).append(true).open(&self.path)?;
            file.write_all(format!("{}\n", serde_json::to_string(&line)?).as_bytes())?;
            file.sync_data()
        };
        tracing::warn!(reading = %line.reading, why, "QuestDB refuses a reading; it stays in the journal");
        write().map_err(|e| Fault::Position(e.to_string()))
    }

    /// Before everything is tried again.
    pub(super) fn clear(&mut self) -> Result<(), Fault> {
        self.known.clear();
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Fault::Position(e.to_string())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_and_a_torn_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Position::load(folder.path()).unwrap(), None);
        let mut position = Position { checked: 7, weeks: Tally::from([(-1, 2), (3, 5)]), ..Position::default() };
        position.save(folder.path()).unwrap();
        assert_eq!(Position::load(folder.path()).unwrap(), Some(position));
        fs::write(path(folder.path()), b"{\"version\":1,\"chec").unwrap();
        assert_eq!(Position::load(folder.path()).unwrap(), None);
    }

    #[test]
    fn a_refused_reading_is_listed_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut quarantine = Quarantine::load(folder.path()).unwrap();
        quarantine.add(5, "why").unwrap();
        quarantine.add(5, "why").unwrap();
        let mut again = Quarantine::load(folder.path()).unwrap();
        assert!(again.contains(5) && again.len() == 1);
        assert_eq!(fs::read_to_string(&again.path).unwrap().lines().count(), 1);
        again.clear().unwrap();
        assert_eq!(Quarantine::load(folder.path()).unwrap().len(), 0);
    }
}
