//! Queries to the running agent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{Answer, LONGEST_ANSWER, Request};
use crate::os::control::{Connection, NOT_ALLOWED};

/// The time limit of a query; collecting diagnostics takes longest.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No agent is listening.
    #[error("the agent is not running ({path}): start it with `ctagent start`", path = .0.display())]
    NotRunning(PathBuf),
    /// Only root, or administrators of Windows, may query the agent.
    #[error("{NOT_ALLOWED}")]
    NotAllowed,
    /// The connection failed.
    #[error("asking the agent at {path} failed", path = .path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: std::io::Error,
    },
    /// The answer can't be parsed.
    #[error("the agent's answer can't be understood; check that both have the same version")]
    Garbled,
    /// The agent answered with an error.
    #[error("{0}")]
    Refused(String),
}

/// Queries the agent that listens at `socket`.
///
/// # Errors
/// See [`AskError`].
pub fn ask(socket: &Path, request: &Request) -> Result<Value, AskError> {
    let broken = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
            AskError::NotRunning(socket.to_owned())
        }
        std::io::ErrorKind::PermissionDenied => AskError::NotAllowed,
        _ => AskError::Broken { path: socket.to_owned(), source },
    };
    let mut stream = Connection::connect(socket, TIMEOUT).map_err(broken)?;
    let mut line = serde_json::to_vec(request).map_err(|_| AskError::Garbled)?;
    line.push(b'\n');
    stream.write_all(&line).map_err(broken)?;
    let mut answer = String::new();
    let mut reader = BufReader::new(stream).take(LONGEST_ANSWER);
    reader.read_line(&mut answer).map_err(broken)?;
    match serde_json::from_str(&answer) {
        Ok(Answer::Ok(value)) => Ok(value),
        Ok(Answer::Error(reason)) => Err(AskError::Refused(reason)),
        Err(_) => Err(AskError::Garbled),
    }
}
