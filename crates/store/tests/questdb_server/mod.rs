//! A real QuestDB for a test, by `tests/questdb/server`, and a journal in memory to project from.
#![allow(dead_code, unreachable_pub)] // Each test binary and the bench use their part.
#![allow(clippy::unwrap_used, clippy::panic, clippy::used_underscore_binding)] // It is a test wherever it is used.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use store::questdb::{COLUMNS, Config, Handle, Page, ProjectorHealth, Row, Source, State};
use tokio::sync::watch;
use vitals::{
    Context, Decimal, DeviceId, DeviceKey, Disposition, GlucoseValue, Meal, PatientId, Reading, ReadingId, Statuses,
    TimeQuality, Timestamp, Unit, Values,
};

/// A server that dies with the test, also when the test is killed: it ends when its standard input closes.
pub struct Server {
    keeper: Child,
    pub http: String,
    pub pg: String,
    min: String,
    pid: i32,
    data: PathBuf,
    extra: Vec<String>,
    _folder: Option<tempfile::TempDir>,
}

impl Server {
    /// None when told to do without one; panics when it cannot be had and nobody said so.
    pub fn start(extra: &[&str]) -> Option<Self> {
        let say = |text: &str| {
            // Not through the test's captured output: this line must be seen.
            let _ = std::io::stderr().write_all(format!("\nQuestDB was NOT tried: {text}\n").as_bytes());
        };
        match std::env::var("HEARTHBEAT_QUESTDB").as_deref() {
            Ok("skip") => {
                say("HEARTHBEAT_QUESTDB=skip");
                return None;
            }
            Ok(other) => panic!("HEARTHBEAT_QUESTDB={other}: only `skip` is known; unset it to try the real server"),
            Err(_) => {}
        }
        let folder = tempfile::tempdir().unwrap();
        let extra: Vec<String> = extra.iter().flat_map(|s| ["--set".to_owned(), (*s).to_owned()]).collect();
        match launch(folder.path(), &extra) {
            Ok(mut server) => {
                server._folder = Some(folder);
                Some(server)
            }
            Err(why) => {
                say(&why);
                panic!("QuestDB was NOT tried: {why}; HEARTHBEAT_QUESTDB=skip does without");
            }
        }
    }

    /// kill -9, as a crash.
    pub fn kill(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        self.keeper.stdin.take();
        self.keeper.wait().unwrap();
    }

    /// Where its tables lie.
    pub fn database(&self) -> PathBuf {
        self.data.join("db")
    }

    /// Processor time that the server used so far, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(&self.pid.to_string())
    }

    /// Up again on the same data and ports.
    pub fn restart(&mut self) {
        let mut extra = self.extra.clone();
        for (name, address) in [("--http", &self.http), ("--pg", &self.pg), ("--min", &self.min)] {
            extra.extend([name.to_owned(), address.rsplit_once(':').unwrap().1.to_owned()]);
        }
        let mut again = launch(&self.data, &extra).unwrap();
        std::mem::swap(&mut self.keeper, &mut again.keeper);
        self.pid = again.pid;
    }

    /// Quick to notice everything.
    pub fn config(&self) -> Config {
        Config {
            http: self.http.clone(),
            pg: self.pg.clone(),
            data_dir: Some(self.data.clone()),
            min_free_bytes: 1,
            check_seconds: 1,
            request_seconds: 10,
            retry_max_seconds: 1,
            ..Config::default()
        }
    }

    /// Rows as text, by whoever has these credentials.
    pub async fn ask_as(&self, user: &str, password: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        let (host, port) = self.pg.rsplit_once(':').unwrap();
        let mut to = tokio_postgres::Config::new();
        to.host(host).port(port.parse().unwrap()).user(user).password(password).dbname("qdb");
        let (client, connection) = to.connect(tokio_postgres::NoTls).await.map_err(|e| e.to_string())?;
        let driver = tokio::spawn(connection);
        let answer = client.simple_query(sql).await.map_err(|e| e.to_string())?;
        drop(client);
        let _ = driver.await;
        let row = |m| match m {
            tokio_postgres::SimpleQueryMessage::Row(r) => {
                Some((0..r.len()).map(|i| r.get(i).map(str::to_owned)).collect())
            }
            _ => None,
        };
        Ok(answer.into_iter().filter_map(row).collect())
    }

    pub async fn ask(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.ask_as("admin", "quest", sql).await.unwrap()
    }

    pub async fn count(&self) -> usize {
        self.ask("SELECT count() FROM reading").await[0][0].as_ref().unwrap().parse().unwrap()
    }

    /// Every row of the table, in the contract's columns, sorted.
    pub async fn rows(&self) -> Vec<TextRow> {
        let mut rows = self.select("").await;
        rows.sort();
        rows
    }

    /// Rows in the contract's columns; `rest` is what follows the table's name.
    pub async fn select(&self, rest: &str) -> Vec<TextRow> {
        let column = |(name, kind, _): &(&str, &str, bool)| match *kind {
            "TIMESTAMP" => format!("cast({name} AS LONG)"),
            _ => (*name).to_owned(),
        };
        let columns: Vec<_> = COLUMNS.iter().map(column).collect();
        let mut rows = self.ask(&format!("SELECT {} FROM reading {rest}", columns.join(", "))).await;
        for row in &mut rows {
            for (value, (_, kind, _)) in row.iter_mut().zip(COLUMNS) {
                if kind == "DOUBLE" {
                    *value = value.take().map(|v| double(v.parse().unwrap()));
                }
            }
        }
        rows
    }
}

