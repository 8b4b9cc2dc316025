//! Enforcement keys as the API shows them.

use xshield_api::keys::{Host, Key, KeyState};
use xshield_model::Timestamp;
use xshield_model::key_kind::KeyKind;
use xshield_store::enforcement_keys::{AllowedNetworks, StoredKey};
use xshield_store::enrolment::KeyHost;

/// The state of a key. `warning`: how long before its expiry a key counts as expiring, in seconds.
fn state(key: &StoredKey, warning: i64, now: Timestamp) -> KeyState {
    if key.revoked_at.is_some() {
        KeyState::Revoked
    } else if key.is_used_up() {
        KeyState::UsedUp
    } else if key.has_expired(now) {
        KeyState::Expired
    } else if key.replaced_by.is_some() {
        KeyState::Rotated
    } else if key.kind == KeyKind::Key && key.has_expired(now.plus(warning)) {
        KeyState::Expiring
    } else {
        KeyState::Active
    }
}

/// A key as shown by the API.
pub(super) fn shown(key: StoredKey, hosts: u64, warning: i64, now: Timestamp) -> Key {
    Key {
        state: state(&key, warning, now).into(),
        id: key.id,
        kind: key.kind.into(),
        name: key.name,
        tags: key.tags,
        bound_name: key.admits.name,
        max_registrations: key.admits.most,
        allowed_networks: match key.admits.networks {
            AllowedNetworks::Any => None,
            AllowedNetworks::Only(networks) => Some(networks),
        },
        created_at: key.created_at,
        created_by: key.created_by,
        expires_at: key.expires_at,
        revoked_at: key.revoked_at,
        replaced_by: key.replaced_by,
        registrations: key.uses.registrations,
        last_registered_at: key.uses.last_registered_at,
        hosts,
        last_used_at: key.uses.last_used_at,
        last_used_from: key.uses.last_used_from,
    }
}

/// A host as shown by the API.
pub(super) fn host(host: KeyHost) -> Host {
    let KeyHost { asset, name, last_session, from } = host;
    Host { asset, name, last_session, from }
}
