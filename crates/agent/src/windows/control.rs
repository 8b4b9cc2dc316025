//! The control channel: a named pipe that only SYSTEM and Administrators may use.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use xshield_enforce::resident::host::pipe::{PipeConnection, PipeListener};

/// The message for callers that may not use the channel.
pub const NOT_ALLOWED: &str =
    "only administrators may ask the agent: run this in an elevated console";

/// The pipe that waits for clients.
pub struct Listener(PipeListener);

impl Listener {
    /// Creates the pipe `path`.
    ///
    /// # Errors
    /// When it can't be created, or another program has a pipe of this name.
    pub fn new(path: &Path) -> io::Result<Self> {
        PipeListener::new(path.as_os_str()).map(Self)
    }

    /// Waits for the next client, whose reads and writes fail after `timeout` each.
    ///
    /// # Errors
    /// When Windows refuses.
    pub fn accept(&self, timeout: Duration) -> io::Result<Connection> {
        self.0.accept(timeout).map(Connection)
    }
}

/// A pipe ends with its program.
pub fn remove(_: &Path) {}

/// One end of a connection.
pub struct Connection(PipeConnection);

impl Connection {
    /// Connects with the agent that has the pipe `path`.
    ///
    /// # Errors
    /// When there is none, or it is not allowed.
    pub fn connect(path: &Path, timeout: Duration) -> io::Result<Self> {
        PipeConnection::connect(path.as_os_str(), timeout).map(Self)
    }

    /// Whether the other end may use the channel: Windows lets nobody else open it.
    ///
    /// # Errors
    /// Never.
    pub fn is_allowed(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Waits until the other end has read what was written.
    pub fn finish(&mut self) {
        self.0.wait_for_close();
    }
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
