//! Compiles policy and inventory into one ruleset per asset.

mod blocks;
mod failsafe;
mod forwarded;
mod grace;
mod placement;
mod protection;
mod stance;
mod standing;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use self::forwarded::Enforced;
use self::grace::Graces;
use self::placement::Placed;
use self::stance::{AssetStance, Attached};
use crate::document::{Action, InboundRule, Located, OutboundRule, Policy, Stance};
use crate::grace::Grace;
use crate::inventory::{Asset, Inventory};
use crate::level::{Direction, InboundLevel, Mode, OutboundLevel};
use crate::names::{AssetId, DomainName, Name, Revision, RuleId};
use crate::peer::PeerRef;
use crate::ruleset::{Failsafe, Management, Peer, Peers, Rule, Ruleset, StanceRules};

pub use blocks::Whose;
pub use placement::{Addresses, Class, Placement};
pub use standing::{Bite, PolicyStanding};

/// Ranges that always count as intranet: private (RFC 1918, RFC 4193), link-local (RFC 3927, RFC 4291),
/// loopback, multicast (RFC 5771, RFC 4291), limited broadcast, and the unspecified addresses, which a host
/// without an address uses as its source (RFC 1122, RFC 4291).
pub const INTRANET: [&str; 13] = [
    "0.0.0.0/32",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "fc00::/7",
    "fe80::/10",
    "::/128",
    "::1/128",
    "ff00::/8",
];

/// The most peers that all rules of one ruleset together may name: some 10 MB as JSON.
pub const MOST_PEERS: usize = 500_000;

/// Why a policy can't be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The asset is not in the inventory.
    #[error("asset {0} is not in the inventory")]
    UnknownAsset(AssetId),
    /// A block rule would block a failsafe flow.
    #[error(
        "rule {rule} would block {what}: narrow its peers or services, or use a level instead of a \
         block rule"
    )]
    CutsFailsafe {
        /// The rule.
        rule: RuleId,
        /// What it would block, e.g. `the platform at 10.0.0.1:8443`.
        what: String,
    },
    /// The rules name too many addresses for one host.
    #[error(
        "the ruleset would name {peers} addresses, networks and domains of peers, more than \
         {MOST_PEERS}: allow a network that contains them, or name large segments in fewer rules"
    )]
    TooManyPeers {
        /// The number of peers.
        peers: usize,
    },
    /// A rule's name is invalid.
    #[error("rule name: {0}")]
    RuleName(#[from] crate::names::NameError),
}

/// Something that compiles but is probably not intended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileWarning {
    /// A segment without assets.
    #[error("segment {0} matches no asset")]
    EmptySegment(Name),
    /// A rule or an asset document names an asset that does not exist; it matches nothing.
    #[error("asset {0} does not exist")]
    NoSuchAsset(Name),
    /// An asset's address would make a block rule match the failsafe; the address was omitted.
    #[error(
        "rule {rule} does not block asset {asset} at {address}: that is the address of {whose}; \
         if the asset should not have it: xshield asset refuse {asset} {address}"
    )]
    NotBlocked {
        /// The rule.
        rule: RuleId,
        /// The asset with the address.
        asset: Name,
        /// The address.
        address: IpAddr,
        /// The failsafe flow at that address.
        whose: Whose,
    },
    /// An asset document in mode `test` names a level below the enforced one.
    #[error(
        "asset {asset}: the {direction} level that its document tests is below the one that its \
         segments enforce, which stays: to open the asset, write mode 'enforce'"
    )]
    TestsLess {
        /// The asset.
        asset: Name,
        /// The direction.
        direction: Direction,
    },
    /// Assets that can't be managed, or could not if what is in mode `test` were enforced.
    #[error(
        "asset {asset}{}: {} admits no management source, and no peer by SSH, RDP or WinRM \
         (tcp/22, tcp/3389, tcp/5985, tcp/5986). Name the addresses from which hosts are managed \
         in the policy: settings: {{ management: [{{ from: [10.0.0.0/24], services: [tcp/22] }}] \
         }}",
        more_assets(*.more), enforced_or_tested(*.mode)
    )]
    Unmanaged {
        /// The first of them.
        asset: Name,
        /// The number of the others.
        more: usize,
        /// `Enforce` if it is so now, `Test` if it would be.
        mode: Mode,
    },
    /// Networks and settings contradict each other about a domain.
    #[error(
        "different graces are set for domain {domain}; the shortest applies: {}{}",
        .counts.span, if .counts.while_connected { ", longer while connected" } else { "" }
    )]
    GracesDiffer {
        /// The domain.
        domain: DomainName,
        /// The grace that applies.
        counts: Grace,
    },
}

