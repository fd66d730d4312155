//! `hearthbeat-sim`: load, replay, cohort, evaluate, plan, compare and fsync on the command line. The work is in the library.
//!
//! Exit codes: 0 done and every limit held, 1 a limit missed or the run failed, 2 bad arguments or a bad file.

use clap::{Args, Parser, Subcommand};
use simulators::{
    Error,
    codec::Version,
    cohort, credentials, disk,
    load::{Run, compare, page, plan::Plan, report::Report, scenario::Scenario},
    message::MOST_READINGS,
    meter::Target,
    replay::{self, Outcome, Replay, forms},
};
use std::{
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// A message is some ten small allocations: the system's allocator costs a tenth of what a generator can send.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Devices that do not exist: load, replays and measurements for a running service.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Open-loop load; exit 1 when a threshold is missed or the generator itself lagged
    Load(LoadArgs),
    /// Recorded readings (CSV of a known form or JSON Lines, plain or .gz) as devices; exit 1 unless all are accounted for
    Replay(ReplayArgs),
    /// Print every arrival of a scenario without traffic, and the hash of the plan
    Plan {
        /// Scenario file
        scenario: PathBuf,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only the number of arrivals and the hash
        #[arg(long)]
        summary: bool,
    },
    /// Two JSON reports side by side
    Compare {
        /// A report of `load --report`
        a: PathBuf,
        /// Another
        b: PathBuf,
    },
    /// Virtual patients with scripted truth into a running service, in test-clock time
    Cohort(CohortArgs),
    /// Truth against what the service stored and concluded; exit 1 when a reading is lost or doubled or a bar is missed
    Evaluate(EvaluateArgs),
    /// How many fsyncs a second the disk under a folder takes
    Fsync {
        /// A folder on that disk
        folder: PathBuf,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct Line {
    /// The broker, mqtt://host:port
    #[arg(long)]
    target: Option<Target>,
    /// Credentials: JSON [{"id", "secret"}] as provisioning prints it, or CSV id,secret; without it none are sent
    #[arg(long)]
    devices: Option<PathBuf>,
    /// MQTT 3.1.1 (4) or 5
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=5))]
    mqtt: u8,
}

impl Line {
    const fn version(&self) -> Version {
        if self.mqtt == 5 { Version::V5 } else { Version::V4 }
    }

    fn target(&self) -> Result<Target, Error> {
        self.target.clone().ok_or_else(|| Error::Input("--target mqtt://host:port is needed".into()))
    }
}

#[derive(Args)]
struct LoadArgs {
    /// Scenario file
    scenario: PathBuf,
    #[command(flatten)]
    line: Line,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads of the generator
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// First sequence number of every device
    #[arg(long, default_value_t = 1)]
    first_seq: u64,
    /// Write the JSON report here
    #[arg(long)]
    report: Option<PathBuf>,
    /// Write the report as one HTML file here
    #[arg(long)]
    html: Option<PathBuf>,
    /// Append every acknowledged device,seq here
    #[arg(long)]
    ack_log: Option<PathBuf>,
}

#[derive(Args)]
struct ReplayArgs {
    /// Recordings
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    line: Line,
    /// Move every series by whole days so that its last reading is yesterday
    #[arg(long)]
    shift: bool,
    /// The day that counts as today for --shift
    #[arg(long)]
    today: Option<jiff::civil::Date>,
    /// Recorded time over real time (3600: an hour in a second); without it as fast as acknowledged
    #[arg(long)]
    speed: Option<f64>,
    /// Readings a message
    #[arg(long, default_value_t = MOST_READINGS)]
    batch: usize,
    /// Sensor values too, as devices ID-cgm
    #[arg(long)]
    cgm: bool,
    /// Put before every device id of the files
    #[arg(long, default_value = "")]
    prefix: String,
    /// The device of JSON Lines that name none
    #[arg(long, default_value = "replay")]
    device: String,
    /// Print the device ids that the files need, and send nothing
    #[arg(long)]
    list_devices: bool,
    /// Seconds that a receipt may follow its PUBACK
    #[arg(long, default_value_t = 10)]
    receipt_wait: u64,
    /// The table as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Where a service is that runs with a test clock, on this machine.
#[derive(Args)]
struct Whereabouts {
    /// Its HTTP interface, http://127.0.0.1:port
    #[arg(long)]
    api: String,
    /// The first administrator, as `hearthbeat init --json` prints it
    #[arg(long)]
    login: PathBuf,
    /// Truth, JSON Lines: `cohort` writes it, `evaluate` reads it
    #[arg(long)]
    truth: PathBuf,
}

#[derive(Args)]
struct CohortArgs {
    /// Scenario file
    scenario: PathBuf,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The broker, mqtt://host:port
    #[arg(long)]
    target: Target,
    #[command(flatten)]
    service: Whereabouts,
}

#[derive(Args)]
struct EvaluateArgs {
    #[command(flatten)]
    service: Whereabouts,
    /// Patients that a cell must have for a verdict
    #[arg(long, default_value_t = simulators::cohort::bars::ENOUGH)]
    enough: u64,
    /// Write every patient's findings here, JSON Lines
    #[arg(long)]
    findings: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Load(args) => load(&args),
        Command::Replay(args) => replay_files(&args),
        Command::Plan { scenario, seed, summary } => plan(&scenario, seed, summary),
        Command::Compare { a, b } => compare_reports(&a, &b),
        Command::Cohort(args) => cohort(&args),
        Command::Evaluate(args) => evaluate(&args),
        Command::Fsync { folder, seconds, json } => fsync(&folder, seconds, json),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("hearthbeat-sim: {e}");
            ExitCode::from(if matches!(e, Error::Input(_)) { 2 } else { 1 })
        }
    }
}

