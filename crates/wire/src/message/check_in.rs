//! How a host says how it stands, and what it hears.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Command, InForce, UnixSeconds};
use crate::control::{HostConfiguration, Usage};
use crate::envelope::Envelope;
use crate::threat::{ThreatStanding, ThreatWanted};

/// How a host stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckIn {
    /// [`super::VERSION`].
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
    /// The sequence of the last check-in that was answered here. Two machines with one identity each
    /// continue their own; `None` from a program that remembers none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
    /// Evidence of what this host has had, when the platform wanted something older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// The [`Succession`](crate::succession::Succession) that this host follows, by its sequence; `None`
    /// when there was none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<u64>,
}

/// What the platform signed and this host has had, for a platform that does not remember it: one that
/// was restored from a backup. Only the signatures count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// The [label](crate::label::RulesetLabel) of the newest ruleset that was in force here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruleset: Option<Envelope>,
    /// The newest [order](crate::threat::ThreatOrder) that was taken here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threat: Option<Envelope>,
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
    /// When the platform was last reached by it, as far as the host remembers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_worked: Option<UnixSeconds>,
}

/// A failure of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteFailure {
    /// When.
    pub at: UnixSeconds,
    /// Why, and what to check.
    pub reason: String,
    /// The same in a word.
    #[serde(default, skip_serializing_if = "RouteFailureKind::is_unknown")]
    pub kind: RouteFailureKind,
}

/// How a route failed, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteFailureKind {
    /// The name of the first hop has no address.
    NameNotFound,
    /// Nothing listens there: a dead proxy.
    Refused,
    /// No answer in time.
    TimedOut,
    /// No way there, or the connection broke.
    Broken,
    /// The proxy wants other credentials (407).
    ProxyAuthentication,
    /// The proxy's rules forbid the way to the platform (403).
    ProxyForbidden,
    /// The proxy lives, but does not lead to the platform.
    ProxyFailed,
    /// Whoever answered is not the platform.
    UntrustedCertificate,
    /// TLS or HTTP was not spoken as it should be.
    Protocol,
    /// An earlier version said no word, or a later one said another.
    #[default]
    #[serde(other)]
    Unknown,
}

impl RouteFailureKind {
    // By reference, as serde asks.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "see above")]
    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
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
    /// [`super::VERSION`].
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
    /// What the platform finds about this host that whoever looks at the host should know, e.g. that
    /// its name or an address waits for an operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// Whom to trust from now on, as a [`Succession`](crate::succession::Succession); `None` when the host
    /// follows the latest, or there was none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Envelope>,
}
