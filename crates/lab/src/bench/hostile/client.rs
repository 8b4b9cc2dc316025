//! An HTTP client of a platform that opens its own connections, from any loopback address.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::sys;

/// The maximum time to wait for a response.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);
/// The largest response that is read.
const LARGEST: usize = 256 << 20;

/// The address of a platform, and how to connect to it.
#[derive(Debug, Clone)]
pub(super) struct PlatformEndpoint {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl PlatformEndpoint {
    /// A platform whose CA certificate is in this file. TLS sessions are not resumed: the connections
    /// represent many hosts.
    pub(super) fn new(address: SocketAddr, ca: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.resumption = Resumption::disabled();
        Ok(Self { address, tls: Arc::new(tls) })
    }

    /// A new connection from an address of this machine.
    pub(super) fn open(&self, from: Ipv4Addr) -> Result<Connection> {
        let stream = sys::connect_from(from, self.address)
            .with_context(|| format!("connecting from {from} to {} failed", self.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let name = ServerName::from(self.address.ip());
        let tls = ClientConnection::new(self.tls.clone(), name)?;
        Ok(Connection(BufReader::new(StreamOwned::new(tls, stream))))
    }
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) headers: &'a [(String, String)],
    pub(super) body: &'a [u8],
}

/// A response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Response {
    /// The body of a successful response.
    pub(super) fn well(self, what: &str) -> Result<Vec<u8>> {
        let Self { status, body } = self;
        ensure!(
            (200..300).contains(&status),
            "{what}: status {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }
}

/// A connection for consecutive requests.
pub(super) struct Connection(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Connection {
    /// Sends a request and reads the response.
    pub(super) fn ask(&mut self, request: Request<'_>) -> Result<Response> {
        self.send(request)?;
        self.answer().with_context(|| format!("{} {}", request.method, request.path))
    }

    /// Sends a request without reading the response.
    pub(super) fn send(&mut self, request: Request<'_>) -> Result<()> {
        let Request { method, path, headers, body } = request;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: platform\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        self.write(head.as_bytes())?;
        self.write(body)
    }

    /// Sends raw bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let stream = self.0.get_mut();
        stream.write_all(bytes)?;
        Ok(stream.flush()?)
    }

    fn answer(&mut self) -> Result<Response> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("{line:?} is no status line"))?;
        let mut length = 0usize;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        ensure!(length <= LARGEST, "an answer of {length} bytes");
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(Response { status, body })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line)?;
        ensure!(read > 0, "the platform closed the connection");
        Ok(line.trim_end().to_owned())
    }
}
