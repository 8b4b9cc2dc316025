//! The packages according to `cargo metadata`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;

/// The resolved dependency graph, as far as the tasks need it.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

/// A package of this workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
    /// The root files of its library and its programs.
    pub(crate) roots: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A normal or build dependency of released code.
    Shipped,
    /// Only for tests, examples and benchmarks.
    Dev,
}

impl Metadata {
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter()
    }
}

/// Runs cargo, which downloads what is missing.
pub(crate) fn read() -> Result<Metadata> {
    let output = run::cargo(&["metadata", "--format-version=1", "--locked"])
        .output()
        .context("could not start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    parse(&serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?)
}

fn parse(document: &Value) -> Result<Metadata> {
    let ours: BTreeSet<&str> =
        array(document, "workspace_members")?.iter().filter_map(Value::as_str).collect();
    let packages: Result<Vec<Package>> = array(document, "packages")?
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| ours.contains(id)))
        .map(|package| {
            Ok(Package {
                name: text(package, "name")?.to_owned(),
                dependencies: array(package, "dependencies")?
                    .iter()
                    .map(dependency)
                    .collect::<Result<_>>()?,
                roots: roots(package)?,
            })
        })
        .collect();
    let target_directory = text(document, "target_directory")?.into();
    Ok(Metadata { packages: packages?, target_directory })
}

/// The root files of a package's released code, without tests, examples and build scripts.
fn roots(package: &Value) -> Result<Vec<PathBuf>> {
    let is_shipped = |target: &&Value| {
        let kinds = target["kind"].as_array().into_iter().flatten();
        kinds.filter_map(Value::as_str).any(|kind| matches!(kind, "lib" | "bin" | "proc-macro"))
    };
    let targets = array(package, "targets")?.iter().filter(is_shipped);
    targets.map(|target| Ok(text(target, "src_path")?.into())).collect()
}

fn dependency(value: &Value) -> Result<Dependency> {
    let kind = if value["kind"] == "dev" { Kind::Dev } else { Kind::Shipped };
    Ok(Dependency { name: text(value, "name")?.to_owned(), kind })
}

fn array<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("cargo metadata has no list {key:?}"))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("cargo metadata has no text {key:?}"))
}
