//! A platform that sends what a test tells it to: TLS, minimal HTTP, sessions, orders, files.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use ring::digest::{SHA256, digest};
use rustls::crypto::ring as provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use xshield_threat::codec::{delta, snapshot};
use xshield_threat::{Digest, Prefix, ThreatMode, ThreatSet};
use xshield_wire::keys::{EnforcementKey, KeyId, PolicyKey};
use xshield_wire::message::{
    CheckIn, CheckInAnswer, InForce, ProblemDocument, Report, ReportAnswer, SessionRequest, VERSION,
};
use xshield_wire::session::{self, Terms};
use xshield_wire::threat::{
    ListName, ThreatFile, ThreatFileKind, ThreatOrder, ThreatPath, ThreatWanted,
};
use xshield_wire::{Bytes, envelope};

pub(crate) const ASSET: &str = "a-host";

/// Damages a file before it is sent.
pub(crate) type Spoil = fn(ThreatFileKind, Vec<u8>) -> Vec<u8>;

/// What the platform sends, and what it received.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) order: Option<(ThreatWanted, Vec<u8>)>,
    /// Which ruleset is wanted, and the envelope that is sent.
    pub(crate) ruleset: Option<(InForce, Vec<u8>)>,
    /// All lists ever ordered; changes between any two are offered.
    lists: Vec<ThreatSet>,
    pub(crate) offers: Offers,
    /// What is sent instead of the files of these kinds.
    pub(crate) spoil: Option<Spoil>,
    /// What is sent instead of a path.
    pub(crate) mislead: Option<fn(ThreatPath) -> ThreatPath>,
    files: HashMap<String, (ThreatFileKind, Vec<u8>)>,
    /// What is wanted once a host has sent what it holds.
    pub(crate) caught_up: Option<(InForce, Vec<u8>)>,
    /// The answer to check-ins instead of accepting them: a status and a problem's kind.
    pub(crate) refuse: Option<(u16, &'static str)>,
    pub(crate) check_ins: Vec<CheckIn>,
    pub(crate) reports: Vec<Report>,
    pub(crate) requests: Vec<String>,
}

/// Which files are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Offers {
    #[default]
    Changes,
    WholeListsOnly,
    /// From the oldest list to the newest, one change after the other.
    EveryStep,
}

pub(crate) struct Platform {
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: String,
    script: Arc<Mutex<Script>>,
}

pub(crate) fn policy_key() -> PolicyKey {
    PolicyKey::from_seed([7; 32])
}

pub(crate) fn enforcement_key() -> EnforcementKey {
    EnforcementKey::new("k1".parse::<KeyId>().unwrap(), [3; 32])
}

pub(crate) fn set(entries: &str) -> ThreatSet {
    entries.split_whitespace().map(|entry| entry.parse::<Prefix>().unwrap()).collect()
}

pub(crate) fn order(sequence: u64, list: Option<&ThreatSet>) -> ThreatOrder {
    let list = list.map(|list| ListName {
        revision: sequence,
        digest: Bytes(list.digest().0),
        entries: list.len() as u64,
        least_confidence: 0,
        whole_entries: list.len() as u64,
    });
    ThreatOrder {
        asset: ASSET.parse().unwrap(),
        sequence,
        inbound: ThreatMode::Block,
        outbound: ThreatMode::Block,
        list,
        verify_every: 0,
    }
}

impl Platform {
    pub(crate) fn start() -> Self {
        let (ca_pem, config) = certify();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, script) = (Arc::clone(&config), Arc::clone(&shared));
                thread::spawn(move || serve(stream, config, &script));
            }
        });
        Self { address, ca_pem, script }
    }

    pub(crate) fn script<T>(&self, edit: impl FnOnce(&mut Script) -> T) -> T {
        edit(&mut self.script.lock().unwrap())
    }

    /// Orders a list of these entries.
    pub(crate) fn order(&self, sequence: u64, entries: &str) {
        self.order_set(sequence, &set(entries));
    }

    pub(crate) fn order_set(&self, sequence: u64, list: &ThreatSet) {
        self.script(|script| script.lists.push(list.clone()));
        self.give(&order(sequence, Some(list)));
    }

    /// Sends an order unchanged.
    pub(crate) fn give(&self, order: &ThreatOrder) {
        let sealed = envelope::seal(&policy_key(), order).unwrap();
        let wanted = ThreatWanted { sequence: order.sequence, order: sealed.digest() };
        self.script(|script| script.order = Some((wanted, sealed.to_bytes())));
    }

    /// Requests since the last call that fetched part of the list.
    pub(crate) fn fetched(&self) -> Vec<String> {
        self.script(|script| {
            let requests = std::mem::take(&mut script.requests);
            requests.into_iter().filter(|path| path.contains("/threat/")).collect()
        })
    }
}

