//! Who stands in for whom, and when: leave, overrides, rotas, calendars; kept in memory, written through.
//!
//! Also the words in which the alerts stage answers who is on call. Must never: decide who is called; that is `alerts`.

use super::outbox::{self, DeadAddress};
use crate::{Store, StoreError};
use parking_lot::RwLock;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::HashSet, sync::Arc};
use tokio::sync::watch;
use vitals::{OrganisationId, Timestamp, UserId};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS roster(seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, body TEXT NOT NULL);
";

/// A user is away, `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Leave {
    /// Given by the store.
    #[serde(default)]
    pub id: String,
    pub user_id: UserId,
    #[serde(with = "moment")]
    pub from: Timestamp,
    #[serde(with = "moment")]
    pub to: Timestamp,
    /// Called instead; a substitute's substitute is followed.
    #[serde(default)]
    pub substitute_id: Option<UserId>,
}

/// Whatever the rota says, this user has the duty, `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Override {
    /// Given by the store.
    #[serde(default)]
    pub id: String,
    pub organisation_id: OrganisationId,
    /// `duty`.
    pub role: String,
    pub user_id: UserId,
    #[serde(with = "moment")]
    pub from: Timestamp,
    #[serde(with = "moment")]
    pub to: Timestamp,
}

/// Who has an organisation's duty when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Rota {
    /// Given by the store.
    #[serde(default)]
    pub id: String,
    pub organisation_id: OrganisationId,
    /// `duty`.
    pub role: String,
    pub shifts: Vec<Shift>,
}

/// One shift of a rota, `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Shift {
    pub user_id: UserId,
    #[serde(with = "moment")]
    pub from: Timestamp,
    #[serde(with = "moment")]
    pub to: Timestamp,
}

/// Days on which an organisation, and everything below it, rests or works against the week's habit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Calendar {
    /// Given by the store.
    #[serde(default)]
    pub id: String,
    pub organisation_id: OrganisationId,
    pub days: Vec<CalendarDay>,
}

/// One such day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct CalendarDay {
    pub date: jiff::civil::Date,
    pub kind: DayKind,
}

/// What a day is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum DayKind {
    Rest,
    Work,
}

/// Times in documents are RFC 3339, as in the contract.
mod moment {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use vitals::{Timestamp, Zone};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&at.to_rfc3339(&Zone::default()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        Timestamp::parse_rfc3339(&text).map_err(D::Error::custom)
    }
}

/// Everything of this module, as one value that does not change under its reader.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Roster {
    pub leaves: Vec<Leave>,
    pub overrides: Vec<Override>,
    pub rotas: Vec<Rota>,
    pub calendars: Vec<Calendar>,
}

impl Roster {
    /// The leave that a user is on, if any; of several the last one made.
    pub fn leave_of(&self, user: UserId, at: Timestamp) -> Option<&Leave> {
        self.leaves.iter().rev().find(|l| l.user_id == user && l.from <= at && at < l.to)
    }

    /// Moments after `after` at which somebody comes on or goes.
    pub fn turns(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        let leaves = self.leaves.iter().flat_map(|l| [l.from, l.to]);
        let overrides = self.overrides.iter().flat_map(|o| [o.from, o.to]);
        let shifts = self.rotas.iter().flat_map(|r| &r.shifts).flat_map(|s| [s.from, s.to]);
        leaves.chain(overrides).chain(shifts).filter(move |t| *t > after)
    }

    /// Whether with this leave somebody would, at some moment, stand in for themselves.
    pub fn closes_circle(&self, new: &Leave) -> bool {
        let mut with = self.clone();
        with.leaves.push(new.clone());
        let starts = with.leaves.iter().map(|l| l.from).filter(|t| new.from < *t && *t < new.to);
        std::iter::once(new.from).chain(starts).any(|at| with.circle(new.user_id, at))
    }

    fn circle(&self, user: UserId, at: Timestamp) -> bool {
        let mut seen = HashSet::from([user]);
        let mut next = self.leave_of(user, at).and_then(|l| l.substitute_id);
        while let Some(user) = next {
            if !seen.insert(user) {
                return true;
            }
            next = self.leave_of(user, at).and_then(|l| l.substitute_id);
        }
        false
    }
}

/// Who a step would call, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnCallPerson {
    /// Who.
    pub user_id: UserId,
    /// `team:gp`, `station:duty (override)`, `team:gp (substitute)` …
    pub why: String,
}

/// One step of a chain at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OnCallLevel {
    /// From 1.
    pub level: u32,
    /// Who would be paged.
    pub people: Vec<OnCallPerson>,
}

