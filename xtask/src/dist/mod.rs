//! Release artifacts: static binaries of the host programs, and packages.

mod deb;
mod package;
mod rpm;
mod sign;
mod stage;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{metadata, packages, run, tools, windows};
use package::{Effort, Linking, PACKAGES};
pub(crate) use sign::Signer;
use stage::Stage;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, clap::Args)]
pub(crate) struct DistArgs {
    /// Package the debug binaries, as tests do.
    #[arg(long)]
    debug: bool,
    /// Build the host programs for Windows instead.
    #[arg(long, conflicts_with = "debug")]
    windows: bool,
    #[command(flatten)]
    sign: sign::SignArgs,
}

/// Builds everything and prints paths and sizes.
pub(crate) fn run(args: &DistArgs) -> Result<()> {
    if args.windows {
        return windows::dist(Signer::of(&args.sign)?.as_ref());
    }
    packages::ensure(tools::PACKAGING)?;
    if args.debug {
        run::succeed(&mut run::cargo(&["build", "--workspace", "--bins", "--locked"]))?;
        return pack_debug();
    }
    let target = metadata::read()?.target_directory;
    let packages = target.join("packages");
    run::when_stopped(format!(
        "each package in {} is complete, from this build or an earlier one; run it again to \
         continue",
        packages.display()
    ))?;
    run::step("building the static host programs (1 of 3)");
    build(Linking::Static)?;
    run::step("building the platform (2 of 3)");
    build(Linking::Dynamic)?;
    run::step("packing (3 of 3)");
    let found = |linking: Linking, name: &str| match linking {
        Linking::Static => target.join(TARGET).join("dist").join(name),
        Linking::Dynamic => target.join("release").join(name),
    };
    for file in pack(&packages, VERSION, Effort::Small, &found)? {
        let bytes = std::fs::metadata(&file)?.len();
        println!("{}  {bytes} bytes", file.display());
    }
    Ok(())
}

/// Packages of the test binaries, otherwise the same as released ones; and below `next` the same with a later
/// version, for testing upgrades.
pub(crate) fn pack_debug() -> Result<()> {
    let target = metadata::read()?.target_directory;
    let debug = target.join("debug");
    let packages = debug.join("packages");
    let found = |_, name: &str| debug.join(name);
    pack(&packages, VERSION, Effort::Fast, &found)?;
    pack(&packages.join("next"), &format!("{VERSION}+1"), Effort::Fast, &found)?;
    Ok(())
}

/// Builds `ctspark` without any dependency on the host's C library. Returns its path.
pub(crate) fn build_spark() -> Result<PathBuf> {
    build_static(&["-p", "ctspark"])?;
    Ok(metadata::read()?.target_directory.join(TARGET).join("dist").join("ctspark"))
}

/// Builds `ctagent` and, next to it, `ctagentcmd`, as [`build_spark`] does. Returns the agent's path.
pub(crate) fn build_agent() -> Result<PathBuf> {
    build_static(&["-p", "ctagent"])?;
    Ok(metadata::read()?.target_directory.join(TARGET).join("dist").join("ctagent"))
}

fn build(linking: Linking) -> Result<()> {
    let programs = PACKAGES.iter().filter(|package| package.linking == linking);
    let crates: Vec<&str> = programs.flat_map(|package| ["-p", package.krate]).collect();
    match linking {
        Linking::Static => build_static(&crates),
        Linking::Dynamic => {
            run::succeed(run::cargo(&["build", "--release", "--locked", "--bins"]).args(crates))
        }
    }
}

/// Position-independent executables that only depend on the kernel.
///
/// Relative relocations are packed (`DT_RELR`), which saves 170 KB, and unwind tables are omitted, which
/// saves 600 KB: GNU ld does that (2.38 or newer, for `DT_RELR`), while lld keeps them. A panic still prints
/// its location before the program ends; a backtrace would have no names in a stripped program anyway.
///
/// The target is always given with these flags: that keeps them away from build scripts and procedural
/// macros, which can't be static.
fn build_static(crates: &[&str]) -> Result<()> {
    let arguments = ["build", "--profile", "dist", "--locked", "--bins", "--target", TARGET];
    let script = run::root().join("xtask/src/dist/no-unwinding.ld");
    let flags = [
        "-Ctarget-feature=+crt-static",
        "-Clinker-features=-lld",
        "-Clink-arg=-Wl,-z,pack-relative-relocs",
        "-Clink-arg=-Xlinker",
        "-Clink-arg=-T",
        "-Clink-arg=-Xlinker",
        &format!("-Clink-arg={}", script.display()),
    ];
    let mut command = run::cargo(&arguments);
    // Encoded, since the project's path may contain a space.
    run::succeed(command.args(crates).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")))
}

/// Creates both forms of every package in `directory`. `found` returns the path of a binary.
fn pack(
    directory: &Path,
    version: &str,
    effort: Effort,
    found: &dyn Fn(Linking, &str) -> PathBuf,
) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("could not create {}", directory.display()))?;
    let mut made = Vec::new();
    for package in PACKAGES {
        let binary = |name: &str| found(package.linking, name);
        if effort == Effort::Small {
            run::step(&format!("packing {}", package.name));
        }
        let stage = Stage::fill(&directory.join(package.name), package, &binary)?;
        made.push(deb::pack(directory, package, version, effort, &stage)?);
        made.push(rpm::pack(directory, package, version, effort, &stage)?);
    }
    Ok(made)
}
