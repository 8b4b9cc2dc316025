//! A mail server for tests: supports enough SMTP (RFC 5321) with STARTTLS (RFC 3207) and AUTH (RFC 4954) for
//! real clients, keeps what it accepts, and misbehaves on request.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// An accepted mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and text, as received.
    pub data: String,
    /// User and password, if the client logged in.
    pub login: Option<(String, String)>,
    /// Whether it came through TLS.
    pub protection: Protection,
}

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Not at all.
    None,
    /// By TLS.
    Tls,
}

/// What happens to a completely received mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMail {
    /// It is kept and acknowledged.
    Accept,
    /// It is not kept: 451.
    Refuse,
    /// It is kept but not acknowledged: as if the connection broke at the worst moment.
    AcceptSilently,
}

/// What the server offers and requires.
#[derive(Clone, Default)]
pub struct Options {
    /// If set, STARTTLS is offered and required.
    pub tls: Option<Arc<ServerConfig>>,
    /// The required user and password.
    pub login: Option<(String, String)>,
}

#[derive(Debug)]
struct State {
    mails: Vec<Mail>,
    on_mail: OnMail,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A running server; ends with the process, or when [stopped](Self::stop).
#[derive(Debug)]
pub struct SmtpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stopped: Arc<std::sync::atomic::AtomicBool>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SmtpServer {
    /// Serves on this listener.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn start(listener: TcpListener, options: Options) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let state = Mutex::new(State { mails: Vec::new(), on_mail: OnMail::Accept });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let stopped = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (theirs, ended) = (shared.clone(), stopped.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(std::sync::atomic::Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (shared, options) = (theirs.clone(), options.clone());
                std::thread::spawn(move || {
                    // A client may disconnect at any time.
                    let _ = serve(stream, &shared, &options);
                });
            }
        });
        Ok(Self { address, shared, stopped })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what happens to mails from now on.
    pub fn on_mail(&self, on_mail: OnMail) {
        self.shared.state().on_mail = on_mail;
    }

    /// The mails accepted so far.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.shared.state().mails.clone()
    }

    /// Waits until there are at least `count` mails, or `within` has passed; returns the mails.
    #[must_use]
    pub fn wait_for(&self, count: usize, within: Duration) -> Vec<Mail> {
        let deadline = Instant::now() + within;
        let mut state = self.shared.state();
        while state.mails.len() < count {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.mails.clone()
    }

    /// Stops listening: clients are refused.
    pub fn stop(&self) {
        self.stopped.store(true, std::sync::atomic::Ordering::SeqCst);
        // Wakes the listener, which then ends.
        drop(TcpStream::connect(self.address));
    }
}

impl Mail {
    /// A header's value, unfolded but not decoded.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.data.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ");
        head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    }

    /// The text after the headers, decoded from quoted-printable.
    #[must_use]
    pub fn text(&self) -> String {
        let body = self.data.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let encoding = self.header("Content-Transfer-Encoding").unwrap_or_default();
        match encoding.as_str() {
            "quoted-printable" => quoted_printable(body),
            "base64" => {
                let packed: String = body.split_whitespace().collect();
                let bytes = STANDARD.decode(packed).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            _ => body.to_owned(),
        }
    }
}

fn quoted_printable(body: &str) -> String {
    let joined = body.replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = joined.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'=' {
            bytes.push(byte);
            continue;
        }
        let pair: Vec<u8> = rest.by_ref().take(2).collect();
        let text = String::from_utf8_lossy(&pair).into_owned();
        bytes.extend(u8::from_str_radix(&text, 16).ok());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How a session ended.
enum End {
    Quit,
    /// The client wants TLS.
    StartTls,
}

fn serve(stream: TcpStream, shared: &Shared, options: &Options) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut plain = stream.try_clone()?;
    plain.write_all(b"220 lab ESMTP\r\n")?;
    let mut session = Session { shared, options, protection: Protection::None, login: None };
    match session.talk(plain)? {
        End::Quit => Ok(()),
        End::StartTls => {
            let Some(tls) = options.tls.clone() else { return Ok(()) };
            let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
            session.protection = Protection::Tls;
            session.talk(StreamOwned::new(connection, stream)).map(drop)
        }
    }
}

struct Session<'a> {
    shared: &'a Shared,
    options: &'a Options,
    protection: Protection,
    login: Option<(String, String)>,
}

