//! A new host discovers its platform while other servers impersonate it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use xshield_enforce::discover::{DiscoverError, PlatformLocation, discover};
use xshield_enforce::{DeploymentKey, EnforcementKey, Program, ProgramKind, ProxyList};
use xshield_wire::keys::PolicyKey;
use xshield_wire::message::Message as _;
use xshield_wire::trust::{Der, PublicTrust, TrustError, VouchedTrust};

const SECRET: [u8; 32] = [0xA7; 32];

/// A server with its own CA that answers with `says`.
struct Server {
    address: SocketAddr,
    ca: Vec<u8>,
    says: Arc<Mutex<(u16, Vec<u8>)>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let (ca, config) = certify();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (says, heard) = (Arc::new(Mutex::new((404, vec![]))), Arc::default());
        let (says_too, heard_too) = (Arc::clone(&says), Arc::clone(&heard));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                let (says, heard) = (Arc::clone(&says_too), Arc::clone(&heard_too));
                thread::spawn(move || serve(stream, config, &says, &heard));
            }
        });
        Self { address, ca, says, heard }
    }

    fn trust(&self) -> PublicTrust {
        let policy_keys = vec![PolicyKey::from_seed([7; 32]).public()];
        PublicTrust { version: 1, ca: vec![Der(self.ca.clone())], policy_keys }
    }

    fn say(&self, status: u16, body: Vec<u8>) {
        *self.says.lock().unwrap() = (status, body);
    }

    fn heard(&self) -> String {
        self.heard.lock().unwrap().concat()
    }
}

fn certify() -> (Vec<u8>, Arc<ServerConfig>) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = ca.self_signed(&ca_key).unwrap().der().to_vec();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let chain = vec![own.signed_by(&key, &issuer).unwrap().der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (certificate, Arc::new(config))
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    says: &Mutex<(u16, Vec<u8>)>,
    heard: &Mutex<Vec<String>>,
) {
    let connection = ServerConnection::new(config).unwrap();
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let (status, body) = match head.starts_with("GET /host/v1/trust ") {
            true => says.lock().unwrap().clone(),
            false => (200, b"ok\n".to_vec()),
        };
        heard.lock().unwrap().push(head);
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
        let out = reader.get_mut();
        if out.write_all(answer.as_bytes()).and_then(|()| out.write_all(&body)).is_err() {
            return;
        }
        let _ = out.flush();
    }
}

/// A proxy that connects to `platform` whatever the request names, and records the requests.
fn proxy(platform: SocketAddr) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<Mutex<String>> = Arc::default();
    let asked_too = Arc::clone(&asked);
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            asked_too.lock().unwrap().push_str(&String::from_utf8(head).unwrap());
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let server = TcpStream::connect(platform).unwrap();
            let ways = [(&client, &server), (&server, &client)];
            for (from, to) in ways.map(|(a, b)| (a.try_clone().unwrap(), b.try_clone().unwrap())) {
                let (mut from, mut to) = (from, to);
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    (address, asked)
}

fn key(trust: &PublicTrust) -> DeploymentKey {
    let enforcement = EnforcementKey::new("k1".parse().unwrap(), SECRET);
    DeploymentKey::new(enforcement, trust.digest())
}

fn ask(at: SocketAddr, proxies: &str, key: &DeploymentKey) -> Result<VouchedTrust, DiscoverError> {
    let platform = format!("https://{at}").parse().unwrap();
    let proxies = ProxyList::parse(proxies, "", "").unwrap();
    let program = Program { kind: ProgramKind::Agent, version: "1".into() };
    let root = tempfile::tempdir().unwrap();
    let place = PlatformLocation { platform: &platform, proxies: &proxies, program: &program };
    discover(&place, key, &xshield_enforce::linux::Linux::new(root.path().to_owned()))
}

#[test]
fn the_platform_of_the_key_is_trusted_and_never_sees_the_key() {
    let server = Server::start();
    server.say(200, server.trust().to_json().unwrap());
    let key = key(&server.trust());
    let trust = ask(server.address, "", &key).unwrap();
    assert_eq!(trust.policy_keys(), server.trust().policy_keys);
    assert_eq!(trust, key.vouch(server.trust()).unwrap());
    let heard = server.heard();
    assert!(heard.starts_with("GET /host/v1/trust HTTP/1.1\r\n"), "{heard}");
    assert!(!heard.to_ascii_lowercase().contains("authorization"), "{heard}");
    assert!(!heard.contains("k1") && !heard.contains(key.to_text().as_str()), "{heard}");
}

#[test]
fn the_platform_is_found_through_proxies_and_past_a_dead_one() {
    let server = Server::start();
    server.say(200, server.trust().to_json().unwrap());
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (address, asked) = proxy(server.address);
    // The platform can only be reached through the proxy.
    let nowhere: SocketAddr = format!("127.0.0.1:{}", dead.port()).parse().unwrap();
    let proxies = format!("{dead},{address}");
    ask(nowhere, &proxies, &key(&server.trust())).unwrap();
    let asked = asked.lock().unwrap();
    assert_eq!(asked.matches(&format!("CONNECT {nowhere} ")).count(), 2, "{asked}");
}

#[test]
fn another_platform_is_refused() {
    let (server, other) = (Server::start(), Server::start());
    server.say(200, server.trust().to_json().unwrap());
    let refused = ask(server.address, "", &key(&other.trust())).unwrap_err();
    assert!(matches!(refused, DiscoverError::Trust(TrustError::Other { .. })), "{refused:?}");
    assert!(
        refused.to_string().contains("is not the one for which this key was created"),
        "{refused}"
    );
}

#[test]
fn a_relay_of_the_platforms_answers_is_not_the_platform() {
    let (server, man_in_the_middle) = (Server::start(), Server::start());
    server.say(200, server.trust().to_json().unwrap());
    man_in_the_middle.say(200, server.trust().to_json().unwrap());
    let key = key(&server.trust());
    ask(server.address, "", &key).expect("the platform itself is believed");
    let refused = ask(man_in_the_middle.address, "", &key).unwrap_err();
    assert!(matches!(refused, DiscoverError::Impostor { .. }), "{refused:?}");
}

#[test]
fn invalid_trust_answers_are_distinguished() {
    let server = Server::start();
    let key = key(&server.trust());
    server.say(404, Vec::new());
    let refused = ask(server.address, "", &key).unwrap_err();
    assert!(matches!(refused, DiscoverError::Refused { status: 404, .. }), "{refused:?}");
    let newer = PublicTrust { version: 7, ..server.trust() };
    for garbage in [b"<html>".to_vec(), b"{}".to_vec(), newer.to_json().unwrap()] {
        server.say(200, garbage);
        let refused = ask(server.address, "", &key).unwrap_err();
        assert!(matches!(refused, DiscoverError::Garbled { .. }), "{refused:?}");
    }
    server.say(200, vec![b' '; 1 << 20]);
    let refused = ask(server.address, "", &key).unwrap_err();
    assert!(matches!(refused, DiscoverError::Unreachable(_)), "{refused:?}");
}
