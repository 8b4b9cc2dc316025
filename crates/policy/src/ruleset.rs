//! What one host must enforce at one revision, before the host has filled in what only it knows.

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
    /// The committed policy it was compiled from. A host never goes back to an older one.
    pub revision: Revision,
    /// What no rule below can cut.
    pub failsafe: Failsafe,
    /// The networks that count as intranet; everything else is internet.
    pub intranet: Vec<IpNet>,
    /// Named networks marked intranet can name domains; the host resolves them.
    pub intranet_domains: Vec<DomainName>,
    /// Domains whose addresses stay for another time than the default after they were last answered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grace: BTreeMap<DomainName, Grace>,
    /// Flows opened by peers.
    pub inbound: DirectionRules,
    /// Flows opened by this host.
    pub outbound: DirectionRules,
    /// Which flows between others are judged, too. `None`: no document says anything about it, and
    /// none is. A host that does not know forwarded traffic refuses any other value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<ForwardedRules>,
    /// The host this is for. Any other host refuses it. The last field: what is before it is the same
    /// in the JSON of all hosts for which the same holds.
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

    /// Every domain that it names.
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

    /// How long addresses of a domain stay.
    #[must_use]
    pub fn grace_of(&self, domain: &DomainName) -> Grace {
        self.grace.get(domain).copied().unwrap_or_default()
    }
}

/// The rules of one direction: what is enforced, and what is tested above it.
///
/// The JSON form knows three cases, of which hosts before two stances know the first two:
/// `mode: enforce` (nothing is tested), `mode: test` (nothing is enforced), and `mode: enforce` with a
/// `tested` stance beside it, which such a host refuses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "DirectionForm", into = "DirectionForm")]
pub struct DirectionRules {
    /// What it denies is dropped. The default denies everything.
    pub enforced: StanceRules,
    /// What would hold if everything in mode `test` were enforced: what this denies and `enforced` does
    /// not is recorded and let through. `None`: nothing is in mode `test`.
    pub tested: Option<StanceRules>,
}

impl DirectionRules {
    /// Every rule, of both stances.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.stances().flat_map(|stance| stance.blocks.iter().chain(&stance.allows))
    }

    /// The stances there are, the enforced one first.
    pub fn stances(&self) -> impl Iterator<Item = &StanceRules> {
        [&self.enforced].into_iter().chain(&self.tested)
    }
}

/// The rules of one stance. Blocks come before allows; then `subject` decides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StanceRules {
    /// What is denied unless allowed.
    pub subject: Subject,
    /// Denied even where an allow rule matches.
    pub blocks: Vec<Rule>,
    /// Only those that the level lets count.
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

/// One rule of a template, as it concerns this host. Whether it blocks or allows is told by the list
/// it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Names the rule in events and hit counts.
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
    /// The programs of this host that the rule is for; `None` when it is for all.
    #[must_use]
    pub fn program(&self) -> Option<LocalProgram> {
        LocalProgram::new(self.process.clone(), self.user.clone(), self.unit.clone())
    }
}

/// The peers of a rule. An empty list matches nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peers {
    /// Every address.
    Any,
    /// The union of these.
    Listed(Vec<Peer>),
}

/// One peer; segments, assets and named networks are already replaced by what they stand for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// Addresses.
    Net(IpNet),
    /// What the name resolves to on the host, at this run.
    Domain(DomainName),
    /// The ruleset's intranet.
    Intranet,
    /// Everything that is not intranet.
    Internet,
}

/// The flows that no policy may ever cut, as far as the platform knows them. The host adds its
/// configured proxies, its resolvers, and what is the same everywhere (loopback, DHCP, ICMPv6
/// neighbour discovery, IGMP, ICMP errors).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failsafe {
    /// Where the platform answers, besides the address in the host's own configuration.
    pub platform: Vec<std::net::SocketAddr>,
    /// Who may always reach which services of this host. Default: nobody.
    pub management: Vec<Management>,
}

/// A management source and what it may always reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Management {
    /// The source.
    pub from: IpNet,
    /// What it may reach; an empty list matches nothing.
    pub services: Services,
}
