//! Layers and licences, read from `cargo metadata`: an edge or a licence that nobody decided on fails the build.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, which is its purpose

use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use std::{collections::BTreeSet, path::Path};

/// Who may depend on whom, from the ground up (ARCHITECTURE.md draws it).
const EDGES: &[(&str, &[&str])] = &[
    ("vitals", &[]),
    ("wire", &["vitals"]),
    ("runtime", &["vitals"]),
    ("store", &["vitals", "runtime"]),
    ("broker", &["vitals", "wire", "runtime", "store"]),
    ("ingest", &["vitals", "wire", "runtime", "store"]),
    ("rules", &["vitals", "wire", "runtime", "store"]),
    ("alerts", &["vitals", "wire", "runtime", "store"]),
    ("dashboard-api", &["vitals", "wire", "runtime", "store"]),
    ("simulators", &["vitals", "wire"]),
    (
        "app",
        &["vitals", "wire", "runtime", "store", "broker", "ingest", "rules", "alerts", "dashboard-api", "simulators"],
    ),
];

/// What the domain must never know.
const FORBIDDEN_IN_VITALS: &[&str] = &["tokio", "serde_json", "rusqlite", "axum", "tracing"];

/// Permissive licences; one of an `OR` is enough, every one of an `AND` is needed.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "Unlicense",
    "Unicode-3.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "BSL-1.0",
];

/// Never in the tree: one TLS provider, no system libraries.
const BANNED: &[&str] = &["aws-lc-sys", "aws-lc-rs", "openssl", "openssl-sys", "native-tls"];

fn metadata() -> cargo_metadata::Metadata {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    MetadataCommand::new().manifest_path(root).other_options(["--locked".to_owned()]).exec().unwrap()
}

fn permitted(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let plain = |s: &str| s.trim().trim_matches(['(', ')']).trim().to_owned();
    // `(A OR B) AND C`: no expression in the tree nests deeper than that.
    expression.split(" AND ").all(|all| all.split(" OR ").any(|one| LICENCES.contains(&plain(one).as_str())))
}

#[test]
fn arrows_point_downwards_only() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    let members: BTreeSet<String> = metadata.workspace_packages().iter().map(|p| p.name.to_string()).collect();
    assert_eq!(members.iter().map(String::as_str).collect::<BTreeSet<_>>(), ours, "every crate has its place in EDGES");
    for package in metadata.workspace_packages() {
        let (_, allowed) = EDGES.iter().find(|(name, _)| *name == package.name.as_str()).unwrap();
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            if ours.contains(dependency.name.as_str()) {
                assert!(
                    allowed.contains(&dependency.name.as_str()),
                    "{} may not use {}",
                    package.name,
                    dependency.name
                );
            }
            let forbidden =
                package.name.as_str() == "vitals" && FORBIDDEN_IN_VITALS.contains(&dependency.name.as_str());
            assert!(!forbidden, "vitals may not know {}", dependency.name);
        }
    }
}

#[test]
fn every_licence_is_permissive_and_nothing_banned_is_there() {
    let metadata = metadata();
    let faults: Vec<String> = metadata.packages.iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn fault(package: &Package) -> Option<String> {
    if BANNED.contains(&package.name.as_str()) {
        return Some(format!("{} is banned", package.name));
    }
    let licence = package.license.as_deref().unwrap_or("none named");
    // Its licence file is BSD-3-Clause-like (ring's is ISC, MIT and the old SSLeay text, named in its own file).
    (!permitted(licence)).then(|| format!("{} {}: licence {licence}", package.name, package.version))
}
