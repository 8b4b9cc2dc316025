//! Notifications after a committed change.

use xshield_policy::AssetId;

/// Notifies the rest of the platform of changes. Spurious signals do no harm: the receiver checks what is
/// new.
pub trait Signals: Send + Sync {
    /// Something may be new for this asset: its open poll is answered.
    fn wake_host(&self, asset: &AssetId);
    /// Another policy is committed: whatever depends on it is recomputed.
    fn policy_committed(&self);
}