fn certify() -> (String, Arc<ServerConfig>) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let chain = vec![server.signed_by(&key, &issuer).unwrap().der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (ca_pem, Arc::new(config))
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, script: &Mutex<Script>) {
    let connection = ServerConnection::new(config).unwrap();
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    while let Some((path, body)) = read_request(&mut reader) {
        let (status, answer) = script.lock().unwrap().answer(&path, &body);
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", answer.len());
        let out = reader.get_mut();
        if out.write_all(head.as_bytes()).and_then(|()| out.write_all(&answer)).is_err() {
            return;
        }
        let _ = out.flush();
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim_end().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((line.split(' ').nth(1)?.to_owned(), body))
}

impl Script {
    fn answer(&mut self, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        self.requests.push(path.to_owned());
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if let Some(name) = path.strip_prefix("/host/v1/threat/files/") {
            let Some((kind, bytes)) = self.files.get(name).cloned() else { return (404, vec![]) };
            return (200, self.spoil.map_or(bytes.clone(), |spoil| spoil(kind, bytes)));
        }
        let answer = match path {
            "/host/v1/session" => accept(body),
            "/host/v1/check-in" => {
                let check_in: CheckIn = serde_json::from_slice(body).unwrap();
                if check_in.held.is_some() && self.caught_up.is_some() {
                    self.ruleset = self.caught_up.take();
                }
                self.check_ins.push(check_in);
                if let Some((status, slug)) = self.refuse {
                    let number = self.check_ins.len();
                    let problem = ProblemDocument {
                        kind: format!("/problems/{slug}"),
                        title: "Not this one".to_owned(),
                        status,
                        detail: Some(format!("this is check-in {number}")),
                        field: None,
                    };
                    return (status, json(&problem));
                }
                json(&self.check_in_answer())
            }
            "/host/v1/reports" => {
                let mut unpacked = Vec::new();
                let mut decoder = ruzstd::decoding::StreamingDecoder::new(body).unwrap();
                decoder.read_to_end(&mut unpacked).unwrap();
                let report: Report = serde_json::from_slice(&unpacked).unwrap();
                let answer = ReportAnswer { version: VERSION, acknowledged: report.batch };
                self.reports.push(report);
                json(&answer)
            }
            "/host/v1/threat/order" => self.order.clone().map_or(vec![], |(_, bytes)| bytes),
            "/host/v1/ruleset" => self.ruleset.clone().map_or(vec![], |(_, bytes)| bytes),
            "/host/v1/threat/path" => json(&self.path(query)),
            _ => return (404, Vec::new()),
        };
        (200, answer)
    }

    fn check_in_answer(&self) -> CheckInAnswer {
        CheckInAnswer {
            version: VERSION,
            wanted: self.ruleset.as_ref().map(|(wanted, _)| *wanted),
            commands: Vec::new(),
            next_check_in: 300,
            time: now(),
            threat: self.order.as_ref().map(|(wanted, _)| *wanted),
            configuration: None,
            seen: None,
            problems: Vec::new(),
            trust: None,
        }
    }

    fn path(&mut self, query: &str) -> ThreatPath {
        let from: Option<Digest> =
            query.strip_prefix("from=").map(|digest| digest.parse().unwrap());
        let known = from.and_then(|from| self.lists.iter().position(|set| set.digest() == from));
        let lists = self.lists.clone();
        let target = lists.last().unwrap();
        let pairs: Vec<(Option<&ThreatSet>, &ThreatSet)> = match (known, self.offers) {
            (None, _) | (_, Offers::WholeListsOnly) => vec![(None, target)],
            (Some(at), Offers::Changes) => vec![(Some(&lists[at]), target)],
            (Some(at), Offers::EveryStep) => {
                lists[at..].windows(2).map(|pair| (Some(&pair[0]), &pair[1])).collect()
            }
        };
        let files = pairs.into_iter().map(|(base, to)| self.file(base, to)).collect();
        let path = ThreatPath { version: VERSION, files };
        self.mislead.map_or(path.clone(), |mislead| mislead(path))
    }

    fn file(&mut self, base: Option<&ThreatSet>, to: &ThreatSet) -> ThreatFile {
        let (kind, bytes) = match base {
            None => (ThreatFileKind::Snapshot, snapshot(to)),
            Some(base) => (ThreatFileKind::Delta, delta(base, to)),
        };
        let sha256: [u8; 32] = digest(&SHA256, &bytes).as_ref().try_into().unwrap();
        let file = ThreatFile {
            kind,
            sha256: Bytes(sha256),
            bytes: bytes.len() as u64,
            to: Bytes(to.digest().0),
        };
        self.files.insert(Digest(sha256).to_string(), (kind, bytes));
        file
    }
}

fn accept(body: &[u8]) -> Vec<u8> {
    let request: SessionRequest = serde_json::from_slice(body).unwrap();
    let key = enforcement_key();
    let proven = session::prove(&request, &key, now()).unwrap();
    let terms =
        Terms { asset: ASSET.parse().unwrap(), ephemeral: [5; 32], expires: now() + 86_400 };
    let (response, _) = proven.accept(terms, |_| "v4.local.test".to_owned()).unwrap();
    json(&response)
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
