//! The checks that every change must pass, fastest first.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::test::TestArgs;
use crate::windows::Wine;
use crate::{dependencies, docs, layers, metadata, run, test, windows};

/// A step's name and what it does.
type Step = (&'static str, fn() -> Result<()>);

/// The checks for every change.
const ALL: &[Step] = &[
    FORMATTING,
    LAYERS,
    DOCS,
    ("dependencies", dependencies::check),
    CLIPPY,
    ("api docs", api_docs),
    ("windows", || windows::check().map(drop)),
    ("tests", || test::run(&TestArgs::default())),
];

/// The checks for work in progress, which take less than two minutes once built.
const QUICK: &[Step] = &[FORMATTING, LAYERS, DOCS, CLIPPY, ("quick tests", test::quick)];

const FORMATTING: Step =
    ("formatting", || run::succeed(&mut run::cargo(&["fmt", "--all", "--check"])));
const LAYERS: Step = ("layers", || layers::check(&metadata::read()?));
const DOCS: Step = ("docs", docs::check);
const CLIPPY: Step = ("clippy", clippy);

/// Runs everything.
pub(crate) fn all() -> Result<()> {
    run("ci", ALL)
}

/// Runs what needs no host, no platform and no kernel.
pub(crate) fn quick() -> Result<()> {
    run("quick", QUICK)
}

/// Compiles for Windows and runs all tests under wine, those of the lab included.
pub(crate) fn windows() -> Result<()> {
    match windows::check()? {
        Wine::Missing => Ok(()),
        Wine::Installed => test::run(&TestArgs::of(&["--test", "windows"])),
    }
}

/// Runs the steps until one fails; prints how long each took.
fn run(whole: &str, steps: &[Step]) -> Result<()> {
    let begin = Instant::now();
    let mut times = Vec::new();
    for (name, step) in steps {
        println!("── {name}");
        let start = Instant::now();
        let result = step();
        let seconds = start.elapsed().as_secs_f64();
        times.push(format!(
            "{name:12}{seconds:8.1} s{}",
            if result.is_ok() { "" } else { "  failed" }
        ));
        if result.is_err() {
            println!("{}", times.join("\n"));
        }
        result.with_context(|| format!("{whole}: step {name:?}"))?;
    }
    println!("{}", times.join("\n"));
    println!("{:12}{:8.1} s", format!("{whole} passed"), begin.elapsed().as_secs_f64());
    Ok(())
}

/// API documentation without broken links.
fn api_docs() -> Result<()> {
    let mut doc =
        run::cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"]);
    run::succeed(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

fn clippy() -> Result<()> {
    run::succeed(&mut run::cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}
