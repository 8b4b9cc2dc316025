//! The stance of one asset: what its segments and its own document say about each direction.

use std::collections::BTreeMap;

use super::forwarded::AssetForwarded;
use crate::document::{Stance, Template};
use crate::level::{InboundLevel, Mode, OutboundLevel};
use crate::names::Name;
use crate::ruleset::{DirectionRules, StanceRules};

/// Both directions. Without any word from the operator: unsecured.
#[derive(Default)]
pub(super) struct AssetStance<'a> {
    pub(super) inbound: DirectionStance<'a, InboundLevel>,
    pub(super) outbound: DirectionStance<'a, OutboundLevel>,
    pub(super) forwarded: AssetForwarded,
}

/// What is enforced in one direction, and what would be if nothing were in mode `test`.
#[derive(Default)]
pub(super) struct DirectionStance<'a, Level> {
    pub(super) enforced: Attached<'a, Level>,
    pub(super) tested: Attached<'a, Level>,
}

/// A level and the templates whose rules count with it.
#[derive(Default)]
pub(super) struct Attached<'a, Level> {
    pub(super) level: Level,
    pub(super) templates: BTreeMap<&'a Name, &'a Template>,
}

impl<'a, Level: Copy + Ord> DirectionStance<'a, Level> {
    /// One more segment: the strictest level of each stance counts. What a segment tests is part of the
    /// tested stance alone, so it changes nothing of what is enforced.
    pub(super) fn take(&mut self, stance: Option<Stance<Level>>) {
        let Some(stance) = stance else { return };
        if let Some(level) = stance.enforced() {
            self.enforced.level = self.enforced.level.max(level);
        }
        self.tested.level = self.tested.level.max(stance.tested());
    }

    /// The asset's own document has the last word: in mode `enforce` about both stances, in mode `test`
    /// about the tested one.
    pub(super) fn replace(&mut self, stance: Option<Stance<Level>>) {
        let Some(stance) = stance else { return };
        if let Some(level) = stance.enforced() {
            self.enforced.level = level;
        }
        self.tested.level = stance.tested();
    }

    /// A template counts in the stance of the document that attaches it. Where that document does not
    /// speak of the direction, the template's rules are enforced.
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

    /// Whether the tested level shows nothing, being below the enforced one.
    pub(super) fn tests_less(&self) -> bool {
        self.tested.level < self.enforced.level
    }

    /// The rules of both stances; no tested ones where they are the enforced ones.
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
