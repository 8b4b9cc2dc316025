//! Diagnostics: collected once for each command, kept on disk until the platform has received them
//! completely.

mod archive;
mod collect;
mod reach;
mod redact;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xshield_host::files::{self, Access, FileError};
use xshield_host::spool::Spool;
use xshield_wire::control::{UPLOAD_MAX, UPLOAD_PIECE, UploadState};
use xshield_wire::message::{CommandResult, InForce, ProgramKind, ReportBody};
use xshield_wire::telemetry::{AgentEvent, AgentEventKind};

pub(crate) use self::collect::SystemFacts;
use self::collect::{Found, collect};
use crate::client::ContactError;
use crate::core::delivery::Delivery;
use crate::core::ports::PolicyStatus;
use crate::delivery::{DeliveryError, HostDelivery};
use crate::exchange::Exchange;
use crate::problems::{chain, problem};
use crate::progress::WantedDiagnostics;
use crate::reports::sha256;
use crate::run::Run;
use crate::state::DIAGNOSTICS_DIRECTORY;
use crate::step::Step;
use crate::{commands, reached};

/// How long one run uploads; the next one continues.
const TIMEOUT: Duration = Duration::from_secs(60);
/// After this time an upload is abandoned, in seconds, unless the command expires earlier.
const GIVE_UP: u64 = 24 * 60 * 60;
/// How often the upload of an archive is started.
const ATTEMPTS: u32 = 3;

/// Why diagnostics could not be collected or stored.
#[derive(Debug, thiserror::Error)]
pub enum DiagnosticsError {
    /// The archive can't be compressed.
    #[error("packing the diagnostics failed")]
    Pack(#[source] io::Error),
    /// The archive can't be written or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its directory can't be created.
    #[error("creating the directory {path} failed", path = .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
}

/// How far an upload got.
enum Progressed {
    /// The platform has received all of it.
    Whole,
    /// The run's time is up.
    Later,
}

/// Diagnostics in a run, with the parts of the run that they use.
pub(crate) struct Diagnosing<'r, 'a> {
    pub(crate) run: &'r mut Run<'a>,
    pub(crate) exchange: &'r mut Exchange<'a>,
    pub(crate) delivery: &'r mut Delivery,
    /// Reports that wait on disk.
    pub(crate) spool: &'r mut Spool,
    /// How the host stands.
    pub(crate) standing: PolicyStatus,
    /// The ruleset that a restart would restore.
    pub(crate) last_known_good: Option<InForce>,
    /// Reads the system's facts.
    pub(crate) system: SystemFacts,
}

impl Diagnosing<'_, '_> {
    /// Collects and uploads pending diagnostics within this run's time limit.
    pub(crate) fn serve(&mut self) -> Result<(), DeliveryError> {
        if self.run.progress.diagnostics.is_empty() {
            return Ok(());
        }
        let until = Instant::now() + TIMEOUT;
        let mut outcomes = Vec::new();
        for wanted in self.run.progress.diagnostics.clone() {
            if let Some(result) = self.serve_one(&wanted, until) {
                self.run.progress.diagnostics.retain(|other| other.command != wanted.command);
                outcomes.push(commands::done(self.run, &wanted.command, result));
            }
        }
        let ended: Vec<String> = outcomes.iter().map(|outcome| outcome.id.clone()).collect();
        commands::tell_outcomes(self.run, outcomes);
        self.run.state.save_progress(&self.run.progress)?;
        reached::step(Step::Diagnosed);
        // Only what is saved as finished may be deleted.
        for id in ended {
            let _ = std::fs::remove_file(self.archive_path(&id));
        }
        HostDelivery::new(self.run, self.exchange, self.spool).deliver_outbox(self.delivery)
    }

    fn found(&self) -> Found {
        Found {
            secrets: self.exchange.client.secrets(),
            standing: self.standing.clone(),
            last_known_good: self.last_known_good,
            waiting: self.spool.waiting(),
            system: self.system,
        }
    }

    /// Writes diagnostics to the file that an administrator of this host named.
    pub(crate) fn leave(&mut self) {
        let Some(path) = &self.run.options.archive else { return };
        let write = |archive: Vec<u8>| -> Result<(), DiagnosticsError> {
            make_directory(path)?;
            Ok(files::write(path, &archive, Access::Private)?)
        };
        let collected = collect(self.run, &self.found()).map_err(DiagnosticsError::Pack);
        if let Err(error) = collected.and_then(write) {
            self.run.problems.push(problem("diagnostics", &error));
        }
    }

