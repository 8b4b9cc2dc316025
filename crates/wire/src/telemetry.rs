//! Reports of a host about itself besides its firewall: its hardware, its software, its traffic, and events
//! of its program. All are variants of [`crate::message::ReportBody`].
//!
//! [`crate::message::FirewallEvent`]s and threat matches contain the authoritative counts. The reports about
//! traffic here ([`PathReport`], [`LiveReport`]) describe the same packets again and are never added to them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::{Direction, Protocol, Revision};

use crate::keys::sha256;
use crate::message::{Digest, FirewallEvent, UnixSeconds};
use crate::threat::ThreatMatch;

/// The host's hardware and system. Replaces the previous report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostTelemetry {
    /// When it was collected.
    pub taken: UnixSeconds,
    /// When the host was started.
    pub booted: UnixSeconds,
    /// The distribution's display name, e.g. `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
    /// E.g. `6.1.0-18-amd64`.
    pub kernel: String,
    /// E.g. `x86_64`.
    pub architecture: String,
    /// Identifies the installation by a hash of its machine id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Digest>,
    /// Processors.
    pub cpu: Cpu,
    /// Main memory, in bytes.
    pub memory: u64,
    /// File systems on disks.
    pub disks: Vec<Disk>,
    /// Network interfaces without loopback.
    pub interfaces: Vec<Interface>,
    /// The detected virtualization, e.g. `kvm`, `vmware`, `docker`, `lxc`; `None`: apparently bare metal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_in: Option<String>,
    /// Manufacturer and model according to the firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// The cloud instance; `None` outside of a cloud, and if the query is disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudInstance>,
}

/// Processors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// The model; empty if unknown.
    pub model: String,
    /// The number of processors that the kernel uses.
    pub count: u32,
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The mount point.
    pub mount: String,
    /// E.g. `/dev/vda1`.
    pub device: String,
    /// E.g. `ext4`.
    pub file_system: String,
    /// In bytes.
    pub size: u64,
    /// In bytes, for unprivileged programs.
    pub free: u64,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// E.g. `eth0`.
    pub name: String,
    /// The hardware address, e.g. `52:54:00:12:34:56`; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it is up.
    pub state: LinkState,
    /// The largest packet, in bytes.
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
    /// The driver does not report it.
    #[serde(other)]
    Unknown,
}

/// A cloud's facts about an instance.
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
    /// The image from which it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// Installed software: everything, or the changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoftwareReport {
    /// When it was collected.
    pub taken: UnixSeconds,
    /// The digest of the inventory that results from this report, see [`software_digest`].
    pub digest: Digest,
    /// The content.
    pub contents: SoftwareContents,
}

/// A complete inventory, or changes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "kebab-case")]
pub enum SoftwareContents {
    /// Replaces the previous inventory.
    Full {
        /// All packages.
        packages: Vec<SoftwarePackage>,
    },
    /// Changes of the inventory whose digest is `base`. If the platform has another one, it requests
    /// everything: [`crate::message::CommandKind::Resend`].
    Changes {
        /// The digest of the previous inventory.
        base: Digest,
        /// New packages, including new versions of upgraded ones.
        added: Vec<SoftwarePackage>,
        /// Removed packages, including old versions of upgraded ones.
        removed: Vec<SoftwarePackage>,
    },
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SoftwarePackage {
    /// E.g. `openssl`.
    pub name: String,
    /// In the package manager's format including the epoch, e.g. `3.0.11-1~deb12u2`.
    pub version: String,
    /// E.g. `amd64`, `x86_64`, `noarch`.
    pub architecture: String,
    /// The package manager: `dpkg` or `rpm`.
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

/// Communication paths that were active in an interval. Counts are of that interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathReport {
    /// The begin of the interval.
    pub since: UnixSeconds,
    /// The end of the interval.
    pub until: UnixSeconds,
    /// The source of the paths.
    pub from: PathSource,
    /// One per key: everything up to and including `service`.
    pub paths: Vec<ActivePath>,
    /// Connections of the interval that are in no path, because there were too many.
    pub lost: u64,
}

/// The source of paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathSource {
    /// The kernel's connection tracking: includes short connections, and bytes if accounting is on.
    Conntrack,
    /// The firewall's flow recorder: only packets and bytes of first packets.
    Recorder,
    /// Events of Windows' Security log: connections without their bytes.
    SecurityLog,
}

