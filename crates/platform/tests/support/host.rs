//! A host that uses the host API.

use std::thread::JoinHandle;

use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::*;
use xshield_wire::session::{self, Randomness, Session};
use xshield_wire::signature::{RequestParts, Signer, sign};
use xshield_wire::{Bytes, EnforcementKey, IdentityKey};

use super::client::RawAnswer;
use super::platform::TestPlatform;
use super::{now, random};

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
