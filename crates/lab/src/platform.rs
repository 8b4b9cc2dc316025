//! The platform in a lab: the real binary on a host of its own, driven by its own command line.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::{Host, Running};
use crate::lab::Lab;
use crate::wait;

/// The platform's host in every lab.
pub const HOST: &str = "platform";
const NUMBER: u8 = 1;
/// Its port.
pub const PORT: u16 = 8443;

/// A running platform.
#[derive(Debug)]
pub struct Platform {
    /// `None` while it is stopped.
    process: Option<Running>,
    program: PathBuf,
    /// Data directory, password file and configuration of the command line.
    directory: PathBuf,
    password: String,
    public_urls: Vec<String>,
    /// Options of `serve` as environment variables.
    settings: Vec<(&'static str, String)>,
}

impl Platform {
    /// Adds the platform's host to the lab, starts the platform there and signs in with its command line.
    ///
    /// `password`: the first admin's. `more_urls`: public URLs besides its address in the lab.
    ///
    /// # Errors
    /// When the platform is not built, does not become ready, or refuses the sign-in.
    pub fn start(lab: &mut Lab, password: &str, more_urls: &[String]) -> Result<Self> {
        let program = lab.programs().platform()?;
        let host = lab.add_host(HOST, NUMBER)?;
        let directory = host.dir().join("xshield");
        fs::create_dir_all(&directory)?;
        let mut public_urls = vec![format!("https://{}:{PORT}", host.v4())];
        public_urls.extend_from_slice(more_urls);
        let password = password.to_owned();
        let mut platform =
            Self { process: None, program, directory, password, public_urls, settings: Vec::new() };
        write_secret(&platform.password_file(), &platform.password)?;
        platform.resume(lab)?;
        platform.sign_in(lab)?;
        Ok(platform)
    }

    /// Restarts the platform with options of `xshield serve`, named by their environment variables.
    ///
    /// # Errors
    /// As of [`Platform::stop`] and [`Platform::resume`].
    pub fn restart_with(&mut self, lab: &Lab, settings: &[(&'static str, &str)]) -> Result<()> {
        self.stop()?;
        self.settings.extend(settings.iter().map(|&(name, value)| (name, value.to_owned())));
        self.resume(lab)
    }

    /// Starts the platform again after [`Platform::stop`], with the same data.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn resume(&mut self, lab: &Lab) -> Result<()> {
        let host = lab.host(HOST)?;
        let mut command = host.command(&self.program);
        command.env("HOME", &self.directory).arg("serve").arg("--data-dir").arg(self.data_dir());
        command.args(["--listen", &format!("0.0.0.0:{PORT}")]);
        command.arg("--admin-password-file").arg(self.password_file());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        for url in &self.public_urls {
            command.args(["--public-url", url]);
        }
        let mut process = host.spawn(HOST, command)?;
        // It listens before its first keys are created; requests until then wait for an answer.
        wait::until("the platform listens", Duration::from_secs(60), || {
            process.still_runs()?;
            Ok((listens(host)? && self.ca_file().exists()).then_some(()))
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops the platform as a service manager does (SIGTERM) and waits for its end.
    ///
    /// # Errors
    /// When it ends with a failure.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            let log = process.output()?;
            let status = process.stop()?;
            anyhow::ensure!(status.success(), "the platform ended with {status}:\n{log}");
        }
        Ok(())
    }

    /// Copies the data directory of the stopped platform.
    ///
    /// # Errors
    /// When it runs, or can't be copied.
    pub fn back_up(&self, to: &Path) -> Result<()> {
        anyhow::ensure!(self.process.is_none(), "the platform runs");
        copy(&self.data_dir(), to)
    }

    /// Replaces the data directory of the stopped platform by a copy.
    ///
    /// # Errors
    /// When it runs, or can't be copied.
    pub fn restore(&self, from: &Path) -> Result<()> {
        anyhow::ensure!(self.process.is_none(), "the platform runs");
        fs::remove_dir_all(self.data_dir()).context("could not remove the platform's data")?;
        copy(from, &self.data_dir())
    }

    /// The platform's address, as seen by hosts.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (IpAddr::from(Ipv4Addr::new(10, 77, 0, NUMBER)), PORT).into()
    }

    /// The binary: platform and command line.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The certificate of the platform's CA.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.data_dir().join("ca.pem")
    }

    /// The first admin's password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The platform's log.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn log(&self) -> Result<String> {
        self.process.as_ref().map_or(Ok(String::new()), Running::output)
    }

