//! Everything written down about one patient, gone from `registry.db`, and the whole erasure over both files.
//!
//! Goes in: a patient. Comes out: counts, and where the patient may still be (backups). A crash in between is made up
//! for by erasing again: the patient's id stays in `erasure`, and nothing of theirs is written any more.
//! What stays: the audit's rows (ids and log-in names, no values), the books' counts, devices' numbers.

use super::{Registry, devices, keeping, outbox::NewMessage, people};
use crate::{BackupRecord, ErasedReadings, Store, StoreError, Worn};
use rusqlite::{Connection, params};
use serde::Serialize;
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
    time::Duration,
};
use vitals::{Binding, DeviceKey, PatientId, Timestamp, UserId};

/// Attempts to empty the write-ahead log, and the pause between them.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// What was taken out of the registry, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ErasedRecords {
    pub patients: u64,
    pub bindings: u64,
    pub users: u64,
    pub findings: u64,
    pub alerts: u64,
    pub messages: u64,
    pub kiosk_sessions: u64,
    /// Rows of any table that name the patient now: 0.
    pub after: u64,
    /// The write-ahead log is empty.
    pub log_emptied: bool,
}

/// A finished erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// In `journal.db`.
    pub readings: ErasedReadings,
    /// In `registry.db`.
    pub records: ErasedRecords,
    /// Backups that were made before: each may hold everything that was erased, until it is deleted. A restore from one
    /// brings the patient back.
    pub backups: Vec<BackupRecord>,
}

/// What memory must forget when the transaction is committed.
struct Begun {
    records: ErasedRecords,
    worn: Vec<Worn>,
    bindings: Vec<(DeviceKey, Vec<Binding>)>,
    users: Vec<UserId>,
    changed_users: Vec<crate::User>,
}

impl Store {
    /// Erases a patient from both files, their write-ahead logs included. While the files are written anew nothing is
    /// committed: about ten seconds a gigabyte. Erasing again finishes what a crash cut short.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; when a file cannot be written: then it is to be repeated.
    pub async fn erase_patient(&self, patient: PatientId) -> Result<Erasure, StoreError> {
        let _turn = self.erasures.lock().await;
        // What a corrected binding gives the patient is under the former wearer until the journal has followed, and once
        // the binding is gone nothing says whose it was.
        let devices = self.registry.read(move |c| worn_by(c, patient)).await?.into_iter().map(|w| w.device);
        let worn: BTreeSet<DeviceKey> = devices.collect();
        for device in self.unsettled_devices().await?.into_iter().filter(|d| worn.contains(d)) {
            self.finish_erasures(device).await?;
            self.follow_bindings(device).await?;
        }
        self.erase(patient).await
    }

    /// Finishes every open erasure of somebody who wore `device`: once their readings are nobody's, or the next wearer's,
    /// it is hard to tell them. Only for whoever has the turn.
    pub(super) async fn finish_erasures(&self, device: DeviceKey) -> Result<(), StoreError> {
        for (patient, worn) in self.registry.read(keeping::open_erasures).await? {
            if worn.iter().any(|w| w.device == device) {
                self.erase(patient).await?;
            }
        }
        Ok(())
    }

    async fn erase(&self, patient: PatientId) -> Result<Erasure, StoreError> {
        let now = self.clock().now();
        let (directory, edge) = (self.directory().clone(), self.edge().clone());
        let begun = self
            .registry
            .write_then(
                move |c| begin(c, patient, now),
                move |begun| {
                    begun.bindings.iter().for_each(|(device, rest)| directory.put_bindings(*device, rest.clone()));
                    begun.users.iter().for_each(|user| directory.remove_user(*user));
                    begun.changed_users.iter().for_each(|user| directory.put_user(user.clone()));
                    edge.forget(patient);
                    directory.remove_patient(patient);
                },
            )
            .await?;
        let Begun { mut records, worn, .. } = begun;
        let readings = self.readings().erase(patient, worn, self.zone().clone()).await?;
        records.log_emptied = self.registry.rewrite_file().await?;
        records.after = self.registry.read(move |c| left(c, patient)).await?;
        self.registry.end_erasure(patient, now).await?;
        Ok(Erasure { readings, records, backups: self.backups().await? })
    }
}

