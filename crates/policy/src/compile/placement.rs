//! Which assets are in which segments, kept up to date change by change.
//!
//! Shared values (addresses of segments and assets) stay in the same allocation as long as they are
//! unchanged, so that users can detect by pointer what a change affects.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use crate::document::Policy;
use crate::inventory::{Asset, Inventory};
use crate::names::{AssetId, Name};

/// The addresses of a segment or an asset.
pub type Addresses = Arc<[IpAddr]>;

/// How a policy refers to an asset: assets of one class have the same ruleset except for the asset's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Class {
    /// Indexes of its segments in the policy.
    pub(super) segments: Vec<usize>,
    /// The asset's name if it has its own document.
    pub(super) own: Option<Name>,
}

/// An asset with its class.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) asset: Asset,
    pub(super) class: Class,
    pub(super) addresses: Addresses,
}

/// The assets of a segment.
#[derive(Debug, Clone, Default)]
struct Members {
    assets: BTreeMap<AssetId, Arc<Placed>>,
    /// Computed when first needed.
    addresses: OnceLock<Addresses>,
}

/// The assets of an inventory in the segments of one policy. Every call needs that same policy.
#[derive(Debug, Clone)]
pub struct Placement {
    assets: BTreeMap<AssetId, Arc<Placed>>,
    names: BTreeMap<Name, Arc<Placed>>,
    segments: Vec<Arc<Members>>,
}

impl Placement {
    /// No assets.
    #[must_use]
    pub fn empty(policy: &Policy) -> Self {
        let segments = policy.segments.iter().map(|_| Arc::default()).collect();
        Self { assets: BTreeMap::new(), names: BTreeMap::new(), segments }
    }

    /// Every asset of an inventory.
    #[must_use]
    pub fn of(policy: &Policy, inventory: &Inventory) -> Self {
        let mut placement = Self::empty(policy);
        placement.follow(policy, inventory);
        placement
    }

    /// Switches to another inventory; only what differs is evaluated again.
    pub fn follow(&mut self, policy: &Policy, inventory: &Inventory) {
        let there: BTreeSet<&AssetId> = inventory.assets.iter().map(|asset| &asset.id).collect();
        let gone: Vec<AssetId> =
            self.assets.keys().filter(|id| !there.contains(id)).cloned().collect();
        gone.iter().for_each(|id| self.remove(id));
        inventory.assets.iter().for_each(|asset| self.put(policy, asset));
    }

    /// Adds a new or changed asset.
    pub fn put(&mut self, policy: &Policy, asset: &Asset) {
        let before = self.assets.get(&asset.id).cloned();
        if before.as_ref().is_some_and(|before| before.asset == *asset) {
            return;
        }
        let segments = policy.segments.values().enumerate();
        let segments = segments.filter(|(_, segment)| segment.criteria.matches(asset));
        let class = Class {
            segments: segments.map(|(at, _)| at).collect(),
            own: policy.assets.contains_key(&asset.name).then(|| asset.name.clone()),
        };
        let same_addresses =
            before.as_ref().filter(|before| before.asset.addresses == asset.addresses);
        let addresses = same_addresses
            .map_or_else(|| asset.addresses.as_slice().into(), |before| before.addresses.clone());
        let keeps_addresses = same_addresses.is_some();
        let placed = Arc::new(Placed { asset: asset.clone(), class, addresses });
        if let Some(before) = &before {
            self.forget_name(before);
            for at in before.class.segments.iter().filter(|at| !placed.class.segments.contains(at))
            {
                self.leave(*at, &asset.id);
            }
        }
        for &at in &placed.class.segments {
            let members = Arc::make_mut(&mut self.segments[at]);
            let was_member = members.assets.insert(asset.id.clone(), placed.clone()).is_some();
            if !(was_member && keeps_addresses) {
                members.addresses.take();
            }
        }
        self.names.insert(asset.name.clone(), placed.clone());
        self.assets.insert(asset.id.clone(), placed);
    }

    /// Removes an asset.
    pub fn remove(&mut self, id: &AssetId) {
        let Some(before) = self.assets.remove(id) else { return };
        self.forget_name(&before);
        before.class.segments.iter().for_each(|at| self.leave(*at, id));
    }

    fn forget_name(&mut self, before: &Placed) {
        // Another asset may have the name meanwhile.
        let name = &before.asset.name;
        if self.names.get(name).is_some_and(|placed| placed.asset.id == before.asset.id) {
            self.names.remove(name);
        }
    }

    fn leave(&mut self, at: usize, id: &AssetId) {
        let members = Arc::make_mut(&mut self.segments[at]);
        members.assets.remove(id);
        members.addresses.take();
    }

    /// Every asset with its class, by id.
    pub fn classes(&self) -> impl Iterator<Item = (&AssetId, &Class)> {
        self.assets.iter().map(|(id, placed)| (id, &placed.class))
    }

    /// The class of an asset; `None` if there is no such asset.
    #[must_use]
    pub fn class(&self, id: &AssetId) -> Option<&Class> {
        self.assets.get(id).map(|placed| &placed.class)
    }

    pub(super) fn placed(&self, id: &AssetId) -> Option<&Placed> {
        self.assets.get(id).map(Arc::as_ref)
    }

    /// The name of an asset.
    #[must_use]
    pub fn name(&self, id: &AssetId) -> Option<&Name> {
        self.assets.get(id).map(|placed| &placed.asset.name)
    }

    pub(super) fn named(&self, name: &Name) -> Option<&Placed> {
        self.names.get(name).map(Arc::as_ref)
    }

    /// The assets of the segment with this index, by id.
    pub(super) fn members(&self, at: usize) -> impl ExactSizeIterator<Item = &Asset> {
        self.segments[at].assets.values().map(|placed| &placed.asset)
    }

    /// The addresses of the segment with this index.
    pub(super) fn addresses(&self, at: usize) -> &Addresses {
        let members = &self.segments[at];
        members.addresses.get_or_init(|| {
            let assets = members.assets.values();
            assets.flat_map(|placed| placed.addresses.iter().copied()).collect()
        })
    }
}
