//! `check` and `config show`: what would the service run with, and is it right?

use crate::{
    Done, Failure,
    arguments::{ConfigCommand, RunOptions},
    config,
};
use std::{fs, io::Write, path::Path};
use toml_edit::{Document, Item};

/// Lists every fault with file and line; exit 2 when there is one.
pub(crate) fn check(options: &RunOptions) -> Done {
    let (config, _) = config::load(options.config.as_deref())?;
    let mut faults: Vec<String> = config.alerts.check().into_iter().map(|f| format!("alerts.{f}")).collect();
    if let Err(e) = rules::check(&config.rules) {
        faults.push(e.to_string());
    }
    if let Err(all) = ingest::check(config.ingest.adapters.as_deref()) {
        faults.extend(all.iter().map(ToString::to_string));
    }
    if let Err(e) = broker::check(&config.broker) {
        faults.push(e.to_string());
    }
    if config.api.address.parse::<std::net::SocketAddr>().is_err() {
        faults.push("api.address: not an address and port; write for example \"127.0.0.1:8080\"".into());
    }
    if faults.is_empty() {
        println!("configuration, rule cards, adapters and channels are in order");
        return Ok(());
    }
    let faults: Vec<String> = faults.iter().map(|fault| placed(options.config.as_deref(), fault)).collect();
    Err(Failure::Configuration(faults.join("\n")))
}

/// `file:line: key: what is wrong`, where the fault's key, or the table around it, stands in the file.
fn placed(file: Option<&Path>, fault: &str) -> String {
    let line = || {
        let text = fs::read_to_string(file?).ok()?;
        let document = Document::parse(text.as_str()).ok()?;
        let mut item: &Item = document.as_item();
        let mut at = None;
        for part in fault.split(": ").next()?.split('.') {
            let Some(below) = item.get(part) else { break };
            item = below;
            at = item.span().or(at);
        }
        Some(text[..at?.start].matches('\n').count() + 1)
    };
    match (file, line()) {
        (Some(file), Some(line)) => format!("{}:{line}: {fault}", file.display()),
        _ => fault.to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::placed;

    #[test]
    fn a_fault_is_placed_at_its_key_or_the_table_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, "[site]\n\n[alerts.channels.x]\nkind = \"webhook\"\nurl = \"nope\"\n").unwrap();
        let line = |fault: &str| placed(Some(&path), fault).replace(&format!("{}:", path.display()), "");
        assert_eq!(line("alerts.channels.x.url: wrong"), "5: alerts.channels.x.url: wrong");
        assert_eq!(line("alerts.channels.x.secret: missing"), "3: alerts.channels.x.secret: missing");
        assert_eq!(line("broker.mqtt: elsewhere"), "broker.mqtt: elsewhere");
    }
}
