//! Threat feeds: their settings and state.

use xshield_api::threat_feeds::{Feed, FeedStanding};
use xshield_model::Timestamp;
use xshield_model::feed::{Allow, FeedSettings, FeedState, Source, Switch};
use xshield_model::role::Role;
use xshield_store::threat_feeds::{self as stored, StoredFeed};
use xshield_store::{Conn, Store};
use xshield_threat::FeedId;

use super::engine::ThreatEngine;
use crate::caller::{By, Caller, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::error::{OperationError, Result};

fn standing(feed: &StoredFeed, now: Timestamp) -> FeedStanding {
    if feed.settings.state == Switch::Off {
        FeedStanding::Off
    } else if feed.is_stale(now) {
        FeedStanding::Stale
    } else if feed.held.is_some() {
        FeedStanding::Held
    } else if feed.state.failure.is_some() {
        FeedStanding::Failing
    } else if feed.state.differs.is_some() {
        FeedStanding::Differs
    } else if feed.last_success.is_none() {
        FeedStanding::New
    } else {
        FeedStanding::Good
    }
}

/// A feed as shown by the API.
pub(super) fn shown(engine: &impl ThreatEngine, feed: StoredFeed, now: Timestamp) -> Feed {
    let state = standing(&feed, now);
    let FeedState {
        changed_at,
        entries,
        added,
        removed,
        read,
        failures,
        failure,
        held,
        differs,
        ..
    } = feed.state;
    Feed {
        running: engine.is_running(&feed.id),
        name: feed.id.into(),
        settings: feed.settings.into(),
        has_secret: feed.secret.is_some(),
        state: state.into(),
        created_at: feed.created_at,
        created_by: feed.created_by,
        next_run: feed.next_run,
        last_run: feed.last_run,
        last_success: feed.last_success,
        changed_at,
        entries,
        added,
        removed,
        read,
        failures,
        failure,
        held,
        differs: differs.map(|differs| differs.listing),
    }
}

/// All feeds.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    engine: &impl ThreatEngine,
    now: Timestamp,
) -> Result<Vec<Feed>> {
    let feeds = stored::all(conn).await?;
    Ok(feeds.into_iter().map(|feed| shown(engine, feed, now)).collect())
}

/// The feed of this name.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn get(
    conn: &mut Conn,
    engine: &impl ThreatEngine,
    name: &str,
    now: Timestamp,
) -> Result<Feed> {
    Ok(shown(engine, known(conn, name).await?, now))
}

/// The stored feed of this name.
pub(super) async fn known(conn: &mut Conn, name: &str) -> Result<StoredFeed> {
    let found = stored::get(conn, name).await?;
    found.ok_or_else(|| OperationError::not_found("threat feed", name))
}

/// Reading local files of the platform, or from its private network, is for admins: the samples of rejected
/// lines would show what operators may not see.
fn permitted(caller: &Caller, after: &FeedSettings, before: Option<&FeedSettings>) -> Result<()> {
    let needs_admin = |settings: &FeedSettings| match &settings.source {
        Source::File(_) => Some("reading files of the platform's machine"),
        Source::Url(source) if source.allows(Allow::Private) => Some("reaching private addresses"),
        Source::Url(source) if source.proxy.is_some() => Some("the choice of a proxy"),
        Source::Url(_) => None,
    };
    let Some(what) = needs_admin(after) else { return Ok(()) };
    if caller.role >= Role::Admin || before.is_some_and(|before| before.source == after.source) {
        return Ok(());
    }
    let detail = format!("{what} requires the role admin");
    Err(OperationError::Forbidden { detail, field: Some("/settings/source") })
}

/// Adds a feed, with settings that the engine has validated; it runs at once.
///
/// # Errors
/// When it requires another role, there is a feed of that name, or the database fails.
pub async fn add(
    store: &Store,
    engine: &impl ThreatEngine,
    by: &By<Operator>,
    (name, settings): (FeedId, FeedSettings),
    secret: Option<&str>,
    now: Timestamp,
) -> Result<Feed> {
    permitted(by.caller(), &settings, None)?;
    let secret = secret.map(|secret| engine.seal(&name, secret)).transpose()?;
    let feed = StoredFeed {
        id: name,
        settings,
        secret,
        created_at: now,
        created_by: by.actor(),
        next_run: now,
        last_run: None,
        last_success: None,
        listing: None,
        held: None,
        state: FeedState::default(),
    };
    let mut change = AuditedChange::begin(store, by, now).await?;
    if stored::get(&mut change, feed.id.as_str()).await?.is_some() {
        let detail = format!("feed {} exists already", feed.id);
        return Err(OperationError::conflict_at("/name", "name-in-use", detail));
    }
    stored::put(&mut change, &feed).await?;
    let (before, after) = (String::new(), in_words(&feed.settings));
    change.commit(entry("threat.feed.add", &feed, before, after)).await?;
    engine.schedule_changed();
    Ok(shown(engine, feed, now))
}

