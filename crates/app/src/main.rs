//! The binary `hearthbeat`: the only place that knows more than one stage exists.
//!
//! Goes in: arguments, configuration, signals. Comes out: an exit code (0 done, 1 failed, 2 bad configuration or arguments).
//! Must never: decide anything itself; it wires stages, starts them and lets them end.

mod admin;
mod arguments;
mod authority;
mod backup;
mod check;
mod config;
mod demo;
mod doctor;
mod export;
mod failure;
mod folder;
mod keeping;
mod links;
mod live;
mod pace;
mod rehearse;
mod rulebook;
mod run;
mod service;
mod upkeep;

use arguments::{Arguments, Command};
use clap::Parser;
use failure::Failure;
use std::process::ExitCode;

/// A reading is some thirty small allocations, on three threads: the system's allocator costs a tenth of the whole path.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Rust ignores SIGPIPE; `hearthbeat export | head` should then end quietly, which `failure` sees to.
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    // One TLS provider for the whole process; a second installation is refused and changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match arguments.command {
        Command::Run(options) => run::run(&options),
        Command::Demo(options) => demo::demo(&options),
        Command::Init(options) => admin::init(&options),
        Command::Device(command) => admin::device(&command),
        Command::User(command) => admin::user(&command),
        Command::Import(options) => admin::import(&options),
        Command::Audit(command) => admin::audit(&command),
        Command::Store(command) => admin::store_command(&command),
        Command::Check(options) => check::check(&options),
        Command::Doctor(options) => doctor::doctor(&options),
        Command::Config(command) => check::show(&command),
        Command::Export(options) => export::export(&options),
        Command::Rehearse(options) => rehearse::rehearse(&options),
        Command::Erase(options) => keeping::erase(&options),
        Command::Backup(options) => backup::backup(&options),
        Command::Restore(options) => backup::restore(&options),
        Command::Openapi => admin::openapi(),
        Command::Completions(options) => arguments::completions(options.shell),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_quiet() {
                eprintln!("hearthbeat: {failure}");
            }
            ExitCode::from(failure.code())
        }
    }
}

/// What every command returns.
type Done = Result<(), Failure>;
