//! The mode for traffic with listed peers.

use serde::{Deserialize, Serialize};

/// What happens to flows with listed peers. In all modes except [`ThreatMode::Off`] the same packets match,
/// and the same matches are recorded.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum ThreatMode {
    /// Packets are not looked up.
    Off,
    /// Packets are recorded and passed on to the policy.
    EventOnly,
    /// Packets are recorded and dropped.
    #[default]
    Block,
}

impl ThreatMode {
    /// Its name in documents and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::EventOnly => "event-only",
            Self::Block => "block",
        }
    }
}

impl std::fmt::Display for ThreatMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a threat mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a threat mode; expected block, event-only or off")]
pub struct ThreatModeError(String);

impl std::str::FromStr for ThreatMode {
    type Err = ThreatModeError;

    fn from_str(text: &str) -> Result<Self, ThreatModeError> {
        [Self::Off, Self::EventOnly, Self::Block]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| ThreatModeError(text.to_owned()))
    }
}