fn more_assets(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" and {more} more") }
}

fn enforced_or_tested(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "what is enforced",
        Mode::Test => "what is in mode 'test', once it is enforced,",
    }
}

/// Compiles the ruleset of one asset. For many assets, create one [`Compiler`].
///
/// # Errors
/// See [`CompileError`].
pub fn compile(
    policy: &Policy,
    inventory: &Inventory,
    asset: &AssetId,
    revision: Revision,
    platform: &[SocketAddr],
) -> Result<Ruleset, CompileError> {
    let compiler = Compiler::new(policy, inventory, revision, platform);
    compiler.check_own_host(asset)?;
    compiler.ruleset(asset)
}

/// A policy with its segments evaluated against an inventory.
pub struct Compiler<'a> {
    policy: &'a Policy,
    revision: Revision,
    platform: &'a [SocketAddr],
    placement: Cow<'a, Placement>,
    /// The index of each segment.
    places: BTreeMap<&'a Name, usize>,
    intranet: Vec<IpNet>,
    intranet_domains: Vec<DomainName>,
    graces: Graces,
}

impl<'a> Compiler<'a> {
    /// Evaluates every segment once.
    ///
    /// `platform`: the platform's addresses; no rule may block them.
    #[must_use]
    pub fn new(
        policy: &'a Policy,
        inventory: &Inventory,
        revision: Revision,
        platform: &'a [SocketAddr],
    ) -> Self {
        let placement = Placement::of(policy, inventory);
        Self::of(policy, Cow::Owned(placement), revision, platform)
    }

    /// A compiler with segments that are already evaluated.
    #[must_use]
    pub fn placed(
        policy: &'a Policy,
        placement: &'a Placement,
        revision: Revision,
        platform: &'a [SocketAddr],
    ) -> Self {
        Self::of(policy, Cow::Borrowed(placement), revision, platform)
    }

    fn of(
        policy: &'a Policy,
        placement: Cow<'a, Placement>,
        revision: Revision,
        platform: &'a [SocketAddr],
    ) -> Self {
        let named = || policy.networks.values().filter(|network| network.intranet);
        let private = INTRANET.iter().filter_map(|net| net.parse().ok());
        let mut intranet: Vec<IpNet> = private
            .chain(named().flat_map(|network| network.cidrs.iter().map(|net| net.0)))
            .collect();
        intranet.sort_unstable();
        intranet.dedup();
        Self {
            policy,
            revision,
            platform,
            placement,
            places: policy.segments.keys().enumerate().map(|(at, name)| (name, at)).collect(),
            intranet,
            intranet_domains: named().flat_map(|network| network.domains.iter().cloned()).collect(),
            graces: Graces::of(policy),
        }
    }

    /// Which assets are in which segments.
    pub(crate) fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The assets of a segment; none for an unknown name.
    fn members(&self, segment: &Name) -> impl Iterator<Item = &Asset> {
        let place = self.places.get(segment);
        place.into_iter().flat_map(|&at| self.placement.members(at))
    }

    /// The addresses of a peer that is a segment or an asset; none for an unknown name.
    fn addresses(&self, peer: &PeerRef) -> Option<Addresses> {
        let known = match peer {
            PeerRef::Segment(name) => {
                self.places.get(name).map(|&at| self.placement.addresses(at).clone())
            }
            PeerRef::Asset(name) => {
                self.placement.named(name).map(|placed| placed.addresses.clone())
            }
            _ => return None,
        };
        Some(known.unwrap_or_else(|| Arc::from([])))
    }

    /// Everything on which the ruleset of a class depends besides policy and platform: as long as it is the
    /// same, so is the ruleset.
    #[must_use]
    pub fn inputs(&self, class: &Class) -> Vec<Addresses> {
        let stance = self.stance(class);
        peers_of(&stance).filter_map(|peer| self.addresses(peer)).collect()
    }

    /// Checks that the rules name at most [`MOST_PEERS`] peers.
    fn check_size(&self, stance: &AssetStance<'a>) -> Result<(), CompileError> {
        let count = |peer: &PeerRef| match peer {
            PeerRef::Network(name) => self
                .policy
                .networks
                .get(name)
                .map_or(0, |network| network.cidrs.len() + network.domains.len()),
            _ => self.addresses(peer).map_or(1, |addresses| addresses.len()),
        };
        let peers = peers_of(stance).map(count).sum();
        if peers > MOST_PEERS { Err(CompileError::TooManyPeers { peers }) } else { Ok(()) }
    }