/// Changes a feed to settings that the engine has validated; it runs at once.
///
/// # Errors
/// When there is no such feed, it requires another role, a secret is missing, or the database fails.
pub async fn change(
    store: &Store,
    engine: &impl ThreatEngine,
    by: &By<Operator>,
    (name, settings): (&str, FeedSettings),
    secret: Option<&str>,
    now: Timestamp,
) -> Result<Feed> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let mut feed = known(&mut change, name).await?;
    permitted(by.caller(), &settings, Some(&feed.settings))?;
    match secret {
        Some(secret) => feed.secret = Some(engine.seal(&feed.id, secret)?),
        None if feed.secret.is_some() && !same_server(&feed.settings, &settings) => {
            let reason = "the stored secret was given for another server; give one for this server";
            return Err(OperationError::invalid("/secret", reason));
        }
        None => {}
    }
    let before = in_words(&feed.settings);
    let read_otherwise = feed.settings.source != settings.source
        || feed.settings.format != settings.format
        || feed.settings.confidence != settings.confidence
        || feed.settings.exchange != settings.exchange;
    // What may be held or rejected is requested again: the server would answer that it is unchanged.
    if read_otherwise || feed.settings.empty != settings.empty {
        feed.state.validators = Default::default();
        feed.state.bookmark = Default::default();
        feed.state.in_step = false;
        feed.state.events = None;
    }
    feed.settings = settings;
    feed.next_run = now;
    stored::put(&mut change, &feed).await?;
    let after = in_words(&feed.settings);
    change.commit(entry("threat.feed.change", &feed, before, after)).await?;
    engine.schedule_changed();
    engine.compile().await;
    Ok(shown(engine, feed, now))
}

/// Whether a secret given for one is safe with the other: the same server, over the same route.
fn same_server(before: &FeedSettings, after: &FeedSettings) -> bool {
    match (&before.source, &after.source) {
        (Source::Url(before), Source::Url(after)) => {
            before.url.origin() == after.url.origin()
                && before.proxy == after.proxy
                && before.ca == after.ca
                && before.key_in_url() == after.key_in_url()
        }
        _ => false,
    }
}

/// Deletes a feed; its entries leave the list.
///
/// # Errors
/// When there is no such feed, or the database fails.
pub async fn delete(
    store: &Store,
    engine: &impl ThreatEngine,
    by: &By<Operator>,
    name: &str,
    now: Timestamp,
) -> Result<()> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let feed = known(&mut change, name).await?;
    stored::delete(&mut change, name).await?;
    let (before, after) = (in_words(&feed.settings), String::new());
    change.commit(entry("threat.feed.remove", &feed, before, after)).await?;
    engine.compile().await;
    Ok(())
}

/// Fetches a feed now, and returns its state when that is done, or after a minute.
///
/// # Errors
/// When there is no such feed, or the database fails.
pub async fn run(
    store: &Store,
    engine: &impl ThreatEngine,
    by: &By<Operator>,
    name: &str,
    now: Timestamp,
) -> Result<Feed> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let feed = known(&mut change, name).await?;
    change.commit(entry("threat.feed.run", &feed, String::new(), String::new())).await?;
    engine.run(&feed.id).await;
    get(&mut *store.read().await?, engine, name, Timestamp::now()).await
}

/// The audit entry about a feed.
pub(super) fn entry<'a>(
    action: &'static str,
    feed: &'a StoredFeed,
    before: String,
    after: String,
) -> AuditEntry<'a> {
    AuditEntry { action, target: feed.id.as_str(), before, after }
}

fn in_words(settings: &FeedSettings) -> String {
    serde_json::to_string(settings).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, RecordedSignals, audited, by_account, feed_settings, store};

    fn url(host: &str) -> FeedSettings {
        let source = serde_json::json!({"url": {"url": format!("https://{host}/list")}});
        FeedSettings { source: serde_json::from_value(source).unwrap(), ..feed_settings() }
    }

    #[tokio::test]
    async fn feeds_are_added_changed_fetched_and_removed_and_files_are_for_admins() {
        let (_dir, store) = store().await;
        let engine = RecordedSignals::default();
        let operator = by_account::<Operator>("ann", Role::Operator);
        let admin = by_account::<Operator>("root", Role::Admin);
        let id = || "drop".parse::<FeedId>().unwrap();

        let file = add(&store, &engine, &operator, (id(), feed_settings()), None, NOW).await;
        let file = file.unwrap_err();
        assert!(
            matches!(file, OperationError::Forbidden { field: Some("/settings/source"), .. }),
            "{file}"
        );
        add(&store, &engine, &admin, (id(), feed_settings()), None, NOW).await.unwrap();
        let again = add(&store, &engine, &admin, (id(), feed_settings()), None, NOW).await;
        assert!(
            matches!(again, Err(OperationError::Conflict { code: "name-in-use", .. })),
            "{again:?}"
        );
        assert_eq!(engine.take(), ["other schedule"]);

        let settings = ("drop", url("a.example"));
        change(&store, &engine, &operator, settings, Some("s"), NOW).await.unwrap();
        let elsewhere = ("drop", url("b.example"));
        let elsewhere = change(&store, &engine, &operator, elsewhere, None, NOW).await;
        let elsewhere = elsewhere.unwrap_err();
        assert!(
            matches!(&elsewhere, OperationError::Invalid { field, .. } if field == "/secret"),
            "a secret is not sent to another server: {elsewhere}"
        );
        run(&store, &engine, &operator, "drop", NOW).await.unwrap();
        delete(&store, &engine, &operator, "drop", NOW).await.unwrap();
        let signals = ["other schedule", "compile the list", "run drop", "compile the list"];
        assert_eq!(engine.take(), signals);
        let actions: Vec<_> = audited(&store)
            .await
            .iter()
            .map(|line| line.split(' ').nth(1).unwrap().to_owned())
            .collect();
        let expected = ["add", "change", "run", "remove"].map(|of| format!("threat.feed.{of}"));
        assert_eq!(actions, expected);
    }
}
