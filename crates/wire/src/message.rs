//! The messages, as plain data. A recorded message of each version stays in the tests for good.

use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xshield_policy::{AssetId, Direction, Mode, Protocol, Revision, RuleId, Subject};

use crate::bytes::Bytes;
use crate::control::{HostConfiguration, Notification, UploadStanding, Usage};
use crate::telemetry::{
    AgentEvent, DebugLog, HostTelemetry, LiveReport, PathReport, SoftwareReport,
};
use crate::threat::{ThreatPath, ThreatReport, ThreatStanding, ThreatWanted};
use crate::trust::PublicTrust;

/// The version these types describe. The platform serves this one and the one before.
pub const VERSION: u16 = 1;

/// The oldest version that is still read.
pub const OLDEST_VERSION: u16 = if VERSION > 1 { VERSION - 1 } else { 1 };

/// Seconds since 1970-01-01 UTC.
pub type UnixSeconds = u64;

/// SHA-256 of a signed ruleset's payload: says which one is meant, byte for byte.
pub type Digest = Bytes<32>;

/// A host asks for a session key. `mac` proves the enforcement key, `signature` the identity key;
/// both over [`crate::session`]'s transcript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRequest {
    /// [`VERSION`].
    pub version: u16,
    /// Which enforcement key.
    pub key_id: String,
    /// The host's name, its own word for itself.
    pub host_name: String,
    /// The host's own Ed25519 public key, made at its first run.
    pub identity: Bytes<32>,
    /// X25519, for this session only.
    pub ephemeral: Bytes<32>,
    /// Makes two requests of one second differ.
    pub nonce: Bytes<16>,
    /// The host's clock.
    pub created: UnixSeconds,
    /// HMAC-SHA256.
    pub mac: Bytes<32>,
    /// Ed25519.
    pub signature: Bytes<64>,
}

/// The platform's half of the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionResponse {
    /// [`VERSION`].
    pub version: u16,
    /// Who the host is to the platform.
    pub asset: AssetId,
    /// X25519, for this session only.
    pub ephemeral: Bytes<32>,
    /// Opaque to the host; goes into every request.
    pub token: String,
    /// When the token ends.
    pub expires: UnixSeconds,
    /// The platform's clock.
    pub time: UnixSeconds,
    /// HMAC-SHA256 under a key derived beside the session key: the platform knew the enforcement
    /// key, too.
    pub mac: Bytes<32>,
}

/// How a host stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckIn {
    /// [`VERSION`].
    pub version: u16,
    /// Grows with every check-in of this host; an old one is refused.
    pub sequence: u64,
    /// Which program speaks.
    pub program: Program,
    /// The host.
    pub host: HostFacts,
    /// What is enforced.
    pub status: Status,
    /// The ruleset in the kernel; `None` when there is none.
    pub in_force: Option<InForce>,
    /// What an operator should know and act on.
    pub problems: Vec<Problem>,
    /// How the host stands about threats; `None` from a program that knows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threat: Option<ThreatStanding>,
    /// Every way to the platform, in the order in which they are configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteStanding>,
    /// Seconds until the host means to check in again; `None` when something else decides when it
    /// runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
    /// The version of the [`HostConfiguration`] in use; `None` when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<u64>,
    /// What the program uses; `None` from one that does not stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// One way to the platform and how it last went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStanding {
    /// `direct` or `proxy ADDRESS:PORT`.
    pub route: String,
    /// Whether the platform was last reached by it; it is tried first.
    pub in_use: bool,
    /// Why it failed when it was last tried; `None` when it worked then, or was never tried.
    pub last_failure: Option<RouteFailure>,
}

/// A failure of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteFailure {
    /// When.
    pub at: UnixSeconds,
    /// Why, and what to check.
    pub reason: String,
}

/// The program that checks in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its form.
    pub kind: ProgramKind,
    /// Its version, e.g. `0.1.0`.
    pub version: String,
}

impl Program {
    /// For the `user-agent` header, e.g. `ctspark/0.1.0`.
    #[must_use]
    pub fn user_agent(&self) -> String {
        let name = match self.kind {
            ProgramKind::Spark => "ctspark",
            ProgramKind::Agent => "ctagent",
        };
        format!("{name}/{}", self.version)
    }
}

/// Periodic or resident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgramKind {
    /// `ctspark`.
    Spark,
    /// `ctagent`.
    Agent,
}

/// What identifies and describes the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Host name.
    pub name: String,
    /// E.g. `debian 12`.
    pub os: String,
    /// E.g. `6.1.0-18-amd64`.
    pub kernel: String,
    /// Its own addresses, without loopback and link-local ones.
    pub addresses: Vec<IpAddr>,
    /// Changes with every boot.
    pub boot_id: String,
}

/// What is enforced, in one word and a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Status {
    /// The ruleset of [`CheckIn::in_force`] is in the kernel, as read back.
    Enforcing,
    /// No ruleset has been fetched yet.
    NoPolicy,
    /// Another program owns this host's firewall; nothing is changed and nothing is enforced.
    Blocked {
        /// Who, e.g. `firewalld`.
        by: String,
    },
    /// Nothing, or something older than wanted, is enforced.
    Failed {
        /// What failed and what to do.
        reason: String,
    },
}

/// A ruleset in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Its revision.
    pub revision: Revision,
    /// Its payload's digest.
    pub digest: Digest,
}

