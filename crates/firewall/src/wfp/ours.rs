//! What tells our objects from those of others, and how our filters are ordered.

use super::guid::Guid;
use super::model::{Lifetime, ObjectKey, Provider, SubLayer};

/// Our provider. Filters of any other are never touched.
pub const PROVIDER: Guid = Guid(0x9c0a5d0e_6f2b_4b7a_8f6d_2a41c5b7e910);
/// Our sublayer: policy is judged in it.
pub const SUBLAYER: Guid = Guid(0x4f3be1d2_07c9_4d5e_b1a8_6c90d2f7a311);
/// Above Windows Firewall (2 to 7) and what other products were seen to use (up to 49,152), so that
/// nobody's hard permit keeps a denied packet from being dropped; not the highest, so that the threat
/// list has room above.
pub const SUBLAYER_WEIGHT: u16 = 0xff00;
/// What the names of our filters begin with; the rule follows.
pub(super) const NAME: &str = "Xshield ";
/// What is denied because the level closes it and no rule allows it.
pub(super) const CLOSED: &str = "default/closed";

/// Our provider as it must be. It names no service: Spark has none, and what is bound to a service is not
/// in force where the service does not start by itself.
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

/// Which of two plans in our sublayer a filter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The one that stays.
    Kept,
    /// The one on trial: all of its filters weigh more than those that stay.
    Trial,
}

/// What a filter of ours does. Of several that match, the highest decides; within a kind all decide
/// the same, so that their order among each other does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// What no filter below matches: as the level says.
    Default = 1,
    /// What the enforced stance lets through and the tested level denies.
    WouldDeny = 2,
    /// What both stances let through.
    Allow = 3,
    /// What the enforced stance lets through and a tested block rule denies.
    TestedBlock = 4,
    /// An enforced block rule.
    Block = 5,
    // 6 is free for the threat list.
    /// What no policy may cut.
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

    /// As plans and descriptions name it.
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
/// The bits that only keep weights apart.
pub(super) const FINE: u64 = SPECIFIC_BIT - 1;

/// Whether another filter that matches at least the same and does the same stands below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Reach {
    /// None does.
    Whole,
    /// The filter is there so that events of TCP name it.
    Tcp,
}

/// A weight in the tier [`Tier::Kept`]. `fine` is what keeps it apart from those of the same class.
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

/// What a weight says; `None` for one that we never give.
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
    fn weights_say_what_they_are_of() {
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
