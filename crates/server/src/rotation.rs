//! Rotation of the policy key and the CA: old and new overlap until every host has learned of the new ones
//! from the old ([`xshield_wire::succession`]).
//!
//! | step | files | hosts trust, signed by | the platform signs with |
//! |---|---|---|---|
//! | `begin` | `next-policy.key`, `next-ca.key`, `next-ca.pem` are created | old and new; the old key | the old |
//! | `finish` | they replace the old ones | only the new; both keys | the new |
//! | `cancel` | they are removed | only the old; the old key | the old |
//!
//! Each step is done once `trust.json` is written; files left by an interruption are corrected at the next
//! start.

use std::path::Path;

use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use xshield_model::Timestamp;
use xshield_store::audit::NewAuditEntry;
use xshield_store::{Store, StoreError, assets, audit, commit};
use xshield_wire::PolicyKey;
use xshield_wire::envelope::Envelope;
use xshield_wire::succession::{self, Succession};
use xshield_wire::trust::Der;

use crate::keys::{DataDir, KeyError};
use crate::platform_key::PlatformKey;
use crate::tls;

/// The file with what hosts trust.
const TOLD: &str = "trust.json";
/// The number of hosts to list when the rotation is finished too early.
const NAMED: u32 = 20;

/// The pending files.
const NEXT_POLICY: &str = "next-policy.key";
const NEXT_CA_KEY: &str = "next-ca.key";
const NEXT_CA: &str = "next-ca.pem";

/// The step to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Create new keys and announce them to hosts.
    Begin,
    /// Use only the new keys.
    Finish {
        /// Also when hosts have not learned of them: these lose their connection.
        leaving_hosts_behind: bool,
    },
    /// Keep only the old keys.
    Cancel,
}

/// Why a step is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// There is no rotation.
    #[error("no rotation is in progress; begin one with: xshield admin rotate-keys begin")]
    NotBegun,
    /// There is one already.
    #[error(
        "a rotation is already in progress; end it with: xshield admin rotate-keys finish, or \
         cancel"
    )]
    Begun,
    /// Hosts would lose their connection.
    #[error(
        "{count} hosts do not know the new keys yet and would lose their connection: {names}. \
         Start the platform and wait until they have checked in, or decommission them; or use \
         --leave-hosts-behind, and give them a new configuration"
    )]
    LaggingAssets {
        /// Their number.
        count: u64,
        /// The first of them.
        names: String,
    },
    /// Keys, certificates or the data directory.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What hosts are currently told.
#[derive(Debug, Clone)]
pub struct Told {
    /// As sent.
    pub envelope: Envelope,
    /// The content.
    pub succession: Succession,
}

impl Told {
    /// What was last announced; `None` for the first keys. Completes an interrupted step first.
    ///
    /// # Errors
    /// When a file can't be read or moved, or is damaged.
    pub(crate) fn open(dir: &DataDir) -> Result<Option<Self>, KeyError> {
        let Some(text) = dir.read(TOLD)? else { return Ok(None) };
        let damaged = |reason: String| KeyError::Damaged { path: dir.file(TOLD), reason };
        let envelope = Envelope::from_bytes(text.as_bytes()).map_err(|e| damaged(e.to_string()))?;
        let succession = succession::peek(&envelope).map_err(|error| damaged(error.to_string()))?;
        let told = Self { envelope, succession };
        if !told.is_overlap() {
            told.settle(dir)?;
        }
        Ok(Some(told))
    }

    /// Whether old and new are both trusted.
    #[must_use]
    pub fn is_overlap(&self) -> bool {
        self.succession.policy_keys.len() > 1
    }

    /// Moves or removes the pending files, as decided.
    fn settle(&self, dir: &DataDir) -> Result<(), KeyError> {
        if let Some(next) = dir.policy_key_in(NEXT_POLICY)? {
            match self.succession.policy_keys.contains(&next.public()) {
                true => dir.rename(NEXT_POLICY, PlatformKey::Policy.file())?,
                false => dir.remove(NEXT_POLICY)?,
            }
        }
        if let Some(pem) = dir.read(NEXT_CA)? {
            // The certificate is moved last: while it is pending, its key may be, too.
            if self.succession.ca.contains(&der_of(dir, NEXT_CA, &pem)?) {
                if dir.read(NEXT_CA_KEY)?.is_some() {
                    dir.rename(NEXT_CA_KEY, PlatformKey::Ca.file())?;
                }
                dir.rename(NEXT_CA, tls::CA)?;
            } else {
                dir.remove(NEXT_CA_KEY)?;
                dir.remove(NEXT_CA)?;
            }
        }
        Ok(())
    }
}

