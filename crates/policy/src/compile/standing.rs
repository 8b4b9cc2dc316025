//! The effect of the policy on an asset, for display.

use serde::Serialize;

use super::stance::{AssetStance, Attached};
use super::{Class, Compiler};
use crate::document::{Action, Template};
use crate::level::{InboundLevel, OutboundLevel};
use crate::names::{AssetId, Name};
use crate::protection::{Closed, Level};

/// The effect of a policy on an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyStanding {
    /// Its segments, by name.
    pub segments: Vec<Name>,
    /// Whether there is a document for this asset.
    pub has_document: bool,
    /// How far flows that peers open are closed.
    pub inbound: Closed,
    /// How far flows that it opens are closed.
    pub outbound: Closed,
    /// How much of it is enforced.
    pub bite: Bite,
}

/// How much of a policy is enforced on an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bite {
    /// Nothing is closed and nothing blocked.
    Nothing,
    /// What is closed or blocked is in mode `test`.
    Test,
    /// A level or a block rule is enforced, in one direction at least.
    Enforce,
}

impl Compiler<'_> {
    /// The effect on an asset; `None` if there is no such asset.
    #[must_use]
    pub fn standing(&self, asset: &AssetId) -> Option<PolicyStanding> {
        self.placement.class(asset).map(|class| self.standing_of(class))
    }

    /// How much of the policy is enforced on each asset, by id.
    pub fn bites(&self) -> impl Iterator<Item = (&AssetId, Bite)> {
        let mut known: std::collections::HashMap<&Class, Bite> = std::collections::HashMap::new();
        self.placement.classes().map(move |(asset, class)| {
            let bite = known.entry(class).or_insert_with(|| bite(&self.stance(class)));
            (asset, *bite)
        })
    }

    fn standing_of(&self, class: &Class) -> PolicyStanding {
        let stance = self.stance(class);
        let AssetStance { inbound, outbound, .. } = &stance;
        let names = self.places.iter().filter(|(_, at)| class.segments.contains(at));
        PolicyStanding {
            segments: names.map(|(&name, _)| name.clone()).collect(),
            has_document: class.own.is_some(),
            inbound: Closed {
                enforced: Level::Inbound(inbound.enforced.level),
                tested: Level::Inbound(inbound.tested.level),
            },
            outbound: Closed {
                enforced: Level::Outbound(outbound.enforced.level),
                tested: Level::Outbound(outbound.tested.level),
            },
            bite: bite(&stance),
        }
    }
}

fn bite(AssetStance { inbound, outbound, .. }: &AssetStance<'_>) -> Bite {
    let bites = |inbound: &Attached<'_, InboundLevel>, outbound: &Attached<'_, OutboundLevel>| {
        inbound.level != InboundLevel::Unsecured
            || outbound.level != OutboundLevel::Unsecured
            || blocks(inbound, |template| {
                !(template.ports.is_empty() && template.inbound.is_empty())
            })
            || blocks(outbound, |template| !template.outbound.is_empty())
    };
    if bites(&inbound.enforced, &outbound.enforced) {
        Bite::Enforce
    } else if bites(&inbound.tested, &outbound.tested) {
        Bite::Test
    } else {
        Bite::Nothing
    }
}

/// Whether a block template has rules of the direction.
fn blocks<L>(attached: &Attached<'_, L>, has_rules: impl Fn(&Template) -> bool) -> bool {
    let mut templates = attached.templates.values();
    templates.any(|template| template.action == Action::Block && has_rules(template))
}
