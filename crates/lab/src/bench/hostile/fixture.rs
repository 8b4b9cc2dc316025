//! A platform in its own process, as released, with what it needs.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xshield_wire::EnforcementKey;

use super::client::{PlatformEndpoint, Request};
use crate::sys;

const PASSWORD: &str = "correct horse battery";
/// The source address of operators.
pub(super) const OPERATOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// The disk of a platform's data.
#[derive(Debug, Clone, Copy)]
pub(super) enum Disk {
    /// The machine's disk.
    Machine,
    /// A disk of its own in memory, with a size in MiB, that ends with the process.
    Own(u32),
}

/// A running platform. Stopped and cleaned up when dropped.
pub(super) struct Fixture {
    program: PathBuf,
    process: Process,
    directory: Directory,
    pub(super) endpoint: PlatformEndpoint,
    admin: String,
}

impl Fixture {
    /// Starts an empty platform.
    pub(super) fn begin(program: &Path, disk: Disk) -> Result<Self> {
        let directory = Directory::new()?;
        let password = directory.0.join("password");
        let mut options = fs::OpenOptions::new();
        let mut file = options.create_new(true).write(true).mode(0o600).open(&password)?;
        file.write_all(PASSWORD.as_bytes())?;
        let data = directory.0.join("data");
        fs::DirBuilder::new().mode(0o700).create(&data).context("could not create a directory")?;
        let mut command = match disk {
            Disk::Machine => Command::new(program),
            Disk::Own(mib) => on_own_disk(program, &data, mib),
        };
        command.arg("serve").arg("--admin-password-file").arg(&password);
        let (process, address) = Process::start(command, data, disk)?;
        let endpoint = PlatformEndpoint::new(address, &process.data.join("ca.pem"))?;
        let program = program.to_owned();
        let mut fixture = Self { program, process, directory, endpoint, admin: String::new() };
        fixture.admin = fixture.sign_in(OPERATOR, "admin", PASSWORD)?;
        Ok(fixture)
    }

    /// Kills the platform in whatever state it is.
    pub(super) fn kill(&self) -> Result<()> {
        Ok(sys::signal(self.process.child.id(), libc::SIGKILL)?)
    }

    /// Stops the platform and starts it again with the data on the machine's disk.
    pub(super) fn start_again(&mut self) -> Result<()> {
        self.process.end();
        let mut command = Command::new(&self.program);
        command.arg("serve");
        let data = self.directory.0.join("data");
        let (process, address) = Process::start(command, data, Disk::Machine)?;
        self.endpoint = PlatformEndpoint::new(address, &process.data.join("ca.pem"))?;
        self.process = process;
        Ok(())
    }

    /// Its data directory, as seen from here.
    pub(super) fn data(&self) -> &Path {
        &self.process.data
    }

    /// Whether it reports to be ready; otherwise its report.
    pub(super) fn is_ready(&self) -> Result<std::result::Result<(), String>> {
        let request = Request { method: "GET", path: "/readyz", headers: &[], body: &[] };
        let answer = self.endpoint.open(OPERATOR)?.ask(request)?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        Ok(if answer.status == 200 { Ok(()) } else { Err(text) })
    }

    /// Signs in over a new connection.
    pub(super) fn sign_in(&self, from: Ipv4Addr, user: &str, password: &str) -> Result<String> {
        let body = json!({"user": user, "password": password});
        let answer = self.ask(from, None, "POST", "/api/v1/login", &body)?;
        let token = answer["token"].as_str().context("the sign-in returned no token")?;
        Ok(token.to_owned())
    }

