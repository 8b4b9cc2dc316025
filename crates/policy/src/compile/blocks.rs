//! Checks block rules against the failsafe. Rules as operators write them must not block it. If an address
//! that a host reports would make a rule block it, the address is omitted from the rule, with a warning.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{CompileError, CompileWarning, Compiler, failsafe};
use crate::document::{Action, InboundRule, Located, Template, rule_id};
use crate::inventory::Asset;
use crate::names::AssetId;
use crate::peer::PeerRef;
use crate::ruleset::Rule;

/// Which failsafe flows use an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// The platform.
    Platform,
    /// A management source of the settings.
    Management,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Platform => "the platform",
            Self::Management => "management",
        })
    }
}

impl Compiler<'_> {
    /// Which failsafe flows use this address. A management network wider than one address does not protect
    /// each host in it: its services stay open there, the rest can be blocked.
    pub(super) fn failsafe_at(&self, address: IpAddr) -> Option<Whose> {
        let is_single = |net: IpNet| net == IpNet::from(address);
        let mut management = self.policy.settings.management.iter().flat_map(|rule| &rule.from);
        if self.platform.iter().any(|endpoint| endpoint.ip() == address) {
            Some(Whose::Platform)
        } else if management.any(|from| is_single(from.0)) {
            Some(Whose::Management)
        } else {
            None
        }
    }

    /// Refuses block rules that would block the failsafe as they are written.
    pub(super) fn check_blocks<'t>(
        &self,
        templates: impl Iterator<Item = &'t Template>,
    ) -> Result<(), CompileError> {
        let kept = self.failsafe();
        for template in templates.filter(|template| template.action == Action::Block) {
            for (list, at, rule) in inbound_rules(template) {
                let written = Rule {
                    id: rule_id(&template.name, rule.name.as_ref(), list, at)?,
                    peers: self.peers(&rule.from, |_| false),
                    services: rule.services.clone(),
                    process: rule.process.clone(),
                    user: rule.user.clone(),
                    unit: rule.unit.clone(),
                };
                failsafe::check_inbound(&written, &kept, &self.intranet)?;
            }
            for (at, rule) in template.outbound.iter().enumerate() {
                let written = Rule {
                    id: rule_id(&template.name, rule.name.as_ref(), "outbound", at)?,
                    peers: self.peers(&rule.to, |_| false),
                    services: rule.services.clone(),
                    process: rule.process.clone(),
                    user: rule.user.clone(),
                    unit: rule.unit.clone(),
                };
                failsafe::check_outbound(&written, &kept, &self.intranet)?;
            }
        }
        Ok(())
    }

    /// Refuses inbound block rules that would block the platform, if it runs on this asset, according to the
    /// addresses accepted for the asset: no host can claim the platform's address.
    ///
    /// # Errors
    /// [`CompileError::CutsFailsafe`].
    pub fn check_own_host(&self, asset: &AssetId) -> Result<(), CompileError> {
        let Some(placed) = self.placement.placed(asset) else { return Ok(()) };
        let here = |endpoint: &&SocketAddr| {
            placed.asset.addresses.iter().any(|own| *own == endpoint.ip().to_canonical())
        };
        let served: Vec<&SocketAddr> = self.platform.iter().filter(here).collect();
        if served.is_empty() {
            return Ok(());
        }
        let stance = self.stance(&placed.class);
        let blocks = stance.inbound.tested.templates.values();
        for template in blocks.filter(|template| template.action == Action::Block) {
            for (list, at, rule) in inbound_rules(template) {
                let id = rule_id(&template.name, rule.name.as_ref(), list, at)?;
                for endpoint in &served {
                    failsafe::check_served(&id, &rule.services, **endpoint, &placed.asset.name)?;
                }
            }
        }
        Ok(())
    }

    /// The asset addresses that block rules omit.
    pub(super) fn spared(&self) -> Vec<CompileWarning> {
        let mut seen = BTreeSet::new();
        let mut spared = Vec::new();
        let blocks = self.policy.templates.values();
        for template in blocks.filter(|template| template.action == Action::Block) {
            for (rule, peers) in rules_of(template) {
                for asset in peers.iter().flat_map(|peer| self.behind(&peer.value)) {
                    for &address in &asset.addresses {
                        let Some(whose) = self.failsafe_at(address) else { continue };
                        if seen.insert((rule.clone(), address)) {
                            let (rule, asset) = (rule.clone(), asset.name.clone());
                            spared.push(CompileWarning::NotBlocked { rule, asset, address, whose });
                        }
                    }
                }
            }
        }
        spared
    }

    /// The assets to which a peer refers.
    fn behind(&self, peer: &PeerRef) -> Vec<&Asset> {
        match peer {
            PeerRef::Segment(name) => self.members(name).collect(),
            PeerRef::Asset(name) => {
                self.placement.named(name).map(|placed| &placed.asset).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// All inbound rules of a template, with their list and position.
fn inbound_rules(template: &Template) -> impl Iterator<Item = (&'static str, usize, &InboundRule)> {
    let lists = [("ports", &template.ports), ("inbound", &template.inbound)];
    lists
        .into_iter()
        .flat_map(|(list, rules)| rules.iter().enumerate().map(move |(at, rule)| (list, at, rule)))
}

/// All rules of a template, with their peers.
fn rules_of(
    template: &Template,
) -> impl Iterator<Item = (crate::names::RuleId, &[Located<PeerRef>])> {
    let inbound = inbound_rules(template).filter_map(|(list, at, rule)| {
        let id = rule_id(&template.name, rule.name.as_ref(), list, at).ok()?;
        Some((id, rule.from.as_slice()))
    });
    let outbound = template.outbound.iter().enumerate().filter_map(move |(at, rule)| {
        let id = rule_id(&template.name, rule.name.as_ref(), "outbound", at).ok()?;
        Some((id, rule.to.as_slice()))
    });
    inbound.chain(outbound)
}
