//! Peak memory of a program.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::sys;

/// What to run.
#[derive(Debug, clap::Args)]
pub struct PeakArgs {
    /// Program and arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

/// Runs a program and prints its peak resident memory in KiB. The result is at least this process's own few
/// MiB: until exec, the kernel counts the parent's memory for the child.
///
/// # Errors
/// When the program can't be run or fails.
pub fn run(args: &PeakArgs) -> Result<()> {
    let (program, arguments) = args.command.split_first().context("no program is given")?;
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("could not start {program}"))?;
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    println!("{}", sys::peak_of_children_kib()?);
    Ok(())
}
