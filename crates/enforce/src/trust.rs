//! The keys that this host trusts: those pinned in its configuration, or those that replaced them when the
//! platform changed its keys (see [`xshield_wire::succession`]).
//!
//! Replaced keys apply as long as the configuration is unchanged; a changed configuration starts again with
//! its own.

use std::path::Path;

use serde::{Deserialize, Serialize};
use xshield_host::files::{self, FileError};
use xshield_wire::keys::PolicyPublicKey;
use xshield_wire::message::{Problem, VERSION};
use xshield_wire::trust::{Der, PublicTrust};

use crate::problems::problem;

/// The file in the state directory.
const FILE: &str = "trust";

/// The origin of a configuration's trusted keys.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The last key change that was followed.
    pub sequence: Option<u64>,
    /// Keys that are no longer trusted; what is stored on this host's own disk may still be signed by them.
    pub retired: Vec<PolicyPublicKey>,
    /// The pins of the configuration itself.
    pub(crate) pins: String,
    /// Why the stored keys could not be read.
    pub(crate) problem: Option<Problem>,
}

/// The replaced keys on disk.
#[derive(Serialize, Deserialize)]
pub(crate) struct Followed {
    /// The pins that they replaced.
    pub(crate) pins: String,
    pub(crate) sequence: u64,
    pub(crate) ca_pem: String,
    pub(crate) policy_keys: Vec<PolicyPublicKey>,
    pub(crate) retired: Vec<PolicyPublicKey>,
}

impl Followed {
    pub(crate) fn write(&self, directory: &Path) -> Result<(), FileError> {
        files::write_state(&directory.join(FILE), self)
    }
}

/// The pins of a configuration as a text that differs for different pins.
fn pins(ca_pem: &str, policy_keys: &[PolicyPublicKey]) -> String {
    let ca = vec![Der(ca_pem.as_bytes().to_vec())];
    PublicTrust { version: VERSION, ca, policy_keys: policy_keys.to_vec() }.digest().to_string()
}

/// Replaces the pinned keys of a configuration by the stored ones. `directory`: where state is kept.
pub(crate) fn apply(
    ca_pem: &mut String,
    policy_keys: &mut Vec<PolicyPublicKey>,
    directory: &Path,
) -> Trust {
    let pins = pins(ca_pem, policy_keys);
    let followed: Result<Option<Followed>, FileError> = files::read_state(&directory.join(FILE));
    match followed {
        Ok(Some(followed)) if followed.pins == pins => {
            *ca_pem = followed.ca_pem;
            *policy_keys = followed.policy_keys;
            let (sequence, retired) = (Some(followed.sequence), followed.retired);
            Trust { sequence, retired, pins, problem: None }
        }
        Ok(_) => Trust { pins, ..Trust::default() },
        Err(error) => {
            let problem = Some(problem("state-damaged", &error));
            Trust { pins, problem, ..Trust::default() }
        }
    }
}
