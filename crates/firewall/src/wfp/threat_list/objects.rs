//! The objects of the threat list: provider, sublayer, and the filters of each layer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use xshield_policy::Direction;
use xshield_threat::ThreatMode;

use crate::plan::{Digest, Family};
use crate::threat::{Counts, ListName, Posture};
use crate::wfp::guid::Guid;
use crate::wfp::model::{
    Filter, FilterAction, Flags, Lifetime, ObjectKey, Provider, SubLayer, Value, Weight,
};
use crate::wfp::names::{FilterField, Layer};
use crate::wfp::ours::{FINE, SUBLAYER_WEIGHT};
use crate::wfp::region::Region;
use crate::wfp::rules::failsafe;

/// The provider of the list's objects.
pub const LIST_PROVIDER: Guid = Guid(0x2b1f6c3a_94d7_4e1c_8c52_7d0e3f9a6b12);
/// The list's sublayer.
pub const LIST_SUBLAYER: Guid = Guid(0x7a84d5e0_1c6b_4f39_9e07_b35a2d81c413);
/// Above the policy's sublayer.
pub const LIST_WEIGHT: u16 = SUBLAYER_WEIGHT + 0x80;

const NAME: &str = "Xshield threat list";
const FAILSAFE: u64 = 7 << 60;
const BLOCK: u64 = 5 << 60;
const MARK: u64 = 1 << 60;

/// The provider as it must be.
pub(super) fn provider() -> Provider {
    Provider {
        key: LIST_PROVIDER.into(),
        name: NAME.into(),
        service: None,
        lifetime: Lifetime::Persistent,
    }
}

/// The sublayer as it must be.
pub(super) fn sublayer() -> SubLayer {
    SubLayer {
        key: LIST_SUBLAYER.into(),
        name: NAME.into(),
        provider: Some(LIST_PROVIDER.into()),
        weight: LIST_WEIGHT,
        lifetime: Lifetime::Persistent,
    }
}

/// The layers that the list uses.
pub(super) fn layers() -> [Layer; 4] {
    [
        Layer::RecvAccept(Family::V4),
        Layer::RecvAccept(Family::V6),
        Layer::Connect(Family::V4),
        Layer::Connect(Family::V6),
    ]
}

/// The direction of the flows at a layer of the list.
pub(super) fn direction(layer: &Layer) -> Direction {
    match layer {
        Layer::Connect(_) => Direction::Outbound,
        _ => Direction::Inbound,
    }
}

fn filter(layer: &Layer, key: Guid, weight: u64, action: FilterAction, region: &Region) -> Filter {
    Filter {
        key: key.into(),
        name: NAME.into(),
        description: "".into(),
        flags: Flags::PERSISTENT,
        provider: Some(LIST_PROVIDER.into()),
        layer: layer.clone(),
        sublayer: LIST_SUBLAYER.into(),
        weight: Weight::Exact(weight),
        effective_weight: None,
        // The layers of the list have all of these fields.
        conditions: region.conditions(layer).unwrap_or_default(),
        action,
        id: None,
    }
}

fn fine(key: Guid) -> u64 {
    u64::try_from(key.0 >> 64).unwrap_or_default() & FINE
}

/// The filters that block an entry, at the layers of its family in whose direction the list blocks.
pub(super) fn blocks(entry: &IpNet, posture: &Posture) -> impl Iterator<Item = Filter> {
    let (entry, family) = (entry.trunc(), family(entry));
    let layers = [Layer::RecvAccept(family), Layer::Connect(family)];
    let blocked = layers
        .into_iter()
        .filter(|layer| posture.mode(direction(layer)) == ThreatMode::Block)
        .collect::<Vec<_>>();
    blocked.into_iter().map(move |layer| block(&layer, &entry))
}

/// The filter that blocks an entry at a layer.
pub(super) fn block(layer: &Layer, entry: &IpNet) -> Filter {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => address.into(),
    };
    let remote = Some((number(entry.network()), number(entry.broadcast())));
    let key = Guid::of(&["threat list", &layer.to_string(), &entry.to_string()]);
    let region = Region { remote, ..Region::everything() };
    filter(layer, key, BLOCK | fine(key), FilterAction::Block, &region)
}

