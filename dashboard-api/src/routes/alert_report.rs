//! What alerts cost and what came of them: by rule and station, a patient-month. As JSON, or as a table for a spreadsheet.
//!
//! Goes in: whom the caller sees, a time. Comes out: counts, times to the first acknowledgement, outcomes.
//! Must never: name a patient, or count one that the caller does not see.

use crate::{
    extract::{self, Params},
    problem::{Answer, Problem},
    scope::Caller,
    state::Api,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use store::Fate;
use utoipa::{IntoParams, ToSchema};
use vitals::{OrganisationId, PatientId, Severity, Timestamp, glucose::percentile};

/// So far back where the caller does not say.
const USUAL: Duration = Duration::from_secs(90 * 24 * 3600);
/// The longest time of one report.
const MOST: Duration = Duration::from_secs(800 * 24 * 3600);
const MONTH_SECONDS: f64 = 30.437_5 * 86_400.0;

/// Of which time.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AlertReportParams {
    /// Alerts raised from this moment on; absent: 90 days before `to`.
    from: Option<String>,
    /// First moment no longer; absent: now.
    to: Option<String>,
}

/// How alerts ended by a person's word.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Outcomes {
    treated: u64,
    referred: u64,
    false_reading: u64,
    unreachable: u64,
    other: u64,
}

/// Minutes from raising to the first acknowledgement.
#[derive(Serialize, ToSchema)]
struct Minutes {
    median: f64,
    p90: f64,
}

/// Alerts of one rule, or of all.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RowView {
    /// The rule of the alert's gravest finding; absent: of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_id: Option<String>,
    alerts: u64,
    per_patient_month: Option<f64>,
    critical: u64,
    urgent: u64,
    routine: u64,
    acknowledged: u64,
    minutes_to_acknowledge: Option<Minutes>,
    /// Somebody may still have to act.
    active: u64,
    outcomes: Outcomes,
    /// Treated or referred, of those that a person ended.
    r#yield: Option<f64>,
}

/// A station and what it had to carry.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StationView {
    /// Absent: patients of no station.
    #[schema(value_type = Option<String>)]
    organisation_id: Option<OrganisationId>,
    name: Option<String>,
    patients: u64,
    patient_months: f64,
    all: RowView,
    items: Vec<RowView>,
}

/// An alert is an episode of a patient and a concept, however many findings it took in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AlertReport {
    from: String,
    to: String,
    time_zone: String,
    patients: u64,
    /// Of 30.4375 days, counted from enrolment.
    patient_months: f64,
    all: RowView,
    /// By rule.
    items: Vec<RowView>,
    /// By the station that the patient belongs to now.
    stations: Vec<StationView>,
}

/// What is counted of one rule.
#[derive(Clone, Debug, Default)]
struct Count {
    alerts: u64,
    /// Critical, urgent, routine.
    severities: [u64; 3],
    minutes: Vec<f64>,
    active: u64,
    outcomes: Outcomes,
}

/// One station's patients and alerts.
#[derive(Debug, Default)]
struct Load {
    patients: u64,
    months: f64,
    rules: BTreeMap<String, Count>,
}

type Loads = BTreeMap<Option<OrganisationId>, Load>;

impl Count {
    fn take(&mut self, fate: &Fate) {
        self.alerts += 1;
        match fate.severity {
            Severity::Critical => self.severities[0] += 1,
            Severity::Urgent => self.severities[1] += 1,
            _ => self.severities[2] += 1,
        }
        self.minutes.extend(fate.acknowledged_at.map(|at| at.since(fate.raised_at).as_secs_f64() / 60.0));
        self.active += u64::from(fate.is_active);
        let outcomes = &mut self.outcomes;
        match fate.outcome.as_deref() {
            Some("treated") => outcomes.treated += 1,
            Some("referred") => outcomes.referred += 1,
            Some("false_reading") => outcomes.false_reading += 1,
            Some("unreachable") => outcomes.unreachable += 1,
            Some(_) => outcomes.other += 1,
            None => {}
        }
    }

