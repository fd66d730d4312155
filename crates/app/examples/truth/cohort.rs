//! The virtual cohort through the pure middle: every station of every seed, two at a time.
//!
//! Goes in: a scenario, seeds. Comes out: a tally, and each patient's findings for who wants to compare them.

use crate::house::House;
use serde_json::json;
use simulators::cohort::{
    Home, Next, Seen, Tally, Truth,
    panel::{Scenario, Station},
    score::judged,
};
use std::{cmp::Reverse, collections::BinaryHeap, error::Error, sync::Mutex};
use vitals::{DeviceKey, Kind, OrganisationId, Patient, PatientId, Plan, Timestamp, Zone};

/// A patient's findings, under the id of its pressure meter.
pub(crate) type Told = (String, Vec<Seen>);

/// What a run comes to: counts, each patient's findings, and each alert of the panel as it was judged, one a line.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) told: Vec<Told>,
    pub(crate) alerts: Vec<String>,
}

/// Runs every station of every seed on every core.
pub(crate) fn run(scenario: &Scenario, seeds: &[u64]) -> Result<Outcome, Box<dyn Error + Send + Sync>> {
    let jobs: Vec<(u64, Station)> =
        seeds.iter().flat_map(|seed| scenario.stations(*seed).into_iter().map(|s| (*seed, s))).collect();
    let jobs = Mutex::new(jobs.into_iter());
    let sum = Mutex::new(Outcome::default());
    let work = || -> Result<(), Box<dyn Error + Send + Sync>> {
        loop {
            let job = jobs.lock().map_err(|_| "a thread broke")?.next();
            let Some((seed, station)) = job else { return Ok(()) };
            let name = station.name;
            let begun = std::time::Instant::now();
            let one = station_through(scenario, seed, station)?;
            let readings = one.tally.readings;
            eprintln!("seed {seed} {name}: {readings} readings in {:.1} s", begun.elapsed().as_secs_f64());
            let mut sum = sum.lock().map_err(|_| "a thread broke")?;
            sum.tally.merge(one.tally);
            sum.told.extend(one.told);
            sum.alerts.extend(one.alerts);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|s| {
        let threads: Vec<_> = (0..cores).map(|_| s.spawn(work)).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| "a thread broke")?)
    })?;
    let mut sum = sum.into_inner().map_err(|_| "a thread broke")?;
    sum.told.sort();
    sum.alerts.sort();
    Ok(sum)
}

/// Pressure meters have even keys, glucose meters odd ones.
fn keys(patient: usize) -> [DeviceKey; 2] {
    let key = u64::try_from(patient * 2).unwrap_or(0);
    [DeviceKey::new(key), DeviceKey::new(key + 1)]
}

fn station_through(scenario: &Scenario, seed: u64, station: Station) -> Result<Outcome, Box<dyn Error + Send + Sync>> {
    let start = Zone::default().start_of(scenario.begins(seed));
    let mut house = House::new(start)?;
    let mut homes = station.homes;
    let mut queue: BinaryHeap<Reverse<(Timestamp, usize, bool)>> =
        homes.iter().enumerate().map(|(i, home)| Reverse((home.begins(), i, false))).collect();
    while let Some(Reverse((at, i, enrolled))) = queue.pop() {
        house.goto(at)?;
        if enrolled {
            if homes[i].next_at() != Some(at) {
                continue; // it has something earlier to say since, and has said it
            }
            if let Some(Next::Sends(upload)) = homes[i].go_on() {
                let key = keys(i)[usize::from(upload.kind == Kind::BloodGlucose)];
                for _ in 0..=u8::from(upload.twice) {
                    house.message(key, &upload.payload)?;
                }
            }
        } else {
            house.enrol(patient(&homes[i], i)?, &keys(i))?;
        }
        queue.extend(homes[i].next_at().map(|next| Reverse((next, i, true))));
        for ask in house.asks() {
            let who = usize::try_from(ask.device.as_i64() / 2)?;
            homes[who].asked(at, &ask.request);
            queue.extend(homes[who].next_at().map(|next| Reverse((next, who, true))));
        }
    }
    // What is due in the weeks after the last reading is not asked for: every patient's end is the end.
    let end = homes.iter().map(Home::ends).max().unwrap_or(start);
    house.goto(end)?;
    let mut out = Outcome::default();
    for (i, home) in homes.iter().enumerate() {
        let truth = Truth::of(home, &format!("{}-{seed}", scenario.name));
        let seen = house.seen(id(i), home.ends());
        for (alert, worth) in judged(&truth, &seen).into_iter().filter(|_| truth.cell == "panel") {
            let (device, script, pace) = (&truth.devices[0], truth.script, truth.pace);
            let line = json!({"device": device, "script": script, "pace": pace, "alert": alert, "judgement": worth});
            out.alerts.push(line.to_string());
        }
        out.told.push((truth.devices[0].clone(), seen.clone()));
        out.tally.take(&truth, seen);
    }
    Ok(out)
}

fn id(i: usize) -> PatientId {
    PatientId::new(u64::try_from(i).unwrap_or(0) + 1)
}

fn patient(home: &Home, i: usize) -> Result<Patient, serde_json::Error> {
    let plan: Plan = serde_json::from_value(home.person.plan())?;
    let mut conditions = vec!["hypertension".to_owned()];
    conditions.extend(home.person.glucose.map(|_| "diabetes".to_owned()));
    Ok(Patient {
        id: id(i),
        name: String::new(),
        birth_date: Some(home.person.born),
        sex: None,
        tags: Vec::new(),
        conditions,
        team: None,
        organisation: Some(OrganisationId::new(1)),
        phone: None,
        time_zone: None,
        enrolled_at: home.begins(),
        visited_on: None,
        plan,
    })
}
