//! The stance of one asset: the settings of its segments and its own document for each direction.

use std::collections::BTreeMap;

use super::forwarded::AssetForwarded;
use crate::document::{Stance, Template};
use crate::level::{InboundLevel, Mode, OutboundLevel};
use crate::names::Name;
use crate::ruleset::{DirectionRules, StanceRules};

/// Both directions. Without any setting: unsecured.
#[derive(Default)]
pub(super) struct AssetStance<'a> {
    pub(super) inbound: DirectionStance<'a, InboundLevel>,
    pub(super) outbound: DirectionStance<'a, OutboundLevel>,
    pub(super) forwarded: AssetForwarded,
}

/// What is enforced in one direction, and what would be if everything in mode `test` were enforced.
#[derive(Default)]
pub(super) struct DirectionStance<'a, Level> {
    pub(super) enforced: Attached<'a, Level>,
    pub(super) tested: Attached<'a, Level>,
}

/// A level, and the templates whose rules are effective with it.
#[derive(Default)]
pub(super) struct Attached<'a, Level> {
    pub(super) level: Level,
    pub(super) templates: BTreeMap<&'a Name, &'a Template>,
}

impl<'a, Level: Copy + Ord> DirectionStance<'a, Level> {
    /// Adds a segment: the strictest level of each stance counts. What a segment tests only affects the
    /// tested stance.
    pub(super) fn take(&mut self, stance: Option<Stance<Level>>) {
        let Some(stance) = stance else { return };
        if let Some(level) = stance.enforced() {
            self.enforced.level = self.enforced.level.max(level);
        }
        self.tested.level = self.tested.level.max(stance.tested());
    }

    /// The asset's own document overrides: in mode `enforce` both stances, in mode `test` the tested one.
    pub(super) fn replace(&mut self, stance: Option<Stance<Level>>) {
        let Some(stance) = stance else { return };
        if let Some(level) = stance.enforced() {
            self.enforced.level = level;
        }
        self.tested.level = stance.tested();
    }

    /// A template belongs to the stance of the document that attaches it. If that document has no stance for
    /// the direction, the template's rules are enforced.
    pub(super) fn attach(
        &mut self,
        name: &'a Name,
        template: &'a Template,
        by: Option<Stance<Level>>,
    ) {
        if by.is_none_or(|stance| stance.mode == Mode::Enforce) {
            self.enforced.templates.insert(name, template);
        }
        self.tested.templates.insert(name, template);
    }

    /// Whether the tested level has no effect because it is below the enforced one.
    pub(super) fn tests_less(&self) -> bool {
        self.tested.level < self.enforced.level
    }

    /// The rules of both stances; no tested ones if they equal the enforced ones.
    pub(super) fn rules<Error>(
        &self,
        rules: impl Fn(&Attached<'a, Level>) -> Result<StanceRules, Error>,
    ) -> Result<DirectionRules, Error> {
        let enforced = rules(&self.enforced)?;
        // The tested templates are the enforced ones and those in mode `test`.
        let nothing_in_test = self.tested.level == self.enforced.level
            && self.tested.templates.len() == self.enforced.templates.len();
        if nothing_in_test {
            return Ok(DirectionRules { enforced, tested: None });
        }
        let tested = Some(rules(&self.tested)?).filter(|tested| *tested != enforced);
        Ok(DirectionRules { enforced, tested })
    }
}
