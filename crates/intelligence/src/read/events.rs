//! The parsed events of a MISP feed, cached in a file beside the listings.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xshield_threat::Listing;
use xshield_threat::feed::manifest::EventId;
use xshield_threat::listing::{ListingBuilder, store};

/// The parsed events of a feed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Events(pub(super) BTreeMap<EventId, Event>);

/// One event, as of its last change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Event {
    /// When it last changed, as in the manifest.
    pub(super) timestamp: u64,
    /// Attributes that are not entries.
    pub(super) skipped: u64,
    /// Attributes that should be entries and can't be parsed.
    pub(super) rejected: u64,
    #[serde(serialize_with = "encoded", deserialize_with = "decoded")]
    pub(super) listing: Listing,
}

fn encoded<S: Serializer>(listing: &Listing, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(store::encode(listing)))
}

fn decoded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Listing, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = STANDARD.decode(text).map_err(de::Error::custom)?;
    store::decode(&bytes).map_err(de::Error::custom)
}

impl Events {
    /// Decodes the output of [`Events::encode`]; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Encodes for the disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of entries of all events.
    pub(super) fn entries(&self) -> u64 {
        self.0.values().map(|event| event.listing.len() as u64).sum()
    }

    /// The union of all events; for an entry in several, the highest confidence.
    pub(super) fn listing(&self) -> Listing {
        let mut builder = ListingBuilder::default();
        for (prefix, confidence) in self.0.values().flat_map(|event| event.listing.iter()) {
            builder.push_prefix(prefix, confidence);
        }
        builder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshield_threat::{Confidence, Prefix};

    #[test]
    fn events_are_read_back_from_disk() {
        let prefix = |text: &str| text.parse::<Prefix>().unwrap();
        let sure = |percent| Confidence::new(percent).unwrap();
        let listing: Listing =
            [(prefix("198.51.100.7"), sure(80)), (prefix("2001:db8::/48"), sure(80))]
                .into_iter()
                .collect();
        let event = Event { timestamp: 7, skipped: 1, rejected: 2, listing };
        let id: EventId = "5a1b2c3d-0001-4000-8000-0123456789ab".parse().unwrap();
        let events = Events(BTreeMap::from([(id, event)]));
        let bytes = events.encode();
        assert_eq!(Events::decode(&bytes), Some(events.clone()));
        assert_eq!((events.entries(), events.listing().len()), (2, 2));
        assert_eq!(Events::decode(&bytes[1..]), None);
    }
}
