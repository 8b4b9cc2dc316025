//! An example directory: policy documents (`*.yaml`), the hosts (`hosts.txt`) and the expected results
//! (`expected.txt`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshield_policy::document::{self, Policy};

use crate::matrix::Flow;
use crate::oracle::Described;
use crate::probe::Port;

/// An example, parsed and checked.
#[derive(Debug)]
pub struct Example {
    /// Where it was read from.
    pub directory: PathBuf,
    /// Its policy.
    pub policy: Policy,
    /// Its hosts.
    pub hosts: Vec<ExampleHost>,
    /// The flows that may pass.
    pub table: Table,
}

/// One host of an example.
#[derive(Debug, Clone)]
pub struct ExampleHost {
    /// Its name.
    pub name: String,
    /// The last part of its addresses: 66 gives 10.77.0.66 and fd77::66.
    pub number: u8,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// The flows that may pass; every other one must be dropped.
#[derive(Debug, Default)]
pub struct Table {
    lines: BTreeMap<(String, String), Passing>,
}

#[derive(Debug)]
enum Passing {
    Everything,
    Only(BTreeSet<Port>),
}

impl Example {
    /// Reads a directory.
    ///
    /// # Errors
    /// What can't be read, with file and line.
    pub fn read(directory: &Path) -> Result<Self> {
        let hosts = each_line(&directory.join("hosts.txt"), host)?;
        let table = table(&directory.join("expected.txt"), &hosts)?;
        Ok(Self { directory: directory.to_owned(), policy: policy(directory)?, hosts, table })
    }

    /// The shop: the example of the README.
    ///
    /// # Errors
    /// As [`Example::read`].
    pub fn shop() -> Result<Self> {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
        Self::read(&project.context("the project has no root")?.join("examples/shop"))
    }

    /// The directory relative to the project's root.
    #[must_use]
    pub fn shown_directory(&self) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        self.directory.strip_prefix(here).unwrap_or(&self.directory).display().to_string()
    }

    /// The hosts, for the oracle.
    #[must_use]
    pub fn described(&self) -> Vec<Described<'_>> {
        self.hosts.iter().map(|host| Described { name: &host.name, tags: &host.tags }).collect()
    }

    /// The names of the hosts.
    #[must_use]
    pub fn host_names(&self) -> Vec<&str> {
        self.hosts.iter().map(|host| host.name.as_str()).collect()
    }
}

impl Table {
    /// Whether a flow may pass.
    #[must_use]
    pub fn passes(&self, flow: &Flow) -> bool {
        match self.lines.get(&(flow.from.clone(), flow.to.clone())) {
            None => false,
            Some(Passing::Everything) => true,
            Some(Passing::Only(ports)) => ports.contains(&flow.port),
        }
    }
}

fn policy(directory: &Path) -> Result<Policy> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("could not read {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut documents = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "yaml")) {
        documents.extend(document::parse(&read(path)?, &path.display().to_string())?);
    }
    Policy::build(documents).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    })
}

fn host(line: &str) -> Result<ExampleHost> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(number)) = (words.next(), words.next()) else {
        bail!("expected NAME NUMBER TAG=VALUE…");
    };
    let tags = words
        .map(|word| {
            let (key, value) = word.split_once('=').context("expected TAG=VALUE")?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect::<Result<_>>()?;
    let number = number.parse().with_context(|| format!("{number:?} is not a number up to 255"))?;
    Ok(ExampleHost { name: name.to_owned(), number, tags })
}

fn table(path: &Path, hosts: &[ExampleHost]) -> Result<Table> {
    let known = |name: &str| {
        if hosts.iter().any(|host| host.name == name) {
            Ok(name.to_owned())
        } else {
            bail!("hosts.txt has no host {name:?}")
        }
    };
    let lines = each_line(path, |line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [from, "->", to, what @ ..] = words.as_slice() else {
            bail!("expected FROM -> TO PORT…");
        };
        let passing = match what {
            ["everything"] => Passing::Everything,
            ports => Passing::Only(ports.iter().map(|port| port.parse()).collect::<Result<_>>()?),
        };
        Ok(((known(from)?, known(to)?), passing))
    })?;
    Ok(Table { lines: lines.into_iter().collect() })
}

/// Every line that is neither empty nor a comment; errors name file and line.
fn each_line<T>(path: &Path, read_line: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    let text = read(path)?;
    let lines = text.lines().enumerate().map(|(index, line)| (index, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| {
            read_line(line).with_context(|| format!("{}:{}", path.display(), index + 1))
        })
        .collect()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
}
