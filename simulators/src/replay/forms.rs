//! Recorded readings as files hold them, made into what a meter would send.
//!
//! Goes in: CSV (plain or gzip) of three published data sets, told apart by their columns, or JSON Lines of readings.
//! Comes out: one series a device, oldest first, and a count of everything that is no reading. Pure but for `open`.
//! Must never: mend a value. Dirty numbers go out as they are: to judge them is the service's work.

use crate::{
    Error,
    message::{Reading, Values},
};
use jiff::civil::DateTime;
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read},
    path::Path,
};
use vitals::{Decimal, DeviceId, Meal, MealName, Unit};

/// What of a file is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Continuous sensor values too, as a device of their own (`ID-cgm`).
    pub cgm: bool,
    /// Put before every device id of the file.
    pub prefix: String,
    /// The device of JSON Lines that name none.
    pub device: String,
}

/// One reading, ready to be put into a message.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What is sent.
    pub json: Box<RawValue>,
    /// The time as the file has it.
    pub time: Time,
}

/// The time of a recorded reading.
#[derive(Clone, Debug, PartialEq)]
pub enum Time {
    /// A clock on the wall.
    Wall(DateTime),
    /// A moment with its offset.
    Moment(jiff::Timestamp, jiff::tz::Offset),
    /// Sent as it is: none, or none that can be read.
    Unknown,
}

impl Time {
    fn parse(text: &str) -> Self {
        if let Ok(wall) = text.parse::<DateTime>()
            && !text.ends_with(['Z', 'z'])
            && !text.get(19..).is_some_and(|t| t.contains(['+', '-']))
        {
            return Self::Wall(wall);
        }
        let pieces = jiff::fmt::temporal::DateTimeParser::new().parse_pieces(text).ok();
        match (text.parse(), pieces.and_then(|p| p.to_numeric_offset())) {
            (Ok(moment), Some(offset)) => Self::Moment(moment, offset),
            (Ok(moment), None) => Self::Moment(moment, jiff::tz::Offset::UTC),
            (Err(_), _) => Self::Unknown,
        }
    }

    /// The day on the calendar where it was measured.
    pub fn date(&self) -> Option<jiff::civil::Date> {
        match self {
            Self::Wall(wall) => Some(wall.date()),
            Self::Moment(moment, offset) => Some(offset.to_datetime(*moment).date()),
            Self::Unknown => None,
        }
    }

    /// As a meter writes it, so many days later.
    pub fn text(&self, days: i32) -> Option<String> {
        let span = jiff::Span::new().days(days);
        match self {
            Self::Wall(wall) => wall.checked_add(span).ok().map(|t| t.strftime("%Y-%m-%dT%H:%M:%S").to_string()),
            Self::Moment(moment, offset) => {
                let wall = offset.to_datetime(*moment).checked_add(span).ok()?;
                let zone = jiff::tz::TimeZone::fixed(*offset);
                Some(wall.to_zoned(zone).ok()?.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string())
            }
            Self::Unknown => None,
        }
    }
}

/// A file, read.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Which form it was.
    pub form: &'static str,
    /// Rows below the header.
    pub rows: u64,
    /// Per device, oldest first.
    pub series: BTreeMap<String, Vec<Recorded>>,
    /// Rows of no reading (doses, meals, exercise, values of a sensor not asked for), by what they are.
    pub skipped: BTreeMap<String, u64>,
    /// Lines that cannot be read as what they should be, with the reason.
    pub unreadable: Vec<(u64, String)>,
}

impl Recording {
    /// Readings of all devices.
    pub fn readings(&self) -> u64 {
        self.series.values().map(|s| u64::try_from(s.len()).unwrap_or(0)).sum()
    }
}

/// Opens and reads a file; a name ending in `.gz` is unpacked.
///
/// # Errors
/// [`Error::Io`], or [`Error::Input`] when it is none of the known forms.
pub fn open(path: &Path, wanted: &Wanted) -> Result<Recording, Error> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(Error::io(&*name))?;
    let reader: Box<dyn Read> =
        if name.ends_with(".gz") { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
    read(reader, wanted).map_err(|e| match e {
        Error::Io { source, .. } => Error::Io { what: name, source },
        Error::Input(why) => Error::Input(format!("{name}: {why}")),
        other => other,
    })
}

