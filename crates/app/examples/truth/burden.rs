//! What the rules would have said on recorded readings of real people, beside naive thresholds on the same readings.
//!
//! Goes in: files that `hearthbeat-sim replay` reads. Comes out: Markdown with counts, never a reading. Nobody answers a
//! request to measure again, so every question that a real patient would have cleared ends unconfirmed.
//! Must never: print a value or who measured it.

use crate::house::House;
use jiff::{ToSpan as _, civil::Date};
use simulators::{
    cohort::{alerts, interval::rate, score::NAIVE},
    message::message,
    replay::forms::{self, Recorded, Recording, Time, Wanted},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Write as _,
    path::Path,
};
use vitals::{DeviceKey, OrganisationId, Patient, PatientId, Plan, Timestamp, Zone};

type Fault = Box<dyn Error + Send + Sync>;

/// The files, and what is known of the people in each.
const FILES: [(&str, &str, &str); 3] = [
    ("welltory_bp.csv.gz", "home blood pressure, self-entered", r"{}"),
    (
        "uci_aim94_smbg.csv.gz",
        "insulin-treated outpatients, finger-stick glucose",
        r#"{"medications": [{"name": "insulin", "class": "insulin"}]}"#,
    ),
    (
        "shanghai_t2dm.csv.gz",
        "type-2 patients in Shanghai, finger-stick glucose",
        r#"{"medications": [{"name": "metformin", "class": "biguanide"}]}"#,
    ),
];

/// The week to which a series older than the contract's clocks is moved.
const MOVED_TO: Date = jiff::civil::date(2023, 1, 2);
/// Days after the last reading in which something may still be concluded of it: 2 hours.
const AFTERWARDS: std::time::Duration = std::time::Duration::from_secs(2 * 3600);

/// The report; none where the folder is not there.
pub(crate) fn report(folder: &Path) -> Result<Option<String>, Fault> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut out = String::from(HEAD);
    for (file, what, plan) in FILES {
        let path = folder.join(file);
        if path.exists() {
            one(&forms::open(&path, &Wanted::default())?, file, what, plan, &mut out)?;
        } else {
            let _ = writeln!(out, "\n## {file}\n\nNot there when this was made.");
        }
    }
    Ok(Some(out))
}

const HEAD: &str = "# Alert burden on recorded readings\n\n\
Made by `just burden`; every number is a count of this program over the files, which are no part of the repository\n\
(credits: Welltory hrv-covid19; AIM-94, provided by Michael Kahn, MD, PhD, Washington University, St. Louis; Zhao et al.,\n\
Scientific Data 2023). Readings are sent as recorded, one a message, at the time of measurement; a series from before\n\
2010 is moved by whole weeks. An alert is what a team must handle: one open alert a patient and concept ([truth](truth.md)).\n\
Nobody answers a request to measure again, so GLU-C2, GLU-C3 and BP-C1 stand here at their upper end. There is no plan:\n\
the cards' defaults hold. None of these people was enrolled in a programme like this one.\n";

/// What came of one file.
#[derive(Default)]
struct Sum {
    months: f64,
    people: u64,
    told: BTreeMap<String, (u64, u64)>,
    who: BTreeMap<String, BTreeSet<PatientId>>,
    naive: BTreeMap<&'static str, u64>,
}

fn one(recording: &Recording, file: &str, what: &str, plan: &str, out: &mut String) -> Result<(), Fault> {
    let days = shift(recording);
    let zone = Zone::default();
    let mut queue: Vec<(Timestamp, usize, &Recorded)> = Vec::new();
    for (i, series) in recording.series.values().enumerate() {
        queue.extend(series.iter().filter_map(|r| Some((moment(&r.time, days, &zone)?, i, r))));
    }
    queue.sort_by_key(|(at, i, _)| (*at, *i));
    let Some(first) = queue.first().map(|q| q.0) else { return Ok(()) };
    let mut house = House::new(zone.start_of(first.day(&zone)))?;
    let mut spans: BTreeMap<usize, (Timestamp, Timestamp)> = BTreeMap::new();
    let mut sum = Sum::default();
    for (at, i, reading) in &queue {
        house.goto(*at)?;
        if !spans.contains_key(i) {
            house.enrol(patient(*i, serde_json::from_str(plan)?, *at), &[key(*i)])?;
        }
        spans.entry(*i).or_insert((*at, *at)).1 = *at;
        let json = forms::shifted(reading, days);
        sum.naive(json.get())?;
        house.message(key(*i), &message(&[json], None, false))?;
    }
    house.goto(queue.last().map_or(first, |q| q.0).plus(AFTERWARDS))?;
    for (i, (from, to)) in &spans {
        sum.people += 1;
        sum.months += to.since(*from).as_secs_f64().max(86_400.0) / (30.437_5 * 86_400.0);
        let seen = house.seen(id(*i), to.plus(AFTERWARDS));
        for alert in alerts(&seen) {
            sum.told.entry(alert.rule.clone()).or_default().0 += 1;
            sum.who.entry(alert.rule).or_default().insert(id(*i));
        }
        seen.iter().filter(|f| f.is_told()).for_each(|f| sum.told.entry(f.rule.clone()).or_default().1 += 1);
    }
    sum.print(file, what, recording.readings(), house.books, days, out);
    Ok(())
}

