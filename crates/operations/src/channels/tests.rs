use serde_json::json;
use xshield_api::channels::{ChannelInput, ChannelSettings, DeliveryQuery, DeliveryState};
use xshield_model::alert_rule::{AlertRule, RuleError};
use xshield_model::role::Role;
use xshield_store::deliveries::{StoredChannel, StoredDelivery};
use xshield_store::{Store, deliveries};

use super::*;
use crate::alert_rules;
use crate::caller::{Caller, Operator};
use crate::error::{OperationError, Result};
use crate::paging::Paging;
use crate::testing::{NOW, RecordedSignals, audited, by, by_account, store};

/// Delivers nothing, and answers a test with a fixed text.
struct Delivers<'a> {
    noted: &'a RecordedSignals,
    store: Store,
    answer: &'static str,
}

impl ChannelEngine for Delivers<'_> {
    fn check(&self, settings: &ChannelSettings) -> std::result::Result<(), RuleError> {
        match settings {
            ChannelSettings::Webhook(webhook) if webhook.url.scheme() != "https" => {
                Err(RuleError { field: "/settings/url", reason: "expected https".to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn seal(&self, channel: &str, secret: &[u8]) -> Result<String> {
        Ok(format!("{} bytes for {channel}", secret.len()))
    }

    async fn send_test(&self, channel: &StoredChannel) -> Result<StoredDelivery> {
        let mut tx = self.store.write().await?;
        let payload = xshield_model::channel::Payload::Syslog { messages: vec!["sent".to_owned()] };
        let new = deliveries::NewDelivery {
            id: "del-1",
            channel: &channel.id,
            kind: xshield_api::channels::DeliveryKind::Test,
            alerts: 0,
            payload: &payload,
        };
        deliveries::insert(&mut tx, &new, DeliveryState::GivenUp, NOW).await?;
        deliveries::settle(&mut tx, "del-1", DeliveryState::GivenUp, self.answer).await?;
        let tested = deliveries::get(&mut tx, "del-1").await?.unwrap();
        xshield_store::commit(tx).await?;
        Ok(tested)
    }

    fn channels_changed(&self) {
        self.noted.note("channels changed".to_owned());
    }
}

fn input(settings: serde_json::Value, secret: Option<&str>) -> ChannelInput {
    serde_json::from_value(json!({"settings": settings, "secret": secret})).unwrap()
}

fn webhook(url: &str) -> serde_json::Value {
    json!({"kind": "webhook", "url": url})
}

fn mail(username: Option<&str>) -> serde_json::Value {
    let to = ["ops@example.com"];
    json!({"kind": "mail", "host": "mail.example", "from": "x@example.com", "to": to,
        "username": username})
}

fn syslog(private: bool) -> serde_json::Value {
    json!({"kind": "syslog", "host": "10.0.0.7", "allow_private": private})
}

const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[tokio::test]
async fn a_secret_is_given_generated_or_kept_for_the_same_receiver() {
    let (_dir, store) = store().await;
    let noted = RecordedSignals::default();
    let engine = Delivers { noted: &noted, store: store.clone(), answer: "" };
    for (name, settings, secret, expected) in [
        ("hook", webhook("http://a.example/"), None, Err("/settings/url")),
        ("hook", webhook("https://a.example/"), Some("short"), Err("/secret")),
        ("hook", webhook("https://a.example/"), Some("whsec_AAAA"), Err("/secret")),
        ("a b", webhook("https://a.example/"), None, Err("/name")),
        ("hook", webhook("https://a.example/"), Some(SECRET), Ok((Some(24), false))),
        ("hook", webhook("https://a.example/"), None, Ok((Some(24), false))),
        // It signs, and no receiver learns it: it is kept also for another one.
        ("hook", webhook("https://b.example/"), None, Ok((Some(24), false))),
        ("new", webhook("https://b.example/"), None, Ok((Some(32), true))),
        ("mail", mail(Some("ann")), None, Err("/secret")),
        ("mail", mail(None), Some("password"), Err("/secret")),
        ("mail", mail(Some("ann")), Some("password"), Ok((Some(8), false))),
        ("mail", mail(Some("ann")), None, Ok((Some(8), false))),
        ("mail", mail(Some("bob")), None, Err("/secret")),
        ("mail", mail(None), None, Ok((None, false))),
        ("log", syslog(false), Some("password"), Err("/secret")),
        ("log", syslog(false), None, Ok((None, false))),
    ] {
        let shown = format!("{name} {settings} {secret:?}");
        let written = put(&store, &engine, &by(), name, input(settings, secret), NOW).await;
        let signals = noted.take().len();
        let outcome = match written {
            Ok(written) => {
                let stored = deliveries::channel(&mut store.read().await.unwrap(), name).await;
                let stored = stored.unwrap().unwrap();
                assert_eq!(written.channel.has_secret, stored.sealed_secret.is_some());
                let bytes = stored.sealed_secret.map(|sealed| {
                    let (bytes, whose) = sealed.split_once(" bytes for ").unwrap();
                    assert_eq!(whose, stored.id, "{shown}");
                    bytes.parse::<usize>().unwrap()
                });
                Ok((bytes, written.secret.is_some()))
            }
            Err(OperationError::Invalid { field, .. }) => Err(field),
            Err(other) => panic!("{shown}: {other}"),
        };
        assert_eq!(signals, usize::from(outcome.is_ok()), "{shown}");
        assert_eq!(outcome, expected.map_err(str::to_owned), "{shown}");
    }
    assert_eq!(audited(&store).await.len(), 8, "what was refused is not in the audit log");
}

#[tokio::test]
async fn only_admins_use_private_addresses_and_see_their_answers() {
    let (_dir, store) = store().await;
    let noted = RecordedSignals::default();
    let engine = Delivers { noted: &noted, store: store.clone(), answer: "550 no such user" };
    let operator = by::<Operator>();
    let admin = by_account::<Operator>("root", Role::Admin);
    let private = || input(syslog(true), None);
    let refused = put(&store, &engine, &operator, "log", private(), NOW).await.err().unwrap();
    assert!(
        matches!(refused, OperationError::Forbidden { field: Some("/settings/allow_private"), .. }),
        "{refused}"
    );
    put(&store, &engine, &admin, "log", private(), NOW).await.unwrap();
    put(&store, &engine, &operator, "log", private(), NOW).await.unwrap();

    let tested = test(&store, &engine, &operator, "log", NOW).await.unwrap();
    assert_eq!(tested.answer, "550 (the rest is for admins)");
    assert!(tested.payload.is_some());
    let mut conn = store.read().await.unwrap();
    let caller = |role| Caller { account: "a".to_owned(), role, token: "t".to_owned() };
    for (role, answer) in [
        (Role::Viewer, "550 (the rest is for admins)"),
        (Role::Operator, "550 (the rest is for admins)"),
        (Role::Admin, "550 no such user"),
    ] {
        let caller = caller(role);
        let (query, paging) = (DeliveryQuery::default(), Paging::new(None, None).unwrap());
        let page = list_deliveries(&mut conn, &caller, &query, paging).await.unwrap();
        let [listed] = &page.items[..] else { panic!("{page:?}") };
        assert_eq!((listed.answer.as_str(), &listed.payload), (answer, &None), "{role:?}");
        let one = delivery(&mut conn, &caller, &listed.id).await.unwrap();
        assert_eq!((one.answer.as_str(), one.payload.is_some()), (answer, true), "{role:?}");
    }
    assert_eq!(
        audited(&store).await.last().map(String::as_str),
        Some("user:ann alert-channel.test log:  -> given-up")
    );
}

#[tokio::test]
async fn a_channel_in_use_cannot_be_deleted() {
    let (_dir, store) = store().await;
    let noted = RecordedSignals::default();
    let engine = Delivers { noted: &noted, store: store.clone(), answer: "" };
    let by = by::<Operator>();
    let hook = || input(webhook("https://a.example/"), None);
    put(&store, &engine, &by, "hook", hook(), NOW).await.unwrap();
    let rule: AlertRule =
        serde_json::from_value(json!({"when": {"condition": "any-match"}, "channels": ["hook"]}))
            .unwrap();
    alert_rules::put(&store, &by, "rule", rule, NOW).await.unwrap();
    let used = delete(&store, &by, "hook", NOW).await.unwrap_err();
    assert!(matches!(used, OperationError::Conflict { code: "channel-in-use", .. }), "{used}");
    alert_rules::delete(&store, &by, "rule", NOW).await.unwrap();
    delete(&store, &by, "hook", NOW).await.unwrap();
    for gone in [
        delete(&store, &by, "hook", NOW).await.unwrap_err(),
        test(&store, &engine, &by, "hook", NOW).await.err().unwrap(),
        get(&mut store.read().await.unwrap(), by.caller(), "hook", NOW).await.unwrap_err(),
    ] {
        assert_eq!(gone.to_string(), "there is no channel \"hook\"");
    }
    assert!(
        list(&mut store.read().await.unwrap(), by.caller(), NOW).await.unwrap().items.is_empty()
    );
}
