//! Policy as code: the documents an operator writes, in YAML or JSON.
//!
//! A file holds any number of documents, separated by `---`. Each is a mapping with one key, which names its
//! kind:
//!
//! ```yaml
//! segment:
//!   name: web
//!   criteria: application = 'shop' and role = 'web'
//!   templates: [web-tier]
//!   inbound: { level: secure-inbound-paths, mode: enforce }
//! ---
//! template:
//!   name: web-tier
//!   action: allow
//!   inbound:
//!     - { name: https, from: [any], services: [tcp/443] }
//!   outbound:
//!     - { name: app, to: [segment:app], services: [tcp/8080] }
//! ```
//!
//! [`parse`] parses a text, with line and column in errors; [`Policy::build`] checks the documents against
//! each other. Only a [`Policy`] can be compiled.

mod located;
mod policy;
mod reason;
mod stance;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::criteria::Criteria;
use crate::forward::Forwarded;
use crate::grace::Span;
use crate::level::{InboundLevel, OutboundLevel};
use crate::names::{DomainName, Name, UnitName, UserName};
use crate::peer::{PeerRef, parse_net};
use crate::program::ProcessMatch;
use crate::service::Services;

pub use located::{Located, Place};
pub(crate) use policy::rule_id;
pub use policy::{Policy, PolicyError};
pub use reason::plain_reason;
pub use stance::{NotStricter, Stance};

/// One document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Document {
    /// A segment: assets selected by criteria, and their settings.
    Segment(Segment),
    /// A named network: addresses and domains.
    Network(Network),
    /// A reusable list of rules.
    Template(Template),
    /// Settings of one asset, which override those of its segments.
    Asset(AssetOverride),
    /// Settings of the platform; at most one document.
    Settings(Settings),
}

/// The assets that match `criteria`, and their settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Unique among segments.
    pub name: Located<Name>,
    /// Selects the assets.
    pub criteria: Criteria,
    /// The attached templates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<Located<Name>>,
    /// How far its assets are closed inbound; of several segments the strictest counts. The templates'
    /// inbound rules are tested or enforced accordingly; without a stance they are enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Stance<InboundLevel>>,
    /// The same for outbound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<Stance<OutboundLevel>>,
    /// Which forwarded traffic its assets judge; of several segments the strictest counts. Tested or enforced
    /// by direction, like its templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<Forwarded>,
}

/// A named network: addresses and domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Unique among named networks.
    pub name: Located<Name>,
    /// Addresses and prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<Prefix>,
    /// Domains, resolved on each host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<DomainName>,
    /// Whether it counts as intranet.
    #[serde(default)]
    pub intranet: bool,
    /// How long an address of its domains stays after it was last resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Span>,
    /// Whether such an address stays longer while a host has a connection with it.
    #[serde(default, rename = "while-connected", skip_serializing_if = "Option::is_none")]
    pub while_connected: Option<bool>,
}

/// An address or a prefix without host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(pub IpNet);

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_net(&text).map(Self).map_err(|reason| format!("{text:?}: {reason}"))
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.0.to_string()
    }
}

/// A reusable list of rules of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Unique among templates.
    pub name: Located<Name>,
    /// The action of its rules.
    pub action: Action,
    /// Port rules: who may reach which port. Effective up to level `secure-all-ports`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<InboundRule>,
    /// Paths to this asset. Effective at every inbound level.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inbound: Vec<InboundRule>,
    /// Paths from this asset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outbound: Vec<OutboundRule>,
}

/// The action of a template's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Accept what a level would deny.
    Allow,
    /// Deny at every level, with precedence over allow rules.
    Block,
}

/// A port rule or an inbound path rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundRule {
    /// Unique within its template; derived from its position if omitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Located<Name>>,
    /// The peers.
    pub from: Vec<Located<PeerRef>>,
    /// The services that they may reach.
    pub services: Services,
    /// Only the ports on which this program listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessMatch>,
    /// Only the ports on which sockets of this user listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Only the ports on which processes of this systemd unit listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitName>,
}