    /// Everything that compiles but is probably not intended.
    #[must_use]
    pub fn warnings(&self) -> Vec<CompileWarning> {
        let empty = self.places.iter().filter(|(_, at)| self.placement.members(**at).len() == 0);
        let mut warnings: Vec<_> =
            empty.map(|(&name, _)| CompileWarning::EmptySegment(name.clone())).collect();
        let mut missing: Vec<&Name> = self
            .policy
            .asset_peers()
            .chain(self.policy.assets.keys())
            .filter(|name| self.placement.named(name).is_none())
            .collect();
        missing.sort_unstable();
        missing.dedup();
        warnings.extend(missing.into_iter().cloned().map(CompileWarning::NoSuchAsset));
        warnings.extend(self.spared());
        warnings.extend(self.policy.assets.keys().flat_map(|name| self.tests_less(name)));
        warnings.extend(self.unmanaged());
        warnings.extend(self.graces.warnings());
        warnings
    }

    /// Warnings about an asset with its own document.
    fn tests_less(&self, name: &Name) -> Vec<CompileWarning> {
        let Some(Placed { class, .. }) = self.placement.named(name) else { return Vec::new() };
        let AssetStance { inbound, outbound, .. } = self.stance(class);
        let warn = |direction| CompileWarning::TestsLess { asset: name.clone(), direction };
        let inbound = inbound.tests_less().then(|| warn(Direction::Inbound));
        let outbound = outbound.tests_less().then(|| warn(Direction::Outbound));
        inbound.into_iter().chain(outbound).collect()
    }

    /// The ruleset of one asset. Whether it blocks the platform if that runs on the asset is checked by
    /// [`Compiler::check_own_host`].
    ///
    /// # Errors
    /// See [`CompileError`].
    pub fn ruleset(&self, asset: &AssetId) -> Result<Ruleset, CompileError> {
        let class = self.placement.class(asset);
        let class = class.ok_or_else(|| CompileError::UnknownAsset(asset.clone()))?;
        let stance = self.stance(class);
        self.check_size(&stance)?;
        let inbound = stance.inbound.rules(|attached| self.inbound(attached))?;
        let outbound = stance.outbound.rules(|attached| self.outbound(attached))?;
        let mut ruleset = Ruleset {
            asset: asset.clone(),
            revision: self.revision,
            failsafe: self.failsafe(),
            intranet: self.intranet.clone(),
            intranet_domains: self.intranet_domains.clone(),
            grace: BTreeMap::new(),
            inbound,
            outbound,
            forwarded: stance.forwarded.rules(),
        };
        ruleset.grace = self.graces.of_domains(ruleset.domains());
        // Tested templates, too: they are to be enforced one day.
        self.check_blocks(stance.inbound.tested.templates.values().copied())?;
        Ok(ruleset)
    }

    pub(crate) fn failsafe(&self) -> Failsafe {
        let rules = self.policy.settings.management.iter();
        let management = rules.flat_map(|rule| {
            rule.from
                .iter()
                .map(|from| Management { from: from.0, services: rule.services.clone() })
        });
        Failsafe { platform: self.platform.to_vec(), management: management.collect() }
    }

