//! Deletes revisions and files that are no longer needed.

use std::collections::BTreeSet;
use std::time::Duration;

use xshield_model::Timestamp;
use xshield_model::file_name::FileName;
use xshield_store::threat_assets::StoredThreat;
use xshield_store::threat_lists::StoredFile;
use xshield_store::{commit, threat_assets, threat_feeds, threat_lists};
use xshield_threat::Digest;

use crate::list::ListError;
use crate::state::Threats;

/// The number of revisions to keep, and for how many seconds.
const REVISIONS: i64 = 50;
const REVISIONS_FOR: i64 = 60 * 24 * 3600;
/// Older revisions that hosts still use are kept up to this number: their matches may still be reported.
const REVISIONS_OF_HOSTS: usize = 200;
/// A host may have been told of a file a moment ago and not fetched it yet.
const FILES_FOR: i64 = 24 * 3600;
/// The database references a file a moment after it was written.
const UNNAMED_FOR: Duration = Duration::from_secs(3600);

/// Deletes old data: revisions, then the files that led to them, then their content.
///
/// # Errors
/// When database or disk fail.
pub async fn tidy(threats: &Threats, now: Timestamp) -> Result<(), ListError> {
    let mut tx = threats.store.write().await?;
    let settings = threat_assets::settings(&mut tx).await?;
    let before = now.plus(-REVISIONS_FOR);
    let assets = threat_assets::all(&mut tx).await?;
    let mut needed = of_hosts(&assets);
    needed.extend(settings.pinned);
    threat_lists::forget_revisions(&mut tx, before, REVISIONS, &needed).await?;
    let revisions = threat_lists::revisions(&mut tx, None, u32::MAX >> 1).await?;
    let feeds = threat_feeds::all(&mut tx).await?;
    let files = threat_lists::files(&mut tx).await?;

    let mut held: BTreeSet<Digest> = revisions.iter().map(|revision| revision.digest).collect();
    let mut wanted: BTreeSet<Digest> =
        revisions.first().map(|last| last.digest).into_iter().collect();
    for (_, asset) in &assets {
        let ordered = asset.order.as_ref().and_then(|signed| signed.order.list.as_ref());
        wanted.extend(ordered.map(|list| Digest(list.digest.0)));
        let in_force = asset.standing.as_ref().and_then(|(standing, _)| standing.list.as_ref());
        held.extend(in_force.map(|list| Digest(list.digest.0)));
    }
    let old = |file: &&StoredFile| {
        let needed = match file.base {
            None => held.contains(&file.target) || wanted.contains(&file.target),
            Some(_) => wanted.contains(&file.target),
        };
        !needed && file.created_at < now.plus(-FILES_FOR)
    };
    let gone: BTreeSet<FileName> = files.iter().filter(old).map(|file| file.name).collect();
    threat_lists::forget_files(&mut tx, &gone.iter().copied().collect::<Vec<_>>()).await?;
    commit(tx).await?;
    threats.paths.forget(&gone);

    let named: BTreeSet<FileName> =
        files.iter().map(|file| file.name).filter(|name| !gone.contains(name)).collect();
    let listings = revisions.iter().flat_map(|revision| &revision.sources.feeds);
    let listings = listings.filter_map(|feed| feed.listing.parse::<FileName>().ok());
    let in_feeds = feeds.iter().flat_map(|feed| feed.listing.iter().chain(&feed.held).copied());
    let turned_away = feeds.iter().filter_map(|feed| feed.state.differs.as_ref());
    let turned_away = turned_away.filter_map(|differs| differs.file.parse::<FileName>().ok());
    let events = feeds.iter().filter_map(|feed| feed.state.events.as_ref()?.parse().ok());
    let listings: BTreeSet<FileName> =
        listings.chain(in_feeds).chain(turned_away).chain(events).collect();
    let (files, stored) = (threats.files.clone(), threats.listings.clone());
    let work = move || {
        for (files, named) in [(&*files, named), (&stored.files, listings)] {
            for name in files.older_than(UNNAMED_FOR)? {
                if !named.contains(&name) {
                    files.remove(name)?;
                }
            }
        }
        Ok(())
    };
    threats.past.forget();
    tokio::task::spawn_blocking(work).await?
}

/// The revisions that hosts may still report: those that they use, and those assigned to them; the newest of
/// these.
fn of_hosts(assets: &[(String, StoredThreat)]) -> BTreeSet<u64> {
    let held = assets.iter().flat_map(|(_, asset)| {
        let ordered = asset.order.as_ref().and_then(|signed| signed.order.list.as_ref());
        let in_force = asset.standing.as_ref().and_then(|(standing, _)| standing.list.as_ref());
        ordered.into_iter().chain(in_force).map(|list| list.revision)
    });
    let held: BTreeSet<u64> = held.collect();
    held.into_iter().rev().take(REVISIONS_OF_HOSTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshield_threat::ThreatMode;
    use xshield_wire::Bytes;
    use xshield_wire::threat::{ListName, ThreatStanding};

    fn holding(revision: u64) -> (String, StoredThreat) {
        let list = ListName {
            revision,
            digest: Bytes([0; 32]),
            entries: 1,
            least_confidence: 0,
            whole_entries: 1,
        };
        let standing = ThreatStanding {
            order: None,
            list: Some(list),
            inbound: ThreatMode::Block,
            outbound: ThreatMode::Block,
            elements: 1,
            verified_at: None,
            memory: 0,
            budget: None,
            failure: None,
        };
        let standing = Some((standing, Timestamp(0)));
        (format!("h{revision}"), StoredThreat { standing, ..StoredThreat::default() })
    }

    #[test]
    fn revisions_in_use_are_kept_up_to_the_newest_limit() {
        let hosts: Vec<_> = (1..=300).chain([300, 7]).map(holding).collect();
        let kept = of_hosts(&hosts);
        assert_eq!(kept.len(), REVISIONS_OF_HOSTS);
        assert_eq!((kept.first(), kept.last()), (Some(&101), Some(&300)));
        assert_eq!(of_hosts(&[(String::new(), StoredThreat::default())]), BTreeSet::new());
    }
}
