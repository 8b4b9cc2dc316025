//! Small real services: they accept TCP connections and UDP datagrams, record what they receive, and send it
//! back.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::{Host, Running};
use crate::programs::Programs;
use crate::sys::{self, Mount};
use crate::wait;

/// A service of a host: a program and the ports it has open, on IPv4 and IPv6.
#[derive(Debug, Clone)]
pub struct Service {
    /// The file name of its program, 15 bytes at most.
    pub process: &'static str,
    /// TCP ports.
    pub tcp: &'static [u16],
    /// UDP ports.
    pub udp: &'static [u16],
}

/// The file in [`Host::dir`] in which a host's services record what they received.
pub const SEEN: &str = "seen";
/// The directory of a host's services, by name.
pub const SERVICES: &str = "/var/lib/services";
const OPEN: &str = "open";

impl Service {
    /// Starts it and waits until its ports are open.
    pub(crate) fn start(&self, host: &Host, programs: &Programs) -> Result<Running> {
        let mut command = host.command(programs.lab());
        command.args(["service", "--process", self.process]);
        command.arg("--seen").arg(host.dir().join(SEEN));
        for port in self.tcp {
            command.args(["--tcp", &port.to_string()]);
        }
        for port in self.udp {
            command.args(["--udp", &port.to_string()]);
        }
        let log = format!("service-{}", self.process);
        let mut running = host.spawn(&log, command)?;
        wait::until(&format!("service {}", self.process), Duration::from_secs(20), || {
            running.still_runs()?;
            Ok(running.output()?.contains(OPEN).then_some(()))
        })?;
        Ok(running)
    }
}

/// Arguments of a service's process.
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    /// File name of the program.
    #[arg(long)]
    process: String,
    /// Only change the process name, without another executable.
    #[arg(long)]
    pretend: bool,
    /// TCP port; may be repeated.
    #[arg(long)]
    tcp: Vec<u16>,
    /// UDP port; may be repeated.
    #[arg(long)]
    udp: Vec<u16>,
    /// The file that records what arrives.
    #[arg(long)]
    seen: PathBuf,
}

/// Serves until it is killed.
///
/// # Errors
/// When a port can't be opened or the file can't be written.
pub fn run(args: &ServiceArgs) -> Result<()> {
    if args.pretend {
        sys::set_process_name(&args.process)?;
    } else {
        become_program(&args.process)?;
    }
    let open_file = || {
        File::options()
            .create(true)
            .append(true)
            .open(&args.seen)
            .with_context(|| format!("could not open {}", args.seen.display()))
    };
    let mut workers = Vec::new();
    for &port in &args.tcp {
        let listener = TcpListener::bind(everywhere(port))
            .with_context(|| format!("could not listen on TCP port {port}"))?;
        let seen = open_file()?;
        workers.push(std::thread::spawn(move || serve_tcp(&listener, &seen)));
    }
    for &port in &args.udp {
        let socket = UdpSocket::bind(everywhere(port))
            .with_context(|| format!("could not open UDP port {port}"))?;
        let seen = open_file()?;
        workers.push(std::thread::spawn(move || serve_udp(&socket, &seen)));
    }
    println!("{OPEN}");
    std::io::stdout().flush()?;
    for worker in workers {
        worker.join().map_err(|_| anyhow::anyhow!("a listener panicked"))??;
    }
    Ok(())
}

/// Re-executes this program as a file of that name in a directory of the host that only root can write to.
fn become_program(name: &str) -> Result<()> {
    let own = std::env::current_exe().context("could not determine this program's path")?;
    if own.file_name().is_some_and(|own| own == name) {
        return Ok(());
    }
    fs::create_dir_all(SERVICES).with_context(|| format!("could not create {SERVICES}"))?;
    let path = Path::new(SERVICES).join(name);
    // If a program of that name is running, its file can't be written, and need not be.
    if !path.exists() {
        fs::write(&path, "").with_context(|| format!("could not create {}", path.display()))?;
    }
    let (from, to) = (own.display().to_string(), path.display().to_string());
    sys::mount(Mount::Same(&from), &to).with_context(|| format!("could not mount {to}"))?;
    Err(Command::new(&path).args(std::env::args_os().skip(1)).exec())
        .with_context(|| format!("could not start {to}"))
}

/// All addresses of both families: the kernel maps IPv4 onto an unspecified IPv6 socket.
fn everywhere(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

fn serve_tcp(listener: &TcpListener, seen: &File) -> Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        let seen = seen.try_clone()?;
        std::thread::spawn(move || {
            // A broken connection is reported by the prober.
            let _broken = answer(stream, seen);
        });
    }
}

/// Records every line and sends it back, until the client closes.
fn answer(mut stream: TcpStream, mut seen: File) -> Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        seen.write_all(line.as_bytes())?;
        stream.write_all(line.as_bytes())?;
        line.clear();
    }
    Ok(())
}

fn serve_udp(socket: &UdpSocket, mut seen: &File) -> Result<()> {
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        seen.write_all(&buffer[..length])?;
        // The reply can be refused by this host's own firewall; the prober reports that.
        let _unanswered = socket.send_to(&buffer[..length], from);
    }
}
