//! Every fault of a configuration file with its line: what is wrong is blanked, and the rest is read again.
//!
//! Goes in: a file's text. Comes out: the text that is left, which can be read, and the faults. Must never: stop at the
//! first one, move a line.

use super::Config;
use std::{fs, ops::Range, path::Path};
use toml_edit::{Document, Item, Table};

/// The text without what is wrong in it, and `file:line: …` for each of those.
pub(super) fn sift(name: &str, text: &str) -> (String, Vec<String>) {
    let (mut left, mut faults) = (text.to_owned(), Vec::new());
    while let Err(e) = toml::from_str::<Config>(&left) {
        let at = e.span().map_or(0, |span| span.start.min(left.len()));
        let line = left[..at].matches('\n').count() + 1;
        let found = Document::parse(left.as_str()).ok().and_then(|d| find(d.as_table(), at, ""));
        let words = advise(e.message());
        match &found {
            Some((key, _)) if !words.starts_with("unknown key") => {
                faults.push(format!("{name}:{line}: {key}: {words}"))
            }
            _ => faults.push(format!("{name}:{line}: {words}")),
        }
        let next = found.map_or_else(String::new, |(_, ranges)| blanked(&left, &ranges));
        // Not TOML at all, or a fault of the whole: nothing of it can be used.
        left = if next == left { String::new() } else { next };
    }
    (left, faults)
}

/// The key whose name or value stands at `at`, and what to blank to be rid of it.
fn find(table: &Table, at: usize, prefix: &str) -> Option<(String, Vec<Range<usize>>)> {
    for (name, item) in table {
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        let named = table.key(name).and_then(toml_edit::Key::span);
        let whole = || Some((path.clone(), ranges(named.clone(), item)));
        let below = match item {
            Item::Table(below) => find(below, at, &path),
            Item::ArrayOfTables(all) => all.iter().find_map(|below| find(below, at, &path)),
            _ => None,
        };
        if below.is_some() {
            return below;
        }
        let holds = |span: Option<Range<usize>>| span.is_some_and(|s| s.contains(&at));
        if holds(named.clone()) || holds(item.span()) {
            return whole();
        }
    }
    None
}

/// A key, its value, and for a table everything below it.
fn ranges(named: Option<Range<usize>>, item: &Item) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = named.into_iter().chain(item.span()).collect();
    let mut take = |table: &Table| {
        all.extend(table.span());
        for (name, item) in table {
            all.extend(ranges(table.key(name).and_then(toml_edit::Key::span), item));
        }
    };
    match item {
        Item::Table(table) => take(table),
        Item::ArrayOfTables(tables) => tables.iter().for_each(take),
        _ => {}
    }
    all
}

/// Whole lines become empty ones, so that those after them keep their numbers.
fn blanked(text: &str, ranges: &[Range<usize>]) -> String {
    let mut start = 0;
    let mut left = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        if ranges.iter().any(|r| r.start < end && start < r.end) {
            left.push_str(if line.ends_with('\n') { "\n" } else { "" });
        } else {
            left.push_str(line);
        }
        start = end;
    }
    left
}

/// Adds the nearest known name to serde's "unknown field" and "unknown variant" messages.
pub(super) fn advise(message: &str) -> String {
    let message = message.trim();
    let mut names = message.split('`').skip(1).step_by(2);
    let (true, Some(wrong)) = (message.starts_with("unknown"), names.next()) else { return message.to_owned() };
    let nearest = names.max_by(|a, b| strsim::jaro_winkler(wrong, a).total_cmp(&strsim::jaro_winkler(wrong, b)));
    match nearest {
        Some(nearest) if message.starts_with("unknown field") => {
            format!("unknown key `{wrong}`; did you mean `{nearest}`? ({message})")
        }
        Some(nearest) => format!("`{wrong}` is not one of its values; did you mean `{nearest}`? ({message})"),
        None => message.to_owned(),
    }
}

/// `file:line: key: what is wrong`, where the fault's key, or the table around it, stands in the file.
pub(crate) fn placed(file: Option<&Path>, fault: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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

    fn lines(text: &str) -> Vec<String> {
        sift("f", text).1.into_iter().map(|fault| fault.chars().take(60).collect()).collect()
    }

    #[test]
    fn every_unknown_key_and_every_bad_value_is_listed_and_the_rest_is_read() {
        let text = "[brokr]\nmqtt = \"\"\nlist = [\n  1,\n]\n[brokr.tls]\nx = 1\n\n[site]\ntime_zon = \"Asia/Shanghai\"\n\
                    [logging]\nformat = \"xml\"\nlevel = 3\nsite.x = 1\n[journal]\nengine = \"embedded\"\n[api]\n\
                    address = \"127.0.0.1:1\"\n";
        let (left, faults) = sift("f", text);
        let places: Vec<&str> = faults.iter().map(|f| f.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(places, ["f:1:", "f:10:", "f:12:", "f:13:", "f:14:"], "{faults:?}");
        assert_eq!(toml::from_str::<Config>(&left).unwrap().api.address, "127.0.0.1:1");
        assert_eq!(left.matches('\n').count(), text.matches('\n').count());
    }

    #[test]
    fn a_wrong_word_is_no_unknown_key() {
        let said = lines("[logging]\nformat = \"tetx\"\n");
        assert!(said[0].starts_with("f:2: logging.format: `tetx` is not one of its values"), "{said:?}");
    }

    #[test]
    fn what_is_no_toml_is_one_fault() {
        assert_eq!(lines("this is none\n[site]\n").len(), 1);
    }
}
