//! Working and failing proxies.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use xshield_transport::{Proxy, Secret};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Connects.
    Good,
    /// Connects clients with these credentials; answers 407 to others.
    Wants(&'static str),
    /// The port is closed.
    Dead,
    /// Accepts connections and never answers.
    Hanging,
    /// Closes at once.
    Closing,
    /// 502.
    Refusing,
    /// 403.
    Forbidding,
    /// Answers something that is not HTTP.
    Babbling,
}

pub(crate) struct TestProxy {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    /// Connects to `platform`, whatever the request names.
    pub(crate) fn start(kind: Kind, platform: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        if kind != Kind::Dead {
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let log = Arc::clone(&log);
                    thread::spawn(move || serve(kind, stream, platform, &log));
                }
            });
        }
        Self { address, seen }
    }

    /// The CONNECT lines received so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn plain(&self) -> Proxy {
        Proxy { address: self.address.into(), user: None, password: None }
    }

    pub(crate) fn with_credentials(&self, user: &str, password: &str) -> Proxy {
        Proxy {
            address: self.address.into(),
            user: Some(user.to_owned()),
            password: Some(Secret::new(password.to_owned())),
        }
    }
}

fn serve(kind: Kind, stream: TcpStream, platform: SocketAddr, log: &Mutex<Vec<String>>) {
    if kind == Kind::Closing {
        return;
    }
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut connect, mut authorization) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end();
        if connect.is_empty() {
            line.clone_into(&mut connect);
        }
        if let Some(basic) = line.strip_prefix("Proxy-Authorization: Basic ") {
            authorization = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    log.lock().unwrap().push(connect);
    let mut stream = stream;
    let refusal = match kind {
        Kind::Wants(credentials) if credentials != authorization => {
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"
        }
        Kind::Refusing => "HTTP/1.1 502 Bad Gateway\r\n\r\n",
        Kind::Forbidding => "HTTP/1.1 403 Forbidden\r\n\r\n",
        Kind::Babbling => "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        Kind::Hanging => {
            // Until the other side closes.
            let _ = stream.read(&mut [0; 1]);
            return;
        }
        _ => return tunnel(stream, platform),
    };
    let _ = stream.write_all(refusal.as_bytes());
}

fn tunnel(mut client: TcpStream, platform: SocketAddr) {
    let server = TcpStream::connect(platform).unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
    let up = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let upwards = thread::spawn(move || copy(up.0, up.1));
    copy(server, client);
    let _ = upwards.join();
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}
