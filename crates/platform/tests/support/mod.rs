//! A platform on loopback, a client of its admin API, and hosts that use its host API.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is wrong")]

pub mod matches;
pub mod plain;
pub mod receivers;
pub mod reports;
pub mod slow_platform;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use xshield_server::serve;
use xshield_server::settings::{AdminPassword, PasswordCost, Settings};
use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::*;
use xshield_wire::session::{self, Randomness, Session};
use xshield_wire::signature::{RequestParts, Signer, sign};
use xshield_wire::{Bytes, EnforcementKey, IdentityKey, PolicyPublicKey};

pub const PASSWORD: &str = "correct horse battery";

pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

pub fn random<const N: usize>() -> [u8; N] {
    xshield_operations::ids::random().unwrap()
}

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

/// An HTTP client of a platform.
pub struct TestClient {
    agent: ureq::Agent,
    address: SocketAddr,
}

impl TestClient {
    /// Any request.
    pub fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> RawAnswer {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let agent = &self.agent;
        let answer = if body.is_empty() && method != "POST" && method != "PUT" {
            agent.run(request.body(()).unwrap())
        } else {
            agent.run(request.body(body).unwrap())
        };
        let mut answer = answer.unwrap();
        let headers = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(64 << 20).read_to_vec().unwrap();
        RawAnswer { status, headers, body }
    }
}

impl TestClient {
    /// Sends a POST request, and disconnects without waiting for the answer once `until` is done.
    pub fn send_and_leave(
        &self,
        path: &str,
        headers: &[(String, String)],
        body: &[u8],
        until: impl FnOnce(),
    ) {
        use std::io::Write as _;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
            .with_no_client_auth();
        let name = rustls::pki_types::ServerName::from(self.address.ip());
        let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = std::net::TcpStream::connect(self.address).unwrap();
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let mut stream = rustls::Stream::new(&mut tls, &mut stream);
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        stream.flush().unwrap();
        until();
    }
}

/// Accepts every certificate: the server is the test's own, on loopback.
#[derive(Debug)]
struct AnyCertificate;

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
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

fn agent(data: &Path) -> ureq::Agent {
    let pem = std::fs::read(data.join("ca.pem")).unwrap();
    let ca = Certificate::from_pem(&pem).unwrap();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[ca]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
}

