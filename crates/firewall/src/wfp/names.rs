//! Layers and fields of WFP that a plan uses, with Windows' names and GUIDs.

use std::fmt;
use std::sync::Arc;

use super::guid::Guid;
use crate::plan::Family;

/// The place in the network stack where filters are evaluated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// `ALE_AUTH_RECV_ACCEPT`: the first packet of a flow that a peer opens.
    RecvAccept(Family),
    /// `ALE_AUTH_CONNECT`: the first packet of a flow that this host opens.
    Connect(Family),
    /// `INBOUND_ICMP_ERROR`: an arriving ICMP error. The ALE layers see no ICMP errors.
    InboundIcmpError(Family),
    /// `OUTBOUND_ICMP_ERROR`: an ICMP error that this host sends.
    OutboundIcmpError(Family),
    /// Any other layer, by Windows' name.
    Other(Arc<str>),
}

const LAYERS: [(Layer, &str, u128); 8] = [
    (
        Layer::RecvAccept(Family::V4),
        "FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4",
        0xe1cd9fe7_f4b5_4273_96c0_592e487b8650,
    ),
    (
        Layer::RecvAccept(Family::V6),
        "FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V6",
        0xa3b42c97_9f04_4672_b87e_cee9c483257f,
    ),
    (
        Layer::Connect(Family::V4),
        "FWPM_LAYER_ALE_AUTH_CONNECT_V4",
        0xc38d57d1_05a7_4c33_904f_7fbceee60e82,
    ),
    (
        Layer::Connect(Family::V6),
        "FWPM_LAYER_ALE_AUTH_CONNECT_V6",
        0x4a72393b_319f_44bc_84c3_ba54dcb3b6b4,
    ),
    (
        Layer::InboundIcmpError(Family::V4),
        "FWPM_LAYER_INBOUND_ICMP_ERROR_V4",
        0x61499990_3cb6_4e84_b950_53b94b6964f3,
    ),
    (
        Layer::InboundIcmpError(Family::V6),
        "FWPM_LAYER_INBOUND_ICMP_ERROR_V6",
        0x65f9bdff_3b2d_4e5d_b8c6_c720651fe898,
    ),
    (
        Layer::OutboundIcmpError(Family::V4),
        "FWPM_LAYER_OUTBOUND_ICMP_ERROR_V4",
        0x41390100_564c_4b32_bc1d_718048354d7c,
    ),
    (
        Layer::OutboundIcmpError(Family::V6),
        "FWPM_LAYER_OUTBOUND_ICMP_ERROR_V6",
        0x7fb03b60_7b8d_4dfa_badd_980176fc4e12,
    ),
];

impl Layer {
    /// The layers in which a plan has filters.
    pub fn planned() -> impl Iterator<Item = Self> {
        LAYERS.iter().map(|(layer, _, _)| layer.clone())
    }

    /// The layer with this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let known = LAYERS.iter().find(|(_, known, _)| *known == name);
        known.map_or_else(|| Self::Other(name.into()), |(layer, _, _)| layer.clone())
    }

    /// Windows' name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => {
                LAYERS.iter().find(|(layer, _, _)| layer == known).map_or("", |(_, name, _)| name)
            }
        }
    }

    /// The GUID in the API; `None` for layers that no plan uses.
    #[must_use]
    pub fn guid(&self) -> Option<Guid> {
        LAYERS.iter().find(|(layer, _, _)| layer == self).map(|(_, _, guid)| Guid(*guid))
    }

    /// The layer that the API names by this GUID; of one that no plan uses, the GUID is the name.
    #[must_use]
    pub fn of_guid(guid: Guid) -> Self {
        let known = LAYERS.iter().find(|(_, _, known)| *known == guid.0);
        known.map_or_else(|| Self::Other(guid.to_string().into()), |(layer, _, _)| layer.clone())
    }

    /// The IP version of its packets, for layers that a plan uses.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        match self {
            Self::RecvAccept(family)
            | Self::Connect(family)
            | Self::InboundIcmpError(family)
            | Self::OutboundIcmpError(family) => Some(*family),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The property of a packet or its socket that a condition compares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FilterField {
    /// The executable, as an NT device path.
    AppId,
    /// The user and the services in the access token of the local socket.
    UserId,
    /// The address of this host.
    LocalAddress,
    /// The address of the peer.
    RemoteAddress,
    /// The IP protocol.
    Protocol,
    /// The port of this host; for ICMP, the type. Windows has one key for both.
    LocalPort,
    /// The port of the peer; for ICMP, the code.
    RemotePort,
    /// Bits about the packet; see [`LOOPBACK`].
    Flags,
    /// Any other field, by Windows' name.
    Other(Arc<str>),
}

