//! `audit books` and `erase`: the recount of every row, and a patient taken out of both files.

use crate::{
    Done, Failure,
    arguments::{BooksOptions, EraseOptions},
    folder::{self, Owned},
};
use runtime::{Clock, Drain};
use serde_json::{Value, json};
use std::{fmt::Write, path::Path};
use store::{Archive, AuditRow, BackupRecord, BookRow, Erasure, Recount, Snapshot, Store};
use vitals::{DeviceKey, PatientId, Timestamp, Zone};

/// The zone in which the service of this folder counts its days.
fn zone_of(folder: &Path) -> Result<Zone, Failure> {
    match store::site_zone(folder)? {
        Some(name) => Zone::named(&name).map_err(|e| Failure::failed("site.time_zone", e)),
        None => Ok(Zone::default()),
    }
}

/// `audit books`: exit 1 when anything does not agree.
pub(crate) fn books(options: &BooksOptions) -> Done {
    let data = &options.data.data_dir;
    folder::require_initialised(data)?;
    let zone = zone_of(data)?;
    // The registry after the journal: a device that sent the newest reading is then surely known.
    let snapshot = Snapshot::open(data)?;
    let archive = Archive::open(data)?;
    let name = |key: DeviceKey| {
        archive.directory().device_by_key(key).map_or_else(|| format!("device {key}"), |d| d.id.to_string())
    };
    let report = snapshot.recount(&zone, options.day)?;
    let text = if options.json { format!("{}\n", as_json(&report, &name)) } else { as_text(&report, options, &name) };
    crate::check::print_all(text.as_bytes())?;
    match report.wrong() {
        0 => Ok(()),
        n => Err(Failure::Failed(format!("{n} mismatches between the books and the rows"))),
    }
}

fn as_text(report: &Recount, options: &BooksOptions, name: &dyn Fn(DeviceKey) -> String) -> String {
    let mut text = String::new();
    let mut line = |what: &str, numbers: [u64; 5], removed: u64| {
        let [stored, duplicate, quarantined, rejected, accepted] = numbers;
        let since = if removed > 0 { format!("  ({removed} taken out since)") } else { String::new() };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{what:<24} {stored:>10} {duplicate:>10} {quarantined:>11} {rejected:>9} {accepted:>10}{since}"
        );
    };
    let days: Vec<_> = report.days.iter().filter(|(day, _)| options.day.is_none_or(|d| d == *day)).collect();
    for (day, b) in &days {
        line(&day.to_string(), numbers(b.stored, b.duplicate, b.quarantined), b.removed);
    }
    for row in &report.devices {
        line(&name(row.device), numbers(row.stored, row.duplicate, row.quarantined), 0);
    }
    let mut text = format!(
        "{:<24} {:>10} {:>10} {:>11} {:>9} {:>10}\n{text}",
        "day", "stored", "duplicate", "quarantined", "rejected", "accepted"
    );
    for mismatch in &report.mismatches {
        let _ = writeln!(text, "MISMATCH {}", mismatch.words(name));
    }
    if report.untold > 0 {
        let _ = writeln!(text, "MISMATCH and {} more", report.untold);
    }
    if report.wrong() == 0 {
        let sums = report.sums;
        text.push_str("every row was counted again: the books agree, and every number is stored once\n");
        let _ = writeln!(text, "sums of days that were counted again: {sums} weeks of one patient");
    }
    text
}

/// Nothing is rejected in version 1 of the protocol.
const fn numbers(stored: u64, duplicate: u64, quarantined: u64) -> [u64; 5] {
    [stored, duplicate, quarantined, 0, stored + duplicate + quarantined]
}

fn as_json(report: &Recount, name: &dyn Fn(DeviceKey) -> String) -> Value {
    let row = |[stored, duplicate, quarantined, rejected, accepted]: [u64; 5]| json!({"stored": stored, "duplicate": duplicate, "quarantined": quarantined, "rejected": rejected, "accepted": accepted});
    let with = |mut books: Value, key: &str, value: Value| {
        books[key] = value;
        books
    };
    let days: Vec<Value> = report
        .days
        .iter()
        .map(|(day, b)| {
            let books = with(row(numbers(b.stored, b.duplicate, b.quarantined)), "day", json!(day.to_string()));
            with(books, "removed", json!(b.removed))
        })
        .collect();
    let device =
        |r: &BookRow| with(row(numbers(r.stored, r.duplicate, r.quarantined)), "device", json!(name(r.device)));
    json!({
        "days": days,
        "devices": report.devices.iter().map(device).collect::<Vec<_>>(),
        "mismatches": report.mismatches.iter().map(|m| m.words(name)).collect::<Vec<_>>(),
        "wrong": report.wrong(),
    })
}

