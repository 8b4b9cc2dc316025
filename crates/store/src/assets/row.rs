//! Conversion of rows to assets.

use std::net::IpAddr;

use xshield_model::Timestamp;
use xshield_model::refusal::Refusal;
use xshield_policy::inventory::Source;
use xshield_policy::names::Name;
use xshield_policy::{AssetId, Revision};
use xshield_wire::Bytes;
use xshield_wire::control::Usage;
use xshield_wire::message::{Digest, InForce, Problem, RouteStanding, Status};

use crate::rows::{Columns as _, key_bytes, parse, unsigned};
use crate::{Doing as _, Row, StoreError, StoreResult, from_json, from_word, refusals};

/// An asset as stored.
#[derive(Debug, Clone)]
pub struct StoredAsset {
    /// Its id.
    pub id: AssetId,
    /// Its name, as accepted by the platform.
    pub name: Name,
    /// The program that reports it, as accepted by the platform.
    pub source: Source,
    /// The pinned identity key.
    pub identity: Bytes<32>,
    /// The first of the pending identities that claim this name.
    pub pending: Option<PendingIdentity>,
    /// Operating system, as accepted by the platform.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// The addresses accepted by the platform, in order.
    pub addresses: Vec<IpAddr>,
    /// The reporting program's version.
    pub program_version: String,
    /// The last check-in's sequence number.
    pub sequence: u64,
    /// What it reports to enforce.
    pub status: Status,
    /// What it reports to be in the kernel.
    pub in_force: Option<InForce>,
    /// The ruleset that it should have.
    pub wanted: Option<InForce>,
    /// The problems that it reports.
    pub problems: Vec<Problem>,
    /// Flows that it could not record, in total.
    pub events_lost: u64,
    /// When it registered.
    pub created_at: Timestamp,
    /// When it last checked in.
    pub last_check_in: Option<Timestamp>,
    /// Seconds until the check-in that it announced.
    pub interval: Option<u32>,
    /// Its routes to the platform.
    pub routes: Vec<RouteStanding>,
    /// The resource usage of its resident program.
    pub usage: Option<Usage>,
    /// When an operator decommissioned it.
    pub decommissioned_at: Option<Timestamp>,
    /// Check-ins refused since the last accepted one.
    pub refused: Option<Refusal>,
}

/// A pending identity.
#[derive(Debug, Clone, Copy)]
pub struct PendingIdentity {
    /// The new public key.
    pub identity: Bytes<32>,
    /// When it first asked.
    pub since: Timestamp,
}

/// The columns that [`stored`] reads, and their tables.
pub(super) const COLUMNS: &str = "SELECT a.id, a.name, a.source, a.identity, \
     w.identity AS pending_identity, w.first_seen AS pending_since, a.os, a.kernel, \
     (SELECT group_concat(h.address) FROM asset_address h WHERE h.asset_id = a.id) \
     AS held_addresses, a.program_version, a.sequence, a.state, \
     a.state_reason, a.in_force_revision, a.in_force_digest, a.problems, a.events_lost, \
     a.created_at, a.last_check_in, a.check_in_interval, a.routes, a.usage, \
     a.decommissioned_at, r.revision AS wanted_revision, r.digest AS wanted_digest, \
     f.reason AS refused_reason, f.detail AS refused_detail, f.first_at AS refused_first_at, \
     f.last_at AS refused_last_at, f.times AS refused_times \
     FROM asset a LEFT JOIN ruleset r ON r.asset_id = a.id \
     LEFT JOIN refused_check_in f ON f.asset_id = a.id \
     LEFT JOIN other_identity w ON w.asset_id = a.id AND w.position = (SELECT min(o.position) \
     FROM other_identity o WHERE o.asset_id = a.id AND o.state = 'waiting')";

/// An asset of [`COLUMNS`].
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