    /// Runs the platform's command line on the platform's host.
    ///
    /// # Errors
    /// When the command fails; the error carries its output.
    pub fn cli(&self, lab: &Lab, arguments: &[&str]) -> Result<String> {
        let host = lab.host(HOST)?;
        let mut command = host.command(&self.program);
        let settings = self.directory.join("config");
        command.env("HOME", &self.directory).env("XDG_CONFIG_HOME", settings).args(arguments);
        crate::host::succeed(&mut command)
    }

    /// Runs the platform's command line with `--json`.
    ///
    /// # Errors
    /// When the command fails or prints no JSON.
    pub fn json(&self, lab: &Lab, arguments: &[&str]) -> Result<serde_json::Value> {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        let text = self.cli(lab, &arguments)?;
        serde_json::from_str(&text)
            .with_context(|| format!("xshield {arguments:?} printed {text:?}"))
    }

    /// Creates an enforcement key. Returns the host configuration with it.
    ///
    /// # Errors
    /// When the platform refuses.
    pub fn host_configuration(&self, lab: &Lab) -> Result<String> {
        let file = self.directory.join("host.yaml");
        if file.exists() {
            fs::remove_file(&file)?;
        }
        let path = path_text(&file)?;
        self.cli(lab, &["key", "create", "--name", "lab", "--host-config", path])?;
        fs::read_to_string(&file).context("the platform wrote no host configuration")
    }

    /// Creates an enforcement key. Returns its deployment key.
    ///
    /// # Errors
    /// When the platform refuses.
    pub fn deployment_key(&self, lab: &Lab) -> Result<String> {
        let made = self.json(lab, &["key", "create", "--name", "lab"])?;
        let key = made["deployment_key"].as_str().context("there is no deployment key")?;
        Ok(key.to_owned())
    }

    /// Applies the documents of a directory and commits them.
    ///
    /// # Errors
    /// When the platform refuses them.
    pub fn apply(&self, lab: &Lab, directory: &Path) -> Result<()> {
        self.cli(lab, &["policy", "apply", "-f", path_text(directory)?])?;
        self.cli(lab, &["policy", "synchronize", "--yes"])?;
        Ok(())
    }

    /// Sets tags of an asset.
    ///
    /// # Errors
    /// When the asset is unknown or a tag malformed.
    pub fn tag<'a>(
        &self,
        lab: &Lab,
        asset: &str,
        tags: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<()> {
        let tags: Vec<String> =
            tags.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut arguments = vec!["asset", "tag", asset];
        arguments.extend(tags.iter().map(String::as_str));
        self.cli(lab, &arguments).map(drop)
    }

    /// The platform's threat list files for hosts.
    ///
    /// # Errors
    /// When they can't be listed.
    pub fn threat_files(&self) -> Result<Vec<PathBuf>> {
        let directory = self.data_dir().join("threat/files");
        let listing = fs::read_dir(&directory)
            .with_context(|| format!("could not list {}", directory.display()))?;
        Ok(listing.flatten().map(|entry| entry.path()).collect())
    }

    /// `xshield admin rotate-keys` on the stopped platform's machine.
    ///
    /// # Errors
    /// When it runs, or the command fails; the error carries its output.
    pub fn rotate_keys(&self, lab: &Lab, step: &[&str]) -> Result<String> {
        anyhow::ensure!(self.process.is_none(), "the platform runs");
        let data = self.data_dir();
        let data = ["--data-dir", path_text(&data)?];
        self.cli(lab, &[&["admin", "rotate-keys"], step, &data].concat())
    }

    /// Signs the command line in, trusting the platform's current CA.
    ///
    /// # Errors
    /// When the platform refuses.
    pub fn sign_in(&self, lab: &Lab) -> Result<()> {
        let url = format!("https://{}", self.address());
        let (password, ca) = (self.password_file(), self.ca_file());
        let (password, ca) = (path_text(&password)?, path_text(&ca)?);
        let arguments = ["login", &url, "--user", "admin", "--password-file", password, "--ca", ca];
        self.cli(lab, &arguments).map(drop)
    }

    fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn password_file(&self) -> PathBuf {
        self.directory.join("admin-password")
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut command = std::process::Command::new("cp");
    crate::host::succeed(command.arg("-a").arg(from).arg(to)).map(drop)
}

/// Whether something listens on the platform's port, according to the kernel of its host.
fn listens(host: &Host) -> Result<bool> {
    let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", host.pid()?))?;
    let listening = format!("00000000:{PORT:04X} 00000000:0000 0A");
    Ok(sockets.contains(&listening))
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    let mut file =
        options.open(path).with_context(|| format!("could not write {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
