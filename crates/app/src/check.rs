//! `check` and `config show`: what would the service run with, and is it right?

use crate::{
    Done, Failure,
    arguments::{ConfigCommand, RunOptions},
    config,
};

/// Lists every fault; exit 2 when there is one.
pub(crate) fn check(options: &RunOptions) -> Done {
    let (config, _) = config::load(options.config.as_deref())?;
    let mut faults = Vec::new();
    faults.extend(config.alerts.check().into_iter().map(|f| format!("alerts: {f}")));
    if let Err(e) = rules::check(&config.rules) {
        faults.push(format!("rules: {e}"));
    }
    if let Err(e) = broker::check(&config.broker) {
        faults.push(format!("broker: {e}"));
    }
    if config.api.address.parse::<std::net::SocketAddr>().is_err() {
        faults.push("api.address: not an address and port; write for example \"127.0.0.1:8080\"".into());
    }
    if faults.is_empty() {
        println!("configuration, rule cards and channels are in order");
        return Ok(());
    }
    Err(Failure::Configuration(faults.join("\n")))
}

/// Prints the configuration in force.
pub(crate) fn show(command: &ConfigCommand) -> Done {
    let ConfigCommand::Show { options, origin } = command;
    let (config, origins) = config::load(options.config.as_deref())?;
    print!("{}", config::print(&config, &origins, *origin)?);
    Ok(())
}
