//! `LICENSES.txt`: who wrote the parts that a browser downloads, and under which terms.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::step::{output, root};
use crate::wasm::TARGET;

/// Packages whose programs run in the browser.
const SHIPPED: &[&str] = &["vivarium", "emulator-worker"];

/// One part: a crate or an npm package.
struct Part {
    name: String,
    version: String,
    licence: String,
    folder: PathBuf,
}

/// Writes names, versions, licences and the licence texts of all parts.
pub(crate) fn write(place: &Path) -> Result<()> {
    let mut parts = crates()?;
    parts.extend(npm_parts()?);
    let mut text = String::from(
        "Vivarium's own code is licensed under MIT or Apache-2.0, at your choice.\n\
         The page also contains the following parts, each under its own licence.\n\
         The programs of the guest system are listed in image/*/packages.txt.\n\n",
    );
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for part in &parts {
        writeln!(text, "{} {}: {}", part.name, part.version, part.licence)?;
        for words in licence_texts(&part.folder)? {
            texts.entry(words).or_default().insert(format!("{} {}", part.name, part.version));
        }
    }
    for (words, names) in texts {
        let names: Vec<_> = names.into_iter().collect();
        write!(text, "\n{}\n{}:\n\n{}\n", "-".repeat(80), names.join(", "), words.trim_end())?;
    }
    fs::write(place, text).with_context(|| format!("writing {}", place.display()))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// The crates of the registry that end up in the WebAssembly programs: neither build
/// scripts and macros, nor what only those need.
fn crates() -> Result<Vec<Part>> {
    let json = output(
        Command::new("cargo")
            .args(["metadata", "--format-version=1", "--locked", "--filter-platform", TARGET])
            .current_dir(root()),
    )?;
    let metadata: Metadata = serde_json::from_str(&json).context("reading cargo metadata")?;
    let packages: HashMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: HashMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut open: Vec<&str> = metadata
        .packages
        .iter()
        .filter(|package| SHIPPED.contains(&package.name.as_str()))
        .map(|package| package.id.as_str())
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        let is_macro = packages[id]
            .targets
            .iter()
            .any(|target| target.kind.iter().any(|kind| kind == "proc-macro"));
        if is_macro || !seen.insert(id) {
            continue;
        }
        let normal =
            |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
        open.extend(nodes[id].deps.iter().filter(normal).map(|dependency| dependency.pkg.as_str()));
    }
    let mut parts: Vec<Part> = seen
        .into_iter()
        .map(|id| packages[id])
        .filter(|package| package.source.is_some())
        .map(|package| Part {
            name: package.name.clone(),
            version: package.version.clone(),
            licence: package.license.clone().unwrap_or_else(|| "see its text below".into()),
            folder: package.manifest_path.parent().expect("a file").to_owned(),
        })
        .collect();
    parts.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(parts)
}

#[derive(Deserialize)]
struct OwnNpm {
    dependencies: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Npm {
    version: String,
    license: String,
    #[serde(default)]
    dependencies: BTreeMap<String, String>,
}

/// npm's parts that the page loads; what is only a tool is not among `dependencies`.
fn npm_parts() -> Result<Vec<Part>> {
    let own: OwnNpm = serde_json::from_slice(&fs::read(root().join("package.json"))?)?;
    let mut open: Vec<String> = own.dependencies.into_keys().collect();
    let mut parts = BTreeMap::new();
    while let Some(name) = open.pop() {
        let folder = root().join("node_modules").join(&name);
        let manifest = folder.join("package.json");
        let npm: Npm = serde_json::from_slice(
            &fs::read(&manifest).with_context(|| format!("reading {}", manifest.display()))?,
        )?;
        open.extend(npm.dependencies.into_keys().filter(|name| !parts.contains_key(name)));
        parts.insert(
            name.clone(),
            Part {
                name: format!("npm {name}"),
                version: npm.version,
                licence: npm.license,
                folder,
            },
        );
    }
    Ok(parts.into_values().collect())
}

fn licence_texts(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let about = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
        if about.iter().any(|start| name.starts_with(start)) && entry.file_type()?.is_file() {
            texts.push(String::from_utf8_lossy(&fs::read(entry.path())?).replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}
