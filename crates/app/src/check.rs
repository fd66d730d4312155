//! `check` and `config show`: what would the service run with, and is it right?

use crate::{
    Done, Failure,
    arguments::{ConfigCommand, RunOptions},
    config,
};
use std::io::Write;

/// Lists every fault with file and line; exit 2 when there is one.
pub(crate) fn check(options: &RunOptions) -> Done {
    let file = options.config.as_deref();
    let (config, _, mut listed) = config::read(file)?;
    let mut faults: Vec<String> = config.alerts.check().into_iter().map(|f| format!("alerts.{f}")).collect();
    if let Err(all) = rules::check(&config.rules) {
        faults.extend(all.iter().map(|e| match e {
            rules::Error::Folder { .. } => format!("rules.folder: {e}"),
            e => e.to_string(),
        }));
    }
    if let Err(all) = ingest::check(config.ingest.adapters.as_deref()) {
        faults.extend(all.iter().map(ToString::to_string));
    }
    faults.extend(broker::check(&config.broker).into_iter().map(|f| format!("broker.{f}")));
    if config.api.address.parse::<std::net::SocketAddr>().is_err() {
        faults.push("api.address: not an address and port; write for example \"127.0.0.1:8080\"".into());
    }
    listed.extend(faults.iter().map(|fault| config::faults::placed(file, fault)));
    if listed.is_empty() {
        println!("configuration, rule cards, adapters and channels are in order");
        return Ok(());
    }
    Err(Failure::Configuration(listed.join("\n")))
}

/// Prints the configuration in force.
pub(crate) fn show(command: &ConfigCommand) -> Done {
    let ConfigCommand::Show { options, origin } = command;
    let (config, origins) = config::load(options.config.as_deref())?;
    print_all(config::print(&config, &origins, *origin)?.as_bytes())
}

/// To stdout; a reader that has seen enough (`| head`) is no fault of ours.
pub(crate) fn print_all(bytes: &[u8]) -> Done {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed("stdout", e)),
        _ => Ok(()),
    }
}
