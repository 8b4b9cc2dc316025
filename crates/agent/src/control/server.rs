//! The server for `ctagentcmd`.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Value, json};
use xshield_enforce::explain::Question;
use xshield_enforce::problems::chain;
use xshield_enforce::resident::verbs as resident;
use xshield_enforce::{explain, verbs};

use super::{Answer, LONGEST_REQUEST, Request};
use crate::agent::Agent;
use crate::cycles::Wake;
use crate::os::control::{Connection, Listener, NOT_ALLOWED};

/// The path of diagnostics requested on this host, in the state directory.
const ARCHIVE: &str = "diagnostics/local.tar.gz";
/// The most clients served at the same time.
const AT_A_TIME: usize = 4;
/// The stack size, as for the agent's other threads.
const STACK: usize = 512 * 1024;
/// How long a client may take to send its request and to read the answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why the socket can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("listening at {path} failed", path = .path.display())]
pub struct ListenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The server.
pub struct Server(Listener);

impl Server {
    /// Listens at `path`. The caller must hold the agents' lock.
    ///
    /// # Errors
    /// When the socket or pipe can't be created.
    pub fn listen(path: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenError { path: path.to_owned(), source };
        Listener::new(path).map(Self).map_err(failed)
    }

    /// Serves clients as long as the process runs, a few at the same time, so that waiting for diagnostics
    /// does not block a status query.
    pub fn run(&self, agent: &Agent) {
        let busy = AtomicUsize::new(0);
        thread::scope(|scope| {
            loop {
                let stream = self.0.accept(TIMEOUT);
                let serve = || {
                    if let Err(error) = stream.and_then(|stream| answer(agent, stream)) {
                        agent.log.debug(&format!("answering over the control socket: {error}"));
                        agent.rest(Duration::from_millis(10));
                    }
                };
                if busy.load(Ordering::Relaxed) >= AT_A_TIME {
                    serve();
                    continue;
                }
                busy.fetch_add(1, Ordering::Relaxed);
                let caller = thread::Builder::new().name("caller".to_owned()).stack_size(STACK);
                let served = caller.spawn_scoped(scope, || {
                    serve();
                    busy.fetch_sub(1, Ordering::Relaxed);
                });
                if let Err(error) = served {
                    busy.fetch_sub(1, Ordering::Relaxed);
                    agent.log.debug(&format!("answering over the control socket: {error}"));
                }
            }
        });
    }
}

fn answer(agent: &Agent, mut stream: Connection) -> io::Result<()> {
    let answer = if stream.is_allowed()? {
        match read(&mut stream)? {
            Ok(request) => carry_out(agent, &request),
            Err(reason) => Answer::Error(reason),
        }
    } else {
        Answer::Error(NOT_ALLOWED.to_owned())
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    stream.finish();
    Ok(())
}

fn read(stream: &mut Connection) -> io::Result<Result<Request, String>> {
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_REQUEST)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line).map_err(|error| format!("the request is malformed: {error}")))
}

fn carry_out(agent: &Agent, request: &Request) -> Answer {
    match request {
        Request::Status => Answer::Ok(status(agent)),
        Request::Telemetry => Answer::Ok(telemetry(agent)),
        Request::Policy => found(agent.config(resident::policy)),
        Request::Flows { most } => found(resident::flows(*most)),
        Request::Explain { packet } => match Question::read(packet) {
            Ok(question) => found(explain::answer(&question).map(|explanation| {
                json!({ "text": explanation.to_string(), "explanation": explanation })
            })),
            Err(error) => Answer::Error(chain(&error)),
        },
        Request::Diagnostics => diagnose(agent),
        Request::Run => {
            agent.wake(Wake::Asked);
            Answer::Ok(Value::Null)
        }
        Request::Reload => match agent.reload() {
            Ok(()) => Answer::Ok(Value::Null),
            Err(reason) => Answer::Error(reason),
        },
        Request::LogLevel { level } => {
            if let Some(level) = level {
                agent.log.set_level(*level);
            }
            Answer::Ok(json!({ "level": agent.log.level() }))
        }
    }
}

/// Has a cycle collect diagnostics, since only it has all the data.
fn diagnose(agent: &Agent) -> Answer {
    let path = agent.config(|config| config.state_directory.join(ARCHIVE));
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Answer::Error(format!("{} can't be replaced: {error}", path.display()));
    }
    let Some(cycles) = agent.wait_for_idle() else {
        return Answer::Error("the agent is stopping".to_owned());
    };
    agent.wake_for_diagnostics(path.clone());
    let _ = agent.wait_for_cycle_after(cycles);
    match path.exists() {
        true => Answer::Ok(json!({ "path": path })),
        false => Answer::Error("nothing could be collected; see the agent's log".to_owned()),
    }
}

fn found<T: Serialize>(result: Result<T, verbs::VerbError>) -> Answer {
    match result {
        Ok(found) => Answer::Ok(serde_json::to_value(&found).unwrap_or_default()),
        Err(error) => Answer::Error(chain(&error)),
    }
}

fn status(agent: &Agent) -> Value {
    let host = agent.config(verbs::status);
    let settings = agent.settings();
    let live = live(agent);
    let agent_status = agent.status();
    let last = agent_status.last.as_ref().map(|last| {
        let outcome = last.result.as_ref();
        json!({
            "ended": last.ended,
            "took_ms": u64::try_from(last.took.as_millis()).unwrap_or(u64::MAX),
            "outcome": outcome.ok(),
            "error": outcome.err(),
        })
    });
    json!({
        "version": agent.program.version,
        "pid": std::process::id(),
        "started": agent.started,
        "configuration": agent.path,
        "platform": agent_status.loaded.config.platform,
        "platform_configuration": agent_status.platform_configuration,
        "heartbeat_seconds": settings.heartbeat.as_secs(),
        "next_cycle_seconds": agent_status.next_cycle.as_secs(),
        "notification": agent_status.notification,
        "cycles": agent_status.cycles,
        "usage": agent_status.usage,
        "live": live,
        "last_cycle": last,
        "now": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        "host": host.as_ref().ok(),
        "error": host.as_ref().err().map(|error| chain(error)),
    })
}

fn live(agent: &Agent) -> Value {
    let (standing, counts, untold) = agent.live.status();
    json!({ "standing": standing, "counts": counts, "untold": untold })
}

fn telemetry(agent: &Agent) -> Value {
    let settings = agent.settings();
    let status = agent.status();
    json!({
        "usage": status.usage,
        "cpu_budget_percent": f64::from(settings.cpu_budget) / 10.0,
        "memory_budget_kib": settings.memory_budget,
        "waiting_reports": status.waiting_reports,
        "paths": status.paths.to_string(),
    })
}
