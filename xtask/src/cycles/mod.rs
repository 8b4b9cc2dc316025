//! Dependency cycles among the files of a crate: no file in a cycle can be understood, tested or moved
//! without the others.
//!
//! A file uses another one if a path in it (of a `use`, an expression, a type, or the arguments of a macro)
//! leads to an item that the other one defines, or if it calls a function of its own type that the other one
//! has in an `impl` block. Three things do not count as use: `mod` (a module is part of another), naming a
//! module on the way to something in it, and re-exporting with `pub use`: a file that imports a re-exported
//! item uses the file that defines it, as does the re-exporting file if it uses the item itself. `use
//! module::*` uses the module's file. Code that is only compiled for tests is left out, as are dependencies
//! that only types reveal: methods of other values, and `macro_rules!` macros.

mod edges;
mod graph;
mod resolve;
mod source;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::metadata::Metadata;
use crate::run;
use graph::Graph;
use source::{Krate, Read};

/// A package with dependency cycles among its files. The numbers are the current ones: they may only
/// decrease, and the package is removed from the list when it has no cycle any more.
struct Exception {
    package: &'static str,
    /// Files in the largest component of one of its targets.
    largest: usize,
    /// Files in all components of all its targets.
    in_cycles: usize,
}

const EXCEPTIONS: &[Exception] = &[
    Exception { package: "xshield-host", largest: 5, in_cycles: 21 },
    Exception { package: "xshield-lab", largest: 28, in_cycles: 31 },
    Exception { package: "xshield-policy", largest: 6, in_cycles: 15 },
    Exception { package: "xshield-threat", largest: 9, in_cycles: 18 },
];

/// The findings for a crate.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    largest: usize,
    in_cycles: usize,
    /// The shortest cycle of each component, in lines.
    shown: Vec<String>,
}

/// Fails with every cycle that is not allowed, with the lines that cause it.
pub(crate) fn check(metadata: &Metadata) -> Result<()> {
    let mut wrong = Vec::new();
    let mut with_cycles = 0;
    for package in metadata.ours() {
        let mut found = Found::default();
        for root in &package.roots {
            let root = root.strip_prefix(run::root()).unwrap_or(root);
            found.add(look(root, &from_disk)?);
        }
        with_cycles += usize::from(found.largest > 0);
        let exception = EXCEPTIONS.iter().find(|known| known.package == package.name);
        wrong.extend(judge(&package.name, &found, exception));
    }
    let is_ours = |name: &str| metadata.ours().any(|package| package.name == name);
    for gone in EXCEPTIONS.iter().filter(|known| !is_ours(known.package)) {
        wrong.push(format!(
            "{} is not a package: remove its line from xtask/src/cycles/mod.rs",
            gone.package
        ));
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    println!(
        "layers: no dependency cycles among the files of {} packages, and no new ones in {with_cycles}",
        metadata.ours().count() - with_cycles
    );
    Ok(())
}

/// Prints every use of one file by another within a package's cycles, most used files first, since removing a
/// use of them takes most files out of the cycle.
pub(crate) fn print_cycles(metadata: &Metadata, package: &str) -> Result<()> {
    let Some(known) = metadata.ours().find(|known| known.name == package) else {
        bail!("there is no package {package}; see `ls crates` and their Cargo.toml");
    };
    for root in &known.roots {
        let root = root.strip_prefix(run::root()).unwrap_or(root);
        print!("{}", components_in_full(&Krate::read(root, &from_disk)?));
    }
    Ok(())
}

fn components_in_full(krate: &Krate) -> String {
    let edges = edges::edges(krate);
    let graph = Graph::new(krate.files.len(), &edges);
    let mut text = String::new();
    for component in graph.components() {
        let _ = writeln!(text, "{} files in a cycle:", component.len());
        let inside = |id: &source::FileId| component.contains(id);
        let mut users: std::collections::BTreeMap<_, Vec<_>> = std::collections::BTreeMap::new();
        for edge in edges.iter().filter(|edge| inside(&edge.from) && inside(&edge.to)) {
            users.entry(edge.to).or_default().push(edge);
        }
        let mut users: Vec<_> = users.into_iter().collect();
        users.sort_by_key(|(_, users)| std::cmp::Reverse(users.len()));
        for (used, users) in users {
            let _ = writeln!(text, "  {} is used by", krate.files[used].path.display());
            for edge in users {
                let from = krate.files[edge.from].path.display();
                let _ = writeln!(text, "    {from}:{}", edge.line);
            }
        }
    }
    text
}

fn from_disk(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(run::root().join(path)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("could not read {}", path.display())),
    }
}

impl Found {
    fn add(&mut self, other: Self) {
        self.largest = self.largest.max(other.largest);
        self.in_cycles += other.in_cycles;
        self.shown.extend(other.shown);
    }
}

/// Finds cycles in a crate.
fn look(root: &Path, read: Read<'_>) -> Result<Found> {
    let krate = Krate::read(root, read)?;
    let edges = edges::edges(&krate);
    let graph = Graph::new(krate.files.len(), &edges);
    let mut found = Found::default();
    for component in graph.components() {
        found.largest = found.largest.max(component.len());
        found.in_cycles += component.len();
        let mut text = String::new();
        for edge in graph.shortest(&component) {
            let (from, to) = (&krate.files[edge.from], &krate.files[edge.to]);
            let line = from.text.lines().nth(edge.line.saturating_sub(1)).unwrap_or_default();
            let (from, to) = (from.path.display(), to.path.display());
            let _ = write!(text, "\n    {from}:{} uses {to}: {}", edge.line, line.trim());
        }
        found
            .shown
            .push(format!("{} files in a cycle, of which these suffice:{text}", component.len()));
    }
    Ok(found)
}

/// The error text for a package.
fn judge(package: &str, found: &Found, exception: Option<&Exception>) -> Option<String> {
    let (largest, in_cycles) = exception.map_or((0, 0), |known| (known.largest, known.in_cycles));
    if found.largest > largest || found.in_cycles > in_cycles {
        let allowed = match exception {
            None => "no cycle is allowed".to_owned(),
            Some(_) => format!(
                "{in_cycles} files in cycles are allowed, {largest} in the largest, but there \
                 are {} and {}",
                found.in_cycles, found.largest
            ),
        };
        return Some(format!("{package}: {allowed}:\n  {}", found.shown.join("\n  ")));
    }
    (found.largest < largest || found.in_cycles < in_cycles).then(|| {
        format!(
            "{package} has improved: {} of its files are in cycles, {} in the largest; update \
             the numbers in xtask/src/cycles/mod.rs (none: remove the line)",
            found.in_cycles, found.largest
        )
    })
}
