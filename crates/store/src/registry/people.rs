//! Organisations, users, teams, patients: their rows, and how they are made and changed; the tables of devices too.
//!
//! A record is a JSON document beside the columns that are searched or constrained. Every write that commits is
//! put into the [`super::directory::Directory`] before the caller hears of it.

use super::directory::Directory;
use crate::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use vitals::{OrganisationId, Patient, PatientId, TeamId, UserId};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS organisation(id INTEGER PRIMARY KEY, version INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS user(id INTEGER PRIMARY KEY, version INTEGER NOT NULL, username TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS team(id INTEGER PRIMARY KEY, version INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS patient(id INTEGER PRIMARY KEY, version INTEGER NOT NULL, team INTEGER, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS device(key INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS binding(id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device(key), slot INTEGER,
    from_at INTEGER NOT NULL, to_at INTEGER, patient INTEGER NOT NULL REFERENCES patient(id), recorded_at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS binding_by_device ON binding(device);
CREATE INDEX IF NOT EXISTS binding_by_patient ON binding(patient);
";

/// Region, centre or station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum OrganisationKind {
    Region,
    Centre,
    Station,
}

/// A place with a duty desk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Organisation {
    /// Identity.
    pub id: OrganisationId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: OrganisationKind,
    /// The one above.
    pub parent: Option<OrganisationId>,
    /// Called when a step asks for this organisation's duty desk.
    #[serde(default)]
    pub duty: Vec<UserId>,
    /// Opening hours as configured, a JSON value's text; the default of the alerts contract where absent.
    #[serde(default)]
    pub opening: Option<String>,
    /// Counts changes; the strong ETag.
    #[serde(skip)]
    pub version: i64,
}

/// What a user may do (contract: HTTP API).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Role {
    Gp,
    Specialist,
    HealthManager,
    Assistant,
    StationAdmin,
    RegionAdmin,
    Ops,
    Auditor,
    Patient,
}

/// How to reach a user, in order of preference.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// A configured channel's name.
    pub channel: String,
    /// The address on it.
    pub address: String,
    /// `false`: never used for a critical.
    #[serde(default = "yes")]
    pub critical: bool,
}

const fn yes() -> bool {
    true
}

impl std::fmt::Debug for Contact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Contact({})", self.channel)
    }
}

/// Somebody who logs in. Debug shows the id only.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Identity.
    pub id: UserId,
    /// To log in with; unique.
    pub username: String,
    /// As shown.
    pub name: String,
    /// What they may do.
    pub roles: Vec<Role>,
    /// Where they work.
    pub organisation: Option<OrganisationId>,
    /// Argon2id, PHC string.
    pub password_hash: Option<String>,
    /// The password was made by the service and must be changed at the first login.
    #[serde(default)]
    pub must_change_password: bool,
    /// Lets nobody in.
    #[serde(default)]
    pub disabled: bool,
    /// How to reach them.
    #[serde(default)]
    pub contacts: Vec<Contact>,
    /// `zh-CN` or `en`.
    #[serde(default)]
    pub locale: Option<String>,
    /// The patient that this user is, for the role `patient`.
    #[serde(default)]
    pub patient: Option<PatientId>,
    /// Counts changes; the strong ETag.
    #[serde(skip)]
    pub version: i64,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({})", self.id)
    }
}

/// A user's place in a team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Who.
    pub user_id: UserId,
    /// As what: gp, specialist, health_manager, assistant.
    pub role: Role,
}

/// A family-doctor team.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Team {
    /// Identity.
    pub id: TeamId,
    /// Its name.
    pub name: String,
    /// The station it belongs to.
    pub organisation: OrganisationId,
    /// Who is in it.
    pub members: Vec<Member>,
    /// Its own chain: steps, each a list of `team:ROLE`, `station:duty`, `station:head`, `region:duty`.
    #[serde(default)]
    pub chain: Option<Vec<Vec<String>>>,
    /// Counts changes; the strong ETag.
    #[serde(skip)]
    pub version: i64,
}

/// A record whose row is `(id, version, body)`.
pub(super) trait Document: Serialize + DeserializeOwned + Clone + Send + 'static {
    const TABLE: &'static str;
    fn key(&self) -> i64;
    fn set_version(&mut self, version: i64);
    fn version(&self) -> i64;
    fn put(self, directory: &Directory);
    /// A second searched column, `(name, value)`.
    fn extra(&self) -> Option<(&'static str, rusqlite::types::Value)> {
        None
    }
}

macro_rules! document {
    ($type:ty, $table:literal, $put:ident $(, $extra:expr)?) => {
        impl Document for $type {
            const TABLE: &'static str = $table;
            fn key(&self) -> i64 { self.id.as_i64() }
            fn set_version(&mut self, version: i64) { self.version = version; }
            fn version(&self) -> i64 { self.version }
            fn put(self, directory: &Directory) { directory.$put(self); }
            $(fn extra(&self) -> Option<(&'static str, rusqlite::types::Value)> { Some($extra(self)) })?
        }
    };
}

document!(Organisation, "organisation", put_organisation);
document!(User, "user", put_user, |u: &User| ("username", u.username.clone().into()));
document!(Team, "team", put_team);

pub(super) fn all<D: Document>(c: &Connection) -> Result<Vec<D>, StoreError> {
    let mut statement = c.prepare(&format!("SELECT version, body FROM {}", D::TABLE))?;
    let rows = statement.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (version, body) = row?;
        let mut document: D = serde_json::from_str(&body)?;
        document.set_version(version);
        Ok(document)
    })
    .collect()
}

