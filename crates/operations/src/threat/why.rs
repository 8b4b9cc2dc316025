//! Whether and why addresses are on the list.

use std::net::IpAddr;

use xshield_api::threat_events::{Listed, LookupRequest, LookupResult};
use xshield_api::threat_why::{Addresses, Explanation, FeedEntry, Kept};
use xshield_model::Timestamp;
use xshield_store::threat_events::Intelligence;
use xshield_store::word;
use xshield_threat::compile::{Counts, Why};

use super::lists::ThreatLists;
use crate::error::{OperationError, Result};

/// The maximum number of addresses in one request.
const MOST_ADDRESSES: usize = 10_000;

fn explanation(why: Why) -> Result<Explanation> {
    let feeds: Vec<FeedEntry> = why
        .listed
        .into_iter()
        .map(|entry| FeedEntry {
            feed: entry.feed.into(),
            entry: entry.entry.to_string(),
            confidence: entry.confidence.percent(),
            counts: entry.counts == Counts::Yes,
            since: entry.since.map(Timestamp::from_unix),
            until: entry.until.map(Timestamp::from_unix),
        })
        .collect();
    let exceptions = why.exceptions.into_iter();
    let protected = why
        .protected
        .into_iter()
        .map(|one| Ok(Kept { prefix: one.prefix.to_string(), by: word(&one.by)? }));
    Ok(Explanation {
        address: why.address,
        listed: why.blocked_as.is_some(),
        blocked_as: why.blocked_as.map(|prefix| prefix.to_string()),
        since: feeds.iter().filter(|feed| feed.counts).filter_map(|feed| feed.since).min(),
        feeds,
        exceptions: exceptions
            .map(|one| Kept { prefix: one.prefix.to_string(), by: one.name })
            .collect(),
        protected: protected.collect::<Result<_>>()?,
    })
}

/// The address of this text, in its canonical form.
pub(super) fn address(text: &str) -> Result<IpAddr> {
    let address: IpAddr = text.parse().map_err(|_| {
        let reason = format!("{text:?} is not an IPv4 or IPv6 address (no prefix, no name)");
        OperationError::invalid("/address", reason)
    })?;
    Ok(address.to_canonical())
}

fn at_most(count: usize) -> Result<()> {
    if count <= MOST_ADDRESSES {
        return Ok(());
    }
    let reason = format!("{count} addresses; at most {MOST_ADDRESSES} are allowed per request");
    Err(OperationError::invalid("/addresses", reason))
}

/// Why an address is blocked or not, since when, and by which feeds.
///
/// # Errors
/// When it is no address.
pub fn why(lists: &impl ThreatLists, text: &str) -> Result<Explanation> {
    explanation(lists.list().why(address(text)?))
}

/// Which of many addresses are on the list, and why; the others are omitted.
///
/// # Errors
/// When there are too many.
pub fn why_many(lists: &impl ThreatLists, question: Addresses) -> Result<Vec<Explanation>> {
    at_most(question.addresses.len())?;
    let list = lists.list();
    let all = question.addresses.into_iter().map(|address| list.why(address.to_canonical()));
    all.filter(|why| why.blocked_as.is_some()).map(explanation).collect()
}

/// Which of many addresses are on the list, with confidence and feeds; the others are omitted.
///
/// # Errors
/// When there are too many.
pub fn look_up(lists: &impl ThreatLists, question: LookupRequest) -> Result<LookupResult> {
    at_most(question.addresses.len())?;
    let list = lists.list();
    let listed = |address: IpAddr| {
        let known = Intelligence::from(&list.why(address.to_canonical()));
        Some(Listed {
            address: address.to_string(),
            entry: known.entry?.to_string(),
            confidence: known.confidence.map(|sure| sure.percent()),
            feeds: known.feeds,
        })
    };
    Ok(LookupResult { items: question.addresses.into_iter().filter_map(listed).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RecordedSignals, threat_list};

    #[test]
    fn addresses_are_explained_one_by_one_or_only_those_that_are_listed() {
        let lists = RecordedSignals::with(vec![threat_list(&["203.0.113.0/24"])]);
        for (text, listed) in [
            ("203.0.113.9", Ok(true)),
            ("::ffff:203.0.113.9", Ok(true)),
            ("198.51.100.1", Ok(false)),
            ("203.0.113.0/24", Err("/address")),
            ("host.example", Err("/address")),
        ] {
            let explained = match why(&lists, text) {
                Ok(explanation) => Ok(explanation.listed),
                Err(OperationError::Invalid { field, .. }) => Err(field),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(explained, listed.map_err(str::to_owned), "{text}");
        }
        let many = |count: usize| -> Vec<IpAddr> {
            let asked: [IpAddr; 2] =
                ["203.0.113.9".parse().unwrap(), "198.51.100.1".parse().unwrap()];
            asked.iter().copied().cycle().take(count).collect()
        };
        for (count, listed) in [(2, Some(1)), (MOST_ADDRESSES, Some(5000)), (10_001, None)] {
            let explained = why_many(&lists, Addresses { addresses: many(count) });
            assert_eq!(explained.ok().map(|found| found.len()), listed, "{count}");
            let found = look_up(&lists, LookupRequest { addresses: many(count) });
            assert_eq!(found.ok().map(|found| found.items.len()), listed, "{count}");
        }
        let found = look_up(&lists, LookupRequest { addresses: many(1) }).unwrap().items.remove(0);
        assert_eq!((found.entry.as_str(), found.confidence), ("203.0.113.0/24", Some(80)));
    }
}
