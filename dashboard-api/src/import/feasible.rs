//! Which rows can go in, judged before anything is written: a row that is turned away leaves nothing, and a dry run says
//! what the run will do.
//!
//! Goes in: rows that can be read. Comes out: those whose device and binding fit, the others in the report.

use super::{Fault, ImportReport, Rejected, Row};
use crate::{admin, scope::Scope};
use std::collections::HashMap;
use store::Store;
use vitals::{Binding, BindingId, DeviceKey, PatientId};

/// A device's bindings with those of the rows before; a row's line, or none for what is stored.
type Worn = Vec<(Option<u64>, Binding)>;

pub(super) fn keep(store: &Store, rows: Vec<Row>, scope: Option<&Scope>, report: &mut ImportReport) -> Vec<Row> {
    let mut worn: HashMap<String, Worn> = HashMap::new();
    let mut good = Vec::with_capacity(rows.len());
    for row in rows {
        match fits(store, &row, scope, &mut worn) {
            Ok(()) => good.push(row),
            Err((column, reason)) => report.rejected.push(Rejected { line: row.line, column, reason }),
        }
    }
    good
}

fn fits(store: &Store, row: &Row, scope: Option<&Scope>, worn: &mut HashMap<String, Worn>) -> Result<(), Fault> {
    let Some((id, kind)) = &row.device else { return Ok(()) };
    let known = store.directory().device(id);
    match &known {
        Some(device) if scope.is_some_and(|s| !s.sees_device(device)) => {
            return Err(("device_id", "this id is taken by a device of somebody else".into()));
        }
        Some(_) => {}
        None => {
            admin::device_id(id).map_err(|e| ("device_id", super::words(&e)))?;
            admin::short("kind", kind.as_deref()).map_err(|e| ("device_kind", super::words(&e)))?;
            if kind.as_deref() == Some("service") {
                // It hears everybody of its place; whoever may bring in people may not make one by the way.
                return Err(("device_kind", "a service client is nobody's meter: operations make it by itself".into()));
            }
        }
    }
    let stored = || match &known {
        Some(device) => store.directory().bindings(device.key).iter().map(|b| (None, *b)).collect(),
        None => Vec::new(),
    };
    let others = worn.entry(id.clone()).or_insert_with(stored);
    let binding = Binding {
        id: BindingId::new(0),
        device: known.as_ref().map_or(DeviceKey::new(0), |d| d.key),
        slot: row.slot,
        from: row.from,
        to: None,
        patient: PatientId::new(0),
        recorded_at: row.from,
    };
    if let Some((line, other)) = others.iter().find(|(_, other)| other.conflicts(&binding)) {
        let whose = line.map_or_else(|| format!("binding {}", other.id), |line| format!("that of line {line}"));
        return Err(("bound_from", format!("it overlaps {whose}")));
    }
    others.push((Some(row.line), binding));
    Ok(())
}