    fn add(&mut self, other: &Self) {
        self.alerts += other.alerts;
        self.active += other.active;
        self.severities.iter_mut().zip(other.severities).for_each(|(a, b)| *a += b);
        self.minutes.extend(&other.minutes);
        let (mine, theirs) = (&mut self.outcomes, other.outcomes);
        mine.treated += theirs.treated;
        mine.referred += theirs.referred;
        mine.false_reading += theirs.false_reading;
        mine.unreachable += theirs.unreachable;
        mine.other += theirs.other;
    }

    #[allow(clippy::cast_precision_loss, reason = "counts of alerts")]
    fn view(mut self, rule_id: Option<String>, months: f64) -> RowView {
        self.minutes.sort_by(f64::total_cmp);
        let o = self.outcomes;
        let ended = o.treated + o.referred + o.false_reading + o.unreachable + o.other;
        let [critical, urgent, routine] = self.severities;
        RowView {
            rule_id,
            alerts: self.alerts,
            per_patient_month: (months > 0.0).then(|| self.alerts as f64 / months),
            critical,
            urgent,
            routine,
            acknowledged: self.minutes.len() as u64,
            minutes_to_acknowledge: (!self.minutes.is_empty())
                .then(|| Minutes { median: percentile(&self.minutes, 50.0), p90: percentile(&self.minutes, 90.0) }),
            active: self.active,
            outcomes: o,
            r#yield: (ended > 0).then(|| (o.treated + o.referred) as f64 / ended as f64),
        }
    }
}

/// Of all rules, and of each.
fn rows(rules: BTreeMap<String, Count>, months: f64) -> (RowView, Vec<RowView>) {
    let mut all = Count::default();
    rules.values().for_each(|count| all.add(count));
    (all.view(None, months), rules.into_iter().map(|(rule, count)| count.view(Some(rule), months)).collect())
}

/// What alerts cost a patient-month by rule and station, how soon somebody took them, and what came of them.
#[utoipa::path(get, path = "/api/v1/reports/alerts", tag = "reports", params(AlertReportParams),
    responses((status = 200, description = "JSON, or `text/csv` where `Accept` asks for it", body = AlertReport),
        (status = 406)))]
pub(super) async fn alerts(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Params(asked): Params<AlertReportParams>,
) -> Answer<Response> {
    let wants_table = wants_table(&headers)?;
    let to = extract::moment("to", asked.to.as_deref())?.unwrap_or_else(|| api.now());
    let from = extract::moment("from", asked.from.as_deref())?.unwrap_or_else(|| to.minus(USUAL));
    if from >= to {
        return Err(Problem::bad("from, to: from must be before to"));
    }
    if to.since(from) > MOST {
        return Err(Problem::bad(format!("from, to: at most {} days", MOST.as_secs() / 86_400)));
    }
    let (places, loads) = panel(&caller, (from, to.min(api.now())));
    let count = move |loads: &mut Loads, fate: Fate| {
        // Who is in no place is not the caller's.
        let Some(load) = places.get(&fate.patient).and_then(|place| loads.get_mut(place)) else { return };
        load.rules.entry(fate.rule.clone()).or_default().take(&fate);
    };
    let loads = api.store.count_alerts((from, to), loads, count).await?;
    let report = report(&api, &caller, (from, to), loads);
    if wants_table {
        let kind = (header::CONTENT_TYPE, "text/csv; charset=utf-8");
        let name = (header::CONTENT_DISPOSITION, "attachment; filename=\"alerts.csv\"");
        return Ok(([kind, name], table(&report)).into_response());
    }
    Ok(Json(report).into_response())
}

/// A table or JSON; 406 for whoever takes neither.
fn wants_table(headers: &HeaderMap) -> Answer<bool> {
    let Some(accept) = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()) else { return Ok(false) };
    let takes = |kinds: &[&str]| kinds.iter().any(|kind| accept.contains(kind));
    if takes(&["text/csv"]) {
        return Ok(true);
    }
    if takes(&["*/*", "application/*", "application/json"]) {
        return Ok(false);
    }
    let words = "Accept: application/json, or text/csv, which a spreadsheet opens";
    Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", words))
}

