//! What documents say about forwarded traffic, taken together.

use crate::document::Stance;
use crate::forward::{Forwarded, ForwardedRules, ForwardedStance};
use crate::level::Mode;

/// Both directions. Without any word from the operator: left alone.
#[derive(Default)]
pub(super) struct AssetForwarded {
    /// Whether any document says something.
    said: bool,
    inbound: Said,
    outbound: Said,
}

#[derive(Default)]
struct Said {
    enforced: Forwarded,
    tested: Forwarded,
}

/// Whether the setting of a document is enforced inbound and outbound: where the document itself is.
pub(super) struct Enforced {
    pub(super) inbound: bool,
    pub(super) outbound: bool,
}

impl Enforced {
    /// A document that does not speak of a direction does not test there.
    pub(super) fn of<In, Out>(
        inbound: Option<&Stance<In>>,
        outbound: Option<&Stance<Out>>,
    ) -> Self {
        Self {
            inbound: inbound.is_none_or(|stance| stance.mode == Mode::Enforce),
            outbound: outbound.is_none_or(|stance| stance.mode == Mode::Enforce),
        }
    }
}

impl AssetForwarded {
    /// One more segment: the strictest setting of each stance counts.
    pub(super) fn take(&mut self, setting: Option<Forwarded>, by: &Enforced) {
        let Some(setting) = setting else { return };
        self.said = true;
        for (said, enforced) in self.directions(by) {
            if enforced {
                said.enforced = said.enforced.max(setting);
            }
            said.tested = said.tested.max(setting);
        }
    }

    /// The asset's own document has the last word about the stance that it speaks of.
    pub(super) fn replace(&mut self, setting: Option<Forwarded>, by: &Enforced) {
        let Some(setting) = setting else { return };
        self.said = true;
        for (said, enforced) in self.directions(by) {
            if enforced {
                said.enforced = setting;
            }
            said.tested = setting;
        }
    }

    fn directions(&mut self, by: &Enforced) -> [(&mut Said, bool); 2] {
        [(&mut self.inbound, by.inbound), (&mut self.outbound, by.outbound)]
    }

    /// `None`: no document says anything.
    pub(super) fn rules(&self) -> Option<ForwardedRules> {
        let stance = |said: &Said| ForwardedStance::new(said.enforced, said.tested);
        let rules =
            ForwardedRules { inbound: stance(&self.inbound), outbound: stance(&self.outbound) };
        self.said.then_some(rules)
    }
}