/// Processor time of a process (`self` for this one), from /proc, in hundredths.
pub fn cpu_seconds(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    let ticks = |i: usize| fields.get(i).and_then(|t| t.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

fn double(v: f64) -> String {
    format!("{:016x}", v.to_bits())
}

impl Drop for Server {
    fn drop(&mut self) {
        self.keeper.stdin.take();
        let _ = self.keeper.wait();
    }
}

fn launch(data: &Path, extra: &[String]) -> Result<Server, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/questdb/server");
    let mut keeper = Command::new(script)
        .args(["run", "--heap", if cfg!(debug_assertions) { "256m" } else { "512m" }, "--data"])
        .arg(data)
        .args(extra)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("tests/questdb/server does not start: {e}"))?;
    let mut line = String::new();
    BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.is_empty() {
        let said = keeper.wait_with_output().unwrap();
        return Err(String::from_utf8_lossy(&said.stderr).trim().to_owned());
    }
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let text = |key: &str| said[key].as_str().unwrap().to_owned();
    let pid = i32::try_from(said["pid"].as_i64().unwrap()).unwrap();
    Ok(Server {
        keeper,
        http: text("http"),
        pg: text("pg"),
        min: text("min"),
        pid,
        data: data.to_owned(),
        extra: extra.to_vec(),
        _folder: None,
    })
}

/// A journal in memory; what it holds is the truth that the table is compared with.
#[derive(Clone)]
pub struct Journal {
    readings: Arc<Mutex<Vec<Arc<Reading>>>>,
    committed: watch::Sender<u64>,
}

impl Journal {
    pub fn new() -> Self {
        Self { readings: Arc::default(), committed: watch::Sender::new(0) }
    }

