//! Truth, read back, against what a service stored and concluded; everything asked over its HTTP interface.
//!
//! Goes in: the truth that `drive` wrote, the service's address. Comes out: readings lost and doubled, and a tally.
//! Must never: take a reading for stored because it was acknowledged.

use super::{
    api::{Api, time},
    line::Fact,
    score::Tally,
    seen::Seen,
    truth::Truth,
};
use crate::{Error, dice::whole};
use serde::Serialize;
use serde_json::Value;
use std::{collections::HashMap, path::Path, time::Duration};
use vitals::{Recipient, Severity, Timestamp, Verdict, Zone};

pub use super::api::Login;

/// What became of the readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Measured and sent.
    pub sent: u64,
    /// In the store, as sent.
    pub stored: u64,
    /// In quarantine.
    pub held: u64,
    /// In neither.
    pub lost: u64,
    /// There more often than sent.
    pub doubled: u64,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// Readings.
    pub kept: Kept,
    /// Findings against truth.
    pub tally: Tally,
    /// Each patient's findings under the id of its pressure meter, in order.
    pub told: Vec<(String, Vec<Seen>)>,
}

/// Reads the truth and asks the service.
///
/// # Errors
/// [`Error`] when the file is no truth or the service does not answer.
pub async fn evaluate(truth: &Path, api: &str, login: &Login) -> Result<Evaluation, Error> {
    let name = truth.display().to_string();
    let text = std::fs::read_to_string(truth).map_err(Error::io(&*name))?;
    let api = Api::log_in(api, login).await?;
    let held = held(&api).await?;
    let mut out = Evaluation::default();
    for (number, line) in (1..).zip(text.lines()) {
        let truth: Truth = serde_json::from_str(line)
            .map_err(|e| Error::Input(format!("{name}: line {number}: {e}; expected what `cohort --truth` wrote")))?;
        let Some(patient) = &truth.patient else { continue };
        let range = format!("from={}&to={}", moment(truth.begins.minus(DAY)), moment(truth.ends.plus(DAY)));
        let readings = api.all(&format!("/api/v1/patients/{patient}/readings?{range}")).await?;
        out.kept.count(&truth, &readings, &held);
        let findings = api.all(&format!("/api/v1/patients/{patient}/findings?{range}")).await?;
        let mut seen: Vec<Seen> = findings.iter().filter_map(finding).filter(|f| f.effective_at < truth.ends).collect();
        seen.sort();
        out.told.push((truth.devices.first().cloned().unwrap_or_default(), seen.clone()));
        out.tally.take(&truth, seen);
    }
    out.told.sort();
    Ok(out)
}

/// A clock may be wrong by hours.
const DAY: Duration = Duration::from_secs(86_400);

fn moment(at: Timestamp) -> String {
    at.to_rfc3339(&Zone::utc()).replace('+', "%2B")
}

/// Numbers in quarantine, by device.
async fn held(api: &Api) -> Result<HashMap<(String, u64), u64>, Error> {
    let mut out = HashMap::new();
    for row in api.all("/api/v1/quarantine").await? {
        if let (Some(device), Some(seq)) = (row["deviceId"].as_str(), row["seq"].as_u64()) {
            *out.entry((device.to_owned(), seq)).or_default() += 1;
        }
    }
    Ok(out)
}

/// A reading as both sides can name it: meter, told time, values in hundredths.
type Name = (String, i64, i64, i64);

fn name_of(fact: &Fact, devices: &[String]) -> Name {
    let device = devices.get(usize::from(!fact.pressure)).cloned().unwrap_or_default();
    // Meters write whole seconds.
    let told = fact.told.as_micros().div_euclid(1_000_000);
    (device, told, whole(fact.shown * 100.0), whole(fact.shown_low * 100.0))
}

fn name_in(row: &Value) -> Option<Name> {
    let number = |key: &str| row[key].as_f64();
    let device = row["deviceId"].as_str()?.to_owned();
    let told = time(&row["measuredAt"])?.as_micros().div_euclid(1_000_000);
    let per = if row["unit"] == "mg/dL" { 18.016 } else { 1.0 };
    Some(match number("systolic") {
        Some(s) => (device, told, whole(s * 100.0), whole(number("diastolic")? * 100.0)),
        None => (device, told, whole(number("glucose")? / per * 100.0), 0),
    })
}

