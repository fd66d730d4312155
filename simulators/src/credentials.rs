//! Which devices a run may be: ids and secrets from a file.
//!
//! Goes in: JSON as `hearthbeat device provision --json` or the import call prints it, or CSV `id,secret`. Comes out:
//! a list. Must never: print a secret, not even in Debug.

use crate::Error;
use serde::Deserialize;
use std::{fmt, path::Path};

/// One device's way in.
#[derive(Clone, Deserialize)]
pub struct Credential {
    /// Device id, also client id and user name.
    #[serde(alias = "deviceId", alias = "device")]
    pub id: String,
    /// The secret issued at provisioning; none for a broker that asks for none.
    #[serde(default)]
    pub secret: Option<String>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.id)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Shape {
    List(Vec<Credential>),
    Import { secrets: Vec<Credential> },
    One(Credential),
}

/// Reads a file of credentials.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Input`] when it is neither form or an id is no device id.
pub fn read(path: &Path) -> Result<Vec<Credential>, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path.display().to_string()))?;
    let unreadable = |why: String| Error::Input(format!("{}: {why}", path.display()));
    let all = if text.trim_start().starts_with(['[', '{']) {
        match serde_json::from_str(&text) {
            Ok(Shape::List(all) | Shape::Import { secrets: all }) => all,
            Ok(Shape::One(one)) => vec![one],
            Err(_) => return Err(unreadable("expected JSON [{\"id\": …, \"secret\": …}]".into())),
        }
    } else {
        csv::Reader::from_reader(text.as_bytes())
            .deserialize()
            .collect::<Result<Vec<Credential>, _>>()
            .map_err(|_| unreadable("expected CSV with the header id,secret".into()))?
    };
    if all.is_empty() {
        return Err(unreadable("no device in it: expected JSON [{\"id\", \"secret\"}] or CSV id,secret".into()));
    }
    match all.iter().find(|c| c.id.parse::<vitals::DeviceId>().is_err()) {
        Some(bad) => Err(unreadable(format!("{:?} is no device id (1-64 of A-Z a-z 0-9 . _ -)", bad.id))),
        None => Ok(all),
    }
}

/// `n` nameless devices `load-00001` … for a broker that asks for no credentials.
pub fn anonymous(n: usize) -> Vec<Credential> {
    (1..=n).map(|i| Credential { id: format!("load-{i:05}"), secret: None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devices");
        for text in [
            r#"[{"id":"a","secret":"s"}]"#,
            r#"{"created":{},"secrets":[{"deviceId":"a","secret":"s"}]}"#,
            r#"{"id":"a","secret":"s","claimCode":"x"}"#,
            "id,secret\na,s\n",
        ] {
            std::fs::write(&path, text).unwrap();
            let all = read(&path).unwrap();
            assert_eq!((all[0].id.as_str(), all[0].secret.as_deref()), ("a", Some("s")), "{text}");
            assert!(!format!("{all:?}").contains("\"s\""));
        }
        for bad in ["[{\"id\":\"a/b\",\"secret\":\"s\"}]", "nothing", "{}"] {
            std::fs::write(&path, bad).unwrap();
            assert!(read(&path).is_err(), "{bad}");
        }
    }
}
