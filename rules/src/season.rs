//! What a whole station's pressures do at once: the weather, mostly. Published once a day, never changed.
//!
//! Goes in: each patient's shift on one morning. Comes out: the median of a station that has enough of them.

use jiff::civil::Date;
use std::collections::BTreeMap;
use store::Season;
use vitals::{OrganisationId, Patient};

/// Fewer patients say nothing of a station (clinical reference, section 3).
pub(crate) const ENOUGH: usize = 30;

/// What was published.
#[derive(Debug, Default)]
pub(crate) struct Seasons(BTreeMap<(OrganisationId, Date), [f64; 2]>);

/// The shifts of one morning, by station.
pub(crate) type Shifts = BTreeMap<OrganisationId, [Vec<f64>; 2]>;

impl Seasons {
    /// Takes over what was published before.
    pub(crate) fn remember(&mut self, season: &Season) {
        self.0.entry((season.station, season.day)).or_insert(season.shift);
    }

    /// Publishes the medians of one morning; what is published already stays.
    pub(crate) fn publish(&mut self, day: Date, shifts: Shifts) -> Vec<Season> {
        let mut out = Vec::new();
        for (station, mut of_windows) in shifts {
            if self.0.contains_key(&(station, day)) || of_windows.iter().all(|v| v.len() < ENOUGH) {
                continue;
            }
            let shift = [0, 1].map(|i| median(&mut of_windows[i]));
            let season = Season { station, day, shift };
            self.remember(&season);
            out.push(season);
        }
        out
    }

    /// What to take off a patient's shift; nothing where nothing was published.
    pub(crate) fn shift(&self, patient: &Patient, day: Date) -> [f64; 2] {
        patient.organisation.and_then(|o| self.0.get(&(o, day))).copied().unwrap_or_default()
    }
}

/// 0 where there are too few.
fn median(values: &mut [f64]) -> f64 {
    if values.len() < ENOUGH {
        return 0.0;
    }
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_station_is_published_once_and_only_when_it_has_thirty() {
        let (day, station) = (jiff::civil::date(2026, 1, 5), OrganisationId::new(1));
        let shifts = |n: usize, by: f64| -> Shifts {
            let values = (0..n).map(|i| by + f64::from(u32::try_from(i).unwrap())).collect();
            Shifts::from([(station, [values, Vec::new()])])
        };
        let mut seasons = Seasons::default();
        assert!(seasons.publish(day, shifts(29, 0.0)).is_empty());
        assert_eq!(seasons.publish(day, shifts(31, 0.0))[0].shift, [15.0, 0.0]);
        assert!(seasons.publish(day, shifts(31, 50.0)).is_empty(), "what is published stays");
    }
}
