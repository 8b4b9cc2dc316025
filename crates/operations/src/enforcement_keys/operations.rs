//! Operations on enforcement keys.

use std::collections::BTreeMap;

use xshield_api::keys::{CreatedKey, Host, Key, NewKey, Rotation};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_model::key_kind::KeyKind;
use xshield_model::secrets::Secrets;
use xshield_store::enforcement_keys::{self as stored, StoredKey};
use xshield_store::{Conn, Store, enrolment, identities};

use super::access::Issuer;
use super::made::{Wanted, checked, created, summary};
use super::shown;
use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::error::{OperationError, Result};
use crate::expiry::in_future;
use crate::paging::{Paging, paged};

/// The default overlap after a rotation, in seconds.
const OVERLAP: i64 = 7 * 24 * 3600;
const LONGEST_OVERLAP: i64 = 365 * 24 * 3600;

/// Enforcement keys, by id. `warning`: how long before its expiry a key counts as expiring, in seconds.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    paging: Paging<String>,
    warning: i64,
    now: Timestamp,
) -> Result<Page<Key>> {
    let after = paging.after.clone().unwrap_or_default();
    let keys = stored::list(conn, &after, paging.to_read()).await?;
    let hosts = enrolment::hosts_by_key(conn, keys.iter().map(|key| key.id.as_str())).await?;
    let hosts: BTreeMap<_, _> = hosts.into_iter().collect();
    let show = |key: StoredKey| {
        let hosts = hosts.get(&key.id).copied().unwrap_or(0);
        shown::shown(key, hosts, warning, now)
    };
    Ok(paged(keys, paging.limit, |key| key.id.clone(), show))
}

/// The enforcement key of this id. `warning`: as of [`list`].
///
/// # Errors
/// When there is none, or the database fails.
pub async fn get(conn: &mut Conn, id: &str, warning: i64, now: Timestamp) -> Result<Key> {
    let key = known(conn, id).await?;
    with_hosts(conn, key, warning, now).await
}

async fn with_hosts(conn: &mut Conn, key: StoredKey, warning: i64, now: Timestamp) -> Result<Key> {
    let hosts = enrolment::hosts_by_key(conn, std::iter::once(key.id.as_str())).await?;
    let hosts = hosts.first().map_or(0, |(_, hosts)| *hosts);
    Ok(shown::shown(key, hosts, warning, now))
}

/// The hosts whose last session was set up with a key, by name.
///
/// # Errors
/// When there is no such key, or the database fails.
pub async fn hosts(conn: &mut Conn, id: &str, paging: Paging<String>) -> Result<Page<Host>> {
    known(conn, id).await?;
    let after = paging.after.clone().unwrap_or_default();
    let hosts = enrolment::hosts_of(conn, id, &after, paging.to_read()).await?;
    Ok(paged(hosts, paging.limit, |host| host.name.to_string(), shown::host))
}

async fn known(conn: &mut Conn, id: &str) -> Result<StoredKey> {
    let key = stored::get(conn, id).await?;
    key.ok_or_else(|| OperationError::not_found("enforcement key", id))
}

/// Creates an enforcement key or a registration token.
///
/// # Errors
/// When a value is invalid, or the database fails.
pub async fn create(
    store: &Store,
    issuer: &Issuer<'_, impl Secrets>,
    by: &By<Operator>,
    new: NewKey,
    now: Timestamp,
) -> Result<CreatedKey> {
    let (made, key) = checked(new, now)?.make(issuer.seal, by.actor(), now)?;
    let mut change = AuditedChange::begin(store, by, now).await?;
    stored::insert(&mut change, &made).await?;
    let entry = AuditEntry {
        action: "enforcement-key.create",
        target: &made.id,
        before: String::new(),
        after: summary(&made),
    };
    change.commit(entry).await?;
    Ok(created(issuer, made, key, now))
}

/// Creates the successor of this key; hosts can register with both during the overlap.
///
/// # Errors
/// When there is no such key, it is not active, an end is out of range, or the database fails.
pub async fn rotate(
    store: &Store,
    issuer: &Issuer<'_, impl Secrets>,
    by: &By<Operator>,
    id: &str,
    rotation: Rotation,
    now: Timestamp,
) -> Result<CreatedKey> {
    let overlap = rotation.overlap_seconds.unwrap_or(OVERLAP);
    if !(0..=LONGEST_OVERLAP).contains(&overlap) {
        let reason = format!("not between 0 and {LONGEST_OVERLAP}");
        return Err(OperationError::invalid("/overlap_seconds", reason));
    }
    in_future(rotation.expires_at, now)?;
    let mut change = AuditedChange::begin(store, by, now).await?;
    let old = known(&mut change, id).await?;
    if old.kind == KeyKind::Token {
        let detail = "a registration token is for one host; create a new one instead";
        return Err(OperationError::conflict("key-not-active", detail));
    }
    if old.revoked_at.is_some() || old.has_expired(now) || old.replaced_by.is_some() {
        let detail = "the key has expired or was rotated already; create a new one instead";
        return Err(OperationError::conflict("key-not-active", detail));
    }
    // A key with a lifetime of 90 days gets a successor with 90 days.
    let lasts = old.expires_at.map(|end| end.0 - old.created_at.0);
    let expires_at = rotation.expires_at.or(lasts.map(|seconds| now.plus(seconds)));
    let (made, key) = Wanted::following(old, expires_at).make(issuer.seal, by.actor(), now)?;
    stored::insert(&mut change, &made).await?;
    let end = now.plus(overlap);
    stored::replace(&mut change, id, &made.id, end).await?;
    let after = format!("followed by {} ({}), ends {}", made.id, summary(&made), end.to_rfc3339());
    let before = String::new();
    let entry = AuditEntry { action: "enforcement-key.rotate", target: id, before, after };
    change.commit(entry).await?;
    Ok(created(issuer, made, key, now))
}