/// The bit of [`FilterField::Flags`] that is set if both ends are this host.
pub const LOOPBACK: u32 = 1;

const FIELDS: [(FilterField, &str, u128); 8] = [
    (FilterField::AppId, "FWPM_CONDITION_ALE_APP_ID", 0xd78e1e87_8644_4ea5_9437_d809ecefc971),
    (FilterField::UserId, "FWPM_CONDITION_ALE_USER_ID", 0xaf043a0a_b34d_4f86_979c_c90371af6e66),
    (
        FilterField::LocalAddress,
        "FWPM_CONDITION_IP_LOCAL_ADDRESS",
        0xd9ee00de_c1ef_4617_bfe3_ffd8f5a08957,
    ),
    (
        FilterField::RemoteAddress,
        "FWPM_CONDITION_IP_REMOTE_ADDRESS",
        0xb235ae9a_1d64_49b8_a44c_5ff3d9095045,
    ),
    (FilterField::Protocol, "FWPM_CONDITION_IP_PROTOCOL", 0x3971ef2b_623e_4f9a_8cb1_6e79b806b9a7),
    (
        FilterField::LocalPort,
        "FWPM_CONDITION_IP_LOCAL_PORT",
        0x0c1ba1af_5765_453f_af22_a8f791ac775b,
    ),
    (
        FilterField::RemotePort,
        "FWPM_CONDITION_IP_REMOTE_PORT",
        0xc35a604d_d22b_4e1a_91b4_68f674ee674b,
    ),
    (FilterField::Flags, "FWPM_CONDITION_FLAGS", 0x632ce23b_5167_435c_86d7_e903684aa80c),
];

/// Alternative names of fields above in the header.
const ALIASES: [(&str, FilterField); 2] = [
    ("FWPM_CONDITION_ICMP_TYPE", FilterField::LocalPort),
    ("FWPM_CONDITION_ICMP_CODE", FilterField::RemotePort),
];

impl FilterField {
    /// The field with this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let known = FIELDS.iter().map(|(field, known, _)| (*known, field));
        let mut known = known.chain(ALIASES.iter().map(|(known, field)| (*known, field)));
        let found = known.find(|(known, _)| *known == name);
        found.map_or_else(|| Self::Other(name.into()), |(_, field)| field.clone())
    }

    /// Windows' name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => {
                FIELDS.iter().find(|(field, _, _)| field == known).map_or("", |(_, name, _)| name)
            }
        }
    }

    /// The field that the API names by this GUID; of one that no plan uses, the GUID is the name.
    #[must_use]
    pub fn of_guid(guid: Guid) -> Self {
        let known = FIELDS.iter().find(|(_, _, known)| *known == guid.0);
        known.map_or_else(|| Self::Other(guid.to_string().into()), |(field, _, _)| field.clone())
    }

    /// The GUID in the API; `None` for fields that no plan uses.
    #[must_use]
    pub fn guid(&self) -> Option<Guid> {
        FIELDS.iter().find(|(field, _, _)| field == self).map(|(_, _, guid)| Guid(*guid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (layer, name, guid) in &LAYERS {
            assert_eq!((&Layer::named(name), layer.name()), (layer, *name));
            assert_eq!((&Layer::of_guid(Guid(*guid)), layer.guid()), (layer, Some(Guid(*guid))));
        }
        for (field, name, guid) in &FIELDS {
            assert_eq!((&FilterField::named(name), field.name()), (field, *name));
            assert_eq!(
                (&FilterField::of_guid(Guid(*guid)), field.guid()),
                (field, Some(Guid(*guid)))
            );
        }
        assert_eq!(FilterField::named("FWPM_CONDITION_ICMP_TYPE"), FilterField::LocalPort);
        let other = Layer::named("FWPM_LAYER_STREAM_V4");
        assert_eq!((other.name(), other.guid()), ("FWPM_LAYER_STREAM_V4", None));
    }
}
