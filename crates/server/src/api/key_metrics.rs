//! The expiry of enforcement keys as Prometheus metrics.

use std::fmt::Write as _;

use xshield_model::Timestamp;
use xshield_store::{Conn, StoreResult, enforcement_keys};

/// Seconds until hosts can't register with a key any more; 0 after that. Rendered here and not by the
/// recorder, which would keep exporting keys that are revoked or superseded.
pub(super) async fn expiry_series(conn: &mut Conn, now: Timestamp) -> StoreResult<String> {
    const NAME: &str = "xshield_enforcement_key_expires_seconds";
    let mut text = format!("# TYPE {NAME} gauge\n");
    for key in enforcement_keys::with_end(conn).await? {
        let left = key.expires_at.map_or(0, |end| (end.0 - now.0).max(0));
        // Writing to a string can't fail; ids consist of letters and digits.
        let _ = writeln!(text, "{NAME}{{key=\"{}\"}} {left}", key.id);
    }
    Ok(text)
}
