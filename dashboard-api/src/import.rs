//! Contracts, patients, devices and bindings in bulk, from a CSV file: one row a patient and device.
//!
//! A bad row is reported with its line and column and leaves nothing; the good ones go in. Patients first, then devices, then bindings, many
//! at a time, so that the registry groups them into few transactions.

mod feasible;

use crate::{
    admin::{self, AdminError, NewDevice},
    scope::Scope,
};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use store::{Store, StoreError, Team};
use utoipa::ToSchema;
use vitals::{Binding, BindingId, Device, DeviceKey, Patient, PatientId, Plan, Slot, Timestamp, Zone};

/// Writes under way at a time; the registry takes them in groups.
const AT_A_TIME: usize = 256;
const COLUMNS: [&str; 12] = [
    "patient_key",
    "name",
    "birth_date",
    "sex",
    "team",
    "tags",
    "conditions",
    "phone",
    "device_id",
    "device_kind",
    "user_slot",
    "bound_from",
];

/// What became of a file.
#[derive(Debug, Default, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct ImportReport {
    pub created: Created,
    pub rejected: Vec<Rejected>,
    pub secrets: Vec<DeviceSecret>,
}

/// How much is new.
#[derive(Debug, Default, Clone, Copy, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct Created {
    pub patients: usize,
    pub devices: usize,
    pub bindings: usize,
}

/// A row that did not go in.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Rejected {
    /// Line of the file, the header being 1.
    pub line: u64,
    /// Which column; empty: the row as a whole.
    pub column: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// A device's secret, shown once.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct DeviceSecret {
    pub device_id: String,
    pub secret: String,
    pub claim_code: String,
    /// What a printed QR code of the claim code says.
    pub qr_text: String,
}

impl std::fmt::Debug for DeviceSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceSecret({})", self.device_id)
    }
}

/// One row that can be read.
struct Row {
    line: u64,
    key: String,
    patient: Patient,
    device: Option<(String, Option<String>)>,
    slot: Slot,
    from: Timestamp,
}

/// Reads and, unless `dry_run`, writes a file on behalf of the command line: every team and device is in reach.
///
/// # Errors
/// [`AdminError::Invalid`] when the file has no usable header; a bad row is in the report instead.
pub async fn import_csv(store: &Store, text: &[u8], dry_run: bool) -> Result<ImportReport, AdminError> {
    import(store, text, dry_run, None).await
}

pub(crate) async fn import(
    store: &Store,
    text: &[u8],
    dry_run: bool,
    scope: Option<&Scope>,
) -> Result<ImportReport, AdminError> {
    let mut report = ImportReport::default();
    let rows = read(store, text, scope, &mut report)?;
    let mut rows = feasible::keep(store, rows, scope, &mut report);
    if dry_run {
        report.created = would_create(store, &rows);
        report.rejected.sort_by_key(|r| r.line);
        return Ok(report);
    }
    let people = create_patients(store, &rows, &mut report).await;
    rows.retain(|row| people.contains_key(&row.key));
    let devices = create_devices(store, &rows, &mut report).await;
    create_bindings(store, &rows, &people, &devices, &mut report).await;
    report.rejected.sort_by_key(|r| r.line);
    Ok(report)
}

fn read(store: &Store, text: &[u8], scope: Option<&Scope>, report: &mut ImportReport) -> Result<Vec<Row>, AdminError> {
    // Spreadsheets put a byte-order mark first.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text);
    let header = reader.headers().map_err(|_| admin::invalid("file", "not CSV with a header"))?.clone();
    let places: HashMap<&str, usize> = header.iter().enumerate().map(|(i, name)| (name, i)).collect();
    if let Some(missing) = ["patient_key", "name"].iter().find(|name| !places.contains_key(**name)) {
        return Err(admin::invalid("file", format!("the header has no column {missing}; it is {}", COLUMNS.join(","))));
    }
    let teams = teams(store, scope);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(e) => {
                let line = line_of(text, e.position());
                report.rejected.push(Rejected { line, column: "", reason: "not readable as UTF-8 CSV".into() });
                continue;
            }
        };
        let line = line_of(text, record.position());
        let get = |name: &str| places.get(name).and_then(|i| record.get(*i)).filter(|text| !text.is_empty());
        match row(store, line, get, &teams) {
            Ok(row) => rows.push(row),
            Err((column, reason)) => report.rejected.push(Rejected { line, column, reason }),
        }
    }
    Ok(rows)
}

