//! The system calls of the lab, each as a safe function. Nothing else in the crate is unsafe.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// The namespaces of one host, held open by file descriptors.
#[derive(Debug)]
pub(crate) struct Namespaces {
    net: File,
    mount: File,
    uts: File,
    ipc: File,
    pid: File,
}

/// Which namespaces a command enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Only the host's network; files and processes are those of the lab.
    Network,
    /// All of them: the command runs as a program of that host.
    Host,
}

impl Namespaces {
    /// Opens the namespaces of process `pid` and of its future children.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}"));
        Ok(Self {
            net: open("net")?,
            mount: open("mnt")?,
            uts: open("uts")?,
            ipc: open("ipc")?,
            pid: open("pid_for_children")?,
        })
    }

    /// Moves the calling thread into this host's network permanently.
    pub(crate) fn enter_network(&self) -> io::Result<()> {
        setns(self.net.as_raw_fd(), libc::CLONE_NEWNET)
    }
}

/// Makes `command` start in the namespaces, in its own session, so that a Ctrl-C at the terminal only reaches
/// the lab.
pub(crate) fn enter(command: &mut Command, namespaces: Arc<Namespaces>, depth: Depth) {
    let hook = move || {
        new_session()?;
        setns(namespaces.net.as_raw_fd(), libc::CLONE_NEWNET)?;
        if depth == Depth::Network {
            return Ok(());
        }
        setns(namespaces.uts.as_raw_fd(), libc::CLONE_NEWUTS)?;
        setns(namespaces.ipc.as_raw_fd(), libc::CLONE_NEWIPC)?;
        setns(namespaces.pid.as_raw_fd(), libc::CLONE_NEWPID)?;
        setns(namespaces.mount.as_raw_fd(), libc::CLONE_NEWNS)?;
        continue_in_child()
    };
    before_exec(command, hook);
}

/// Makes `command` start as process 1 in new namespaces of every kind that a host needs.
pub(crate) fn found_host(command: &mut Command) {
    before_exec(command, || {
        new_session()?;
        let kinds = libc::CLONE_NEWNET
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWPID;
        unshare(kinds)?;
        continue_in_child()
    });
}

/// Makes `command` start as process 1 of a machine on a host: with the host's network, and new namespaces of
/// every other kind, including cgroups.
pub(crate) fn found_machine(command: &mut Command) {
    before_exec(command, || {
        let kinds = libc::CLONE_NEWNS
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWCGROUP;
        unshare(kinds)?;
        continue_in_child()
    });
}

#[allow(unsafe_code, reason = "std offers no safe way to run code between fork and exec")]
fn before_exec(
    command: &mut Command,
    hook: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: every hook of this module makes only system calls that are async-signal-safe and
    // neither allocates nor takes locks.
    unsafe { command.pre_exec(hook) };
}

#[allow(unsafe_code, reason = "system call")]
fn setns(fd: RawFd, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: takes two integers; the kernel checks both.
    result(unsafe { libc::setns(fd, kind) })
}

#[allow(unsafe_code, reason = "system call")]
fn unshare(kinds: libc::c_int) -> io::Result<()> {
    // SAFETY: takes an integer; memory is not shared differently by any kind used here.
    result(unsafe { libc::unshare(kinds) })
}

#[allow(unsafe_code, reason = "system call")]
fn new_session() -> io::Result<()> {
    // SAFETY: no arguments. Fails only for a process group leader, which a fresh child is not.
    result(unsafe { libc::setsid() })
}

/// The child of a [`continue_in_child`] parent.
static STOOD_FOR: AtomicI32 = AtomicI32::new(0);

/// A process can't move itself into another pid namespace, only its children. So it forks and continues in
/// the child; the parent represents the child: it forwards SIGTERM and SIGINT, turns SIGUSR1 into SIGKILL,
/// and exits as the child does. If the parent itself is killed, the child dies, too; but then it is reaped by
/// the machine's process 1, which may take some time.
#[allow(unsafe_code, reason = "fork, wait and signal handling between fork and exec")]
fn continue_in_child() -> io::Result<()> {
    // SAFETY: this runs between fork and exec: there is one thread. Only async-signal-safe calls
    // follow, on integers and on locals that outlive them.
    unsafe {
        match libc::fork() {
            -1 => Err(io::Error::last_os_error()),
            0 => result(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)),
            child => stand_for(child),
        }
    }
}

#[allow(unsafe_code, reason = "see continue_in_child")]
unsafe fn stand_for(child: libc::pid_t) -> ! {
    STOOD_FOR.store(child, Ordering::SeqCst);
    // SAFETY: as in continue_in_child; the handler only loads an atomic and calls kill. The files belong to
    // the child from here on: a reader that waits for a pipe to close must not wait for this process.
    unsafe {
        let handler = forward as extern "C" fn(libc::c_int) as libc::sighandler_t;
        libc::signal(libc::SIGTERM, handler);
        libc::signal(libc::SIGINT, handler);
        libc::signal(libc::SIGUSR1, handler);
        if libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) != 0 {
            (0..1024).for_each(|fd| {
                libc::close(fd);
            });
        }
        let mut status = 0;
        while libc::waitpid(child, &raw mut status, 0) != child {}
        if libc::WIFSIGNALED(status) {
            let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
            let signal = libc::WTERMSIG(status);
            libc::signal(signal, libc::SIG_DFL);
            libc::kill(libc::getpid(), signal);
        }
        libc::_exit(libc::WEXITSTATUS(status))
    }
}

