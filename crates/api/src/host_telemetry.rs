//! Hardware, system, installed software and communication of hosts.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;
use xshield_policy::{Direction, Protocol};
use xshield_wire::telemetry::{HostTelemetry, PathSource, SoftwarePackage};

use crate::open::Open;
use crate::query::port;

/// Hardware and system of a host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = HostFacts)]
pub struct Host {
    /// By the host's clock.
    pub taken_at: Timestamp,
    pub received_at: Timestamp,
    pub booted_at: Timestamp,
    #[schema(value_type = Object)]
    pub host: HostTelemetry,
    /// Total number of connections missing from the paths because there were too many.
    pub paths_lost: u64,
}

/// Installed software.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Software {
    /// By the host's clock.
    pub taken_at: Timestamp,
    pub received_at: Timestamp,
    #[schema(value_type = Vec<Object>)]
    pub packages: Vec<SoftwarePackage>,
}

/// A package that was installed or removed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SoftwareChange {
    /// `added` or `removed`.
    pub change: String,
    #[schema(value_type = Object)]
    pub package: SoftwarePackage,
    /// When the host noticed it.
    pub at: Timestamp,
}

/// A communication path, aggregated over all reports.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CommunicationPath {
    /// The asset's name.
    pub asset: String,
    #[schema(value_type = String)]
    pub direction: Open<Direction>,
    pub source: String,
    pub destination: String,
    #[schema(value_type = String)]
    pub protocol: Open<Protocol>,
    /// Destination port; the type for ICMP.
    pub port: u16,
    /// The local program.
    pub process: Option<String>,
    /// The local user.
    pub user: Option<String>,
    /// The local service.
    pub service: Option<String>,
    pub connections: u64,
    pub bytes_forth: u64,
    pub bytes_back: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// `conntrack`, or `recorder`: first packets only.
    #[schema(value_type = String)]
    pub from: Open<PathSource>,
}

/// A filter for packages.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SoftwareQuery {
    /// Part of the package's name.
    #[serde(default)]
    pub name: Option<String>,
}

/// A filter for communication paths.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PathQuery {
    /// `inbound` or `outbound`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub direction: Option<Direction>,
    /// The peer's address.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub peer: Option<IpAddr>,
    /// Destination port.
    #[serde(default, deserialize_with = "port")]
    #[param(value_type = Option<u16>)]
    pub port: Option<u16>,
    /// `tcp`, `udp` or `icmp`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub protocol: Option<Protocol>,
    /// Part of the local program's path.
    #[serde(default)]
    pub process: Option<String>,
    /// Last seen not before this time (RFC 3339).
    #[serde(default)]
    pub since: Option<Timestamp>,
}