fn der_of(dir: &DataDir, name: &str, pem: &str) -> Result<Der, KeyError> {
    let read = CertificateDer::from_pem_slice(pem.as_bytes());
    let read = read
        .map_err(|error| KeyError::Damaged { path: dir.file(name), reason: error.to_string() })?;
    Ok(Der(read.to_vec()))
}

/// A policy key and a CA, current or pending.
struct Pair {
    policy: PolicyKey,
    ca: Der,
}

fn current(dir: &DataDir) -> Result<Pair, KeyError> {
    let missing = |key| dir.missing(key);
    let file = PlatformKey::Policy.file();
    let policy = dir.policy_key_in(file)?.ok_or_else(|| missing(PlatformKey::Policy))?;
    let pem = dir.read(tls::CA)?.ok_or_else(|| missing(PlatformKey::Ca))?;
    Ok(Pair { policy, ca: der_of(dir, tls::CA, &pem)? })
}

/// The pending keys, created if missing.
fn next(dir: &DataDir, now: Timestamp) -> Result<Pair, KeyError> {
    let policy = match dir.policy_key_in(NEXT_POLICY)? {
        Some(known) => known,
        None => dir.make_policy_key_in(NEXT_POLICY)?,
    };
    let key = match dir.read(NEXT_CA_KEY)? {
        Some(known) => known,
        None => {
            let made = KeyPair::generate()?.serialize_pem();
            dir.write(NEXT_CA_KEY, &made)?;
            made
        }
    };
    let pem = match dir.read(NEXT_CA)? {
        Some(known) => known,
        None => {
            let made = tls::self_signed(&KeyPair::from_pem(&key)?, now)?;
            dir.write(NEXT_CA, &made)?;
            made
        }
    };
    Ok(Pair { policy, ca: der_of(dir, NEXT_CA, &pem)? })
}