/// An outbound path rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboundRule {
    /// Unique within its template; derived from its position if omitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Located<Name>>,
    /// The peers.
    pub to: Vec<Located<PeerRef>>,
    /// The services that may be reached there.
    pub services: Services,
    /// Only from this program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessMatch>,
    /// Only from sockets of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Only from processes of this systemd unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitName>,
}

/// Settings of one asset, which override those of its segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetOverride {
    /// The asset's name.
    pub name: Located<Name>,
    /// Templates in addition to those of its segments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<Located<Name>>,
    /// Mode `enforce`: replaces the stance of its segments. Mode `test`: replaces the level that they test;
    /// what they enforce stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Stance<InboundLevel>>,
    /// The same for outbound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<Stance<OutboundLevel>>,
    /// Which forwarded traffic it judges; replaces the setting of its segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<Forwarded>,
}

/// Settings of the platform.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Management sources: who may always reach which services of every asset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub management: Vec<ManagementRule>,
    /// How long an address of a domain stays after it was last resolved, by default.
    #[serde(default, rename = "domain-grace", skip_serializing_if = "Option::is_none")]
    pub domain_grace: Option<Span>,
    /// The same for single domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<DomainSetting>,
    /// Networks within which an address that a host reports is accepted; the private ranges ([`PRIVATE`]) if
    /// none are configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Prefix>,
}

/// Private addresses: RFC 1918 and RFC 4193.
pub const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

impl Settings {
    /// Networks within which an address that a host reports is accepted.
    #[must_use]
    pub fn address_networks(&self) -> Vec<IpNet> {
        if self.addresses.is_empty() {
            return PRIVATE.iter().filter_map(|net| net.parse().ok()).collect();
        }
        self.addresses.iter().map(|net| net.0).collect()
    }
}

/// How long addresses of one domain stay after they were last resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainSetting {
    /// The domain.
    pub name: Located<DomainName>,
    /// The duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Span>,
    /// Whether an address stays longer while a host has a connection with it.
    #[serde(default, rename = "while-connected", skip_serializing_if = "Option::is_none")]
    pub while_connected: Option<bool>,
}

/// A management source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementRule {
    /// The source addresses.
    pub from: Vec<Prefix>,
    /// The services that they may always reach.
    pub services: Services,
}

/// Why a text was refused. `source_name` is the name given by the caller, usually a file name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{source_name}:{line}:{column}: {reason}")]
pub struct DocumentError {
    /// The file.
    pub source_name: String,
    /// 1-based; 0 when the place is unknown.
    pub line: u64,
    /// 1-based; 0 when the place is unknown.
    pub column: u64,
    /// The reason, and what was expected.
    pub reason: String,
}

/// Largest text accepted, in bytes: some 50,000 rules.
pub const MAX_TEXT: usize = 8 * 1024 * 1024;

/// Parses the documents of one text. Aliases and anchors are refused: policy does not need them, and they
/// allow exponential expansion.
///
/// # Errors
/// The first error, with its position.
pub fn parse(text: &str, source_name: &str) -> Result<Vec<Document>, DocumentError> {
    let refuse = |line, column, reason: String| DocumentError {
        source_name: source_name.to_owned(),
        line,
        column,
        reason,
    };
    if text.len() > MAX_TEXT {
        return Err(refuse(0, 0, format!("larger than {MAX_TEXT} bytes")));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_anchors: 0,
            max_aliases: 0,
            max_depth: 32,
            max_documents: 100_000,
            max_nodes: 2_000_000,
            max_events: 4_000_000,
            max_total_scalar_bytes: MAX_TEXT,
        },
        with_snippet: false,
        strict_booleans: true,
    };
    let documents = serde_saphyr::from_multiple_with_options::<Document>(text, options);
    let mut documents = documents.map_err(|error| {
        let place = error.location();
        let (line, column) = place.map_or((0, 0), |place| (place.line(), place.column()));
        refuse(line, column, plain_reason(&error))
    })?;
    for document in &mut documents {
        located::name_source(document, source_name);
    }
    Ok(documents)
}
