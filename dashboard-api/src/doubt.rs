//! Readings that may be somebody else's: held against their person's own, at the moment when they are shown.
//!
//! Goes in: readings of one person. Comes out: which of them are far from the ninety days before them, with the numbers.
//! Never stored, so that it is always of the person whose the reading is now, and the same in whatever order the
//! readings came. Must never: reach the rules, a mean, or another person's readings.

use crate::{problem::Answer, state::Inner};
use jiff::civil::Date;
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use store::{DaysQuery, Episode};
use utoipa::ToSchema;
use vitals::{
    Patient, Reading, ReadingId, days_after,
    personal::{Baseline, DAYS, Doubt},
};

/// Why a reading is doubted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DoubtView {
    /// `systolic`, `diastolic` or `glucose`.
    quantity: &'static str,
    /// mmHg or mmol/L, as the next two.
    value: f64,
    /// Of the person's own readings in the 90 days before.
    mean: f64,
    sd: f64,
    /// In deviations: above 6.
    distance: f64,
    /// Readings that the mean rests on.
    readings: u64,
}

impl From<&Doubt> for DoubtView {
    fn from(d: &Doubt) -> Self {
        let tenths = |v: f64| (v * 10.0).round() / 10.0;
        let hundredths = |v: f64| (v * 100.0).round() / 100.0;
        Self {
            quantity: d.quantity,
            value: hundredths(d.value),
            mean: hundredths(d.mean),
            sd: hundredths(d.sd),
            distance: tenths(d.distance),
            readings: d.readings,
        }
    }
}

/// By reading; what is not in it is not doubted.
pub(crate) type Doubts = HashMap<ReadingId, Doubt>;

/// Which of these readings of `patient` are far from the patient's own.
pub(crate) async fn of(api: &Inner, patient: &Patient, readings: &[Arc<Reading>]) -> Answer<Doubts> {
    let basis = api.store.basis(patient);
    let mut by_day: BTreeMap<Date, Vec<&Arc<Reading>>> = BTreeMap::new();
    // Somebody else's readings are judged by nothing that is this patient's.
    for reading in readings.iter().filter(|r| r.patient == Some(patient.id)) {
        by_day.entry(reading.measured_at.day(&basis.zone)).or_default().push(reading);
    }
    let (Some((first, _)), Some((last, _))) = (by_day.first_key_value(), by_day.last_key_value()) else {
        return Ok(Doubts::new());
    };
    let from = basis.zone.start_of(days_after(*first, -DAYS));
    let to = basis.zone.start_of(*last);
    let days = api.store.readings().days(DaysQuery { patient: patient.id, from, to, basis }).await?;
    let mut doubts = Doubts::new();
    for (day, of_day) in by_day {
        let own = Baseline::before(day, &days);
        doubts.extend(of_day.into_iter().filter_map(|r| Some((r.id, own.doubt(r)?))));
    }
    Ok(doubts)
}

/// Readings of one episode that are looked at for a list: the newest.
const OF_EPISODE: usize = 100;

/// How many readings of an episode are doubted, of the newest [`OF_EPISODE`].
pub(crate) async fn count(api: &Inner, episode: &Episode) -> Answer<usize> {
    let Some(patient) = api.directory().patient(episode.patient) else { return Ok(0) };
    let newest = episode.readings.iter().rev().take(OF_EPISODE).copied().collect();
    let readings: Vec<_> = api.store.readings().by_ids(newest).await?.into_values().collect();
    Ok(of(api, &patient, &readings).await?.len())
}
