//! Who takes part: the ordinary panel of the clinical reference, and cells of one story each for the bars.
//!
//! Goes in: a scenario and a seed. Comes out: stations with their homes. Same seed, same homes.
//! Must never: let a patient depend on how many others there are.

use super::{
    home::Home,
    person::{AUTOCORRELATION, Group, Pace, Person},
    script::Script,
};
use crate::{Error, dice::Dice};
use jiff::{ToSpan as _, civil::Date};
use serde::Deserialize;
use std::path::Path;

/// How many, how long, from when.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name, for device ids and reports.
    pub name: String,
    /// First day of the first seed; each further seed begins 73 days later, so that five seeds go round the year.
    pub first: Date,
    /// Patients of the ordinary panel: a third nothing happens to, a fifteenth for each of ten scripts.
    pub panel: u32,
    /// Patients of each cell at each pace; 0: no cells.
    pub cell: u32,
    /// Days of the panel and of the cells in which nothing happens.
    pub days: u32,
    /// First and last day after enrolment on which a script may begin.
    #[serde(default = "usual_onset")]
    pub onset: (u32, u32),
    /// Correlation of a day's effect with the next day's.
    #[serde(default = "usual")]
    pub autocorrelation: f64,
}

const fn usual_onset() -> (u32, u32) {
    (120, 200)
}

