//! The agent's process from start to end: a few threads, one lock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use xshield_enforce::config::ConfigError;
use xshield_enforce::lock::{Guard, LockError};
use xshield_enforce::problems::chain;
use xshield_enforce::resident::verbs;
use xshield_enforce::state::StateDirectory;
use xshield_enforce::telemetry::AgentEventKind;

use crate::agent::Agent;
use crate::config_file;
use crate::control::server::Server;
use crate::log::{Level, Log};
use crate::os::signals::{Signal, Signals};
use crate::os::supervisor::{self, Supervisor};
use crate::started_by::StartedBy;
use crate::this_program::this_program;
use crate::threads::spawn;
use crate::{listen, observe, os, worker};

/// Exists while an agent runs; an agent that finds it was not stopped properly the last time.
const RUNNING: &str = "running";
/// How long a running cycle may take when the agent is stopping. The next start completes what it leaves.
const LAST_CYCLE: Duration = Duration::from_secs(10);

/// Why the agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state directory can't be used.
    #[error("using the state directory {path} failed", path = .path.display())]
    State {
        /// The directory.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
    /// The lock can't be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Another agent is running.
    #[error("another agent is running on this host with the state directory {path}", path = .0.display())]
    AnotherAgent(PathBuf),
    /// Signals or threads can't be set up.
    #[error("setting up {what} failed")]
    Setup {
        /// What could not be set up.
        what: &'static str,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
}

/// Runs until it is asked to stop: by SIGTERM or SIGINT, on Windows by Ctrl-C.
///
/// # Errors
/// Why it could not start.
pub fn run(config: &Path, socket: &Path, level: Level) -> Result<(), StartError> {
    let log = Log::new(level);
    os::say_what_expires();
    let started_by = StartedBy::of_environment();
    let loaded = config_file::load_to_run(config, started_by)?;
    let directory = loaded.config.state_directory.clone();
    let failed = |source| StartError::State { path: directory.clone(), source };
    let state = StateDirectory::open(&directory).map_err(failed)?;
    let guard = keep(&state, &directory)?;
    let agent = Arc::new(Agent::new(config.to_owned(), this_program(), loaded, started_by, log));
    agent.say_unknown(&agent.loaded());
    note_start(&agent, &state).map_err(failed)?;
    restore(&agent);
    let ended = serve(&agent, socket);
    let _ = fs::remove_file(state.path(RUNNING));
    drop(guard);
    ended
}

fn keep(state: &StateDirectory, directory: &Path) -> Result<Guard, StartError> {
    state.keep_for_a_resident()?.ok_or_else(|| StartError::AnotherAgent(directory.to_owned()))
}

fn note_start(agent: &Agent, state: &StateDirectory) -> io::Result<()> {
    let version = &agent.program.version;
    agent.log.info(&format!("ctagent {version} starts"));
    let marker = state.path(RUNNING);
    if marker.exists() {
        let text = format!("ctagent {version} is back; it had ended without being stopped");
        agent.report_event(AgentEventKind::Restarted, text);
    } else {
        agent.report_event(AgentEventKind::Started, format!("ctagent {version} was started"));
    }
    let progress = state.progress(&mut Vec::new()).unwrap_or_default();
    agent.resume(progress.configuration, progress.resends);
    fs::write(marker, [])
}

/// Puts the last policy in force before anything is requested from the network.
fn restore(agent: &Agent) {
    match agent.config(|config| verbs::restore_after_boot(config, &agent.environment)) {
        Ok(Some(restored)) => {
            if let Some(policy) = restored.policy {
                agent.log.info(&format!("revision {} is in force again", policy.revision));
            }
            if let Some(list) = restored.threat {
                agent.log.info(&format!("threat list {} is in force again", list.revision));
            }
        }
        Ok(None) => {}
        Err(error) => agent.log.error(&chain(&error)),
    }
}

fn serve(agent: &Arc<Agent>, socket: &Path) -> Result<(), StartError> {
    let setup = |what| move |source| StartError::Setup { what, source };
    let mut signals = Signals::new().map_err(setup("signals"))?;
    match Server::listen(socket) {
        Ok(server) => {
            let agent = Arc::clone(agent);
            spawn("control", move || server.run(&agent)).map_err(setup("a thread"))?;
        }
        // Enforcement does not depend on the control socket.
        Err(error) => agent.log.error(&chain(&error)),
    }
    let listener = Arc::clone(agent);
    spawn("notify", move || listen::run(&listener)).map_err(setup("a thread"))?;
    let observing = Arc::clone(agent);
    spawn("observe", move || observe::run(&observing)).map_err(setup("a thread"))?;
    os::watchers::start(agent).map_err(setup("a thread"))?;
    let supervisor = Arc::new(Supervisor::of_environment());
    supervisor.ready("started");
    let (watching, watched) = (Arc::clone(agent), Arc::clone(&supervisor));
    spawn("watchdog", move || supervisor::run(&watching, &watched)).map_err(setup("a thread"))?;
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let working = Arc::clone(agent);
    // The cycle binds and plans whole rulesets, so it has the usual stack size.
    let worker = thread::Builder::new().name("cycle".to_owned()).spawn(move || {
        worker::run(&working, &supervisor);
        drop(done);
    });
    worker.map_err(setup("a thread"))?;
    while signals.wait() == Signal::Reload {
        // A refusal is logged.
        let _ = agent.reload();
    }
    agent.log.info("ctagent stops; the policy stays in force");
    agent.stop();
    let _ = ended.recv_timeout(LAST_CYCLE);
    os::control::remove(socket);
    Ok(())
}
