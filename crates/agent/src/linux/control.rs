//! The control channel: a Unix socket that only root may use.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;

use super::private_directory;

/// The message for callers that may not use the channel.
pub const NOT_ALLOWED: &str = "only root may ask the agent: run this as root";

/// The listening socket, which is removed when dropped.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`. A socket left by a killed agent is replaced: the caller must hold the agents' lock.
    ///
    /// # Errors
    /// When the directory or the socket can't be created.
    pub fn new(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            private_directory(parent)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Waits for the next client, whose reads and writes fail after `timeout` each.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn accept(&self, timeout: Duration) -> io::Result<Connection> {
        let (stream, _) = self.listener.accept()?;
        Connection::new(stream, timeout)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes the socket.
pub fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection(UnixStream);

impl Connection {
    fn new(stream: UnixStream, timeout: Duration) -> io::Result<Self> {
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self(stream))
    }

    /// Connects with the agent that listens at `path`.
    ///
    /// # Errors
    /// When nobody listens there, or it is not allowed.
    pub fn connect(path: &Path, timeout: Duration) -> io::Result<Self> {
        Self::new(UnixStream::connect(path)?, timeout)
    }

    /// Whether the other end may use the channel.
    ///
    /// # Errors
    /// When the kernel does not tell who it is.
    pub fn is_allowed(&self) -> io::Result<bool> {
        let caller = socket_peercred(&self.0)?.uid;
        Ok(caller.is_root() || caller == rustix::process::geteuid())
    }

    /// What was written arrives although this end is closed.
    pub fn finish(&mut self) {}
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