const fn usual() -> f64 {
    AUTOCORRELATION
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Input`] naming what cannot be meant.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(Error::io(&*name))?;
        let scenario: Self = toml::from_str(&text).map_err(|e| Error::Input(format!("{name}: {e}")))?;
        scenario.fault().map_or(Ok(scenario), |why| Err(Error::Input(format!("{name}: {why}"))))
    }

    fn fault(&self) -> Option<String> {
        let bounded = |what: &str, n: u32, least: u32, most: u32| {
            (!(least..=most).contains(&n)).then(|| format!("{what} = {n}: {least} to {most}"))
        };
        let plain =
            !self.name.is_empty() && self.name.len() <= 20 && self.name.bytes().all(|b| b.is_ascii_alphanumeric());
        (!plain)
            .then(|| format!("name = {:?}: 1 to 20 letters and digits", self.name))
            .or_else(|| bounded("panel", self.panel, 0, 100_000))
            .or_else(|| bounded("cell", self.cell, 0, 10_000))
            .or_else(|| bounded("days", self.days, 2, 1_000))
            .or_else(|| {
                let (from, to) = self.onset;
                (from > to || to > 900).then(|| {
                    format!("onset = [{from}, {to}]: the first must not be after the last, nor either after day 900")
                })
            })
            .or_else(|| {
                (self.panel == 0 && self.cell == 0).then(|| "panel and cell are both 0: nobody takes part".into())
            })
            .or_else(|| {
                let sane = (0.0..0.95).contains(&self.autocorrelation);
                (!sane).then(|| format!("autocorrelation = {}: 0 to below 0.95", self.autocorrelation))
            })
    }

    /// The day on which a seed's cohort begins.
    pub fn begins(&self, seed: u64) -> Date {
        self.first.saturating_add((73 * i64::try_from(seed % 5).unwrap_or(0)).days())
    }

    /// Every station of one seed.
    pub fn stations(&self, seed: u64) -> Vec<Station> {
        let mut out = Vec::new();
        let mut index = 0;
        let mut station = |name: &'static str, rural: bool, groups: Vec<Group>| {
            let homes: Vec<Home> = groups
                .into_iter()
                .map(|group| {
                    index += 1;
                    self.home(seed, index, group, rural)
                })
                .collect();
            if !homes.is_empty() {
                out.push(Station { name, homes });
            }
        };
        let (urban, rural) = panel(self.panel, self.days).into_iter().enumerate().fold(
            (Vec::new(), Vec::new()),
            |(mut urban, mut rural), (i, group)| {
                if (i / 30) % 2 == 0 {
                    urban.push(group)
                } else {
                    rural.push(group)
                }
                (urban, rural)
            },
        );
        station("urban", false, urban);
        station("rural", true, rural);
        station("plain", false, plain(self.cell, self.days));
        station("weather", false, weather(self.cell, self.days));
        out
    }

    fn home(&self, seed: u64, index: u32, group: Group, rural: bool) -> Home {
        let dice = Dice::new(seed).fork(0xc0_0000 + u64::from(index));
        let person = Person::draw(&dice, index, group, rural, self.begins(seed), self);
        Home::new(person, &dice)
    }
}

/// Patients of one station: they share a season.
#[derive(Clone, Debug)]
pub struct Station {
    /// Its name.
    pub name: &'static str,
    /// Its patients.
    pub homes: Vec<Home>,
}

/// Onset at day 120 to 200, and eight weeks and a few days to find it in.
const TO_FIND: u32 = 270;
/// Three weeks, and the Monday after.
const THREE_WEEKS: u32 = 30;

fn cell(name: &'static str, script: Script, weather: bool, days: u32, size: u32) -> impl Iterator<Item = Group> {
    let of = move |pace| (0..size).map(move |_| Group { name, script, pace, weather, days });
    Pace::ALL.into_iter().flat_map(of)
}

/// Neither season nor wander: what the reference's table was measured in.
fn plain(size: u32, days: u32) -> Vec<Group> {
    let find = days.min(TO_FIND);
    cell("null", Script::Null, false, days, size)
        .chain(cell("controlled", Script::Controlled, false, days, size))
        // Only who keeps the plan counts: at two sessions a week about one in three.
        .chain(cell("sustained", Script::Sustained, false, days.min(THREE_WEEKS), size * 4))
        .chain(cell("step10", Script::Step10, false, find, size))
        .chain(cell("drift2", Script::Drift2, false, find, size))
        .chain(cell("titrated", Script::Titrated, false, find, size))
        .collect()
}

/// The same with season and wander.
fn weather(size: u32, days: u32) -> Vec<Group> {
    let find = days.min(TO_FIND);
    cell("null-weather", Script::Null, true, days, size)
        .chain(cell("step10-weather", Script::Step10, true, find, size))
        .chain(cell("drift2-weather", Script::Drift2, true, find, size))
        .collect()
}

/// The ordinary panel. Interleaved, so that any first part of it is a panel too.
fn panel(size: u32, days: u32) -> Vec<Group> {
    const TEN: [&[Script]; 10] = [
        &[Script::Step10, Script::Step15],
        &[Script::Drift1, Script::Drift2],
        &[Script::Sustained],
        &[Script::OverTreated],
        &[Script::Crisis],
        &[Script::Hypo],
        &[Script::Metformin20, Script::Metformin30],
        &[Script::WhiteCoat],
        &Script::DEVICES,
        &[Script::Silent3, Script::Silent7, Script::Silent14],
    ];
    (0..size)
        .map(|i| {
            let (round, place) = (i / 15, usize::try_from(i % 15).unwrap_or(0));
            let variant = |all: &[Script]| all[usize::try_from(round).unwrap_or(0) % all.len()];
            let script = TEN.get(place).map_or(Script::Null, |all| variant(all));
            // Counted apart from the variants and from the stations, so that every script meets every pace in both.
            let pace = Pace::ALL[usize::try_from((round / 2 + i) % 3).unwrap_or(0)];
            let weather = script != Script::Null || i % 2 == 0;
            Group { name: "panel", script, pace, weather, days }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cohort::home::Next;
    use std::collections::BTreeMap;

    #[test]
    fn the_panel_is_that_of_the_reference() {
        let all = panel(900, 396);
        let mut scripts: BTreeMap<Script, usize> = BTreeMap::new();
        let mut paces: BTreeMap<(bool, Pace), usize> = BTreeMap::new();
        for g in &all {
            *scripts.entry(g.script).or_default() += 1;
            *paces.entry((g.script == Script::Null, g.pace)).or_default() += 1;
        }
        assert_eq!(scripts[&Script::Null], 300);
        assert_eq!((scripts[&Script::Sustained], scripts[&Script::Crisis], scripts[&Script::Step10]), (60, 60, 30));
        assert!(paces.values().all(|n| [100, 200].contains(n)), "{paces:?}");
        let devices: usize = Script::DEVICES.iter().map(|s| scripts[s]).sum();
        assert_eq!(devices, 60);
        assert_eq!(all.iter().filter(|g| g.script == Script::Null && g.weather).count(), 150);
    }

    #[test]
    fn a_patient_does_not_depend_on_how_many_others_there_are() {
        let scenario = |panel| Scenario {
            name: "t".into(),
            first: jiff::civil::date(2023, 1, 2),
            panel,
            cell: 0,
            days: 60,
            onset: (120, 200),
            autocorrelation: 0.2,
        };
        let first = |panel| {
            let mut home = scenario(panel).stations(3).swap_remove(0).homes.swap_remove(0);
            let sent = std::iter::from_fn(|| home.go_on()).map(|next| match next {
                Next::Sends(upload) => (upload.at, upload.payload),
                Next::Hears(kind) => panic!("nothing was asked of {kind:?}"),
            });
            sent.collect::<Vec<_>>()
        };
        assert!(first(30).len() > 20);
        assert_eq!(first(30), first(90));
    }
}
