//! The agent's resource usage, as accounted by the kernel.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::fixture::{Fixture, PEER};
use crate::bench::{Effort, pause};
use crate::figure::Figure;
use crate::host::Running;
use crate::service::Service;

/// The unit of times in `/proc/PID/stat` (`USER_HZ`, the same on every architecture that we build for).
const TICKS_PER_SECOND: f64 = 100.0;
/// Connections per second on a busy host.
const CONNECTIONS: u32 = 1_000;
const SERVER: Service = Service { process: "server", tcp: &[8080], udp: &[] };

/// A measured process.
pub(super) struct Watched {
    pid: u32,
}

impl Watched {
    pub(super) fn new(running: &Running) -> Result<Self> {
        Ok(Self { pid: running.pid()? })
    }

    /// Processor time used so far, including ended children, in seconds.
    pub(super) fn processor_seconds(&self) -> Result<f64> {
        let text = self.read("stat")?;
        // The name before the last parenthesis may contain anything (proc(5)).
        let (_, fields) = text.rsplit_once(')').context("no name in stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // utime, stime, cutime, cstime: the fields 14 to 17, the third one being the first here.
        let times = fields.get(11..15).context("stat is too short")?;
        let ticks = times.iter().map(|time| Ok(time.parse::<f64>()?)).sum::<Result<f64>>()?;
        Ok(ticks / TICKS_PER_SECOND)
    }

    /// Resident memory, in KiB.
    pub(super) fn resident_kib(&self) -> Result<f64> {
        self.memory("VmRSS:")
    }

    /// Peak resident memory since [`Watched::forget_peak`], in KiB.
    pub(super) fn peak_kib(&self) -> Result<f64> {
        self.memory("VmHWM:")
    }

    /// Resets the peak (`clear_refs`, proc(5)).
    pub(super) fn forget_peak(&self) -> Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5").context("could not reset a peak")
    }

    fn memory(&self, name: &str) -> Result<f64> {
        let text = self.read("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        let kib = line.trim().trim_end_matches(" kB");
        kib.parse().with_context(|| format!("{name} is {kib:?}"))
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).with_context(|| format!("could not read {path}"))
    }
}

/// Processor time between two points in time, in percent of one core.
pub(super) struct Share<'a> {
    watched: &'a Watched,
    before: f64,
    began: Instant,
}

impl<'a> Share<'a> {
    pub(super) fn begin(watched: &'a Watched) -> Result<Self> {
        Ok(Self { watched, before: watched.processor_seconds()?, began: Instant::now() })
    }

    pub(super) fn percent(&self) -> Result<f64> {
        let spent = self.watched.processor_seconds()? - self.before;
        Ok(100.0 * spent / self.began.elapsed().as_secs_f64())
    }
}

/// A host that enforces at default intervals, without any events.
pub(super) fn idle(effort: Effort) -> Result<()> {
    let span = match effort {
        Effort::Full => Duration::from_secs(600),
        Effort::Quick => Duration::from_secs(30),
    };
    let mut fixture = Fixture::begin(1, "")?;
    fixture.commit("tcp/8080")?;
    let watched = Watched::new(&fixture.agents[0])?;
    watched.forget_peak()?;
    let share = Share::begin(&watched)?;
    pause(Instant::now() + span);
    let percent = share.percent()?;
    let peak = watched.peak_kib()?;
    fixture.all_live()?;
    Figure::new("agent.idle_cpu_percent", percent, "percent").print();
    Figure::new("agent.idle_rss_kib", peak, "KiB").print();
    Ok(())
}

/// A host on which a program continuously opens connections.
pub(super) fn busy(effort: Effort) -> Result<()> {
    let seconds = match effort {
        Effort::Full => 120,
        Effort::Quick => 10,
    };
    let mut fixture = Fixture::begin(1, "")?;
    fixture.commit("tcp/8080")?;
    fixture.lab.serve(PEER.0, &SERVER)?;
    let host = fixture.host(0)?;
    let watched = Watched::new(&fixture.agents[0])?;
    let to = SocketAddr::from((fixture.peer()?.v4(), SERVER.tcp[0]));
    let mut command = host.command(fixture.lab.programs().lab());
    command.args(["open", &to.to_string()]);
    command.args(["--rate", &CONNECTIONS.to_string(), "--seconds", &seconds.to_string()]);
    let share = Share::begin(&watched)?;
    let output = command.stdin(Stdio::null()).output().context("could not start the opener")?;
    let percent = share.percent()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let opened: f64 =
        text.trim().parse().with_context(|| format!("the opener printed {text:?}"))?;
    fixture.all_live()?;
    Figure::new("agent.busy_cpu_percent", percent, "percent").print();
    Figure::new("agent.busy_connections", opened / f64::from(seconds), "connections/s").print();
    Ok(())
}
