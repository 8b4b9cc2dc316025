//! Why a threat order is not carried out.

use std::error::Error;

use xshield_firewall::FirewallError;
use xshield_firewall::threat::ThreatError;
use xshield_wire::envelope::EnvelopeError;

/// Each names the action that failed. Whatever it is: the list that was in force stays in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ThreatFailure {
    /// The platform can't be asked.
    #[error("the ordered threat list is not on this host yet, and the platform can't be reached")]
    NotHere,
    /// The order can't be trusted.
    #[error("the received threat order was refused; the previous one stays in force")]
    Order(#[from] EnvelopeError),
    /// The platform wants an order older than one that was taken here.
    #[error("the platform wants threat order {wanted}, and this host has had order {floor}")]
    Behind {
        /// The order that it wants.
        wanted: u64,
        /// The newest so far.
        floor: u64,
    },
    /// The files that the platform named don't lead to the list.
    #[error("the files that the platform names for the threat list can't be used: {reason}")]
    Path {
        /// What is wrong.
        reason: &'static str,
    },
    /// Disk, platform or network failed in a way that fetching the whole list may mend.
    #[error(transparent)]
    Unusable(Box<dyn Error + Send + Sync>),
    /// Disk, platform or network failed otherwise.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
    /// The kernel refused.
    #[error(transparent)]
    Table(#[from] ThreatError),
    /// The kernel can't be asked.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
}

impl ThreatFailure {
    /// Whether the change is at fault, or the list that it changes: then the whole list is fetched.
    pub(crate) fn whole_list_may_help(&self) -> bool {
        match self {
            Self::Path { .. } | Self::Unusable(_) => true,
            Self::Table(ThreatError::Unreadable { .. } | ThreatError::Miscounted { .. }) => true,
            Self::NotHere
            | Self::Order(_)
            | Self::Behind { .. }
            | Self::Failed(_)
            | Self::Table(_)
            | Self::Firewall(_) => false,
        }
    }
}
