//! Follows the platform to new keys, see [`xshield_wire::succession`].

use xshield_host::files::FileError;
use xshield_wire::envelope::Envelope;
use xshield_wire::succession::{self, SuccessionError};
use xshield_wire::trust::to_pem;

use crate::connect;
use crate::problems::problem;
use crate::run::Run;
use crate::trust::Followed;

/// The most retired keys that are remembered, newest first.
const MOST_RETIRED: usize = 8;

/// Why new keys were not accepted.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Refused(#[from] SuccessionError),
    #[error("the platform's new CA certificate can't be used")]
    Ca(#[from] xshield_transport::ConfigError),
    #[error("saving the platform's new trust information failed")]
    Unwritten(#[from] FileError),
}

/// Accepts new keys of the platform if the currently trusted ones vouch for them; returns their number if
/// they are new. They apply from the next run on.
pub(crate) fn follow(run: &mut Run<'_>, shown: &Envelope) -> Option<u64> {
    match try_to_follow(run, shown) {
        Ok(followed) => followed,
        Err(error) => {
            run.problems.push(problem("trust-refused", &error));
            None
        }
    }
}

fn try_to_follow(run: &Run<'_>, shown: &Envelope) -> Result<Option<u64>, FollowError> {
    let config = run.config;
    let new = succession::open(shown, &config.policy_keys)?;
    if config.trust.sequence.is_some_and(|followed| followed >= new.sequence) {
        return Ok(None);
    }
    let ca_pem = to_pem(&new.ca);
    connect::check_ca(config, run.program, &ca_pem)?;
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
    followed.write(&config.state_directory)?;
    Ok(Some(followed.sequence))
}
