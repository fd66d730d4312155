//! Typed questions and answers over the two files of an installation; SQL lives nowhere else.
//!
//! `journal.db`: readings, on a thread of its own, one fsync for many; the one commit point of a reading.
//! `registry.db`: people, devices, findings with the journal position they were concluded at, episodes, outbox, audit.
//! No transaction spans both; the position makes a crash between them harmless.
//!
//! Goes in: `vitals` values. Comes out: the same, durable.
//! Must never: judge a reading, know MQTT or HTTP, retry an fsync that failed, print a value or a name.

pub mod backup;
mod doctor;
mod error;
mod journal;
mod population;
pub mod questdb;
mod readers;
mod registry;

pub use doctor::doctor;
pub use error::StoreError;
pub use journal::{
    Basis, Between, BookRow, DayBooks, DaysQuery, Desk, DeviceHistory, Dropped, ERASED, Epoch, ErasedReadings, Folded,
    Glance, HandedOver, Handover, JournalEntry, JournalHealth, Keep, Known, Mismatch, Moved, Moves, NewHeld,
    NewReading, Original, ReadingQuery, Readings, Recount, Snapshot, Span, Worn, fingerprint, number_without_clock,
    number_without_counter,
};
pub use population::{Population, PopulationQuery, Provenance, Spread, Stretch, Stride};
pub use registry::Registry;
pub use registry::archive::Archive;
pub use registry::audit::{AuditRecord, AuditRow, AuditVerdict, verify_audit};
pub use registry::burden::Fate;
pub use registry::cards::CardRecord;
pub use registry::commands::DeviceCommand;
pub use registry::directory::{self, Directory};
pub use registry::edge::{Edge, KIOSK_SESSION, KioskSession, token_key};
pub use registry::episodes::{
    Action, AlertBatch, AlertState, Command, CommandError, Delivery, DeliveryState, Episode, EpisodeQuery, Link,
    LinkError, OnceKey, StateFilter, TimelineEvent,
};
pub use registry::erase::{ErasedRecords, Erasure};
pub use registry::findings::{FindingBatch, FindingChange, FindingEvent, RulesState, Season, finding_id};
pub use registry::keeping::{BackupRecord, record_backup, site_zone};
pub use registry::mqtt_sessions::MqttSession;
pub use registry::order::{Among, Home};
pub use registry::outages::Outage;
pub use registry::outbox::{DeadAddress, NewMessage, Outcome, Outgoing};
pub use registry::patient_days::DaysBatch;
pub use registry::people::{Contact, Member, Organisation, OrganisationKind, Role, Team, User};
pub use registry::presence::Presence;
pub use registry::roster::{
    Calendar, CalendarDay, ChainFault, ChainWarning, DayKind, Leave, OnCallLevel, OnCallPerson, Override, Roster, Rota,
    Shift,
};
pub use registry::rule_edits::{EditState, NewRuleEdit, RuleEdit, RuleScope, rule_edit_in_force};
pub use registry::sessions::Session;
pub use registry::worklist::{Place, Sort, Standing};

use runtime::{Clock, Drain};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Everything an installation keeps, open. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    folder: Arc<PathBuf>,
    registry: Registry,
    readings: Readings,
    clock: Clock,
    zone: vitals::Zone,
    /// The analysts' database, where one is configured.
    projection: Option<Arc<population::Projection>>,
    /// Scans over everybody's readings take turns.
    scans: Arc<tokio::sync::Semaphore>,
    /// Erasures take turns; who settles bindings waits for one that is under way.
    erasures: Arc<tokio::sync::Mutex<()>>,
}

impl Store {
    /// Opens the folder's files; makes them where they are missing.
    ///
    /// # Errors
    /// When a file cannot be opened, is newer than this program, or is not a database.
    pub fn open(folder: &Path, clock: Clock, drain: &Drain) -> Result<Self, StoreError> {
        let registry = Registry::open(&folder.join("registry.db"), drain)?;
        let concluded = registry.read_blocking(registry::findings::position)?;
        let readings = Readings::open(&folder.join("journal.db"), registry.directory().clone(), drain, concluded)?;
        if let Some(highest) = readings.highest_device_blocking()? {
            registry.no_key_twice(highest)?;
        }
        Ok(Self {
            folder: Arc::new(folder.to_owned()),
            registry,
            readings,
            clock,
            zone: vitals::Zone::default(),
            projection: None,
            scans: Arc::new(tokio::sync::Semaphore::new(1)),
            erasures: Arc::default(),
        })
    }

    /// The same installation in another zone than Asia/Shanghai.
    #[must_use]
    pub fn in_zone(mut self, zone: vitals::Zone) -> Self {
        self.zone = zone;
        self
    }

    /// The site's zone: in which days begin, stations open and times are written.
    pub const fn zone(&self) -> &vitals::Zone {
        &self.zone
    }

    /// How this patient's days are counted: in their zone or the site's, by their targets.
    pub fn basis(&self, patient: &vitals::Patient) -> Basis {
        let own = patient.time_zone.as_deref().and_then(|name| vitals::Zone::named(name).ok());
        Basis { zone: own.unwrap_or_else(|| self.zone.clone()), targets: patient.plan.targets }
    }

    /// Makes the sums of days that are over, and again those that were written to since.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub async fn fold_days(&self) -> Result<Folded, StoreError> {
        let this = self.clone();
        let basis = move |id| match this.directory().patient(id) {
            Some(patient) => this.basis(&patient),
            None => Basis { zone: this.zone.clone(), targets: vitals::Targets::default() },
        };
        self.readings.fold(self.clock.now(), basis).await
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The clock on which this installation runs.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Readings: submit, ask, export.
    pub const fn readings(&self) -> &Readings {
        &self.readings
    }

    /// Whether the registry can commit now.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.registry.ping().await
    }

    /// People and devices, in memory.
    pub const fn directory(&self) -> &Directory {
        self.registry.directory()
    }
}

/// A new random identifier's number.
pub(crate) fn random() -> u64 {
    let mut bytes = [0_u8; 8];
    // Without randomness no credential would be safe either; the caller gets 0 only if the system has none.
    getrandom::fill(&mut bytes).map_or(0, |()| u64::from_le_bytes(bytes))
}