/// The line on which a record begins, as an editor counts. The reader says where it began to look: before the rest of the
/// last line's end (CR LF) and before empty lines.
fn line_of(text: &[u8], position: Option<&csv::Position>) -> u64 {
    let Some(position) = position else { return 0 };
    let rest = usize::try_from(position.byte()).ok().and_then(|at| text.get(at..)).unwrap_or_default();
    let skipped = rest.iter().take_while(|b| matches!(b, b'\r' | b'\n')).filter(|b| **b == b'\n').count();
    position.line() + skipped as u64
}

/// By id and by name; a name that two teams share is none.
fn teams(store: &Store, scope: Option<&Scope>) -> HashMap<String, Option<std::sync::Arc<Team>>> {
    let mut teams = HashMap::new();
    for team in store.directory().teams().into_iter().filter(|t| scope.is_none_or(|s| s.may_fill(t))) {
        teams.insert(team.id.to_string(), Some(team.clone()));
        teams.entry(team.name.clone()).and_modify(|t| *t = None).or_insert(Some(team));
    }
    teams
}

type Fault = (&'static str, String);

fn row<'a>(
    store: &Store,
    line: u64,
    get: impl Fn(&str) -> Option<&'a str>,
    teams: &HashMap<String, Option<std::sync::Arc<Team>>>,
) -> Result<Row, Fault> {
    let fault = |column: &'static str, reason: &str| (column, reason.to_owned());
    let now = store.clock().now();
    let name = get("name").ok_or_else(|| fault("name", "is missing"))?;
    let team = match get("team") {
        None => return Err(fault("team", "is missing")),
        Some(text) => match teams.get(text) {
            Some(Some(team)) => team,
            Some(None) => return Err(fault("team", "several teams have this name: give the id")),
            None => return Err(fault("team", "there is no such team")),
        },
    };
    let birth_date = get("birth_date")
        .map(str::parse)
        .transpose()
        .map_err(|_| fault("birth_date", "not a date such as 1958-05-02"))?;
    let slot = match get("user_slot").map(str::parse) {
        None => Slot::Any,
        Some(Ok(n)) => Slot::User(n),
        Some(Err(_)) => return Err(fault("user_slot", "0 to 255")),
    };
    let from = match get("bound_from") {
        None => now,
        Some(text) => {
            moment(text, store.zone()).ok_or_else(|| fault("bound_from", "not a date or an RFC 3339 time"))?
        }
    };
    let list =
        |name: &str| get(name).map(|t| t.split(';').map(str::trim).filter(|w| !w.is_empty()).map(Into::into).collect());
    let patient = Patient {
        id: PatientId::new(0),
        name: name.to_owned(),
        birth_date,
        sex: sex(get("sex")).map_err(|reason| fault("sex", reason))?,
        tags: list("tags").unwrap_or_default(),
        conditions: list("conditions").unwrap_or_default(),
        team: Some(team.id),
        organisation: Some(team.organisation),
        phone: get("phone").map(Into::into),
        time_zone: None,
        enrolled_at: now,
        visited_on: None,
        plan: Plan::default(),
    };
    let key = get("patient_key").map_or_else(|| format!("line {line}"), ToOwned::to_owned);
    let device = get("device_id").map(|id| (id.to_owned(), get("device_kind").map(ToOwned::to_owned)));
    Ok(Row { line, key, patient, device, slot, from })
}

/// `female`, `male`, `other`, or nothing.
pub(crate) fn sex(text: Option<&str>) -> Result<Option<String>, &'static str> {
    match text {
        None => Ok(None),
        Some(word @ ("female" | "male" | "other")) => Ok(Some(word.to_owned())),
        Some(_) => Err("female, male or other"),
    }
}

/// A moment, or a day's midnight in the site's zone.
fn moment(text: &str, zone: &Zone) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(text).ok().or_else(|| text.parse().ok().map(|day| zone.start_of(day)))
}

fn would_create(store: &Store, rows: &[Row]) -> Created {
    let people: HashSet<&str> = rows.iter().map(|r| r.key.as_str()).collect();
    let devices: HashSet<&str> = rows.iter().filter_map(|r| r.device.as_ref()).map(|(id, _)| id.as_str()).collect();
    Created {
        patients: people.len(),
        devices: devices.iter().filter(|id| store.directory().device(id).is_none()).count(),
        bindings: rows.iter().filter(|r| r.device.is_some()).count(),
    }
}

