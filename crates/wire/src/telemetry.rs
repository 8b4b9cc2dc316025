//! What a host tells about itself besides its firewall: its system, its software, its traffic, and
//! what its program did. All of them travel as kinds of [`crate::message::ReportBody`].
//!
//! [`crate::message::FirewallEvent`]s and threat matches are the counts of record. What is here about
//! traffic ([`PathReport`], [`LiveReport`]) describes the same packets once more and is never added to
//! them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::{Direction, Protocol, Revision};

use crate::keys::sha256;
use crate::message::{Digest, FirewallEvent, UnixSeconds};
use crate::threat::ThreatMatch;

/// What the host is made of. Replaces what was told before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostTelemetry {
    /// When it was looked at.
    pub taken: UnixSeconds,
    /// When the host was started.
    pub booted: UnixSeconds,
    /// The distribution in its own words, e.g. `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
    /// E.g. `6.1.0-18-amd64`.
    pub kernel: String,
    /// E.g. `x86_64`.
    pub architecture: String,
    /// Identifies the installation without telling its machine id: a hash of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Digest>,
    /// Processors.
    pub cpu: Cpu,
    /// Main memory, in bytes.
    pub memory: u64,
    /// Real file systems.
    pub disks: Vec<Disk>,
    /// Network interfaces, loopback left out.
    pub interfaces: Vec<Interface>,
    /// What the host seems to run in, e.g. `kvm`, `vmware`, `docker`, `lxc`; `None`: bare metal, as
    /// far as it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_in: Option<String>,
    /// Maker and model in the firmware's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// What the cloud says about this instance; `None` outside of one, and when asking is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudInstance>,
}

/// Processors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// In the maker's words; empty when unknown.
    pub model: String,
    /// As many as the kernel schedules on.
    pub count: u32,
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Where it is mounted.
    pub mount: String,
    /// E.g. `/dev/vda1`.
    pub device: String,
    /// E.g. `ext4`.
    pub file_system: String,
    /// In bytes.
    pub size: u64,
    /// In bytes, for programs without privilege.
    pub free: u64,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// E.g. `eth0`.
    pub name: String,
    /// Hardware address, e.g. `52:54:00:12:34:56`; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it is up.
    pub state: LinkState,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

/// Whether an interface is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// Usable.
    Up,
    /// Not usable.
    Down,
    /// The driver does not say.
    #[serde(other)]
    Unknown,
}

/// What a cloud says about an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudInstance {
    /// E.g. `aws`, `azure`, `gcp`.
    pub provider: String,
    /// The instance's id.
    pub instance: String,
    /// E.g. `m5.large`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// E.g. `eu-central-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// E.g. `eu-central-1a`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Account, subscription or project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The image it was started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// Installed software: everything, or what has changed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoftwareReport {
    /// When it was looked at.
    pub taken: UnixSeconds,
    /// What the inventory comes to with this report, see [`software_digest`].
    pub digest: Digest,
    /// What is told.
    pub contents: SoftwareContents,
}

/// A whole inventory, or a step from one to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "kebab-case")]
pub enum SoftwareContents {
    /// Replaces what was told before.
    Full {
        /// All of it.
        packages: Vec<SoftwarePackage>,
    },
    /// To be applied to the inventory whose digest is `base`. Who holds another one asks for
    /// everything: [`crate::message::CommandKind::Resend`].
    Changes {
        /// Digest of the inventory before.
        base: Digest,
        /// New, among them the new versions of what was upgraded.
        added: Vec<SoftwarePackage>,
        /// Gone, among them the old versions of what was upgraded.
        removed: Vec<SoftwarePackage>,
    },
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SoftwarePackage {
    /// E.g. `openssl`.
    pub name: String,
    /// In the package manager's form, epoch included, e.g. `3.0.11-1~deb12u2`.
    pub version: String,
    /// E.g. `amd64`, `x86_64`, `noarch`.
    pub architecture: String,
    /// Who installed it: `dpkg` or `rpm`.
    pub manager: String,
}

/// Identifies an inventory: SHA-256 over its packages in order, each as four lines.
#[must_use]
pub fn software_digest(packages: &BTreeSet<SoftwarePackage>) -> Digest {
    let mut text = String::new();
    for package in packages {
        for field in [&package.name, &package.version, &package.architecture, &package.manager] {
            text.extend(field.chars().filter(|c| *c != '\n'));
            text.push('\n');
        }
    }
    crate::Bytes(sha256(text.as_bytes()))
}

/// Communication paths that were active in a span of time. Counts are of that span alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathReport {
    /// The span's begin.
    pub since: UnixSeconds,
    /// The span's end.
    pub until: UnixSeconds,
    /// Where they were read.
    pub from: PathSource,
    /// One per key: everything up to and including `service`.
    pub paths: Vec<ActivePath>,
    /// Connections of the span that are in no path, because there were too many to follow.
    pub lost: u64,
}