/// Takes a step while the platform does not run; returns a message about it.
///
/// # Errors
/// See [`RotationError`].
pub async fn take(path: &Path, step: Step) -> Result<String, RotationError> {
    let now = Timestamp::now();
    let dir = DataDir::open_existing(path)?;
    let told = Told::open(&dir)?;
    let begun = told.as_ref().filter(|told| told.is_overlap());
    let sequence = told.as_ref().map_or(0, |told| told.succession.sequence);
    let store = Store::open(&dir.file(DataDir::DATABASE)).await?;
    let old = current(&dir)?;
    let tell = |keys: &[&PolicyKey], ca: Vec<Der>| {
        let policy_keys = keys.iter().map(|key| key.public()).collect();
        Succession { sequence: sequence + 1, ca, policy_keys }
    };
    let (action, succession, signers, done) = match (step, begun) {
        (Step::Begin, Some(_)) => return Err(RotationError::Begun),
        (Step::Begin, None) => {
            let new = next(&dir, now)?;
            let both = tell(&[&old.policy, &new.policy], vec![old.ca, new.ca]);
            let done = "new keys are created; the old ones stay in use while hosts learn of the \
                 new ones. Start the platform; xshield health lists the hosts that do not know \
                 them yet. Then: xshield admin rotate-keys finish";
            ("platform.rotation-begun", both, vec![old.policy], done.to_owned())
        }
        (_, None) => return Err(RotationError::NotBegun),
        (Step::Finish { leaving_hosts_behind }, Some(_)) => {
            let mut conn = store.read().await?;
            let behind = assets::lagging(&mut conn, sequence, NAMED).await?;
            if behind.count > 0 && !leaving_hosts_behind {
                let names = behind.first.join(", ");
                return Err(RotationError::LaggingAssets { count: behind.count, names });
            }
            let new = next(&dir, now)?;
            let alone = tell(&[&new.policy], vec![new.ca]);
            let done = format!(
                "only the new keys are in use; {} hosts were left behind. Sign in again with the \
                 CA's new fingerprint, create new deployment keys and host configurations for \
                 new hosts, and back up the data directory",
                behind.count
            );
            ("platform.rotation-finished", alone, vec![old.policy, new.policy], done)
        }
        (Step::Cancel, Some(_)) => {
            let alone = tell(&[&old.policy], vec![old.ca]);
            let done = "only the old keys are in use; the new ones are removed".to_owned();
            ("platform.rotation-cancelled", alone, vec![old.policy], done)
        }
    };
    let signers: Vec<&PolicyKey> = signers.iter().collect();
    let unwritten = |error: serde_json::Error| KeyError::Damaged {
        path: dir.file(TOLD),
        reason: error.to_string(),
    };
    let envelope = succession::seal(&signers, &succession).map_err(unwritten)?;
    let text = String::from_utf8_lossy(&envelope.to_bytes()).into_owned();
    dir.write(TOLD, &text)?;
    Told::open(&dir)?;
    let mut tx = store.write().await?;
    let new_entry = NewAuditEntry {
        actor: "platform",
        action,
        target: "keys",
        before: format!("succession {sequence}"),
        after: format!("succession {}, on the platform's machine: {done}", succession.sequence),
    };
    audit::record(&mut tx, new_entry, now).await?;
    commit(tx).await?;
    store.close().await;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;
    use crate::tls::Tls;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    /// A platform that was started once.
    async fn platform(path: &Path) -> (DataDir, Vec<u8>, String) {
        let dir = DataDir::open(path).unwrap();
        let (policy, ca) = held(&dir);
        Store::open(&dir.file(DataDir::DATABASE)).await.unwrap().close().await;
        (dir, policy, ca)
    }

    fn held(dir: &DataDir) -> (Vec<u8>, String) {
        let policy = Keys::open(dir).unwrap().policy.public().as_bytes().to_vec();
        let tls = Tls::open(dir, vec!["a.example".to_owned()], NOW).unwrap();
        (policy, tls.ca_pem().to_owned())
    }

    fn waits(dir: &DataDir) -> bool {
        [NEXT_POLICY, NEXT_CA_KEY, NEXT_CA].iter().any(|name| dir.file(name).exists())
    }

    #[tokio::test]
    async fn old_and_new_keys_overlap_until_the_new_ones_take_over() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, policy, ca) = platform(temp.path()).await;
        drop(dir);
        let finish = Step::Finish { leaving_hosts_behind: false };
        for (step, refused) in [(finish, true), (Step::Cancel, true), (Step::Begin, false)] {
            assert_eq!(take(temp.path(), step).await.is_err(), refused, "{step:?}");
        }
        assert!(take(temp.path(), Step::Begin).await.is_err(), "twice");
        let dir = DataDir::open(temp.path()).unwrap();
        assert_eq!(held(&dir), (policy.clone(), ca.clone()), "the old ones are in use");
        let begun = Told::open(&dir).unwrap().unwrap();
        assert_eq!((begun.succession.sequence, begun.succession.ca.len()), (1, 2));
        drop(dir);

        // Cancelled: nothing is left, and hosts are told so.
        take(temp.path(), Step::Cancel).await.unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        assert!(!waits(&dir));
        assert_eq!(Told::open(&dir).unwrap().unwrap().succession.policy_keys.len(), 1);
        assert_eq!(held(&dir), (policy.clone(), ca.clone()));
        drop(dir);

        take(temp.path(), Step::Begin).await.unwrap();
        take(temp.path(), finish).await.unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let told = Told::open(&dir).unwrap().unwrap();
        let (new_policy, new_ca) = held(&dir);
        assert!(new_policy != policy && new_ca != ca && !waits(&dir));
        assert_eq!(told.succession.sequence, 4);
        assert_eq!(told.succession.policy_keys[0].as_bytes().to_vec(), new_policy);
    }

    /// Interrupted after the decision, before or while the files were moved.
    #[tokio::test]
    async fn a_requested_step_is_carried_out_at_the_next_start() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, ..) = platform(temp.path()).await;
        drop(dir);
        take(temp.path(), Step::Begin).await.unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let files = [NEXT_POLICY, NEXT_CA_KEY, NEXT_CA, "policy.key", "ca.key", "ca.pem", TOLD];
        let kept: Vec<_> = files.map(|name| dir.read(name).unwrap().unwrap()).into();
        drop(dir);
        let finish = Step::Finish { leaving_hosts_behind: false };
        take(temp.path(), finish).await.unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let done = held(&dir);
        for moved in 0..3 {
            // As before the files were moved, and then with some of them moved.
            files.iter().zip(&kept).take(6).for_each(|(name, text)| dir.write(name, text).unwrap());
            for (from, to) in [(0, 3), (1, 4), (2, 5)].into_iter().take(moved) {
                dir.rename(files[from], files[to]).unwrap();
            }
            Told::open(&dir).unwrap();
            assert_eq!(held(&dir), done, "{moved} moved");
            assert!(!waits(&dir));
        }
    }
}