/// Reads a form from bytes.
///
/// # Errors
/// [`Error::Io`], or [`Error::Input`] when it is none of the known forms.
pub fn read(reader: impl Read, wanted: &Wanted) -> Result<Recording, Error> {
    let mut reader = BufReader::new(reader);
    let start = reader.fill_buf().map_err(Error::io("read"))?;
    if start.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') {
        return json_lines(reader, wanted);
    }
    let mut csv = csv::ReaderBuilder::new().flexible(true).from_reader(reader);
    let header = csv.headers().map_err(|e| Error::Input(e.to_string()))?.clone();
    let (form, row): (_, Row) = match header.iter().collect::<Vec<_>>().as_slice() {
        ["id", "time_local", "sbp_mmhg", "dbp_mmhg"] => ("welltory", welltory),
        ["id", "time_local", "code", "value"] => ("uci", uci),
        ["id", "time_local", "cgm_mmol", "cbg_mmol", "meal"] => ("shanghai", shanghai),
        _ => {
            return Err(Error::Input(
                "columns of no known form: expected id,time_local with sbp_mmhg,dbp_mmhg or code,value or \
                 cgm_mmol,cbg_mmol,meal; or JSON Lines of readings"
                    .into(),
            ));
        }
    };
    let mut out = Recording { form, ..Recording::default() };
    let mut walls: BTreeMap<String, Vec<(DateTime, Values)>> = BTreeMap::new();
    for record in csv.records() {
        let record = record.map_err(|e| Error::Input(e.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        out.rows += 1;
        if let Err(why) = take(&record, row, wanted, &mut walls, &mut out.skipped) {
            out.unreadable.push((line, why));
        }
    }
    out.series = walls.into_iter().map(|(device, readings)| (device, count_up(readings))).collect();
    Ok(out)
}

/// What one row holds: readings with the device's suffix, or the name of what it is instead.
type Row = fn(&csv::StringRecord, &Wanted) -> Result<Vec<(&'static str, Values)>, Skip>;

enum Skip {
    Other(String),
    Unreadable(String),
}

fn take(
    record: &csv::StringRecord,
    row: Row,
    wanted: &Wanted,
    walls: &mut BTreeMap<String, Vec<(DateTime, Values)>>,
    skipped: &mut BTreeMap<String, u64>,
) -> Result<(), String> {
    let values = match row(record, wanted) {
        Ok(values) => values,
        Err(Skip::Unreadable(why)) => return Err(why),
        Err(Skip::Other(what)) => {
            *skipped.entry(what).or_default() += 1;
            return Ok(());
        }
    };
    let wall = record.get(1).unwrap_or_default();
    let wall: DateTime = wall.parse().map_err(|_| format!("time_local {wall:?} is no date and time"))?;
    for (suffix, values) in values {
        let device = format!("{}{}{suffix}", wanted.prefix, record.get(0).unwrap_or_default());
        device.parse::<DeviceId>().map_err(|_| format!("{device:?} is no device id"))?;
        walls.entry(device).or_default().push((wall, values));
    }
    Ok(())
}

/// Oldest first (rows of one minute keep their order), counted from 1 as the meter would have.
fn count_up(mut readings: Vec<(DateTime, Values)>) -> Vec<Recorded> {
    readings.sort_by_key(|(wall, _)| *wall);
    (1..)
        .zip(readings)
        .filter_map(|(seq, (wall, values))| {
            let time = Time::Wall(wall);
            let reading = Reading { seq, time: time.text(0)?, values };
            Some(Recorded { json: serde_json::value::to_raw_value(&reading).ok()?, time })
        })
        .collect()
}

fn number(record: &csv::StringRecord, column: usize, name: &str) -> Result<Decimal, Skip> {
    let text = record.get(column).unwrap_or_default().trim();
    text.parse().map_err(|_| Skip::Unreadable(format!("{name} {text:?} is no number")))
}

fn welltory(record: &csv::StringRecord, _: &Wanted) -> Result<Vec<(&'static str, Values)>, Skip> {
    let (systolic, diastolic) = (number(record, 2, "sbp_mmhg")?, number(record, 3, "dbp_mmhg")?);
    Ok(vec![("", Values::Pressure { systolic, diastolic, pulse: None })])
}

/// Codes of the AIM-94 diaries: 48 to 64 are glucose, the rest is insulin, meals, exercise, symptoms, events.
fn uci(record: &csv::StringRecord, _: &Wanted) -> Result<Vec<(&'static str, Values)>, Skip> {
    let code = record.get(2).unwrap_or_default().trim();
    let (meal, meal_name) = match code {
        "48" | "57" => (Some(Meal::Casual), None),
        "58" => (Some(Meal::BeforeMeal), Some(MealName::Breakfast)),
        "59" => (Some(Meal::AfterMeal), Some(MealName::Breakfast)),
        "60" => (Some(Meal::BeforeMeal), Some(MealName::Lunch)),
        "61" => (Some(Meal::AfterMeal), Some(MealName::Lunch)),
        "62" => (Some(Meal::BeforeMeal), Some(MealName::Dinner)),
        "63" => (Some(Meal::AfterMeal), Some(MealName::Dinner)),
        "64" => (Some(Meal::BeforeMeal), Some(MealName::Snack)),
        "33" | "34" | "35" => return Err(Skip::Other("insulin dose".into())),
        other if other.parse::<u16>().is_ok() => return Err(Skip::Other(format!("code {other}"))),
        other => return Err(Skip::Unreadable(format!("code {other:?} is no number"))),
    };
    Ok(vec![("", Values::Glucose { glucose: number(record, 3, "value")?, unit: Unit::MgPerDl, meal, meal_name })])
}

fn shanghai(record: &csv::StringRecord, wanted: &Wanted) -> Result<Vec<(&'static str, Values)>, Skip> {
    let given = |column: usize| record.get(column).is_some_and(|t| !t.trim().is_empty());
    let glucose = |glucose| Values::Glucose { glucose, unit: Unit::MmolPerL, meal: None, meal_name: None };
    let mut out = Vec::new();
    if given(3) {
        out.push(("", glucose(number(record, 3, "cbg_mmol")?)));
    }
    if wanted.cgm && given(2) {
        out.push(("-cgm", glucose(number(record, 2, "cgm_mmol")?)));
    }
    if out.is_empty() { Err(Skip::Other("sensor value only".into())) } else { Ok(out) }
}

fn json_lines(reader: impl std::io::BufRead, wanted: &Wanted) -> Result<Recording, Error> {
    let mut out = Recording { form: "json lines", ..Recording::default() };
    for (number, line) in (1..).zip(reader.lines()) {
        let line = line.map_err(Error::io("read"))?;
        if line.trim().is_empty() {
            continue;
        }
        out.rows += 1;
        // Members as raw text, so that every digit and every unknown member goes out as it came in.
        let Ok(mut members) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(&line) else {
            out.unreadable.push((number, "not a JSON object".into()));
            continue;
        };
        let text = |raw: Option<&RawValue>| raw.and_then(|r| serde_json::from_str::<String>(r.get()).ok());
        let named = members.remove("device");
        let device = match &named {
            None => wanted.device.clone(),
            Some(raw) => text(Some(raw)).unwrap_or_default(),
        };
        let device = format!("{}{device}", wanted.prefix);
        if device.parse::<DeviceId>().is_err() {
            out.unreadable
                .push((number, format!("{device:?} is no device id: name one in \"device\" or with --device")));
            continue;
        }
        let time = text(members.get("time").map(AsRef::as_ref)).map_or(Time::Unknown, |t| Time::parse(&t));
        if let Ok(json) = serde_json::value::to_raw_value(&members) {
            out.series.entry(device).or_default().push(Recorded { json, time });
        }
    }
    Ok(out)
}

/// The same reading so many days later; one without a readable time stays as it is.
pub fn shifted(recorded: &Recorded, days: i32) -> Box<RawValue> {
    let moved = || {
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(recorded.json.get()).ok()?;
        members.insert("time".into(), serde_json::value::to_raw_value(&recorded.time.text(days)?).ok()?);
        serde_json::value::to_raw_value(&members).ok()
    };
    if days == 0 { recorded.json.clone() } else { moved().unwrap_or_else(|| recorded.json.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Recording {
        let wanted = Wanted { device: "jl".into(), ..Wanted::default() };
        read(text.as_bytes(), &wanted).unwrap()
    }

    #[test]
    fn home_pressure_keeps_its_shifted_doubles() {
        let r = of("id,time_local,sbp_mmhg,dbp_mmhg\na,2020-04-30 01:33:33,150,100\na,2020-04-29 22:33:33,150,100\n\
                    b,2020-04-29 22:33:33,15O,100\nb,yesterday,150,100\n");
        assert_eq!((r.form, r.rows, r.readings()), ("welltory", 4, 2));
        let first = &r.series["a"][0];
        assert_eq!(
            first.json.get(),
            r#"{"seq":1,"kind":"blood_pressure","time":"2020-04-29T22:33:33","systolic":150,"diastolic":100,"unit":"mmHg"}"#
        );
        assert_eq!(r.unreadable.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn coded_diaries_give_meals_and_skip_doses() {
        let r = of("id,time_local,code,value\n1,1991-04-21 09:09:00,58,100.0\n1,1991-04-21 09:09:00,33,9.0\n\
                    1,1991-04-21 17:08:00,63,0.0\n1,1991-04-21 22:51:00,65,0\n");
        let json: Vec<_> = r.series["1"].iter().map(|x| x.json.get()).collect();
        assert!(json[0].contains(r#""glucose":100.0,"unit":"mg/dL","meal":"before_meal","mealName":"breakfast""#));
        assert!(json[1].contains(r#""glucose":0.0"#), "an impossible number goes out as it is");
        assert_eq!(r.skipped, BTreeMap::from([("insulin dose".into(), 1), ("code 65".into(), 1)]));
    }

    #[test]
    fn a_sensor_is_another_device() {
        let text =
            "id,time_local,cgm_mmol,cbg_mmol,meal\np,2021-06-15 17:20:00,14.69,,1\np,2021-06-15 17:35:00,14.59,43,0\n";
        assert_eq!(of(text).readings(), 1);
        let r = read(text.as_bytes(), &Wanted { cgm: true, prefix: "sh-".into(), ..Wanted::default() }).unwrap();
        assert_eq!(
            r.series.iter().map(|(d, s)| (d.as_str(), s.len())).collect::<Vec<_>>(),
            [("sh-p", 1), ("sh-p-cgm", 2)]
        );
    }

    #[test]
    fn json_lines_go_out_digit_for_digit() {
        let r = of(
            "{\"device\":\"m\",\"seq\":1,\"time\":\"2026-03-01T07:11:40+08:00\",\"glucose\":6.20,\"x\":[1.0]}\n\n[]\n{\"seq\":2}\n",
        );
        assert_eq!(
            r.series["m"][0].json.get(),
            r#"{"glucose":6.20,"seq":1,"time":"2026-03-01T07:11:40+08:00","x":[1.0]}"#
        );
        assert_eq!(r.series["jl"].len(), 1);
        assert_eq!(r.unreadable.len(), 1);
        let moved = shifted(&r.series["m"][0], 3);
        assert!(moved.get().contains("\"2026-03-04T07:11:40+08:00\"") && moved.get().contains("6.20"), "{moved}");
    }

    #[test]
    fn unknown_columns_are_refused() {
        assert!(read("a,b\n1,2\n".as_bytes(), &Wanted::default()).is_err());
    }
}