impl Registry {
    /// Writes every living page anew, then copies the write-ahead log into the file and cuts it to nothing; whether it
    /// could be cut.
    async fn rewrite_file(&self) -> Result<bool, StoreError> {
        self.alone(|c| {
            c.execute_batch("VACUUM")?;
            for _ in 0..ATTEMPTS {
                if c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get::<_, i64>(0))? == 0 {
                    return Ok(true);
                }
                std::thread::sleep(PAUSE);
            }
            Ok(false)
        })
        .await
    }
}

fn begin(c: &Connection, patient: PatientId, now: Timestamp) -> Result<Begun, StoreError> {
    if let Some(worn) = keeping::begun(c, patient)? {
        let (bindings, users, changed_users) = (Vec::new(), Vec::new(), Vec::new());
        return Ok(Begun { records: ErasedRecords::default(), worn, bindings, users, changed_users });
    }
    let id = patient.as_i64();
    if !c.prepare("SELECT 1 FROM patient WHERE id = ?1")?.exists([id])? {
        return Err(StoreError::NotFound("patient"));
    }
    let worn = worn_by(c, patient)?;
    c.execute(
        "INSERT INTO erasure(patient, begun_at, worn) VALUES(?1, ?2, ?3)",
        params![id, now.as_micros(), serde_json::to_string(&worn)?],
    )?;
    let delete = |sql: &str| Ok::<_, StoreError>(c.execute(sql, [id])? as u64);
    let mut records =
        ErasedRecords { bindings: delete("DELETE FROM binding WHERE patient = ?1")?, ..ErasedRecords::default() };
    records.kiosk_sessions = delete("DELETE FROM kiosk_session WHERE patient = ?1")?;
    let mut bindings = Vec::new();
    for device in worn.iter().map(|w| w.device).collect::<BTreeSet<_>>() {
        let rest = devices::bindings_of(c, device)?;
        if rest.is_empty() {
            c.execute("DELETE FROM device_command WHERE device = ?1", [device.as_i64()])?;
        }
        bindings.push((device, rest));
    }
    records.messages = erase_messages(c, patient)?;
    for sql in [
        "DELETE FROM episode_event WHERE alert IN (SELECT id FROM episode WHERE patient = ?1)",
        "DELETE FROM called WHERE alert IN (SELECT id FROM episode WHERE patient = ?1)",
        "DELETE FROM alert_command WHERE alert IN (SELECT id FROM episode WHERE patient = ?1)",
        "DELETE FROM finding_event WHERE finding IN (SELECT id FROM finding WHERE patient = ?1)",
        "DELETE FROM finding_attached WHERE finding IN (SELECT id FROM finding WHERE patient = ?1)",
        "DELETE FROM rule_timer WHERE patient = ?1",
        "DELETE FROM patient_days WHERE patient = ?1",
    ] {
        delete(sql)?;
    }
    // Followers of the live stream know the highest number of a change: the next one must be higher.
    super::episode_rows::keep_change(c)?;
    records.alerts = delete("DELETE FROM episode WHERE patient = ?1")?;
    records.findings = delete("DELETE FROM finding WHERE patient = ?1")?;
    let (users, changed_users) = erase_users(c, patient)?;
    records.users = users.len() as u64;
    records.patients = delete("DELETE FROM patient WHERE id = ?1")?;
    Ok(Begun { records, worn, bindings, users, changed_users })
}

