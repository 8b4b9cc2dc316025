//! A connection whose bytes are chosen by the test.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// TLS without HTTP.
pub struct Plain(StreamOwned<ClientConnection, TcpStream>);

impl Plain {
    /// A connection to a platform with this data directory. Fails if something takes longer than `timeout`.
    pub fn open(address: SocketAddr, data: &Path, timeout: Duration) -> io::Result<Self> {
        let ca = CertificateDer::from_pem_file(data.join("ca.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(timeout))?;
        tcp.set_write_timeout(Some(timeout))?;
        let name = ServerName::from(address.ip());
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(tls, tcp);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Self(stream))
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// Ends the sending side, and continues to receive.
    pub fn end_sending(&mut self) -> io::Result<()> {
        self.0.conn.send_close_notify();
        self.0.flush()?;
        self.0.sock.shutdown(std::net::Shutdown::Write)
    }

    /// The first line of the answer.
    pub fn status_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            if self.0.read(&mut byte)? == 0 {
                break;
            }
            line.extend_from_slice(&byte);
        }
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }
}

impl Plain {
    /// Everything received until the connection ends, however it ends.
    pub fn until_the_end(&mut self) -> String {
        let mut all = Vec::new();
        // The peer need not end the TLS session properly.
        let _ = self.0.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    }

    /// The head of the answer.
    pub fn head(&mut self) -> io::Result<String> {
        let mut head = String::new();
        loop {
            let line = self.status_line()?;
            if line.is_empty() {
                return Ok(head);
            }
            head.push_str(&line);
            head.push('\n');
        }
    }
}

/// The head of a request.
pub fn head(method: &str, path: &str, headers: &[(String, String)], length: usize) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}