/// Whole weeks; none where the clocks can be believed.
fn shift(recording: &Recording) -> i32 {
    let dates = recording.series.values().flatten().filter_map(|r| r.time.date());
    match dates.min() {
        Some(first) if first.year() < 2010 => {
            let days = (MOVED_TO - first).get_days();
            days - days.rem_euclid(7)
        }
        _ => 0,
    }
}

fn moment(time: &Time, days: i32, zone: &Zone) -> Option<Timestamp> {
    match time {
        Time::Wall(wall) => Some(zone.moment(wall.checked_add(days.days()).ok()?)),
        Time::Moment(at, _) => Some(Timestamp::from_micros(at.as_microsecond())),
        Time::Unknown => None,
    }
}

fn key(i: usize) -> DeviceKey {
    DeviceKey::new(u64::try_from(i).unwrap_or(0) + 1)
}

fn id(i: usize) -> PatientId {
    PatientId::new(u64::try_from(i).unwrap_or(0) + 1)
}

fn patient(i: usize, plan: Plan, at: Timestamp) -> Patient {
    Patient {
        id: id(i),
        name: String::new(),
        birth_date: None,
        sex: None,
        tags: Vec::new(),
        conditions: Vec::new(),
        team: None,
        organisation: Some(OrganisationId::new(1)),
        phone: None,
        time_zone: None,
        enrolled_at: at,
        visited_on: None,
        plan,
    }
}

impl Sum {
    fn naive(&mut self, json: &str) -> Result<(), serde_json::Error> {
        let row: serde_json::Value = serde_json::from_str(json)?;
        let number = |key: &str| row[key].as_f64();
        let (pressure, a, b) = match (number("systolic"), number("diastolic"), number("glucose")) {
            (Some(s), Some(d), _) => (true, s, d),
            (_, _, Some(g)) => (false, if row["unit"] == "mg/dL" { g / 18.016 } else { g }, 0.0),
            _ => return Ok(()),
        };
        for (name, limit) in NAIVE {
            *self.naive.entry(name).or_default() += u64::from(limit(pressure, a, b));
        }
        Ok(())
    }

    fn print(&self, file: &str, what: &str, readings: u64, books: (u64, u64, u64), days: i32, out: &mut String) {
        let (kept, known, held) = books;
        let moved = if days == 0 { String::new() } else { format!(", moved by {days} days") };
        let _ = writeln!(
            out,
            "\n## {file}\n\n{what}: {} people, {:.1} patient-months, {readings} readings ({kept} kept, {known} known already, {held} held{moved}).\n",
            self.people, self.months
        );
        let _ = writeln!(
            out,
            "| Rule | People | Alerts | A patient-month (Poisson 95 %) | Findings told, joined ones too |\n|---|---|---|---|---|"
        );
        let mut all = (0, 0);
        for (rule, (alerts, told)) in &self.told {
            all = (all.0 + alerts, all.1 + told);
            let people = self.who.get(rule).map_or(0, BTreeSet::len);
            let _ = writeln!(out, "| {rule} | {people} | {alerts} | {} | {told} |", self.per_month(*alerts));
        }
        let _ = writeln!(out, "| **all** | | {} | {} | {} |\n", all.0, self.per_month(all.0), all.1);
        let _ = writeln!(out, "| Naive, every single reading | Alarms | A patient-month |\n|---|---|---|");
        for (name, alarms) in self.naive.iter().filter(|(_, n)| **n > 0) {
            let _ = writeln!(out, "| {name} | {alarms} | {} |", self.per_month(*alarms));
        }
    }

    fn per_month(&self, events: u64) -> String {
        let i = rate(events, self.months);
        format!("{:.2} [{:.2}, {:.2}]", i.value, i.low, i.high)
    }
}