pub struct RawAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl RawAnswer {
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&self.body).into_owned()))
    }

    /// The last part of the problem's type; empty when there is no problem.
    pub fn problem(&self) -> String {
        let kind = self.json()["type"].as_str().unwrap_or_default().to_owned();
        kind.trim_start_matches("/problems/").to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A host from the platform's point of view.
pub struct TestHost {
    pub name: String,
    pub identity: IdentityKey,
    pub key: EnforcementKey,
    pub session: Option<Session>,
    pub sequence: u64,
    pub addresses: Vec<std::net::IpAddr>,
}

impl TestHost {
    pub fn new(name: &str, key: &EnforcementKey) -> Self {
        Self {
            name: name.to_owned(),
            identity: IdentityKey::from_seed(random()),
            key: key.clone(),
            session: None,
            sequence: 0,
            addresses: vec![
                std::net::Ipv4Addr::from(
                    0x0a00_0000 | (u32::from_be_bytes(random()) & 0x00ff_ffff),
                )
                .into(),
            ],
        }
    }

    /// The fingerprint as its programs show it.
    pub fn fingerprint(&self) -> String {
        IdentityFingerprint::of(&self.identity.public()).to_string()
    }

    /// A session request, for tests that record it.
    pub fn session_request(&self, time: u64) -> Vec<u8> {
        let drawn = Randomness { ephemeral: random(), nonce: random() };
        let (request, _) = session::start(&self.key, &self.identity, &self.name, time, drawn);
        serde_json::to_vec(&request).unwrap()
    }

    pub fn session_at(&mut self, platform: &TestPlatform, time: u64) -> RawAnswer {
        let drawn = Randomness { ephemeral: random(), nonce: random() };
        let (request, pending) = session::start(&self.key, &self.identity, &self.name, time, drawn);
        let body = serde_json::to_vec(&request).unwrap();
        let answer = platform.raw("POST", "/host/v1/session", &[], &body);
        if answer.status == 200 {
            let response = serde_json::from_slice(&answer.body).unwrap();
            self.session = Some(pending.finish(response).unwrap());
        }
        answer
    }

    pub fn sign_in(&mut self, platform: &TestPlatform) -> &Session {
        let answer = self.session_at(platform, now());
        assert_eq!(answer.status, 200, "{}", answer.json());
        self.session.as_ref().unwrap()
    }

    pub fn headers(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        time: u64,
    ) -> Vec<(String, String)> {
        self.headers_of(&RequestParts { method, path, query: None, body }, time)
    }

    fn headers_of(&self, parts: &RequestParts<'_>, time: u64) -> Vec<(String, String)> {
        let session = self.session.as_ref().expect("a session");
        let signer = Signer { key: &session.key, asset: &session.asset, token: &session.token };
        sign(signer, parts, time, Bytes(random()))
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    pub fn send(
        &self,
        platform: &TestPlatform,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> RawAnswer {
        platform.raw(method, path, &self.headers(method, path, body, now()), body)
    }

    /// As [`Self::send`], with a query.
    pub fn send_query(
        &self,
        platform: &TestPlatform,
        method: &str,
        path: &str,
        query: &str,
        body: &[u8],
    ) -> RawAnswer {
        let parts = RequestParts { method, path, query: Some(query), body };
        let headers = self.headers_of(&parts, now());
        platform.raw(method, &format!("{path}?{query}"), &headers, body)
    }

    /// A poll for changes since `seen`.
    pub fn poll(&self, platform: &TestPlatform, seen: Option<&str>) -> RawAnswer {
        match seen {
            Some(seen) => {
                self.send_query(platform, "GET", "/host/v1/notify", &format!("seen={seen}"), b"")
            }
            None => self.send(platform, "GET", "/host/v1/notify", b""),
        }
    }

    /// A poll in a thread of its own.
    pub fn poll_in_background(&self, platform: &TestPlatform, seen: &str) -> JoinHandle<RawAnswer> {
        let (path, query) = ("/host/v1/notify", format!("seen={seen}"));
        let parts = RequestParts { method: "GET", path, query: Some(&query), body: b"" };
        let headers = self.headers_of(&parts, now());
        let client = platform.client();
        std::thread::spawn(move || client.raw("GET", &format!("{path}?{query}"), &headers, b""))
    }

    pub fn check_in_message(&mut self) -> CheckIn {
        self.sequence += 1;
        CheckIn {
            version: VERSION,
            sequence: self.sequence,
            program: Program { kind: ProgramKind::Spark, version: "0.1.0".to_owned() },
            host: HostFacts {
                name: self.name.clone(),
                os: "debian 12".to_owned(),
                kernel: "6.1.0".to_owned(),
                addresses: self.addresses.clone(),
                boot_id: "b".to_owned(),
            },
            status: Status::NoPolicy,
            in_force: None,
            problems: Vec::new(),
            threat: None,
            routes: Vec::new(),
            interval: None,
            configuration: None,
            usage: None,
            previous: None,
            held: None,
            trust: None,
        }
    }

    pub fn check_in(&mut self, platform: &TestPlatform) -> CheckInAnswer {
        let message = self.check_in_message();
        self.check_in_with(platform, &message)
    }

    pub fn check_in_with(&mut self, platform: &TestPlatform, message: &CheckIn) -> CheckInAnswer {
        let body = serde_json::to_vec(message).unwrap();
        let answer = self.send(platform, "POST", "/host/v1/check-in", &body);
        assert_eq!(answer.status, 200, "{}", answer.json());
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub fn report(&self, platform: &TestPlatform, report: &Report) -> RawAnswer {
        let body = zstd::bulk::compress(&serde_json::to_vec(report).unwrap(), 3).unwrap();
        self.send(platform, "POST", "/host/v1/reports", &body)
    }
}

pub fn report(body: ReportBody) -> Report {
    Report { version: VERSION, batch: Bytes(random()), created: now(), body }
}

/// Waits until `look` finds something.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(Duration::from_secs(20), look).unwrap_or_else(|| panic!("{what} did not happen"))
}

/// Waits for so long at most until `look` finds something.
pub fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