/// Where paths were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathSource {
    /// The kernel's connection tracking: short connections included, bytes where accounting is on.
    Conntrack,
    /// The firewall's flow recorder: packets and bytes of first packets alone.
    Recorder,
}

/// An aggregated flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActivePath {
    /// Who opened it: inbound, the peer did.
    pub direction: Direction,
    /// Who opened it, by address.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; the type for ICMP; 0 for other protocols.
    pub port: u16,
    /// The local program: full path, or name where the path is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The local user, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The local service (systemd unit).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Connections opened.
    pub connections: u64,
    /// Bytes from source to destination; 0 where the kernel does not count.
    pub bytes_forth: u64,
    /// Bytes from destination to source; 0 where the kernel does not count.
    pub bytes_back: u64,
    /// First seen.
    pub first_seen: UnixSeconds,
    /// Last seen.
    pub last_seen: UnixSeconds,
}

/// Denials and threat matches as they happen, for eyes and alerts. The same packets come again, exactly
/// counted, in [`crate::message::ReportBody::Events`] and [`crate::message::ReportBody::Threats`]:
/// nothing in here is ever added to a count. Not kept when the platform is out of reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveReport {
    /// One per flow key and moment.
    pub events: Vec<LiveEvent>,
    /// One per flow key and moment.
    pub threats: Vec<ThreatMatch>,
    /// Packets of this span that are in neither list: a flood, or a queue that ran over.
    pub lost: u64,
}

/// A denial as it happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveEvent {
    /// The flow.
    #[serde(flatten)]
    pub event: FirewallEvent,
    /// The user of the local program, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The local service (systemd unit).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// What the host's program did or went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentEvent {
    /// By the host's clock.
    pub at: UnixSeconds,
    /// What, for programs.
    pub kind: AgentEventKind,
    /// What, for people.
    pub text: String,
    /// The revision of the policy concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// How long it took or lasted, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// The kinds of [`AgentEvent`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentEventKind {
    /// The program was started.
    Started,
    /// The program was stopped in good order.
    Stopped,
    /// The program came back after it had ended without being stopped.
    Restarted,
    /// A new ruleset was put in force and kept.
    PolicyApplied,
    /// A new ruleset was taken back.
    PolicyReverted,
    /// Someone else changed our tables.
    Tampered,
    /// They were put right.
    Repaired,
    /// Diagnostics were collected and uploaded.
    DiagnosticsCollected,
    /// The platform is reached again after it was not.
    ReachableAgain,
    /// The platform is reached by another route.
    RouteChanged,
    /// Another configuration is in use.
    ConfigurationChanged,
    /// A configuration can't be used; the one before stays in use.
    ConfigurationRefused,
    /// A damaged record of the spool was skipped and counted.
    SpoolDamaged,
    /// The program does less to stay within its budget, or does everything again.
    Throttled,
    /// Detailed logging was switched on or off.
    DebugLogging,
    /// Addresses left the rules because their names no longer have them.
    AddressesLeft,
    /// A later version's kind.
    #[serde(other)]
    Unknown,
}

/// A piece of a detailed log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugLog {
    /// The command that asked for it.
    pub command: String,
    /// The number of the first line, counted from 0 since logging was switched on.
    pub first: u64,
    /// In order.
    pub lines: Vec<DebugLine>,
    /// Lines before these that did not fit the log's bound.
    pub dropped: u64,
    /// Whether more will come.
    pub end: LogEnd,
}

/// Whether more of a log will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogEnd {
    /// Yes.
    Open,
    /// No: logging was switched off, or its time was over.
    Closed,
}

/// A line of a detailed log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugLine {
    /// Milliseconds since 1970-01-01 UTC, by the host's clock.
    pub at_ms: u64,
    /// What it is about.
    pub area: DebugArea,
    /// One line, without secrets.
    pub text: String,
}

/// What a line of a detailed log is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DebugArea {
    /// The steps of a run, and when they were taken.
    Execution,
    /// What is wanted, what is in force, and what was done about it.
    Policy,
    /// Routes, requests, answers.
    Network,
    /// What was read from and written to the kernel.
    Rules,
}