impl Session<'_> {
    fn talk(&mut self, stream: impl Read + Write) -> io::Result<End> {
        let mut stream = BufReader::with_capacity(1, stream);
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let line = read_line(&mut stream)?;
            let upper = line.to_ascii_uppercase();
            let word = upper.split(' ').next().unwrap_or_default();
            let needs_tls = self.options.tls.is_some() && self.protection == Protection::None;
            let needs_login = self.options.login.is_some() && self.login.is_none();
            let answer = match word {
                "EHLO" | "HELO" if needs_tls => "250-lab\r\n250 STARTTLS".to_owned(),
                "EHLO" | "HELO" if self.options.login.is_some() => {
                    "250-lab\r\n250 AUTH PLAIN LOGIN".to_owned()
                }
                "EHLO" | "HELO" => "250 lab".to_owned(),
                "STARTTLS" if needs_tls => {
                    stream.get_mut().write_all(b"220 go ahead\r\n")?;
                    stream.get_mut().flush()?;
                    return Ok(End::StartTls);
                }
                "AUTH" => self.log_in(&line, &mut stream)?,
                "MAIL" if needs_tls => "530 STARTTLS first".to_owned(),
                "MAIL" if needs_login => "530 log in first".to_owned(),
                "MAIL" => {
                    from = path(&line);
                    to.clear();
                    "250 ok".to_owned()
                }
                "RCPT" => {
                    to.push(path(&line));
                    "250 ok".to_owned()
                }
                "DATA" => {
                    stream.get_mut().write_all(b"354 end with a dot\r\n")?;
                    stream.get_mut().flush()?;
                    let data = read_data(&mut stream)?;
                    match self.keep(&from, &to, data) {
                        OnMail::Accept => "250 2.0.0 kept".to_owned(),
                        OnMail::Refuse => "451 4.3.0 not now".to_owned(),
                        OnMail::AcceptSilently => {
                            // Until the client disconnects.
                            let mut nothing = [0; 1];
                            while stream.read(&mut nothing)? > 0 {}
                            return Ok(End::Quit);
                        }
                    }
                }
                "RSET" | "NOOP" => "250 ok".to_owned(),
                "QUIT" => {
                    stream.get_mut().write_all(b"221 bye\r\n")?;
                    stream.get_mut().flush()?;
                    return Ok(End::Quit);
                }
                _ => "502 not here".to_owned(),
            };
            stream.get_mut().write_all(answer.as_bytes())?;
            stream.get_mut().write_all(b"\r\n")?;
            stream.get_mut().flush()?;
        }
    }

    fn keep(&self, from: &str, to: &[String], data: String) -> OnMail {
        let mut state = self.shared.state();
        let on_mail = state.on_mail;
        if on_mail != OnMail::Refuse {
            state.mails.push(Mail {
                from: from.to_owned(),
                to: to.to_vec(),
                data,
                login: self.login.clone(),
                protection: self.protection,
            });
            self.shared.changed.notify_all();
        }
        on_mail
    }

    fn log_in<S: Read + Write>(
        &mut self,
        line: &str,
        stream: &mut BufReader<S>,
    ) -> io::Result<String> {
        let decode = |text: &str| {
            let bytes = STANDARD.decode(text.trim()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let mut words = line.split_whitespace().skip(1);
        let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
        let mut ask = |prompt: &str| {
            stream.get_mut().write_all(format!("334 {prompt}\r\n").as_bytes())?;
            stream.get_mut().flush()?;
            read_line(stream)
        };
        let pair = match mechanism.as_str() {
            "PLAIN" => {
                let given = match words.next() {
                    Some(given) => given.to_owned(),
                    None => ask("")?,
                };
                let text = decode(&given);
                let mut parts = text.split('\0').skip(1);
                (
                    parts.next().unwrap_or_default().to_owned(),
                    parts.next().unwrap_or_default().to_owned(),
                )
            }
            "LOGIN" => (decode(&ask("VXNlcm5hbWU6")?), decode(&ask("UGFzc3dvcmQ6")?)),
            _ => return Ok("504 unknown".to_owned()),
        };
        if self.options.login.as_ref() == Some(&pair) {
            self.login = Some(pair);
            return Ok("235 welcome".to_owned());
        }
        Ok("535 5.7.8 wrong user or password".to_owned())
    }
}

fn path(line: &str) -> String {
    let inner = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(String::new, |(path, _)| path.to_owned())
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream.take(64 << 10).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}

fn read_data(stream: &mut impl BufRead) -> io::Result<String> {
    let mut data = String::new();
    loop {
        let line = read_line(stream)?;
        match line.as_str() {
            "." => return Ok(data),
            line => {
                data.push_str(line.strip_prefix('.').unwrap_or(line));
                data.push_str("\r\n");
            }
        }
    }
}
