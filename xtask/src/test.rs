//! All tests.

use std::process::Stdio;

use anyhow::Result;

use crate::{dist, packages, run};

#[derive(Debug, Default, clap::Args)]
pub(crate) struct TestArgs {
    /// For the test runner, e.g. the name of a test.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the binaries that the lab drives, then runs every test of the workspace.
pub(crate) fn run(args: &TestArgs) -> Result<()> {
    use packages::{KERNEL_TESTS, LAB, PACKAGING, PROBER, TESTS};
    packages::ensure(&[LAB, KERNEL_TESTS, TESTS, PROBER, PACKAGING].concat())?;
    run::succeed(&mut run::cargo(&["build", "--workspace", "--bins", "--locked"]))?;
    dist::pack_debug()?;
    let runner: &[&str] = if has_nextest() {
        &["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]
    } else {
        println!("cargo-nextest is not installed; using cargo test, which is slower");
        &["test", "--workspace", "--locked", "--no-fail-fast"]
    };
    let mut command = run::cargo(runner);
    // Administration programs (ip, nft) are not in every user's PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).args(&args.arguments);
    run::succeed(&mut command)
}

fn has_nextest() -> bool {
    let mut version = run::cargo(&["nextest", "--version"]);
    version.stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}
