//! The binaries that the lab runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The directory that holds `xshield-lab`, `xshield` and `ctspark`.
#[derive(Debug, Clone)]
pub struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// The binaries of `directory`.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The binaries built together with the running program: in its directory, or in the parent directory for
    /// a test in `deps/`. The environment variable `XSHIELD_BIN_DIR` overrides that.
    ///
    /// # Errors
    /// When the running program's path is unknown, or `xshield-lab` is missing.
    pub fn of_this_build() -> Result<Self> {
        if let Some(directory) = std::env::var_os("XSHIELD_BIN_DIR") {
            return Ok(Self { directory: directory.into() });
        }
        let running = std::env::current_exe()
            .context("could not determine the path of the running program")?;
        let found = running.ancestors().skip(1).take(2).find(|d| d.join("xshield-lab").is_file());
        let Some(directory) = found else {
            bail!(
                "xshield-lab is not built; run: cargo build -p xshield-lab -p xshield -p ctspark"
            );
        };
        Ok(Self { directory: directory.to_owned() })
    }

    /// The lab's own helper.
    #[must_use]
    pub fn lab(&self) -> PathBuf {
        self.directory.join("xshield-lab")
    }

    /// The platform.
    ///
    /// # Errors
    /// When it is not built.
    pub fn platform(&self) -> Result<PathBuf> {
        self.built("xshield")
    }

    /// Spark.
    ///
    /// # Errors
    /// When it is not built.
    pub fn spark(&self) -> Result<PathBuf> {
        self.built("ctspark")
    }

    /// The agent.
    ///
    /// # Errors
    /// When it is not built.
    pub fn agent(&self) -> Result<PathBuf> {
        self.built("ctagent")
    }

    /// The agent's control utility.
    ///
    /// # Errors
    /// When it is not built.
    pub fn agent_command(&self) -> Result<PathBuf> {
        self.built("ctagentcmd")
    }

    /// The programs of a Windows host, as `cargo xtask windows` builds them: beside the directory of the
    /// others, or in the one that the environment variable `XSHIELD_WINDOWS_BIN_DIR` names.
    ///
    /// # Errors
    /// When one of them is not built.
    pub fn windows(&self) -> Result<WindowsPrograms> {
        let named = std::env::var_os("XSHIELD_WINDOWS_BIN_DIR").map(PathBuf::from);
        let target = self.directory.parent().unwrap_or(&self.directory);
        let usual = || target.join("windows/x86_64-win7-windows-gnu/debug");
        WindowsPrograms::of(&named.unwrap_or_else(usual))
    }

    fn built(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        if !path.is_file() {
            bail!("{} is missing; run: cargo build -p {name}", path.display());
        }
        current(path, "cargo build --workspace --bins")
    }
}

/// What runs on a Windows host of a lab.
#[derive(Debug, Clone)]
pub struct WindowsPrograms {
    /// `ctspark.exe`.
    pub spark: PathBuf,
    /// `fwpuclnt.dll`, the double of the filter engine.
    pub double: PathBuf,
    /// `wevtapi.dll`, the double of the event log.
    pub event_log: PathBuf,
}

impl WindowsPrograms {
    /// Those of a directory.
    ///
    /// # Errors
    /// When one of them is not built.
    pub fn of(directory: &Path) -> Result<Self> {
        let found = |name| current(directory.join(name), "cargo xtask windows");
        Ok(Self {
            spark: found("ctspark.exe")?,
            double: found("examples/fwpuclnt.dll")?,
            event_log: found("examples/wevtapi.dll")?,
        })
    }
}

/// A program that is there, and not older than its sources. `build`: the command that builds it.
fn current(path: PathBuf, build: &str) -> Result<PathBuf> {
    if !path.is_file() {
        bail!("{} is missing; run: {build}", path.display());
    }
    if let Some(source) = newer_source(&path) {
        bail!(
            "{} is older than {}, so testing it would prove nothing; run: {build}",
            path.display(),
            source.display()
        );
    }
    Ok(path)
}

/// A source file changed after the program was built, according to cargo's dependency file. A copied program
/// has no such file.
fn newer_source(program: &Path) -> Option<PathBuf> {
    let changed = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    let (list, built) = (fs::read_to_string(program.with_extension("d")).ok()?, changed(program)?);
    sources(&list).into_iter().find(|source| changed(source).is_some_and(|at| at > built))
}

/// The files in a dependency file in the format of `make`: `program: source source`; a space in a name is `\
/// `.
fn sources(list: &str) -> Vec<PathBuf> {
    const SPACE: &str = "\u{0}";
    let list = list.replace("\\ ", SPACE);
    let names = list.lines().filter_map(|line| line.split_once(": ")).map(|(_, names)| names);
    let names = names.flat_map(str::split_whitespace);
    names.map(|name| PathBuf::from(name.replace(SPACE, " "))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn dependency_files_of_cargo_are_parsed() {
        let list = "/t/debug/ctspark: /w/src/main.rs /w/a\\ b/lib.rs\n";
        let expected = [PathBuf::from("/w/src/main.rs"), PathBuf::from("/w/a b/lib.rs")];
        assert_eq!(sources(list), expected);
    }

    #[test]
    fn a_program_older_than_its_sources_is_refused() {
        let directory = std::env::temp_dir().join(format!("programs-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let [program, source, list] =
            ["ctspark", "main.rs", "ctspark.d"].map(|name| directory.join(name));
        let text = format!("{}: {}\n", program.display(), source.display());
        for (path, content) in [(&program, ""), (&source, ""), (&list, text.as_str())] {
            fs::write(path, content).unwrap();
        }
        let age = |path: &Path, seconds: u64| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
        };
        age(&program, 2_000);
        age(&source, 1_000);
        assert!(Programs::of(&directory).spark().is_ok());
        age(&source, 3_000);
        let error = Programs::of(&directory).spark().unwrap_err().to_string();
        assert!(error.contains("main.rs") && error.contains("cargo build"), "{error}");
        fs::remove_dir_all(&directory).unwrap();
    }
}
