//! Builds the host programs for Windows with Debian's compiler and clippy, and runs the Windows tests under wine.
//! `x86_64-win7-windows-gnu` supports Windows Server 2008 R2 and later, and its standard library is built
//! from source.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::dist::Signer;
use crate::{packages, run, tools};

const TARGET: &str = "x86_64-win7-windows-gnu";
const MINGW: &str = "x86_64-w64-mingw32-gcc";
/// What host programs for Windows are made of.
const PORTABLE: &[&str] = &["xshield-enforce", "ctspark", "ctagent"];
/// The double of the filter engine and of the event log.
const DOUBLE: &str = "xshield-wfp-double";
/// Its libraries.
const LIBRARIES: [&str; 2] = ["fwpuclnt", "wevtapi"];
/// Tests that run under wine, with the double beside them: the package, and what of it.
const TESTED: &[(&str, &[&str])] = &[
    (DOUBLE, &["--test", "edge"]),
    (DOUBLE, &["--test", "security_log"]),
    ("xshield-host", &["--features", "inventory,windows-xml", "--test", "windows"]),
];
/// A test that hangs under wine ends after so many seconds.
const MOST_SECONDS: &str = "300";
/// The programs that are shipped for Windows: the package, and its programs.
const SHIPPED: &[(&str, &[&str])] =
    &[("ctspark", &["ctspark.exe"]), ("ctagent", &["ctagent.exe", "ctagentcmd.exe"])];
/// The libraries that every Windows since Server 2008 R2 has, in small letters.
const SYSTEM_LIBRARIES: &[&str] = &[
    "advapi32.dll",
    "bcrypt.dll",
    "bcryptprimitives.dll",
    "crypt32.dll",
    "fwpuclnt.dll",
    "iphlpapi.dll",
    "kernel32.dll",
    "msvcrt.dll",
    "netapi32.dll",
    "ntdll.dll",
    "ole32.dll",
    "psapi.dll",
    "secur32.dll",
    "shell32.dll",
    "user32.dll",
    "userenv.dll",
    "wevtapi.dll",
    "wintrust.dll",
    "ws2_32.dll",
];

/// Whether Windows tests can be run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wine {
    Installed,
    Missing,
}

/// Compiles the host programs and runs the Windows tests of single crates; if the compiler or wine is not
/// available, says so and continues.
pub(crate) fn check() -> Result<Wine> {
    if !can_compile()? {
        return Ok(Wine::Missing);
    }
    build_for_labs()?;
    let missing = packages::install_what_can_be_had(tools::WINE)?;
    if !missing.is_empty() {
        println!("not run under wine: {}", whys(&missing));
        return Ok(Wine::Missing);
    }
    for (package, selection) in TESTED {
        let program = built_tests(package, selection)?;
        under_wine(&program)?;
    }
    Ok(Wine::Installed)
}

/// Compiles what Windows hosts of a lab run: the host programs, with the faults that tests ask for, and the
/// double of the filter engine.
pub(crate) fn build_for_labs() -> Result<()> {
    let mut cargo = linted("build");
    cargo.args(PORTABLE.iter().chain([&DOUBLE]).flat_map(|name| ["-p", name]));
    cargo.args(LIBRARIES.iter().flat_map(|name| ["--example", name]));
    run::succeed(cargo.args(["--lib", "--bins"]))
}

/// Builds what `bench windows` measures, `ctspark.exe` as it is shipped; returns the directory of it and the
/// double. `None` where it can't be built or run; it says why.
pub(crate) fn build_measured() -> Result<Option<PathBuf>> {
    let missing = packages::install_what_can_be_had(&[tools::WINDOWS, tools::WINE].concat())?;
    if !missing.is_empty() {
        eprintln!("no cycle under wine is measured: {}", whys(&missing));
        return Ok(None);
    }
    build_for_labs()?;
    run::succeed(compiler("build").args(["--profile", "dist", "-p", "ctspark", "--bins"]))?;
    let built = target().join(TARGET);
    let measured = target().join("measured");
    std::fs::create_dir_all(measured.join("examples"))
        .with_context(|| format!("could not make {}", measured.display()))?;
    let libraries = LIBRARIES.map(|library| format!("examples/{library}.dll"));
    let doubles = libraries.iter().map(|name| (built.join("debug").join(name), name.as_str()));
    let spark = (built.join("dist/ctspark.exe"), "ctspark.exe");
    for (from, to) in doubles.chain([spark]) {
        std::fs::copy(&from, measured.join(to))
            .with_context(|| format!("could not copy {}", from.display()))?;
    }
    Ok(Some(measured))
}

/// Builds the host programs that are shipped for Windows, signs them if a key is given, and prints where they are
/// and how large.
pub(crate) fn dist(signer: Option<&Signer>) -> Result<()> {
    if !can_compile()? {
        bail!("nothing was built for Windows");
    }
    let to = target().join("dist");
    std::fs::create_dir_all(&to).with_context(|| format!("could not make {}", to.display()))?;
    let mut failed = Vec::new();
    for (package, programs) in SHIPPED {
        run::step(&format!("building {} for Windows", programs.join(" and ")));
        let mut cargo = compiler("build");
        if let Err(error) = run::succeed(cargo.args(["--profile", "dist", "-p", package, "--bins"]))
        {
            failed.push(format!("{}: {error:#}", programs.join(", ")));
            continue;
        }
        for program in *programs {
            let from = target().join(TARGET).join("dist").join(program);
            needs_only_the_system(&from)?;
            let at = to.join(program);
            std::fs::copy(&from, &at)
                .with_context(|| format!("could not copy {}", from.display()))?;
            let how = match signer {
                Some(signer) => {
                    signer.sign(&at)?;
                    "signed"
                }
                None => "not signed",
            };
            let bytes = std::fs::metadata(&at)?.len();
            println!("{}  {bytes} bytes, {how}", at.display());
        }
    }
    if !failed.is_empty() {
        bail!("not built for Windows:\n  {}", failed.join("\n  "));
    }
    Ok(())
}

