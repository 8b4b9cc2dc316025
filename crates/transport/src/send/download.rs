//! Files too large to be held in memory, written down as they come.

use std::io::{self, Read as _, Write};
use std::time::Duration;

use super::{Request, SendError, Transport, TransportError};
use crate::agent::{self, Connections};
use crate::config::Timeouts;
use crate::send::{Failure, Method, Way};

/// The slowest line that is waited for, in bytes per second.
const SLOWEST: u64 = 16 * 1024;
/// Bytes that are passed on at a time.
const TOGETHER: usize = 32 * 1024;

/// Why a file could not be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// No answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// An answer that says no.
    #[error("the platform does not give out {path}: HTTP status {status}")]
    Status {
        /// What was asked for.
        path: String,
        /// HTTP status.
        status: u16,
    },
    /// What came could not be written down.
    #[error("writing down what the platform sent failed; check whether the disk is full")]
    Write(#[source] io::Error),
}

impl Transport {
    /// Gets `path` and writes what comes into what `begin` gives. `begin` is asked again for every
    /// route that is tried: what was written before then is of no use.
    ///
    /// At most `limit` bytes are taken; the time limit grows with them. The connection is made for
    /// this download alone, so that a slow one ends no other.
    ///
    /// # Errors
    /// See [`DownloadError`]. What was written by then is incomplete.
    pub fn download<W: Write>(
        &mut self,
        path: &str,
        limit: u64,
        mut begin: impl FnMut() -> io::Result<W>,
    ) -> Result<W, DownloadError> {
        let patience = Duration::from_secs(limit / SLOWEST);
        let exchange = self.timeouts.exchange.saturating_add(patience);
        let timeouts = Timeouts { exchange, ..self.timeouts };
        let mut failures = Vec::new();
        for index in self.order() {
            let mut sink = begin().map_err(DownloadError::Write)?;
            let way = &self.routes[index];
            match self.download_by(way, path, limit, timeouts, &mut sink) {
                Ok(()) => {
                    self.current = Some(index);
                    self.routes[index].last_failure = None;
                    return Ok(sink);
                }
                Err(Broken::Route(error)) => {
                    let way = &mut self.routes[index];
                    way.last_failure = Some(error.clone());
                    failures.push(Failure { route: way.route.clone(), error });
                }
                Err(Broken::Final(error)) => return Err(error),
            }
        }
        Err(TransportError::NoRoute { failures }.into())
    }

    fn download_by(
        &self,
        way: &Way,
        path: &str,
        limit: u64,
        timeouts: Timeouts,
        sink: &mut impl Write,
    ) -> Result<(), Broken> {
        let agent = agent::agent(&self.builder, way.proxy.as_ref(), Connections::UsedOnce);
        let request =
            Request { method: Method::Get, path_and_query: path, headers: &[], body: &[] };
        let answer = self.answer(timeouts, &agent, way, &request)?;
        let status = answer.status().as_u16();
        if status != 200 {
            let path = path.to_owned();
            return Err(Broken::Final(DownloadError::Status { path, status }));
        }
        // ureq's limit is the first length that is refused.
        let body = answer.into_body().into_with_config().limit(limit.saturating_add(1));
        let mut body = body.reader();
        let mut buffer = vec![0; TOGETHER];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) => return Err(self.failed(way, error.into(), limit).into()),
            };
            let written = sink.write_all(&buffer[..read]);
            written.map_err(|error| Broken::Final(DownloadError::Write(error)))?;
        }
    }
}

/// Whether another route might help.
enum Broken {
    Route(crate::RouteError),
    Final(DownloadError),
}

impl From<SendError> for Broken {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Route(error) => Self::Route(error),
            SendError::Final(error) => Self::Final(error.into()),
        }
    }
}
