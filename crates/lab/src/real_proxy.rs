//! Widely used proxies from Debian: squid and tinyproxy, each on a lab host, with or without a password.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::{Host, Running};
use crate::lab::require_program;
use crate::{sys, wait};

/// The user name for proxies with a password.
pub const USER: &str = "spark";
/// The password.
pub const PASSWORD: &str = "s3cret-proxy";
/// For squid: the MD5 form (`$apr1$`) of [`PASSWORD`].
const PASSWORD_HASH: &str = "$apr1$labsalt1$ulEdwVQUjfdbT1jO4m0SY1";

/// The program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// squid-cache.org, package squid.
    Squid,
    /// tinyproxy.github.io, package tinyproxy.
    Tinyproxy,
}

/// Who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Open,
    /// Clients with [`USER`] and [`PASSWORD`].
    Password,
}

/// A proxy that runs until it is dropped, which kills it.
#[derive(Debug)]
pub struct RealProxy {
    kind: Kind,
    process: Running,
    log: std::path::PathBuf,
}

impl RealProxy {
    /// Starts a proxy on a host and waits until its port is open, on IPv4 and IPv6.
    ///
    /// # Errors
    /// When the program is not installed or does not start.
    pub fn start(host: &Host, kind: Kind, port: u16, access: Access) -> Result<Self> {
        let name = match kind {
            Kind::Squid => format!("squid-{port}"),
            Kind::Tinyproxy => format!("tinyproxy-{port}"),
        };
        // Both drop their privileges, so their files are in a world-writable directory of the host.
        let directory = format!("/var/tmp/{name}");
        let outside = host.file(&directory);
        if outside.exists() {
            fs::remove_dir_all(&outside)?;
        }
        fs::create_dir_all(&outside)?;
        sys::open_to_all(&outside)?;
        fs::write(outside.join("passwords"), format!("{USER}:{PASSWORD_HASH}\n"))?;
        let text = match kind {
            Kind::Squid => squid_configuration(&directory, port, access),
            Kind::Tinyproxy => tinyproxy_configuration(&directory, port, access),
        };
        let configuration = format!("{directory}/configuration");
        fs::write(host.file(&configuration), text)?;
        let command = match kind {
            Kind::Squid => {
                let program = require_program("squid", "squid")?;
                let mut command = host.command(program);
                command.args(["-N", "-f", &configuration]);
                command
            }
            Kind::Tinyproxy => {
                let program = require_program("tinyproxy", "tinyproxy")?;
                let mut command = host.command(program);
                command.args(["-d", "-c", &configuration]);
                command
            }
        };
        let mut process = host.spawn(&name, command)?;
        let ports = format!("{name} is up");
        wait::until(&ports, Duration::from_secs(30), || {
            process.still_runs()?;
            let listening = host.run("ss", ["-Hltn", &format!("sport = :{port}")])?;
            Ok((!listening.trim().is_empty()).then_some(()))
        })?;
        let log = host.file(&format!("{directory}/access"));
        Ok(Self { kind, process, log })
    }

    /// Stops it; the kernel still accepts its connections.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Resumes it.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// The requests that it forwarded, one per line, oldest first.
    ///
    /// # Errors
    /// When its log can't be read.
    pub fn passed(&self) -> Result<Vec<String>> {
        let text = match self.kind {
            Kind::Squid => fs::read_to_string(&self.log).unwrap_or_default(),
            Kind::Tinyproxy => fs::read_to_string(&self.log).context("tinyproxy's log")?,
        };
        let mark = match self.kind {
            Kind::Squid => "/200 ",
            Kind::Tinyproxy => "Established connection to host",
        };
        Ok(text.lines().filter(|line| line.contains(mark)).map(str::to_owned).collect())
    }

    /// Its whole log.
    ///
    /// # Errors
    /// When its output can't be read.
    pub fn everything(&self) -> Result<String> {
        Ok(self.process.output()? + &fs::read_to_string(&self.log).unwrap_or_default())
    }
}

fn squid_configuration(directory: &str, port: u16, access: Access) -> String {
    let rule = match access {
        Access::Open => "http_access allow all".to_owned(),
        Access::Password => format!(
            "auth_param basic program /usr/lib/squid/basic_ncsa_auth {directory}/passwords
auth_param basic children 1
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all"
        ),
    };
    format!(
        "http_port {port}
{rule}
cache deny all
pid_filename none
cache_log {directory}/cache
access_log stdio:{directory}/access
coredump_dir {directory}
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
max_filedescriptors 1024
"
    )
}

fn tinyproxy_configuration(directory: &str, port: u16, access: Access) -> String {
    let rule = match access {
        Access::Open => String::new(),
        Access::Password => format!("BasicAuth {USER} {PASSWORD}\n"),
    };
    format!(
        "User tinyproxy
Group tinyproxy
Port {port}
Listen 0.0.0.0
Timeout 600
LogFile \"{directory}/access\"
LogLevel Connect
MaxClients 50
{rule}"
    )
}
