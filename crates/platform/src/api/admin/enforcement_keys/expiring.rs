//! The keys that end soon, for everyone who has to hear of it in time.

use std::fmt::Write as _;

use xshield_api::keys::ExpiringKey;
use xshield_model::{Timestamp, relative};
use xshield_store::enforcement_keys::StoredKey;
use xshield_store::{Conn, StoreResult, enforcement_keys};

use crate::state::App;

/// What an operator has to know of a key that ends soon.
pub(crate) fn warning(key: &ExpiringKey, now: Timestamp) -> String {
    let ExpiringKey { id, name, expires_at } = key;
    let name = if name.is_empty() { String::new() } else { format!(" ({name})") };
    format!(
        "enforcement key {id}{name} expires {}: no new host registers with it then, registered \
         hosts go on",
        relative(*expires_at, now)
    )
}

/// The keys that end within the time of the settings.
pub(crate) async fn expiring(
    app: &App,
    conn: &mut Conn,
    now: Timestamp,
) -> StoreResult<Vec<ExpiringKey>> {
    let warned_of = now.plus(app.settings.key_expiry_warning);
    let ends_soon = |key: &StoredKey| !key.has_expired(now) && key.has_expired(warned_of);
    let keys = enforcement_keys::with_end(conn).await?.into_iter().filter(ends_soon);
    let shown = |key: StoredKey| {
        Some(ExpiringKey { id: key.id, name: key.name, expires_at: key.expires_at? })
    };
    Ok(keys.filter_map(shown).collect())
}

/// Seconds until hosts can't register any more, by key, as Prometheus reads it; 0 from then on. Written here and not by
/// the recorder, which would go on telling of keys that are revoked or followed by others.
pub(crate) async fn expiry_series(conn: &mut Conn, now: Timestamp) -> StoreResult<String> {
    const NAME: &str = "xshield_enforcement_key_expires_seconds";
    let mut text = format!("# TYPE {NAME} gauge\n");
    for key in enforcement_keys::with_end(conn).await? {
        let left = key.expires_at.map_or(0, |end| (end.0 - now.0).max(0));
        // Writing to a string can't fail; ids are letters and digits.
        let _ = writeln!(text, "{NAME}{{key=\"{}\"}} {left}", key.id);
    }
    Ok(text)
}