    /// The stance from the asset's segments and its own document.
    fn stance(&self, class: &Class) -> AssetStance<'a> {
        let mut stance = AssetStance::default();
        let segments = self.policy.segments.values().enumerate();
        let segments = segments.filter(|(at, _)| class.segments.binary_search(at).is_ok());
        for (_, segment) in segments {
            stance.inbound.take(segment.inbound);
            stance.outbound.take(segment.outbound);
            stance.forwarded.take(
                segment.forwarded,
                &Enforced::of(segment.inbound.as_ref(), segment.outbound.as_ref()),
            );
            self.attach(&segment.templates, segment.inbound, segment.outbound, &mut stance);
        }
        if let Some(own) = class.own.as_ref().and_then(|name| self.policy.assets.get(name)) {
            stance.inbound.replace(own.inbound);
            stance.outbound.replace(own.outbound);
            stance
                .forwarded
                .replace(own.forwarded, &Enforced::of(own.inbound.as_ref(), own.outbound.as_ref()));
            self.attach(&own.templates, own.inbound, own.outbound, &mut stance);
        }
        stance
    }

    fn attach(
        &self,
        names: &[Located<Name>],
        inbound: Option<Stance<InboundLevel>>,
        outbound: Option<Stance<OutboundLevel>>,
        stance: &mut AssetStance<'a>,
    ) {
        for name in names {
            if let Some((name, template)) = self.policy.templates.get_key_value(&name.value) {
                stance.inbound.attach(name, template, inbound);
                stance.outbound.attach(name, template, outbound);
            }
        }
    }

    fn inbound(&self, attached: &Attached<'a, InboundLevel>) -> Result<StanceRules, CompileError> {
        let mut rules = StanceRules { subject: attached.level.subject(), ..StanceRules::open() };
        for template in attached.templates.values() {
            let ports = template.ports.iter().enumerate().map(|(at, rule)| ("ports", at, rule));
            let paths = template.inbound.iter().enumerate().map(|(at, rule)| ("inbound", at, rule));
            for (list, at, rule) in ports.chain(paths) {
                let InboundRule { name, from, services, process, user, unit } = rule;
                let target = match template.action {
                    Action::Block => &mut rules.blocks,
                    Action::Allow if counts(list, attached.level) => &mut rules.allows,
                    Action::Allow => continue,
                };
                target.push(Rule {
                    id: crate::document::rule_id(&template.name, name.as_ref(), list, at)?,
                    peers: self.peers_for(template.action, from),
                    services: services.clone(),
                    process: process.clone(),
                    user: user.clone(),
                    unit: unit.clone(),
                });
            }
        }
        Ok(rules)
    }

    fn outbound(
        &self,
        attached: &Attached<'a, OutboundLevel>,
    ) -> Result<StanceRules, CompileError> {
        let mut rules = StanceRules { subject: attached.level.subject(), ..StanceRules::open() };
        for template in attached.templates.values() {
            for (at, rule) in template.outbound.iter().enumerate() {
                let OutboundRule { name, to, services, process, user, unit } = rule;
                let target = match template.action {
                    Action::Block => &mut rules.blocks,
                    Action::Allow if attached.level > OutboundLevel::Unsecured => &mut rules.allows,
                    Action::Allow => continue,
                };
                target.push(Rule {
                    id: crate::document::rule_id(&template.name, name.as_ref(), "outbound", at)?,
                    peers: self.peers_for(template.action, to),
                    services: services.clone(),
                    process: process.clone(),
                    user: user.clone(),
                    unit: unit.clone(),
                });
            }
        }
        Ok(rules)
    }

    /// A rule's peers, depending on the rule's action.
    fn peers_for(&self, action: Action, peers: &[Located<PeerRef>]) -> Peers {
        match action {
            Action::Allow => self.peers(peers, |_| true),
            Action::Block => self.peers(peers, |address| self.failsafe_at(address).is_none()),
        }
    }

    /// Replaces segments, assets and named networks by their current addresses; of assets' addresses only
    /// those that `count`.
    fn peers(&self, peers: &[Located<PeerRef>], count: impl Fn(IpAddr) -> bool) -> Peers {
        let mut listed = Vec::new();
        for peer in peers {
            match &peer.value {
                PeerRef::Any => return Peers::Any,
                PeerRef::Intranet => listed.push(Peer::Intranet),
                PeerRef::Internet => listed.push(Peer::Internet),
                PeerRef::Segment(_) | PeerRef::Asset(_) => {
                    let addresses = self.addresses(&peer.value).unwrap_or_else(|| Arc::from([]));
                    let counted = addresses.iter().copied().filter(|address| count(*address));
                    listed.extend(counted.map(|address| Peer::Net(IpNet::from(address))));
                }
                PeerRef::Network(name) => {
                    if let Some(network) = self.policy.networks.get(name) {
                        listed.extend(network.cidrs.iter().map(|net| Peer::Net(net.0)));
                        listed.extend(network.domains.iter().cloned().map(Peer::Domain));
                    }
                }
                PeerRef::Domain(name) => listed.push(Peer::Domain(name.clone())),
                PeerRef::Net(net) => listed.push(Peer::Net(*net)),
            }
        }
        Peers::Listed(listed)
    }
}

/// The peers of all rules of an asset.
fn peers_of<'s>(stance: &'s AssetStance<'_>) -> impl Iterator<Item = &'s PeerRef> {
    // In each direction, the tested templates are all templates.
    let inbound = stance.inbound.tested.templates.values().flat_map(|template| {
        template.ports.iter().chain(&template.inbound).flat_map(|rule| &rule.from)
    });
    let outbound = stance.outbound.tested.templates.values();
    let outbound = outbound.flat_map(|template| template.outbound.iter().flat_map(|rule| &rule.to));
    inbound.chain(outbound).map(|peer| &peer.value)
}

/// Whether allow rules of a list are effective at a level: at `secure-inbound-paths` port rules are not, and
/// at `unsecured` there is nothing to allow.
fn counts(list: &str, level: InboundLevel) -> bool {
    match level {
        InboundLevel::Unsecured => false,
        InboundLevel::SecureInternetPorts | InboundLevel::SecureAllPorts => true,
        InboundLevel::SecureInboundPaths => list == "inbound",
    }
}
