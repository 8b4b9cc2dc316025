//! Replaced keys, and the hosts that still use them.

use xshield_store::{Conn, StoreResult, enforcement_keys, enrolment};

/// The number of hosts to list by name.
const NAMED: u32 = 10;

/// A replaced key that hosts still use.
#[derive(Debug)]
pub struct FollowedKey {
    /// Its id.
    pub id: String,
    /// Its description.
    pub name: String,
    /// Its successor.
    pub next: String,
    /// Hosts whose last session was set up with it.
    pub hosts: u64,
    /// The first of them by name.
    pub first: Vec<String>,
}

/// Replaced keys that hosts still use.
///
/// # Errors
/// When the database fails.
pub async fn followed(conn: &mut Conn) -> StoreResult<Vec<FollowedKey>> {
    let keys = enforcement_keys::followed(conn).await?;
    let counts = enrolment::hosts_by_key(conn, keys.iter().map(|key| key.id.as_str())).await?;
    let mut followed = Vec::new();
    for key in keys {
        let count = counts.iter().find(|(id, _)| *id == key.id).map_or(0, |(_, hosts)| *hosts);
        let (Some(next), true) = (key.replaced_by, count > 0) else { continue };
        let hosts = enrolment::hosts_of(conn, &key.id, "", NAMED).await?;
        let first = hosts.into_iter().map(|host| host.name.to_string()).collect();
        followed.push(FollowedKey { id: key.id, name: key.name, next, hosts: count, first });
    }
    Ok(followed)
}
