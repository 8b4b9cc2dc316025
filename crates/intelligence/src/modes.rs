//! The modes for traffic with listed peers: an asset's own mode overrides those of its segments, which
//! override the platform's. Of several segments the strictest applies.

use serde::Serialize;
use xshield_model::threat_settings::{ScopeModes, ThreatSettings};
use xshield_policy::criteria::Criteria;
use xshield_policy::inventory::Asset;
use xshield_threat::ThreatMode;

/// The modes of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Modes {
    /// For flows opened by peers.
    pub inbound: ThreatMode,
    /// For flows opened by the host.
    pub outbound: ThreatMode,
}

/// All mode settings except those of single assets.
#[derive(Debug, Clone, Default)]
pub struct ModeRules {
    /// For the whole platform.
    pub settings: ThreatSettings,
    /// For segments of the committed policy. One that is no longer in it has no members.
    pub segments: Vec<SegmentModes>,
}

/// The modes that an operator set for a segment.
#[derive(Debug, Clone)]
pub struct SegmentModes {
    /// The segment.
    pub name: String,
    /// Its members.
    pub criteria: Criteria,
    /// The modes.
    pub scope_modes: ScopeModes,
}

impl ModeRules {
    /// The modes of an asset.
    #[must_use]
    pub fn of(&self, asset: &Asset, own: ScopeModes) -> Modes {
        let members = || self.segments.iter().filter(|segment| segment.criteria.matches(asset));
        let inbound = members().filter_map(|segment| segment.scope_modes.inbound).max();
        let outbound = members().filter_map(|segment| segment.scope_modes.outbound).max();
        Modes {
            inbound: own.inbound.or(inbound).unwrap_or(self.settings.inbound),
            outbound: own.outbound.or(outbound).unwrap_or(self.settings.outbound),
        }
    }
}

#[cfg(test)]
mod tests {
    use xshield_policy::inventory::Source;

    use super::*;
    use ThreatMode::{Block, EventOnly, Off};

    fn asset(role: &str) -> Asset {
        Asset {
            id: "as-1".parse().unwrap(),
            name: "h".parse().unwrap(),
            tags: [("role".parse().unwrap(), role.parse().unwrap())].into(),
            addresses: Vec::new(),
            os: String::new(),
            source: Source::Spark,
        }
    }

    #[test]
    fn asset_modes_override_segments_and_segments_the_platform() {
        let segment = |criteria: &str, inbound, outbound| SegmentModes {
            name: "s".to_owned(),
            criteria: criteria.parse().unwrap(),
            scope_modes: ScopeModes { inbound, outbound },
        };
        let rules = ModeRules {
            settings: ThreatSettings { outbound: Off, ..ThreatSettings::default() },
            segments: vec![
                segment("role = 'web'", Some(Off), None),
                segment("role in ('web', 'db')", Some(EventOnly), Some(EventOnly)),
            ],
        };
        let own = |inbound, outbound| ScopeModes { inbound, outbound };
        for (role, own, expected) in [
            ("other", own(None, None), (Block, Off)),
            ("db", own(None, None), (EventOnly, EventOnly)),
            ("web", own(None, None), (EventOnly, EventOnly)),
            ("web", own(Some(Off), None), (Off, EventOnly)),
            ("web", own(Some(Block), Some(Block)), (Block, Block)),
        ] {
            let modes = rules.of(&asset(role), own);
            assert_eq!((modes.inbound, modes.outbound), expected, "{role} {own:?}");
        }
    }
}
