//! Rows as assets.

use std::net::IpAddr;

use sqlx::Row as _;
use xshield_policy::Revision;
use xshield_wire::Bytes;
use xshield_wire::message::{Digest, InForce, Status};

use super::{PendingIdentity, StoredAsset};
use crate::clock::Timestamp;
use crate::store::{Doing as _, Row, StoreError, StoreResult, from_json, from_word, refusals};

/// An asset of [`super::COLUMNS`].
pub(super) fn stored(row: &Row) -> StoreResult<StoredAsset> {
    let reason: String = row.get("state_reason");
    let status = match row.get::<&str, _>("state") {
        "enforcing" => Status::Enforcing,
        "no-policy" => Status::NoPolicy,
        "blocked" => Status::Blocked { by: reason },
        "failed" => Status::Failed { reason },
        other => return Err(StoreError::damaged("read an asset's state", other.to_owned())),
    };
    let pending = match (row.get("pending_identity"), row.get("pending_since")) {
        (Some(identity), Some(since)) => {
            Some(PendingIdentity { identity: key_bytes(identity)?, since: Timestamp(since) })
        }
        _ => None,
    };
    Ok(StoredAsset {
        id: parse(row, "id")?,
        name: parse(row, "name")?,
        source: from_word(row.get("source"))?,
        identity: key_bytes(row.get("identity"))?,
        pending,
        os: row.get("os"),
        kernel: row.get("kernel"),
        addresses: held_addresses(row.get("held_addresses"))?,
        program_version: row.get("program_version"),
        sequence: unsigned(row.get("sequence")),
        status,
        in_force: ruleset(row.get("in_force_revision"), row.get("in_force_digest"))?,
        wanted: ruleset(row.get("wanted_revision"), row.get("wanted_digest"))?,
        problems: from_json(row.get("problems"))?,
        events_lost: unsigned(row.get("events_lost")),
        created_at: Timestamp(row.get("created_at")),
        last_check_in: row.get::<Option<i64>, _>("last_check_in").map(Timestamp),
        interval: row
            .get::<Option<i64>, _>("check_in_interval")
            .and_then(|seconds| u32::try_from(seconds).ok()),
        routes: from_json(row.get("routes"))?,
        usage: row.get::<Option<&str>, _>("usage").map(from_json).transpose()?,
        decommissioned_at: row.get::<Option<i64>, _>("decommissioned_at").map(Timestamp),
        refused: refusals::joined(row),
    })
}

fn ruleset(revision: Option<i64>, digest: Option<String>) -> StoreResult<Option<InForce>> {
    let (Some(revision), Some(digest)) = (revision, digest) else { return Ok(None) };
    let digest = Digest::from_base64(&digest).doing("read a stored digest")?;
    Ok(Some(InForce { revision: Revision(unsigned(revision)), digest }))
}

/// Addresses joined by commas.
fn held_addresses(joined: Option<&str>) -> StoreResult<Vec<IpAddr>> {
    let addresses = joined.into_iter().flat_map(|joined| joined.split(','));
    let addresses = addresses.map(|address| address.parse::<IpAddr>());
    let mut addresses: Vec<_> = addresses.collect::<Result<_, _>>().doing("read an address")?;
    addresses.sort_unstable();
    Ok(addresses)
}

pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn key_bytes(stored: Vec<u8>) -> StoreResult<Bytes<32>> {
    let bytes: [u8; 32] =
        stored.try_into().map_err(|_| StoreError::damaged("read a stored key", "wrong length"))?;
    Ok(Bytes(bytes))
}

pub(crate) fn parse<T>(row: &Row, column: &'static str) -> StoreResult<T>
where
    T: std::str::FromStr,
    T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    row.get::<&str, _>(column).parse::<T>().doing("read a stored name")
}
