//! A platform that wants something older than this host has had was restored from a backup. Nothing
//! older is taken; the platform is shown what it signed since, and numbers above that.

use xshield_wire::envelope::{Envelope, EnvelopeError};
use xshield_wire::message::{CheckInAnswer, Held};
use xshield_wire::{RulesetVersion, Verified};

use crate::client::Connection;
use crate::cycle::Run;
use crate::outcome::RunStatus;

/// What a run shows a platform that is behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Showing {
    /// The platform is not behind, as far as is known.
    #[default]
    Nothing,
    /// To go with the next check-in.
    Next(Box<Held>),
    /// It was shown; once is enough.
    Done,
}

impl Showing {
    /// What goes with the next check-in.
    pub(crate) fn take(&mut self) -> Option<Held> {
        match std::mem::take(self) {
            Self::Next(held) => {
                *self = Self::Done;
                Some(*held)
            }
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Run<'_> {
    /// No ruleset older than this one is taken.
    pub(crate) fn ruleset_floor(&self) -> RulesetVersion {
        let held = self.known_good.as_ref().map(|known| known.ruleset.version());
        self.progress.ruleset_floor().max(held.unwrap_or_default())
    }

    /// No threat order older than this one is taken.
    pub(crate) fn threat_floor(&self) -> u64 {
        let held = self.threat.order().map_or(0, |order| order.sequence);
        self.progress.threat.floor.max(held)
    }

    fn is_behind(&self, answer: &CheckInAnswer) -> bool {
        let ruleset = answer.wanted.map(|wanted| wanted.revision);
        let threat = answer.threat.map(|wanted| wanted.sequence);
        ruleset.is_some_and(|revision| revision < self.ruleset_floor().revision)
            || threat.is_some_and(|sequence| sequence < self.threat_floor())
    }

    /// Lets a platform that is behind catch up; gives back what it wants then.
    pub(crate) fn let_catch_up(&mut self, answer: CheckInAnswer) -> CheckInAnswer {
        if !self.is_behind(&answer) {
            return answer;
        }
        let Some(later) = self.show_what_is_held() else { return answer };
        if !self.is_behind(&later) {
            let text = "the platform had forgotten what this host was told: it was restored from a \
                        backup. It has numbered above what this host has had, and goes on";
            self.note("platform-restored", text.to_owned());
        }
        later
    }

    /// Shows the platform the newest that it signed for this host, once in a run.
    pub(crate) fn show_what_is_held(&mut self) -> Option<CheckInAnswer> {
        let held = self.evidence();
        if self.showing != Showing::Nothing || held == Held::default() {
            return None;
        }
        self.showing = Showing::Next(Box::new(held));
        self.check_in(self.standing(), Connection::Any)
    }

    fn evidence(&self) -> Held {
        let read = |bytes: &[u8]| Envelope::from_bytes(bytes).ok();
        let known = self.known_good.as_ref();
        let label = known.and_then(|known| known.ruleset.label());
        let newest = self.progress.newest_label.as_deref().map(str::as_bytes);
        let order = self.threat.order().map(Verified::envelope);
        let newest_order = self.progress.threat.newest.as_deref().map(str::as_bytes);
        Held {
            ruleset: newest.or(label).and_then(read),
            threat: newest_order.or(order).and_then(read),
        }
    }

    /// The platform stays behind: says so.
    pub(crate) fn stays_behind(&mut self, wanted: &str, floor: &str) {
        self.note(
            "platform-behind",
            format!(
                "the platform wants {wanted}, and this host has had {floor}: the platform was \
                 restored from an older backup, and did not take what this host showed it. What is \
                 enforced stays. Upgrade the platform, or commit the policy until its number is \
                 above: xshield policy synchronize"
            ),
        );
    }

    /// A ruleset can't be taken.
    pub(crate) fn refuse_ruleset(&mut self, error: &EnvelopeError) {
        self.failure = Some(RunStatus::RulesetRefused);
        match error {
            EnvelopeError::Older { got, floor } => {
                self.stays_behind(&got.to_string(), &floor.to_string());
            }
            other => self.outcome.problems.push(crate::state::problem("ruleset-refused", other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_goes_with_one_check_in() {
        let mut showing = Showing::Nothing;
        assert_eq!(showing.take(), None);
        assert_eq!(showing, Showing::Nothing);
        showing = Showing::Next(Box::default());
        assert_eq!(showing.take(), Some(Held::default()));
        assert_eq!((showing.take(), showing), (None, Showing::Done));
    }
}