/// The entry that a filter blocks; `None` for any other filter, and for one that is not as we add it.
pub(super) fn entry_of(found: &Filter) -> Option<IpNet> {
    let [condition] = found.conditions.as_slice() else { return None };
    if condition.field != FilterField::RemoteAddress {
        return None;
    }
    let (first, last) = match &condition.value {
        Value::Range(ends) => (ends.0.number()?, ends.1.number()?),
        value => (value.number()?, value.number()?),
    };
    let size = (first ^ last).checked_add(1).filter(|size| size.is_power_of_two());
    let free_bits = size.map_or(128, u128::trailing_zeros);
    let entry = match found.layer.family()? {
        Family::V4 => {
            let length = u8::try_from(32_u32.checked_sub(free_bits)?).ok()?;
            let address = Ipv4Addr::from(u32::try_from(first).ok()?);
            IpNet::V4(Ipv4Net::new(address, length).ok()?)
        }
        Family::V6 => {
            let length = u8::try_from(128_u32.checked_sub(free_bits)?).ok()?;
            IpNet::V6(Ipv6Net::new(Ipv6Addr::from(first), length).ok()?)
        }
    };
    block(&found.layer, &entry).is_same_as(found).then_some(entry)
}

/// The filters that permit the failsafe.
pub(super) fn guards(posture: &Posture) -> Vec<Filter> {
    let mut guards = Vec::new();
    for layer in layers() {
        let Some(family) = layer.family() else { continue };
        for piece in failsafe(&posture.failsafe, direction(&layer), family) {
            let Some(conditions) = piece.region.conditions(&layer) else { continue };
            let said: Vec<String> = conditions.iter().map(ToString::to_string).collect();
            let parts = ["threat list, failsafe", &layer.to_string(), &said.join("\n")];
            let key = Guid::of(&parts);
            let guard =
                filter(&layer, key, FAILSAFE | fine(key), FilterAction::Permit, &piece.region);
            let is_new = |known: &Filter| known.key != guard.key;
            if guards.iter().all(is_new) {
                guards.push(guard);
            }
        }
    }
    guards
}

/// The keys of the filters that name the list.
pub(super) fn mark_keys() -> [ObjectKey; 4] {
    layers().map(|layer| mark_key(&layer).into())
}

fn mark_key(layer: &Layer) -> Guid {
    Guid::of(&["threat list, name", &layer.to_string()])
}

/// The filters that name the list and the modes. They match loopback, as a guard does, and permit it.
pub(super) fn marks(list: &ListName, posture: &Posture) -> [Filter; 4] {
    let ListName { revision, digest, counts } = list;
    let Counts { hosts4, nets4, hosts6, nets6 } = counts;
    let text = format!(
        "list {revision} {digest} {hosts4} {nets4} {hosts6} {nets6}, inbound {}, outbound {}",
        posture.inbound, posture.outbound
    );
    layers().map(|layer| {
        let loopback = crate::wfp::region::Loopback::Only;
        let region = Region { loopback, ..Region::everything() };
        let key = mark_key(&layer);
        let mark = filter(&layer, key, MARK | fine(key), FilterAction::Permit, &region);
        Filter { description: text.as_str().into(), ..mark }
    })
}

/// The list that such a filter names.
pub(super) fn read_mark(filter: &Filter) -> Option<ListName> {
    let (list, _) = filter.description.strip_prefix("list ")?.split_once(", inbound ")?;
    let mut words = list.split(' ');
    let revision = words.next()?.parse().ok()?;
    let digest: Digest = words.next()?.parse().ok()?;
    let mut count = || words.next()?.parse().ok();
    let (hosts4, nets4, hosts6, nets6) = (count()?, count()?, count()?, count()?);
    Some(ListName { revision, digest, counts: Counts { hosts4, nets4, hosts6, nets6 } })
}

/// The modes with which a list is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Modes {
    inbound: ThreatMode,
    outbound: ThreatMode,
}

impl Modes {
    pub(super) fn of(posture: &Posture) -> Self {
        Self { inbound: posture.inbound, outbound: posture.outbound }
    }

    /// The directions in which the list blocks.
    pub(super) fn blocked(self) -> impl Iterator<Item = Direction> {
        let modes = [(Direction::Inbound, self.inbound), (Direction::Outbound, self.outbound)];
        let blocks = modes.into_iter().filter(|(_, mode)| *mode == ThreatMode::Block);
        blocks.map(|(direction, _)| direction)
    }
}

/// The modes that such a text names.
pub(super) fn read_modes(mark: &str) -> Option<Modes> {
    let (_, modes) = mark.split_once(", inbound ")?;
    let (inbound, outbound) = modes.split_once(", outbound ")?;
    Some(Modes { inbound: inbound.parse().ok()?, outbound: outbound.parse().ok()? })
}

pub(super) fn family(entry: &IpNet) -> Family {
    match entry {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    }
}
