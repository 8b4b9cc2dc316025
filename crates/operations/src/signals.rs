//! Who has to hear of a change once it is committed.

use xshield_policy::AssetId;

/// What runs beside requests, as operations tell it that something has changed. A signal too many does
/// no harm: whoever hears it looks for itself at what is new.
pub trait Signals: Send + Sync {
    /// Something may be new for this asset: its held-open poll is answered.
    fn wake_host(&self, asset: &AssetId);
    /// Another policy is committed: what else depends on it is worked out again.
    fn policy_committed(&self);
}
