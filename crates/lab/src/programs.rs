//! Where the binaries are that the lab drives.

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

    /// The binaries built together with the running program: beside it, or one directory above for a
    /// test in `deps/`. The environment variable `XSHIELD_BIN_DIR` overrides that.
    ///
    /// # Errors
    /// When the running program can't be told, or `xshield-lab` is not there.
    pub fn of_this_build() -> Result<Self> {
        if let Some(directory) = std::env::var_os("XSHIELD_BIN_DIR") {
            return Ok(Self { directory: directory.into() });
        }
        let running = std::env::current_exe().context("could not tell the running program")?;
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

    fn built(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        if !path.is_file() {
            bail!("{} is missing; run: cargo build -p {name}", path.display());
        }
        Ok(path)
    }
}
