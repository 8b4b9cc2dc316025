//! What one host must enforce at one revision, before it is bound to the host's facts.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::forward::ForwardedRules;
use crate::grace::Grace;
use crate::level::{Direction, Mode, Subject};
use crate::names::{AssetId, DomainName, Revision, RuleId, UnitName, UserName};
use crate::program::{LocalProgram, ProcessMatch};
use crate::service::Services;

/// The compiler's output for one asset; the payload of the signed envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ruleset {
    /// The committed policy from which it was compiled. A host never goes back to an older one.
    pub revision: Revision,
    /// The flows that no rule below can block.
    pub failsafe: Failsafe,
    /// The networks that count as intranet; everything else is internet.
    pub intranet: Vec<IpNet>,
    /// The domains of named networks marked intranet; the host resolves them.
    pub intranet_domains: Vec<DomainName>,
    /// Domains with another grace than the default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grace: BTreeMap<DomainName, Grace>,
    /// Flows opened by peers.
    pub inbound: DirectionRules,
    /// Flows opened by this host.
    pub outbound: DirectionRules,
    /// Which forwarded flows are judged, too. `None`: no document has a setting, and none is judged. A host
    /// that does not know forwarded traffic refuses any other value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<ForwardedRules>,
    /// The host for which it is made; other hosts refuse it. It is the last field, so that the JSON before it
    /// is the same for all hosts with the same rules.
    pub asset: AssetId,
}

impl Ruleset {
    /// The rules of one direction.
    #[must_use]
    pub fn direction(&self, direction: Direction) -> &DirectionRules {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }

    /// All domains that it names.
    #[must_use]
    pub fn domains(&self) -> BTreeSet<&DomainName> {
        let rules = [&self.inbound, &self.outbound].into_iter().flat_map(DirectionRules::rules);
        let named = rules.flat_map(|rule| match &rule.peers {
            Peers::Any => &[][..],
            Peers::Listed(peers) => peers,
        });
        let named = named.filter_map(|peer| match peer {
            Peer::Domain(name) => Some(name),
            Peer::Net(_) | Peer::Intranet | Peer::Internet => None,
        });
        named.chain(&self.intranet_domains).collect()
    }

    /// The grace of a domain.
    #[must_use]
    pub fn grace_of(&self, domain: &DomainName) -> Grace {
        self.grace.get(domain).copied().unwrap_or_default()
    }
}

/// The rules of one direction: what is enforced, and what is tested above it.
///
/// The JSON form has three cases, of which older hosts know the first two: `mode: enforce` (nothing is
/// tested), `mode: test` (nothing is enforced), and `mode: enforce` with a `tested` stance beside it, which
/// such a host refuses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "DirectionForm", into = "DirectionForm")]
pub struct DirectionRules {
    /// The enforced stance: what it denies is dropped. The default denies everything.
    pub enforced: StanceRules,
    /// The tested stance, as if everything in mode `test` were enforced: what it denies and `enforced` does
    /// not is recorded and accepted. `None`: nothing is in mode `test`.
    pub tested: Option<StanceRules>,
}

impl DirectionRules {
    /// All rules of both stances.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.stances().flat_map(|stance| stance.blocks.iter().chain(&stance.allows))
    }

    /// The stances, the enforced one first.
    pub fn stances(&self) -> impl Iterator<Item = &StanceRules> {
        [&self.enforced].into_iter().chain(&self.tested)
    }
}

/// The rules of one stance, checked in this order: blocks, allows, `subject`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StanceRules {
    /// The flows that are denied unless allowed.
    pub subject: Subject,
    /// Rules that deny, with precedence over allow rules.
    pub blocks: Vec<Rule>,
    /// Allow rules that are effective at the level.
    pub allows: Vec<Rule>,
}

impl StanceRules {
    /// The stance that denies nothing.
    #[must_use]
    pub fn open() -> Self {
        Self { subject: Subject::Nothing, blocks: Vec::new(), allows: Vec::new() }
    }
}

/// [`DirectionRules`] as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectionForm {
    subject: Subject,
    mode: Mode,
    blocks: Vec<Rule>,
    allows: Vec<Rule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tested: Option<StanceRules>,
}

/// Two tested stances in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a direction in mode 'test' must not have a 'tested' stance: expected mode 'enforce'")]
pub struct TwiceTested;

impl TryFrom<DirectionForm> for DirectionRules {
    type Error = TwiceTested;

    fn try_from(form: DirectionForm) -> Result<Self, TwiceTested> {
        let DirectionForm { subject, mode, blocks, allows, tested } = form;
        let rules = StanceRules { subject, blocks, allows };
        match (mode, tested) {
            (Mode::Enforce, tested) => Ok(Self { enforced: rules, tested }),
            (Mode::Test, None) => Ok(Self { enforced: StanceRules::open(), tested: Some(rules) }),
            (Mode::Test, Some(_)) => Err(TwiceTested),
        }
    }
}

impl From<DirectionRules> for DirectionForm {
    fn from(DirectionRules { enforced, tested }: DirectionRules) -> Self {
        let form = |mode, rules: StanceRules, tested| Self {
            subject: rules.subject,
            mode,
            blocks: rules.blocks,
            allows: rules.allows,
            tested,
        };
        match tested {
            Some(tested) if enforced == StanceRules::open() => form(Mode::Test, tested, None),
            tested => form(Mode::Enforce, enforced, tested),
        }
    }
}

/// One rule of a template for this host. It blocks or allows depending on its list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Identifies the rule in events and hit counts.
    pub id: RuleId,
    /// The other end of the flow.
    pub peers: Peers,
    /// The destination's services; an empty list matches nothing.
    pub services: Services,
    /// The executable on this host that owns the flow's local end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessMatch>,
    /// The user on this host that owns the flow's local end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The systemd unit on this host that owns the flow's local end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitName>,
}

impl Rule {
    /// The programs of this host to which the rule applies; `None` for all.
    #[must_use]
    pub fn program(&self) -> Option<LocalProgram> {
        LocalProgram::new(self.process.clone(), self.user.clone(), self.unit.clone())
    }
}

/// The peers of a rule. An empty list matches none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peers {
    /// Every address.
    Any,
    /// The union of these.
    Listed(Vec<Peer>),
}

/// One peer; segments, assets and named networks are already replaced by their addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// Addresses.
    Net(IpNet),
    /// The addresses to which the name resolves on the host in the current run.
    Domain(DomainName),
    /// The ruleset's intranet.
    Intranet,
    /// Everything that is not intranet.
    Internet,
}

/// The flows that no policy may block, as far as the platform knows them. The host adds its configured
/// proxies, its resolvers, and the fixed ones (loopback, DHCP, ICMPv6 neighbour discovery, IGMP, ICMP
/// errors).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failsafe {
    /// The platform's addresses, in addition to the one in the host's own configuration.
    pub platform: Vec<std::net::SocketAddr>,
    /// Management sources. Default: none.
    pub management: Vec<Management>,
}

/// A management source and the services that it may always reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Management {
    /// The source.
    pub from: IpNet,
    /// The services; an empty list matches nothing.
    pub services: Services,
}
