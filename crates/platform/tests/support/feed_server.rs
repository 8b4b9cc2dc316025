//! A web server on loopback that answers as a test wants, over TCP or TLS.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

/// A request's first line and headers, in lower case.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    pub line: String,
    pub headers: Vec<String>,
}

impl ReceivedRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find_map(|header| header.strip_prefix(name));
        found.and_then(|rest| rest.strip_prefix(':')).map(str::trim)
    }
}

type Answering = dyn Fn(&ReceivedRequest, &mut dyn Write) -> std::io::Result<()> + Send + Sync;

/// Runs until the test ends.
pub struct FeedServer {
    pub address: SocketAddr,
    /// The CA of its certificate.
    pub ca: String,
    asked: Arc<Mutex<Vec<ReceivedRequest>>>,
}

/// The expiry of its certificate.
#[derive(Debug, Clone, Copy)]
pub enum Certificate {
    Good,
    Expired,
}

impl FeedServer {
    /// Over plain TCP.
    pub fn plain(
        answer: impl Fn(&ReceivedRequest, &mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::start(None, Arc::new(answer), String::new())
    }

    /// Over TLS.
    pub fn tls(
        certificate: Certificate,
        answer: impl Fn(&ReceivedRequest, &mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let day = time::Duration::days(1);
        let now = OffsetDateTime::now_utc();
        params.not_before = now - day * 30;
        params.not_after = match certificate {
            Certificate::Good => now + day,
            Certificate::Expired => now - day,
        };
        let certificate = params.self_signed(&key).unwrap();
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        Self::start(Some(Arc::new(config)), Arc::new(answer), certificate.pem())
    }

    fn start(tls: Option<Arc<rustls::ServerConfig>>, answer: Arc<Answering>, ca: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { break };
                let (tls, answer, noted) = (tls.clone(), answer.clone(), noted.clone());
                // Many tests include a client that disconnects in the middle.
                std::thread::spawn(move || match tls {
                    None => drop(serve(stream, &noted, &*answer)),
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(config).unwrap();
                        let stream = rustls::StreamOwned::new(connection, stream);
                        drop(serve(stream, &noted, &*answer));
                    }
                });
            }
        });
        Self { address, ca, asked }
    }

    pub fn url(&self, path: &str) -> String {
        let scheme = if self.ca.is_empty() { "http" } else { "https" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<ReceivedRequest> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve<S: Read + Write>(
    stream: S,
    noted: &Mutex<Vec<ReceivedRequest>>,
    answer: &Answering,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap_or((&header, ""));
        headers.push(format!("{}:{}", name.to_lowercase(), value.trim()));
    }
    let asked = ReceivedRequest { line: line.trim().to_owned(), headers };
    noted.lock().unwrap().push(asked.clone());
    let stream = reader.get_mut();
    answer(&asked, stream)?;
    stream.flush()
}

/// A complete response.
pub fn send(out: &mut dyn Write, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(
        out,
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    )?;
    out.write_all(body)
}

/// Sends part of a response and then nothing until the test is over.
pub fn stall(out: &mut dyn Write, until: &Mutex<Receiver<()>>) -> std::io::Result<()> {
    write!(out, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n198.51.100.1\n")?;
    out.flush()?;
    // An error is the end of the test.
    let _ended = until.lock().unwrap().recv();
    Ok(())
}