fn load(args: &LoadArgs) -> Result<bool, Error> {
    let scenario = Scenario::read(&args.scenario)?;
    let target = args.line.target()?;
    let devices = match &args.line.devices {
        Some(path) => credentials::read(path)?,
        None => credentials::anonymous(usize::try_from(scenario.devices).unwrap_or(0)),
    };
    let plan = Plan::new(&scenario, args.seed);
    let run = Run {
        target,
        devices,
        version: args.line.version(),
        threads: args.threads,
        first_seq: args.first_seq,
        ack_log: args.ack_log.clone(),
    };
    let report = simulators::load::run(&scenario, &plan, &run, |line| eprintln!("{line}"))?;
    println!("{report}");
    if let Some(path) = &args.report {
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        std::fs::write(path, text).map_err(Error::io(path.display().to_string()))?;
    }
    if let Some(path) = &args.html {
        std::fs::write(path, page::page(&report)).map_err(Error::io(path.display().to_string()))?;
    }
    Ok(report.passed)
}

fn plan(path: &Path, seed: u64, summary: bool) -> Result<bool, Error> {
    let plan = Plan::new(&Scenario::read(path)?, seed);
    let mut out = BufWriter::new(std::io::stdout().lock());
    match plan.print(&mut out, summary).and_then(|()| out.flush()) {
        // Whoever reads only the head of it has seen what they wanted.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(true),
        other => other.map(|()| true).map_err(Error::io("stdout")),
    }
}

fn compare_reports(a: &Path, b: &Path) -> Result<bool, Error> {
    let read = |path: &Path| -> Result<Report, Error> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(Error::io(&*name))?;
        serde_json::from_str(&text).map_err(|e| Error::Input(format!("{name} is no report of load: {e}")))
    };
    print!("{}", compare::compare(&read(a)?, &read(b)?));
    Ok(true)
}

fn fsync(folder: &Path, seconds: f64, json: bool) -> Result<bool, Error> {
    let time = Duration::try_from_secs_f64(seconds.min(3600.0))
        .map_err(|_| Error::Input("--seconds must not be negative".into()))?;
    let found = disk::measure(folder, time)?;
    if json {
        println!("{}", serde_json::to_string(&found).unwrap_or_default());
    } else {
        let disk::Fsync { per_second, p50_us, p99_us, max_us } = found;
        println!("{per_second:.0} fsyncs/s  p50 {p50_us} us  p99 {p99_us} us  max {max_us} us");
    }
    Ok(true)
}

fn single_threaded() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::io("start a runtime"))
}

fn cohort(args: &CohortArgs) -> Result<bool, Error> {
    let scenario = cohort::panel::Scenario::read(&args.scenario)?;
    let service = cohort::drive::Service {
        api: args.service.api.clone(),
        target: args.target.clone(),
        login: cohort::evaluate::Login::read(&args.service.login)?,
    };
    let driven =
        single_threaded()?.block_on(cohort::drive::drive(&scenario, args.seed, &service, &args.service.truth))?;
    let cohort::drive::Driven { patients, messages, readings, asked, resolved } = driven;
    println!(
        "cohort {} seed {}: {patients} patients, {readings} readings in {messages} messages, asked to repeat {asked} times, {resolved} alerts resolved",
        scenario.name, args.seed
    );
    Ok(true)
}