/// `erase PATIENT --confirm PATIENT`
pub(crate) fn erase(options: &EraseOptions) -> Done {
    let patient: PatientId = options
        .patient
        .parse()
        .map_err(|_| Failure::Configuration(format!("{}: not a patient's id (p_…)", options.patient)))?;
    if options.confirm != options.patient {
        return Err(Failure::Configuration("--confirm: write the patient's id once more".into()));
    }
    let data = &options.data.data_dir;
    let _owned = Owned::take(data, "use POST /api/v1/patients/{id}/erase while it runs")?;
    let zone = zone_of(data)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed("tokio runtime", e))?;
    let done = runtime.block_on(async {
        let (_handle, drain) = Drain::new();
        let store = Store::open(data, Clock::system(), &drain)?.in_zone(zone.clone());
        let outcome = store.erase_patient(patient).await;
        let result = if outcome.is_ok() { "ok" } else { "not_found" };
        store.append_audit(vec![audit_row(patient, result)]).await?;
        outcome
    })?;
    let text = if options.json { format!("{}\n", report(patient, &done, &zone)) } else { proof(patient, &done, &zone) };
    crate::check::print_all(text.as_bytes())
}

fn audit_row(patient: PatientId, result: &'static str) -> AuditRow {
    AuditRow {
        at: Clock::wall(),
        user: None,
        username: None,
        role: None,
        action: "patient.erase".into(),
        path: "hearthbeat erase".into(),
        reference: Some(patient.to_string()),
        source: Some("command line".into()),
        result,
    }
}

fn report(patient: PatientId, done: &Erasure, zone: &Zone) -> Value {
    let backup = |b: &BackupRecord| {
        json!({"path": b.path, "madeAt": b.made_at.to_rfc3339(zone), "expiresAt": b.expires_at.to_rfc3339(zone),
               "there": Path::new(&b.path).exists()})
    };
    json!({"patientId": patient, "readings": done.readings, "records": done.records,
           "backups": done.backups.iter().map(backup).collect::<Vec<_>>()})
}

fn proof(patient: PatientId, done: &Erasure, zone: &Zone) -> String {
    let (j, r) = (done.readings, done.records);
    let records = r.patients + r.bindings + r.users + r.findings + r.alerts + r.messages + r.kiosk_sessions;
    let log = |emptied| if emptied { "empty" } else { "still read by an export or a backup: empty when that ends" };
    let mut text = format!(
        "{patient} is erased.\n\n{:<34} {:>8} {:>8}\n{:<34} {:>8} {:>8}\n{:<34} {:>8} {:>8}\n{:<34} {:>8} {:>8}\n\n\
         both files are written anew; journal.db-wal is {}, registry.db-wal is {}\n\
         what stays: the audit's rows (ids, no values), the books' counts, the meters' numbers without values\n",
        "",
        "before",
        "now",
        "readings",
        j.readings_before,
        j.readings_after,
        "held in quarantine",
        j.held_before,
        j.held_after,
        "records, alerts, messages",
        records,
        r.after,
        log(j.log_emptied),
        log(r.log_emptied),
    );
    if done.backups.is_empty() {
        text.push_str("no backup is written down; copies made by other means are not known here\n");
        return text;
    }
    text.push_str("\nbackups that may still hold all of it until they are deleted; after a restore erase again:\n");
    for backup in &done.backups {
        let there = if Path::new(&backup.path).exists() { "" } else { "  (no longer at this path)" };
        let day = |at: Timestamp| at.day(zone);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {}  made {}  expires {}{there}",
            backup.path,
            day(backup.made_at),
            day(backup.expires_at)
        );
    }
    text
}
