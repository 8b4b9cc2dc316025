//! Whom this host trusts since the platform changed its keys, see [`xshield_wire::succession`].
//!
//! What was followed takes the place of what the configuration pins, for as long as that stays what it
//! was: another configuration begins anew.

use std::path::Path;

use serde::{Deserialize, Serialize};
use xshield_host::files::{self, FileError};
use xshield_wire::envelope::Envelope;
use xshield_wire::keys::PolicyPublicKey;
use xshield_wire::message::{Problem, VERSION};
use xshield_wire::succession::{self, SuccessionError};
use xshield_wire::trust::{Der, PublicTrust, to_pem};

use crate::config::Config;
use crate::cycle::Run;
use crate::link;
use crate::state::problem;

/// The file in the state directory.
const FILE: &str = "trust";

/// How a configuration came to whom it trusts.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The succession that was followed last.
    pub sequence: Option<u64>,
    /// Keys that are trusted no more; what lies on this host's own disk may still be signed by them.
    pub retired: Vec<PolicyPublicKey>,
    /// What the configuration itself pins.
    pins: String,
    /// Why what was followed could not be read.
    pub(crate) problem: Option<Problem>,
}

/// What lies on disk.
#[derive(Serialize, Deserialize)]
struct Followed {
    /// Of the pins that it took the place of.
    pins: String,
    sequence: u64,
    ca_pem: String,
    policy_keys: Vec<PolicyPublicKey>,
    retired: Vec<PolicyPublicKey>,
}

/// Why new keys were not followed.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Refused(#[from] SuccessionError),
    #[error("the platform's new CA certificate can't be used")]
    Ca(#[from] xshield_transport::ConfigError),
    #[error("whom to trust from now on could not be written down")]
    Unwritten(#[from] FileError),
}

/// What a configuration pins, in a text that is another one for other pins.
fn pins(ca_pem: &str, policy_keys: &[PolicyPublicKey]) -> String {
    let ca = vec![Der(ca_pem.as_bytes().to_vec())];
    PublicTrust { version: VERSION, ca, policy_keys: policy_keys.to_vec() }.digest().to_string()
}

/// Puts what was followed in the place of what the configuration pins.
pub(crate) fn apply(config: &mut Config) {
    let pins = pins(&config.ca_pem, &config.policy_keys);
    config.trust = Trust { pins: pins.clone(), ..Trust::default() };
    match read(&config.state_directory) {
        Ok(Some(followed)) if followed.pins == pins => {
            config.ca_pem = followed.ca_pem;
            config.policy_keys = followed.policy_keys;
            config.trust.sequence = Some(followed.sequence);
            config.trust.retired = followed.retired;
        }
        Ok(_) => {}
        Err(error) => config.trust.problem = Some(problem("state-damaged", &error)),
    }
}

fn read(directory: &Path) -> Result<Option<Followed>, FileError> {
    files::read_state(&directory.join(FILE))
}

impl Config {
    /// The keys that what lies on this host's disk may be signed with.
    #[must_use]
    pub fn keys_of_stored(&self) -> Vec<PolicyPublicKey> {
        self.policy_keys.iter().chain(&self.trust.retired).cloned().collect()
    }
}

impl Run<'_> {
    /// Follows the platform to other keys, if those that are trusted now vouch for them. They count from
    /// the next run on.
    pub(crate) fn follow(&mut self, shown: &Envelope) {
        match self.try_to_follow(shown) {
            Ok(followed) => self.outcome.heard.followed = followed,
            Err(error) => self.outcome.problems.push(problem("trust-refused", &error)),
        }
    }

    fn try_to_follow(&self, shown: &Envelope) -> Result<Option<u64>, FollowError> {
        let config = self.cycle.config;
        let new = succession::open(shown, &config.policy_keys)?;
        if config.trust.sequence.is_some_and(|followed| followed >= new.sequence) {
            return Ok(None);
        }
        let ca_pem = to_pem(&new.ca);
        link::check_ca(config, &self.cycle.program, &ca_pem)?;
        let mut retired = config.keys_of_stored();
        retired.retain(|key| !new.policy_keys.contains(key));
        retired.truncate(MOST_RETIRED);
        let followed = Followed {
            pins: config.trust.pins.clone(),
            sequence: new.sequence,
            ca_pem,
            policy_keys: new.policy_keys,
            retired,
        };
        files::write_state(&self.state.path(FILE), &followed)?;
        Ok(Some(followed.sequence))
    }
}

/// Retired keys that are remembered; the newest come first.
const MOST_RETIRED: usize = 8;
