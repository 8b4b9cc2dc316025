//! Which events Windows is asked to write to the Security log.

use std::collections::BTreeMap;

/// A subcategory of the audit policy. Its identifier is the same on every Windows; its name depends on the
/// language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subcategory {
    /// "Filtering Platform Packet Drop": event 5152.
    PacketDrops,
    /// "Filtering Platform Connection": events 5154, 5156, 5157, 5158.
    Connections,
    /// "Filtering Platform Policy Change": event 5441.
    FiltersAtStart,
    /// "Other Policy Change Events": event 5447.
    FilterChanges,
}

/// Which outcomes of a subcategory are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Audited {
    /// Permitted flows, changes that were made.
    pub success: bool,
    /// Denied flows, changes that failed.
    pub failure: bool,
}

impl Subcategory {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::PacketDrops, Self::Connections, Self::FiltersAtStart, Self::FilterChanges];

    /// Its name on an English Windows, in quotation marks.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PacketDrops => "'Filtering Platform Packet Drop'",
            Self::Connections => "'Filtering Platform Connection'",
            Self::FiltersAtStart => "'Filtering Platform Policy Change'",
            Self::FilterChanges => "'Other Policy Change Events'",
        }
    }

    /// Its identifier, as a number: `0CCE9225-69AE-11D9-BED3-505054503030` and the like.
    #[must_use]
    pub fn guid(self) -> u128 {
        match self {
            Self::PacketDrops => 0x0cce9225_69ae_11d9_bed3_505054503030,
            Self::Connections => 0x0cce9226_69ae_11d9_bed3_505054503030,
            Self::FiltersAtStart => 0x0cce9233_69ae_11d9_bed3_505054503030,
            Self::FilterChanges => 0x0cce9234_69ae_11d9_bed3_505054503030,
        }
    }
}

impl Audited {
    /// The flags of Windows' audit policy: 1 for success, 2 for failure, 4 for neither.
    #[must_use]
    pub fn flags(self) -> u32 {
        match (self.success, self.failure) {
            (false, false) => 4,
            (success, failure) => u32::from(success) | u32::from(failure) << 1,
        }
    }

    /// What such flags mean.
    #[must_use]
    pub fn from_flags(flags: u32) -> Self {
        Self { success: flags & 1 != 0, failure: flags & 2 != 0 }
    }

    fn with(self, other: Self) -> Self {
        Self { success: self.success || other.success, failure: self.failure || other.failure }
    }
}

/// The changes that let `present` contain `wanted`. Nothing that is audited for others is switched off.
#[must_use]
pub fn missing(
    present: &BTreeMap<Subcategory, Audited>,
    wanted: &BTreeMap<Subcategory, Audited>,
) -> BTreeMap<Subcategory, Audited> {
    let changes = wanted.iter().filter_map(|(&subcategory, &audited)| {
        let now = present.get(&subcategory).copied().unwrap_or_default();
        (now.with(audited) != now).then(|| (subcategory, now.with(audited)))
    });
    changes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_audit_settings_are_enabled() {
        const NONE: Audited = Audited { success: false, failure: false };
        const SUCCESS: Audited = Audited { success: true, failure: false };
        const FAILURE: Audited = Audited { success: false, failure: true };
        const BOTH: Audited = Audited { success: true, failure: true };
        for (present, wanted, expected) in [
            (NONE, NONE, None),
            (NONE, FAILURE, Some(FAILURE)),
            (SUCCESS, FAILURE, Some(BOTH)),
            (FAILURE, FAILURE, None),
            (BOTH, FAILURE, None),
            (BOTH, NONE, None),
        ] {
            let present = BTreeMap::from([(Subcategory::Connections, present)]);
            let wanted = BTreeMap::from([(Subcategory::Connections, wanted)]);
            let found = missing(&present, &wanted).get(&Subcategory::Connections).copied();
            assert_eq!(found, expected, "{present:?} {wanted:?}");
        }
        let unknown =
            missing(&BTreeMap::new(), &BTreeMap::from([(Subcategory::PacketDrops, FAILURE)]));
        assert_eq!(unknown[&Subcategory::PacketDrops], FAILURE);
        for audited in [NONE, SUCCESS, FAILURE, BOTH] {
            assert_eq!(Audited::from_flags(audited.flags()), audited);
        }
    }
}
