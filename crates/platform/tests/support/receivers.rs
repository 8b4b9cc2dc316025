//! Receivers of alerts: TLS servers with their own certificate.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A certificate for this machine, and its CA.
pub struct Identity {
    pub ca: String,
    pub config: Arc<ServerConfig>,
}

impl Identity {
    pub fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test CA");
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(params, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        Self { ca: ca.pem(), config: Arc::new(config) }
    }
}

/// A request received by a webhook.
#[derive(Debug, Clone)]
pub struct Posted {
    pub head: String,
    pub body: String,
}

impl Posted {
    pub fn header(&self, name: &str) -> String {
        let found = self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then(|| value.to_owned())
        });
        found.unwrap_or_default()
    }
}

/// A webhook's receiver, which answers with the given status line.
pub struct Webhook {
    pub address: SocketAddr,
    pub posted: Arc<Mutex<Vec<Posted>>>,
    pub answer: Arc<Mutex<String>>,
}

impl Webhook {
    pub fn start(identity: &Identity) -> Self {
        let posted: Arc<Mutex<Vec<Posted>>> = Arc::default();
        let answer = Arc::new(Mutex::new("200 OK".to_owned()));
        let (kept, answers) = (posted.clone(), answer.clone());
        let address = accept(identity, move |stream| {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head).unwrap_or(0) == 0 {
                    return;
                }
            }
            let length = Posted { head: head.clone(), body: String::new() };
            let length: usize = length.header("content-length").parse().unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let body = String::from_utf8(body).unwrap();
            kept.lock().unwrap().push(Posted { head, body });
            let status = answers.lock().unwrap().clone();
            let text = format!(
                "HTTP/1.1 {status}\r\ncontent-length: 5\r\nconnection: close\r\n\r\nfine\n"
            );
            let stream = stream.get_mut();
            drop(stream.write_all(text.as_bytes()));
            drop(stream.flush());
        });
        Self { address, posted, answer }
    }

    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }
}

/// A syslog receiver (RFC 5425).
pub struct Syslog {
    pub address: SocketAddr,
    messages: Arc<Mutex<Vec<String>>>,
}

impl Syslog {
    pub fn start(identity: &Identity) -> Self {
        let messages: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = messages.clone();
        let address = accept(identity, move |stream| {
            let mut stream = BufReader::new(stream);
            loop {
                let mut length = Vec::new();
                if stream.read_until(b' ', &mut length).unwrap_or(0) == 0 {
                    return;
                }
                let length = String::from_utf8(length).unwrap();
                let mut message = vec![0; length.trim_end().parse().unwrap()];
                stream.read_exact(&mut message).unwrap();
                kept.lock().unwrap().push(String::from_utf8(message).unwrap());
            }
        });
        Self { address, messages }
    }

    pub fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

fn accept(identity: &Identity, serve: impl Fn(Stream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (config, serve) = (identity.config.clone(), Arc::new(serve));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, config, serve) = (stream.unwrap(), config.clone(), serve.clone());
            std::thread::spawn(move || {
                serve(StreamOwned::new(ServerConnection::new(config).unwrap(), stream));
            });
        }
    });
    address
}
