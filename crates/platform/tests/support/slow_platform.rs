//! A server that answers like a platform, or not at all: for what happens while a client waits.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// A reply.
pub enum Reply {
    /// A complete one.
    Json(Value),
    /// The first bytes of a longer announced one, and then nothing more.
    PartOf(usize, &'static [u8]),
    /// None.
    Nothing,
}

/// A platform that listens until the test ends.
pub struct SlowPlatform {
    pub url: String,
    /// The certificate to be trusted.
    pub ca: String,
    /// Method and path of each request.
    pub asked: Receiver<String>,
}

impl SlowPlatform {
    pub fn start(says: fn(&str) -> Reply) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (tell, asked) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, tell) = (config.clone(), tell.clone());
                std::thread::spawn(move || serve(stream.unwrap(), config, &tell, says));
            }
        });
        Self { url, ca: made.cert.pem(), asked }
    }

    /// Waits for this request.
    pub fn wait_for(&self, request: &str) {
        while self.asked.recv().unwrap() != request {}
    }
}

/// Ends with the connection, however it ends.
fn serve(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    tell: &Sender<String>,
    says: fn(&str) -> Reply,
) -> Option<()> {
    let tls = StreamOwned::new(ServerConnection::new(config).unwrap(), tcp);
    let mut stream = BufReader::new(tls);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        stream.read_line(&mut first).ok().filter(|read| *read > 0)?;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        stream.read_exact(&mut vec![0; length]).ok()?;
        let request = first.trim().trim_end_matches(" HTTP/1.1").to_owned();
        let answer = says(&request);
        // The test may be over.
        let _ = tell.send(request);
        let (length, body) = match answer {
            Reply::Json(value) => {
                let body = value.to_string().into_bytes();
                (body.len(), body)
            }
            Reply::PartOf(length, part) => (length, part.to_vec()),
            Reply::Nothing => (0, Vec::new()),
        };
        if !body.is_empty() {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let out = stream.get_mut();
            out.write_all(&[head.as_bytes(), &body].concat()).and_then(|()| out.flush()).ok()?;
        }
        if body.len() < length || body.is_empty() {
            // Until the peer disconnects.
            let _ = stream.read(&mut [0]);
            return None;
        }
    }
}
