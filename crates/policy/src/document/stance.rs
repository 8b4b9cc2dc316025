//! The stance of a segment or asset document for one direction.

use serde::{Deserialize, Serialize};

use crate::level::Mode;

/// A level and its mode, and optionally a stricter level that is tested above it: `{ level:
/// secure-internet-ports, mode: enforce, test: secure-all-ports }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StanceForm<Level>")]
#[serde(bound(
    deserialize = "Level: Copy + Ord + Deserialize<'de>",
    serialize = "Level: Serialize"
))]
pub struct Stance<Level> {
    /// The level.
    pub level: Level,
    /// Whether denials drop packets. Required, since neither value is a safe default.
    pub mode: Mode,
    /// A stricter level, in mode `test`, while `level` is enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Level>,
}

/// Why a tested level was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "'test' names a level above the enforced one: expected mode 'enforce', and in 'test' a stricter \
     level than in 'level'"
)]
pub struct NotStricter;

impl<Level: Copy + Ord> Stance<Level> {
    /// A level with its mode.
    pub fn new(level: Level, mode: Mode) -> Self {
        Self { level, mode, test: None }
    }

    /// The enforced level; `None` if there is only a tested one.
    pub(crate) fn enforced(self) -> Option<Level> {
        (self.mode == Mode::Enforce).then_some(self.level)
    }

    /// The level that would be enforced if everything in mode `test` were enforced.
    pub(crate) fn tested(self) -> Level {
        self.test.unwrap_or(self.level)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StanceForm<Level> {
    level: Level,
    mode: Mode,
    #[serde(default = "Option::default")]
    test: Option<Level>,
}

impl<Level: Copy + Ord> TryFrom<StanceForm<Level>> for Stance<Level> {
    type Error = NotStricter;

    fn try_from(StanceForm { level, mode, test }: StanceForm<Level>) -> Result<Self, NotStricter> {
        match test {
            Some(tested) if mode == Mode::Test || tested <= level => Err(NotStricter),
            test => Ok(Self { level, mode, test }),
        }
    }
}