/// A step that at some moment of the next 14 days has nobody; the chain may be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ChainWarning {
    /// From 1.
    pub step: u32,
}

/// With this chain a critical would reach nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step}: {reason}")]
pub struct ChainFault {
    /// From 1.
    pub step: u32,
    /// What is wrong with it and what to do.
    pub reason: String,
}

/// What of the alerts' tables is kept in memory.
#[derive(Debug)]
pub(crate) struct Live {
    pub(super) roster: RwLock<Arc<Roster>>,
    pub(super) dead: RwLock<Arc<HashSet<DeadAddress>>>,
    pub(super) roster_changes: watch::Sender<u64>,
    pub(super) alerts: watch::Sender<i64>,
    pub(super) outbox: watch::Sender<u64>,
}

impl Live {
    pub(super) fn load(c: &Connection) -> Result<Self, StoreError> {
        let roster = Roster {
            leaves: all(c, "leave")?,
            overrides: all(c, "override")?,
            rotas: all(c, "rota")?,
            calendars: all(c, "calendar")?,
        };
        Ok(Self {
            roster: RwLock::new(Arc::new(roster)),
            dead: RwLock::new(Arc::new(outbox::dead(c)?)),
            roster_changes: watch::Sender::new(0),
            alerts: watch::Sender::new(super::episode_rows::last_change(c)?),
            outbox: watch::Sender::new(0),
        })
    }
}

fn all<T: DeserializeOwned>(c: &Connection, kind: &str) -> Result<Vec<T>, StoreError> {
    let mut statement = c.prepare("SELECT body FROM roster WHERE kind = ?1 ORDER BY seq")?;
    let rows = statement.query_map([kind], |r| r.get::<_, String>(0))?;
    rows.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
}

impl Store {
    /// Leave, overrides, rotas and calendars as they are now.
    pub fn roster(&self) -> Arc<Roster> {
        self.registry.live().roster.read().clone()
    }

    /// Counts changes of the roster.
    pub fn roster_changes(&self) -> watch::Receiver<u64> {
        self.registry.live().roster_changes.subscribe()
    }

    /// Writes down a leave; `id` of the argument is replaced.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when substitutes would stand in for each other in a circle.
    pub async fn create_leave(&self, mut leave: Leave) -> Result<Leave, StoreError> {
        if self.roster().closes_circle(&leave) {
            return Err(StoreError::Conflict("substituteId: the substitutes would stand in for each other".into()));
        }
        leave.id = new_id("l_");
        self.put_roster("leave", leave.id.clone(), leave, |r, x| r.leaves.push(x)).await
    }

    /// Writes down an override; `id` of the argument is replaced.
    ///
    /// # Errors
    /// As every write.
    pub async fn create_override(&self, mut new: Override) -> Result<Override, StoreError> {
        new.id = new_id("v_");
        self.put_roster("override", new.id.clone(), new, |r, x| r.overrides.push(x)).await
    }

    /// Writes down a rota; `id` of the argument is replaced.
    ///
    /// # Errors
    /// As every write.
    pub async fn create_rota(&self, mut rota: Rota) -> Result<Rota, StoreError> {
        rota.id = new_id("s_");
        self.put_roster("rota", rota.id.clone(), rota, |r, x| r.rotas.push(x)).await
    }

    /// Writes down a calendar; `id` of the argument is replaced. Of two that name one day the later counts.
    ///
    /// # Errors
    /// As every write.
    pub async fn create_calendar(&self, mut calendar: Calendar) -> Result<Calendar, StoreError> {
        calendar.id = new_id("c_");
        self.put_roster("calendar", calendar.id.clone(), calendar, |r, x| r.calendars.push(x)).await
    }

    async fn put_roster<T: Serialize + Clone + Send + 'static>(
        &self,
        kind: &'static str,
        id: String,
        row: T,
        add: impl FnOnce(&mut Roster, T) + Send + 'static,
    ) -> Result<T, StoreError> {
        let body = serde_json::to_string(&row)?;
        let live = self.registry.live().clone();
        self.registry
            .write_then(
                move |c| {
                    c.execute("INSERT INTO roster(id, kind, body) VALUES(?1, ?2, ?3)", params![id, kind, body])?;
                    Ok(row)
                },
                move |row| {
                    let mut roster = live.roster.write();
                    let mut next = Roster::clone(&roster);
                    add(&mut next, row.clone());
                    *roster = Arc::new(next);
                    live.roster_changes.send_modify(|n| *n += 1);
                },
            )
            .await
    }
}

fn new_id(prefix: &str) -> String {
    format!("{prefix}{:016x}", crate::random())
}
