//! The resident agent: its resource usage when idle and busy, and how soon it enforces a new policy or finds
//! another route to the platform.

mod fixture;
mod flood;
mod open;
mod push;
mod routes;
mod usage;

pub use open::{OpenArgs, run as open};

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Effort;
use super::traffic::number;
use crate::figure::Figure;

/// One measurement; all of them if not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// Memory and processor time when idle.
    Idle,
    /// Processor time while connections are opened.
    Busy,
    /// From committing to the kernel, by notification.
    Push,
    /// The same by heartbeats only.
    Heartbeat,
    /// From the failure of a proxy to the next heartbeat.
    Failover,
    /// A flood of denied packets.
    Flood,
}

type Measure = fn(Effort) -> Result<()>;

/// `program`: the agent whose size is reported; the agent that runs is among the lab's programs.
pub(super) fn run(program: &Path, effort: Effort, part: Option<Part>) -> Result<()> {
    let file = std::fs::metadata(program);
    let file = file.with_context(|| format!("could not find {}", program.display()))?;
    Figure::new("agent.binary_bytes", number(file.len()), "bytes").print();
    let parts: [(Part, Measure); 6] = [
        (Part::Idle, usage::idle),
        (Part::Busy, usage::busy),
        (Part::Push, push::notified),
        (Part::Heartbeat, push::by_heartbeat),
        (Part::Failover, routes::failover),
        (Part::Flood, flood::run),
    ];
    for (_, measure) in parts.into_iter().filter(|(one, _)| part.is_none_or(|p| p == *one)) {
        measure(effort)?;
    }
    Ok(())
}
