//! Kernels from Debian's archive, through apt with its own configuration and state: the machine's sources and
//! package lists are not changed. Signatures are checked with Debian's keys.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// The keys of Debian's maintained releases; package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Depends on the newest kernel of its release, without drivers for hardware.
const NEWEST: &str = "linux-image-cloud-amd64";

/// An unpacked kernel package.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// As printed by `uname -r`.
    pub version: String,
    /// The directory of the package's files, in place of the root directory.
    pub root: PathBuf,
}

/// The newest kernel of a Debian release, downloaded once and kept in `directory`.
pub(super) fn newest_kernel(suite: &str, directory: &Path) -> Result<Unpacked> {
    let root = directory.join("unpacked");
    if !root.is_dir() {
        fetch(suite, directory, &root)
            .with_context(|| format!("could not get the kernel of Debian {suite}"))?;
    }
    let version = only_entry(&root.join("lib/modules"))?;
    Ok(Unpacked { version, root })
}

fn fetch(suite: &str, directory: &Path, root: &Path) -> Result<()> {
    let apt = Apt::prepare(suite, directory)?;
    run::succeed(apt.command("apt-get").args(["update", "-q"]))?;
    let depends = output(apt.command("apt-cache").args(["depends", "--important", NEWEST]))?;
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
        .with_context(|| format!("{NEWEST} of {suite} depends on no kernel: {depends}"))?;
    run::succeed(apt.command("apt-get").args(["download", "-q", package]).current_dir(directory))?;
    let archive = fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no .deb file")?;
    // It is renamed when it is complete.
    let partial = directory.join("partial");
    run::succeed(Command::new("dpkg-deb").arg("-x").args([&archive, &partial]))?;
    if !partial.join("lib").exists() {
        // Since Debian 13; depmod and our code use the old path.
        std::os::unix::fs::symlink("usr/lib", partial.join("lib"))?;
    }
    let version = only_entry(&partial.join("lib/modules"))?;
    run::succeed(Command::new("depmod").arg("-b").arg(&partial).arg(version))?;
    fs::rename(&partial, root)?;
    Ok(fs::remove_file(archive)?)
}

struct Apt {
    options: Vec<OsString>,
}

impl Apt {
    fn prepare(suite: &str, directory: &Path) -> Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        let (state, cache) = (directory.join("apt/state"), directory.join("apt/cache"));
        for needed in [state.join("lists/partial"), cache.join("archives/partial")] {
            fs::create_dir_all(needed)?;
        }
        let sources = directory.join("apt/sources.list");
        let mirror = mirror()?;
        fs::write(&sources, format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))?;
        let set = |name: &str, value: &Path| {
            let mut option = OsString::from(format!("{name}="));
            option.push(value);
            ["-o".into(), option]
        };
        let options = [
            set("Dir::Etc::SourceList", &sources),
            set("Dir::Etc::SourceParts", Path::new("/dev/null")),
            set("Dir::State", &state),
            set("Dir::Cache", &cache),
            set("Acquire::Languages", Path::new("none")),
            set("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", Path::new("false")),
            // apt's unprivileged user need not have access to the project's directory.
            set("APT::Sandbox::User", Path::new("root")),
        ];
        Ok(Self { options: options.into_iter().flatten().collect() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// The URL from which this machine gets Debian's packages.
fn mirror() -> Result<String> {
    let ask = || {
        output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
            "Origin: Debian",
            "Label: Debian",
            "Component: main",
        ]))
    };
    let mut known = ask()?;
    if known.trim().is_empty() {
        // A source's contents are described in its lists.
        run::succeed(Command::new("apt-get").args(["update", "-q"]))?;
        known = ask()?;
    }
    match known.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(mirror) => Ok(mirror.to_owned()),
        None => bail!("this machine's apt has no source of Debian; add one to /etc/apt"),
    }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("could not start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn only_entry(directory: &Path) -> Result<String> {
    let mut entries = fs::read_dir(directory)
        .with_context(|| format!("could not read {}", directory.display()))?;
    match (entries.next(), entries.next()) {
        (Some(one), None) => Ok(one?.file_name().to_string_lossy().into_owned()),
        _ => bail!("{} does not hold exactly one directory", directory.display()),
    }
}
