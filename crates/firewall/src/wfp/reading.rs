//! The ambiguities of Microsoft's documentation of WFP, each with its possible answers.
//!
//! Our plans must not depend on an answer: tests evaluate them under every [`Reading`]. Results that depend
//! on one, for instance the influence of another product's filters, say under which they hold.

/// One answer to each question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reading {
    /// What `CLEAR_ACTION_RIGHT` does.
    pub clear_right: ClearRight,
    /// What overrides a hard permit.
    pub hard_permit: HardPermit,
    /// Whether the block of a callout is final.
    pub callout_block: CalloutBlock,
    /// The meaning of several conditions on one field.
    pub same_field: SameField,
    /// Which of two filters with the same weight is evaluated first.
    pub equal_weight: EqualWeight,
    /// Whether a negative match holds for a field without a value.
    pub negative_on_empty: NegativeOnEmpty,
    /// What happens to packets about which no filter of any sublayer decides.
    pub unmatched: Unmatched,
}

/// `filter-arbitration.md` says that an action is hard "if this flag is cleared", and at the same place that
/// a filter's permit is soft by default, when the flag is not set. The flag's name suggests the opposite: if
/// set, it clears the right to change the action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClearRight {
    /// If set, it makes a permit hard. A filter's block is hard in either case.
    SetIsHard,
    /// If it is not set, the action is hard; if set, it is soft.
    ClearedIsHard,
}

/// The same page says that "only a callout veto" blocks a hard permit, and that a "block" returned by "the
/// filter" when the right was reset is a veto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HardPermit {
    /// The block of a callout.
    YieldsToCallouts,
    /// The block of any filter of a lower sublayer.
    YieldsToAnyBlock,
}

/// The table of defaults contains soft blocks of callouts; the basic policy says that a block is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CalloutBlock {
    /// A lower sublayer's permit overrides it.
    Soft,
    /// It is final.
    Hard,
}

/// The pages about filters and conditions contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SameField {
    /// All must hold.
    All,
    /// Of adjacent ones, one must hold.
    AnyOfNeighbours,
    /// Such a filter can't be added (`FWP_E_DUPLICATE_CONDITION`).
    Refused,
}

/// This is not documented; weights computed by Windows are often equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EqualWeight {
    /// The one that was added first.
    FirstAdded,
    /// The one that was added last.
    LastAdded,
}

/// Fields can be empty, for instance those of interfaces when a flow is reauthorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NegativeOnEmpty {
    /// "Not equal" holds.
    Holds,
    /// Only "equal to empty" holds.
    Fails,
}

/// This is not documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unmatched {
    /// It is let through.
    Permitted,
    /// It is dropped.
    Blocked,
}

impl Reading {
    /// Every combination of answers.
    pub fn all() -> impl Iterator<Item = Self> {
        let clear_rights = [ClearRight::SetIsHard, ClearRight::ClearedIsHard];
        let hard_permits = [HardPermit::YieldsToCallouts, HardPermit::YieldsToAnyBlock];
        let callout_blocks = [CalloutBlock::Soft, CalloutBlock::Hard];
        let same_fields = [SameField::All, SameField::AnyOfNeighbours, SameField::Refused];
        let equal_weights = [EqualWeight::FirstAdded, EqualWeight::LastAdded];
        let negatives = [NegativeOnEmpty::Holds, NegativeOnEmpty::Fails];
        let unmatched = [Unmatched::Permitted, Unmatched::Blocked];
        let lengths = [
            clear_rights.len(),
            hard_permits.len(),
            callout_blocks.len(),
            same_fields.len(),
            equal_weights.len(),
            negatives.len(),
            unmatched.len(),
        ];
        (0..lengths.iter().product::<usize>()).map(move |number| {
            let mut rest = number;
            let mut next = |length: usize| {
                let digit = rest % length;
                rest /= length;
                digit
            };
            Self {
                clear_right: clear_rights[next(lengths[0])],
                hard_permit: hard_permits[next(lengths[1])],
                callout_block: callout_blocks[next(lengths[2])],
                same_field: same_fields[next(lengths[3])],
                equal_weight: equal_weights[next(lengths[4])],
                negative_on_empty: negatives[next(lengths[5])],
                unmatched: unmatched[next(lengths[6])],
            }
        })
    }

    /// What most products rely on: the flag makes an action hard, only callouts override a hard permit,
    /// adjacent conditions are alternatives, and what no filter matches passes.
    pub const USUAL: Self = Self {
        clear_right: ClearRight::SetIsHard,
        hard_permit: HardPermit::YieldsToCallouts,
        callout_block: CalloutBlock::Soft,
        same_field: SameField::AnyOfNeighbours,
        equal_weight: EqualWeight::FirstAdded,
        negative_on_empty: NegativeOnEmpty::Holds,
        unmatched: Unmatched::Permitted,
    };
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_combination_occurs_once() {
        let all: Vec<Reading> = Reading::all().collect();
        assert_eq!(all.len(), 192);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 192);
        assert!(all.contains(&Reading::USUAL));
    }
}