    fn readings(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Reading>>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits `count` more readings; the same ones for the same numbers.
    pub fn add(&self, count: u64) {
        let mut all = self.readings();
        let next = all.len() as u64 + 1;
        all.extend((next..next + count).map(|n| Arc::new(reading(n))));
        drop(all);
        self.committed.send_replace(next + count - 1);
    }

    pub fn push(&self, change: impl FnOnce(&mut Reading)) {
        let mut all = self.readings();
        let next = all.len() as u64 + 1;
        let mut one = reading(next);
        change(&mut one);
        all.push(Arc::new(one));
        drop(all);
        self.committed.send_replace(next);
    }

    /// As an audited correction does: without a new journal entry.
    pub fn change(&self, position: u64, change: impl FnOnce(&mut Reading)) -> Reading {
        let mut all = self.readings();
        let slot = &mut all[usize::try_from(position).unwrap() - 1];
        change(Arc::make_mut(slot));
        (**slot).clone()
    }

    pub fn len(&self) -> usize {
        self.readings().len()
    }

    pub fn head(&self) -> u64 {
        *self.committed.borrow()
    }

    pub fn source(&self) -> Source {
        let (first, second) = (self.clone(), self.clone());
        Source {
            committed: self.committed.subscribe(),
            after: Box::new(move |position, limit| {
                let all = first.readings();
                let begin = usize::try_from(position).unwrap().min(all.len());
                let part = &all[begin..(begin + limit).min(all.len())];
                let row = |r: &Arc<Reading>| Row {
                    position: r.id.as_i64().cast_unsigned(),
                    device: device(r.device),
                    reading: r.clone(),
                };
                Ok(Page { rows: part.iter().map(row).collect(), position: position + part.len() as u64 })
            }),
            everything: Box::new(move |_, visit| {
                let all = second.readings().clone();
                all.iter().try_for_each(|r| visit(r))
            }),
            name: Box::new(device),
        }
    }

    /// What the table must hold; `skipped` are positions that it refuses.
    pub fn expected(&self, skipped: &[u64]) -> Vec<Vec<Option<String>>> {
        let all = self.readings();
        let there = all.iter().filter(|r| !skipped.contains(&r.id.as_i64().cast_unsigned()));
        let mut rows: Vec<_> = there.map(|r| columns_of(r, device(r.device).as_str())).collect();
        rows.sort();
        rows
    }
}

fn device(key: DeviceKey) -> DeviceId {
    format!("meter-{}", key.as_i64()).parse().unwrap()
}

/// A row of the table as text, in the contract's columns; doubles as their bits.
pub type TextRow = Vec<Option<String>>;

/// Written apart from the product's own conversion, so that it can contradict it.
pub fn columns_of(r: &Reading, device: &str) -> TextRow {
    let word = |w: &str| Some(w.to_owned());
    let mut values = [None, None, None, None, None];
    match &r.values {
        Values::Pressure { systolic, diastolic, map, pulse } => {
            let factor = if r.unit == Unit::KPa { 7.500_62 } else { 1.0 };
            values[0] = Some(systolic.value() * factor);
            values[1] = Some(diastolic.value() * factor);
            values[2] = map.map(|m| m.value() * factor);
            values[3] = pulse.map(Decimal::value);
        }
        Values::Glucose(GlucoseValue::Value(v)) => {
            values[4] = Some(if r.unit == Unit::MgPerDl { v.value() / 18.016 } else { v.value() });
        }
        Values::Glucose(_) => {}
    }
    let mut row = vec![
        Some(r.measured_at.as_micros().to_string()),
        r.patient.map(|p| p.to_string()),
        word(device),
        Some(r.epoch.to_string()),
        Some(r.seq.to_string()),
        word(r.kind().as_str()),
        Some(r.received_at.as_micros().to_string()),
    ];
    row.extend(values.map(|v| v.map(double)));
    row.extend([
        word(r.unit.as_str()),
        r.context.meal.map(|m| m.as_str().to_owned()),
        word(r.time_quality.as_str()),
        word(r.disposition.as_str()),
    ]);
    row
}

/// 2026-01-05, a Monday.
pub const START: i64 = 1_767_571_200;

/// Reading `n`: a mixture of everything that a table must hold, the same for the same number.
pub fn reading(n: u64) -> Reading {
    let dice = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let small = |m: u64| i64::try_from(dice % m).unwrap();
    let step = i64::try_from(n).unwrap();
    // Two readings a second over the cohort; one in twenty up to three days late.
    let late = if dice.is_multiple_of(20) { small(259_200) } else { 0 };
    let measured = Timestamp::from_micros((START + step / 2 + 300_000 - late) * 1_000_000 + small(1_000_000));
    let (values, unit) = match dice % 8 {
        0..=2 => (pressure(small(60) + 110, 0), Unit::MmHg),
        3 => (pressure(small(600) + 1_400, -2), Unit::KPa),
        4 | 5 => (glucose(Decimal::new(small(120) + 40, -1)), Unit::MmolPerL),
        6 => (glucose(Decimal::new(small(200) + 70, 0)), Unit::MgPerDl),
        _ if dice.is_multiple_of(2) => (Values::Glucose(GlucoseValue::High), Unit::MmolPerL),
        _ => (Values::Glucose(GlucoseValue::Low), Unit::MgPerDl),
    };
    Reading {
        id: ReadingId::new(n),
        device: DeviceKey::new(1 + n % 997),
        epoch: u32::try_from(n % 2).unwrap(),
        seq: if dice.is_multiple_of(11) { -step } else { step },
        user_slot: None,
        patient: (!dice.is_multiple_of(13)).then(|| PatientId::new(1 + n % 499)),
        measured_at: measured,
        received_at: Timestamp::from_micros(measured.as_micros() + 5_000_000),
        device_time: None,
        time_quality: if dice.is_multiple_of(3) { TimeQuality::Exact } else { TimeQuality::Assumed },
        disposition: if dice.is_multiple_of(17) { Disposition::Flagged } else { Disposition::Stored },
        values,
        unit,
        statuses: Statuses::default(),
        flags: Vec::new(),
        historical: false,
        context: Context { meal: dice.is_multiple_of(5).then_some(Meal::Fasting), ..Context::default() },
    }
}

fn pressure(systolic: i64, exponent: i16) -> Values {
    Values::Pressure {
        systolic: Decimal::new(systolic, exponent),
        diastolic: Decimal::new(systolic * 2 / 3, exponent),
        map: (systolic % 2 == 0).then(|| Decimal::new(systolic * 3 / 4, exponent)),
        pulse: (systolic % 3 == 0).then(|| Decimal::new(72, 0)),
    }
}

fn glucose(value: Decimal) -> Values {
    Values::Glucose(GlucoseValue::Value(value))
}

/// Waits for what the projector says of itself.
pub async fn until(handle: &Handle, what: &str, reached: impl FnMut(&ProjectorHealth) -> bool) -> ProjectorHealth {
    let mut changes = handle.changes();
    let waited = tokio::time::timeout(Duration::from_secs(240), changes.wait_for(reached)).await;
    match waited {
        Ok(Ok(health)) => health.clone(),
        _ => panic!("not reached: {what}; {:?}", handle.health()),
    }
}

/// Everything that is committed now was sent, counted and agreed.
pub async fn settled(handle: &Handle, journal: &Journal) -> ProjectorHealth {
    let head = journal.head();
    until(handle, "settled", move |h| h.state == State::Live && h.checked >= head).await
}
