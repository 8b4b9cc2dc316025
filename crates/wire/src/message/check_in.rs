//! Check-ins: the state that a host reports, and the platform's answer.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Command, InForce, UnixSeconds};
use crate::control::{HostConfiguration, Usage};
use crate::envelope::Envelope;
use crate::threat::{ThreatStanding, ThreatWanted};

/// A host's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckIn {
    /// [`super::VERSION`].
    pub version: u16,
    /// Increases with every check-in of this host; an old one is refused.
    pub sequence: u64,
    /// The program that checks in.
    pub program: Program,
    /// Facts about the host.
    pub host: HostFacts,
    /// What is enforced.
    pub status: Status,
    /// The ruleset in the kernel; `None` when there is none.
    pub in_force: Option<InForce>,
    /// What an operator should know and act on.
    pub problems: Vec<Problem>,
    /// The state of the threat list; `None` from a program without threat lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threat: Option<ThreatStanding>,
    /// All routes to the platform, in the configured order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteStanding>,
    /// Seconds until the host's next check-in; `None` if the program does not schedule its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
    /// The version of the [`HostConfiguration`] in use; `None` when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<u64>,
    /// The program's resource usage; `None` from a program that is not resident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The sequence of the last check-in that was answered here. Two machines with the same identity each
    /// continue their own; `None` from a program that does not store it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
    /// Evidence of what this host has had, if the platform wanted something older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// The sequence number of the [`Succession`](crate::succession::Succession) that this host follows;
    /// `None` if there was none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<u64>,
}

/// What the platform signed for this host, as evidence for a platform that was restored from an older backup.
/// Only the signatures count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// The [label](crate::label::RulesetLabel) of the newest ruleset that was in force here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruleset: Option<Envelope>,
    /// The newest [order](crate::threat::ThreatOrder) that was accepted here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threat: Option<Envelope>,
}

/// A route to the platform and the results of its last use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStanding {
    /// `direct` or `proxy ADDRESS:PORT`.
    pub route: String,
    /// Whether the platform was last reached by it; it is tried first.
    pub in_use: bool,
    /// Why it failed when it was last tried; `None` if it worked then, or was never tried.
    pub last_failure: Option<RouteFailure>,
    /// When the platform was last reached by it, as far as the host remembers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_worked: Option<UnixSeconds>,
}

/// A failure of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteFailure {
    /// The time.
    pub at: UnixSeconds,
    /// The reason, and what to check.
    pub reason: String,
    /// The kind of failure.
    #[serde(default, skip_serializing_if = "RouteFailureKind::is_unknown")]
    pub kind: RouteFailureKind,
}

/// The kind of a route's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteFailureKind {
    /// The name of the first hop has no address.
    NameNotFound,
    /// The port is closed: a dead proxy.
    Refused,
    /// No answer in time.
    TimedOut,
    /// There is no network route, or the connection broke.
    Broken,
    /// The proxy requires other credentials (407).
    ProxyAuthentication,
    /// The proxy's rules forbid connecting to the platform (403).
    ProxyForbidden,
    /// The proxy works, but did not connect to the platform.
    ProxyFailed,
    /// The server is not the platform.
    UntrustedCertificate,
    /// The other side violates TLS or HTTP.
    Protocol,
    /// A kind that an earlier version did not send, or that a later version added.
    #[default]
    #[serde(other)]
    Unknown,
}

impl RouteFailureKind {
    // By reference, as serde requires.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "see above")]
    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// The program that checks in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its kind.
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

/// The kind of a program: periodic or resident.
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
    /// The id of the boot, different after every boot.
    pub boot_id: String,
}

/// What is enforced, with a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Status {
    /// The ruleset of [`CheckIn::in_force`] is in the kernel, as read back.
    Enforcing,
    /// No ruleset has been fetched yet.
    NoPolicy,
    /// Another program manages this host's firewall; nothing is changed and nothing is enforced.
    Blocked {
        /// The program, e.g. `firewalld`.
        by: String,
    },
    /// Nothing, or something older than wanted, is enforced.
    Failed {
        /// What failed and what to do.
        reason: String,
    },
}

/// A problem that an operator should know.
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
    /// [`super::VERSION`].
    pub version: u16,
    /// The ruleset that the host should have; `None` while no policy is committed.
    pub wanted: Option<InForce>,
    /// Commands, each to be executed once.
    pub commands: Vec<Command>,
    /// Seconds until the next check-in, including jitter.
    pub next_check_in: u32,
    /// The platform's clock.
    pub time: UnixSeconds,
    /// The threat order that the host should have; `None` while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threat: Option<ThreatWanted>,
    /// The configuration to be used from now on; `None` if it is already in use, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<HostConfiguration>,
    /// The token for [`crate::control`]'s poll; `None` if the platform does not support it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// Problems that the platform found with this host, to be shown on the host, e.g. that its name or an
    /// address waits for an operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// The platform's new keys, as a [`Succession`](crate::succession::Succession); `None` if the host
    /// follows the latest, or there was none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Envelope>,
}
