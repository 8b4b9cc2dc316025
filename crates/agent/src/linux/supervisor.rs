//! Notifications to the service manager (`sd_notify(3)`), without its library.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use crate::agent::Agent;

/// Reports that the service is alive as long as it is, also during a cycle over a slow connection.
pub fn run(agent: &Agent, supervisor: &Supervisor) {
    let Some(interval) = supervisor.interval() else { return };
    while !agent.is_stopping() {
        if agent.worker_state().is_good(Instant::now(), interval) {
            supervisor.alive();
        }
        agent.rest(interval);
    }
}

/// The service manager that started this program, if any.
#[derive(Debug)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// From the environment that it passed.
    #[must_use]
    pub fn of_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|path| connect(&path));
        let of_this_process =
            std::env::var("WATCHDOG_PID").map_or(true, |pid| pid.parse() == Ok(std::process::id()));
        let watchdog = std::env::var("WATCHDOG_USEC").ok().filter(|_| of_this_process);
        let watchdog = watchdog.and_then(|text| text.parse().ok()).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// How often [`Supervisor::alive`] must be called: half of its timeout.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        self.watchdog.map(|timeout| timeout / 2)
    }

    /// The service has started.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// A status text.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}"));
    }

    /// The service is alive.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The service is stopping.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.socket {
            // If the service manager does not listen, enforcement continues.
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}

fn connect(path: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name).ok()?,
        None => SocketAddr::from_pathname(path).ok()?,
    };
    Some((UnixDatagram::unbound().ok()?, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_the_service_manager_reads_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor { socket: connect(path.as_os_str()), watchdog: None };
        supervisor.ready("enforcing");
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\nSTATUS=enforcing");
        drop(manager);
        supervisor.alive();
        assert_eq!(supervisor.interval(), None);
    }
}
