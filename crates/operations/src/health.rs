//! The health of the platform, as far as the database and its readers know.

use xshield_api::health::{DamagedRecord, KeyRotation};
use xshield_store::rows::{self, Damage};
use xshield_store::{Conn, assets};

use crate::error::Result;

/// The number of hosts to list by name.
const NAMED: u32 = 20;

/// The keys that hosts are told to trust, once they are not the platform's first ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The number of previous ones.
    pub sequence: u64,
    /// Whether the old keys are still trusted, too.
    pub under_way: bool,
}

/// The progress of hosts in a key rotation.
///
/// # Errors
/// When the database fails.
pub async fn key_rotation(conn: &mut Conn, rotation: Rotation) -> Result<KeyRotation> {
    let Rotation { sequence, under_way } = rotation;
    let lagging = assets::lagging(conn, sequence, NAMED).await?;
    Ok(KeyRotation { sequence, under_way, behind: lagging.count, behind_first: lagging.first })
}

/// Records that could not be read since the start.
#[must_use]
pub fn damaged() -> Vec<DamagedRecord> {
    let shown = |Damage { list, place, reason, seen }| DamagedRecord {
        list: str::to_owned(list),
        place,
        reason,
        seen,
    };
    rows::damage().into_iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{register, store};

    #[tokio::test]
    async fn hosts_lagging_in_a_rotation_are_counted_and_named() {
        let (_dir, store) = store().await;
        let names: Vec<String> = (10..35).map(|number| format!("h{number}")).collect();
        let assets: Vec<_> = names.iter().map(|name| (name.as_str(), "web")).collect();
        register(&store, &assets).await;
        let rotation = Rotation { sequence: 2, under_way: true };
        let told = key_rotation(&mut store.read().await.unwrap(), rotation).await.unwrap();
        assert_eq!((told.sequence, told.under_way, told.behind), (2, true, 25));
        assert_eq!(told.behind_first, names[..20]);
    }
}