fn evaluate(args: &EvaluateArgs) -> Result<bool, Error> {
    let login = cohort::evaluate::Login::read(&args.service.login)?;
    let found =
        single_threaded()?.block_on(cohort::evaluate::evaluate(&args.service.truth, &args.service.api, &login))?;
    if let Some(path) = &args.findings {
        let name = path.display().to_string();
        let lines: Vec<String> =
            found.told.iter().map(|told| serde_json::to_string(told).unwrap_or_default()).collect();
        std::fs::write(path, lines.join("\n") + "\n").map_err(Error::io(name))?;
    }
    let cohort::evaluate::Kept { sent, stored, held, lost, doubled } = found.kept;
    println!("readings: {sent} sent = {stored} stored + {held} quarantined + {lost} lost; {doubled} doubled");
    let (text, missed) = cohort::table(&found.tally, args.enough);
    print!("{text}");
    Ok(lost == 0 && doubled == 0 && missed == 0)
}

fn replay_files(args: &ReplayArgs) -> Result<bool, Error> {
    if args.speed.is_some_and(|s| !s.is_finite() || s <= 0.0) {
        return Err(Error::Input("--speed must be above 0".into()));
    }
    let wanted = forms::Wanted { cgm: args.cgm, prefix: args.prefix.clone(), device: args.device.clone() };
    let recordings: Vec<_> =
        args.files.iter().map(|path| Ok((path, forms::open(path, &wanted)?))).collect::<Result<_, Error>>()?;
    if args.list_devices {
        let ids: std::collections::BTreeSet<_> = recordings.iter().flat_map(|(_, r)| r.series.keys()).collect();
        ids.iter().for_each(|id| println!("{id}"));
        return Ok(true);
    }
    let how = Replay {
        target: args.line.target()?,
        version: args.line.version(),
        shift_before: args.shift.then(|| args.today.unwrap_or_else(today)),
        speed: args.speed,
        batch: args.batch,
        receipt_wait: Duration::from_secs(args.receipt_wait),
    };
    let devices = args.line.devices.as_deref().map(credentials::read).transpose()?.unwrap_or_default();
    let runtime = single_threaded()?;
    let mut good = true;
    for (path, recording) in recordings {
        let facts = Facts::of(path, &recording);
        let outcome = runtime.block_on(replay::replay(recording, &devices, &how))?;
        good &= outcome.balances();
        facts.print(&outcome, args.json);
    }
    Ok(good)
}

/// The day on the wall at the default site.
fn today() -> jiff::civil::Date {
    vitals::Timestamp::from_micros(jiff::Timestamp::now().as_microsecond()).day(&vitals::Zone::default())
}

/// What a file held, before its readings are handed over.
struct Facts {
    file: String,
    form: &'static str,
    rows: u64,
    devices: usize,
    readings: u64,
    skipped: std::collections::BTreeMap<String, u64>,
    unreadable: Vec<(u64, String)>,
}

impl Facts {
    fn of(path: &Path, r: &forms::Recording) -> Self {
        Self {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            form: r.form,
            rows: r.rows,
            devices: r.series.len(),
            readings: r.readings(),
            skipped: r.skipped.clone(),
            unreadable: r.unreadable.clone(),
        }
    }

    fn print(&self, o: &Outcome, json: bool) {
        let Self { file, form, rows, devices, readings, .. } = self;
        if json {
            let line = serde_json::json!({"file": file, "form": form, "rows": rows, "devices": devices, "readings": readings,
                "skipped": self.skipped, "unreadable": self.unreadable, "outcome": o, "balances": o.balances()});
            println!("{line}");
            return;
        }
        println!("{file} ({form}): {rows} rows, {devices} devices, {readings} readings");
        for (what, count) in &self.skipped {
            println!("  not a reading   {count:>8}  {what}");
        }
        println!("  unreadable      {:>8}", self.unreadable.len());
        for (line, why) in self.unreadable.iter().take(10) {
            println!("                            line {line}: {why}");
        }
        for (name, count) in [
            ("sent", o.sent),
            ("acked", o.acked),
            ("stored", o.stored),
            ("duplicate", o.duplicate),
            ("flagged", o.flagged),
            ("excluded", o.excluded),
            ("quarantined", o.quarantined),
            ("no receipt", o.unanswered),
        ] {
            println!("  {name:<15} {count:>8}");
        }
        for (reason, count) in &o.reasons {
            println!("    {reason:<22} {count:>6}");
        }
        let word = if o.balances() { "=" } else { "DOES NOT EQUAL" };
        println!("  sent {word} stored + duplicate + flagged + excluded + quarantined");
    }
}
