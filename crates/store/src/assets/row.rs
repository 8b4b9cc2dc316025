//! Rows as assets.

use std::net::IpAddr;

use xshield_policy::Revision;
use xshield_wire::Bytes;
use xshield_wire::message::{Digest, InForce, Status};

use super::{PendingIdentity, StoredAsset};
use crate::rows::Columns as _;
use crate::{Doing as _, Row, StoreError, StoreResult, from_json, from_word, refusals};

/// An asset of [`super::COLUMNS`].
pub(super) fn stored(row: &Row) -> StoreResult<StoredAsset> {
    let reason: String = row.col("state_reason")?;
    let status = match row.col::<&str>("state")? {
        "enforcing" => Status::Enforcing,
        "no-policy" => Status::NoPolicy,
        "blocked" => Status::Blocked { by: reason },
        "failed" => Status::Failed { reason },
        other => return Err(StoreError::damaged("read an asset's state", other.to_owned())),
    };
    let pending =
        match (row.col::<Option<Vec<u8>>>("pending_identity")?, row.maybe_time("pending_since")?) {
            (Some(identity), Some(since)) => {
                Some(PendingIdentity { identity: key_bytes(identity)?, since })
            }
            _ => None,
        };
    Ok(StoredAsset {
        id: parse(row, "id")?,
        name: parse(row, "name")?,
        source: from_word(row.col("source")?)?,
        identity: key_bytes(row.col("identity")?)?,
        pending,
        os: row.col("os")?,
        kernel: row.col("kernel")?,
        addresses: held_addresses(row.col("held_addresses")?)?,
        program_version: row.col("program_version")?,
        sequence: row.count("sequence")?,
        status,
        in_force: ruleset(row.col("in_force_revision")?, row.col("in_force_digest")?)?,
        wanted: ruleset(row.col("wanted_revision")?, row.col("wanted_digest")?)?,
        problems: from_json(row.col("problems")?)?,
        events_lost: row.count("events_lost")?,
        created_at: row.time("created_at")?,
        last_check_in: row.maybe_time("last_check_in")?,
        interval: row
            .col::<Option<i64>>("check_in_interval")?
            .and_then(|seconds| u32::try_from(seconds).ok()),
        routes: from_json(row.col("routes")?)?,
        usage: row.col::<Option<&str>>("usage")?.map(from_json).transpose()?,
        decommissioned_at: row.maybe_time("decommissioned_at")?,
        refused: refusals::joined(row)?,
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
    row.col::<&str>(column)?.parse::<T>().doing("read a stored name")
}
