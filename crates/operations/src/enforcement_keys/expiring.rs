//! Keys that expire soon.

use xshield_api::keys::ExpiringKey;
use xshield_model::{Timestamp, relative};
use xshield_store::enforcement_keys::StoredKey;
use xshield_store::{Conn, StoreResult, enforcement_keys};

/// The warning about a key that expires soon.
#[must_use]
pub fn warning(key: &ExpiringKey, now: Timestamp) -> String {
    let ExpiringKey { id, name, expires_at } = key;
    let name = if name.is_empty() { String::new() } else { format!(" ({name})") };
    format!(
        "enforcement key {id}{name} expires {}: new hosts can't register with it then, \
         registered hosts are not affected",
        relative(*expires_at, now)
    )
}

/// The keys that expire within this many seconds.
///
/// # Errors
/// When the database fails.
pub async fn expiring(
    conn: &mut Conn,
    within: i64,
    now: Timestamp,
) -> StoreResult<Vec<ExpiringKey>> {
    let warned_of = now.plus(within);
    let ends_soon = |key: &StoredKey| !key.has_expired(now) && key.has_expired(warned_of);
    let keys = enforcement_keys::with_end(conn).await?.into_iter().filter(ends_soon);
    let shown = |key: StoredKey| {
        Some(ExpiringKey { id: key.id, name: key.name, expires_at: key.expires_at? })
    };
    Ok(keys.filter_map(shown).collect())
}