/// By bindings, and at kiosks.
fn worn_by(c: &Connection, patient: PatientId) -> Result<Vec<Worn>, StoreError> {
    let sql = "SELECT device, from_at, to_at, slot FROM binding WHERE patient = ?1
        UNION ALL SELECT kiosk, from_at, to_at, NULL FROM kiosk_session WHERE patient = ?1";
    let mut statement = c.prepare(sql)?;
    let rows = statement.query_map([patient.as_i64()], |r| {
        Ok(Worn { device: DeviceKey::from_i64(r.get(0)?), from: r.get(1)?, to: r.get(2)?, slot: r.get(3)? })
    })?;
    rows.map(|r| Ok(r?)).collect()
}

/// Messages about the patient's alerts go whole; a digest that waits goes on without the patient, one that is done loses
/// its body.
fn erase_messages(c: &Connection, patient: PatientId) -> Result<u64, StoreError> {
    let about = "alert IN (SELECT id FROM episode WHERE patient = ?1)";
    let mut gone = c.execute(&format!("DELETE FROM outbox WHERE {about}"), [patient.as_i64()])? as u64;
    let mut statement =
        c.prepare("SELECT seq, body, state IN ('pending', 'failed_temp') FROM outbox WHERE instr(body, ?1) > 0")?;
    let found: Vec<(i64, String, bool)> = statement
        .query_map([patient.to_string()], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for (seq, body, waits) in found {
        gone += 1;
        match without(&body, patient).filter(|_| waits) {
            Some(rest) => c.execute("UPDATE outbox SET body = ?2 WHERE seq = ?1", params![seq, rest])?,
            None => c.execute(
                "UPDATE outbox SET body = '', state = CASE WHEN ?2 THEN 'cancelled' ELSE state END WHERE seq = ?1",
                params![seq, waits],
            )?,
        };
    }
    Ok(gone)
}

/// A message that is being made, without those who were erased; none when nothing is left of it.
pub(super) fn spared<'m>(message: &'m NewMessage, erased: &HashSet<PatientId>) -> Option<Cow<'m, NewMessage>> {
    let mut spared = Cow::Borrowed(message);
    for patient in erased.iter().filter(|patient| message.body.contains(&patient.to_string())) {
        spared.to_mut().body = without(&spared.body, *patient)?;
    }
    Some(spared)
}

/// A digest without this patient's lines; none when nothing is left of it.
fn without(body: &str, patient: PatientId) -> Option<String> {
    let mut body: Value = serde_json::from_str(body).ok()?;
    let items = body.pointer_mut("/data/items")?.as_array_mut()?;
    let id = patient.to_string();
    items.retain(|item| item["patientId"].as_str() != Some(id.as_str()));
    let left = !items.is_empty();
    let text = body.to_string();
    (left && !text.contains(&id)).then_some(text)
}

/// The patient's own log-in; somebody who works here too only stops being the patient.
fn erase_users(c: &Connection, patient: PatientId) -> Result<(Vec<UserId>, Vec<crate::User>), StoreError> {
    let (mut gone, mut changed) = (Vec::new(), Vec::new());
    for mut user in people::all::<crate::User>(c)?.into_iter().filter(|u| u.patient == Some(patient)) {
        let id = user.id.as_i64();
        if user.roles.iter().any(|role| *role != crate::Role::Patient) {
            user.patient = None;
            user.roles.retain(|role| *role != crate::Role::Patient);
            user.version += 1;
            let sql = "UPDATE user SET body = ?2, version = ?3 WHERE id = ?1";
            c.execute(sql, params![id, serde_json::to_string(&user)?, user.version])?;
            changed.push(user);
            continue;
        }
        c.execute("DELETE FROM login_failure WHERE username = ?1", [&user.username])?;
        for sql in [
            "DELETE FROM session WHERE user = ?1",
            "DELETE FROM dead_address WHERE user = ?1",
            "DELETE FROM outbox WHERE user = ?1",
            "DELETE FROM called WHERE user = ?1",
            "DELETE FROM alert_command WHERE user = ?1",
            "DELETE FROM user WHERE id = ?1",
        ] {
            c.execute(sql, [id])?;
        }
        gone.push(user.id);
    }
    Ok((gone, changed))
}

