//! What the policy protects of each asset, and which assets can't be managed.

use std::collections::BTreeMap;

use super::stance::AssetStance;
use super::{Class, CompileError, CompileWarning, Compiler};
use crate::level::Mode;
use crate::names::{AssetId, Name};
use crate::protection::{Closed, Guarded, Level, Protection};
use crate::reach::Intranet;

impl Compiler<'_> {
    /// Assets that can't be managed.
    pub(super) fn unmanaged(&self) -> Vec<CompileWarning> {
        let mut classes: BTreeMap<&Class, Option<Mode>> = BTreeMap::new();
        let mut found: BTreeMap<Mode, (&Name, usize)> = BTreeMap::new();
        for (id, class) in self.placement.classes() {
            let mode = *classes.entry(class).or_insert_with(|| self.unmanaged_in(class));
            let (Some(mode), Some(name)) = (mode, self.placement.name(id)) else { continue };
            let (first, more) = found.entry(mode).or_insert((name, 0));
            if *first != name {
                *first = name.min(first);
                *more += 1;
            }
        }
        let warning = |(mode, (asset, more)): (Mode, (&Name, usize))| CompileWarning::Unmanaged {
            asset: asset.clone(),
            more,
            mode,
        };
        found.into_iter().map(warning).collect()
    }

    /// The mode in which assets of a class can't be managed; `None` if they can.
    fn unmanaged_in(&self, class: &Class) -> Option<Mode> {
        // Compile errors are reported as such.
        if self.protection(class).is_ok_and(|enforced| !enforced.is_managed()) {
            return Some(Mode::Enforce);
        }
        let tested = self.stance(class).inbound.tested;
        let rules = self.inbound(&tested).ok()?;
        let mut protection = self.protection(class).ok()?;
        protection.inbound.rules = rules;
        (!protection.is_managed()).then_some(Mode::Test)
    }

    /// Whether an asset can be managed: a management source is configured, or what is enforced admits someone
    /// by SSH, RDP or WinRM. `None` if there is no such asset, or its policy can't be compiled.
    #[must_use]
    pub fn is_managed(&self, asset: &AssetId) -> Option<bool> {
        let class = self.placement.class(asset)?;
        self.protection(class).ok().map(|protection| protection.is_managed())
    }

    /// The protection of assets of a class, for [`crate::Impact`].
    pub(crate) fn protection(&self, class: &Class) -> Result<Protection, CompileError> {
        let AssetStance { inbound, outbound, forwarded } = self.stance(class);
        let forwarded = forwarded.rules().unwrap_or_default();
        Ok(Protection {
            inbound: Guarded {
                closed: Closed {
                    enforced: Level::Inbound(inbound.enforced.level),
                    tested: Level::Inbound(inbound.tested.level),
                },
                rules: self.inbound(&inbound.enforced)?,
                forwarded: forwarded.inbound.enforced,
            },
            outbound: Guarded {
                closed: Closed {
                    enforced: Level::Outbound(outbound.enforced.level),
                    tested: Level::Outbound(outbound.tested.level),
                },
                rules: self.outbound(&outbound.enforced)?,
                forwarded: forwarded.outbound.enforced,
            },
            is_in_a_segment: !class.segments.is_empty(),
            failsafe: self.failsafe(),
            intranet: Intranet::new(&self.intranet, &self.intranet_domains),
        })
    }
}
