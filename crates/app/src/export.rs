//! `export`: everything stored, to stdout, from one snapshot, whether the service runs or not.

use crate::{
    Done, Failure,
    arguments::{ExportOptions, Format, Table},
    folder,
};
use std::io::{BufWriter, StdoutLock, Write};
use store::{Archive, Delivery, Episode, Snapshot, StoreError};
use vitals::{Decimal, GlucoseValue, Held, Reading, Timestamp, Values, Zone};

const READINGS: &[&str] = &[
    "id",
    "device",
    "epoch",
    "seq",
    "patient",
    "kind",
    "measured_at",
    "received_at",
    "time_quality",
    "result",
    "systolic",
    "diastolic",
    "map",
    "pulse",
    "glucose",
    "unit",
    "meal",
];
const QUARANTINE: &[&str] = &["id", "device", "epoch", "seq", "received_at", "reasons", "bytes"];
const ALERTS: &[&str] = &[
    "id",
    "patient",
    "concept",
    "severity",
    "state",
    "rule",
    "raised_at",
    "level",
    "cycle",
    "count",
    "owner",
    "exhausted",
    "previous",
];
const DELIVERIES: &[&str] =
    &["id", "alert", "kind", "channel", "user", "address", "level", "cycle", "attempts", "state", "created_at"];

/// Writes one table.
pub(crate) fn export(options: &ExportOptions) -> Done {
    let data = &options.data.data_dir;
    folder::require_initialised(data)?;
    // The registry after the journal: a device that sent the newest reading is then surely known.
    let snapshot = Snapshot::open(data)?;
    let archive = Archive::open(data)?;
    let zone = Zone::default();
    let out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let columns = match options.table {
        Table::Readings => READINGS,
        Table::Quarantine => QUARANTINE,
        Table::Alerts => ALERTS,
        Table::Deliveries => DELIVERIES,
    };
    let mut sheet = Sheet::new(out, options.format, columns)?;
    let device = |key| archive.directory().device_by_key(key).map_or(Cell::Nothing, |d| Cell::text(&d.id));
    let done = match options.table {
        Table::Readings => snapshot.readings(&mut |r| sheet.row(reading(r, device(r.device), &zone))),
        Table::Quarantine => snapshot.held(&mut |h| sheet.row(held(h, device(h.device), &zone))),
        Table::Alerts => archive.episodes(&mut |e| sheet.row(episode(e, &zone))),
        Table::Deliveries => archive.deliveries(&mut |d| sheet.row(delivery(d, &zone))),
    };
    match done.and_then(|()| sheet.end()) {
        // The reader has seen enough (`| head`).
        Err(_) if sheet.broken_pipe => Err(Failure::Quiet),
        done => Ok(done?),
    }
}

/// One value. Numbers are the text that was sent.
enum Cell {
    Nothing,
    Text(String),
    Number(String),
    Words(Vec<&'static str>),
}

impl Cell {
    fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    fn some(value: Option<impl ToString>) -> Self {
        value.map_or(Self::Nothing, Self::text)
    }

    fn number(value: impl ToString) -> Self {
        Self::Number(value.to_string())
    }

    fn decimal(value: Option<Decimal>) -> Self {
        value.map_or(Self::Nothing, Self::number)
    }

    /// RFC 4180: text as it is, lists with spaces between their words.
    fn csv(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Text(text) | Self::Number(text) => text.clone(),
            Self::Words(words) => words.join(" "),
        }
    }

    fn json(&self) -> String {
        match self {
            Self::Nothing => "null".into(),
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            Self::Number(text) => text.clone(),
            Self::Words(words) => serde_json::json!(words).to_string(),
        }
    }
}

/// Rows in one of the two formats.
struct Sheet<'a> {
    out: Out<'a>,
    columns: &'static [&'static str],
    broken_pipe: bool,
}

