//! A small HTTP proxy that only supports CONNECT (RFC 9110, section 9.3.6) and can fail in several ways. It
//! logs requests with their credentials.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::{Host, Running};
use crate::programs::Programs;
use crate::wait;

const OPEN: &str = "open";
/// Logged if no credentials were sent.
const NO_CREDENTIALS: &str = "no credentials";

/// How a proxy handles requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Connects.
    Connect,
    /// Connects, and closes both ends after a number of bytes from the server.
    Cut {
        /// The number of bytes.
        after: u64,
    },
    /// Answers 502.
    Refuse,
    /// Reads the request and never answers.
    Silent,
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Cut { after } => write!(f, "cut={after}"),
            Self::Refuse => f.write_str("refuse"),
            Self::Silent => f.write_str("silent"),
        }
    }
}

impl FromStr for Behaviour {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "connect" => Ok(Self::Connect),
            "refuse" => Ok(Self::Refuse),
            "silent" => Ok(Self::Silent),
            _ => {
                let bytes = text.strip_prefix("cut=").and_then(|bytes| bytes.parse().ok());
                let after = bytes.context("expected connect, cut=BYTES, refuse or silent")?;
                Ok(Self::Cut { after })
            }
        }
    }
}

/// A running proxy. Dropping it kills it.
#[derive(Debug)]
pub struct Proxy {
    process: Running,
}

impl Proxy {
    /// Starts a proxy on a host and waits until its port is open. `authorization`: the required value of
    /// `Proxy-Authorization`; otherwise it answers 407.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        host: &Host,
        programs: &Programs,
        port: u16,
        behaviour: Behaviour,
        authorization: Option<&str>,
    ) -> Result<Self> {
        let mut command = host.command(programs.lab());
        command.args(["proxy", &port.to_string(), &behaviour.to_string()]);
        if let Some(authorization) = authorization {
            command.args(["--authorization", authorization]);
        }
        let name = format!("proxy-{port}");
        // An earlier proxy on this host wrote into the same log.
        let _never_ran = std::fs::remove_file(host.dir().join(format!("{name}.log")));
        let mut process = host.spawn(&name, command)?;
        wait::until("the proxy is up", Duration::from_secs(20), || {
            process.still_runs()?;
            Ok(process.output()?.contains(OPEN).then_some(()))
        })?;
        Ok(Self { process })
    }

    /// Stops it; the kernel still accepts its connections.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// The requests received so far: `REQUEST LINE | AUTHORIZATION | ANSWER`.
    ///
    /// # Errors
    /// When its log can't be read.
    pub fn requests(&self) -> Result<Vec<String>> {
        let log = self.process.output()?;
        Ok(log.lines().filter(|line| line.contains(" | ")).map(str::to_owned).collect())
    }
}

/// Arguments of the proxy's process.
#[derive(Debug, clap::Args)]
pub struct ProxyArgs {
    /// TCP port, on IPv4 and IPv6.
    port: u16,
    /// How it handles requests: connect, cut=BYTES, refuse or silent.
    behaviour: Behaviour,
    /// The required `Proxy-Authorization`.
    #[arg(long)]
    authorization: Option<String>,
}

/// Serves until it is killed.
///
/// # Errors
/// When the port can't be opened.
pub fn run(args: &ProxyArgs) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, args.port))
        .with_context(|| format!("could not listen on TCP port {}", args.port))?;
    println!("{OPEN}");
    std::io::stdout().flush()?;
    std::thread::scope(|scope| {
        loop {
            let (stream, _) = listener.accept()?;
            // A broken connection is reported by the client.
            scope.spawn(move || drop(serve(stream, args)));
        }
    })
}

fn serve(mut client: TcpStream, args: &ProxyArgs) -> Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let request = lines.next().context("closed without a request")??;
    let mut given = None;
    for line in lines {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("proxy-authorization") => {
                given = Some(value.to_owned());
            }
            Some(_) => {}
            None => break,
        }
    }
    let answer = if args.authorization.is_some() && args.authorization != given {
        "407 Proxy Authentication Required"
    } else {
        match args.behaviour {
            Behaviour::Connect | Behaviour::Cut { .. } => "200 Connection established",
            Behaviour::Refuse => "502 Bad Gateway",
            Behaviour::Silent => "(silence)",
        }
    };
    println!("{request} | {} | {answer}", given.as_deref().unwrap_or(NO_CREDENTIALS));
    if args.behaviour == Behaviour::Silent {
        // Until the client disconnects.
        client.read_to_end(&mut Vec::new())?;
        return Ok(());
    }
    let target = request.split_whitespace().nth(1).context("no target")?;
    let server = if answer.starts_with('2') { Some(TcpStream::connect(target)?) } else { None };
    let realm =
        if answer.starts_with("407") { "Proxy-Authenticate: Basic realm=lab\r\n" } else { "" };
    client.write_all(format!("HTTP/1.1 {answer}\r\n{realm}\r\n").as_bytes())?;
    match server {
        Some(server) => {
            let most = match args.behaviour {
                Behaviour::Cut { after } => after,
                _ => u64::MAX,
            };
            tunnel(client, server, most)
        }
        None => Ok(()),
    }
}

/// Copies in both directions, until either end closes or `most` bytes have come from the server.
fn tunnel(client: TcpStream, server: TcpStream, most: u64) -> Result<()> {
    let (up_from, up_to) = (client.try_clone()?, server.try_clone()?);
    let both = [client.try_clone()?, server.try_clone()?];
    let upwards = std::thread::spawn(move || copy(up_from, up_to));
    copy(server.take(most), client);
    for end in both {
        let _closed_already = end.shutdown(Shutdown::Both);
    }
    upwards.join().map_err(|_| anyhow::anyhow!("a tunnel panicked"))
}

fn copy(mut from: impl Read, mut to: TcpStream) {
    // When either end closes, both are closed.
    let _ended = std::io::copy(&mut from, &mut to);
    let _closed_already = to.shutdown(Shutdown::Both);
}
