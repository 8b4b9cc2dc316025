//! What block rules may reach. What operators write must not cut the failsafe; what hosts say of their
//! addresses can't: such an address is left out of the rule, and that is said.

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

/// Whom the failsafe keeps open at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// Hosts reach the platform there.
    Platform,
    /// The settings name it as a management source.
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
    /// Whom the failsafe keeps open at this address. A management network wider than one address
    /// says nothing about each host in it: its services stay open there, the rest can be blocked.
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

    /// Refuses block rules that, as they are written, would cut the failsafe.
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

    /// Refuses inbound block rules that would cut the platform, when it runs on this asset. By the
    /// addresses that the asset holds: no host has the platform's by its own word.
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

    /// The addresses of assets that block rules leave out.
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

    /// The assets that a peer stands for.
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

/// Every inbound rule of a template, with its list and its place there.
fn inbound_rules(template: &Template) -> impl Iterator<Item = (&'static str, usize, &InboundRule)> {
    let lists = [("ports", &template.ports), ("inbound", &template.inbound)];
    lists
        .into_iter()
        .flat_map(|(list, rules)| rules.iter().enumerate().map(move |(at, rule)| (list, at, rule)))
}

/// Every rule of a template, with its peers.
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