fn can_compile() -> Result<bool> {
    let missing = packages::install_what_can_be_had(tools::WINDOWS)?;
    if !missing.is_empty() {
        println!("not compiled for Windows: {}", whys(&missing));
    }
    Ok(missing.is_empty())
}

fn whys(missing: &[packages::Missing]) -> String {
    let whys: Vec<&str> = missing.iter().map(|missing| missing.why.as_str()).collect();
    whys.join("; ")
}

fn target() -> PathBuf {
    run::root().join("target/windows")
}

/// Compiles the tests of a package; returns their program.
fn built_tests(package: &str, selection: &[&str]) -> Result<PathBuf> {
    let mut cargo = linted("test");
    cargo.args(["-p", package, "--no-run", "--message-format=json-render-diagnostics"]);
    let output = cargo
        .args(selection)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("could not start cargo")?;
    if !output.status.success() {
        bail!("could not compile the tests of {package} for Windows");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let program = messages.lines().rev().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_test = message["profile"]["test"] == true;
        message["executable"].as_str().filter(|_| is_test).map(PathBuf::from)
    });
    program.with_context(|| format!("cargo names no program with the tests of {package}"))
}

/// Runs a program of tests under wine, in a directory of its own with the double in it.
fn under_wine(program: &Path) -> Result<()> {
    let place = target().join("wine");
    std::fs::create_dir_all(&place)
        .with_context(|| format!("could not make {}", place.display()))?;
    let put = |from: &Path, name: &str| {
        let at = place.join(name);
        std::fs::copy(from, &at).with_context(|| format!("could not copy {}", from.display()))?;
        Ok::<_, anyhow::Error>(at)
    };
    for name in LIBRARIES.map(|library| format!("{library}.dll")) {
        put(&target().join(TARGET).join("debug/examples").join(&name), &name)?;
    }
    let program = put(program, "tests.exe")?;
    let mut wine = Command::new("timeout");
    wine.args(["--kill-after=5", MOST_SECONDS, "wine"])
        .arg(program)
        .current_dir(&place)
        .env("WINEPREFIX", target().join("prefix"))
        // Its own warnings; ours to load, and none of the parts that want to be installed or shown.
        .env("WINEDEBUG", "-all")
        .env("WINEDLLOVERRIDES", "fwpuclnt,wevtapi=n;mscoree=;mshtml=;winemenubuilder.exe=d")
        .env_remove("DISPLAY");
    run::succeed(&mut wine)
}

/// Fails if a program needs a library that not every Windows has.
fn needs_only_the_system(program: &Path) -> Result<()> {
    let output = Command::new("x86_64-w64-mingw32-objdump")
        .arg("-p")
        .arg(program)
        .output()
        .context("could not start x86_64-w64-mingw32-objdump")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let foreign = foreign_libraries(&text);
    if !output.status.success() || !foreign.is_empty() {
        bail!("{} needs libraries that Windows does not have: {foreign:?}", program.display());
    }
    Ok(())
}

/// The libraries that an executable needs, without those of Windows. (`api-ms-win-…` are names for parts
/// of these.)
fn foreign_libraries(dump: &str) -> Vec<String> {
    let names = dump.lines().filter_map(|line| line.trim().strip_prefix("DLL Name: "));
    let names = names.map(str::to_lowercase);
    names.filter(|name| !SYSTEM_LIBRARIES.contains(&name.as_str())).collect()
}

/// Debian's cargo and rustc, which are built to take a standard library from source; the project's own
/// have none for this target.
fn compiler(verb: &str) -> Command {
    let mut cargo = Command::new(tools::DEBIAN_CARGO);
    cargo
        .args([verb, "--locked", "--target", TARGET, "-Zbuild-std=std,panic_abort"])
        .current_dir(run::root())
        .env("PATH", "/usr/bin:/bin")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target())
        .env("CARGO_TARGET_X86_64_WIN7_WINDOWS_GNU_LINKER", MINGW)
        .env("CC_x86_64_win7_windows_gnu", MINGW)
        .env("RUSTFLAGS", "-D warnings");
    // Those of the cargo that runs this task are for its own compiler.
    for ours in ["RUSTC", "RUSTUP_TOOLCHAIN", "CARGO", "RUSTDOC", "RUSTC_WRAPPER"] {
        cargo.env_remove(ours);
    }
    cargo
}

/// The same with the lints of clippy, which compiles in the place of rustc: the project's own clippy never sees
/// what is for Windows. What is shipped is compiled by rustc, since clippy switches optimizations off.
fn linted(verb: &str) -> Command {
    let mut cargo = compiler(verb);
    cargo.env("RUSTC_WORKSPACE_WRAPPER", tools::DEBIAN_CLIPPY);
    // Arguments as `cargo clippy` passes them on. The lint that is allowed asks for what is there already: it
    // does not recognise the standard library's thread-local values on this target.
    let arguments = ["-Dwarnings", "-Aclippy::missing_const_for_thread_local"];
    cargo.env("CLIPPY_ARGS", arguments.join("__CLIPPY_HACKERY__"));
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_missing_on_windows_are_found() {
        let dump = "\tDLL Name: KERNEL32.dll\n\tvma: Hint\n\tDLL Name: libgcc_s_seh-1.dll\n";
        assert_eq!(foreign_libraries(dump), ["libgcc_s_seh-1.dll"]);
        assert_eq!(foreign_libraries("\tDLL Name: WS2_32.dll\n"), [""; 0]);
    }
}
