//! What a host tells in batches.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::{Direction, DirectionRules, Mode, Protocol, RuleId, StanceRules, Subject};

use super::{CommandOutcome, FirewallEvent, InForce, UnixSeconds, VERSION};
use crate::bytes::Bytes;
use crate::telemetry::{
    AgentEvent, DebugLog, HostTelemetry, LiveReport, PathReport, SoftwareReport,
};
use crate::threat::ThreatReport;

/// One batch of what a host saw. Delivered at least once, counted once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u16,
    /// Random; the platform counts a batch once however often it comes.
    pub batch: Bytes<16>,
    /// When it was put together, by the host's clock.
    pub created: UnixSeconds,
    /// What was seen.
    pub body: ReportBody,
}

impl Report {
    /// A report of this version. `batch`: random.
    #[must_use]
    pub fn new(batch: [u8; 16], created: UnixSeconds, body: ReportBody) -> Self {
        Self { version: VERSION, batch: Bytes(batch), created, body }
    }
}

/// The kinds of reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ReportBody {
    /// The ruleset as the kernel returned it.
    Programmed(ProgrammedReport),
    /// Recorded flows since the last batch of this kind.
    Events(EventReport),
    /// Every listening port; replaces the previous list.
    ListeningPorts {
        /// All of them, loopback-only ones left out.
        ports: Vec<ListeningPort>,
    },
    /// Flows with listed peers since the last batch of this kind.
    Threats(ThreatReport),
    /// What became of commands.
    Commands {
        /// Each ended command once.
        outcomes: Vec<CommandOutcome>,
    },
    /// What the host is made of.
    Host(Box<HostTelemetry>),
    /// Installed software.
    Software(SoftwareReport),
    /// Active communication paths.
    Paths(PathReport),
    /// Denials and matches as they happen; no counts of record.
    Live(LiveReport),
    /// What the host's program did.
    Agent {
        /// In the order in which they happened.
        events: Vec<AgentEvent>,
    },
    /// A piece of a detailed log.
    DebugLog(DebugLog),
}

/// What the kernel returned when asked what is programmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProgrammedReport {
    /// The ruleset it came from.
    pub in_force: InForce,
    /// Subject and mode by direction.
    pub inbound: DirectionState,
    /// Subject and mode by direction.
    pub outbound: DirectionState,
    /// Packets and bytes by rule since the last batch of this kind.
    pub hits: Vec<RuleHits>,
    /// The table in nft's own syntax, for people; `None` when it is what the last report said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Rules that this host can't enforce as written, with the reason.
    pub unenforceable: Vec<UnenforceableRule>,
}

/// How far one direction is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionState {
    /// What is denied unless allowed.
    pub subject: Subject,
    /// Whether denials drop.
    pub mode: Mode,
    /// What is tested above an enforced stance; `None` where nothing is, and with mode `test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested: Option<Subject>,
}

impl DirectionState {
    /// The state that these rules make.
    #[must_use]
    pub fn of(rules: &DirectionRules) -> Self {
        let subject = rules.enforced.subject;
        match &rules.tested {
            Some(tested) if rules.enforced == StanceRules::open() => {
                Self { subject: tested.subject, mode: Mode::Test, tested: None }
            }
            tested => {
                let tested = tested.as_ref().map(|tested| tested.subject);
                Self { subject, mode: Mode::Enforce, tested }
            }
        }
    }
}

/// How often a rule matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHits {
    /// The rule; `failsafe/…` and `default` are rules, too.
    pub rule: RuleId,
    /// Its direction.
    pub direction: Direction,
    /// Packets since the last batch.
    pub packets: u64,
    /// Bytes since the last batch.
    pub bytes: u64,
}

/// A rule that matches nothing on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnenforceableRule {
    /// The rule.
    pub rule: RuleId,
    /// Its direction.
    pub direction: Direction,
    /// Why.
    pub reason: String,
}

/// Flows that the kernel recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventReport {
    /// One per flow key and verdict.
    pub events: Vec<FirewallEvent>,
    /// Flows that could not be recorded since the last batch (recorder full, log overrun, spool full).
    pub lost: u64,
}

/// A port that a program listens on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListeningPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The local address; `0.0.0.0` and `::` mean all.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Process name, when it could be told.
    pub process: Option<String>,
    /// Full path of the executable, when it could be told.
    pub path: Option<String>,
    /// The socket's user id.
    pub uid: u32,
}

/// The platform has the batch on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAnswer {
    /// [`VERSION`].
    pub version: u16,
    /// The batch that may be forgotten now.
    pub acknowledged: Bytes<16>,
}