/// Where each of the caller's patients belongs, and how long each was looked after.
fn panel(caller: &Caller, (from, to): (Timestamp, Timestamp)) -> (HashMap<PatientId, Option<OrganisationId>>, Loads) {
    let (mut places, mut loads) = (HashMap::new(), Loads::new());
    for patient in caller.scope.patients() {
        places.insert(patient.id, patient.organisation);
        let load = loads.entry(patient.organisation).or_default();
        load.patients += 1;
        let begun = patient.enrolled_at.max(from);
        if begun < to {
            load.months += to.since(begun).as_secs_f64() / MONTH_SECONDS;
        }
    }
    (places, loads)
}

fn report(api: &Api, caller: &Caller, (from, to): (Timestamp, Timestamp), loads: Loads) -> AlertReport {
    let (mut patients, mut months, mut rules) = (0, 0.0, BTreeMap::<String, Count>::new());
    let mut stations = Vec::with_capacity(loads.len());
    for (organisation_id, load) in loads {
        patients += load.patients;
        months += load.months;
        load.rules.iter().for_each(|(rule, count)| rules.entry(rule.clone()).or_default().add(count));
        let name = organisation_id
            .filter(|id| caller.scope.knows(*id))
            .and_then(|id| api.directory().organisation(id))
            .map(|o| o.name.clone());
        let (all, items) = rows(load.rules, load.months);
        let (patients, patient_months) = (load.patients, load.months);
        stations.push(StationView { organisation_id, name, patients, patient_months, all, items });
    }
    let (all, items) = rows(rules, months);
    AlertReport {
        from: api.time(from),
        to: api.time(to),
        time_zone: api.zone().name().to_owned(),
        patients,
        patient_months: months,
        all,
        items,
        stations,
    }
}

const COLUMNS: [&str; 20] = [
    "station_id",
    "station",
    "patients",
    "patient_months",
    "rule",
    "alerts",
    "per_patient_month",
    "critical",
    "urgent",
    "routine",
    "acknowledged",
    "minutes_median",
    "minutes_p90",
    "active",
    "treated",
    "referred",
    "false_reading",
    "unreachable",
    "other",
    "yield",
];

/// One row a station and rule, `all` for the sum of its rules; the last rows are of all stations.
fn table(report: &AlertReport) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing into memory does not fail.
    let _ = writer.write_record(COLUMNS);
    let whole = (String::new(), "all".to_owned(), report.patients, report.patient_months);
    let each = report.stations.iter().map(|s| {
        let id = s.organisation_id.map(|id| id.to_string()).unwrap_or_default();
        let name = plain(s.name.as_deref().unwrap_or_default());
        ((id, name, s.patients, s.patient_months), &s.all, &s.items)
    });
    for ((id, name, patients, months), all, items) in each.chain([(whole, &report.all, &report.items)]) {
        for row in items.iter().chain([all]) {
            let number = |n: Option<f64>| n.map(|n| format!("{n:.4}")).unwrap_or_default();
            let minutes = row.minutes_to_acknowledge.as_ref();
            let o = row.outcomes;
            let first = [id.clone(), name.clone(), patients.to_string(), number(Some(months))];
            let rule = row.rule_id.clone().unwrap_or_else(|| "all".to_owned());
            let counts = [row.critical, row.urgent, row.routine, row.acknowledged].map(|n| n.to_string());
            let times = [minutes.map(|m| m.median), minutes.map(|m| m.p90)].map(number);
            let ends = [row.active, o.treated, o.referred, o.false_reading, o.unreachable, o.other];
            let record = first
                .into_iter()
                .chain([rule, row.alerts.to_string(), number(row.per_patient_month)])
                .chain(counts)
                .chain(times)
                .chain(ends.map(|n| n.to_string()))
                .chain([number(row.r#yield)]);
            let _ = writer.write_record(record);
        }
    }
    writer.into_inner().unwrap_or_default()
}

/// A name that a spreadsheet does not take for a formula.
fn plain(name: &str) -> String {
    if name.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{name}") } else { name.to_owned() }
}
