//! Sums against a full recount: every row of `sums` is what the readings of its patient and week come to.

use super::{
    super::{Mismatch, Recount, Snapshot, keeping, tables::fault},
    Basis, FORM, compact, count,
};
use crate::StoreError;
use std::collections::HashMap;
use vitals::{PatientId, Targets, Zone};

impl Snapshot {
    /// Counts the days of every kept row again, by the zone and targets that the row itself names.
    pub(in super::super) fn recount_days(&self, report: &mut Recount) -> Result<(), StoreError> {
        let c = &self.connection;
        if !keeping::has_table(c, "sums")? {
            return Ok(());
        }
        let bases = self.bases()?;
        let mut statement = c.prepare("SELECT wk, owner, basis, b FROM sums ORDER BY wk, owner").map_err(fault)?;
        let mut rows = statement.query([]).map_err(fault)?;
        while let Some(r) = rows.next().map_err(fault)? {
            let (week, owner): (i32, i64) = (r.get(0).map_err(fault)?, r.get(1).map_err(fault)?);
            // Sums of an older program are never shown: they are made again as they are met.
            let Some(basis) = bases.get(&r.get(2).map_err(fault)?) else { continue };
            let kept = compact::decode(week, r.get_ref(3).map_err(fault)?.as_blob().unwrap_or_default());
            let counted = count(c, week, owner, basis)?;
            report.sums += 1;
            if kept.is_err() || kept.is_ok_and(|kept| kept != counted.into_iter().collect::<Vec<_>>()) {
                report.tell(Mismatch::Days { week, patient: PatientId::from_i64(owner) });
            }
        }
        let lost: bool = c
            .query_row(
                "SELECT EXISTS(SELECT 1 FROM (SELECT owner, max(wk) AS wk FROM series WHERE owner >= 0 GROUP BY owner) s
                 LEFT JOIN newest n ON n.owner = s.owner WHERE n.wk IS NULL OR n.wk < s.wk)",
                [],
                |r| r.get(0),
            )
            .map_err(fault)?;
        if lost {
            report.tell(Mismatch::Sum { what: "a patient's newest week is noted too low, or not at all" });
        }
        Ok(())
    }

    fn bases(&self) -> Result<HashMap<i64, Basis>, StoreError> {
        let mut all = HashMap::new();
        let mut statement = self
            .connection
            .prepare("SELECT id, zone, systolic, diastolic FROM basis WHERE form = ?1")
            .map_err(fault)?;
        let mut rows = statement.query([FORM]).map_err(fault)?;
        while let Some(r) = rows.next().map_err(fault)? {
            let name: String = r.get(1).map_err(fault)?;
            let zone = Zone::named(&name)
                .map_err(|_| StoreError::Database { what: "journal.db", reason: format!("no such zone: {name}") })?;
            let targets = Targets {
                home_systolic: r.get(2).map_err(fault)?,
                home_diastolic: r.get(3).map_err(fault)?,
                ..Targets::default()
            };
            all.insert(r.get(0).map_err(fault)?, Basis { zone, targets });
        }
        Ok(all)
    }
}
