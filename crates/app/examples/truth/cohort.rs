//! The virtual cohort through the pure middle: every station of every seed, two at a time.
//!
//! Goes in: a scenario, seeds. Comes out: a tally, and each patient's findings for who wants to compare them.

use crate::house::House;
use simulators::cohort::{
    Home, Seen, Tally, Truth,
    panel::{Scenario, Station},
};
use std::{cmp::Reverse, collections::BinaryHeap, error::Error, sync::Mutex, time::Duration};
use vitals::{DeviceKey, Kind, OrganisationId, Patient, PatientId, Plan, Timestamp, Zone};

/// A patient's findings, under the id of its pressure meter.
pub(crate) type Told = (String, Vec<Seen>);

/// Runs every station of every seed on every core.
pub(crate) fn run(scenario: &Scenario, seeds: &[u64]) -> Result<(Tally, Vec<Told>), Box<dyn Error + Send + Sync>> {
    let jobs: Vec<(u64, Station)> =
        seeds.iter().flat_map(|seed| scenario.stations(*seed).into_iter().map(|s| (*seed, s))).collect();
    let jobs = Mutex::new(jobs.into_iter());
    let sum = Mutex::new((Tally::default(), Vec::new()));
    let work = || -> Result<(), Box<dyn Error + Send + Sync>> {
        loop {
            let job = jobs.lock().map_err(|_| "a thread broke")?.next();
            let Some((seed, station)) = job else { return Ok(()) };
            let name = station.name;
            let begun = std::time::Instant::now();
            let (tally, told) = station_through(scenario, seed, station)?;
            eprintln!("seed {seed} {name}: {} readings in {:.1} s", tally.readings, begun.elapsed().as_secs_f64());
            let mut sum = sum.lock().map_err(|_| "a thread broke")?;
            sum.0.merge(tally);
            sum.1.extend(told);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|s| {
        let threads: Vec<_> = (0..cores).map(|_| s.spawn(work)).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| "a thread broke")?)
    })?;
    let (tally, mut told) = sum.into_inner().map_err(|_| "a thread broke")?;
    told.sort();
    Ok((tally, told))
}

/// Pressure meters have even keys, glucose meters odd ones.
fn keys(patient: usize) -> [DeviceKey; 2] {
    let key = u64::try_from(patient * 2).unwrap_or(0);
    [DeviceKey::new(key), DeviceKey::new(key + 1)]
}

fn station_through(
    scenario: &Scenario,
    seed: u64,
    station: Station,
) -> Result<(Tally, Vec<Told>), Box<dyn Error + Send + Sync>> {
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
            if let Some(upload) = homes[i].next_upload() {
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
            homes[who].asked(at, ask.kind, ask.times, Duration::from_secs(ask.after_seconds));
            queue.extend(homes[who].next_at().map(|next| Reverse((next, who, true))));
        }
    }
    // What is due in the weeks after the last reading is not asked for: every patient's end is the end.
    let end = homes.iter().map(Home::ends).max().unwrap_or(start);
    house.goto(end)?;
    let mut tally = Tally::default();
    let mut told = Vec::new();
    for (i, home) in homes.iter().enumerate() {
        let truth = Truth::of(home, &format!("{}-{seed}", scenario.name));
        let seen = house.seen(id(i), home.ends());
        told.push((truth.devices[0].clone(), seen.clone()));
        tally.take(&truth, seen);
    }
    Ok((tally, told))
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
