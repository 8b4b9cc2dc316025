//! Operations of a host program besides the cycle: status, restore, remove.

use serde::Serialize;
pub use xshield_firewall::Explanation;
use xshield_firewall::FirewallError;
use xshield_host::identity::Identity;
use xshield_host::lock;
use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::{InForce, Problem, UnixSeconds};
use xshield_wire::threat::ListName;

use crate::config::Config;
use crate::core::known_good::LastKnownGood;
use crate::environment::RunEnvironment;
use crate::os::{self, preflight};
use crate::problems::problem;
use crate::routes::RouteReport;
use crate::state::StateDirectory;
use crate::summary::PolicySummary;
use crate::threat;
use crate::threat::verbs::ThreatStatus;
pub use crate::verb_error::VerbError;

/// The state of this host, from the kernel and the state directory.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    /// The name under which this host registers.
    pub name: String,
    /// The fingerprint of this host's identity key; `None` before the first run.
    pub fingerprint: Option<IdentityFingerprint>,
    /// The state of table `inet xshield`, as text.
    pub kernel: String,
    /// The last-known-good ruleset.
    pub last_known_good: Option<InForce>,
    /// A summary of that ruleset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicySummary>,
    /// When the platform was last reached.
    pub last_contact: Option<UnixSeconds>,
    /// When a run last ended.
    pub last_run: Option<UnixSeconds>,
    /// The state of the threat list.
    pub threat: ThreatStatus,
    /// The routes to the platform in the configured order, as the last run found them.
    pub routes: Vec<RouteReport>,
    /// The problems of the last run, and of the state files.
    pub problems: Vec<Problem>,
}

/// Reads the state of this host. Changes nothing.
///
/// # Errors
/// When the kernel or the state directory can't be read.
pub fn status(config: &Config) -> Result<StatusReport, VerbError> {
    let state = open(config)?;
    let mut problems = Vec::new();
    let progress = state.progress(&mut problems)?;
    let known = state.last_known_good(&config.keys_of_stored(), &mut problems)?;
    let threat = threat::verbs::status(&state, config, &progress.threat, &mut problems)?;
    problems.extend(progress.problems);
    let fingerprint = match Identity::load(&state.path("identity.key")) {
        Ok(identity) => identity.map(|own| IdentityFingerprint::of(&own.key().public())),
        Err(error) => {
            problems.push(problem("failed", &error));
            None
        }
    };
    let kernel = os::open_firewall()?.state()?.to_string();
    Ok(StatusReport {
        name: config.host_name(&os::this_system()),
        fingerprint,
        kernel,
        policy: known.as_ref().map(|known| PolicySummary::of(&known.ruleset)),
        last_known_good: known.map(|known| known.ruleset.in_force()),
        last_contact: progress.last_contact,
        last_run: progress.last_run,
        threat,
        routes: progress.routes,
        problems,
    })
}

/// What was restored.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// The last-known-good ruleset, if there is one.
    #[serde(flatten)]
    pub policy: Option<InForce>,
    /// The threat list, if there is one.
    pub threat: Option<ListName>,
}

/// Puts the last-known-good ruleset and the threat list into the kernel without contacting the platform: at
/// boot. A failure with one of them does not affect the other.
///
/// # Errors
/// When there is nothing to restore, firewalld is on the host, or the kernel refuses.
pub fn restore(config: &Config, environment: &RunEnvironment) -> Result<Restored, VerbError> {
    if preflight::is_managed_by_another(&environment.root) {
        return Err(VerbError::Firewalld);
    }
    let state = open(config)?;
    let _lock = lock::try_lock(&state.path("lock"))?.ok_or(VerbError::Busy)?;
    let mut problems = Vec::new();
    let known = state.last_known_good(&config.keys_of_stored(), &mut problems)?;
    let policy = known.as_ref().map_or(Ok(()), restore_ruleset);
    let threat = threat::verbs::restore(&state, config, known.as_ref(), &mut problems);
    policy?;
    let restored =
        Restored { policy: known.map(|known| known.ruleset.in_force()), threat: threat? };
    if restored.policy.is_none() && restored.threat.is_none() {
        let reasons = problems.into_iter().map(|problem| problem.text).collect();
        return Err(VerbError::NothingToRestore { reasons });
    }
    Ok(restored)
}

/// Restores the last-known-good ruleset without contacting the platform: at boot, before the network is up.
fn restore_ruleset(known: &LastKnownGood) -> Result<(), FirewallError> {
    let mut firewall = os::open_firewall()?;
    let plan = known.plan(&firewall)?;
    firewall.apply_now(&plan)
}

/// Removes our tables, units and state, and nothing else.
///
/// # Errors
/// What could not be removed; the rest may already be gone.
pub fn remove(config: &Config, environment: &RunEnvironment) -> Result<(), VerbError> {
    let state = open(config)?;
    let lock = lock::try_lock(&state.path("lock"))?.ok_or(VerbError::Busy)?;
    os::remove_boot_unit(config, &environment.root)?;
    os::open_firewall()?.remove()?;
    os::open_threat_table()?.remove()?;
    let path = config.state_directory.clone();
    state.remove().map_err(|source| VerbError::StateDirectory { path, source })?;
    drop(lock);
    Ok(())
}

pub(crate) fn open(config: &Config) -> Result<StateDirectory, VerbError> {
    let path = &config.state_directory;
    StateDirectory::open(path)
        .map_err(|source| VerbError::StateDirectory { path: path.clone(), source })
}
