//! Who may import whom. A new edge between our crates is a decision: it is made here, in
//! the table, or the test fails.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A crate and those of ours that it may import.
const ALLOWED: &[(&str, &[&str])] = &[
    ("vivarium", &["emulator-protocol", "emulator-wire"]),
    ("emulator-protocol", &[]),
    ("emulator-wire", &[]),
    ("emulator-disk", &[]),
    ("emulator-snapshot", &[]),
    ("emulator-engine", &["emulator-protocol", "emulator-snapshot"]),
    ("emulator-shell", &["emulator-engine", "emulator-protocol", "emulator-snapshot"]),
    (
        "emulator-guest",
        &["emulator-disk", "emulator-engine", "emulator-protocol", "emulator-snapshot"],
    ),
    (
        "emulator-fetch",
        &[
            "emulator-disk",
            "emulator-engine",
            "emulator-guest",
            "emulator-protocol",
            "emulator-snapshot",
        ],
    ),
    (
        "emulator-v86",
        &[
            "emulator-disk",
            "emulator-engine",
            "emulator-fetch",
            "emulator-guest",
            "emulator-protocol",
            "emulator-snapshot",
        ],
    ),
    ("emulator-store", &["emulator-snapshot"]),
    ("emulator-bus", &[]),
    ("emulator-cpu", &["emulator-bus", "emulator-cpu-oracle"]),
    ("emulator-cpu-oracle", &[]),
    ("emulator-devices", &["emulator-bus"]),
    (
        "emulator-machine",
        &[
            "emulator-bus",
            "emulator-cpu",
            "emulator-devices",
            "emulator-disk",
            "emulator-engine",
            "emulator-guest",
            "emulator-protocol",
            "emulator-snapshot",
        ],
    ),
    (
        "emulator-headless",
        &[
            "emulator-bus",
            "emulator-cpu",
            "emulator-devices",
            "emulator-disk",
            "emulator-engine",
            "emulator-guest",
            "emulator-machine",
            "emulator-protocol",
            "emulator-snapshot",
        ],
    ),
    ("wisp", &[]),
    ("emulator-gateway", &["emulator-protocol", "wisp"]),
    ("relay", &["wisp"]),
    (
        "emulator-worker",
        &[
            "emulator-engine",
            "emulator-fetch",
            "emulator-gateway",
            "emulator-machine",
            "emulator-protocol",
            "emulator-shell",
            "emulator-snapshot",
            "emulator-store",
            "emulator-v86",
            "emulator-wire",
            "wisp",
        ],
    ),
    (
        "xtask",
        &[
            "emulator-disk",
            "emulator-engine",
            "emulator-gateway",
            "emulator-protocol",
            "emulator-snapshot",
        ],
    ),
];

/// Names of engines, that the app must not know.
const ENGINES: &[&str] =
    &["emulator_shell", "emulator_v86", "emulator_machine", "emulator_engine", "emulator_worker"];

/// Root files of crates that fence `unsafe` by file instead of forbidding it, each with its
/// reason.
const FENCED: &[&str] = &[
    // Executes instructions on the host's processor to compare with. Tests only.
    "emulator/cpu/oracle/src/lib.rs",
];

/// Lines without tests from which on a file is asked why, and from which on it must be cut.
const WHY: usize = 500;
const CUT: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Our crates, each with those of ours that it names, of any kind of dependency.
fn edges(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata["packages"].as_array().unwrap();
    let edge = |package: &Value| {
        let named = package["dependencies"].as_array().unwrap().iter();
        let ours = named.filter(|dependency| dependency["path"].is_string());
        ours.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    packages
        .iter()
        .map(|package| (package["name"].as_str().unwrap().to_owned(), edge(package)))
        .collect()
}

/// What is wrong with these edges, in words.
fn violations(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut found = Vec::new();
    for (package, imports) in edges {
        let Some(may) = allowed.get(package.as_str()) else {
            found.push(format!("{package} is not in the table"));
            continue;
        };
        for import in imports.iter().filter(|import| !may.contains(&import.as_str())) {
            found.push(format!("{package} imports {import}"));
        }
    }
    found.extend(
        ALLOWED
            .iter()
            .filter(|(package, _)| !edges.contains_key(*package))
            .map(|(package, _)| format!("{package} is in the table, but not in the workspace")),
    );
    found
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn own_files() -> Vec<PathBuf> {
    ["src", "emulator", "relay", "wisp", "xtask"]
        .iter()
        .flat_map(|folder| rust_files(&root().join(folder)))
        .collect()
}

fn name(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn imports_follow_the_table() {
    let found = violations(&edges(&metadata()));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_check_sees_a_forbidden_import_and_an_unknown_crate() {
    let mut edges = edges(&metadata());
    edges.get_mut("vivarium").unwrap().insert("emulator-v86".into());
    edges.insert("emulator-surprise".into(), BTreeSet::new());
    edges.remove("emulator-disk");
    assert_eq!(
        violations(&edges),
        [
            "emulator-surprise is not in the table",
            "vivarium imports emulator-v86",
            "emulator-disk is in the table, but not in the workspace",
        ]
    );
}

#[test]
fn the_app_names_no_engine() {
    for file in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for engine in ENGINES {
            assert!(!text.contains(engine), "{} names {engine}", name(&file));
        }
    }
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let metadata = metadata();
    let targets = metadata["packages"].as_array().unwrap().iter().flat_map(|package| {
        package["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|target| target["src_path"].as_str().unwrap())
    });
    for target in targets {
        let text = fs::read_to_string(target).unwrap();
        let safe = text.lines().any(|line| line == "#![forbid(unsafe_code)]");
        let fenced = FENCED.iter().any(|file| root().join(file) == Path::new(target));
        assert!(safe || fenced, "{target} does not forbid unsafe code");
    }
}

#[test]
fn files_stay_short() {
    for file in own_files() {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap().lines().count();
        if code > WHY {
            // Not a failure: a question that a reader of the log should ask.
            let length = if code > CUT { "must be cut" } else { "is long" };
            println!("warning: {} {length}: {code} lines without its tests", name(&file));
        }
    }
}