/// An aggregated flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActivePath {
    /// The direction.
    pub direction: Direction,
    /// The address of the opener.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; the type for ICMP; 0 for other protocols.
    pub port: u16,
    /// The local program: full path, or name if the path is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The local user, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The local service (systemd unit).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The number of opened connections.
    pub connections: u64,
    /// Bytes from source to destination; 0 if the kernel does not count.
    pub bytes_forth: u64,
    /// Bytes from destination to source; 0 if the kernel does not count.
    pub bytes_back: u64,
    /// First seen.
    pub first_seen: UnixSeconds,
    /// Last seen.
    pub last_seen: UnixSeconds,
}

/// Denials and threat matches as they happen, for display and alerts. The same packets are reported again,
/// exactly counted, in [`crate::message::ReportBody::Events`] and [`crate::message::ReportBody::Threats`]:
/// nothing in here is ever added to a count. Not kept if the platform is unreachable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveReport {
    /// One per flow key and time.
    pub events: Vec<LiveEvent>,
    /// One per flow key and time.
    pub threats: Vec<ThreatMatch>,
    /// Packets of this interval that are in neither list, because of a flood or a full queue.
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

/// An event of the host's program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentEvent {
    /// When it happened, by the host's clock.
    pub at: UnixSeconds,
    /// The kind, for programs.
    pub kind: AgentEventKind,
    /// A description, for people.
    pub text: String,
    /// The revision of the policy concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// The duration in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// The kinds of [`AgentEvent`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentEventKind {
    /// The program was started.
    Started,
    /// The program was stopped properly.
    Stopped,
    /// The program was started again after it had ended without being stopped.
    Restarted,
    /// A new ruleset was put in force and kept.
    PolicyApplied,
    /// A new ruleset was reverted.
    PolicyReverted,
    /// Another program changed our tables.
    Tampered,
    /// The tables were repaired.
    Repaired,
    /// Diagnostics were collected and uploaded.
    DiagnosticsCollected,
    /// The platform is reachable again.
    ReachableAgain,
    /// The platform is reached by another route.
    RouteChanged,
    /// Another configuration is in use.
    ConfigurationChanged,
    /// A configuration is invalid; the previous one stays in use.
    ConfigurationRefused,
    /// A damaged record of the spool was skipped and counted.
    SpoolDamaged,
    /// The program pauses optional work to stay within its budget, or resumes it.
    Throttled,
    /// Detailed logging was switched on or off.
    DebugLogging,
    /// Addresses left the rules because their names no longer resolve to them.
    AddressesLeft,
    /// A kind of a later version.
    #[serde(other)]
    Unknown,
}

/// A part of a detailed log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugLog {
    /// The command that requested it.
    pub command: String,
    /// The number of the first line, counted from 0 since logging was switched on.
    pub first: u64,
    /// The lines in order.
    pub lines: Vec<DebugLine>,
    /// Lines before these that exceeded the log's limit.
    pub dropped: u64,
    /// Whether more lines follow.
    pub end: LogEnd,
}

/// Whether more of a log follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogEnd {
    /// Yes.
    Open,
    /// No: logging was switched off, or has expired.
    Closed,
}

/// A line of a detailed log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugLine {
    /// Milliseconds since 1970-01-01 UTC, by the host's clock.
    pub at_ms: u64,
    /// The subject.
    pub area: DebugArea,
    /// One line, without secrets.
    pub text: String,
}

/// The subject of a line of a detailed log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DebugArea {
    /// The steps of a run, with their times.
    Execution,
    /// The wanted ruleset, the one in force, and changes.
    Policy,
    /// Routes, requests, answers.
    Network,
    /// What was read from and written to the kernel.
    Rules,
}
