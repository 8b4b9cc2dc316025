//! What every change must pass, in order of how soon it tells.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::test::TestArgs;
use crate::{docs, layers, licences, metadata, run, test};

/// A step's name and what it does.
type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("formatting", || run::succeed(&mut run::cargo(&["fmt", "--all", "--check"]))),
    ("layers", || layers::check(&metadata::read()?)),
    ("docs", docs::check),
    ("licences", || licences::check(&metadata::read()?)),
    ("clippy", clippy),
    ("tests", || test::run(&TestArgs::default())),
];

/// Runs the steps until one fails; prints how long each took.
pub(crate) fn run() -> Result<()> {
    let begin = Instant::now();
    let mut times = Vec::new();
    for (name, step) in STEPS {
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
        result.with_context(|| format!("ci step {name:?}"))?;
    }
    println!("{}", times.join("\n"));
    println!("{:12}{:8.1} s", "ci passed", begin.elapsed().as_secs_f64());
    Ok(())
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