enum Out<'a> {
    Csv(Box<csv::Writer<BufWriter<StdoutLock<'a>>>>),
    Jsonl(BufWriter<StdoutLock<'a>>),
}

impl<'a> Sheet<'a> {
    fn new(out: BufWriter<StdoutLock<'a>>, format: Format, columns: &'static [&'static str]) -> Result<Self, Failure> {
        let out = match format {
            Format::Jsonl => Out::Jsonl(out),
            Format::Csv => {
                let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
                writer.write_record(columns).map_err(|e| Failure::failed("stdout", e))?;
                Out::Csv(Box::new(writer))
            }
        };
        Ok(Self { out, columns, broken_pipe: false })
    }

    fn row(&mut self, cells: Vec<Cell>) -> Result<(), StoreError> {
        let written = match &mut self.out {
            Out::Csv(writer) => writer.write_record(cells.iter().map(Cell::csv)).map_err(std::io::Error::from),
            Out::Jsonl(out) => {
                let members: Vec<String> =
                    self.columns.iter().zip(&cells).map(|(name, cell)| format!("\"{name}\":{}", cell.json())).collect();
                writeln!(out, "{{{}}}", members.join(","))
            }
        };
        self.note(written)
    }

    fn end(&mut self) -> Result<(), StoreError> {
        let flushed = match &mut self.out {
            Out::Csv(writer) => writer.flush(),
            Out::Jsonl(out) => out.flush(),
        };
        self.note(flushed)
    }

    fn note(&mut self, written: std::io::Result<()>) -> Result<(), StoreError> {
        written.map_err(|e| {
            self.broken_pipe |= e.kind() == std::io::ErrorKind::BrokenPipe;
            StoreError::Database { what: "stdout", reason: e.to_string() }
        })
    }
}

fn time(at: Timestamp, zone: &Zone) -> Cell {
    Cell::Text(at.to_rfc3339(zone))
}

fn reading(r: &Reading, device: Cell, zone: &Zone) -> Vec<Cell> {
    let mut values = [Cell::Nothing, Cell::Nothing, Cell::Nothing, Cell::Nothing, Cell::Nothing];
    match &r.values {
        Values::Pressure { systolic, diastolic, map, pulse } => {
            let all = [Some(*systolic), Some(*diastolic), *map, *pulse];
            values.iter_mut().zip(all).for_each(|(cell, value)| *cell = Cell::decimal(value));
        }
        Values::Glucose(GlucoseValue::Value(value)) => values[4] = Cell::number(value),
        Values::Glucose(GlucoseValue::High) => values[4] = Cell::text("HI"),
        Values::Glucose(GlucoseValue::Low) => values[4] = Cell::text("LO"),
    }
    let head = [
        Cell::text(r.id),
        device,
        Cell::number(r.epoch),
        Cell::number(r.seq),
        Cell::some(r.patient),
        Cell::text(r.kind().as_str()),
        time(r.measured_at, zone),
        time(r.received_at, zone),
        Cell::text(r.time_quality.as_str()),
        Cell::text(r.disposition.as_str()),
    ];
    let tail = [Cell::text(r.unit.as_str()), Cell::some(r.context.meal.map(vitals::Meal::as_str))];
    head.into_iter().chain(values).chain(tail).collect()
}

fn held(h: &Held, device: Cell, zone: &Zone) -> Vec<Cell> {
    vec![
        Cell::text(h.id.to_string().replacen("r_", "q_", 1)),
        device,
        Cell::number(h.epoch),
        h.seq.map_or(Cell::Nothing, Cell::number),
        time(h.received_at, zone),
        Cell::Words(h.reasons.iter().map(|r| r.as_str()).collect()),
        Cell::text(hex::encode(&h.bytes)),
    ]
}

fn episode(e: &Episode, zone: &Zone) -> Vec<Cell> {
    vec![
        Cell::text(e.id),
        Cell::text(e.patient),
        Cell::text(e.concept.as_str()),
        Cell::text(e.severity.as_str()),
        Cell::text(e.state.as_str()),
        Cell::text(&e.rule),
        time(e.raised_at, zone),
        Cell::number(e.level),
        Cell::number(e.cycle),
        Cell::number(e.count),
        Cell::some(e.owner),
        Cell::number(e.exhausted),
        Cell::some(e.previous),
    ]
}

fn delivery(d: &Delivery, zone: &Zone) -> Vec<Cell> {
    vec![
        Cell::text(&d.id),
        Cell::some(d.alert),
        Cell::text(&d.kind),
        Cell::text(&d.channel),
        Cell::some(d.user),
        Cell::text(&d.address),
        Cell::number(d.level),
        Cell::number(d.cycle),
        Cell::number(d.attempts),
        Cell::text(d.state.as_str()),
        time(d.created_at, zone),
    ]
}