impl Kept {
    fn count(&mut self, truth: &Truth, readings: &[Value], held: &HashMap<(String, u64), u64>) {
        let mut there: HashMap<Name, u64> = HashMap::new();
        for name in readings.iter().filter_map(name_in) {
            *there.entry(name).or_default() += 1;
        }
        for fact in &truth.facts {
            self.sent += 1;
            let name = name_of(fact, &truth.devices);
            let in_quarantine = held.get(&(name.0.clone(), fact.seq)).copied().unwrap_or(0);
            match (there.get_mut(&name), in_quarantine) {
                (Some(n), _) if *n > 0 => {
                    *n -= 1;
                    self.stored += 1;
                    self.doubled += in_quarantine;
                }
                (_, 0) => self.lost += 1,
                (_, n) => {
                    self.held += 1;
                    self.doubled += n - 1;
                }
            }
        }
        self.doubled += there.values().sum::<u64>();
    }
}

/// A finding as the contract shows it; none where it was retracted or cannot be read.
fn finding(row: &Value) -> Option<Seen> {
    if !row["retractedAt"].is_null() {
        return None;
    }
    let word = |key: &str| row[key].as_str();
    Some(Seen {
        effective_at: time(&row["effectiveAt"])?,
        rule: word("ruleId")?.to_owned(),
        concept: word("concept")?.to_owned(),
        severity: Severity::parse(word("severity")?)?,
        verdict: Verdict::parse(word("verdict")?)?,
        recipients: row["recipients"].as_array()?.iter().filter_map(|r| Recipient::parse(r.as_str()?)).collect(),
        closes: row["closes"].as_bool()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cohort::Worth;
    use serde_json::json;

    #[test]
    fn a_finding_is_read_as_the_contract_shows_it() {
        let row = json!({"id": "f_1", "ruleId": "BP-S1", "concept": "bp_sustained", "severity": "routine", "verdict": "page",
            "at": "2026-03-09T06:00:00+08:00", "effectiveAt": "2026-03-09T06:00:00+08:00", "recipients": ["gp"], "closes": false,
            "retractedAt": null});
        assert!(finding(&row).unwrap().is_told());
        let mut gone = row;
        gone["retractedAt"] = json!("2026-03-10T06:00:00+08:00");
        assert_eq!(finding(&gone), None);
    }

    #[test]
    fn what_is_missing_is_lost_and_what_is_there_twice_is_doubled() {
        let devices = vec!["t-00001-bp".to_owned()];
        let at = Timestamp::from_seconds(1_750_000_000);
        let fact = |seq| Fact {
            seq,
            pressure: true,
            at,
            told: at.plus(std::time::Duration::from_secs(60 * seq)),
            truth: 130.0,
            truth_low: 80.0,
            shown: 131.0,
            shown_low: 79.0,
            plain: (131.0, 79.0),
            worth: Worth::Clean,
            fasting: false,
        };
        let row = |f: &Fact| json!({"deviceId": devices[0], "measuredAt": f.told.to_rfc3339(&Zone::default()), "systolic": 131, "diastolic": 79, "unit": "mmHg"});
        let facts = vec![fact(1), fact(2), fact(3)];
        let rows = [row(&facts[0]), row(&facts[1]), row(&facts[1])];
        let held = HashMap::new();
        let mut kept = Kept::default();
        let scenario = super::super::panel::Scenario {
            name: "t".into(),
            first: jiff::civil::date(2023, 1, 2),
            panel: 1,
            cell: 0,
            days: 3,
            onset: (1, 1),
            autocorrelation: 0.2,
        };
        let home = scenario.stations(1).swap_remove(0).homes.swap_remove(0);
        let truth = Truth { devices: devices.clone(), facts, ..Truth::of(&home, "t") };
        kept.count(&truth, &rows, &held);
        assert_eq!(kept, Kept { sent: 3, stored: 2, held: 0, lost: 1, doubled: 1 });
    }
}