async fn create_patients(store: &Store, rows: &[Row], report: &mut ImportReport) -> HashMap<String, PatientId> {
    let mut seen = HashSet::new();
    let firsts: Vec<(u64, String, Patient)> =
        rows.iter().filter(|r| seen.insert(&r.key)).map(|r| (r.line, r.key.clone(), r.patient.clone())).collect();
    let made: Vec<_> = stream::iter(firsts)
        .map(|(line, key, patient)| async move { (line, key, store.create_patient(patient).await) })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    let mut people = HashMap::new();
    for (line, key, outcome) in made {
        match outcome {
            Ok(patient) => {
                report.created.patients += 1;
                people.insert(key, patient.id);
            }
            Err(e) => report.rejected.push(Rejected { line, column: "", reason: words(&e.into()) }),
        }
    }
    people
}

async fn create_devices(store: &Store, rows: &[Row], report: &mut ImportReport) -> HashMap<String, Device> {
    let mut devices = HashMap::new();
    let (mut new, mut seen) = (Vec::new(), HashSet::new());
    for row in rows {
        let Some((id, kind)) = &row.device else { continue };
        if !seen.insert(id) {
            continue;
        }
        if let Some(known) = store.directory().device(id) {
            devices.insert(id.clone(), Device::clone(&known));
        } else {
            new.push((row.line, id.clone(), kind.clone(), row.patient.organisation));
        }
    }
    let made: Vec<_> = stream::iter(new)
        .map(|(line, id, kind, organisation)| async move {
            let device = NewDevice { id: Some(id.clone()), kind, model: None, organisation };
            (line, admin::provision_device(store, device).await)
        })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    for (line, outcome) in made {
        match outcome {
            Ok(made) => {
                report.created.devices += 1;
                let device_id = made.device.id.to_string();
                let qr_text = crate::admin::printed_code(&made.device.id, &made.claim_code);
                let (secret, claim_code) = (made.secret, made.claim_code);
                report.secrets.push(DeviceSecret { device_id: device_id.clone(), secret, claim_code, qr_text });
                devices.insert(device_id, made.device);
            }
            Err(e) => report.rejected.push(Rejected { line, column: "device_id", reason: words(&e) }),
        }
    }
    report.secrets.sort_by(|a, b| a.device_id.cmp(&b.device_id));
    devices
}

async fn create_bindings(
    store: &Store,
    rows: &[Row],
    people: &HashMap<String, PatientId>,
    devices: &HashMap<String, Device>,
    report: &mut ImportReport,
) {
    let recorded_at = store.clock().now();
    let fresh: HashSet<&str> = report.secrets.iter().map(|s| s.device_id.as_str()).collect();
    let known: HashSet<DeviceKey> =
        devices.iter().filter(|(id, _)| !fresh.contains(id.as_str())).map(|(_, d)| d.key).collect();
    let wanted: Vec<(u64, Binding)> = rows
        .iter()
        .filter_map(|row| {
            let device = devices.get(&row.device.as_ref()?.0)?;
            let patient = *people.get(&row.key)?;
            let id = BindingId::new(0);
            Some((
                row.line,
                Binding { id, device: device.key, slot: row.slot, from: row.from, to: None, patient, recorded_at },
            ))
        })
        .collect();
    let made: Vec<(u64, DeviceKey, Result<Binding, StoreError>)> = stream::iter(wanted)
        .map(|(line, binding)| async move { (line, binding.device, store.create_binding(binding).await) })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    let mut new = Vec::new();
    for (line, device, outcome) in made {
        match outcome {
            Ok(_) => {
                report.created.bindings += 1;
                // New devices have nothing stored; a known one may have been sending before it was bound.
                if !known.contains(&device) {
                    new.push(device);
                } else if let Err(e) = store.settle_bindings(device).await {
                    tracing::warn!(error = %e, "stored readings are not yet given to their patient; it is tried again");
                }
            }
            Err(e) => report.rejected.push(Rejected { line, column: "bound_from", reason: words(&e.into()) }),
        }
    }
    if let Err(e) = store.nothing_to_settle(new).await {
        tracing::debug!(error = %e, "new devices are looked at once more within the hour");
    }
}

/// What a person reads in the report.
fn words(e: &AdminError) -> String {
    match e {
        AdminError::Invalid { remedy, .. } => remedy.clone(),
        AdminError::Store(StoreError::Conflict(words)) => words.clone(),
        e => {
            tracing::error!(error = %e, "import");
            "the service could not store it; see its log".into()
        }
    }
}
