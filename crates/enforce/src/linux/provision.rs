//! Makes nftables available where the configuration allows it.

use std::time::Duration;

use xshield_host::linux::nftables;

use crate::config::Provisioning;
use crate::run::Run;

/// The time limit of one step of making nftables available.
const PROVISION_LIMIT: Duration = Duration::from_secs(300);

/// If the userland tool can't be installed, enforcement continues.
pub(crate) fn provision(run: &mut Run<'_>) {
    let switch = match run.config.nftables {
        Provisioning::Install => nftables::Switch::On,
        Provisioning::Leave => nftables::Switch::Off,
    };
    let allowed = nftables::Provisioning { module: switch, package: switch, service: switch };
    let observed = nftables::observe(&run.environment.root, &run.host.kernel);
    let steps = nftables::plan(&observed, allowed);
    run.problems.extend(nftables::carry_out(&steps, PROVISION_LIMIT));
}
