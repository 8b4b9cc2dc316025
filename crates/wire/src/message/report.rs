//! Reports, which a host sends in batches.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::{Direction, DirectionRules, Mode, Protocol, RuleId, StanceRules, Subject};

use super::{CommandOutcome, FirewallEvent, InForce, UnixSeconds, VERSION};
use crate::bytes::Bytes;
use crate::telemetry::{
    AgentEvent, DebugLog, HostTelemetry, LiveReport, PathReport, SoftwareReport,
};
use crate::threat::ThreatReport;

/// A batch of observations of a host. Delivered at least once, counted once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u16,
    /// A random id; the platform counts a batch once however often it is received.
    pub batch: Bytes<16>,
    /// When it was created, by the host's clock.
    pub created: UnixSeconds,
    /// The content.
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
        /// All of them, without loopback-only ones.
        ports: Vec<ListeningPort>,
    },
    /// Flows with listed peers since the last batch of this kind.
    Threats(ThreatReport),
    /// Outcomes of commands.
    Commands {
        /// Each completed command once.
        outcomes: Vec<CommandOutcome>,
    },
    /// The host's hardware.
    Host(Box<HostTelemetry>),
    /// Installed software.
    Software(SoftwareReport),
    /// Active communication paths.
    Paths(PathReport),
    /// Denials and matches as they happen, which are never counted.
    Live(LiveReport),
    /// What the host's program did.
    Agent {
        /// In order of occurrence.
        events: Vec<AgentEvent>,
    },
    /// A part of a detailed log.
    DebugLog(DebugLog),
}

/// The ruleset as read back from the kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProgrammedReport {
    /// The ruleset from which it was programmed.
    pub in_force: InForce,
    /// Subject and mode by direction.
    pub inbound: DirectionState,
    /// Subject and mode by direction.
    pub outbound: DirectionState,
    /// Packets and bytes by rule since the last batch of this kind.
    pub hits: Vec<RuleHits>,
    /// The table in nft's syntax, for people; `None` if it has not changed since the last report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Rules that this host can't enforce as written, with the reason.
    pub unenforceable: Vec<UnenforceableRule>,
}

/// How far one direction is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionState {
    /// The flows that are denied unless allowed.
    pub subject: Subject,
    /// Whether denials drop.
    pub mode: Mode,
    /// What is tested above an enforced stance; `None` if nothing is, and with mode `test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested: Option<Subject>,
}

impl DirectionState {
    /// The state that results from these rules.
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
    /// The rule, including `failsafe/…` and `default`.
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
    /// The reason.
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

/// A port on which a program listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListeningPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The local address; `0.0.0.0` and `::` mean all.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The process name, if known.
    pub process: Option<String>,
    /// The full path of the executable, if known.
    pub path: Option<String>,
    /// The socket's user id, on systems whose users have numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The service that the process is of, where services are known by name: on Windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// The platform has the batch on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAnswer {
    /// [`VERSION`].
    pub version: u16,
    /// The batch that the host may delete now.
    pub acknowledged: Bytes<16>,
}
