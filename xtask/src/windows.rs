//! Builds the portable crates for Windows with Debian's compiler: `x86_64-win7-windows-gnu` supports Windows
//! Server 2008 R2 and later, and its standard library is built from source.

use std::process::Command;

use anyhow::Result;

use crate::{packages, run, tools};

const TARGET: &str = "x86_64-win7-windows-gnu";
const MINGW: &str = "x86_64-w64-mingw32-gcc";
/// The crates of host programs that are not of one system, and with them all that these use.
const PORTABLE: &[&str] = &["xshield-enforce"];

/// Compiles them; if the compiler is not available, says so and continues.
pub(crate) fn check() -> Result<()> {
    let missing = packages::install_what_can_be_had(tools::WINDOWS)?;
    if !missing.is_empty() {
        let whys: Vec<&str> = missing.iter().map(|missing| missing.why.as_str()).collect();
        println!("not compiled for Windows: {}", whys.join("; "));
        return Ok(());
    }
    let mut cargo = compiler("check");
    cargo.args(PORTABLE.iter().flat_map(|name| ["-p", name]));
    run::succeed(&mut cargo)
}

/// Debian's cargo and rustc, which are built to take a standard library from source; the project's own
/// have none for this target.
fn compiler(verb: &str) -> Command {
    let mut cargo = Command::new(tools::DEBIAN_CARGO);
    let target = run::root().join("target/windows");
    cargo
        .args([verb, "--locked", "--target", TARGET, "-Zbuild-std=std,panic_abort"])
        .current_dir(run::root())
        .env("PATH", "/usr/bin:/bin")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_TARGET_X86_64_WIN7_WINDOWS_GNU_LINKER", MINGW)
        .env("CC_x86_64_win7_windows_gnu", MINGW)
        .env("RUSTFLAGS", "-D warnings");
    // Those of the cargo that runs this task are for its own compiler.
    for ours in ["RUSTC", "RUSTUP_TOOLCHAIN", "CARGO", "RUSTDOC", "RUSTC_WRAPPER"] {
        cargo.env_remove(ours);
    }
    cargo
}