    /// `None`: the next run continues.
    fn serve_one(&mut self, wanted: &WantedDiagnostics, until: Instant) -> Option<CommandResult> {
        let now = self.run.now();
        let end = wanted.expires.unwrap_or(u64::MAX).min(wanted.begun + GIVE_UP);
        let failed = |reason: String| Some(CommandResult::Failed { reason });
        if now > end {
            return failed("uploading the diagnostics to the platform took too long".to_owned());
        }
        let archive = match self.archive(wanted) {
            Ok(archive) => archive,
            Err(error) => return failed(chain(&error)),
        };
        if !self.exchange.was_reached() {
            return None;
        }
        match self.upload(wanted, &archive, until) {
            Ok(Progressed::Whole) => {
                self.tell_collected(wanted, archive.len());
                Some(CommandResult::Done)
            }
            Ok(Progressed::Later) => None,
            Err(error) if error.is_final() && wanted.attempts + 1 < ATTEMPTS => {
                let all = self.run.progress.diagnostics.iter_mut();
                all.filter(|other| other.command == wanted.command)
                    .for_each(|other| other.attempts += 1);
                None
            }
            Err(error) if error.is_final() || error.is_unknown() => failed(chain(&error)),
            Err(error) => {
                self.run.problems.push(problem("diagnostics-undelivered", &error));
                None
            }
        }
    }

    /// The archive of an earlier run, or a new one.
    fn archive(&mut self, wanted: &WantedDiagnostics) -> Result<Vec<u8>, DiagnosticsError> {
        let path = self.archive_path(&wanted.command);
        if let Some(sealed) = files::read(&path)?
            && let Ok(archive) = files::unseal(&sealed)
        {
            return Ok(archive.to_vec());
        }
        let archive = collect(self.run, &self.found()).map_err(DiagnosticsError::Pack)?;
        make_directory(&path)?;
        files::write(&path, &files::seal(&archive), Access::Private)?;
        reached::step(Step::CollectedDiagnostics);
        Ok(archive)
    }

    fn archive_path(&self, command: &str) -> PathBuf {
        self.run.state.path(DIAGNOSTICS_DIRECTORY).join(command)
    }

    fn upload(
        &mut self,
        wanted: &WantedDiagnostics,
        archive: &[u8],
        until: Instant,
    ) -> Result<Progressed, ContactError> {
        let archive = &archive[..archive.len().min(UPLOAD_MAX as usize)];
        let digest = sha256(archive);
        let mut standing = self.exchange.client.upload_standing(&wanted.command)?;
        while standing.state != UploadState::Complete {
            if Instant::now() >= until {
                return Ok(Progressed::Later);
            }
            let offset =
                usize::try_from(standing.received).unwrap_or(usize::MAX).min(archive.len());
            let piece = &archive[offset..archive.len().min(offset + piece_size())];
            let total = archive.len() as u64;
            let next = self.exchange.client.upload(
                &wanted.command,
                offset as u64,
                total,
                &digest,
                piece,
            )?;
            // If the platform accepts no more bytes, the upload is abandoned.
            if next.received <= standing.received && next.state != UploadState::Complete {
                return Ok(Progressed::Later);
            }
            standing = next;
            reached::step(Step::UploadedPiece);
        }
        Ok(Progressed::Whole)
    }

    fn tell_collected(&mut self, wanted: &WantedDiagnostics, bytes: usize) {
        if self.run.program.kind != ProgramKind::Agent {
            return;
        }
        let event = AgentEvent {
            at: self.run.now(),
            kind: AgentEventKind::DiagnosticsCollected,
            text: format!("{bytes} bytes of diagnostics were uploaded for {}", wanted.command),
            revision: None,
            seconds: None,
        };
        self.run.put(ReportBody::Agent { events: vec![event] });
    }
}

/// The size of a chunk in bytes. In debug builds `XSHIELD_UPLOAD_PIECE` makes it smaller, so that tests can
/// interrupt an upload of a few kilobytes.
fn piece_size() -> usize {
    let less = cfg!(debug_assertions).then(|| std::env::var("XSHIELD_UPLOAD_PIECE").ok()).flatten();
    let less = less.and_then(|text| text.parse().ok()).filter(|bytes| *bytes > 0);
    less.unwrap_or(UPLOAD_PIECE).min(UPLOAD_PIECE)
}

/// Creates the directory of a file.
fn make_directory(file: &Path) -> Result<(), DiagnosticsError> {
    let Some(directory) = file.parent() else { return Ok(()) };
    std::fs::create_dir_all(directory)
        .map_err(|source| DiagnosticsError::Directory { path: directory.to_owned(), source })
}
