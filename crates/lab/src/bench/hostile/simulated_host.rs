//! A simulated host: it uses the protocol and enforces nothing, so that thousands fit on one machine.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use xshield_policy::Ruleset;
use xshield_wire::message::{
    CheckIn, CheckInAnswer, HostFacts, InForce, Program, ProgramKind, Status, VERSION,
};
use xshield_wire::session::{self, Randomness, Session};
use xshield_wire::signature::{RequestParts, Signer, sign};
use xshield_wire::{Bytes, EnforcementKey, Envelope, IdentityKey};

use super::client::{Connection, Request, Response};
use crate::sys;

/// The magic number of compressed data (RFC 8878).
const ZSTD: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// A simulated host.
pub(super) struct SimulatedHost {
    name: String,
    identity: IdentityKey,
    key: EnforcementKey,
    session: Option<Session>,
    sequence: u64,
    pub(super) addresses: Vec<IpAddr>,
    /// The source address of its connections.
    pub(super) from: Ipv4Addr,
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

impl SimulatedHost {
    /// The host with this number, below 2^16.
    pub(super) fn new(number: u16, key: &EnforcementKey) -> Result<Self> {
        let [high, low] = number.to_be_bytes();
        Ok(Self {
            name: format!("guest-{number}"),
            identity: IdentityKey::from_seed(sys::random()?),
            key: key.clone(),
            session: None,
            sequence: 0,
            addresses: vec![Ipv4Addr::new(10, 200, high, low).into()],
            from: Ipv4Addr::new(127, 100, high, low.max(1)),
        })
    }

    /// Registers, or sets up another session.
    pub(super) fn register(&mut self, connection: &mut Connection) -> Result<()> {
        let response = self.ask_for_session(connection)?;
        let (pending, response) = response;
        let response = serde_json::from_slice(&response.well("a session")?)?;
        self.session = Some(pending.finish(response)?);
        Ok(())
    }

    /// Requests a session, whatever the response.
    pub(super) fn ask_for_session(
        &mut self,
        connection: &mut Connection,
    ) -> Result<(session::PendingSession, Response)> {
        let drawn = Randomness { ephemeral: sys::random()?, nonce: sys::random()? };
        let (request, pending) =
            session::start(&self.key, &self.identity, &self.name, now(), drawn);
        let body = serde_json::to_vec(&request)?;
        let response = connection.ask(Request {
            method: "POST",
            path: "/host/v1/session",
            headers: &[("content-type".to_owned(), "application/json".to_owned())],
            body: &body,
        })?;
        Ok((pending, response))
    }

    /// Checks in.
    pub(super) fn check_in(
        &mut self,
        connection: &mut Connection,
        in_force: Option<InForce>,
    ) -> Result<CheckInAnswer> {
        self.sequence += 1;
        let message = CheckIn {
            version: VERSION,
            sequence: self.sequence,
            program: Program { kind: ProgramKind::Spark, version: "0.1.0".to_owned() },
            host: HostFacts {
                name: self.name.clone(),
                os: "debian 12".to_owned(),
                kernel: "6.1.0".to_owned(),
                addresses: self.addresses.clone(),
                boot_id: "guest".to_owned(),
            },
            status: if in_force.is_some() { Status::Enforcing } else { Status::NoPolicy },
            in_force,
            problems: Vec::new(),
            threat: None,
            routes: Vec::new(),
            interval: None,
            configuration: None,
            usage: None,
            previous: (self.sequence > 1).then(|| self.sequence - 1),
            held: None,
            trust: None,
        };
        let body = serde_json::to_vec(&message)?;
        let (method, path) = ("POST", "/host/v1/check-in");
        let mut headers = self.headers(method, path, &body)?;
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        let answer = connection.ask(Request { method, path, headers: &headers, body: &body })?;
        Ok(serde_json::from_slice(&answer.well("a check-in")?)?)
    }

    /// Fetches its ruleset, compressed as for hosts, and verifies it.
    pub(super) fn fetch(&mut self, connection: &mut Connection) -> Result<InForce> {
        const WHAT: &str = "a ruleset";
        let path = "/host/v1/ruleset";
        let mut headers = self.headers("GET", path, &[])?;
        headers.push(("accept-encoding".to_owned(), "zstd".to_owned()));
        let request = Request { method: "GET", path, headers: &headers, body: &[] };
        let mut body = connection.ask(request)?.well(WHAT)?;
        if body.starts_with(&ZSTD) {
            let mut packed = body.as_slice();
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(&mut packed)
                .map_err(|error| anyhow::anyhow!("{WHAT}: {error}"))?;
            let mut unpacked = Vec::new();
            std::io::Read::read_to_end(&mut decoder, &mut unpacked)?;
            body = unpacked;
        }
        let envelope = Envelope::from_bytes(&body)?;
        let ruleset: Ruleset = serde_json::from_slice(envelope.payload())?;
        Ok(InForce { revision: ruleset.revision, digest: envelope.digest() })
    }

    /// Sends a compressed report, whatever the response.
    pub(super) fn report(&self, connection: &mut Connection, packed: &[u8]) -> Result<Response> {
        let (method, path) = ("POST", "/host/v1/reports");
        let mut headers = self.headers(method, path, packed)?;
        headers.push(("content-encoding".to_owned(), "zstd".to_owned()));
        connection.ask(Request { method, path, headers: &headers, body: packed })
    }

    fn headers(&self, method: &str, path: &str, body: &[u8]) -> Result<Vec<(String, String)>> {
        let session = self.session.as_ref().context("the host has no session")?;
        let signer = Signer { key: &session.key, asset: &session.asset, token: &session.token };
        let parts = RequestParts { method, path, query: None, body };
        let signed = sign(signer, &parts, now(), Bytes(sys::random()?));
        Ok(signed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}