/// Something an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// For programs, e.g. `drift-repaired`, `rule-unenforceable`, `dns-stale`, `ruleset-refused`.
    pub code: String,
    /// For people.
    pub text: String,
}

/// What is pending for the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckInAnswer {
    /// [`VERSION`].
    pub version: u16,
    /// The ruleset the host should have; `None` while no policy is committed.
    pub wanted: Option<InForce>,
    /// To be carried out, each once.
    pub commands: Vec<Command>,
    /// Seconds until the next check-in, jitter included.
    pub next_check_in: u32,
    /// The platform's clock.
    pub time: UnixSeconds,
    /// The threat order the host should have; `None` while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threat: Option<ThreatWanted>,
    /// The configuration to be used from now on; `None` when it is the one in use, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<HostConfiguration>,
    /// What this answer tells, for [`crate::control`]'s poll; `None` when the platform does not offer
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
}

/// A command for the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Carried out once however often it is heard.
    pub id: String,
    /// What to do.
    pub kind: CommandKind,
    /// Not begun after this time; `None`: never too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixSeconds>,
    /// For how long, in seconds, where that has a meaning: debug logging.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u32>,
}

/// What a host can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandKind {
    /// Send programmed rules, listening ports and whatever is sent only when it changes, again.
    Resend,
    /// Run a whole cycle now. At Spark, whose cycle hears this, the running one is it.
    RunNow,
    /// Collect diagnostics and upload them.
    Diagnostics,
    /// Log in detail for [`Command::duration`], and publish the log to the platform.
    DebugOn,
    /// Stop logging in detail.
    DebugOff,
    /// A later version's command; reported as unknown, not carried out.
    #[serde(other)]
    Unknown,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOutcome {
    /// The command's id.
    pub id: String,
    /// When it ended, by the host's clock.
    pub at: UnixSeconds,
    /// How.
    pub result: CommandResult,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum CommandResult {
    /// Carried out.
    Done,
    /// Tried in vain.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
    /// Heard too late.
    Expired,
    /// This version does not know it.
    Unknown,
}

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

/// What happened to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Dropped.
    Denied,
    /// Let through because the mode is test.
    WouldDeny,
    /// Accepted; one count per new connection.
    Accepted,
}

/// Where an event was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventSource {
    /// The kernel's flow-recorder sets: exact.
    Recorder,
    /// A line of the kernel's log: rate-limited.
    KernelLog,
    /// A packet that the rules handed to the agent: in [`LiveReport`]s alone, never a count of record.
    Live,
}

/// An aggregated flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirewallEvent {
    /// What happened.
    pub kind: EventKind,
    /// Who opened the flow.
    pub direction: Direction,
    /// Source address of the flow's first packet.
    pub source: IpAddr,
    /// Destination address of the flow's first packet.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; the type for ICMP; 0 for other protocols.
    pub port: u16,
    /// The rule that decided, `failsafe/…` included; `None`: the level, for want of a rule.
    pub rule: Option<RuleId>,
    /// Packets since the last batch.
    pub packets: u64,
    /// Bytes since the last batch.
    pub bytes: u64,
    /// First seen, as far as the host knows (end of the previous run at the earliest).
    pub first_seen: UnixSeconds,
    /// Last seen, at the latest.
    pub last_seen: UnixSeconds,
    /// Where it was read.
    pub from: EventSource,
    /// The local program, when known.
    pub process: Option<String>,
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

/// An error, as an RFC 9457 problem document (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemDocument {
    /// A URI reference that names the kind, e.g. `/problems/clock-skew`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, for people.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// This occurrence, for people; says what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The field at fault, as a JSON pointer, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// Why a message was refused.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Of a version that this side does not speak.
    #[error(
        "the message is of version {got}, this side reads {OLDEST_VERSION} to {VERSION}; \
         upgrade the older side"
    )]
    Version {
        /// Its version.
        got: u64,
    },
    /// Not JSON, or not this message.
    #[error("the message can't be read")]
    Malformed(#[source] serde_json::Error),
}

/// A message with a version of its own.
pub trait Message: Serialize + DeserializeOwned {
    /// The version its sender speaks.
    fn version(&self) -> u16;

    /// Reads the message. Fields that this version does not know are ignored.
    ///
    /// # Errors
    /// [`MessageError::Version`] before anything else is found fault with.
    fn read(json: &[u8]) -> Result<Self, MessageError> {
        #[derive(Deserialize)]
        struct Peek {
            version: u64,
        }
        let supported = |version: u64| {
            let range = u64::from(OLDEST_VERSION)..=u64::from(VERSION);
            if range.contains(&version) {
                Ok(())
            } else {
                Err(MessageError::Version { got: version })
            }
        };
        match serde_json::from_slice::<Self>(json) {
            Ok(message) => supported(message.version().into()).map(|()| message),
            Err(malformed) => {
                if let Ok(peek) = serde_json::from_slice::<Peek>(json) {
                    supported(peek.version)?;
                }
                Err(MessageError::Malformed(malformed))
            }
        }
    }

    /// Writes the message.
    ///
    /// # Errors
    /// When a value can't be held by JSON; no message of this version has one.
    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

macro_rules! message {
    ($($type:ty),+) => {$(
        impl Message for $type {
            fn version(&self) -> u16 {
                self.version
            }
        }
    )+};
}

message!(SessionRequest, SessionResponse, CheckIn, CheckInAnswer, Report, ReportAnswer);
message!(ThreatPath, Notification, UploadStanding, PublicTrust);
