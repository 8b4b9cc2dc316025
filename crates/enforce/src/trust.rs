//! Whom this host trusts: what its configuration pins, or what took the place of that when the platform
//! changed its keys (see [`xshield_wire::succession`]).
//!
//! What was followed counts for as long as the configuration stays what it was: another one begins anew.

use std::path::Path;

use serde::{Deserialize, Serialize};
use xshield_host::files::{self, FileError};
use xshield_wire::keys::PolicyPublicKey;
use xshield_wire::message::{Problem, VERSION};
use xshield_wire::trust::{Der, PublicTrust};

use crate::problems::problem;

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
    pub(crate) pins: String,
    /// Why what was followed could not be read.
    pub(crate) problem: Option<Problem>,
}

/// What was followed, as it lies on disk.
#[derive(Serialize, Deserialize)]
pub(crate) struct Followed {
    /// Of the pins that it took the place of.
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

/// What a configuration pins, in a text that is another one for other pins.
fn pins(ca_pem: &str, policy_keys: &[PolicyPublicKey]) -> String {
    let ca = vec![Der(ca_pem.as_bytes().to_vec())];
    PublicTrust { version: VERSION, ca, policy_keys: policy_keys.to_vec() }.digest().to_string()
}

/// Puts what was followed in the place of what a configuration pins. `directory`: where state is kept.
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
