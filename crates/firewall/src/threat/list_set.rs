//! The four sets of a list.

use ipnet::IpNet;

use crate::plan::Family;

/// The four sets of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListSet {
    pub family: Family,
    pub holds: SetContent,
}

/// The content of a set of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetContent {
    Hosts,
    Nets,
}

impl ListSet {
    pub(crate) const ALL: [Self; 4] = [
        Self { family: Family::V4, holds: SetContent::Hosts },
        Self { family: Family::V4, holds: SetContent::Nets },
        Self { family: Family::V6, holds: SetContent::Hosts },
        Self { family: Family::V6, holds: SetContent::Nets },
    ];

    /// Its name without the slot's suffix.
    pub(crate) fn name(self) -> String {
        match self.holds {
            SetContent::Hosts => format!("hosts{}", self.family.number()),
            SetContent::Nets => format!("nets{}", self.family.number()),
        }
    }
}

impl ListSet {
    /// The set to which an entry belongs.
    pub(crate) fn of(entry: &IpNet) -> Self {
        let family = match entry {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        };
        let holds = match entry.prefix_len() == entry.max_prefix_len() {
            true => SetContent::Hosts,
            false => SetContent::Nets,
        };
        Self { family, holds }
    }
}