    /// The first admin's password.
    pub(super) fn password(&self) -> &'static str {
        PASSWORD
    }

    /// Adds a user. Returns the password.
    pub(super) fn add_user(&self, name: &str, role: &str) -> Result<&'static str> {
        self.post("/api/v1/users", &json!({"name": name, "role": role, "password": PASSWORD}))?;
        Ok(PASSWORD)
    }

    /// A POST request of the admin.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(OPERATOR, Some(&self.admin), "POST", path, body)
    }

    /// A PUT request of the admin.
    pub(super) fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(OPERATOR, Some(&self.admin), "PUT", path, body)
    }

    /// A GET request of the admin.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.ask(OPERATOR, Some(&self.admin), "GET", path, &Value::Null)
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
        let answer = self.endpoint.open(from)?.ask(request)?.well(path)?;
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
        let answer = self.endpoint.open(OPERATOR)?.ask(request)?.well(path)?;
        let candidate: Value = serde_json::from_slice(&answer)?;
        let wish = json!({"expected_version": candidate["version"], "expected_impact": "any"});
        self.post("/api/v1/policy/synchronize", &wish).map(drop)
    }

    /// The processor time it has used.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.child.id()))?;
        // After the name, which may contain anything: fields 14 and 15 of proc(5), in ticks.
        let (_, fields) = stat.rsplit_once(')').context("an unknown form of /proc/PID/stat")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u64>)
            .sum::<Result<_, _>>()?;
        Ok(Duration::from_millis(ticks * 1000 / sys::ticks_per_second()))
    }

    /// Its peak memory, in MiB.
    pub(super) fn peak_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.context("the kernel reports no VmHWM")?;
        let kib: f64 = peak.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// The size of its database, in MiB.
    #[allow(clippy::cast_precision_loss, reason = "no database here is that large")]
    pub(super) fn database_mib(&self) -> Result<f64> {
        let files = ["xshield.db", "xshield.db-wal"];
        let sizes = files.iter().map(|name| match fs::metadata(self.data().join(name)) {
            Ok(file) => Ok(file.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        });
        let bytes: u64 = sizes.sum::<Result<_, _>>()?;
        Ok(bytes as f64 / f64::from(1 << 20))
    }
}

/// A temporary directory; removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        let number = u32::from_be_bytes(sys::random()?);
        let directory = std::env::temp_dir().join(format!("xshield-hostile-{number:08x}"));
        fs::DirBuilder::new().create(&directory).context("could not create a directory")?;
        Ok(Self(directory))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The platform's process; killed when dropped.
struct Process {
    child: Child,
    /// Its data directory, as seen from here.
    data: PathBuf,
}

impl Process {
    /// Starts it; returns its address.
    fn start(mut command: Command, data: PathBuf, disk: Disk) -> Result<(Self, SocketAddr)> {
        let child = command
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", command.get_program().display()))?;
        let data = match disk {
            Disk::Machine => data,
            // This mount is only visible through the process.
            Disk::Own(_) => {
                let root = PathBuf::from(format!("/proc/{}/root", child.id()));
                root.join(data.strip_prefix("/").unwrap_or(&data))
            }
        };
        let mut process = Self { child, data };
        let mut lines = BufReader::new(process.child.stderr.take().context("no log")?).lines();
        let address = lines.find_map(|line| {
            let line = line.ok()?;
            let (_, rest) = line.split_once("listening=")?;
            rest.split_whitespace().next()?.parse().ok()
        });
        let address = address.context("the platform did not say where it listens")?;
        // Writing to a closed pipe would fail.
        std::thread::spawn(move || lines.for_each(drop));
        Ok((process, address))
    }

    fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The program with a small disk mounted over `data`, in its own mount namespace.
fn on_own_disk(program: &Path, data: &Path, mib: u32) -> Command {
    let script = "mount -t tmpfs -o \"$1\" none \"$2\" && shift 2 && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.arg(format!("size={mib}m,mode=0700")).arg(data).arg(program);
    command
}

/// Headers of a request of the admin API.
pub(super) fn headers(token: Option<&str>, kind: &str) -> Vec<(String, String)> {
    let mut headers = vec![("content-type".to_owned(), kind.to_owned())];
    if let Some(token) = token {
        headers.push(("authorization".to_owned(), format!("Bearer {token}")));
    }
    headers
}
