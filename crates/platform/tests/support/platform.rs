//! A platform on loopback, in this process or in one of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use xshield_server::serve;
use xshield_server::settings::{AdminPassword, PasswordCost, Settings};
use xshield_wire::{EnforcementKey, PolicyPublicKey};

use super::PASSWORD;
use super::client::{RawAnswer, TestClient, agent};

/// A running platform; stops when dropped.
pub struct TestPlatform {
    dir: Arc<tempfile::TempDir>,
    data: PathBuf,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    agent: ureq::Agent,
    pub admin: String,
}

impl TestPlatform {
    pub fn start() -> Self {
        Self::start_with(|_| ())
    }

    pub fn start_with(adjust: impl FnOnce(&mut Settings)) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), adjust)
    }

    fn start_in(dir: Arc<tempfile::TempDir>, adjust: impl FnOnce(&mut Settings)) -> Self {
        Self::start_signed_in(dir, adjust, PASSWORD)
    }

    fn start_signed_in(
        dir: Arc<tempfile::TempDir>,
        adjust: impl FnOnce(&mut Settings),
        password: &str,
    ) -> Self {
        let mut settings = settings(&dir.path().join("data"));
        adjust(&mut settings);
        let data = settings.data_dir.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, starts) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let running = serve::start(settings).await.unwrap();
                started.send(running.app.host_access.listening()).unwrap();
                running.until(async { drop(stopped.await) }).await;
            });
        });
        let address = starts.recv().expect("the platform starts");
        let agent = agent(&data);
        let mut platform = Self {
            dir,
            data,
            address,
            stop: Some(stop),
            thread: Some(thread),
            agent,
            admin: String::new(),
        };
        platform.admin = platform.login("admin", password);
        platform
    }

    /// The real program on `data_dir`, in a process of its own.
    pub fn start_process(dir: Arc<tempfile::TempDir>) -> (Self, KilledOnDrop) {
        let command = Command::new(env!("CARGO_BIN_EXE_xshield"));
        Self::start_command(dir, command, |_, data| data)
    }

    /// The real program with its data on a small disk of its own: memory, mounted with these options.
    pub fn start_process_on(dir: Arc<tempfile::TempDir>, disk: &str) -> (Self, KilledOnDrop) {
        let script = "mount -t tmpfs -o \"$1\" none \"$2\" && shift 2 && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", disk]);
        command.arg(dir.path()).arg(env!("CARGO_BIN_EXE_xshield"));
        // Nobody else sees that mount; it is reached through the process's root.
        Self::start_command(dir, command, |child, data| {
            let root = PathBuf::from(format!("/proc/{}/root", child.id()));
            root.join(data.strip_prefix("/").unwrap())
        })
    }

    fn start_command(
        dir: Arc<tempfile::TempDir>,
        mut command: Command,
        seen: impl FnOnce(&Child, PathBuf) -> PathBuf,
    ) -> (Self, KilledOnDrop) {
        let data = dir.path().join("data");
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .env("XSHIELD_ADMIN_PASSWORD", PASSWORD)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .find_map(|line| {
                let line = line.unwrap();
                let (_, rest) = line.split_once("listening=")?;
                rest.split_whitespace().next()?.parse().ok()
            })
            .expect("the platform says where it listens");
        // Writing to a closed pipe would fail.
        std::thread::spawn(move || lines.for_each(drop));
        let data = seen(&child, data);
        let agent = agent(&data);
        let mut platform =
            Self { dir, data, address, stop: None, thread: None, agent, admin: String::new() };
        platform.admin = platform.login("admin", PASSWORD);
        (platform, KilledOnDrop(child))
    }

    /// Stops the platform and starts it again with the same data.
    pub fn restart(mut self) -> Self {
        self.end();
        Self::start_in(self.dir.clone(), |_| ())
    }

    /// As [`Self::restart`], if the admin's password has changed.
    pub fn restart_as(mut self, password: &str) -> Self {
        self.end();
        Self::start_signed_in(self.dir.clone(), |_| (), password)
    }

    /// Stops the platform, copies its data as the documentation says, and starts it again.
    pub fn back_up(mut self) -> (Self, tempfile::TempDir) {
        self.end();
        let copy = tempfile::tempdir().unwrap();
        copy_directory(&self.data_dir(), copy.path());
        (Self::start_in(self.dir.clone(), |_| ()), copy)
    }

    /// Replaces the platform's data with a copy.
    pub fn restore(mut self, copy: &tempfile::TempDir) -> Self {
        self.end();
        std::fs::remove_dir_all(self.data_dir()).unwrap();
        copy_directory(copy.path(), &self.data_dir());
        Self::start_in(self.dir.clone(), |_| ())
    }

    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    pub fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data.clone()
    }

    pub fn ca_pem(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("ca.pem")).unwrap()
    }

    pub fn login(&self, user: &str, password: &str) -> String {
        let (status, answer) = self.call(
            "POST",
            "/api/v1/login",
            None,
            Some(json!({"user": user, "password": password})),
        );
        assert_eq!(status, 200, "{answer}");
        answer["token"].as_str().unwrap().to_owned()
    }

    /// Any request of the admin API.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (u16, Value) {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        if let Some(token) = token {
            headers.push(("authorization".to_owned(), format!("Bearer {token}")));
        }
        let answer = self.raw(method, path, &headers, &body);
        (answer.status, answer.json())
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call("GET", path, Some(&self.admin), None);
        assert_eq!(status, 200, "GET {path}: {answer}");
        answer
    }

    pub fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call("POST", path, Some(&self.admin), Some(body));
        assert!((200..300).contains(&status), "POST {path}: {status} {answer}");
        answer
    }

    pub fn put_yaml(&self, yaml: &str) -> (u16, Value) {
        let headers = [
            ("content-type".to_owned(), "application/yaml".to_owned()),
            ("authorization".to_owned(), format!("Bearer {}", self.admin)),
        ];
        let answer = self.raw("PUT", "/api/v1/policy", &headers, yaml.as_bytes());
        (answer.status, answer.json())
    }

    /// Stores a policy and commits it.
    pub fn commit(&self, yaml: &str) -> u64 {
        let (status, answer) = self.put_yaml(yaml);
        assert_eq!(status, 200, "{answer}");
        self.synchronize()["revision"].as_u64().unwrap()
    }

    /// Commits the candidate, whatever its impact.
    pub fn synchronize(&self) -> Value {
        let version = self.get("/api/v1/policy")["version"].clone();
        let wish = json!({"expected_version": version, "expected_impact": "any"});
        self.post("/api/v1/policy/synchronize", wish)
    }

    pub fn new_key(&self) -> EnforcementKey {
        self.post("/api/v1/enforcement-keys", json!({"name": "test"}))["key"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    pub fn policy_key(&self) -> PolicyPublicKey {
        self.get("/api/v1/platform")["policy_key"].as_str().unwrap().parse().unwrap()
    }

    /// The page of metrics.
    pub fn metrics(&self) -> String {
        String::from_utf8(self.raw("GET", "/metrics", &[], b"").body).unwrap()
    }

    /// The number of held polls.
    pub fn held_polls(&self) -> u64 {
        let page = self.metrics();
        let line = page.lines().find_map(|line| line.strip_prefix("xshield_polls_held "));
        line.map_or(0, |count| count.parse().unwrap())
    }

    /// An HTTP client of the platform.
    pub fn client(&self) -> TestClient {
        TestClient { agent: self.agent.clone(), address: self.address }
    }

    /// Any request.
    pub fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> RawAnswer {
        self.client().raw(method, path, headers, body)
    }
}

impl Drop for TestPlatform {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_directory(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// A process that is killed when the test ends, however it ends.
pub struct KilledOnDrop(Child);

impl KilledOnDrop {
    /// Its resident memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub fn settings(data_dir: &Path) -> Settings {
    let mut settings = Settings::new(data_dir.to_owned(), "127.0.0.1:0".parse().unwrap());
    settings.password_cost = PasswordCost::Cheap;
    settings.admin_password = Some(AdminPassword(PASSWORD.to_owned()));
    settings.gather_changes_ms = 10;
    settings.host_changes = 1000;
    settings.shutdown_grace = 5;
    settings.requests_per_second = 1000;
    settings.metrics_kept_ms = 0;
    settings
}
