//! A platform in a process of its own, as it is shipped, and what it uses.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xshield_wire::EnforcementKey;

use super::client::{Door, Request};
use crate::sys;

const PASSWORD: &str = "correct horse battery";
/// From where operators come.
pub(super) const OPERATOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A running platform. Ends, and is cleared away, when dropped.
pub(super) struct Stage {
    child: Child,
    directory: PathBuf,
    pub(super) door: Door,
    admin: String,
}

impl Stage {
    /// Starts a platform without anything.
    pub(super) fn begin(program: &Path) -> Result<Self> {
        let number = u32::from_be_bytes(sys::random()?);
        let directory = std::env::temp_dir().join(format!("xshield-hostile-{number:08x}"));
        fs::DirBuilder::new().create(&directory).context("could not make a directory")?;
        let password = directory.join("password");
        let mut options = fs::OpenOptions::new();
        let mut file = options.create_new(true).write(true).mode(0o600).open(&password)?;
        file.write_all(PASSWORD.as_bytes())?;
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(directory.join("data"))
            .arg("--admin-password-file")
            .arg(&password)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", program.display()))?;
        let mut lines = BufReader::new(child.stderr.take().context("no log")?).lines();
        let address = lines.find_map(|line| {
            let line = line.ok()?;
            let (_, rest) = line.split_once("listening=")?;
            rest.split_whitespace().next()?.parse().ok()
        });
        let Some(address) = address else {
            drop(child.kill());
            anyhow::bail!("the platform did not say where it listens");
        };
        // Whoever writes to a closed pipe fails.
        std::thread::spawn(move || lines.for_each(drop));
        let door = Door::new(address, &directory.join("data/ca.pem"));
        let mut stage = match door {
            Ok(door) => Self { child, directory, door, admin: String::new() },
            Err(error) => {
                drop(child.kill());
                return Err(error);
            }
        };
        stage.admin = stage.sign_in(OPERATOR, "admin", PASSWORD)?;
        Ok(stage)
    }

    /// Signs in, over a connection of its own.
    pub(super) fn sign_in(&self, from: Ipv4Addr, user: &str, password: &str) -> Result<String> {
        let body = json!({"user": user, "password": password});
        let answer = self.ask(from, None, "POST", "/api/v1/login", &body)?;
        let token = answer["token"].as_str().context("the sign-in gives no token")?;
        Ok(token.to_owned())
    }

    /// The first admin's password.
    pub(super) fn password(&self) -> &'static str {
        PASSWORD
    }

    /// Another user. Returns the password.
    pub(super) fn add_user(&self, name: &str, role: &str) -> Result<&'static str> {
        self.post("/api/v1/users", &json!({"name": name, "role": role, "password": PASSWORD}))?;
        Ok(PASSWORD)
    }

    /// A request of the admin.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(OPERATOR, Some(&self.admin), "POST", path, body)
    }

    fn ask(
        &self,
        from: Ipv4Addr,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Value> {
        let body = serde_json::to_vec(body)?;
        let headers = headers(token, "application/json");
        let request = Request { method, path, headers: &headers, body: &body };
        let answer = self.door.open(from)?.ask(request)?.well(path)?;
        Ok(if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer)? })
    }

    /// An enforcement key whose hosts get the tag `role`.
    pub(super) fn key(&self, role: &str) -> Result<EnforcementKey> {
        let wish = json!({"name": "hostile", "tags": {"role": role}});
        let made = self.post("/api/v1/enforcement-keys", &wish)?;
        Ok(made["key"].as_str().context("there is no key")?.parse()?)
    }

    /// Commits a policy.
    pub(super) fn commit(&self, yaml: &str) -> Result<()> {
        let headers = headers(Some(&self.admin), "application/yaml");
        let path = "/api/v1/policy";
        let request = Request { method: "PUT", path, headers: &headers, body: yaml.as_bytes() };
        let answer = self.door.open(OPERATOR)?.ask(request)?.well(path)?;
        let candidate: Value = serde_json::from_slice(&answer)?;
        let wish = json!({"expected_version": candidate["version"], "expected_impact": "any"});
        self.post("/api/v1/policy/synchronize", &wish).map(drop)
    }

    /// Processor time that it has used.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // After the name, which may hold anything: fields 14 and 15 of proc(5), in ticks.
        let (_, fields) = stat.rsplit_once(')').context("an unknown form of /proc/PID/stat")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u64>)
            .sum::<Result<_, _>>()?;
        Ok(Duration::from_millis(ticks * 1000 / sys::ticks_per_second()))
    }

    /// The most memory that it has had, in MiB.
    pub(super) fn peak_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.context("the kernel tells no VmHWM")?;
        let kib: f64 = peak.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// The size of its database, in MiB.
    #[allow(clippy::cast_precision_loss, reason = "no database here is that large")]
    pub(super) fn database_mib(&self) -> Result<f64> {
        let files = ["data/xshield.db", "data/xshield.db-wal"];
        let sizes = files.iter().map(|name| match fs::metadata(self.directory.join(name)) {
            Ok(file) => Ok(file.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        });
        let bytes: u64 = sizes.sum::<Result<_, _>>()?;
        Ok(bytes as f64 / f64::from(1 << 20))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Headers of a request of the admin API.
pub(super) fn headers(token: Option<&str>, kind: &str) -> Vec<(String, String)> {
    let mut headers = vec![("content-type".to_owned(), kind.to_owned())];
    if let Some(token) = token {
        headers.push(("authorization".to_owned(), format!("Bearer {token}")));
    }
    headers
}
