//! Static release binaries of the host programs.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{metadata, run};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds them and prints where they are and how large.
pub(crate) fn run() -> Result<()> {
    let spark = build_spark()?;
    let bytes = std::fs::metadata(&spark).context("the built binary is missing")?.len();
    println!("{}  {bytes} bytes", spark.display());
    Ok(())
}

/// Builds `ctspark` without any dependency on the host's C library. Returns where it is.
pub(crate) fn build_spark() -> Result<PathBuf> {
    let arguments = ["build", "--profile", "dist", "--locked", "-p", "ctspark", "--target", TARGET];
    // Naming the target keeps the flag away from build scripts and procedural macros, which can't be
    // static.
    run::succeed(run::cargo(&arguments).env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    Ok(metadata::read()?.target_directory.join(TARGET).join("dist").join("ctspark"))
}
