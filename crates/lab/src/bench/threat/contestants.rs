//! The contestants that block a list of addresses, and how each loads it into the kernel.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Driver, lists, shown};
use crate::host::Host;
use crate::programs::Programs;
use crate::wait;

/// A contestant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contestant {
    Xshield,
    /// `nft -f` with a hash set of known size.
    Nft,
    /// `ipset restore` with hash:ip.
    Ipset,
}

impl Contestant {
    pub(super) const ALL: [Self; 3] = [Self::Xshield, Self::Nft, Self::Ipset];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Xshield => "xshield",
            Self::Nft => "nft -f, hash set with size",
            Self::Ipset => "ipset restore, hash:ip",
        }
    }
}

/// The cost of a load.
pub(super) struct LoadTime {
    /// From fork to exit.
    pub time: Duration,
    /// Processor time; a busy machine affects it less.
    pub cpu: Duration,
}

/// A list in the input format of each contestant.
pub(super) struct Forms {
    ours: PathBuf,
    nft: PathBuf,
    ipset: PathBuf,
}

impl Forms {
    pub(super) fn write(driver: &Path, host: &Host, addresses: &[Ipv4Addr]) -> Result<Self> {
        let text = lists::file(host, "list.txt", &lists::plain(addresses))?;
        let ours = Driver { program: driver, host }.compile(&text)?;
        let elements: Vec<String> = addresses.iter().map(Ipv4Addr::to_string).collect();
        let set = format!("type ipv4_addr; size {}", addresses.len());
        let nft = lists::file(host, "list.nft", &lists::nft(&set, true, &elements))?;
        let ipset = lists::file(host, "list.ipset", &lists::ipset(addresses))?;
        Ok(Self { ours, nft, ipset })
    }

    fn command<'a>(&'a self, who: Contestant, driver: &'a Path) -> Result<[&'a str; 3]> {
        Ok(match who {
            Contestant::Xshield => [shown(driver)?, "load", shown(&self.ours)?],
            Contestant::Nft => ["nft", "-f", shown(&self.nft)?],
            Contestant::Ipset => ["ipset", "-file", shown(&self.ipset)?],
        })
    }

    /// Loads a list on an empty host; returns the cost of the whole program.
    pub(super) fn load(&self, who: Contestant, driver: &Path, host: &Host) -> Result<LoadTime> {
        let [program, first, second] = self.command(who, driver)?;
        let restore = (who == Contestant::Ipset).then_some("restore");
        let (begin, cpu) = (Instant::now(), cpu_of_children()?);
        host.run(program, [first, second].into_iter().chain(restore))?;
        Ok(LoadTime { time: begin.elapsed(), cpu: cpu_of_children()?.saturating_sub(cpu) })
    }

    /// The same; returns the program's peak memory in KiB.
    pub(super) fn peak(
        &self,
        who: Contestant,
        driver: &Path,
        (host, programs): (&Host, &Programs),
    ) -> Result<f64> {
        let lab = programs.lab();
        let words = ["peak"].into_iter().chain(self.command(who, driver)?);
        let restore = (who == Contestant::Ipset).then_some("restore");
        let answer = host.run(lab, words.chain(restore))?;
        answer.trim().parse().with_context(|| format!("peak printed {answer:?}"))
    }
}

/// Processor time of all ended children, including that in the kernel.
#[allow(unsafe_code, reason = "system call")]
pub(super) fn cpu_of_children() -> Result<Duration> {
    // SAFETY: a zeroed rusage is valid, and it outlives the call that fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        if libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        usage
    };
    let time = |of: libc::timeval| -> Result<Duration> {
        Ok(Duration::new(of.tv_sec.try_into()?, 1000 * u32::try_from(of.tv_usec)?))
    };
    Ok(time(usage.ru_utime)? + time(usage.ru_stime)?)
}

/// Removes everything from a host's kernel, and waits until its memory is freed.
pub(super) fn clear(host: &Host) -> Result<()> {
    host.run("nft", ["flush", "ruleset"])?;
    host.run("ipset", ["destroy"])?;
    settled_kib().map(drop)
}

/// KiB of memory that the kernel itself uses and can't reclaim, once it is stable: it frees memory with a
/// delay.
pub(super) fn settled_kib() -> Result<f64> {
    const STEADY: Duration = Duration::from_millis(300);
    const NOISE: i64 = 256;
    let mut steady: (i64, Instant) = (kernel_kib()?, Instant::now());
    wait::until("the kernel's memory settles", Duration::from_secs(20), || {
        let now = kernel_kib()?;
        if (now - steady.0).abs() > NOISE {
            steady = (now, Instant::now());
        }
        #[allow(clippy::cast_precision_loss, reason = "KiB of one machine")]
        Ok((steady.1.elapsed() > STEADY).then_some(now as f64))
    })
}

fn kernel_kib() -> Result<i64> {
    let info = std::fs::read_to_string("/proc/meminfo")?;
    let fields = info.lines().filter_map(|line| {
        let rest = ["SUnreclaim:", "VmallocUsed:", "Percpu:"]
            .iter()
            .find_map(|field| line.strip_prefix(field))?;
        rest.split_whitespace().next()?.parse::<i64>().ok()
    });
    Ok(fields.sum())
}
