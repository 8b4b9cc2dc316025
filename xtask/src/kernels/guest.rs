//! The files of a machine with another kernel: an initramfs with the tests, the programs that they run, and
//! the kernel's modules.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::Unpacked;
use super::cpio::{Archive, Mode};
use super::modules;
use super::suites::Built;
use crate::{packages, run};

/// Programs used by tests and labs, besides busybox's.
const PROGRAMS: &[&str] = &["bash", "conntrack", "ip", "nft", "pkill", "unshare"];
/// Programs that the lab runs.
const BINARIES: &[&str] = &["xshield-lab", "xshield", "ctspark", "ctagent", "ctagentcmd"];
const DIRECTORIES: &[&str] =
    &["/dev", "/proc", "/sys/fs/cgroup", "/tmp", "/run", "/root", "/etc", "/var/lib", "/var/tmp"];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";

/// Programs of this build without debug information, which would be most of an initramfs.
#[derive(Debug)]
pub(super) struct Stripped {
    /// The path of each here and in the machine.
    files: Vec<(PathBuf, String)>,
}

pub(super) fn strip(built: &Built, directory: &Path) -> Result<Stripped> {
    fs::create_dir_all(directory)?;
    let binaries = run::root().join("target/debug");
    let tests = built.programs.iter().map(|(name, path)| (path.clone(), format!("deps/{name}")));
    let driven = BINARIES.iter().map(|name| (binaries.join(name), (*name).to_owned()));
    let mut files = Vec::new();
    for (from, name) in tests.chain(driven) {
        let to = directory.join(name.replace('/', "-"));
        run::succeed(Command::new("strip").args(["--strip-debug", "-o"]).arg(&to).arg(&from))?;
        files.push((to, format!("/tests/{name}")));
    }
    Ok(Stripped { files })
}

/// Writes the initramfs.
pub(super) fn write(
    to: &Path,
    kernel: &Unpacked,
    built: &Built,
    stripped: &Stripped,
) -> Result<()> {
    let file = File::create(to).with_context(|| format!("could not write {}", to.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    for directory in DIRECTORIES {
        archive.directory(directory)?;
    }
    archive.bytes("/init", Mode::Executable, include_bytes!("init.sh"))?;
    archive.bytes("/tests/list", Mode::Plain, built.list().as_bytes())?;
    archive.bytes("/etc/passwd", Mode::Plain, PASSWD.as_bytes())?;
    archive.bytes("/etc/group", Mode::Plain, b"root:x:0:\nnogroup:x:65534:\n")?;
    archive.file("/etc/os-release", Mode::Plain, Path::new("/etc/os-release"))?;
    archive.file("/bin/busybox", Mode::Executable, &packages::find("busybox")?)?;
    let mut libraries = BTreeSet::new();
    for (from, name) in &stripped.files {
        archive.file(name, Mode::Executable, from)?;
        libraries.extend(libraries_of(from)?);
    }
    for name in PROGRAMS {
        let path = packages::find(name)?;
        archive.file(&format!("/usr/bin/{name}"), Mode::Executable, &path)?;
        libraries.extend(libraries_of(&path)?);
    }
    // Paths where scripts and the kernel look for them. Busybox's shell would prefer its own `ip` to any
    // other.
    for (path, name) in [("/bin/sh", "sh"), ("/sbin/modprobe", "modprobe")] {
        let from = packages::find(name)?;
        archive.file(path, Mode::Executable, &from)?;
        libraries.extend(libraries_of(&from)?);
    }
    for library in &libraries {
        archive.file(library, Mode::Executable, Path::new(library))?;
    }
    write_modules(&mut archive, kernel)?;
    write_tree(&mut archive, &run::root().join("examples"))?;
    archive.finish()?.flush()?;
    Ok(())
}

fn write_modules(archive: &mut Archive<impl Write>, kernel: &Unpacked) -> Result<()> {
    let inside = format!("lib/modules/{}", kernel.version);
    let directory = kernel.root.join(&inside);
    let dependencies = fs::read_to_string(directory.join("modules.dep"))
        .context("could not read which modules need which")?;
    for module in modules::needed(&dependencies)? {
        archive.file(&format!("/{inside}/{module}"), Mode::Plain, &directory.join(&module))?;
    }
    for entry in fs::read_dir(&directory)? {
        let path = entry?.path();
        if path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            archive.file(&format!("/{inside}/{name}"), Mode::Plain, &path)?;
        }
    }
    Ok(())
}

/// With the same path as here.
fn write_tree(archive: &mut Archive<impl Write>, directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => write_tree(archive, &path)?,
            false => archive.file(&path.to_string_lossy(), Mode::Plain, &path)?,
        }
    }
    Ok(())
}

/// The shared libraries of a program and their loader, as found by `ldd`.
fn libraries_of(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().context("could not start ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("not found") || !output.status.success() {
        bail!("ldd {}: {text}{}", program.display(), String::from_utf8_lossy(&output.stderr));
    }
    let path = |line: &str| {
        let word = line.split_whitespace().find(|word| word.starts_with('/'))?;
        Some(word.to_owned())
    };
    Ok(text.lines().filter_map(path).collect())
}
