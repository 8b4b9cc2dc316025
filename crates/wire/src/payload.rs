//! Payloads that can be signed for one host, and their encoding.

use serde::Serialize;
use xshield_policy::{AssetId, Ruleset};

use crate::threat::ThreatOrder;

/// A payload that the platform signs for one host.
pub trait Payload: Serialize + serde::de::DeserializeOwned {
    /// The payload's media type; a payload signed with one type is not valid with another.
    const TYPE: &'static str;

    /// The asset for which it is.
    fn asset(&self) -> &AssetId;
}

impl Payload for Ruleset {
    const TYPE: &'static str = "application/vnd.xshield.ruleset.v1+json";

    fn asset(&self) -> &AssetId {
        &self.asset
    }
}

impl Payload for ThreatOrder {
    const TYPE: &'static str = "application/vnd.xshield.threat-order.v1+json";

    fn asset(&self) -> &AssetId {
        &self.asset
    }
}

/// A payload could not be encoded as JSON.
#[derive(Debug, thiserror::Error)]
#[error("encoding the payload for {asset} as JSON failed")]
pub struct SealError {
    asset: AssetId,
    source: serde_json::Error,
}

pub(crate) fn written<T: Payload>(value: &T) -> Result<Vec<u8>, SealError> {
    let mut payload = Vec::new();
    write(value, &mut payload)?;
    Ok(payload)
}

pub(crate) fn write<T: Payload>(value: &T, to: impl std::io::Write) -> Result<(), SealError> {
    serde_json::to_writer(to, value)
        .map_err(|source| SealError { asset: value.asset().clone(), source })
}