fn insert<D: Document>(c: &Connection, document: &D) -> Result<(), StoreError> {
    let body = serde_json::to_string(document)?;
    match document.extra() {
        Some((column, value)) => c.execute(
            &format!("INSERT INTO {}(id, version, {column}, body) VALUES(?1, 1, ?2, ?3)", D::TABLE),
            params![document.key(), value, body],
        )?,
        None => c.execute(
            &format!("INSERT INTO {}(id, version, body) VALUES(?1, 1, ?2)", D::TABLE),
            params![document.key(), body],
        )?,
    };
    Ok(())
}

impl Store {
    async fn create_document<D: Document>(&self, mut document: D) -> Result<D, StoreError> {
        let directory = self.registry.directory().clone();
        self.registry
            .write_then(
                move |c| {
                    insert(c, &document)?;
                    document.set_version(1);
                    Ok(document)
                },
                move |d| d.clone().put(&directory),
            )
            .await
    }

    /// Writes `document` if its version is still the stored one.
    async fn replace_document<D: Document>(&self, mut document: D) -> Result<D, StoreError> {
        let directory = self.registry.directory().clone();
        self.registry
            .write_then(
                move |c| {
                    let body = serde_json::to_string(&document)?;
                    let changed = c.execute(
                        &format!(
                            "UPDATE {} SET body = ?1, version = version + 1 WHERE id = ?2 AND version = ?3",
                            D::TABLE
                        ),
                        params![body, document.key(), document.version()],
                    )?;
                    if changed == 0 {
                        return Err(StoreError::Conflict("it was changed meanwhile".into()));
                    }
                    document.set_version(document.version() + 1);
                    Ok(document)
                },
                move |d| d.clone().put(&directory),
            )
            .await
    }

    /// Makes an organisation; `id` and `version` of the argument are replaced.
    ///
    /// # Errors
    /// As every write.
    pub async fn create_organisation(&self, mut organisation: Organisation) -> Result<Organisation, StoreError> {
        organisation.id = OrganisationId::new(crate::random());
        self.create_document(organisation).await
    }

    /// Replaces an organisation whose version is still the stored one.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was changed meanwhile.
    pub async fn update_organisation(&self, organisation: Organisation) -> Result<Organisation, StoreError> {
        self.replace_document(organisation).await
    }

    /// Makes a user; `id` and `version` of the argument are replaced.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the user name is taken.
    pub async fn create_user(&self, mut user: User) -> Result<User, StoreError> {
        user.id = UserId::new(crate::random());
        self.create_document(user).await
    }

    /// Replaces a user whose version is still the stored one. The user name does not change.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was changed meanwhile.
    pub async fn update_user(&self, user: User) -> Result<User, StoreError> {
        self.replace_document(user).await
    }

    /// Makes a team; `id` and `version` of the argument are replaced.
    ///
    /// # Errors
    /// As every write.
    pub async fn create_team(&self, mut team: Team) -> Result<Team, StoreError> {
        team.id = TeamId::new(crate::random());
        self.create_document(team).await
    }

    /// Replaces a team whose version is still the stored one.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was changed meanwhile.
    pub async fn update_team(&self, team: Team) -> Result<Team, StoreError> {
        self.replace_document(team).await
    }

    /// Makes a patient; `id` of the argument is replaced.
    ///
    /// # Errors
    /// As every write.
    pub async fn create_patient(&self, mut patient: Patient) -> Result<Patient, StoreError> {
        patient.id = PatientId::new(crate::random());
        let directory = self.registry.directory().clone();
        self.registry
            .write_then(
                move |c| {
                    c.prepare_cached("INSERT INTO patient(id, version, team, body) VALUES(?1, 1, ?2, ?3)")?.execute(
                        params![
                            patient.id.as_i64(),
                            patient.team.map(TeamId::as_i64),
                            serde_json::to_string(&patient)?
                        ],
                    )?;
                    Ok(patient)
                },
                move |p| directory.put_patient(p.clone(), 1),
            )
            .await
    }

    /// Replaces a patient (record or plan) if `version` is still the stored one; `None` does not ask.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was changed meanwhile, [`StoreError::NotFound`].
    pub async fn update_patient(&self, patient: Patient, version: Option<i64>) -> Result<i64, StoreError> {
        let directory = self.registry.directory().clone();
        let body = serde_json::to_string(&patient)?;
        let (id, team) = (patient.id, patient.team);
        self.registry
            .write_then(
                move |c| {
                    let found: i64 = c
                        .query_row("SELECT version FROM patient WHERE id = ?1", [id.as_i64()], |r| r.get(0))
                        .optional()?
                        .ok_or(StoreError::NotFound("patient"))?;
                    if version.is_some_and(|v| v != found) {
                        return Err(StoreError::Conflict("it was changed meanwhile".into()));
                    }
                    c.execute(
                        "UPDATE patient SET body = ?1, team = ?2, version = ?3 WHERE id = ?4",
                        params![body, team.map(TeamId::as_i64), found + 1, id.as_i64()],
                    )?;
                    Ok(found + 1)
                },
                move |version| directory.put_patient(patient, *version),
            )
            .await
    }
}

pub(super) fn all_patients(c: &Connection) -> Result<Vec<(Patient, i64)>, StoreError> {
    let mut statement = c.prepare("SELECT version, body FROM patient")?;
    let rows = statement.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (version, body) = row?;
        Ok((serde_json::from_str(&body)?, version))
    })
    .collect()
}
