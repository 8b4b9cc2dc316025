//! Programs that listen, run as root, as services and as people.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::net;
use xshield_host::linux::cgroups::cgroup2_mount;
use xshield_host::linux::local::{CgroupMatching, Recognised, recognise};
use xshield_host::linux::sockets::listening_sockets;
use xshield_host::socket_holders::Holders;
use xshield_policy::facts::Listener;
use xshield_policy::{LocalProgram, ProcessMatch, Protocol};

/// Set for the process that is to listen: its name, and where it listens.
const LISTEN: &str = "XSHIELD_TEST_LISTEN";
/// A user that no machine assigns to a person or a service.
pub(crate) const SERVICE_USER: u32 = 871;
/// A user of a person.
pub(crate) const LOGIN_USER: u32 = 54_321;

/// The body of the program that tests start under another name.
pub(crate) fn serve() {
    let Ok(how) = std::env::var(LISTEN) else { return };
    let (name, address) = how.split_once(' ').unwrap();
    if !name.is_empty() {
        // A process has the name of its first thread; tests run in another.
        fs::write(format!("/proc/self/task/{}/comm", std::process::id()), name).unwrap();
    }
    let Ok(tcp) = listen(address.parse().unwrap()) else { std::process::exit(3) };
    let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
    let ports = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
    eprintln!("ports {} {}", ports.0, ports.1);
    // Until the parent closes the pipe.
    let _ = std::io::stdin().read(&mut [0]);
}

/// Listens on that address only: on IPv6 not for IPv4, too.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let SocketAddr::V6(address) = address else { return TcpListener::bind(address) };
    let socket = net::socket(net::AddressFamily::INET6, net::SocketType::STREAM, None)?;
    net::sockopt::set_ipv6_v6only(&socket, true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, 1)?;
    Ok(socket.into())
}

/// Directories with files that belong to root, and others.
pub(crate) struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    /// In a directory that only root can write, including its parents. `None` without root, with a message.
    pub(crate) fn set() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root to run programs as others");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("xshield-test-").tempdir_in("/opt");
        let directory = directory.or_else(|_| tempfile::tempdir_in("/root")).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let stage = Self { directory };
        stage.make("bin", 0o755, 0);
        Some(stage)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn make(&self, name: &str, mode: u32, owner: u32) {
        fs::create_dir_all(self.path(name)).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        chown(self.path(name), Some(owner), None).unwrap();
    }

    /// A copy of this program that belongs to root.
    pub(crate) fn copy(&self, name: &str) -> PathBuf {
        self.copy_as(name, 0)
    }

    /// A copy that belongs to a user, in a directory with that mode.
    pub(crate) fn copy_with(&self, name: &str, mode: u32, owner: u32) -> PathBuf {
        let directory = name.split('/').next().unwrap();
        self.make(directory, mode, if mode == 0o755 { owner } else { 0 });
        self.copy_as(name, owner)
    }

    fn copy_as(&self, name: &str, owner: u32) -> PathBuf {
        // Copied by another process: a process forked meanwhile must not hold the copy open for writing, or
        // running it fails. Put in place by a rename, as package managers do it.
        let (path, new) = (self.path(name), self.path(&format!("{name}.new")));
        let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&new).status();
        assert!(copied.unwrap().success());
        chown(&new, Some(owner), None).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }
}

/// How a program is started.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) path: PathBuf,
    pub(crate) user: u32,
    /// The process's name; the file's name if empty.
    pub(crate) calls_itself: &'static str,
    /// The file that it sees at its path, in its own namespaces.
    pub(crate) mounted_over: Option<PathBuf>,
    /// Whether it runs in a mount namespace created by root, as service managers do.
    pub(crate) sandbox: bool,
    /// Listens only on this port of IPv6.
    pub(crate) on_v6_port: Option<u16>,
}

impl Start {
    pub(crate) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            user: 0,
            calls_itself: "",
            mounted_over: None,
            sandbox: false,
            on_v6_port: None,
        }
    }

    fn command(&self) -> Command {
        let mut command = match (&self.mounted_over, self.sandbox) {
            (Some(file), _) => {
                let mut command = Command::new("unshare");
                let script = "mount --bind \"$0\" \"$1\" && shift && exec \"$path\" \"$@\"";
                command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
                command.arg(file).arg(&self.path).env("path", &self.path);
                command
            }
            (None, true) => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "--"]).arg(&self.path);
                command
            }
            (None, false) => Command::new(&self.path),
        };
        let address = match self.on_v6_port {
            Some(port) => format!("[::]:{port}"),
            None => "0.0.0.0:0".to_owned(),
        };
        command.args(["--exact", "serving", "--nocapture"]);
        command.env(LISTEN, format!("{} {address}", self.calls_itself));
        command.uid(self.user).gid(self.user).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

/// A program that listens. Killed when dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) path: PathBuf,
    pub(crate) tcp: u16,
    udp: u16,
}

impl Service {
    pub(crate) fn start(start: &Start) -> Self {
        Self::try_start(start).expect("the program says its ports")
    }

    /// `None` if this machine does not let it run or listen so.
    pub(crate) fn try_start(start: &Start) -> Option<Self> {
        let mut child = start.command().spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = lines.map_while(Result::ok);
        let ports = said.find_map(|line| line.strip_prefix("ports ").map(str::to_owned));
        let Some(ports) = ports else {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        };
        let (tcp, udp) = ports.split_once(' ').unwrap();
        let (tcp, udp) = (tcp.parse().unwrap(), udp.parse().unwrap());
        Some(Self { child, path: start.path.clone(), tcp, udp })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn listeners(&self) -> Vec<Listener> {
        vec![
            Listener { protocol: Protocol::Tcp, port: self.tcp },
            Listener { protocol: Protocol::Udp, port: self.udp },
        ]
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cgroup, removed when dropped.
pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
}

impl Cgroup {
    pub(crate) fn make(name: &str) -> Option<Self> {
        let path = cgroup2_mount()?.join(name);
        fs::create_dir(&path).ok()?;
        Some(Self { path })
    }

    pub(crate) fn take(&self, service: &Service) {
        fs::write(self.path.join("cgroup.procs"), service.pid().to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// The program at that path.
pub(crate) fn program(path: &Path) -> LocalProgram {
    rule(Some(path), None, None)
}

/// The program of that name.
pub(crate) fn named(name: &str) -> LocalProgram {
    ProcessMatch::try_from(name.to_owned()).unwrap().into()
}

pub(crate) fn rule(path: Option<&Path>, user: Option<u32>, unit: Option<&str>) -> LocalProgram {
    let process = path.map(|path| path.to_str().unwrap().to_owned().try_into().unwrap());
    let user = user.map(|user| user.to_string().parse().unwrap());
    LocalProgram::new(process, user, unit.map(|unit| unit.parse().unwrap())).unwrap()
}

pub(crate) fn inbound<const N: usize>(programs: [&LocalProgram; N]) -> Recognised {
    let sockets = listening_sockets(&mut Holders::default()).unwrap();
    let programs = programs.into_iter().cloned().collect();
    recognise(&programs, &BTreeSet::new(), &sockets, CgroupMatching::Missing)
}

pub(crate) fn outbound<const N: usize>(
    programs: [&LocalProgram; N],
    matching: CgroupMatching,
) -> Recognised {
    let programs = programs.into_iter().cloned().collect();
    recognise(&BTreeSet::new(), &programs, &[], matching)
}
