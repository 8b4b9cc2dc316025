//! A platform: TLS with a certificate of its own CA, and minimal HTTP/1.1.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

/// How the platform behaves.
#[derive(Clone, Copy)]
pub(crate) struct Behaviour {
    pub(crate) version: &'static SupportedProtocolVersion,
    pub(crate) after_answer: AfterAnswer,
    pub(crate) names: &'static [&'static str],
    pub(crate) validity: Validity,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum AfterAnswer {
    KeepOpen,
    /// Closes the connection without announcing it.
    Close,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Validity {
    Now,
    LongAgo,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            version: &rustls::version::TLS13,
            after_answer: AfterAnswer::KeepOpen,
            names: &["127.0.0.1", "platform.test"],
            validity: Validity::Now,
        }
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: String,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(Behaviour::default())
    }

    pub(crate) fn with(behaviour: Behaviour) -> Self {
        let (ca_pem, config) = certify(behaviour);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let config = Arc::clone(&config);
                thread::spawn(move || serve(stream, config, behaviour.after_answer));
            }
        });
        Self { address, ca_pem, connections }
    }

    /// TCP connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn certify(behaviour: Behaviour) -> (String, Arc<ServerConfig>) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = behaviour.names.iter().map(|&name| name.to_owned()).collect();
    let mut server = CertificateParams::new(names).unwrap();
    if behaviour.validity == Validity::LongAgo {
        server.not_before = rcgen::date_time_ymd(2001, 1, 1);
        server.not_after = rcgen::date_time_ymd(2002, 1, 1);
    }
    let certificate = server.signed_by(&key, &issuer).unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[behaviour.version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (ca_certificate.pem(), Arc::new(config))
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, after: AfterAnswer) {
    let connection = ServerConnection::new(config).unwrap();
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    while let Some(request) = read_request(&mut reader) {
        if write_answer(reader.get_mut(), &request).is_err() || after == AfterAnswer::Close {
            return;
        }
    }
}

struct Received {
    line: String,
    head: String,
    body: Vec<u8>,
}

fn read_request(reader: &mut impl std::io::BufRead) -> Option<Received> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim_end().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&header);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received { line: line.trim_end().to_owned(), head, body })
}

/// `/status/N` answers with that status, `/big/N` with N bytes, `/endless` with a body that never
/// comes, anything else with the request.
fn write_answer(stream: &mut impl Write, request: &Received) -> std::io::Result<()> {
    let path = request.line.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match path.rsplit_once('/') {
        Some(("/status", status)) => (status.to_owned(), Vec::new()),
        Some(("/big", bytes)) => ("200".to_owned(), vec![b'x'; bytes.parse().unwrap()]),
        _ => {
            let mut body = format!("{}\n{}\n", request.line, request.head).into_bytes();
            body.extend_from_slice(&request.body);
            ("200".to_owned(), body)
        }
    };
    let length = if path == "/endless" { 1 << 16 } else { body.len() };
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nETag: \"e\"\r\n")?;
    if status.starts_with('3') {
        write!(stream, "Location: https://elsewhere.test/\r\n")?;
    }
    write!(stream, "\r\n")?;
    stream.write_all(&body)?;
    stream.flush()
}
