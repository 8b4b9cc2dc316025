//! The boot unit: puts the last-known-good ruleset into the kernel before the network comes up.
//!
//! The program is copied into its state directory, since a configuration manager may run it from a cache that
//! does not survive a reboot.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use xshield_host::files;

/// The unit's name.
pub const UNIT: &str = "xshield-restore.service";
/// The target that starts the unit early in every boot.
const WANTED_BY: &str = "sysinit.target.wants";

/// The locations of the unit and of the program's copy.
#[derive(Debug, Clone)]
pub struct BootUnit {
    systemd: PathBuf,
    program: PathBuf,
}

/// The result of the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// Everything was installed already.
    Unchanged,
    /// The unit or the program's copy was written.
    Written,
    /// This host has no systemd; nothing was written.
    NoSystemd,
}

/// Why the boot unit could not be installed or removed.
#[derive(Debug, thiserror::Error)]
pub enum BootUnitError {
    /// A file or directory could not be created or removed.
    #[error("{action} {path} failed; after a reboot nothing is enforced until the next run")]
    Step {
        /// The action that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
    /// The unit could not be written.
    #[error(
        "installing the boot unit failed; after a reboot nothing is enforced until the next run"
    )]
    Write(#[from] files::FileError),
}

impl BootUnit {
    /// `root` is `/` except in tests; `state` is the state directory.
    #[must_use]
    pub fn new(root: &Path, state: &Path) -> Self {
        Self { systemd: root.join("etc/systemd/system"), program: state.join("bin/ctspark") }
    }

    /// Copies `program`, writes the unit and enables it, as far as that was not done yet.
    ///
    /// # Errors
    /// The file that could not be written.
    pub fn install(&self, program: &Path, config: &Path) -> Result<Installed, BootUnitError> {
        if !self.systemd.is_dir() {
            return Ok(Installed::NoSystemd);
        }
        let copied = self.copy_program(program)?;
        let unit = self.systemd.join(UNIT);
        let text = unit_text(&self.program, config);
        let current = fs::read_to_string(&unit).is_ok_and(|written| written == text);
        if !current {
            files::write(&unit, text.as_bytes(), files::Access::Public)?;
        }
        let wants = self.systemd.join(WANTED_BY);
        let link = wants.join(UNIT);
        let enabled = fs::read_link(&link).is_ok_and(|target| target == unit);
        if !enabled {
            fs::create_dir_all(&wants).map_err(failed("making", &wants))?;
            remove_if_there(&link)?;
            symlink(&unit, &link).map_err(failed("linking", &link))?;
        }
        let unchanged = current && enabled && copied == Installed::Unchanged;
        Ok(if unchanged { Installed::Unchanged } else { Installed::Written })
    }

    /// Removes the unit. The program's copy is removed with the state directory.
    ///
    /// # Errors
    /// The file that could not be removed.
    pub fn remove(&self) -> Result<(), BootUnitError> {
        remove_if_there(&self.systemd.join(WANTED_BY).join(UNIT))?;
        remove_if_there(&self.systemd.join(UNIT))
    }

    fn copy_program(&self, program: &Path) -> Result<Installed, BootUnitError> {
        let same_file = fs::canonicalize(&self.program).ok() == fs::canonicalize(program).ok();
        if same_file || is_copy(program, &self.program) {
            return Ok(Installed::Unchanged);
        }
        let directory = self.program.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory).map_err(failed("making", directory))?;
        let beside = self.program.with_extension("new");
        fs::copy(program, &beside).map_err(failed("writing", &beside))?;
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&beside, executable).map_err(failed("making executable", &beside))?;
        let copy = fs::File::open(&beside).map_err(failed("opening", &beside))?;
        copy.sync_all().map_err(failed("writing", &beside))?;
        fs::rename(&beside, &self.program).map_err(failed("renaming", &self.program))?;
        Ok(Installed::Written)
    }
}

/// Whether `copy` was made from the current `program`: it has the same size and is not older.
fn is_copy(program: &Path, copy: &Path) -> bool {
    match (fs::metadata(program), fs::metadata(copy)) {
        (Ok(program), Ok(copy)) => {
            let times = (program.modified().ok(), copy.modified().ok());
            program.len() == copy.len() && matches!(times, (Some(a), Some(b)) if a <= b)
        }
        _ => false,
    }
}

fn remove_if_there(path: &Path) -> Result<(), BootUnitError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("removing", path)(error))
        }
        _ => Ok(()),
    }
}

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> BootUnitError + 'a {
    move |source| BootUnitError::Step { action, path: path.to_owned(), source }
}

fn unit_text(program: &Path, config: &Path) -> String {
    format!(
        "\
[Unit]
Description=Xshield: restore the last enforced ruleset before the network comes up
Documentation=man:ctspark(1)
DefaultDependencies=no
After=local-fs.target systemd-modules-load.service nftables.service
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={program} restore --config {config}

[Install]
WantedBy=sysinit.target
",
        program = program.display(),
        config = config.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_unit_is_installed_once_updated_and_removed_completely() {
        let root = tempfile::tempdir().unwrap();
        let systemd = root.path().join("etc/systemd/system");
        let state = root.path().join("var/lib/xshield");
        let program = root.path().join("cache/ctspark");
        let config = Path::new("/etc/xshield/spark.yaml");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "one").unwrap();
        let unit = BootUnit::new(root.path(), &state);

        assert_eq!(unit.install(&program, config).unwrap(), Installed::NoSystemd);
        fs::create_dir_all(&systemd).unwrap();
        assert_eq!(unit.install(&program, config).unwrap(), Installed::Written);
        assert_eq!(unit.install(&program, config).unwrap(), Installed::Unchanged);
        let text = fs::read_to_string(systemd.join(UNIT)).unwrap();
        assert!(text.contains(&format!("ExecStart={}/bin/ctspark restore", state.display())));
        assert!(text.contains("Before=network-pre.target"));
        assert!(systemd.join(WANTED_BY).join(UNIT).exists(), "the link leads to the unit");

        fs::write(&program, "version two").unwrap();
        assert_eq!(unit.install(&program, config).unwrap(), Installed::Written);
        assert_eq!(fs::read_to_string(state.join("bin/ctspark")).unwrap(), "version two");

        unit.remove().unwrap();
        unit.remove().unwrap();
        assert!(!systemd.join(UNIT).exists());
        assert!(fs::read_dir(systemd.join(WANTED_BY)).unwrap().next().is_none());
    }
}