/// Revokes a key and ends every session set up with it. `warning`: as of [`list`].
///
/// # Errors
/// When there is no such key, or the database fails.
pub async fn revoke(
    store: &Store,
    by: &By<Operator>,
    id: &str,
    warning: i64,
    now: Timestamp,
) -> Result<Key> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let before = known(&mut change, id).await?;
    stored::revoke(&mut change, id, now).await?;
    identities::forget_of_key(&mut change, id).await?;
    let after = known(&mut change, id).await?;
    let key = with_hosts(&mut change, after, warning, now).await?;
    let (before, after) = (summary(&before), "revoked".to_owned());
    let entry = AuditEntry { action: "enforcement-key.revoke", target: id, before, after };
    change.commit(entry).await?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use xshield_api::keys::KeyState;

    use super::super::access::PlatformAccess;
    use super::*;
    use crate::testing::{NOW, Plain, audited, by, store};

    const WARNING: i64 = 14 * 24 * 3600;

    fn issuer() -> Issuer<'static, Plain> {
        let platform = PlatformAccess {
            url: "https://p:8443".to_owned(),
            domain: "p:8443".to_owned(),
            policy_key: "KEY".to_owned(),
            ca_pem: "-----BEGIN-----\nabc\n-----END-----\n".to_owned(),
            trust: [7; 32].into(),
        };
        Issuer { seal: &Plain, platform, expiry_warning: WARNING }
    }

    fn new(text: serde_json::Value) -> NewKey {
        serde_json::from_value(text).unwrap()
    }

    #[tokio::test]
    async fn a_key_is_created_once_rotated_once_and_ends_when_revoked() {
        let (_dir, store) = store().await;
        let (by, issuer) = (by::<Operator>(), issuer());
        let lasts = 90 * 24 * 3600;
        let request = new(serde_json::json!({"name": "web", "expires_at": NOW.plus(lasts)}));
        let made = create(&store, &issuer, &by, request, NOW).await.unwrap();
        assert_eq!(made.about.state, KeyState::Active);
        assert!(
            made.config.contains(&format!("enforcement-key: {}\n", made.key)),
            "{}",
            made.config
        );
        assert!(made.config.ends_with("ca: |\n  -----BEGIN-----\n  abc\n  -----END-----\n"));
        let sealed = stored::get(&mut store.read().await.unwrap(), &made.about.id).await.unwrap();
        assert!(!made.key.contains(&sealed.unwrap().sealed_secret), "only sealed");

        let id = made.about.id.as_str();
        let later = NOW.plus(24 * 3600);
        let rotation = || Rotation { overlap_seconds: None, expires_at: None };
        let next = rotate(&store, &issuer, &by, id, rotation(), later).await;
        let next = next.unwrap().about;
        assert_eq!(next.expires_at, Some(later.plus(lasts)), "for as long as the old one");
        let again = rotate(&store, &issuer, &by, id, rotation(), later).await;
        let again = again.err().unwrap();
        assert!(
            matches!(again, OperationError::Conflict { code: "key-not-active", .. }),
            "{again}"
        );
        let old = get(&mut store.read().await.unwrap(), id, WARNING, later).await.unwrap();
        assert_eq!(old.state, KeyState::Rotated);
        assert_eq!(old.expires_at, Some(later.plus(OVERLAP)));
        let revoked = revoke(&store, &by, &next.id, WARNING, later).await.unwrap();
        assert_eq!(revoked.state, KeyState::Revoked);
        let actions: Vec<_> = audited(&store)
            .await
            .iter()
            .map(|line| line.split(' ').nth(1).unwrap().to_owned())
            .collect();
        assert_eq!(
            actions,
            ["enforcement-key.create", "enforcement-key.rotate", "enforcement-key.revoke"]
        );
    }

    #[tokio::test]
    async fn invalid_keys_are_refused_with_their_field() {
        let (_dir, store) = store().await;
        for (request, field) in [
            (serde_json::json!({"expires_at": NOW}), "/expires_at"),
            (serde_json::json!({"name": "n".repeat(201)}), "/name"),
            (serde_json::json!({"max_registrations": 0}), "/max_registrations"),
            (serde_json::json!({"kind": "token", "max_registrations": 2}), "/max_registrations"),
            (serde_json::json!({"allowed_networks": []}), "/allowed_networks"),
            (serde_json::json!({"allowed_networks": ["x"]}), "/allowed_networks"),
        ] {
            let by = by::<Operator>();
            let made = create(&store, &issuer(), &by, new(request.clone()), NOW).await;
            match made.err() {
                Some(OperationError::Invalid { field: named, .. }) => {
                    assert_eq!(named, field, "{request}");
                }
                other => panic!("{request}: {other:?}"),
            }
        }
        assert!(audited(&store).await.is_empty());
    }
}
