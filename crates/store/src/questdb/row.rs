//! One reading as the table has it: canonical units, the public device name, words for everything that is a word.

use super::TABLE;
use questdb::ingress::{Buffer, TimestampMicros};
use std::sync::Arc;
use vitals::{DeviceId, GlucoseLevel, Reading, Timestamp, Values};

const DAY: i64 = 86_400 * 1_000_000;
/// 1970-01-01 was a Thursday; weeks of QuestDB's partitions begin on Monday.
const MONDAY: i64 = 3;

/// A reading on its way to the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its place in the journal.
    pub position: u64,
    /// The device's public name.
    pub device: DeviceId,
    /// What is projected.
    pub reading: Arc<Reading>,
}

/// Why a row can never be in the table. Fixed words: they are written to a file.
pub(super) type Refusal = &'static str;

/// Number of the week (Monday to Sunday, UTC) in which `at` lies; week 0 holds 1970-01-01.
pub(super) const fn week_of(at: Timestamp) -> i64 {
    (at.as_micros().div_euclid(DAY) + MONDAY).div_euclid(7)
}

/// First microsecond of week `number`.
pub(super) const fn week_start(number: i64) -> i64 {
    (number * 7 - MONDAY) * DAY
}

impl Row {
    pub(super) fn week(&self) -> i64 {
        week_of(self.reading.measured_at)
    }

    /// Appends one line; on an error the buffer is as it was.
    pub(super) fn encode(&self, buffer: &mut Buffer) -> Result<(), Refusal> {
        if self.reading.measured_at.as_micros() < 0 {
            return Err("measured before 1970: the table's time column begins there");
        }
        if self.reading.seq == i64::MIN {
            return Err("seq is the number that QuestDB takes for NULL");
        }
        let marked = buffer.set_marker().is_ok();
        let done = self.write(buffer).map_err(|_| "a member that the client cannot encode");
        if done.is_err() && marked {
            let _ = buffer.rewind_to_marker();
        }
        buffer.clear_marker();
        done
    }

    fn write(&self, buffer: &mut Buffer) -> questdb::Result<()> {
        let r = &*self.reading;
        buffer.table(TABLE)?;
        if let Some(patient) = r.patient {
            buffer.symbol("patient", patient.to_string())?;
        }
        buffer.symbol("device", self.device.as_str())?;
        buffer.symbol("kind", r.kind().as_str())?;
        buffer.symbol("unit", r.unit.as_str())?;
        if let Some(meal) = r.context.meal {
            buffer.symbol("meal", meal.as_str())?;
        }
        buffer.symbol("time_quality", r.time_quality.as_str())?;
        buffer.symbol("result", r.disposition.as_str())?;
        buffer.column_i64("epoch", i64::from(r.epoch))?.column_i64("seq", r.seq)?;
        buffer.column_ts("received", TimestampMicros::new(r.received_at.as_micros()))?;
        match &r.values {
            Values::Pressure { systolic, diastolic, map, pulse } => {
                let canonical = |v: &vitals::Decimal| r.unit.canonical(v.value());
                buffer.column_f64("systolic", canonical(systolic))?.column_f64("diastolic", canonical(diastolic))?;
                buffer.column_f64_opt("map", map.as_ref().map(canonical))?;
                // Beats a minute have no other unit.
                buffer.column_f64_opt("pulse", pulse.map(vitals::Decimal::value))?;
            }
            // `HI` and `LO` are no numbers: NULL, so that no mean is made of them.
            Values::Glucose(_) => {
                if let Some(GlucoseLevel::Mmol(mmol)) = r.glucose() {
                    buffer.column_f64("glucose", mmol)?;
                }
            }
        }
        buffer.at(TimestampMicros::new(r.measured_at.as_micros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_begin_on_monday() {
        let at = |text: &str| week_of(Timestamp::parse_rfc3339(text).unwrap());
        assert_eq!(at("1970-01-01T00:00:00Z"), 0);
        assert_eq!(at("1970-01-04T23:59:59Z"), 0);
        assert_eq!(at("1970-01-05T00:00:00Z"), 1);
        assert_eq!(at("2026-03-01T23:59:59Z") + 1, at("2026-03-02T00:00:00Z"));
        assert_eq!(
            week_start(at("2026-03-04T12:00:00Z")),
            Timestamp::parse_rfc3339("2026-03-02T00:00:00Z").unwrap().as_micros()
        );
    }
}
