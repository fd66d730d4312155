//! The shape of the source: one thought a file, a word on top, nothing left for later.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, which is its purpose

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file is one thought; tests apart.
const LONGEST: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && !["target", "node_modules", ".git", ".venv", "web"].iter().any(|skip| name == *skip) {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_file_is_one_thought_with_a_word_on_top() {
    let mut found = Vec::new();
    sources(&root(), &mut found);
    assert!(found.len() > 50, "the walk found only {} files", found.len());
    let mut faults = Vec::new();
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count();
        let is_test = path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "benches");
        if code > LONGEST && !is_test {
            faults.push(format!("{}: {code} lines; at most {LONGEST}", path.display()));
        }
        if !text.starts_with("//!") {
            faults.push(format!("{}: does not open with //! and what it is for", path.display()));
        }
        let left = ["todo", "unimplemented"].iter().any(|word| text.contains(&format!("{word}!(")));
        if left {
            faults.push(format!("{}: left for later", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
