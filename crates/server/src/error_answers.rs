//! Responses for failures of the threat engine.

use crate::problem::Problem;
use xshield_intelligence::error::ThreatError;
use xshield_intelligence::feed::InvalidSetting;

impl From<ThreatError> for Problem {
    fn from(error: ThreatError) -> Self {
        Self::internal(&error)
    }
}

impl From<InvalidSetting> for Problem {
    fn from(InvalidSetting { field, reason }: InvalidSetting) -> Self {
        Self::invalid(field, reason)
    }
}