/// Rows that still name the patient: the proof is 0.
fn left(c: &Connection, patient: PatientId) -> Result<u64, StoreError> {
    let mut sum = 0;
    for sql in [
        "SELECT count(*) FROM patient WHERE id = ?1",
        "SELECT count(*) FROM binding WHERE patient = ?1",
        "SELECT count(*) FROM kiosk_session WHERE patient = ?1",
        "SELECT count(*) FROM finding WHERE patient = ?1",
        "SELECT count(*) FROM episode WHERE patient = ?1",
        "SELECT count(*) FROM rule_timer WHERE patient = ?1",
        "SELECT count(*) FROM patient_days WHERE patient = ?1",
    ] {
        sum += c.query_row(sql, [patient.as_i64()], |r| r.get::<_, i64>(0))?;
    }
    sum += c.query_row("SELECT count(*) FROM outbox WHERE instr(body, ?1) > 0", [patient.to_string()], |r| {
        r.get::<_, i64>(0)
    })?;
    Ok(sum.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AlertBatch, AlertState, Contact, Episode, FindingBatch, NewMessage, Role, User};
    use runtime::{Clock, Drain, DrainHandle};
    use std::path::Path;
    use tempfile::TempDir;
    use vitals::{
        AlertId, BindingId, Concept, Device, DeviceKind, FindingDraft, Patient, ReadingId, Severity, Slot, UserId,
        Verdict,
    };

    const NAME: &str = "Canary Kanarienvogel";
    const PHONE: &str = "13912345678";

    struct Bench {
        folder: TempDir,
        store: Store,
        _drain: DrainHandle,
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_770_000_000 + seconds)
    }

    fn bench() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let (handle, drain) = Drain::new();
        let store = Store::open(folder.path(), Clock::manual(at(0)), &drain).unwrap();
        Bench { folder, store, _drain: handle }
    }

    fn person(name: &str) -> Patient {
        Patient {
            id: PatientId::new(0),
            name: name.into(),
            birth_date: None,
            sex: None,
            tags: vec![],
            conditions: vec![],
            team: None,
            organisation: None,
            phone: Some(PHONE.into()),
            time_zone: None,
            enrolled_at: at(0),
            visited_on: None,
            plan: vitals::Plan::default(),
        }
    }

    fn login(name: &str, patient: PatientId, roles: &[Role]) -> User {
        User {
            id: UserId::new(0),
            username: format!("login-{name}"),
            name: name.into(),
            roles: roles.to_vec(),
            organisation: None,
            password_hash: None,
            must_change_password: false,
            disabled: false,
            contacts: vec![Contact { channel: "sms".into(), address: PHONE.into(), critical: true }],
            locale: None,
            patient: Some(patient),
            version: 0,
        }
    }

    fn concluded(patient: PatientId, value: &str) -> FindingBatch {
        let draft = FindingDraft {
            patient,
            rule: "BP-C1".into(),
            rule_version: 1,
            concept: Concept::BpCrisis,
            severity: Severity::Critical,
            verdict: Verdict::Page,
            at: at(0),
            effective_at: at(0),
            recipients: vec![],
            closes: false,
            readings: vec![ReadingId::new(1)],
            excluded: vec![],
            evidence: format!("{{\"systolic\":\"{value}\"}}"),
        };
        FindingBatch {
            position: 1,
            new: vec![(draft, at(0))],
            timers: vec![(patient, Some(at(9)))],
            ..FindingBatch::default()
        }
    }

    fn alerted(patient: PatientId, alert: u64, value: &str) -> AlertBatch {
        let id = AlertId::new(alert);
        let episode = Episode {
            id,
            patient,
            team: None,
            concept: Concept::BpCrisis,
            severity: Severity::Critical,
            acked_severity: None,
            state: AlertState::Open,
            rule: "BP-C1".into(),
            raised_at: at(0),
            level: 1,
            cycle: 1,
            next_at: None,
            count: 1,
            owner: None,
            exhausted: false,
            snoozed_until: None,
            held_until: None,
            inhibited_by: None,
            previous: None,
            readings: vec![],
            findings: vec![],
            evidence: format!("{{\"systolic\":\"{value}\"}}"),
            chain: vec![],
            book: String::new(),
            version: 0,
        };
        let said = crate::TimelineEvent { at: at(0), event: "comment".into(), by: None, detail: Some(value.into()) };
        let message = |id: &str, alert, kind, body: String| NewMessage {
            id: id.into(),
            alert,
            kind,
            channel: "sms".into(),
            user: None,
            address: "a".into(),
            level: 1,
            cycle: 1,
            critical: true,
            created_at: at(0),
            expires_at: at(99),
            body,
        };
        let page = message(
            &format!("page-{alert}"),
            Some(id),
            "alert.notification",
            format!("{{\"name\":\"{value}\",\"phone\":\"{PHONE}\"}}"),
        );
        let item = |p: PatientId| format!("{{\"patientId\":\"{p}\",\"concept\":\"bp_crisis\"}}");
        let digest = format!("{{\"data\":{{\"items\":[{},{}]}}}}", item(patient), item(PatientId::new(4)));
        let digest = message(&format!("digest-{alert}"), None, "alert.digest", digest);
        AlertBatch {
            episodes: vec![episode],
            events: vec![(id, said)],
            messages: vec![page, digest],
            ..AlertBatch::default()
        }
    }

    impl Bench {
        /// A patient with everything that can be written about one.
        async fn enrol(&self, name: &str, device: &str, alert: u64, roles: &[Role]) -> PatientId {
            let store = &self.store;
            let patient = store.create_patient(person(name)).await.unwrap().id;
            store.create_user(login(name, patient, roles)).await.unwrap();
            let device = Device {
                key: DeviceKey::new(0),
                id: device.parse().unwrap(),
                kind: DeviceKind::Meter,
                label: None,
                model: None,
                organisation: None,
                secret_hash: None,
                revoked: false,
            };
            let device = store.create_device(device).await.unwrap().key;
            let binding = Binding {
                id: BindingId::new(0),
                device,
                slot: Slot::Any,
                from: at(-1000),
                to: None,
                patient,
                recorded_at: at(0),
            };
            store.create_binding(binding).await.unwrap();
            store.commit_findings(concluded(patient, name)).await.unwrap();
            store.commit_alerts(alerted(patient, alert, name)).await.unwrap();
            patient
        }
    }

    fn found(folder: &Path, what: &str) -> Vec<String> {
        let files = std::fs::read_dir(folder).unwrap().flatten();
        let holds = |bytes: Vec<u8>| bytes.windows(what.len()).any(|w| w == what.as_bytes());
        files
            .filter(|f| holds(std::fs::read(f.path()).unwrap()))
            .map(|f| f.file_name().to_string_lossy().into_owned())
            .collect()
    }

    #[tokio::test]
    async fn a_digest_that_was_being_made_in_the_moment_of_an_erasure_is_written_without_the_patient() {
        let bench = bench();
        let patient = bench.enrol(NAME, "d-1", 3, &[Role::Patient]).await;
        bench.store.erase_patient(patient).await.unwrap();
        bench.store.commit_alerts(alerted(patient, 4, NAME)).await.unwrap();
        let mut alone = alerted(patient, 5, NAME);
        alone.messages[1].body = format!("{{\"data\":{{\"items\":[{{\"patientId\":\"{patient}\"}}]}}}}");
        bench.store.commit_alerts(alone).await.unwrap();
        let due = bench.store.outbox_due(at(0), true, 10).await.unwrap();
        let of = |id: &str| due.iter().find(|m| m.delivery.id == id);
        assert!(of("digest-4").unwrap().body.contains(&PatientId::new(4).to_string()));
        assert!(of("digest-5").is_none() && !due.iter().any(|m| m.body.contains(&patient.to_string())));
    }

    #[tokio::test]
    async fn nothing_of_an_erased_patient_is_left_in_any_file_and_nothing_comes_back() {
        let bench = bench();
        let (store, folder) = (&bench.store, bench.folder.path());
        let other = bench.enrol("Somebody Else", "d-2", 2, &[Role::Patient]).await;
        let patient = bench.enrol(NAME, "d-1", 3, &[Role::Patient]).await;
        assert!(!found(folder, NAME).is_empty());
        let done = store.erase_patient(patient).await.unwrap();
        let expected = ErasedRecords {
            patients: 1,
            bindings: 1,
            users: 1,
            findings: 1,
            alerts: 1,
            messages: 2,
            kiosk_sessions: 0,
            after: 0,
            log_emptied: true,
        };
        assert_eq!(done.records, expected);
        for canary in [NAME, &format!("login-{NAME}")] {
            assert_eq!(found(folder, canary), Vec::<String>::new(), "{canary}");
        }
        assert!(
            store.directory().patient(patient).is_none()
                && store.directory().user_named(&format!("login-{NAME}")).is_none()
        );
        let digest =
            store.outbox_due(at(0), true, 10).await.unwrap().into_iter().find(|m| m.delivery.id == "digest-3").unwrap();
        assert!(digest.body.contains(&PatientId::new(4).to_string()) && !digest.body.contains(&patient.to_string()));
        // What stages still had in memory is not written any more.
        let change = *store.alert_changes().borrow();
        store.commit_findings(concluded(patient, NAME)).await.unwrap();
        store.commit_alerts(alerted(patient, 3, NAME)).await.unwrap();
        assert_eq!(store.findings_of(patient, None, None, None, None, 10).await.unwrap(), []);
        assert!(store.episode(AlertId::new(3)).await.unwrap().is_none());
        assert_eq!(found(folder, NAME), Vec::<String>::new());
        // Others are as they were, and followers of changes miss none.
        assert_eq!(store.findings_of(other, None, None, None, None, 10).await.unwrap().len(), 1);
        store.commit_alerts(alerted(other, 2, "Somebody Else")).await.unwrap();
        assert!(*store.alert_changes().borrow() > change);
        assert!(matches!(store.erase_patient(PatientId::new(77)).await, Err(StoreError::NotFound("patient"))));
        let again = store.erase_patient(patient).await.unwrap();
        assert_eq!((again.records.patients, again.records.after), (0, 0), "erasing again is safe");
        assert_eq!(store.unfinished_erasures().await.unwrap(), []);
    }

    /// Every column of every table, so that a table that is added one day is not forgotten here.
    fn named_in(folder: &Path, patient: PatientId) -> Vec<String> {
        let c = rusqlite::Connection::open(folder.join("registry.db")).unwrap();
        let list = |sql: &str| -> Vec<String> {
            c.prepare(sql).unwrap().query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let mut all = Vec::new();
        for table in list("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('audit', 'erasure')") {
            for column in list(&format!("SELECT name FROM pragma_table_info('{table}')")) {
                let sql = format!(
                    "SELECT EXISTS(SELECT 1 FROM {table} WHERE \"{column}\" = ?1 OR instr(CAST(\"{column}\" AS TEXT), ?2) > 0)"
                );
                let values = params![patient.as_i64(), patient.to_string()];
                if c.query_row(&sql, values, |r| r.get(0)).unwrap() {
                    all.push(format!("{table}.{column}"));
                }
            }
        }
        all
    }

    #[tokio::test]
    async fn no_table_names_an_erased_patient() {
        let bench = bench();
        let patient = bench.enrol(NAME, "d-1", 1, &[Role::Patient]).await;
        let kiosk = bench.store.directory().device("d-1").unwrap().key;
        bench.store.open_kiosk_session(kiosk, patient, [7; 32]).await.unwrap();
        let before = named_in(bench.folder.path(), patient);
        assert!(before.len() >= 8, "{before:?}");
        bench.store.erase_patient(patient).await.unwrap();
        assert_eq!(named_in(bench.folder.path(), patient), Vec::<String>::new());
    }

    #[tokio::test]
    async fn somebody_who_works_here_stays_a_colleague() {
        let bench = bench();
        let patient = bench.enrol("Both", "d-1", 1, &[Role::Gp, Role::Patient]).await;
        bench.store.erase_patient(patient).await.unwrap();
        let user = bench.store.directory().user_named("login-Both").unwrap();
        assert_eq!((user.patient, &user.roles[..]), (None, &[Role::Gp][..]));
    }

    #[tokio::test]
    async fn an_erasure_that_was_cut_short_is_known_and_finished() {
        let bench = bench();
        let patient = bench.enrol(NAME, "d-1", 1, &[Role::Patient]).await;
        let begun = bench.store.registry.write(move |c| begin(c, patient, at(0)).map(|b| b.worn)).await.unwrap();
        assert_eq!(begun.len(), 1);
        assert_eq!(bench.store.unfinished_erasures().await.unwrap(), [patient]);
        bench.store.erase_patient(patient).await.unwrap();
        assert_eq!(bench.store.unfinished_erasures().await.unwrap(), []);
        assert_eq!(found(bench.folder.path(), NAME), Vec::<String>::new());
    }

    /// A reading of the first device, of whom it says, with the canary in its note.
    async fn measured(store: &Store, patient: PatientId, slot: Option<u8>, seq: i64) -> ReadingId {
        let context = vitals::Context { note: Some(NAME.into()), ..vitals::Context::default() };
        let reading = vitals::Reading {
            id: ReadingId::new(0),
            device: store.directory().device("d-1").unwrap().key,
            epoch: 0,
            seq,
            user_slot: slot,
            patient: Some(patient),
            measured_at: at(seq),
            received_at: at(seq),
            device_time: None,
            time_quality: vitals::TimeQuality::Exact,
            disposition: vitals::Disposition::Stored,
            values: vitals::Values::Glucose(vitals::GlucoseValue::Value(vitals::Decimal::new(55, -1))),
            unit: vitals::Unit::MmolPerL,
            statuses: vitals::Statuses::default(),
            flags: vec![],
            historical: false,
            context,
        };
        let keep = move |desk: &mut crate::Desk<'_>| {
            desk.keep(crate::NewReading { reading, told: Some(at(seq)), trusted: true })
        };
        store.readings().submit(at(0).day(&vitals::Zone::default()), 1, keep).await.unwrap()
    }

    /// The registry has forgotten the patient, the journal not yet, and the process ended.
    async fn cut_short(bench: Bench, patient: PatientId) -> Bench {
        bench.store.registry.write(move |c| begin(c, patient, at(0)).map(drop)).await.unwrap();
        let Bench { folder, store, _drain } = bench;
        drop((store, _drain));
        let (handle, drain) = Drain::new();
        let store = Store::open(folder.path(), Clock::manual(at(0)), &drain).unwrap();
        Bench { folder, store, _drain: handle }
    }

    async fn patch(store: &Store, binding: Binding, patch: fn(&mut Binding)) {
        let work = move |b: &mut Binding| {
            patch(b);
            Ok(())
        };
        store.patch_binding(binding.device, binding.id, work).await.unwrap();
    }

    async fn worn_next(store: &Store, device: DeviceKey) {
        let patient = store.create_patient(person("Next")).await.unwrap().id;
        let (id, slot) = (BindingId::new(0), Slot::Any);
        let next = Binding { id, device, slot, from: at(500), to: None, patient, recorded_at: at(500) };
        store.create_binding(next).await.unwrap();
    }

    #[tokio::test]
    async fn the_next_wearer_of_a_meter_does_not_hide_what_an_erasure_that_was_cut_short_has_left() {
        let bench = bench();
        let patient = bench.enrol(NAME, "d-1", 1, &[Role::Patient]).await;
        let device = bench.store.directory().device("d-1").unwrap().key;
        bench.store.settle_bindings(device).await.unwrap();
        let id = measured(&bench.store, patient, None, 7).await;
        let bench = cut_short(bench, patient).await;
        worn_next(&bench.store, device).await;
        bench.store.settle_bindings(device).await.unwrap();
        assert_eq!(bench.store.unfinished_erasures().await.unwrap(), [], "it is finished first");
        assert!(bench.store.readings().by_id(id).await.unwrap().is_none());
        assert_eq!(found(bench.folder.path(), NAME), Vec::<String>::new());
    }

    #[tokio::test]
    async fn an_erasure_finds_what_was_made_nobodys_since_it_began_and_leaves_the_other_button() {
        let bench = bench();
        let patient = bench.enrol(NAME, "d-1", 1, &[Role::Patient]).await;
        let device = bench.store.directory().device("d-1").unwrap().key;
        let [binding] = bench.store.directory().bindings(device)[..] else { panic!() };
        patch(&bench.store, binding, |b| b.slot = Slot::User(1)).await;
        let id = measured(&bench.store, patient, Some(1), 7).await;
        let other = measured(&bench.store, patient, Some(2), 8).await;
        bench.store.settle_bindings(device).await.unwrap();
        let bench = cut_short(bench, patient).await;
        bench.store.readings().reattribute(device).await.unwrap();
        let done = bench.store.erase_patient(patient).await.unwrap();
        assert_eq!((done.readings.readings_before, done.readings.readings_after), (1, 0));
        assert!(bench.store.readings().by_id(id).await.unwrap().is_none());
        assert_eq!(bench.store.readings().by_id(other).await.unwrap().unwrap().patient, None);
    }

    #[tokio::test]
    async fn an_erasure_takes_what_a_corrected_binding_gives_the_patient_but_the_journal_has_not_moved_yet() {
        let bench = bench();
        let wrong = bench.store.create_patient(person("Somebody Else")).await.unwrap().id;
        let patient = bench.enrol(NAME, "d-1", 1, &[Role::Patient]).await;
        let id = measured(&bench.store, wrong, None, 7).await;
        let done = bench.store.erase_patient(patient).await.unwrap();
        assert_eq!(done.readings.readings_before, 1);
        assert!(bench.store.readings().by_id(id).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn nothing_is_given_to_somebody_who_was_erased_in_the_moment_of_asking() {
        let bench = bench();
        let patient = bench.enrol(NAME, "d-1", 1, &[Role::Patient]).await;
        let device = bench.store.directory().device("d-1").unwrap().key;
        let [binding] = bench.store.directory().bindings(device)[..] else { panic!() };
        patch(&bench.store, binding, |b| b.to = Some(at(5))).await;
        let id = measured(&bench.store, patient, None, 7).await;
        bench.store.settle_bindings(device).await.unwrap();
        bench.store.erase_patient(patient).await.unwrap();
        let Bench { folder, store, _drain } = bench;
        let refused = store.readings().assign(id, patient).await;
        assert!(matches!(refused, Err(StoreError::NotFound("patient"))), "{refused:?}");
        drop((store, _drain));
        let (_handle, drain) = Drain::new();
        let store = Store::open(folder.path(), Clock::manual(at(0)), &drain).unwrap();
        assert!(store.readings().assign(id, patient).await.is_err(), "after a start too");
        assert_eq!(store.readings().by_id(id).await.unwrap().unwrap().patient, None);
    }

    #[tokio::test]
    async fn a_newer_registry_is_refused_and_an_older_one_brought_forward() {
        let Bench { folder, store, _drain } = bench();
        drop(store);
        let path = folder.path().join("registry.db");
        let alter = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        alter("DROP TABLE backup; DROP TABLE erasure; DROP TABLE site; PRAGMA user_version=1");
        let open = || {
            let (handle, drain) = Drain::new();
            Store::open(folder.path(), Clock::manual(at(0)), &drain).map(|store| (store, handle))
        };
        let (store, _handle) = open().unwrap();
        assert_eq!(store.backups().await.unwrap(), []);
        drop(store);
        alter("PRAGMA user_version=99");
        assert!(matches!(open(), Err(StoreError::Newer { found: 99, .. })));
    }
}
