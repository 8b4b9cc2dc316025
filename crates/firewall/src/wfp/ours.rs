//! Identifies our objects, and defines the order of our filters.

use super::guid::Guid;
use super::model::{Lifetime, ObjectKey, Provider, SubLayer};

/// Our provider. Filters of other providers are never touched.
pub const PROVIDER: Guid = Guid(0x9c0a5d0e_6f2b_4b7a_8f6d_2a41c5b7e910);
/// Our sublayer, in which policy is judged.
pub const SUBLAYER: Guid = Guid(0x4f3be1d2_07c9_4d5e_b1a8_6c90d2f7a311);
/// Above Windows Firewall (2 to 7) and what other products were seen to use (up to 49,152), so that no other
/// product's hard permit prevents a denied packet from being dropped; not the highest, so that there is room
/// above for the threat list.
pub const SUBLAYER_WEIGHT: u16 = 0xff00;
/// The prefix of our filters' names; the rule follows.
pub(super) const NAME: &str = "Xshield ";
/// The label of what is denied by the level because no rule allows it.
pub(super) const CLOSED: &str = "default/closed";

/// Our provider as it must be. It names no service: Spark has none, and objects bound to a service are only
/// in force if that service starts automatically.
#[must_use]
pub fn provider() -> Provider {
    Provider {
        key: PROVIDER.into(),
        name: "Xshield".into(),
        service: None,
        lifetime: Lifetime::Persistent,
    }
}

/// Our sublayer as it must be.
#[must_use]
pub fn sublayer() -> SubLayer {
    SubLayer {
        key: SUBLAYER.into(),
        name: "Xshield policy".into(),
        provider: Some(PROVIDER.into()),
        weight: SUBLAYER_WEIGHT,
        lifetime: Lifetime::Persistent,
    }
}

/// Whether an object is ours.
#[must_use]
pub fn is_ours(provider: Option<&ObjectKey>) -> bool {
    provider == Some(&PROVIDER.into())
}

/// To which of two plans in our sublayer a filter belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The one that stays.
    Kept,
    /// The one on trial: all of its filters have a higher weight than those that stay.
    Trial,
}

/// The effect of a filter of ours. If several match, the highest class decides; within a class all decide the
/// same, so that their order does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// What no other filter matches: decided by the level.
    Default = 1,
    /// What the enforced stance permits and the tested level denies.
    WouldDeny = 2,
    /// What both stances permit.
    Allow = 3,
    /// What the enforced stance permits and a tested block rule denies.
    TestedBlock = 4,
    /// An enforced block rule.
    Block = 5,
    // 6 is reserved for the threat list.
    /// What no policy may block.
    Failsafe = 7,
}

impl Class {
    const ALL: [Self; 6] = [
        Self::Default,
        Self::WouldDeny,
        Self::Allow,
        Self::TestedBlock,
        Self::Block,
        Self::Failsafe,
    ];

    /// Its name in plans and descriptions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::WouldDeny => "would-deny",
            Self::Allow => "allow",
            Self::TestedBlock => "tested-block",
            Self::Block => "block",
            Self::Failsafe => "failsafe",
        }
    }
}

const TIER_BIT: u64 = 1 << 63;
const CLASS_SHIFT: u32 = 60;
const SPECIFIC_BIT: u64 = 1 << 59;
/// The low bits, which only keep weights distinct.
pub(super) const FINE: u64 = SPECIFIC_BIT - 1;

/// Whether another filter below matches at least the same and does the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Reach {
    /// None does.
    Whole,
    /// The filter exists so that events of TCP name it.
    Tcp,
}

/// A weight in the tier [`Tier::Kept`]. `fine` keeps it distinct within its class.
pub(super) fn weight(class: Class, reach: Reach, fine: u64) -> u64 {
    let specific = if reach == Reach::Tcp { SPECIFIC_BIT } else { 0 };
    (class as u64) << CLASS_SHIFT | specific | fine & FINE
}

/// The same in another tier.
pub(super) fn in_tier(weight: u64, tier: Tier) -> u64 {
    match tier {
        Tier::Kept => weight & !TIER_BIT,
        Tier::Trial => weight | TIER_BIT,
    }
}

/// Tier and class of a weight; `None` for one that we never use.
#[must_use]
pub fn tier_and_class(weight: u64) -> Option<(Tier, Class)> {
    let tier = if weight & TIER_BIT == 0 { Tier::Kept } else { Tier::Trial };
    let number = weight >> CLASS_SHIFT & 7;
    let class = Class::ALL.into_iter().find(|class| *class as u64 == number)?;
    Some((tier, class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_encode_tier_and_class() {
        for class in Class::ALL {
            for reach in [Reach::Whole, Reach::Tcp] {
                let kept = weight(class, reach, u64::MAX);
                assert_eq!(tier_and_class(kept), Some((Tier::Kept, class)));
                let trial = in_tier(kept, Tier::Trial);
                assert_eq!(tier_and_class(trial), Some((Tier::Trial, class)));
                assert_eq!(in_tier(trial, Tier::Kept), kept);
            }
        }
        assert!(weight(Class::Block, Reach::Whole, 0) > weight(Class::Allow, Reach::Tcp, u64::MAX));
        let lowest_on_trial = in_tier(weight(Class::Default, Reach::Whole, 0), Tier::Trial);
        assert!(lowest_on_trial > weight(Class::Failsafe, Reach::Tcp, u64::MAX));
        assert_eq!(tier_and_class(0), None);
    }
}