#[allow(unsafe_code, reason = "signal handler")]
extern "C" fn forward(signal: libc::c_int) {
    let signal = if signal == libc::SIGUSR1 { libc::SIGKILL } else { signal };
    // SAFETY: kill takes integers and is async-signal-safe.
    unsafe { libc::kill(STOOD_FOR.load(Ordering::SeqCst), signal) };
}

fn result(code: libc::c_int) -> io::Result<()> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether this process may create namespaces without first entering a user namespace.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn is_root() -> bool {
    // SAFETY: no arguments, always succeeds.
    unsafe { libc::geteuid() == 0 }
}

/// Whether a child of this process can create network namespaces: security modules may allow user namespaces
/// without any privileges in them.
pub(crate) fn can_make_networks() -> io::Result<()> {
    let mut trial = Command::new("true");
    before_exec(&mut trial, || unshare(libc::CLONE_NEWNET));
    trial.status().map(drop)
}

/// The file systems a host mounts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mount<'a> {
    /// Makes mounts of this mount namespace private.
    Private,
    /// The procfs of this pid namespace.
    Proc,
    /// An empty file system in memory.
    Memory,
    /// `lower`, with changes stored elsewhere.
    Overlay(&'a str),
    /// A bind mount of another path.
    Same(&'a str),
    /// A read-only remount of what is mounted there.
    ReadOnly,
    /// The sysfs of this network namespace, read-only.
    Sys,
    /// The cgroups below this cgroup namespace's root.
    Cgroups,
    /// A devpts instance of its own.
    Terminals,
}

/// Mounts at `target`.
pub(crate) fn mount(what: Mount<'_>, target: &str) -> io::Result<()> {
    let (source, kind, flags, options) = match what {
        Mount::Private => (c"none", c"", libc::MS_REC | libc::MS_PRIVATE, ""),
        Mount::Proc => (c"proc", c"proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC, ""),
        Mount::Memory => (c"lab", c"tmpfs", libc::MS_NOSUID | libc::MS_NODEV, "mode=0755"),
        Mount::Overlay(options) => (c"lab", c"overlay", 0, options),
        Mount::Same(path) => {
            let path = std::ffi::CString::new(path)?;
            return mount_raw(&path, target, c"", libc::MS_BIND, "");
        }
        Mount::ReadOnly => (c"none", c"", libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY, ""),
        Mount::Sys => (c"sysfs", c"sysfs", libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV, ""),
        Mount::Cgroups => (c"cgroup2", c"cgroup2", libc::MS_NOSUID | libc::MS_NODEV, ""),
        Mount::Terminals => (c"devpts", c"devpts", libc::MS_NOSUID, "newinstance,ptmxmode=0666"),
    };
    mount_raw(source, target, kind, flags, options)
}

/// Makes the mount at `root` the root of this mount namespace; nothing else of the old one is reachable from
/// then on.
#[allow(unsafe_code, reason = "system calls")]
pub(crate) fn change_root(root: &str) -> io::Result<()> {
    std::env::set_current_dir(root)?;
    // SAFETY: NUL-terminated strings with static lifetime. The new root is mounted over the old one, which is
    // on top of the stack at "." until it is unmounted (pivot_root(2), "pivot_root(".", ".")").
    unsafe {
        let here = c".".as_ptr();
        if libc::syscall(libc::SYS_pivot_root, here, here) != 0 {
            return Err(io::Error::last_os_error());
        }
        result(libc::umount2(here, libc::MNT_DETACH))?;
    }
    std::env::set_current_dir("/")
}

/// Drops a capability (its number in `linux/capability.h`) from this process and its descendants.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn give_up_capability(number: u8) -> io::Result<()> {
    // SAFETY: takes integers.
    result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) })
}

#[allow(unsafe_code, reason = "system call")]
fn mount_raw(
    source: &std::ffi::CStr,
    target: &str,
    kind: &std::ffi::CStr,
    flags: libc::c_ulong,
    options: &str,
) -> io::Result<()> {
    let target = std::ffi::CString::new(target)?;
    let options = std::ffi::CString::new(options)?;
    // SAFETY: four NUL-terminated strings that outlive the call.
    result(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            options.as_ptr().cast::<libc::c_void>(),
        )
    })
}

/// Sets the host name of this UTS namespace.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length of one string.
    result(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })
}

/// Sets the name of the calling thread's process, as shown by `ps`; the kernel truncates it to 15 bytes.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn set_process_name(name: &str) -> io::Result<()> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: a NUL-terminated string that outlives the call.
    result(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) })
}

/// Lets the kernel reap children, including those that process 1 inherits, without waiting for them.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn disown_children() {
    // SAFETY: sets a disposition, installs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// The signals that end a lab.
