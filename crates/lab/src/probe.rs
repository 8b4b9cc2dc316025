//! Probes: real packets from one host to another, and their results at both ends.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::host::{Host, succeeded};
use crate::programs::Programs;
use crate::sys;

/// The target of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Port {
    /// A TCP port.
    Tcp(u16),
    /// A UDP port.
    Udp(u16),
    /// ICMP or ICMPv6 echo.
    Ping,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "tcp/{port}"),
            Self::Udp(port) => write!(f, "udp/{port}"),
            Self::Ping => f.write_str("ping"),
        }
    }
}

impl std::str::FromStr for Port {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |digits: &str| {
            digits.parse().with_context(|| format!("{text:?}: {digits:?} is not a port"))
        };
        match text.split_once('/') {
            Some(("tcp", port)) => number(port).map(Self::Tcp),
            Some(("udp", port)) => number(port).map(Self::Udp),
            None if text == "ping" => Ok(Self::Ping),
            _ => anyhow::bail!("{text:?}: expected tcp/PORT, udp/PORT or ping"),
        }
    }
}

/// One probe.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Probe {
    /// The target address.
    pub address: IpAddr,
    /// The target port.
    pub port: Port,
    /// How long to wait for an answer before the probe counts as dropped.
    pub timeout: Duration,
    /// Sent, recorded by the receiver, and expected back. No spaces.
    pub nonce: String,
}

/// The result of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeResult {
    /// The receiver saw it and its answer came back.
    Passed,
    /// Nothing came back and the receiver saw nothing.
    Dropped,
    /// Actively refused: no listener, or a firewall rejects.
    Refused,
    /// No route, or the neighbour does not answer.
    Unreachable,
    /// The receiver saw it, but its answer did not come back.
    OneWay,
}

impl fmt::Display for ProbeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "pass",
            Self::Dropped => "drop",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::OneWay => "one-way",
        })
    }
}

/// Sends all probes from `host` at the same time; returns their results as seen by the sender.
///
/// # Errors
/// When the prober can't run.
pub fn send(host: &Host, programs: &Programs, probes: &[Probe]) -> Result<Vec<ProbeResult>> {
    let mut command = host.command(programs.lab());
    command.arg("probe").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("could not start the prober on host {}", host.name()))?;
    let mut input = child.stdin.take().context("the prober has no standard input")?;
    input.write_all(&serde_json::to_vec(probes)?)?;
    drop(input);
    let output = child.wait_with_output()?;
    let outcomes = succeeded(&format!("the prober on host {}", host.name()), &output)?;
    serde_json::from_str(&outcomes).context("the prober's answer is not readable")
}

/// The prober's process: reads probes from standard input, writes outcomes to standard output.
///
/// # Errors
/// When either fails, or a probe can't be sent.
pub fn run() -> Result<()> {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    let probes: Vec<Probe> = serde_json::from_str(&input)?;
    let outcomes: Result<Vec<ProbeResult>> = std::thread::scope(|scope| {
        let running: Vec<_> = probes.iter().map(|probe| scope.spawn(|| try_one(probe))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a probe panicked"))?)
            .collect()
    });
    println!("{}", serde_json::to_string(&outcomes?)?);
    Ok(())
}

fn try_one(probe: &Probe) -> Result<ProbeResult> {
    let tried = match probe.port {
        Port::Tcp(port) => tcp(probe, port),
        Port::Udp(port) => udp(probe, port),
        Port::Ping => ping(probe),
    };
    match tried {
        Ok(()) => Ok(ProbeResult::Passed),
        Err(error) => outcome_of(&error)
            .ok_or(error)
            .with_context(|| format!("could not probe {} at {}", probe.port, probe.address)),
    }
}

/// The result that an error means; `None` if it does not concern the network.
fn outcome_of(error: &std::io::Error) -> Option<ProbeResult> {
    match error.kind() {
        // The sender's own firewall returns EPERM for datagrams that it drops.
        ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::PermissionDenied => {
            Some(ProbeResult::Dropped)
        }
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => Some(ProbeResult::Refused),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            Some(ProbeResult::Unreachable)
        }
        _ => None,
    }
}

fn tcp(probe: &Probe, port: u16) -> std::io::Result<()> {
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::new(probe.address, port), probe.timeout)?;
    stream.set_read_timeout(Some(probe.timeout))?;
    stream.write_all(format!("{}\n", probe.nonce).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.trim_end() == probe.nonce { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn udp(probe: &Probe, port: u16) -> std::io::Result<()> {
    let local: IpAddr = match probe.address {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect(SocketAddr::new(probe.address, port))?;
    exchange(&socket, probe, format!("{}\n", probe.nonce).as_bytes())
}

fn ping(probe: &Probe) -> std::io::Result<()> {
    let socket = sys::ping_socket(probe.address.is_ipv6())?;
    socket.connect(SocketAddr::new(probe.address, 0))?;
    // Type, code, checksum, identifier (the kernel fills in both), sequence number.
    let kind = if probe.address.is_ipv4() { 8 } else { 128 };
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 1];
    message.extend_from_slice(probe.nonce.as_bytes());
    exchange(&socket, probe, &message)
}

/// Repeats sending until something with the nonce comes back; datagrams may get lost.
fn exchange(socket: &UdpSocket, probe: &Probe, message: &[u8]) -> std::io::Result<()> {
    let deadline = Instant::now() + probe.timeout;
    let mut buffer = [0; 2048];
    loop {
        socket.send(message)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left.min(Duration::from_millis(400))))?;
        match socket.recv(&mut buffer) {
            Ok(length) if contains(&buffer[..length], probe.nonce.as_bytes()) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
