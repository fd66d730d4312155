//! The command line (contract: command line and configuration).

use crate::Done;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Blood-pressure and glucose readings from home, durably stored, judged, and brought to the family-doctor team.
#[derive(Debug, Parser)]
#[command(name = "hearthbeat", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process with simulated patients and meters, on loopback only
    Demo(DemoOptions),
    /// The service
    Run(RunOptions),
    /// Make a data folder, its first administrator and its device CA
    Init(InitOptions),
    /// Devices, offline
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Users, offline
    #[command(subcommand)]
    User(UserCommand),
    /// Contracts, patients, devices and bindings in bulk from CSV, offline
    Import(ImportOptions),
    /// Validate configuration, rule cards, chains and channels
    Check(RunOptions),
    /// Tell what this machine and installation can do
    Doctor(RunOptions),
    /// Configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The audit chain, and the books
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The time series and its projection
    #[command(subcommand)]
    Store(StoreCommand),
    /// Everything stored, to stdout, while the service runs or not
    Export(ExportOptions),
    /// Rule cards against stored history: what would have fired against what did. Changes nothing; on a stopped service
    Rehearse(RehearseOptions),
    /// Everything about one patient, gone from both files, with the proof; on a stopped service
    Erase(EraseOptions),
    /// A consistent copy of the data folder, while the service runs or not
    Backup(BackupOptions),
    /// A data folder from a backup
    Restore(CopyOptions),
    /// The API's OpenAPI 3.1 document
    Openapi,
    /// Completions for a shell
    Completions(CompletionsOptions),
}

/// Where the data is.
#[derive(Debug, Args, Clone)]
pub(crate) struct DataDir {
    /// The data folder
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct RunOptions {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// Roles of this process
    #[arg(long, value_name = "ROLE,…", value_delimiter = ',', default_value = "edge,rules,alerts,api")]
    pub(crate) roles: Vec<Role>,
    /// A clock that stands still until it is moved over HTTP: `manual` or `manual=TIME`. Tests only; loopback only
    #[arg(long, value_name = "manual[=TIME]")]
    pub(crate) test_clock: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Role {
    Edge,
    Rules,
    Alerts,
    Api,
}

#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// Keep the data here; a second start goes on with it
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Seed of the simulated people
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Address of the pages
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) address: String,
}

#[derive(Debug, Args)]
pub(crate) struct InitOptions {
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Provision devices; each secret is shown once
    Provision {
        /// Device ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        data: DataDir,
        /// What they are: meter, gateway, kiosk, service, or a word of your own
        #[arg(long)]
        kind: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign a device's request with the device CA: the certificate, then the authority's, in PEM
    Certificate {
        /// Device id
        id: String,
        /// The request (PKCS #10, PEM)
        #[arg(long, value_name = "FILE")]
        csr: PathBuf,
        #[command(flatten)]
        data: DataDir,
        /// Days for which it is good
        #[arg(long, default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The authority that signs devices' certificates
    #[command(subcommand)]
    Ca(CaCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// List the authorities that are trusted
    Show {
        #[command(flatten)]
        data: DataDir,
    },
    /// Make a new one that signs from now on; the old ones stay trusted
    Rotate {
        #[command(flatten)]
        data: DataDir,
    },
    /// Trust only the one that signs
    Retire {
        #[command(flatten)]
        data: DataDir,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user; a password is made and shown once
    Add {
        /// Name to log in with
        username: String,
        /// Name as shown
        #[arg(long)]
        name: Option<String>,
        /// Roles
        #[arg(long, value_delimiter = ',', required = true)]
        roles: Vec<String>,
        /// Organisation id
        #[arg(long)]
        organisation: Option<String>,
        #[command(flatten)]
        data: DataDir,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ImportOptions {
    /// CSV file
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// Say what would happen, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the configuration in force
    Show {
        #[command(flatten)]
        options: RunOptions,
        /// Say of each value where it came from
        #[arg(long)]
        origin: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Throw QuestDB's table away and fill it from the embedded series, on a stopped service
    Rebuild(RunOptions),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check the hash chain; exit 1 names the first bad row
    Verify {
        #[command(flatten)]
        data: DataDir,
    },
    /// Count every row again and compare with the books, while the service runs or not; exit 1 names what differs
    Books(BooksOptions),
}

#[derive(Debug, Args)]
pub(crate) struct BooksOptions {
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// One day, device by device: 2026-03-01, in the site's zone
    #[arg(long, value_name = "DAY")]
    pub(crate) day: Option<jiff::civil::Date>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RehearseOptions {
    /// A card (TOML), or a folder of cards; those that it does not have stay as they are in force
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: PathBuf,
    /// First moment: 2026-01-01 in the site's zone, or 2026-01-01T06:00:00+08:00
    #[arg(long, value_name = "TIME")]
    pub(crate) from: String,
    /// First moment no longer
    #[arg(long, value_name = "TIME")]
    pub(crate) to: String,
    /// Only the patients of this organisation's teams
    #[arg(long, value_name = "ID")]
    pub(crate) organisation: Option<String>,
    /// Patients at most; of more, so many are taken
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) patients: usize,
    /// Minutes at most; then it says what it has
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    pub(crate) minutes: u64,
    /// Configuration file (TOML), for its rules folder and its zone
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EraseOptions {
    /// The patient's id
    #[arg(value_name = "PATIENT")]
    pub(crate) patient: String,
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// The patient's id once more: this cannot be undone
    #[arg(long, value_name = "PATIENT")]
    pub(crate) confirm: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Table {
    Readings,
    Quarantine,
    Alerts,
    Deliveries,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Csv,
    Jsonl,
}

#[derive(Debug, Args)]
pub(crate) struct ExportOptions {
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// What to export
    #[arg(long, value_enum, default_value_t = Table::Readings)]
    pub(crate) table: Table,
    /// How
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct CopyOptions {
    /// The backup's folder
    pub(crate) folder: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataDir,
}

#[derive(Debug, Args)]
pub(crate) struct BackupOptions {
    #[command(flatten)]
    pub(crate) to: CopyOptions,
    /// Days after which the copy is to be deleted; written down, so that an erasure can name it
    #[arg(long, value_name = "DAYS", default_value_t = 35)]
    pub(crate) keep_days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsOptions {
    /// Which shell
    pub(crate) shell: clap_complete::Shell,
}

pub(crate) fn completions(shell: clap_complete::Shell) -> Done {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "hearthbeat", &mut text);
    crate::check::print_all(&text)
}