#[allow(unsafe_code, reason = "system call")]
fn ending_signals() -> libc::sigset_t {
    // SAFETY: sigemptyset makes the zeroed set a valid one; sigaddset takes it and a number.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// From here on, SIGINT, SIGTERM and SIGHUP are blocked until [`ended_within`] receives them. To be called
/// before other threads start.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn hold_ending_signals() {
    let set = ending_signals();
    // SAFETY: a valid set; the old mask isn't asked for. Fails only for an unknown `how`.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Waits for one of the blocked signals; `false` if `time` passed without one.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn ended_within(time: Duration) -> bool {
    let set = ending_signals();
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    // SAFETY: a valid set and timeout that outlive the call; signal information isn't asked for.
    unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const timeout) > 0 }
}

/// Kills the program represented by `stand_in`, a child started by [`enter`] or [`found_host`], and waits
/// until both are gone.
pub(crate) fn kill_and_wait(stand_in: &mut std::process::Child) -> io::Result<()> {
    if stand_in.try_wait()?.is_none() {
        signal(stand_in.id(), libc::SIGUSR1)?;
        stand_in.wait()?;
    }
    Ok(())
}

/// The peak resident memory of any ended child of this process, in KiB.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn peak_of_children_kib() -> io::Result<i64> {
    // SAFETY: a zeroed rusage is valid, and it outlives the call that fills it.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        result(libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage))?;
        Ok(usage.ru_maxrss)
    }
}

/// Sends a signal to a process.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn signal(pid: u32, signal: libc::c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: two integers.
    result(unsafe { libc::kill(pid, signal) })
}

/// Lets every user read, write and enter a directory.
pub(crate) fn open_to_all(directory: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777))
}

/// Opens a socket for echo requests; replies to others' requests do not arrive on it.
#[allow(unsafe_code, reason = "std can't make ICMP sockets")]
pub(crate) fn ping_socket(ipv6: bool) -> io::Result<std::net::UdpSocket> {
    use std::os::fd::FromRawFd;
    let (family, protocol) = if ipv6 {
        (libc::AF_INET6, libc::IPPROTO_ICMPV6)
    } else {
        (libc::AF_INET, libc::IPPROTO_ICMP)
    };
    // SAFETY: three integers; a returned descriptor is open and owned by nobody else. A UdpSocket does
    // with it what any datagram socket can do.
    unsafe {
        let fd = libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, protocol);
        result(fd)?;
        Ok(std::net::UdpSocket::from_raw_fd(fd))
    }
}

/// Sets a socket's receive buffer to `bytes`, beyond the system's limit.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn set_receive_buffer(socket: &impl AsRawFd, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).map_err(io::Error::other)?;
    let length = libc::socklen_t::try_from(size_of_val(&bytes)).map_err(io::Error::other)?;
    // SAFETY: pointer and length of an integer that outlives the call.
    result(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const bytes).cast(),
            length,
        )
    })
}

/// Makes closing a stream reset it, so that neither end keeps its state.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn reset_when_closed(stream: &std::net::TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = libc::socklen_t::try_from(size_of_val(&linger)).map_err(io::Error::other)?;
    // SAFETY: pointer and length of a structure that outlives the call.
    result(unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            length,
        )
    })
}

/// Waits until there is something to read or accept; `false` if `time` passed without.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn readable_within(socket: &impl AsRawFd, time: Duration) -> io::Result<bool> {
    let mut wanted = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let time = libc::c_int::try_from(time.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: one valid structure that outlives the call.
    let ready = unsafe { libc::poll(&raw mut wanted, 1, time) };
    result(ready)?;
    Ok(ready > 0)
}

/// Random bytes from the kernel.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0u8; N];
    // SAFETY: the buffer is as long as is said. Up to 256 bytes are given whole (getrandom(2)).
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    if usize::try_from(got) == Ok(N) { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

/// The unit of processor time in `/proc`.
#[allow(unsafe_code, reason = "system call")]
pub(crate) fn ticks_per_second() -> u64 {
    // SAFETY: takes an integer.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100)
}

/// Connects from a given local address, which std does not support.
#[allow(unsafe_code, reason = "std can't bind before it connects")]
pub(crate) fn connect_from(
    from: std::net::Ipv4Addr,
    to: std::net::SocketAddr,
) -> io::Result<std::net::TcpStream> {
    let std::net::SocketAddr::V4(to) = to else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "not an IPv4 address"));
    };
    // SAFETY: the descriptor is checked and owned by the stream from then on; both addresses are
    // valid for the calls, with their own lengths.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        result(fd)?;
        let stream = std::net::TcpStream::from_raw_fd(fd);
        let (from, length) = socket_address(std::net::SocketAddrV4::new(from, 0));
        result(libc::bind(fd, (&raw const from).cast(), length))?;
        let (to, length) = socket_address(to);
        result(libc::connect(fd, (&raw const to).cast(), length))?;
        Ok(stream)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "constants of the system")]
fn socket_address(address: std::net::SocketAddrV4) -> (libc::sockaddr_in, libc::socklen_t) {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    };
    (address, size_of::<libc::sockaddr_in>() as libc::socklen_t)
}
