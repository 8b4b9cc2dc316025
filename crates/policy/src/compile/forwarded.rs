//! Combines the documents' settings for forwarded traffic.

use crate::document::Stance;
use crate::forward::{Forwarded, ForwardedRules, ForwardedStance};
use crate::level::Mode;

/// The settings of both directions. By default forwarded traffic is not judged.
#[derive(Default)]
pub(super) struct AssetForwarded {
    /// Whether any document has a setting.
    said: bool,
    inbound: Said,
    outbound: Said,
}

#[derive(Default)]
struct Said {
    enforced: Forwarded,
    tested: Forwarded,
}

/// Whether the setting of a document is enforced inbound and outbound, like the document itself.
pub(super) struct Enforced {
    pub(super) inbound: bool,
    pub(super) outbound: bool,
}

impl Enforced {
    /// A document without a direction's stance does not test there.
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
    /// Adds a segment: the strictest setting of each stance counts.
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

    /// The asset's own document overrides the stance that it sets.
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

    /// `None` if no document has a setting.
    pub(super) fn rules(&self) -> Option<ForwardedRules> {
        let stance = |said: &Said| ForwardedStance::new(said.enforced, said.tested);
        let rules =
            ForwardedRules { inbound: stance(&self.inbound), outbound: stance(&self.outbound) };
        self.said.then_some(rules)
    }
}
