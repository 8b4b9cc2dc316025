//! What operations set off: held polls are answered, jobs look again.

use xshield_operations::Signals;
use xshield_policy::AssetId;

use crate::state::Platform;

impl Signals for Platform {
    fn wake_host(&self, asset: &AssetId) {
        self.held_polls.wake(asset);
    }

    fn policy_committed(&self) {
        self.configuring.changed();
        self.threat.changed();
    }
}
