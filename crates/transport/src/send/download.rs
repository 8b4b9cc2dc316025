//! Downloads of files too large to be held in memory, written as they arrive.

use std::io::{self, Read as _, Write};
use std::time::Duration;

use super::{Request, SendError, Transport, TransportError};
use crate::agent::{self, Connections};
use crate::config::Timeouts;
use crate::send::{Failure, Method, RouteAgent};

/// The slowest connection that is accepted, in bytes per second.
const SLOWEST: u64 = 16 * 1024;
/// The number of bytes that are written at a time.
const TOGETHER: usize = 32 * 1024;

/// Why a file could not be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The platform could not be reached.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The platform answered with an error.
    #[error("the platform refused {path}: HTTP status {status}")]
    Status {
        /// The requested path.
        path: String,
        /// HTTP status.
        status: u16,
    },
    /// The received bytes could not be written.
    #[error("writing what the platform sent failed; check whether the disk is full")]
    Write(#[source] io::Error),
}

impl Transport {
    /// Downloads `path` into the writer that `begin` returns. `begin` is called again for every route that is
    /// tried; what was written before is incomplete.
    ///
    /// At most `limit` bytes are accepted; the time limit increases with them. The download uses its own
    /// connection, so that a slow one does not affect other requests.
    ///
    /// # Errors
    /// See [`DownloadError`]. What was written by then is incomplete.
    pub fn download<W: Write>(
        &mut self,
        path: &str,
        limit: u64,
        mut begin: impl FnMut() -> io::Result<W>,
    ) -> Result<W, DownloadError> {
        let slowest_transfer = Duration::from_secs(limit / SLOWEST);
        let exchange = self.timeouts.exchange.saturating_add(slowest_transfer);
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
        way: &RouteAgent,
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
